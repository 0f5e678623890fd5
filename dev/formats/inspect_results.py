"""Reads what samovar wrote, with pycocotools, Pillow and OpenCV of the environment that runs this.

`inspect_results.py JOB.json` prints `{picture: {result: complaint or ""}}`.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

Image.MAX_IMAGE_PIXELS = None


def shown_size(path):
    """Width and height as Pillow shows the picture."""
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).size


def pixels(path):
    """What Pillow reads, when OpenCV reads the same."""
    array = np.asarray(Image.open(path))
    other = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert other is not None, "OpenCV cannot read it"
    if other.ndim == 3:
        other = cv2.cvtColor(other, cv2.COLOR_BGRA2RGBA if other.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    assert np.array_equal(array, other), "Pillow and OpenCV read different pixels"
    return array


def check_size(array, size):
    assert array.shape[1::-1] == size, f"it is {array.shape[1::-1]}, the picture {size}"


def check_cutout(path, size):
    array = pixels(path)
    check_size(array, size)
    assert array.ndim == 3 and array.shape[2] == 4, "it is not RGBA"
    assert not array[array[..., 3] == 0].any(), "something is left under transparent pixels"


def check_png(path, size):
    array = pixels(path)
    check_size(array, size)
    assert array.ndim == 2 and set(np.unique(array)) <= {0, 255}, "it is not black and white"
    return array > 0


def check_labels(path, size):
    array = pixels(path)
    check_size(array, size)
    assert array.ndim == 2 and array.dtype in (np.uint8, np.uint16, np.int32), f"it is {array.dtype}"


def check_overlay(path, size):
    array = pixels(path)
    check_size(array, size)
    assert array.ndim == 3 and array.shape[2] == 3, "it is not RGB"


def check_rle(path, size):
    document = json.loads(path.read_text())
    for one in document if isinstance(document, list) else [document]:
        mask = coco_mask.decode(one)
        check_size(mask, size)
    return mask.astype(bool) if not isinstance(document, list) else None


def check_polygon(path, size):
    """Outlines of the picture's size, in it, filled by OpenCV."""
    document = json.loads(path.read_text())
    for one in document if isinstance(document, list) else [document]:
        assert (one["width"], one["height"]) == size, "the document says another size"
        canvas = np.zeros(size[::-1], np.uint8)
        for piece in one["polygons"]:
            rings = [np.array(ring) for ring in [piece["outer"], *piece["holes"]]]
            assert all((ring >= 0).all() and (ring <= size).all() for ring in rings), "an outline leaves the picture"
            cv2.fillPoly(canvas, [ring.round().astype(np.int32) for ring in rings], 1)
        assert canvas.any() or not one["polygons"], "the outlines hold nothing"


def check_annotations(coco, size_of):
    for annotation in coco.loadAnns(coco.getAnnIds()):
        size = size_of(coco.imgs[annotation["image_id"]])
        mask = coco.annToMask(annotation)
        check_size(mask, size)
        if isinstance(annotation["segmentation"], dict):
            assert int(mask.sum()) == annotation["area"], "the area is another"
            encoded = coco_mask.encode(np.asfortranarray(mask))
            assert np.allclose(coco_mask.toBbox(encoded), annotation["bbox"]), "the box is another"


def check_coco(path, size):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
        sizes = {(image["width"], image["height"]) for image in coco.imgs.values()}
        assert sizes == {size}, f"the document says {sizes}"
        check_annotations(coco, lambda _: size)
        # Results are loaded with what they were found on, too.
        scored = [dict(a, score=a.get("score", a.get("predicted_iou", 1.0))) for a in coco.dataset["annotations"]]
        if scored:
            coco.loadRes(scored)


def check_merged(path):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
        check_annotations(coco, lambda image: (image["width"], image["height"]))
        ids = [annotation["id"] for annotation in coco.dataset["annotations"]]
        assert len(ids) == len(set(ids)), "two annotations have one number"


CHECKS = {
    "cutout": check_cutout,
    "png": check_png,
    "labels": check_labels,
    "overlay": check_overlay,
    "rle": check_rle,
    "polygon": check_polygon,
    "coco": check_coco,
}


def main():
    job = json.loads(Path(sys.argv[1]).read_text())
    complaints = {}
    for picture, results in job["pictures"].items():
        masks, found = {}, {}
        for result, (kind, file) in results.items():
            try:
                found[result] = ""
                masks[result] = CHECKS[kind](Path(file), shown_size(picture))
            except Exception as error:  # whatever a reader raises is what is looked for
                found[result] = f"{type(error).__name__}: {error}"
        if masks.get("segment png") is not None and masks.get("segment rle") is not None:
            if not np.array_equal(masks["segment png"], masks["segment rle"]):
                found["segment rle"] = "it is not the mask of the PNG"
        complaints[picture] = found
    for file in job["merged"]:
        try:
            check_merged(Path(file))
            complaints[file] = {"everything, all": ""}
        except Exception as error:
            complaints[file] = {"everything, all": f"{type(error).__name__}: {error}"}
    print(json.dumps(complaints))


if __name__ == "__main__":
    main()
