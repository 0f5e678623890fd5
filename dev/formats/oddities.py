"""Pictures of every kind that is read, and some that are not: those of the goldens, and others made here."""

import shutil
import struct
from pathlib import Path

import numpy as np
from PIL import Image

GOLDENS = Path(__file__).resolve().parent.parent / "goldens/media/images"


def scene(width, height, discs=None):
    """Discs on a ground that slowly changes."""
    y, x = np.mgrid[:height, :width]
    ground = np.stack([x * 90 // max(width, 1), y * 90 // max(height, 1), np.full_like(x, 60)], axis=-1)
    picture = ground.astype(np.uint8)
    discs = discs if discs is not None else [(width * 0.4, height * 0.5, min(width, height) * 0.3)]
    for number, (cx, cy, radius) in enumerate(discs):
        inside = (x + 0.5 - cx) ** 2 + (y + 0.5 - cy) ** 2 <= radius**2
        picture[inside] = [210, 40 + number * 37 % 180, 30 + number * 53 % 200]
    return picture


def make(folder):
    """Writes the pictures; returns the names of those that must be refused, each with a word of the refusal."""
    folder.mkdir(parents=True)
    for golden in sorted(GOLDENS.iterdir()):
        shutil.copy(golden, folder / f"golden_{golden.name.replace('.', '_')}{golden.suffix}")
    rgb = scene(97, 61)
    grey = rgb.mean(axis=-1)
    save = lambda array, name, **options: Image.fromarray(array).save(folder / name, **options)
    for suffix in ["png", "jpg", "webp", "bmp", "tif", "gif", "ppm", "jfif", "apng", "dib"]:
        kind = {"jfif": "JPEG", "apng": "PNG", "dib": "BMP"}.get(suffix)
        save(rgb, f"scene_{suffix}.{suffix}", **({"format": kind} if kind else {}))
    for width, height in [(1, 1), (2, 1), (1, 2), (1, 300), (300, 1), (3, 5), (64, 64), (65, 63), (1023, 7), (7, 1023)]:
        save(scene(width, height), f"size_{width}x{height}.png")
    save((grey * 257).astype(np.uint16), "grey_16_bit.png")
    save((grey * 16).astype(np.uint16), "grey_12_bits_in_16.tif")
    save((grey * 4).astype(np.uint16), "grey_10_bits_in_16.png")
    save((grey / 255).astype(np.float32), "float_0_to_1.tif")
    save(grey.astype(np.float32), "float_0_to_255.tif")
    save((grey * 40 - 3000).astype(np.float32), "float_heights.tif")
    holes = (grey / 255).astype(np.float32)
    holes[3:9, 3:9] = np.nan
    save(holes, "float_with_nan.tif")
    save((grey * 1000).astype(np.int32), "signed_32_bit.tif")
    Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.tif")
    Image.fromarray(rgb).convert("1").save(folder / "bilevel.tif")
    Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk_of_pillow.jpg")
    Image.fromarray(rgb).convert("LA").save(folder / "grey_and_alpha.png")
    for compression in ["tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "webp"]:
        try:
            save(rgb, f"tiff_{compression}.tif", compression=compression)
        except OSError:  # not every build of Pillow's libtiff has all of them
            (folder / f"tiff_{compression}.tif").unlink(missing_ok=True)
    half = np.dstack([rgb, np.where(np.arange(97) < 48, 255, 90)[None, :].repeat(61, 0).astype(np.uint8)])
    for suffix in ["png", "webp", "tif"]:
        save(half, f"alpha_{suffix}.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    pages = [Image.fromarray(scene(97, 61, [(20 + 10 * page, 30, 15)])) for page in range(3)]
    for suffix in ["tif", "gif", "webp", "png"]:
        pages[0].save(folder / f"three_{suffix}.{suffix}", save_all=True, append_images=pages[1:])
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for suffix in ["jpg", "png", "webp", "tif"]:
            save(rgb, f"turned_{orientation}_{suffix}.{suffix}", exif=exif)
    save(rgb, "progressive.jpg", progressive=True)
    for name in ["with spaces and (brackets)", "ünïcödé 図", "-dash"]:
        save(rgb, f"{name}.png")
    save(np.full((40, 60, 3), 128, dtype=np.uint8), "flat.png")
    save(scene(400, 300, [(20 + 40 * (n % 10), 20 + 40 * (n // 10), 12) for n in range(60)]), "many.png")

    refused = {}
    whole = (folder / "scene_jpg.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3] + b"\xff\xd9")
    refused["cut.jpg"] = "cut short"
    (folder / "empty.png").write_bytes(b"")
    refused["empty.png"] = "empty"
    png = bytearray((folder / "scene_png.png").read_bytes())
    png[16:24] = struct.pack(">II", 60000, 60000)
    (folder / "bomb.png").write_bytes(png)
    refused["bomb.png"] = ""
    return refused


def make_foreign(folder):
    """Formats that are not read; each must be named, with what to do."""
    folder.mkdir(parents=True)
    rgb = Image.fromarray(scene(97, 61))
    rgb.save(folder / "picture.jp2")
    rgb.save(folder / "picture.avif")
    (folder / "picture.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64)
    (folder / "picture.jxl").write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 64)
    return {"picture.jp2": "JPEG 2000", "picture.avif": "AVIF", "picture.heic": "HEIC", "picture.jxl": "JPEG XL"}
