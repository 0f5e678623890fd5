"""Measures a checkpoint or exported file on a SEGPACK by the data's protocol.

    python evaluate.py nano.safetensors --data ../shared/data/dev.segpack [--size 512] [--per-image 4] [--json out.json]

First click: the point farthest from the mask's border; next clicks: the same in the larger error region (false
negatives or false positives, whichever has more pixels; the frame counts as border), previous logits fed back; box:
the mask's box, each side moved by up to 5 % of its length (seed 0). Masks under 0.1 % of the image are skipped. Mean
IoU per source, then over sources. --per-image limits the masks per picture (seeded choice) for quick looks.
"""
import argparse
import json
import time

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import export
from data import decode, deepest, read_pack
from model import Nano

RULES = ("token_0", "best_predicted_iou_of_1_to_3", "best_predicted_iou_of_0_to_3")


def preprocess(img, s):
    """RGB u8 [h, w, 3] -> pixels [1, 3, S, S], (nh, nw)."""
    h, w = img.shape[:2]
    k = s / max(h, w)
    nh, nw = int(h * k + 0.5), int(w * k + 0.5)
    x = np.asarray(Image.fromarray(img).resize((nw, nh), Image.BILINEAR), np.float32)
    x = torch.from_numpy((x - 127.5) / 127.5).permute(2, 0, 1)
    return F.pad(x, (0, s - nw, 0, s - nh))[None], (nh, nw)


def to_masks(low, s, new, size):
    """Low-resolution logits [P, S/4, S/4] -> bool [P, h, w] at picture size."""
    x = F.interpolate(low[:, None], (s, s), mode="bilinear", align_corners=False)[..., :new[0], :new[1]]
    return (F.interpolate(x, size, mode="bilinear", align_corners=False)[:, 0] > 0).numpy()


def choose(masks, iou, rule):
    """-> logits [P, S/4, S/4], token index [P]."""
    if rule == "token_0":
        i = torch.zeros(len(iou), dtype=torch.long)
    elif rule == "best_predicted_iou_of_1_to_3":
        i = iou[:, 1:].argmax(1) + 1
    else:
        i = iou.argmax(1)
    return masks[torch.arange(len(iou)), i], i


def iou_of(a, b):
    inter = (a & b).sum((1, 2))
    return inter / np.maximum(1, (a | b).sum((1, 2)))


def next_clicks(pred, gt):
    """bool [P, h, w] -> [P, 2] pixels, [P] labels."""
    xy, lab = np.zeros((len(gt), 2), np.float32), np.zeros(len(gt), np.int64)
    for i, (p, g) in enumerate(zip(pred, gt)):
        fn, fp = g & ~p, p & ~g
        lab[i] = int(fn.sum() >= fp.sum())
        err = fn if lab[i] else fp
        if not err.any():
            err, lab[i] = g, 1
        # only the error's own box matters to the distance transform
        x, y, w, h = cv2.boundingRect(err.astype(np.uint8))
        cx, cy, _ = deepest(np.ascontiguousarray(err[y:y + h, x:x + w].astype(np.uint8)))
        xy[i] = cx + x, cy + y
    return xy, lab


@torch.no_grad()
def run_image(net, s, img, gt, boxes, clicks, rules, out, chunk=16):
    """All prompts of one picture; appends to out[figure] one IoU per mask."""
    pixels, new = preprocess(img, s)
    feats = net.encode(pixels)
    h, w = img.shape[:2]
    k = torch.tensor([new[1] / w, new[0] / h])
    for at in range(0, len(gt), chunk):
        g = gt[at:at + chunk]
        n = len(g)
        b = torch.from_numpy(boxes[at:at + chunk]) * torch.cat([k, k])
        m, p = net.decode(feats, torch.zeros(n, 0, 2), torch.zeros(n, 0, dtype=torch.long), b)
        for r in ("token_0", "best_predicted_iou_of_0_to_3") if rules == "all" else (rules[1],):
            out.setdefault(f"box/{r}", []).extend(iou_of(to_masks(choose(m, p, r)[0], s, new, (h, w)), g))
        xy, lab = next_clicks(np.zeros_like(g), g)
        pts, labs, prev = torch.from_numpy(xy)[:, None] * k, torch.from_numpy(lab)[:, None], None
        for c in range(clicks):
            m, p = net.decode(feats, pts, labs, None, prev)
            rule = (rules if rules != "all" else (RULES[0], RULES[0]))[int(c > 0)]
            prev, _ = choose(m, p, rule)
            on = to_masks(prev, s, new, (h, w))
            iou = iou_of(on, g)
            out.setdefault(f"clicks/{c + 1}", []).extend(iou)
            if c == 0:
                each = np.stack([iou_of(to_masks(m[:, i], s, new, (h, w)), g) for i in range(4)], 1)
                out.setdefault("one_click_oracle_of_3", []).extend(each[:, 1:].max(1))
                for r in RULES:
                    i = choose(m, p, r)[1].numpy()
                    out.setdefault(f"one_click/{r}", []).extend(each[np.arange(n), i])
            if c + 1 < clicks:
                xy, lab = next_clicks(on, g)
                pts = torch.cat([pts, torch.from_numpy(xy)[:, None] * k], 1)
                labs = torch.cat([labs, torch.from_numpy(lab)[:, None]], 1)


