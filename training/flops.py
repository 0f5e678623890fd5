"""Counts multiply-adds of convolutions, linears and attention by a dry run: python flops.py [S]."""
import argparse

import torch
import torch.nn as nn

import model as M


def count(fn, net):
    """Runs fn with hooks; returns FLOP (2 per MAC)."""
    total, hooks = [0], []

    def hook(m, inp, out):
        if isinstance(m, nn.Conv2d):
            total[0] += out.numel() * m.weight[0].numel()
        elif isinstance(m, nn.ConvTranspose2d):
            total[0] += inp[0].numel() * m.weight[0].numel()
        elif isinstance(m, nn.Linear):
            total[0] += out.numel() * m.in_features

    for m in net.modules():
        hooks.append(m.register_forward_hook(hook))
    orig = M.heads_attention

    def attention(q, k, v, heads):
        total[0] += 2 * q.shape[0] * q.shape[1] * k.shape[1] * q.shape[2]
        return orig(q, k, v, heads)

    M.heads_attention = attention
    with torch.no_grad():
        out = fn()
    M.heads_attention = orig
    for h in hooks:
        h.remove()
    if isinstance(out, tuple) and len(out) == 2:  # the product of mask vectors and pixels
        cells = out[0].numel() // (4 if net.cfg.fine_dim else 1)
        total[0] += cells * net.cfg.fpn_dim_4 + (out[0].numel() * net.cfg.fine_dim)
    return 2 * total[0], out


if __name__ == "__main__":
    a = argparse.ArgumentParser()
    a.add_argument("size", nargs="?", type=int, default=512)
    a.add_argument("--fine", type=int, default=0, metavar="CHANNELS", help="finer mask logits, at stride 2")
    a.add_argument("--click-scales", type=float, nargs="*", default=[], help="further widths of clicks")
    a = a.parse_args()
    s = a.size
    net = M.Nano(M.NanoConfig(fine_dim=a.fine, click_scales=a.click_scales)).eval()
    enc, feats = count(lambda: net.encode(torch.zeros(1, 3, s, s)), net)
    pts = torch.zeros(1, 10, 2)
    dec, _ = count(lambda: net.decode(feats, pts, torch.ones(1, 10, dtype=torch.long), torch.tensor([[0., 0, 9, 9]])), net)
    n = sum(p.numel() for p in net.parameters()) + sum(b.numel() for b in net.buffers())
    print(f"S={s}: encode {enc / 1e9:.2f} GFLOP, decode (10 clicks + box) {dec / 1e9:.3f} GFLOP, {n / 1e6:.3f} M numbers, {n * 2 / 1e6:.2f} MB in f16")
    for k, m in [*net.named_children()]:
        print(f"  {k}: {sum(p.numel() for p in m.parameters()) / 1e6:.3f} M")
