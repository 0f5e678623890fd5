"""Pictures of a run: curves from its CSV, and a contact sheet of a model on a dev pack."""
import csv
import os
import sys

import cv2
import numpy as np
import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from data import decode, deepest, read_pack  # noqa: E402
from evaluate import preprocess, to_masks  # noqa: E402

COLOURS = [(60, 60, 220), (200, 120, 30), (60, 160, 60), (180, 60, 180), (20, 160, 200), (120, 120, 120), (0, 90, 140)]
FONT = cv2.FONT_HERSHEY_SIMPLEX


def text(img, s, at, colour=(0, 0, 0), scale=0.4):
    cv2.putText(img, s, at, FONT, scale, colour, 1, cv2.LINE_AA)


def chart(series, title, width=640, height=360):
    """{name: ([x], [y])} -> BGR u8 picture with axes and a legend."""
    img = np.full((height, width, 3), 255, np.uint8)
    x0, y0, x1, y1 = 48, 24, width - 12, height - 24
    xs = np.concatenate([np.asarray(x, float) for x, _ in series.values()])
    ys = np.concatenate([np.asarray(y, float) for _, y in series.values()])
    ys = ys[np.isfinite(ys)]
    if not len(ys):
        return img
    lo_x, hi_x, lo, hi = xs.min(), max(xs.max(), xs.min() + 1e-9), ys.min(), max(ys.max(), ys.min() + 1e-6)
    place = lambda x, y: (int(x0 + (x - lo_x) / (hi_x - lo_x) * (x1 - x0)), int(y1 - (y - lo) / (hi - lo) * (y1 - y0)))
    text(img, title, (x0, 16))
    for i in range(5):
        v = lo + (hi - lo) * i / 4
        y = place(lo_x, v)[1]
        cv2.line(img, (x0, y), (x1, y), (225, 225, 225))
        text(img, f"{v:.3g}", (2, y + 4), scale=0.36)
        h = lo_x + (hi_x - lo_x) * i / 4
        text(img, f"{h:.0f}", (place(h, lo)[0] - 8, height - 6), scale=0.36)
    for i, (name, (x, y)) in enumerate(series.items()):
        c = COLOURS[i % len(COLOURS)]
        x, y = np.array([(a, b) for a, b in zip(x, y) if np.isfinite(b)]).reshape(-1, 2).T
        if not len(y):
            continue
        reach = len(y) // 24  # single rows pale, their running mean over about a twelfth of the run on top
        mean = np.array([y[max(0, i - reach):i + reach + 1].mean() for i in range(len(y))])
        for values, colour in ((y, [(v + 3 * 255) // 4 for v in c]), (mean, c)):
            points = np.array([place(a, b) for a, b in zip(x, values)], np.int32)
            cv2.polylines(img, [points[:, None]], False, colour, 1, cv2.LINE_AA)
        text(img, f"{name} {mean[-1]:.3f}", (x1 - 170, y0 + 14 + 15 * i), c)
    return img


def curves(csv_path, png_path):
    """Draws a CSV with a column `second`, others numbers or empty."""
    rows = list(csv.DictReader(open(csv_path)))
    def get(names):
        out = {}
        for n in names:
            points = [(float(r["second"]), float(r[n])) for r in rows if r.get(n) not in (None, "")]
            if points:
                out[n] = tuple(zip(*points))
        return out
    names = list(rows[0]) if rows else []
    groups = [("loss", ["loss"]), ("training IoU", [n for n in names if n in ("click", "chosen", "oracle", "box") or n.startswith("round")]),
              ("dev IoU", [n for n in names if n.startswith("dev_")]), ("pictures a second", ["images_per_second"])]
    charts = [chart(s, title) for title, wanted in groups if (s := get([n for n in wanted if n in names]))]
    charts += [np.full((360, 640, 3), 255, np.uint8)] * (len(charts) % 2)
    if charts:
        cv2.imwrite(png_path, np.vstack([np.hstack(charts[i:i + 2]) for i in range(0, len(charts), 2)]))


@torch.no_grad()
def sheet(net, pack, png_path, rows=20, tile=144):
    """One mask a row: picture with click and box, single mask by the click, the three masks with predicted IoU, mask by the
    box, truth. Sources take turns; the mask of a picture is the one of median size."""
    dev, s = next(net.parameters()).device, net.cfg.image_size
    by_src, seen = [], {}
    for rec in read_pack(pack):
        seen[rec[0]["src"]] = seen.get(rec[0]["src"], 0) + 1
        by_src.append((seen[rec[0]["src"]], rec[0]["src"], rec))
    lines = []
    for _, src, rec in sorted(by_src, key=lambda t: t[:2]):
        if len(lines) >= rows:
            break
        img, labs = decode(rec)
        img = np.ascontiguousarray(img)
        h, w = img.shape[:2]
        found = [m for lab in labs for i in np.unique(lab[lab > 0]) if (m := lab == i).sum() >= 0.002 * h * w]
        if not found:
            continue
        gt = sorted(found, key=np.sum)[len(found) // 2]
        pixels, new = preprocess(img, s)
        feats = net.encode(pixels.to(dev))
        k = np.array([new[1] / w, new[0] / h], np.float32)
        x, y, _ = deepest(gt.astype(np.uint8))
        bx, by, bw, bh = cv2.boundingRect(gt.astype(np.uint8))
        box = torch.from_numpy(np.array([[bx, by, bx + bw, by + bh]], np.float32) * np.tile(k, 2)).to(dev)
        one = torch.ones(1, 1, dtype=torch.long, device=dev)
        low, said = net.decode(feats, torch.from_numpy(np.array([[[x, y]]], np.float32) * k).to(dev), one)
        by_box, said_box = net.decode(feats, torch.zeros(1, 0, 2, device=dev), one[:, :0], box)
        masks = [*to_masks(low[0], s, new, (h, w)), to_masks(by_box[:, 0], s, new, (h, w))[0], gt]
        notes = [*(f"{p:.2f}" for p in said[0].tolist()), f"{said_box[0, 0].item():.2f}", "truth"]
        bgr = np.ascontiguousarray(img[..., ::-1])
        prompt = bgr.copy()
        cv2.rectangle(prompt, (bx, by), (bx + bw, by + bh), (0, 200, 255), max(1, w // 200))
        cv2.circle(prompt, (x, y), max(3, w // 60), (0, 255, 0), -1)
        cells = [fit(prompt, tile, src)]
        for m, label in zip(masks, notes):
            shown = np.where(m[..., None], (bgr * 0.45 + np.array([40, 200, 40]) * 0.55).astype(np.uint8), (bgr * 0.6).astype(np.uint8))
            iou = (m & gt).sum() / max(1, (m | gt).sum())
            cells.append(fit(shown, tile, label if label == "truth" else f"{label} is {iou:.2f}"))
        lines.append(np.hstack(cells))
    head = np.full((18, tile * 7, 3), 255, np.uint8)
    for i, name in enumerate(["click and box", "click: single", "1 (said, is)", "2", "3", "box: single", "truth"]):
        text(head, name, (i * tile + 4, 13))
    cv2.imwrite(png_path, np.vstack([head, *lines]), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def fit(img, tile, label):
    k = tile / max(img.shape[:2])
    small = cv2.resize(img, (max(1, int(img.shape[1] * k)), max(1, int(img.shape[0] * k))), interpolation=cv2.INTER_AREA)
    out = np.full((tile, tile, 3), 255, np.uint8)
    out[: small.shape[0], : small.shape[1]] = small
    text(out, label, (3, tile - 5), (255, 255, 255), 0.38)
    text(out, label, (2, tile - 6), (0, 0, 0), 0.38)
    return out