def evaluate(net, pack, s, clicks=10, per_image=0, rules="all", shard=(0, 1)):
    """-> {source: {figure: [IoU per mask]}}; shard (i, n) takes every n-th picture from the i-th."""
    cv2.setNumThreads(1)
    rng, pick, res = np.random.default_rng(0), np.random.default_rng(1), {}
    for n, rec in enumerate(read_pack(pack)):
        img, labs = decode(rec)
        img = np.ascontiguousarray(img)
        h, w = img.shape[:2]
        gt = [lab == i for lab in labs for i in np.unique(lab)[1 if lab.min() == 0 else 0:]]
        gt = [g for g in gt if g.sum() >= 0.001 * h * w]
        if per_image and len(gt) > per_image:
            gt = [gt[i] for i in pick.permutation(len(gt))[:per_image]]
        if not gt:
            continue
        gt = np.stack(gt)
        boxes = []
        for g in gt:
            x, y, bw, bh = cv2.boundingRect(g.astype(np.uint8))
            j = rng.uniform(-0.05, 0.05, 4) * np.array([bw, bh, bw, bh])
            boxes.append(np.clip(np.array([x, y, x + bw, y + bh]) + j, 0, [w, h, w, h]))
        if n % shard[1] == shard[0]:
            run_image(net, s, img, gt, np.array(boxes, np.float32), clicks, rules, res.setdefault(rec[0]["src"], {}))
    return res


def table(res, clicks):
    figures = ["one_click/token_0", RULES and f"one_click/{RULES[1]}", f"one_click/{RULES[2]}", "one_click_oracle_of_3",
               "box/token_0", "box/best_predicted_iou_of_0_to_3", "clicks/1", "clicks/2", "clicks/3", "clicks/5", f"clicks/{clicks}"]
    figures = [f for f in figures if any(f in r for r in res.values())]
    short = [f.replace("best_predicted_iou_of_", "best").replace("one_click", "1c") for f in figures]
    lines = ["| source | masks | " + " | ".join(short) + " |", "|---" * (len(figures) + 2) + "|"]
    for src in sorted(res):
        r = res[src]
        lines.append(f"| {src} | {len(r['clicks/1'])} | " + " | ".join(f"{np.mean(r[f]):.3f}" for f in figures) + " |")
    mean = {f: float(np.mean([np.mean(r[f]) for r in res.values()])) for f in figures}
    lines.append("| **mean over sources** | | " + " | ".join(f"{mean[f]:.3f}" for f in figures) + " |")
    return "\n".join(lines), mean


def load(path):
    if path.endswith(".safetensors"):
        return export.load(path)
    net = Nano()
    net.load_state_dict(torch.load(path, weights_only=False, map_location="cpu")["ema"])
    return net.eval()


if __name__ == "__main__":
    a = argparse.ArgumentParser()
    a.add_argument("model", nargs="?")
    a.add_argument("--data", default="../shared/data/dev.segpack")
    a.add_argument("--size", type=int, default=0)
    a.add_argument("--clicks", type=int, default=10)
    a.add_argument("--per-image", type=int, default=0)
    a.add_argument("--shard", default="0/1", help="i/n: every n-th picture from the i-th, for several processes")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--json", help="write every IoU there")
    a.add_argument("--merge", nargs="*", help="instead of running: the table of these --json files")
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    if a.merge:
        res = {}
        for path in a.merge:
            for src, figures in json.load(open(path)).items():
                for f, v in figures.items():
                    res.setdefault(src, {}).setdefault(f, []).extend(v)
    else:
        net, t = load(a.model), time.time()
        size = a.size or net.cfg.image_size
        res = evaluate(net, a.data, size, a.clicks, a.per_image, shard=tuple(map(int, a.shard.split("/"))))
    print(table(res, a.clicks)[0])
    if not a.merge:
        print(f"S = {size}, {time.time() - t:.0f} s")
    if a.json:
        json.dump({s: {f: [round(float(x), 4) for x in v] for f, v in r.items()} for s, r in res.items()}, open(a.json, "w"))
