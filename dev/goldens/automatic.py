"""Goldens of automatic masks: segment_anything's SamAutomaticMaskGenerator on a tiny SAM and a small picture.

    python automatic.py --out automatic            from the committed sam.pth
    python automatic.py --out automatic --train    trains a new sam.pth first (minutes)

Random weights give masks that cover everything and die in the first suppression, so this SAM is trained for some minutes on
ellipses and rectangles: it segments simple shapes and rates itself. Training repeats bit by bit only on the same kind of
machine, therefore the weights are kept beside the results. Writes
    sam.pth          state dict, original names
    shapes.png       97 x 61 picture
    plain.json, crops.json      settings, and the records in upstream's order: segmentation (COCO compressed RLE), bbox
                     (x, y, w, h), area, predicted_iou, stability_score, point_coords, crop_box
    stages.json      for `plain`, how many candidates each step keeps

`plain`: one pass. `crops`: one crop layer with half the points per side, min_mask_region_area 12 (holes filled, islands
dropped, second suppression). The recipe stops if the masks that survive change when every weight is perturbed by 1e-5:
no decision may hang on a rounding error.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import common

SEED = 20260103
SIZE = 64
SETTINGS = {
    "plain": dict(
        points_per_side=8, points_per_batch=64, pred_iou_thresh=0.35, stability_score_thresh=0.6, box_nms_thresh=0.8),
    "crops": dict(
        points_per_side=8, points_per_batch=24, pred_iou_thresh=0.4, stability_score_thresh=0.6, box_nms_thresh=0.8,
        crop_n_layers=1, crop_nms_thresh=0.75, crop_n_points_downscale_factor=2, min_mask_region_area=12),
}


def build():
    return common.build_original_sam(
        image_size=SIZE, patch_size=8, dim=16, depth=2, heads=2, mlp_ratio=2.5, window=3, global_blocks=[1],
        prompt_dim=32, mask_channels=8, decoder_mlp=40, decoder_heads=8, iou_hidden=20)


# ------------------------------------------------------------------------------------------------- pictures


def scene(rng, width, height, shapes):
    """A noisy gradient with flat ellipses and rectangles; also one boolean mask per shape (what is visible of it)."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    slope = rng.normal(size=(2, 3)) * 40
    picture = 110 + slope[0] * (x[..., None] / width - 0.5) + slope[1] * (y[..., None] / height - 0.5)
    masks = []
    for _ in range(shapes):
        cx, cy = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
        rx, ry = rng.uniform(0.08, 0.3, 2) * max(width, height)
        if rng.random() < 0.5:
            shape = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
        else:
            shape = (abs(x - cx) < rx * 0.9) & (abs(y - cy) < ry * 0.9)
        picture[shape] = rng.uniform(0, 255, 3)
        masks = [mask & ~shape for mask in masks] + [shape]
    picture += rng.normal(size=picture.shape) * 4
    return np.clip(picture, 0, 255).astype(np.uint8), [mask for mask in masks if mask.sum() > 20]


# ------------------------------------------------------------------------------------------------- training


def train(steps=4000, pictures=2):
    """Least-loss-of-three mask training with an IoU head, as in the paper, on scenes drawn as it goes."""
    torch.set_grad_enabled(True)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    sam = build().train()
    common_start(sam)
    optimizer = torch.optim.AdamW(sam.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        loss = 0.0
        for _ in range(pictures):
            picture, masks = scene(rng, SIZE, SIZE, rng.integers(3, 8))
            if not masks:
                continue
            pixels = sam.preprocess(torch.from_numpy(picture).permute(2, 0, 1).float())[None]
            embedding = sam.image_encoder(pixels)
            truth = torch.from_numpy(np.stack(masks)).float()
            points = []
            for mask in masks:
                inside = np.argwhere(mask)
                points.append(inside[rng.integers(len(inside))][::-1].astype(np.float32))
            points = torch.from_numpy(np.stack(points))[:, None]
            sparse, dense = sam.prompt_encoder(
                points=(points, torch.ones(len(points), 1)), boxes=None, masks=None)
            low, iou = sam.mask_decoder(
                image_embeddings=embedding, image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=True)
            logits = F.interpolate(low, (SIZE, SIZE), mode="bilinear", align_corners=False)
            target = truth[:, None].expand_as(logits)
            chance = logits.sigmoid()
            cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((2, 3))
            dice = 1 - (2 * (chance * target).sum((2, 3)) + 1) / ((chance + target).sum((2, 3)) + 1)
            each = 2 * cross + dice
            with torch.no_grad():
                hard = logits > 0
                real = (hard & (target > 0)).sum((2, 3)) / (hard | (target > 0)).sum((2, 3)).clamp(min=1)
            loss = loss + (each.min(1).values.mean() + 0.1 * each.mean() + F.mse_loss(iou, real)) / pictures
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:5} loss {loss.item():.3f} iou {real.max(1).values.mean():.3f}", file=sys.stderr)
    torch.set_grad_enabled(False)
    return sam.eval()


