"""Makes flow/: pairs of small pictures, and OpenCV's dense inverse search between them.

    python flow.py --out flow

Needs opencv-python-headless and numpy. The first picture is the second one seen through a known motion (turned, enlarged, shifted,
with a patch that moves by itself), so that the true flow is known too. Both are stored as PNG; of the flow every
fourth value along either axis.
"""
import argparse
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np

EVERY = 4
CASES = [("even", 160, 96, 3.0, -2.0, 0.02, 1.01), ("odd", 117, 83, -4.5, 1.25, -0.03, 0.98)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(exist_ok=True)
    cv2.setNumThreads(1)
    cases = []
    for index, (name, width, height, shift_x, shift_y, turn, scale) in enumerate(CASES):
        noise = np.random.default_rng(index).normal(size=(height + 64, width + 64)).astype(np.float32)
        texture = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 3, 8))
        texture = (texture - texture.min()) / (texture.max() - texture.min()) * 255
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        across, down = x - width / 2, y - height / 2
        u = (np.cos(turn) * scale - 1) * across - np.sin(turn) * scale * down + shift_x
        v = np.sin(turn) * scale * across + (np.cos(turn) * scale - 1) * down + shift_y
        alone = (np.abs(across - 10) < 16) & (np.abs(down) < 14)
        u, v = np.where(alone, u + 3, u).astype(np.float32), np.where(alone, v - 2, v).astype(np.float32)
        second = np.rint(texture[32:-32, 32:-32]).astype(np.uint8)
        first = cv2.remap(texture, x + u + 32, y + v + 32, cv2.INTER_CUBIC)
        first = np.clip(np.rint(first), 0, 255).astype(np.uint8)
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        dis.setVariationalRefinementIterations(0)
        flow = dis.calc(first, second, None)
        for which, picture in (("from", first), ("to", second)):
            assert cv2.imwrite(str(out / f"{name}_{which}.png"), picture)
        values = lambda map: [round(float(value), 4) for value in map[::EVERY, ::EVERY].reshape(-1)]
        cases.append(dict(name=name, width=width, height=height, every=EVERY, u=values(flow[..., 0]), v=values(flow[..., 1]),
                          true_u=values(u), true_v=values(v)))
    (out / "flow.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    files = sorted(path for path in out.iterdir() if path.name != "manifest.json")
    manifest = dict(
        versions=dict(opencv=cv2.__version__, numpy=np.__version__),
        tolerance="pixels from OpenCV's flow: 0.001 in the median (0.005 for odd sizes, scaled: see the test), 0.02 in the mean; no farther from the true flow than it in the mean",
        files={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


main()
