"""Trains nano: python train.py --data ../shared/data --out runs/nano

The schedule is in wall time, because it is meant for a shared two-core machine: --phases is a list of
SIZExBATCHxMASKS:MINUTES, the learning rate is one warm-up and cosine over the sum. --resume goes on from
OUT/last.pt (also after a kill); --init starts from an exported .safetensors with a fresh optimiser.

--procs single-threaded processes share each batch and average their gradients once per step: on a busy
machine this is several times as fast as threads, which wait for the slowest one inside every operator.
"""
import argparse
import copy
import json
import math
import os
import time

import cv2
import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

import data as D
from init_from_tflite import load_trunk
from losses import border_weights, mask_losses
from model import Nano, up2
from optimiser import optimiser


def arguments():
    a = argparse.ArgumentParser()
    a.add_argument("--data", default="../shared/data")
    a.add_argument("--out", default="runs/nano")
    a.add_argument("--phases", default="256x8x4:64,384x4x4:23")
    a.add_argument("--lr", type=float, default=1e-3)
    a.add_argument("--min-lr", type=float, default=2e-5)
    a.add_argument("--trunk-lr", type=float, default=0.25, help="factor on the trunk's learning rate")
    a.add_argument("--warmup", type=int, default=150)
    a.add_argument("--ema", type=float, default=0.998)
    a.add_argument("--freeze-blocks", type=int, default=3)
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--procs", type=int, default=2, help="processes of one thread each")
    a.add_argument("--save-minutes", type=float, default=4)
    a.add_argument("--resume", action="store_true")
    a.add_argument("--init", help="exported safetensors to start from")
    return a.parse_args()


def corrections(pred, gt, rng):
    """pred, gt u8 [P, H, H] -> next clicks f32 [P, 2] (input pixels), labels i64 [P]."""
    xy, lab = np.zeros((len(gt), 2), np.float32), np.zeros(len(gt), np.int64)
    for i, (p, g) in enumerate(zip(pred, gt)):
        fn, fp = g & (1 - p), p & (1 - g)
        nfn, nfp = int(fn.sum()), int(fp.sum())
        if nfn + nfp == 0:
            c, lab[i] = D.random_cell(g, rng), 1
        else:
            if rng.random() < 0.5:
                positive = nfn >= nfp
            else:
                positive = D.deepest(fn)[2] >= D.deepest(fp)[2]
            err = fn if positive else fp
            c = D.random_cell(err, rng) if rng.random() < 0.15 else D.deepest(err)[:2]
            lab[i] = int(positive)
        xy[i] = D.to_input(*c, rng)
    return xy, lab


