"""J&F of a model's tracking, as `samovar track` does it: every clip from its first mask, and from one click.

    python track.py nano.safetensors --data ../../shared/data/video_dev.segpack --samovar ../target/release/samovar

The click is the point of the first mask farthest from its border. What is measured is the command line, from files to files; the
figures are `samovar eval`'s.
"""

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np

from data import read_pack


def innermost(mask):
    """(x, y) of the pixel farthest from the mask's border; the picture's edge is one."""
    distance = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return int(x), int(y)


def unpack(pack, folder):
    """Frames as folder/CLIP/00000.jpg, ...; {clip: (first mask's file, click)} of the first object."""
    starts = {}
    for header, jpeg, layers in read_pack(pack):
        clip, number = header["seq"], int(header["frame"])
        (folder / clip).mkdir(parents=True, exist_ok=True)
        (folder / clip / f"{number:05}.jpg").write_bytes(jpeg)
        if clip not in starts:
            mask = cv2.imdecode(np.frombuffer(layers[0], np.uint8), cv2.IMREAD_UNCHANGED) > 0
            first = folder / f"{clip}.png"
            cv2.imwrite(str(first), mask * np.uint8(255))
            starts[clip] = first, innermost(mask)
    return starts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", default="../../shared/data/video_dev.segpack")
    parser.add_argument("--samovar", default="../target/release/samovar")
    parser.add_argument("--dtype", default="f32", help="f32, f16, bf16 or int8, whatever `samovar doctor` says of it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        starts = unpack(arguments.data, folder)
        for name in ("mask", "click"):
            for clip, (mask, (x, y)) in starts.items():
                start = ["--mask", mask] if name == "mask" else ["--point", f"{x},{y}"]
                subprocess.run(
                    [arguments.samovar, "track", folder / clip, *start, "--model", arguments.model,
                     "--dtype", arguments.dtype, "--force-dtype", "--out", folder / name / clip],
                    check=True, stdout=subprocess.DEVNULL, stderr=None if os.environ.get("VERBOSE") else subprocess.DEVNULL)
            print(f"from {'the first mask' if name == 'mask' else 'one click'}", flush=True)
            subprocess.run([arguments.samovar, "eval", arguments.data, "--masks", folder / name], check=True)


if __name__ == "__main__":
    main()
