"""Writes the seeds of corpus/: one small, valid file per variant of each format.

    python make_seeds.py        (wants pillow, numpy, safetensors and torch; see ../goldens/requirements.txt)
"""

import base64
import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save as save_safetensors

CORPUS = Path(__file__).parent / "corpus"


def write(target, name, data):
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def torch_bytes(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def pickle_of(archive):
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return next(opened.read(name) for name in opened.namelist() if name.endswith("data.pkl"))


def safetensors_seeds():
    arrays = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4, dtype=np.float16)}
    write("safetensors", "two.safetensors", save_safetensors(arrays))
    write("safetensors", "metadata.safetensors", save_safetensors({"scalar": np.ones((), np.float32)}, {"k": "v"}))
    write("safetensors", "empty.safetensors", save_safetensors({}))
    integers = {"i8": np.arange(3, dtype=np.int8), "i64": np.arange(2), "u8": np.zeros((0, 3), np.uint8)}
    write("safetensors", "integers.safetensors", save_safetensors(integers))


def exr_seeds():
    # Wants OpenEXR's own bindings (`pip install OpenEXR`).
    import OpenEXR

    ramp = np.linspace(0, 1, 20 * 12, dtype=np.float32).reshape(12, 20)
    half = ramp.astype(np.float16)
    for name in ["NO", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44A", "DWAA", "DWAB"]:
        header = {"type": OpenEXR.scanlineimage, "compression": getattr(OpenEXR, f"{name}_COMPRESSION")}
        write_exr(OpenEXR, f"{name.lower()}.exr", header, {"R": half, "G": half, "B": ramp, "A": half})
    tiles = {"type": OpenEXR.tiledimage, "compression": OpenEXR.ZIP_COMPRESSION, "tiles": OpenEXR.TileDescription()}
    write_exr(OpenEXR, "tiled.exr", tiles, {"Y": ramp})


def write_exr(library, name, header, channels):
    path = CORPUS / "exr" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    library.File(header, channels).write(str(path))


def torch_seeds():
    plain = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.arange(4).half()}
    base = torch.arange(12.0)
    views = {"t": base.reshape(3, 4).T, "tail": base[4:], "p": torch.nn.Parameter(torch.ones(2))}
    nested = {"epoch": 3, "lr": 1e-3, "names": ["x", ("y", None, True)], "model": plain}
    bfloat = {"w": torch.arange(4).bfloat16(), "i": torch.arange(3), "flag": torch.tensor(True)}
    module = torch.nn.BatchNorm1d(2).state_dict()
    seeds = {"plain": plain, "views": views, "nested": nested, "bfloat": bfloat, "module": module}
    for name, value in seeds.items():
        archive = torch_bytes(value)
        write("torch_zip", f"{name}.pt", archive)
        write("torch_pickle", f"{name}.pkl", pickle_of(archive))


def growth_seeds():
    """What once took memory or time beyond its size: head, the part that is repeated, tail."""

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value

    storage = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"0") + text(b"cpu") + b"K\x01tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00(K\x01t(K\x01t\x89)tR"
    kept = b"}" + text(b"x") + tensor + b"q\x01s"
    entry = text(b"%%%%") + b"h\x01"
    prefix = b"}(" + text(b"p" * 2000)
    parameter = b"ctorch._utils\n_rebuild_parameter\nq\x01"
    key = text(b"k" * 4000) + b"q\x02"
    seeds = {
        "plain": (b"}(", text(b"%%%%") + tensor, b"u."),
        "long_prefix": (kept + prefix + b"}(", entry, b"uu."),
        "long_prefixes": (kept + prefix * 7 + b"}(", entry, b"uuuuuuuu."),
        "long_name_again_and_again": (kept + b"}(" + key + b"h\x01", text(b"%%%%") + b"}h\x02h\x01s", b"u."),
        "long_arguments": (b"}" + parameter + b"(" + b"N" * 8000 + b"tq\x02", b"h\x01h\x02R", b"."),
        "shared_dictionary": (kept + b"}q\x03(" + b"".join(text(b"%d" % i) + b"h\x01" for i in range(500)) + b"u}(",
                              text(b"%%%%") + b"h\x03", b"u."),
        "memo": (b"}", b"\x94", b"."),
        "tuples": (b"}", b")\x85", b"."),
        "dictionaries": (b"}(", b"K\x00}", b"u."),
    }
    for name, (head, part, tail) in seeds.items():
        sizes = struct.pack("<HH", len(head), len(part))
        write("torch_growth", f"{name}.bin", sizes + head + part + tail)


