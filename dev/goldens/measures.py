"""Figures of davis2017-evaluation on drawn masks: boundary F, and J and F of small sequences.

    python measures.py --davis DIR --out measures

DIR is a checkout of davisvideochallenge/davis2017-evaluation at ac7c43f (BSD-3-Clause). Needs numpy, pillow, opencv,
scikit-image, scipy and tqdm. Masks are computed from integer formulas, of which the Rust tests repeat `speckle`
(`samovar-media/src/golden.rs`); the sequences lie here as files, by palette as DAVIS has them. A run writes the same bytes
again.
"""
import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image


def noise(seed, height, width):
    """Bytes from a hash of position and seed; `golden::noise` in Rust with one channel."""
    y, x = np.meshgrid(np.arange(height, dtype=np.uint32), np.arange(width, dtype=np.uint32), indexing="ij")
    h = x * np.uint32(374761393) + y * np.uint32(668265263) + np.uint32(seed * 3266489917 % 2**32)
    h ^= h >> np.uint32(15)
    h *= np.uint32(2246822519)
    h ^= h >> np.uint32(13)
    return (h & np.uint32(255)).astype(np.uint8)


def speckle(seed, height, width, density):
    """`golden::speckle` in Rust."""
    on = noise(seed, height, width) < density
    thick = on.copy()
    thick[:, 1:] |= on[:, :-1]
    return thick


def palette_png(path, labels, bits):
    image = Image.fromarray(labels.astype(np.uint8), mode="P")
    colours = [(37 * i % 256, 101 * i % 256, 211 * i % 256) for i in range(2**bits)]
    image.putpalette([channel for colour in colours for channel in colour])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, bits=bits)


def boundary(metrics, out):
    sizes = [(9, 13), (40, 64), (31, 65), (48, 130), (120, 160), (300, 400)]
    cases = []
    for number, (height, width) in enumerate(sizes):
        for found, truth in (((1, 2), (2, 2)), ((3, 1), (3, 6)), ((4, 128), (5, 120)), ((6, 0), (7, 1))):
            reach = [2, None, 1, 5][(number + found[0]) % 4]
            if number == 5 and found[0] == 1:
                reach = 2
            f = metrics.f_measure(
                speckle(found[0], height, width, found[1]), speckle(truth[0], height, width, truth[1]),
                **({} if reach is None else {"bound_th": reach}))
            cases.append({"height": height, "width": width, "found": found, "truth": truth, "reach": reach, "f": float(f)})
    (out / "boundary.json").write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")


def disc(size, cx, cy, r):
    y, x = np.mgrid[: size[0], : size[1]]
    return (x - cx) ** 2 + (y - cy) ** 2 <= r * r


def sequences():
    """{name: [(truth, found) of every frame]}, labels [h, w]."""
    two = []
    for t in range(12):  # two discs that cross; the second is lost after frame 7; unclear pixels in frame 5
        truth = np.zeros((48, 64), np.uint8)
        found = truth.copy()
        truth[disc(truth.shape, 16 + 3 * t, 24, 9)] = 2
        truth[disc(truth.shape, 48 - 3 * t, 20, 7)] = 1
        found[disc(found.shape, 16 + 3 * t + t // 3, 24, 9)] = 2
        if t < 8:
            found[disc(found.shape, 48 - 3 * t, 20 + t // 2, 7)] = 1
        if t == 5:
            truth[:3, :20] = 255
        two.append((truth, found))
    one = []
    for t in range(7):  # a square that leaves; in the last frames neither is there
        truth = np.zeros((30, 41), np.uint8)
        found = truth.copy()
        truth[8:20, 25 + 6 * t : 39 + 6 * t] = 1
        found[8:20, 24 + 6 * t : 36 + 6 * t] = 1
        one.append((truth, found))
    return {"two-discs": two, "leaving": one}


def davis_root(folder, truths):
    """A DAVIS folder that upstream's loader takes."""
    (folder / "ImageSets/2017").mkdir(parents=True)
    (folder / "ImageSets/2017/val.txt").write_text("".join(f"{name}\n" for name in truths))
    for name, path in truths.items():
        shutil.copytree(path, folder / "Annotations/480p" / name)
        for mask in path.iterdir():
            picture = folder / "JPEGImages/480p" / name / f"{mask.stem}.jpg"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(picture)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    out = arguments.out
    sys.path.insert(0, str(arguments.davis.resolve()))
    from davis2017 import metrics, utils
    from davis2017.evaluation import DAVISEvaluation

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    boundary(metrics, out)
    for bits, count in ((1, 2), (2, 4), (4, 16), (8, 100)):
        palette_png(out / f"palette{bits}.png", noise(11, 9, 13) % count, bits)

    for name, frames in sequences().items():
        for number, (truth, found) in enumerate(frames):
            palette_png(out / "truth" / name / f"{number:05}.png", truth, 8)
            palette_png(out / "found" / name / f"{number:05}.png", found, 8)

    expected = {}
    with tempfile.TemporaryDirectory() as folder:
        davis_root(Path(folder), {name: out / "truth" / name for name in sequences()})
        evaluation = DAVISEvaluation(folder, "semi-supervised", "val")
        # Upstream's own loop, for its statistics of every object in order, and for all frames, which it has for another task only.
        result = evaluation.evaluate(str(out / "found"))
        objects = list(result["J"]["M_per_object"])
        middle = {name: {m: [float(result[m][s][i]) for s in "MRD"] for m in "JF"} for i, name in enumerate(objects)}
        whole = {}
        for name, frames in sequences().items():
            truth = np.stack([t * (t != 255) for t, _ in frames])
            found = np.stack([f for _, f in frames])
            ids = np.arange(1, truth[0].max() + 1)[:, None, None, None]
            j, f = evaluation._evaluate_semisupervised(truth[None] == ids, found[None] == ids, None, ("J", "F"))
            for i in range(len(ids)):
                whole[f"{name}_{i + 1}"] = {
                    m: [float(value) for value in utils.db_statistics(v[i])] for m, v in (("J", j), ("F", f))}
        expected = {"without_first_and_last": middle, "all_frames": whole}
    (out / "davis.json").write_text(json.dumps(expected, indent=1) + "\n")

    digest = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
    files = {str(p.relative_to(out)): digest(p) for p in sorted(out.rglob("*")) if p.is_file()}
    (out / "manifest.json").write_text(json.dumps(
        {"upstream": "davisvideochallenge/davis2017-evaluation ac7c43f", "tolerance": 1e-12, "sha256": files}, indent=1) + "\n")


if __name__ == "__main__":
    main()
