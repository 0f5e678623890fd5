"""What classical tools reach on a segpack: OpenCV's GrabCut from the exact box, flood fill from the first click.

    python grabcut.py PACK.segpack [--limit N] [--tolerance 24] [--json FILE]

One mask per picture: of all labelled masks of at least 0.1 % of the picture, in order of layer and label, number
crc32(id) mod count. The box is the mask's own; the click is the point farthest from the mask's border (the picture's
edge counts as border), the first in row order among equals. IoU is averaged per source, then over sources. These are the
reference figures beside the models' in `samovar eval`: its table is what `--json` writes on a whole pack, kept as
`crates/samovar-runtime/src/evaluate/reference.json`.

SEGPACK1 (little endian): 8 bytes `SEGPACK1`, then records of u32 length + JSON header, u32 length + JPEG, u8 number of
label layers, and for each u32 length + PNG label map (0 unlabelled, 1..n masks).
"""

import argparse
import json
import struct
import sys
import time
import zlib
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np


def records(path):
    """(header, BGR picture, label maps) of every record."""
    with open(path, "rb") as file:
        if file.read(8) != b"SEGPACK1":
            sys.exit(f"{path}: not a SEGPACK1 file")

        def block():
            return file.read(struct.unpack("<I", file.read(4))[0])

        while length := file.read(4):
            header = json.loads(file.read(struct.unpack("<I", length)[0]))
            picture = cv2.imdecode(np.frombuffer(block(), np.uint8), cv2.IMREAD_COLOR)
            layers = file.read(1)[0]
            maps = [cv2.imdecode(np.frombuffer(block(), np.uint8), cv2.IMREAD_UNCHANGED) for _ in range(layers)]
            yield header, picture, maps


def fingerprint(names):
    """FNV-1a of the pictures' names, as `samovar eval` takes it to know the pack again."""
    state = 0xCBF29CE484222325
    for byte in "".join(f"{name}\n" for name in names).encode():
        state = ((state ^ byte) * 0x100000001B3) % 2**64
    return f"{state:016x}"


def pick_mask(header, maps, least=0.001):
    masks = [
        (layer, label)
        for layer, labels in enumerate(maps)
        for label, area in zip(*np.unique(labels, return_counts=True))
        if label > 0 and area >= least * labels.size
    ]
    if not masks:
        return None
    layer, label = masks[zlib.crc32(str(header["id"]).encode()) % len(masks)]
    return maps[layer] == label


def first_click(mask):
    padded = np.pad(mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(np.argmax(distance), distance.shape)
    return int(x), int(y)


def grabcut(picture, mask, iterations=5):
    ys, xs = np.nonzero(mask)
    x, y, w, h = int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1
    if w * h == mask.size:  # nothing outside to learn the background from: the box is the answer
        return np.ones_like(mask)
    labels = np.zeros(mask.shape, np.uint8)
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(
            picture, labels, (x, y, w, h), np.zeros((1, 65)), np.zeros((1, 65)), iterations, cv2.GC_INIT_WITH_RECT)
    except cv2.error:  # too few pixels for its colour models
        labels[y : y + h, x : x + w] = cv2.GC_PR_FGD
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def flood_fill(picture, mask, tolerance):
    filled = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | (1 << 8)
    cv2.floodFill(picture.copy(), filled, first_click(mask), 0, (tolerance,) * 3, (tolerance,) * 3, flags)
    return filled[1:-1, 1:-1] > 0


def filled_box(mask):
    ys, xs = np.nonzero(mask)
    box = np.zeros_like(mask)
    box[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = True
    return box


def iou(a, b):
    return float((a & b).sum() / max(1, (a | b).sum()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--limit", type=int, help="only the first N pictures")
    parser.add_argument("--tolerance", type=int, default=24, help="of the flood fill, grey levels per channel")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(arguments.threads)

    scores, seconds = defaultdict(lambda: defaultdict(list)), defaultdict(float)
    names = []
    for index, (header, picture, maps) in enumerate(records(arguments.pack)):
        if arguments.limit and index >= arguments.limit:
            break
        names.append(f"{header['src']}/{header['id']}")
        mask = pick_mask(header, maps)
        if mask is None:
            continue
        for name, tool in (
            ("GrabCut from the box", grabcut),
            ("flood fill from the click", lambda p, m: flood_fill(p, m, arguments.tolerance)),
            ("the box itself", lambda p, m: filled_box(m)),
        ):
            start = time.perf_counter()
            found = tool(picture, mask)
            seconds[name] += time.perf_counter() - start
            scores[name][header["src"]].append(iou(found, mask))

    results = {}
    for name, sources in scores.items():
        means = {source: round(float(np.mean(values)), 4) for source, values in sorted(sources.items())}
        count = sum(len(values) for values in sources.values())
        results[name] = {
            "mean_over_sources": float(np.mean(list(means.values()))), "masks": count, "sources": means,
            "seconds_per_mask": round(seconds[name] / count, 4)}
        print(f"{name:28} IoU {results[name]['mean_over_sources']:.4f}  ({count} masks, {len(means)} sources, "
              f"{1000 * seconds[name] / count:.1f} ms each)")
        print("  " + "  ".join(f"{source} {mean:.3f}" for source, mean in means.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {"opencv": cv2.__version__, "pack_fingerprint": fingerprint(names), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
