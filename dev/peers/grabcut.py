"""What classical tools reach on a segpack: OpenCV's GrabCut from a box, flood fill from a click.

    python grabcut.py PACK.segpack --prompts FIGURES.json [--tolerance 24] [--json FILE]
    python grabcut.py PACK.segpack [--limit N] [--tolerance 24] [--json FILE]

With --prompts, what `samovar eval PACK --json` wrote, everything is done on the masks that samovar was measured on, with the
prompts that it was given: GrabCut from the same box (each side moved by up to 5 %, here rounded outwards to whole pixels),
flood fill from the same first click. One table has all of them, IoU / boundary F at two pixels, averaged per source, then
over sources. `run.py masks` does both steps. The exact box taken as a mask is measured by samovar and here; where the two
differ, the masks or the definitions do, and the program ends with 1.

Without, one mask per picture: of all labelled masks of at least 0.1 % of the picture, in order of layer and label, number
crc32(id) mod count. The box is the mask's own; the click is the point farthest from the mask's border (the picture's
edge counts as border), the first in row order among equals. These are the reference figures in `samovar eval`: its table is
what `--json` writes on a whole pack, kept as `crates/samovar-runtime/src/evaluate/reference.json`.

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


def bounds_of(mask):
    """First column and row, and one past the last."""
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def grabcut(picture, bounds, iterations=5):
    x0, y0, x1, y1 = bounds
    labels = np.zeros(picture.shape[:2], np.uint8)
    if (x1 - x0) * (y1 - y0) == labels.size:  # nothing outside to learn the background from: the box is the answer
        return np.ones(labels.shape, bool)
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(
            picture, labels, (x0, y0, x1 - x0, y1 - y0), np.zeros((1, 65)), np.zeros((1, 65)), iterations,
            cv2.GC_INIT_WITH_RECT)
    except cv2.error:  # too few pixels for its colour models
        labels[y0:y1, x0:x1] = cv2.GC_PR_FGD
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def flood_fill(picture, click, tolerance):
    filled = np.zeros((picture.shape[0] + 2, picture.shape[1] + 2), np.uint8)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | (1 << 8)
    cv2.floodFill(picture.copy(), filled, click, 0, (tolerance,) * 3, (tolerance,) * 3, flags)
    return filled[1:-1, 1:-1] > 0


def filled_box(picture, bounds):
    x0, y0, x1, y1 = bounds
    box = np.zeros(picture.shape[:2], bool)
    box[y0:y1, x0:x1] = True
    return box


def iou(a, b):
    return float((a & b).sum() / max(1, (a | b).sum()))


def boundary_f(found, truth, reach=2):
    """F of the boundaries' precision and recall, as davis2017-evaluation's `f_measure` has it with `bound_th=reach`."""
    square = np.arange(-reach, reach + 1) ** 2
    disk = (square[:, None] + square <= reach * reach).astype(np.uint8)

    def line(mask):
        m = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
        here = m[:-1, :-1]
        return ((here != m[:-1, 1:]) | (here != m[1:, :-1]) | (here != m[1:, 1:])).astype(np.uint8)

    a, b = line(found), line(truth)
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    precision, recall = (a & cv2.dilate(b, disk)).sum() / a.sum(), (b & cv2.dilate(a, disk)).sum() / b.sum()
    return float(2 * precision * recall / max(1e-300, precision + recall))


def same_prompts(arguments):
    """One table of samovar and the classical tools, all on samovar's masks and prompts; the exit code."""
    document = json.loads(arguments.prompts.read_text())
    if not document["complete"]:
        sys.exit(f"{arguments.prompts}: these figures are those of a run that was stopped; run it again to the end")
    wanted = defaultdict(list)
    for mask in document["per_mask"]:
        wanted[mask["source"], mask["picture"]].append(mask)
    clicks = len(document["per_mask"][0]["clicks"])
    columns = {
        "samovar, 1 click": lambda mask: mask["clicks"][0],
        f"samovar, {clicks} clicks": lambda mask: mask["clicks"][-1],
        "samovar, box": lambda mask: mask["box"],
        "GrabCut, the same box": None, "flood fill, the same click": None, "the exact box itself": None}
    scores, seconds, done = defaultdict(lambda: defaultdict(list)), defaultdict(float), 0
    apart, apart_fill = 0.0, []
    for header, picture, maps in records(arguments.pack):
        for mask in wanted.pop((header["src"], header["id"]), []):
            truth = maps[mask["layer"]] == mask["label"]
            if int(truth.sum()) != mask["area"]:
                sys.exit(f"{header['src']}/{header['id']}: this is another pack than that of {arguments.prompts}")
            height, width = truth.shape
            x0, y0, x1, y1 = mask["box"]["bounds"]
            x0, y0 = min(int(np.floor(x0)), width - 1), min(int(np.floor(y0)), height - 1)
            box = x0, y0, max(x0 + 1, int(np.ceil(x1))), max(y0 + 1, int(np.ceil(y1)))
            click = mask["clicks"][0]["x"], mask["clicks"][0]["y"]
            for name, tool in (
                ("GrabCut, the same box", lambda: grabcut(picture, box)),
                ("flood fill, the same click", lambda: flood_fill(picture, click, arguments.tolerance)),
                ("the exact box itself", lambda: filled_box(picture, mask["bounds"])),
            ):
                start = time.perf_counter()
                found = tool()
                seconds[name] += time.perf_counter() - start
                scores[name][header["src"]].append((iou(found, truth), boundary_f(found, truth)))
            for name, of in columns.items():
                if of:
                    scores[name][header["src"]].append((of(mask)["iou"], of(mask)["boundary_f"]))
            ours, theirs = scores["the exact box itself"][header["src"]][-1], mask["bare_box"]
            apart = max(apart, abs(ours[0] - theirs["iou"]), abs(ours[1] - theirs["boundary_f"]))
            apart_fill.append(abs(scores["flood fill, the same click"][header["src"]][-1][0] - mask["flood_fill"]["iou"]))
            done += 1
    if wanted:
        sys.exit(f"{arguments.pack} lacks {len(wanted)} pictures of {arguments.prompts}; it is another pack")

    sources = sorted(next(iter(scores.values())))
    means = {name: {source: np.mean(scores[name][source], 0) for source in sources} for name in columns}
    overall = {name: np.mean(list(means[name].values()), 0) for name in columns}
    cell = lambda pair: f"{pair[0]:.3f} / {pair[1]:.3f}"
    print(f"{document['model']} and OpenCV {cv2.__version__} on {done} masks of {arguments.pack.name}; IoU / boundary F at 2 pixels\n")
    print("| source | masks | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 2) + "|")
    for source in sources:
        count = len(scores["samovar, box"][source])
        print(f"| {source} | {count} | " + " | ".join(cell(means[name][source]) for name in columns) + " |")
    print(f"| **mean over sources** | {done} | " + " | ".join(f"**{cell(overall[name])}**" for name in columns) + " |\n")
    for name, spent in seconds.items():
        print(f"{name}: {1000 * spent / done:.1f} ms each")
    print(f"samovar's figures of the exact box are {apart:.1e} apart from these, its flood fill's IoU "
          f"{np.mean(apart_fill):.4f} on average (JPEG decoders differ by a level or two)")
    if arguments.json:
        arguments.json.write_text(json.dumps({
            "opencv": cv2.__version__, "model": document["model"], "masks": done,
            "mean": {name: {"iou": float(pair[0]), "boundary_f": float(pair[1])} for name, pair in overall.items()},
            "sources": {source: {name: {"iou": float(means[name][source][0]), "boundary_f": float(means[name][source][1])}
                                 for name in columns} for source in sources}}, indent=1) + "\n")
    return int(apart > 1e-9)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--prompts", type=Path, help="what `samovar eval --json` wrote on this pack")
    parser.add_argument("--limit", type=int, help="only the first N pictures")
    parser.add_argument("--tolerance", type=int, default=24, help="of the flood fill, grey levels per channel")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(arguments.threads)
    if arguments.prompts:
        sys.exit(same_prompts(arguments))

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
            ("GrabCut from the box", lambda p, m: grabcut(p, bounds_of(m))),
            ("flood fill from the click", lambda p, m: flood_fill(p, first_click(m), arguments.tolerance)),
            ("the box itself", lambda p, m: filled_box(p, bounds_of(m))),
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
