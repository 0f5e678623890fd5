"""Measures a checkpoint or exported file on a SEGPACK by the data's protocol.

    python evaluate.py nano.safetensors --data ../shared/data/dev.segpack [--size 512] [--per-image 4] [--procs 2] [--json out.json]

First click: the point farthest from the mask's border; next clicks: the same in the larger error region (false
negatives or false positives, whichever has more pixels; the frame counts as border), previous logits fed back; box:
the mask's box, each side moved by up to 5 % of its length (seed 0). Masks under 0.1 % of the image are skipped. Mean
IoU per source, then over sources. --per-image limits the masks per picture (seeded choice) for quick looks.

Beside IoU: boundary F, as DAVIS has it, with boundary pixels matched within two pixels (of the picture as it is in the
pack); how predicted IoU of one-click masks goes with the truth (Pearson over all masks and tokens, and for the single
mask alone, and Spearman); and the choice among three: the share of clicks for which the mask of the best predicted IoU is
better than the single mask, of those where the two differ by more than 0.01.
"""
import argparse
import json
import multiprocessing
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
    return (F.interpolate(x, size, mode="bilinear", align_corners=False)[:, 0] > 0).cpu().numpy()


def choose(masks, iou, rule):
    """-> logits [P, S/4, S/4], token index [P]."""
    if rule == "token_0":
        i = torch.zeros(len(iou), dtype=torch.long, device=iou.device)
    elif rule == "best_predicted_iou_of_1_to_3":
        i = iou[:, 1:].argmax(1) + 1
    else:
        i = iou.argmax(1)
    return masks[torch.arange(len(iou), device=iou.device), i], i


def iou_of(a, b):
    inter = (a & b).sum((1, 2))
    return inter / np.maximum(1, (a | b).sum((1, 2)))


def boundary(mask):
    """bool [h, w] -> u8 [h, w]: pixels whose right, lower or lower right neighbour is on the other side."""
    m = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return ((m[:-1, :-1] != m[:-1, 1:]) | (m[:-1, :-1] != m[1:, :-1]) | (m[:-1, :-1] != m[1:, 1:])).astype(np.uint8)


# All offsets of up to two pixels, Euclidean, as skimage's disk(2) in the DAVIS evaluation; OpenCV's 5 x 5 ellipse has four more.
DISK = (np.add.outer(np.arange(-2, 3) ** 2, np.arange(-2, 3) ** 2) <= 4).astype(np.uint8)


def boundary_f(a, b):
    """bool [P, h, w] twice -> F of precision and recall of boundary pixels within two pixels, [P]."""
    out = np.zeros(len(a))
    for i, (p, g) in enumerate(zip(a, b)):
        p, g = boundary(p), boundary(g)
        n, m = p.sum(), g.sum()
        precision = (p & cv2.dilate(g, DISK)).sum() / n if n else 1.0
        recall = (g & cv2.dilate(p, DISK)).sum() / m if m else 1.0
        out[i] = 2 * precision * recall / max(1e-9, precision + recall)
    return out


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
    dev = next(net.parameters()).device
    feats = net.encode(pixels.to(dev))
    h, w = img.shape[:2]
    k = torch.tensor([new[1] / w, new[0] / h], device=dev)
    for at in range(0, len(gt), chunk):
        g = gt[at:at + chunk]
        n = len(g)
        b = torch.from_numpy(boxes[at:at + chunk]).to(dev) * torch.cat([k, k])
        m, p = net.decode(feats, torch.zeros(n, 0, 2, device=dev), torch.zeros(n, 0, dtype=torch.long, device=dev), b)
        for r in ("token_0", "best_predicted_iou_of_0_to_3") if rules == "all" else (rules[1],):
            on = to_masks(choose(m, p, r)[0], s, new, (h, w))
            out.setdefault(f"box/{r}", []).extend(iou_of(on, g))
            if r == "token_0":
                out.setdefault("boundary/box", []).extend(boundary_f(on, g))
        xy, lab = next_clicks(np.zeros_like(g), g)
        pts, labs, prev = torch.from_numpy(xy).to(dev)[:, None] * k, torch.from_numpy(lab).to(dev)[:, None], None
        for c in range(clicks):
            m, p = net.decode(feats, pts, labs, None, prev)
            rule = (rules if rules != "all" else (RULES[0], RULES[0]))[int(c > 0)]
            prev, _ = choose(m, p, rule)
            on = to_masks(prev, s, new, (h, w))
            iou = iou_of(on, g)
            out.setdefault(f"clicks/{c + 1}", []).extend(iou)
            if c in (0, clicks - 1):
                out.setdefault(f"boundary/{c + 1}", []).extend(boundary_f(on, g))
            if c == 0:
                each = np.stack([iou_of(to_masks(m[:, i], s, new, (h, w)), g) for i in range(4)], 1)
                out.setdefault("one_click_oracle_of_3", []).extend(each[:, 1:].max(1))
                for r in RULES:
                    i = choose(m, p, r)[1].cpu().numpy()
                    out.setdefault(f"one_click/{r}", []).extend(each[np.arange(n), i])
                for i in range(4):
                    out.setdefault(f"true/{i}", []).extend(each[:, i])
                    out.setdefault(f"predicted/{i}", []).extend(p[:, i].cpu().numpy())
            if c + 1 < clicks:
                xy, lab = next_clicks(on, g)
                pts = torch.cat([pts, torch.from_numpy(xy).to(dev)[:, None] * k], 1)
                labs = torch.cat([labs, torch.from_numpy(lab).to(dev)[:, None]], 1)