def image_seeds():
    y, x = np.mgrid[0:9, 0:13]
    rgb = np.stack([x * 19, y * 28, (x * y) * 2], -1).astype(np.uint8)
    image = Image.fromarray(rgb)
    palette = image.quantize(8)
    write("image", "rgb.png", encoded(image, "PNG"))
    write("image", "interlaced_rgba.png", encoded(image.convert("RGBA"), "PNG"))
    write("image", "palette.png", encoded(palette, "PNG"))
    write("image", "grey16.png", encoded(Image.fromarray((rgb[..., 0].astype(np.uint16) * 257)), "PNG"))
    exif = Image.Exif()
    exif[0x0112] = 6
    write("image", "turned.jpg", encoded(image, "JPEG", exif=exif))
    write("image", "progressive.jpg", encoded(image, "JPEG", progressive=True, subsampling=2))
    write("image", "cmyk.jpg", encoded(image.convert("CMYK"), "JPEG"))
    write("image", "grey.jpg", encoded(image.convert("L"), "JPEG"))
    write("image", "rgb.bmp", encoded(image, "BMP"))
    write("image", "palette.bmp", encoded(palette, "BMP"))
    write("image", "two.gif", encoded(palette, "GIF", save_all=True, append_images=[palette.rotate(180)]))
    write("image", "lossy.webp", encoded(image, "WEBP"))
    write("image", "lossless.webp", encoded(image.convert("RGBA"), "WEBP", lossless=True))
    write("image", "two.webp", encoded(image, "WEBP", save_all=True, append_images=[image.rotate(180)]))
    for compression in ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"]:
        write("tiff", f"{compression}.tif", encoded(image, "TIFF", compression=compression))
    write("tiff", "bits.tif", encoded(image.convert("1"), "TIFF", compression="group4"))
    write("image", "rgb.ppm", encoded(image, "PPM"))
    write("image", "text.pgm", "P2\n# a comment\n3 2\n255\n0 1 2\n3 4 255\n")
    write("image", "bits.pbm", "P1\n3 2\n0 1 0\n1 0 1\n")
    write("image", "any.pam", b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n\x01\x02\x03\x04\x05\x06")


def label_pngs():
    y, x = np.mgrid[0:6, 0:8]
    labels = ((x // 3) + (y // 2) * 4).astype(np.uint8)
    return {
        "grey8": encoded(Image.fromarray(labels), "PNG"),
        "grey16": encoded(Image.fromarray(labels.astype(np.uint16) * 300), "PNG"),
        "bits": encoded(Image.fromarray((labels % 2 * 255)).convert("1"), "PNG"),
        "palette": encoded(Image.fromarray(labels).convert("P"), "PNG"),
        "rgb": encoded(Image.fromarray(np.stack([labels] * 3, -1)), "PNG"),
    }


def segpack_seeds():
    def block(data):
        return struct.pack("<I", len(data)) + data

    def record(header, picture, layers):
        head = block(json.dumps(header).encode()) + block(picture)
        return head + bytes([len(layers)]) + b"".join(block(layer) for layer in layers)

    picture = encoded(Image.new("RGB", (8, 6), (9, 99, 200)), "JPEG")
    labels = label_pngs()
    header = {"id": "a", "src": "s", "w": 8, "h": 6, "lic": "CC0", "layers": [{"kind": "instances", "classes": [1]}]}
    one = record(header, picture, [labels["grey8"]])
    header = {"id": "b", "src": "s", "w": 8, "h": 6, "partial": True, "layers": [{"kind": "parts"}, {"kind": "stuff"}]}
    two = record(header, picture, [labels["grey16"], labels["bits"]])
    write("segpack", "one.segpack", b"SEGPACK1" + one)
    write("segpack", "two.segpack", b"SEGPACK1" + one + two)
    write("segpack", "empty.segpack", b"SEGPACK1")


def run_lengths(runs):
    """pycocotools' string form."""
    text = ""
    for index, count in enumerate(runs):
        rest = count - (runs[index - 2] if index > 2 else 0)
        while True:
            low, rest = rest & 0x1F, rest >> 5
            more = rest != (-1 if low & 0x10 else 0)
            text += chr(low + (0x20 if more else 0) + 48)
            if not more:
                break
    return text


def mask_seeds():
    canvas = 64 * 48
    runs = {
        "empty": [canvas],
        "full": [0, canvas],
        "half": [canvas // 2, canvas // 2],
        "stripes": [5, 40] * 60 + [canvas - 45 * 60],
        "many": [1] * 99 + [canvas - 99],
    }
    for name, counts in runs.items():
        write("rle", name, run_lengths(counts))

    def dataset(segmentation):
        annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation, "area": 9.5,
                      "bbox": [1, 2, 3.5, 4], "iscrowd": 0, "score": 0.5}
        return json.dumps({"info": {"year": 2026}, "licenses": [], "images": [{"id": 1, "file_name": "a.jpg",
                           "width": 64, "height": 48}], "categories": [{"id": 1, "name": "thing",
                           "supercategory": ""}], "annotations": [annotation]})

    write("coco", "compressed.json", dataset({"size": [48, 64], "counts": run_lengths(runs["stripes"])}))
    write("coco", "uncompressed.json", dataset({"size": [48, 64], "counts": runs["stripes"]}))
    write("prompts", "two.json", json.dumps({"prompts": [
        {"image": "a.jpg", "points": [[12, 30, 1], [40.5, 8, 0]]},
        {"box": [9, 8, 1, 2], "mask": "masks/a.png"}]}))
    write("prompts", "coco.json", json.dumps({
        "images": [{"id": 7, "file_name": "b/1.jpg", "width": 64, "height": 48}, {"id": "x", "file_name": "2.jpg"}],
        "categories": [{"id": 3, "name": "cup"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [4, 5, 10, 8], "segmentation": [], "iscrowd": 0},
            {"image_id": 7.0, "category_id": 3, "bbox": [2, 2, 6, 6], "segmentation": [[2, 2, 8, 2, 8, 8, 2, 8]]},
            {"image_id": "x", "category_id": 9, "segmentation": {"size": [48, 64], "counts": runs["stripes"]}},
            {"image_id": 7, "segmentation": {"size": [48, 64], "counts": run_lengths(runs["stripes"])}, "iscrowd": False},
            {"image_id": 7, "keypoints": [3, 4, 2, 0, 0, 0, 9, 9, 1], "bbox": None}]}))
    bits = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)
    mask = base64.b64encode(encoded(Image.fromarray(bits), "PNG")).decode()
    write("prompts", "labelme.json", json.dumps({
        "imagePath": "..\\imgs\\a.jpg", "imageData": None, "imageHeight": 48, "imageWidth": 64, "shapes": [
            {"label": "cup", "shape_type": "rectangle", "points": [[14, 13], [4, 5]], "group_id": None, "mask": None},
            {"label": "dog", "shape_type": "polygon", "points": [[2, 2], [8, 2], [8, 8], [2, 8]], "group_id": 1},
            {"label": "dog", "points": [[20, 20], [26, 20], [26, 26]], "group_id": 1},
            {"label": "sun", "shape_type": "circle", "points": [[20, 15], [20, 10]]},
            {"label": "bit", "shape_type": "mask", "points": [[3, 4], [5, 5]], "mask": mask},
            {"label": "tip", "shape_type": "point", "points": [[9, 8.5]]}]}))
    write("coco", "polygons.json", dataset([[1, 2, 30.5, 2, 30.5, 40, 1, 40], [10, 10, 50, 12, 40, 47]]))


def config_seeds():
    goldens = Path(__file__).parent.parent / "goldens"
    write("config", "sam.json", (goldens / "sam1" / "config.json").read_bytes())
    write("config", "sam_hq.json", (goldens / "sam_hq" / "config.json").read_bytes())
    write("config", "sam2.json", (goldens / "sam2" / "config.json").read_bytes())
    write("config", "sam2_video.json", (goldens / "sam2_video" / "config.json").read_bytes())
    write("config", "edgetam.json", (goldens / "edgetam" / "image.json").read_bytes())
    write("config", "edgetam_video.json", (goldens / "edgetam" / "config.json").read_bytes())
    # The shipped weights carry theirs in the header.
    nano = Path(__file__).parent.parent.parent / "crates" / "samovar-runtime" / "assets" / "nano.safetensors"
    with nano.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    write("config", "nano.json", header["__metadata__"]["samovar_config"])


config_seeds()
safetensors_seeds()
torch_seeds()
growth_seeds()
image_seeds()
exr_seeds()
for name, png in label_pngs().items():
    write("labels", f"{name}.png", png)
segpack_seeds()
mask_seeds()
