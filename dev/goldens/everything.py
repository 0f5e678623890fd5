"""Automatic masks at moderate size: upstream's generator against `samovar everything`, same weights, same picture.

    python everything.py --samovar ../../target/release/samovar
    python everything.py --samovar ... --model sam_vit_b_01ec64.pth --type vit_b --image photo.jpg

Without --model, the tiny SAM of `automatic/` segments drawn pictures of 480 x 360 and 333 x 500, with 32 points per side,
with two layers of crops and small regions removed, and with thresholds that no mask passes. With --model (an original checkpoint) and --image it runs upstream's defaults.
Prints, for each case, how many masks both sides have and how well they match; the exit code is 1 unless the numbers are
equal, every mask has a partner of its own with IoU >= 0.99, and the scores of partners agree.

`samovar everything IMAGE --model M --out FILE.json` writes COCO: {"images": [...], "annotations": [{"segmentation":
{"size": [h, w], "counts": "..."}, "bbox": [x, y, w, h], "area": ..., "predicted_iou": ..., "stability_score": ...,
"point_coords": [[x, y]], "crop_box": [x, y, w, h]}, ...]}. Settings are passed as upstream names them, with dashes:
--points-per-side, --pred-iou-thresh, --stability-score-thresh, --box-nms-thresh, --crop-n-layers,
--crop-n-points-downscale-factor, --crop-nms-thresh, --min-mask-region-area.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import automatic
import common

HERE = Path(__file__).resolve().parent
LENIENT = dict(pred_iou_thresh=0.35, stability_score_thresh=0.6)
CASES = {
    "dense": ((480, 360), 21, dict(points_per_side=32, **LENIENT)),
    "crops": ((333, 500), 22, dict(
        points_per_side=16, crop_n_layers=2, crop_n_points_downscale_factor=2, min_mask_region_area=100, **LENIENT)),
    "none_survive": ((200, 150), 23, dict(points_per_side=6)),
}
SCORE, IOU = 2e-3, 0.99


def as_flags(settings):
    return [text for name, value in settings.items() for text in ("--" + name.replace("_", "-"), str(value))]


def run_samovar(binary, picture, model, settings, folder):
    source, target = folder / "picture.png", folder / "masks.json"
    Image.fromarray(picture).save(source)
    target.unlink(missing_ok=True)
    command = [binary, "everything", source, "--model", model, "--out", target, *as_flags(settings)]
    start = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True)
    return json.loads(target.read_text())["annotations"], time.perf_counter() - start


def pair(ours, theirs):
    """(index of ours, index of theirs, IoU), best pairs first, each mask once."""
    from pycocotools import mask as coco

    if not ours or not theirs:
        return []
    table = coco.iou([a["segmentation"] for a in ours], [b["segmentation"] for b in theirs], [0] * len(theirs))
    pairs = []
    for flat in np.argsort(-table, axis=None, kind="stable"):
        i, j = np.unravel_index(flat, table.shape)
        if all(i != a and j != b for a, b, _ in pairs):
            pairs.append((i, j, table[i, j]))
        if len(pairs) == min(table.shape):
            break
    return pairs


def compare(name, ours, theirs):
    pairs = pair(ours, theirs)
    matched = [(i, j) for i, j, overlap in pairs if overlap >= IOU]
    identical = sum(overlap == 1.0 for _, _, overlap in pairs)
    apart = {
        score: max((abs(ours[i][score] - theirs[j][score]) for i, j in matched), default=0.0)
        for score in ("predicted_iou", "stability_score")}
    same_points = sum(
        np.allclose(ours[i]["point_coords"], theirs[j]["point_coords"], atol=1e-3)
        and np.allclose(ours[i]["crop_box"], theirs[j]["crop_box"]) for i, j in matched)
    fine = len(ours) == len(theirs) == len(matched) and max(apart.values()) <= SCORE
    print(f"{name}: samovar {len(ours)} masks, upstream {len(theirs)}; {len(matched)} match at IoU >= {IOU}, "
          f"{identical} are identical, {same_points} come from the same point and crop")
    if pairs:
        print(f"  worst IoU {min(overlap for _, _, overlap in pairs):.4f}, predicted_iou apart by "
              f"{apart['predicted_iou']:.1e}, stability_score by {apart['stability_score']:.1e}"
              + ("" if fine else "   BEYOND"))
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samovar", required=True, help="the binary")
    parser.add_argument("--model", type=Path, help="an original SAM checkpoint instead of the tiny one")
    parser.add_argument("--type", choices=["vit_b", "vit_l", "vit_h"], default="vit_b")
    parser.add_argument("--image", type=Path, help="with --model: the picture")
    parser.add_argument("--threads", type=int, default=2, help="for upstream")
    arguments = parser.parse_args()
    if bool(arguments.model) != bool(arguments.image):
        parser.error("--model and --image go together")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)

    if arguments.model:
        from segment_anything import sam_model_registry

        model, sam = arguments.model, sam_model_registry[arguments.type](checkpoint=str(arguments.model))
        cases = {arguments.image.name: (np.array(Image.open(arguments.image).convert("RGB")), {})}
    else:
        model, sam = HERE / "automatic" / "sam.pth", automatic.build()
        sam.load_state_dict(torch.load(model, weights_only=True), strict=True)
        cases = {
            name: (automatic.scene(np.random.default_rng(seed), *size, 14)[0], settings)
            for name, (size, seed, settings) in CASES.items()}

    fine = True
    with tempfile.TemporaryDirectory() as folder:
        for name, (picture, settings) in cases.items():
            start = time.perf_counter()
            theirs = automatic.generate(sam, picture, settings)
            upstream_s = time.perf_counter() - start
            ours, samovar_s = run_samovar(arguments.samovar, picture, model, settings, Path(folder))
            fine &= compare(name, ours, theirs)
            print(f"  upstream {upstream_s:.1f} s, samovar {samovar_s:.1f} s with start and load")
    print("within bounds" if fine else "BEYOND")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
