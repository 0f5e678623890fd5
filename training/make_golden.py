"""Makes golden/nano_tiny.safetensors: a tiny seeded variant with inputs and outputs, for parity tests.

Every parameter and buffer is overwritten with seeded values large enough to move the outputs.
"""
import json
import os

import numpy as np
import torch
from safetensors.torch import save_file

from model import Nano, NanoConfig, dense_prompt

CFG = dict(image_size=64, stem_channels=8, trunk=[
    [1, 4, 1, 1, 1, 1], [6, 6, 2, 2, 1, 1], [6, 8, 2, 2, 1, 1], [2, 8, 2, 2, 1, 1], [2, 12, 2, 1, 1, 2], [2, 20, 1, 1, 2, 2]],
    taps=[0, 2, 4, 9], embed_dim=16, vit_depth=1, vit_heads=2, vit_mlp_dim=24, fpn_dim_8=8, fpn_dim_4=4,
    dense_mid_channels=[4, 8], decoder_depth=2, decoder_heads=2, decoder_mlp_dim=24, iou_head_hidden_dim=12)


def seeded(net, seed):
    """Overwrites everything: matrices at about unit gain, norms around 1, biases and embeddings sizeable."""
    rng = np.random.default_rng(seed)
    for name, t in sorted(net.state_dict().items()):
        if name.endswith("positional_embedding"):
            v = rng.normal(0, 1, t.shape)
        elif "norm" in name and name.endswith("weight"):
            v = rng.uniform(0.5, 1.5, t.shape)
        elif t.ndim >= 2 and "embed.weight" not in name and "token" not in name.split(".")[-2]:
            fan = t[0].numel() if "upscale_conv" not in name else t.shape[0]
            v = rng.normal(0, 1.3 / np.sqrt(fan), t.shape)
        elif t.ndim == 1:
            v = rng.normal(0, 0.3, t.shape)
        else:
            v = rng.normal(0, 1, t.shape)
        t.copy_(torch.from_numpy(v).float())


@torch.no_grad()
def main(path):
    net = Nano(NanoConfig(**CFG)).eval()
    seeded(net, 7)
    rng = np.random.default_rng(11)
    s, q = CFG["image_size"], CFG["image_size"] // 4
    f = lambda *v: torch.tensor(v, dtype=torch.float32)
    low = torch.from_numpy(rng.normal(0, 8, (q, q))).float()
    cases = {
        "click": dict(points=f([20.0, 33.5]), labels=[1]),
        "clicks_mask": dict(points=f([20.0, 33.5], [50.25, 10.0], [5.0, 60.0]), labels=[1, 1, 0], mask=low),
        "box": dict(box=f(10.5, 8.0, 49.0, 57.25)),
        "box_click_mask": dict(points=f([30.0, 30.0], [12.0, 50.0]), labels=[0, 1], box=f(3.0, 17.0, 61.5, 62.0), mask=low * 0.5),
        "not_a_point_mask": dict(points=f([0.0, 0.0]), labels=[-1], mask=low),
    }
    out = {f"weights.{k}": v.clone() for k, v in net.state_dict().items()}
    pixels = torch.from_numpy(rng.uniform(-1, 1, (1, 3, s, s))).float()
    pixels[:, :, 48:] = 0  # padding, as a landscape picture has
    feats = net.encode(pixels)
    out["image.pixel_values"] = pixels
    for name, t in zip(("image_embedding", "high_res_8", "high_res_4"), feats):
        out[f"image.{name}"] = t
    for name, c in cases.items():
        pts = c.get("points", torch.zeros(0, 2))[None]
        labs = torch.tensor(c.get("labels", []), dtype=torch.long)[None]
        box, mask = c.get("box"), c.get("mask")
        box, mask = None if box is None else box[None], None if mask is None else mask[None]
        tokens = {}
        handle = net.prompt_encoder.sparse
        net.prompt_encoder.sparse = lambda *a: tokens.setdefault("t", handle(*a))
        masks, iou = net.decode(feats, pts, labs, box, mask)
        net.prompt_encoder.sparse = handle
        dmap = dense_prompt(pts, labs, box, mask, q, net.cfg.click_sigma, net.cfg.mask_clamp)
        p = f"case.{name}."
        if pts.shape[1]:
            out[p + "input_points"], out[p + "input_labels"] = pts[0], labs[0].int()
        if box is not None:
            out[p + "input_boxes"] = box[0]
        if mask is not None:
            out[p + "input_masks"] = mask[0]
        out.update({p + "sparse_tokens": tokens["t"][0], p + "dense_map": dmap[0],
                    p + "dense_embedding": net.prompt_encoder.mask_embed(dmap)[0], p + "pred_masks": masks[0], p + "iou_scores": iou[0]})
        print(name, "masks std", [round(v, 3) for v in masks[0].std((1, 2)).tolist()], "iou", [round(v, 3) for v in iou[0].tolist()])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    save_file({k: v.contiguous().clone() for k, v in out.items()}, path, metadata={"samovar_config": json.dumps({**net.cfg.to_dict(), "mask_rule": {"one_click": "token_0", "otherwise": "token_0"}})})
    print(path, os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main(os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "nano_tiny.safetensors"))