def evaluate(net, pack, s, clicks=10, per_image=0, rules="all", shard=(0, 1), per_source=0):
    """-> {source: {figure: [value per mask]}}; shard (i, n) takes every n-th picture from the i-th, per_source > 0 only
    the first pictures of every source."""
    cv2.setNumThreads(1)
    rng, pick, res, seen = np.random.default_rng(0), np.random.default_rng(1), {}, {}
    for n, rec in enumerate(read_pack(pack)):
        src = rec[0]["src"]
        seen[src] = seen.get(src, 0) + 1
        if per_source and seen[src] > per_source:
            continue
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
            run_image(net, s, img, gt, np.array(boxes, np.float32), clicks, rules, res.setdefault(src, {}))
    return res


def _part(path, *rest):
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    net = load(path)
    return evaluate(net, *(net.cfg.image_size if r == "own size" else r for r in rest))


def merge(parts):
    res = {}
    for part in parts:
        for src, figures in part.items():
            for f, v in figures.items():
                res.setdefault(src, {}).setdefault(f, []).extend(v)
    return res


def evaluate_file(path, pack, size=0, clicks=10, per_image=0, procs=1, per_source=0):
    """The same of a file, by processes of one thread each, on the processor."""
    jobs = [(path, pack, size or "own size", clicks, per_image, "all", (i, procs), per_source) for i in range(procs)]
    if procs == 1:
        return _part(*jobs[0])
    with multiprocessing.get_context("spawn").Pool(procs) as pool:
        return merge(pool.starmap(_part, jobs))


def ranks(x):
    """Ranks of x, equal values sharing their mean rank."""
    _, where, count = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[where]


def correlation(x, y):
    x, y = x - np.mean(x), y - np.mean(y)
    return float((x * y).sum() / max(1e-12, np.sqrt((x * x).sum() * (y * y).sum())))


def summary(res, clicks=10, without=()):
    """-> the figures that releases are judged by, over all sources but those in `without`."""
    res = {s: r for s, r in res.items() if s not in without}
    mean = lambda f: float(np.mean([np.mean(r[f]) for r in res.values()]))
    flat = lambda f: np.concatenate([np.asarray(r[f], float) for r in res.values()])
    true, said = [flat(f"true/{i}") for i in range(4)], [flat(f"predicted/{i}") for i in range(4)]
    gain = flat("one_click/best_predicted_iou_of_1_to_3") - flat("one_click/token_0")
    differ = np.abs(gain) > 0.01
    t, p = np.concatenate(true), np.concatenate(said)
    return {"masks": len(gain), "one_click": mean("one_click/token_0"), "chosen_of_3": mean(f"one_click/{RULES[1]}"),
            "chosen_of_4": mean(f"one_click/{RULES[2]}"), "oracle_of_3": mean("one_click_oracle_of_3"),
            "box": mean("box/token_0"), f"clicks_{clicks}": mean(f"clicks/{clicks}"),
            "boundary_f_1": mean("boundary/1"), "boundary_f_box": mean("boundary/box"),
            f"boundary_f_{clicks}": mean(f"boundary/{clicks}"),
            "predicted_iou_pearson": correlation(p, t), "predicted_iou_spearman": correlation(ranks(p), ranks(t)),
            "predicted_iou_pearson_single": correlation(said[0], true[0]),
            "choice_beats_single": float((gain[differ] > 0).mean()) if differ.any() else 0.5}


def table(res, clicks):
    figures = ["one_click/token_0", f"one_click/{RULES[1]}", f"one_click/{RULES[2]}", "one_click_oracle_of_3",
               "box/token_0", "box/best_predicted_iou_of_0_to_3", "clicks/1", "clicks/2", "clicks/3", "clicks/5", f"clicks/{clicks}"]
    figures = [f for f in dict.fromkeys(figures) if any(f in r for r in res.values())]
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
    a.add_argument("--procs", type=int, default=1, help="processes of one thread each")
    a.add_argument("--per-source", type=int, default=0, help="only the first N pictures of every source")
    a.add_argument("--json", help="write every figure of every mask there")
    a.add_argument("--merge", nargs="*", help="instead of running: the table of these --json files")
    a = a.parse_args()
    t = time.time()
    if a.merge:
        res = merge(json.load(open(path)) for path in a.merge)
    else:
        res = evaluate_file(a.model, a.data, a.size, a.clicks, a.per_image, a.procs, a.per_source)
    print(table(res, a.clicks)[0])
    for without in ((), ("soybean",)):
        print(json.dumps({"without": without, **{k: round(v, 4) for k, v in summary(res, a.clicks, without).items()}}))
    if not a.merge:
        print(f"{time.time() - t:.0f} s")
    if a.json:
        json.dump({s: {f: [round(float(x), 4) for x in v] for f, v in r.items()} for s, r in res.items()}, open(a.json, "w"))