def common_start(sam):
    """Position tables start seeded; upstream starts them at zero and a short training would leave them there."""
    for name, parameter in sam.named_parameters():
        if name.endswith(("rel_pos_h", "rel_pos_w", "pos_embed")):
            parameter.data.copy_(0.1 * common.seeded_value(name, parameter, SEED))


# ------------------------------------------------------------------------------------------------ generation


def generate(sam, picture, settings):
    from segment_anything import SamAutomaticMaskGenerator

    return SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **settings).generate(picture)


def boolean(record):
    from pycocotools import mask as coco

    return torch.from_numpy(coco.decode(record["segmentation"]).astype(bool))


def count_stages(sam, picture, settings):
    """How many of the candidates each step of a plain pass keeps, counted with upstream's own functions."""
    from segment_anything import SamPredictor
    from segment_anything.utils import amg
    from torchvision.ops.boxes import batched_nms

    predictor = SamPredictor(sam)
    predictor.set_image(picture)
    height, width = picture.shape[:2]
    points = amg.build_point_grid(settings["points_per_side"]) * np.array([width, height])
    coords = torch.as_tensor(predictor.transform.apply_coords(points, (height, width)))
    logits, iou, _ = predictor.predict_torch(
        coords[:, None], torch.ones(len(points), 1, dtype=torch.int), multimask_output=True, return_logits=True)
    logits, iou = logits.flatten(0, 1), iou.flatten(0, 1)
    stages = {"candidates": len(iou)}
    keep = iou > settings["pred_iou_thresh"]
    stages["predicted_iou"] = int(keep.sum())
    logits, iou = logits[keep], iou[keep]
    keep = amg.calculate_stability_score(logits, 0.0, 1.0) >= settings["stability_score_thresh"]
    stages["stability"] = int(keep.sum())
    logits, iou = logits[keep], iou[keep]
    boxes = amg.batched_mask_to_box(logits > 0)
    stages["suppression"] = len(
        batched_nms(boxes.float(), iou, torch.zeros(len(boxes)), settings["box_nms_thresh"]))
    return stages


def same_set(a, b):
    """Both lists hold the same masks: equally many, each with a partner of IoU >= 0.99."""
    if len(a) != len(b):
        return False
    return all(max(common.mask_iou(boolean(x), boolean(y)) for y in b) >= 0.99 for x in a)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", action="store_true", help="train a new sam.pth first")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    common.use_one_thread()

    weights = out / "sam.pth"
    if arguments.train:
        torch.save(train().state_dict(), weights)
    sam = build()
    sam.load_state_dict(torch.load(weights, weights_only=True), strict=True)

    picture, _ = scene(np.random.default_rng(PICTURE), 97, 61, 9)
    Image.fromarray(picture).save(out / "shapes.png", optimize=True)
    picture = np.array(Image.open(out / "shapes.png").convert("RGB"))

    for name, settings in SETTINGS.items():
        records = generate(sam, picture, settings)
        print(f"{name}: {len(records)} masks, areas {sorted(r['area'] for r in records)}")
        for attempt in range(3):
            shaken = build()
            shaken.load_state_dict({
                key: value * (1 + 1e-5 * common.normal(SEED + attempt, key, value.shape))
                for key, value in sam.state_dict().items()})
            assert same_set(records, generate(shaken, picture, settings)), f"{name}: a decision is too close"
        described = dict(settings, stability_score_offset=1.0, crop_overlap_ratio=512 / 1500)
        document = {"image": "shapes.png", "model": "sam.pth", "settings": described, "masks": records}
        (out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    stages = count_stages(sam, picture, SETTINGS["plain"])
    print(stages)
    (out / "stages.json").write_text(json.dumps(stages) + "\n")
    common.write_manifest(
        out, recipe="automatic.py", seed=SEED,
        packages=common.versions("segment-anything", "torchvision", "pycocotools", "opencv-python-headless", "pillow"),
        tolerance={"mask_iou": 0.99, "predicted_iou": 1e-4, "stability_score": 2e-3, "box_pixels": 1},
    )


PICTURE = 2  # seed of the picture, chosen among a few for a good spread of sizes

if __name__ == "__main__":
    main()