class Prompts:
    """The growing prompts of one batch: every prompt has the same number of clicks, and either two box
    corners or one more pad point, so that the token count is the same for all."""

    def __init__(self, b, extra, size):
        p = b["click"].shape[0] * b["click"].shape[1]
        self.kind = b["kind"].reshape(p)
        self.box = b["box"].reshape(p, 4).clone()
        is_box = self.kind == D.BOX
        self.box_tok = torch.where(is_box[:, None], self.box, torch.zeros_like(self.box)).view(p, 2, 2)
        self.box_lab = torch.where(is_box[:, None], torch.tensor([[2, 3]]), torch.tensor([[-1, -1]]))
        self.dense_box = torch.where(is_box[:, None], self.box, torch.zeros_like(self.box))
        self.points = b["extra"].reshape(p, D.EXTRA, 2)[:, :extra]
        self.labels = b["extra_label"].reshape(p, D.EXTRA)[:, :extra]
        self.first = b["click"].reshape(p, 2)
        self.is_box, self.extra = is_box, extra
        noisy = b["noisy"].reshape(p, size // 2, size // 2)[:, None].float()
        self.mask = torch.where((self.kind == D.NOISY)[:, None, None], (F.avg_pool2d(noisy, 2)[:, 0] * 2 - 1) * 8, torch.zeros(1))

    def tokens(self):
        """Clicks first, then corners for boxes; clicks-only prompts have (first click, pad) in their place."""
        first = torch.stack([self.first, torch.zeros_like(self.first)], 1)
        first_lab = torch.tensor([[1, -1]]).expand(len(self.first), 2)
        tail = torch.where(self.is_box[:, None, None], self.box_tok, first)
        tail_lab = torch.where(self.is_box[:, None], self.box_lab, first_lab)
        return torch.cat([self.points, tail], 1), torch.cat([self.labels, tail_lab], 1)

    def dense(self):
        """Points and labels for the dense map (the first click only where there is no box)."""
        lab = torch.where(self.is_box, -1, 1)[:, None]
        return torch.cat([self.points, self.first[:, None]], 1), torch.cat([self.labels, lab], 1)

    def add(self, xy, lab):
        self.points = torch.cat([self.points, torch.from_numpy(xy)[:, None]], 1)
        self.labels = torch.cat([self.labels, torch.from_numpy(lab)[:, None]], 1)


def train_step(net, b, rng, rounds, extra):
    """Forward and backward of one batch; gradients are left in net. -> dict of figures."""
    img = b["image"].permute(0, 3, 1, 2).to(memory_format=torch.channels_last).float()
    feats = net.encode((img - 127.5) / 127.5)
    held = [f.detach().requires_grad_() for f in feats]
    k, size = b["masks"].shape[1], b["image"].shape[1]
    gt_u8 = b["masks"].reshape(-1, size // 2, size // 2)
    gt = gt_u8[:, None].float()
    weights = border_weights(gt)
    pr = Prompts(b, extra, size)
    log = {}
    for r in range(rounds):
        pts, labs = pr.dense()
        masks, iou_pred = net.decode(held, pts, labs, pr.dense_box, pr.mask, tokens=pr.tokens())
        n = 4 if r == 0 else 1  # later rounds train the single mask only
        loss, iou = mask_losses(up2(masks[:, :n]), gt, weights)
        one_click = (~pr.is_box) & (pr.kind == D.CLICK) & (r == 0) & (extra == 0)
        total = loss[:, 0] * torch.where(one_click, 0.6, 1.0)
        if n > 1:
            total = total + loss[:, 1:].min(1).values * torch.where(one_click, 1.0, 0.25)
        total = total.mean() + 2 * F.mse_loss(iou_pred[:, :n], iou)
        (total / rounds).backward()
        with torch.no_grad():
            best = iou_pred[:, 1:].argmax(1, keepdim=True) + 1
            if r == 0 and extra == 0:
                chosen = iou.gather(1, best)[:, 0]
                if one_click.any():
                    log["click"] = chosen[one_click].mean().item()
                    log["oracle"] = iou[one_click, 1:].max(1).values.mean().item()
                if pr.is_box.any():
                    log["box"] = iou[pr.is_box, 0].mean().item()
            log[f"r{r}"] = iou[:, 0].mean().item()
            if r + 1 < rounds:
                use = torch.where(one_click & (torch.rand(len(best)) < 0.6), best[:, 0], 0)
                low = masks[torch.arange(len(use)), use]
                pred = (up2(low[:, None])[:, 0] > 0).to(torch.uint8).numpy()
                pr.add(*corrections(pred, gt_u8.numpy(), rng))
                pr.mask = low
        log["loss"] = log.get("loss", 0) + total.item() / rounds
    torch.autograd.backward(feats, [h.grad for h in held])
    return log


def build(a):
    """-> net, EMA copy, optimiser."""
    torch.manual_seed(a.seed)
    net = Nano()
    load_trunk(net.vision_encoder.trunk, os.path.join(a.data, "weights", "deeplabv3_mnv2_pascal_quant.tflite"))
    if a.init:
        from safetensors.torch import load_file
        net.load_state_dict({k: v.float() for k, v in load_file(a.init).items()})
    net.to(memory_format=torch.channels_last)
    opt = optimiser(net, a)
    return net, copy.deepcopy(net).eval(), opt


def worker(rank, a):
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    cv2.setNumThreads(1)
    if a.procs > 1:
        dist.init_process_group("gloo", init_method=f"file://{os.path.abspath(a.out)}/rendezvous", rank=rank, world_size=a.procs)
    net, ema, opt = build(a)
    phases = [(tuple(map(int, p.split(":")[0].split("x"))), float(p.split(":")[1])) for p in a.phases.split(",")]
    minutes = sum(m for _, m in phases)
    step, spent, seen = 0, 0.0, 0
    last = os.path.join(a.out, "last.pt")
    if a.resume and os.path.exists(last):
        ck = torch.load(last, weights_only=False)
        net.load_state_dict(ck["net"]); ema.load_state_dict(ck["ema"]); opt.load_state_dict(ck["opt"])
        step, spent, seen = ck["step"], ck["spent"], ck["seen"]
    say = (lambda t: print(t, flush=True)) if rank == 0 else (lambda t: None)
    say(f"start at step {step}, {spent:.1f} of {minutes:.1f} min")
    params = [p for g in opt.param_groups for p in g["params"]]
    same = np.random.default_rng(a.seed + 1000 + step)  # equal in all processes
    mine = np.random.default_rng([a.seed, step, rank])
    logf = open(os.path.join(a.out, "log.jsonl"), "a") if rank == 0 else None
    avg, t0, saved, shown, last_t = {}, time.time() - spent * 60, spent, step, time.time()

    def save():
        torch.save({"net": net.state_dict(), "ema": ema.state_dict(), "opt": opt.state_dict(),
                    "step": step, "spent": spent, "seen": seen, "args": vars(a)}, last + ".tmp")
        os.replace(last + ".tmp", last)

    end = 0.0
    for (size, batch, masks), length in phases:
        end += length
        if spent >= end:
            continue
        say(f"phase: {size} px, {batch} images x {masks} masks, until {end:.1f} min")
        part = batch // a.procs + (rank < batch % a.procs)
        for b in D.loader(os.path.join(a.data, "train.segpack"), size, part, masks, a.seed + 7919 * (step + 1) + rank, workers=0):
            lr = a.min_lr + (a.lr - a.min_lr) * 0.5 * (1 + math.cos(math.pi * min(1, spent / minutes)))
            lr *= min(1, (step + 1) / a.warmup)
            for g in opt.param_groups:
                g["lr"] = lr * g["scale"]
            extra = int(same.integers(1, D.EXTRA + 1)) if same.random() < 0.15 else 0
            rounds = int(same.choice([1, 2, 3, 5], p=[0.4, 0.35, 0.15, 0.1]))
            opt.zero_grad(set_to_none=True)
            log = train_step(net, b, mine, rounds, extra)
            spent = average([p.grad for p in params], part / batch, (time.time() - t0) / 60, rank, a.procs)
            norm = torch.nn.utils.clip_grad_norm_(params, 2.0)
            if not torch.isfinite(norm):
                say("skipped a step: gradient not finite")
                continue
            opt.step()
            step, seen = step + 1, seen + batch
            if rank == 0:
                d = min(a.ema, (1 + step) / (10 + step))
                with torch.no_grad():
                    torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - d)
                for key, v in {**log, "norm": norm.item()}.items():
                    avg[key] = avg.get(key, v) * 0.98 + v * 0.02
                if step % 50 == 0 or step in (5, 20):
                    rec = {"step": step, "min": round(spent, 2), "seen": seen, "lr": round(lr, 6),
                           "img_s": round((step - shown) * batch / (time.time() - last_t), 2),
                           **{k: round(v, 4) for k, v in sorted(avg.items())}}
                    shown, last_t = step, time.time()
                    logf.write(json.dumps(rec) + "\n"); logf.flush()
                    say(json.dumps(rec))
                if spent - saved > a.save_minutes or step == 20:
                    saved = spent
                    save()
            if spent >= end:
                break
    if rank == 0:
        save()
    say(f"done: {step} steps, {seen} images")


def average(grads, weight, clock, rank, procs):
    """Weighted mean of the gradients over the processes, in place; returns rank 0's clock to all."""
    if procs == 1:
        return clock
    flat = torch.cat([*(g.reshape(-1) for g in grads), torch.tensor([clock if rank == 0 else 0.0]) / weight]) * weight
    dist.all_reduce(flat)
    at = 0
    for g in grads:
        g.copy_(flat[at:at + g.numel()].view(g.shape))
        at += g.numel()
    return flat[-1].item()


def main():
    a = arguments()
    os.makedirs(a.out, exist_ok=True)
    stale = os.path.join(a.out, "rendezvous")
    if os.path.exists(stale):
        os.remove(stale)
    if a.procs == 1:
        worker(0, a)
    else:
        torch.multiprocessing.spawn(worker, (a,), nprocs=a.procs)


if __name__ == "__main__":
    main()
