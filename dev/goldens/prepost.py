"""Goldens of SAM 1's pre- and post-processing, from segment_anything and checked against transformers' SamProcessor.

    python prepost.py --out prepost

No picture is stored: test pictures are `picture(width, height)` below, integer arithmetic that any language repeats, and
test logits are triangle waves, exact in f32. Names carry the size as WIDTHxHEIGHT; arrays are row-major (height, width).
    preprocess.safetensors
        side64.<size>.resized        u8 [h, w, 3], ResizeLongestSide(64), Pillow
        side64.97x61.pixel_values    f32 [3, 64, 64], normalised, then padded with zeros right and below
        side1024.<size>.rows         u8 [3, w, 3], the first, middle (h // 2) and last row at side 1024
        coords                       f64 [n, 2] points in image pixels;  side1024.<size>.coords  the same in input pixels
    postprocess.safetensors
        low16                        f32 [16, 16] logits for side 64: logits(16, 1); for side 1024 take logits(256, 16)
        side64.<size>.logits         f32 [h, w], low16 -> 64 -> crop -> picture size, both steps bilinear
        <side>.<size>.counts         i32, COCO run lengths (column by column, zeros first) of logits > 0
manifest.json has each resized size, sha256 of the whole resized array, and how far torchvision's resize (what
transformers uses) is from Pillow's (what the original uses).

A picture whose sides differ by a factor beyond 2 x side gets a resized side of 0; upstream fails there.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import common

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
SMALL = [(97, 61), (61, 97), (1, 1), (3, 200), (200, 3), (64, 64), (65, 64), (641, 427)]
LARGE = [(97, 61), (1, 1), (3, 200), (641, 427), (1023, 1024), (1500, 1001)]


def picture(width, height):
    """u8 [height, width, 3]: ramps that wrap around, and blocks."""
    y, x, c = np.mgrid[0:height, 0:width, 0:3]
    return ((x * (3 + c) + y * (5 + 2 * c) + ((x // 8) ^ (y // 8)) * 37 + 50 * c) % 256).astype(np.uint8)


def triangle(position, period):
    """|position mod period - period / 2|"""
    return np.abs(position % period - period / 2)


def logits(side, stretch):
    """f32 [side, side] between about -13 and 13; every operation is exact."""
    y, x = np.mgrid[0:side, 0:side]
    waves = triangle(x, 10 * stretch) - triangle(y, 7 * stretch) + triangle(x + 2 * y, 13 * stretch) - 3.25 * stretch
    return torch.from_numpy((waves / stretch * 2).astype(np.float32))


def counts(mask):
    """COCO run lengths of a boolean [h, w]: column by column, starting with the number of zeros."""
    flat = mask.numpy().T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return torch.tensor(([0] if flat[0] else []) + runs.tolist(), dtype=torch.int32)


def original_postprocess(low, side, input_size, original_size):
    """segment_anything's Sam.postprocess_masks, called unbound: it needs nothing of the model but its size."""
    from types import SimpleNamespace

    from segment_anything.modeling import Sam

    stand_in = SimpleNamespace(image_encoder=SimpleNamespace(img_size=side))
    return Sam.postprocess_masks(stand_in, low[None, None], input_size, original_size)[0, 0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    common.use_one_thread()
    from segment_anything.utils.transforms import ResizeLongestSide
    from transformers import SamImageProcessor

    coords = np.array([[0.0, 0.0], [10.5, 3.25], [96.0, 60.0], [0.5, 199.5]])
    before, after, sizes = {"coords": torch.from_numpy(coords)}, {}, {}
    low = {64: logits(16, 1), 1024: logits(256, 16)}
    after["low16"] = low[64]

    for side, wanted in ((64, SMALL), (1024, LARGE)):
        transform = ResizeLongestSide(side)
        processor = SamImageProcessor(
            size={"longest_edge": side}, pad_size={"height": side, "width": side},
            mask_size={"longest_edge": side // 4}, mask_pad_size={"height": side // 4, "width": side // 4})
        for width, height in wanted:
            key = f"side{side}.{width}x{height}"
            image = picture(width, height)
            resized = transform.apply_image(image)
            h, w = resized.shape[:2]
            pixels = (torch.from_numpy(resized).permute(2, 0, 1).float() - torch.tensor(MEAN)[:, None, None])
            pixels = torch.nn.functional.pad(pixels / torch.tensor(STD)[:, None, None], (0, side - w, 0, side - h))

            theirs = processor(image, return_tensors="pt", input_data_format="channels_last")
            assert theirs["reshaped_input_sizes"][0].tolist() == [h, w]
            levels = (theirs["pixel_values"][0] - pixels).abs() * torch.tensor(STD)[:, None, None]
            sizes[key] = {
                "resized": [w, h], "sha256": hashlib.sha256(resized.tobytes()).hexdigest(),
                "torchvision_apart_by_levels": round(levels.max().item(), 3),
                "torchvision_pixels_apart": round((levels > 0.5).float().mean().item(), 5),
            }
            print(key, sizes[key])

            if side == 64:
                before[f"{key}.resized"] = torch.from_numpy(resized)
                if (width, height) == (97, 61):
                    before[f"{key}.pixel_values"] = pixels
            else:
                before[f"{key}.rows"] = torch.from_numpy(resized[[0, h // 2, h - 1]])
                before[f"{key}.coords"] = torch.from_numpy(transform.apply_coords(coords, (height, width)))

            full = original_postprocess(low[side], side, (h, w), (height, width))
            other = processor.post_process_masks(
                [low[side][None, None]], [[height, width]], [[h, w]], binarize=False,
                pad_size={"height": side, "width": side})[0][0, 0]
            assert torch.equal(full, other)
            if side == 64 and width * height < 10000:
                after[f"{key}.logits"] = full
            after[f"{key}.counts"] = counts(full > 0)

    save_file(common.contiguous(before), out / "preprocess.safetensors")
    save_file(common.contiguous(after), out / "postprocess.safetensors")
    common.write_manifest(
        out, recipe="prepost.py", seed=None,
        packages=common.versions("segment-anything", "torchvision", "transformers", "pillow"),
        tolerance={"resized_levels": 1, "logits_absolute": 1e-4, "mask_iou": 0.999},
        low256_sha256=hashlib.sha256(low[1024].numpy().tobytes()).hexdigest(), sizes=sizes)


if __name__ == "__main__":
    main()
