"""Makes the goldens of samovar-media: decoding, resize, masks, suppression and enlargement, each from the Python
that users compare with. Run from anywhere:

    python recipe.py            writes images/ and *.json beside this file

Needs pillow, numpy, torch, torchvision, opencv-python-headless, pycocotools and segment-anything (see
../requirements.txt). Inputs are computed from integer formulas that the Rust tests repeat
(`src/golden.rs`), so that only outputs are stored. Run twice it writes the same bytes.
"""
import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL
import torch
import torchvision
import torchvision.transforms.v2
from PIL import Image
from pycocotools import mask as coco
from segment_anything.utils import amg

HERE = Path(__file__).resolve().parent
IMAGES = HERE / "images"


def noise(seed, height, width, channels):
    """Bytes from a hash of position and seed; `golden::noise` in Rust."""
    y, x, c = np.meshgrid(*(np.arange(n, dtype=np.uint32) for n in (height, width, channels)), indexing="ij")
    h = x * np.uint32(374761393) + y * np.uint32(668265263) + c * np.uint32(2246822519) + np.uint32(seed * 3266489917 % 2**32)
    h ^= h >> np.uint32(15)
    h *= np.uint32(2246822519)
    h ^= h >> np.uint32(13)
    return (h & np.uint32(255)).astype(np.uint8)


def smooth(seed, height, width):
    """Slowly varying bytes: a product of triangle waves plus a little noise; `golden::smooth`."""
    y, x, c = np.meshgrid(*(np.arange(n, dtype=np.int64) for n in (height, width, 3)), indexing="ij")
    wave = lambda v, period: np.abs(v % (2 * period) - period) * 200 // period
    value = (wave(x + 7 * c, 41) + wave(y + 13 * c, 29)) // 2 + noise(seed, height, width, 3).astype(np.int64) // 8
    return value.astype(np.uint8)


def speckle(seed, height, width, density):
    """A mask: noise below `density` (of 256), thickened by one pixel to the right; `golden::speckle`."""
    on = noise(seed, height, width, 1)[..., 0] < density
    thick = on.copy()
    thick[:, 1:] |= on[:, :-1]
    return thick


def logits(seed, side):
    """Soft blobs with a little noise, exact in f32; `golden::logits`."""
    y, x = np.meshgrid(np.arange(side, dtype=np.int64), np.arange(side, dtype=np.int64), indexing="ij")
    total = np.full((side, side), -6 * 64, dtype=np.int64)
    for blob in range(3):
        pick = noise(seed * 8 + blob, 1, 3, 1).reshape(-1).astype(np.int64)
        cx, cy, r = pick[0] * side // 256, pick[1] * side // 256, side // 12 + pick[2] * side // 1024
        d2 = (x - cx) ** 2 + (y - cy) ** 2
        total += np.maximum(0, 16 * 64 - 16 * 64 * d2 // (2 * r * r))
    total += noise(seed, side, side, 1)[..., 0].astype(np.int64) // 4 - 32
    return (total.astype(np.float32) / np.float32(64)).astype(np.float32)


def crc(array):
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def save_json(name, cases):
    (HERE / name).write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


# ---------------------------------------------------------------------------------------------------------- decoding

def decoding():
    IMAGES.mkdir(exist_ok=True)
    for old in IMAGES.iterdir():
        old.unlink()
    rgb = Image.fromarray(smooth(1, 9, 13))
    grey = Image.fromarray(smooth(2, 9, 13)[..., 0])
    alpha = Image.fromarray(noise(3, 9, 13, 1)[..., 0])
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    la = Image.merge("LA", (grey, alpha))
    big = Image.fromarray(smooth(4, 27, 35))
    files = []

    def save(name, image, **options):
        image.save(IMAGES / name, **options)
        files.append(name)

    def save_cv(name, array):
        assert cv2.imwrite(str(IMAGES / name), array)
        files.append(name)

    save("rgb.png", rgb)
    save("grey.png", grey)
    save("grey_alpha.png", la)
    save("rgba.png", rgba)
    save("palette.png", rgb.quantize(16))
    save("palette_transparent.png", rgb.quantize(16), transparency=3)
    save("bilevel.png", grey.convert("1"))
    save("one_pixel.png", rgb.crop((0, 0, 1, 1)))
    save("one_column.png", rgb.crop((0, 0, 1, 9)))
    save_cv("rgb16.png", noise(5, 9, 13, 6).view("<u2"))
    save_cv("grey16.png", noise(9, 9, 13, 2).view("<u2")[..., 0])
    save("rgb.bmp", rgb)
    save("rgba.bmp", rgba)
    save("grey.bmp", grey)
    save("rgb.tif", rgb)
    save("rgb_lzw.tif", rgb, compression="tiff_lzw")
    save("rgb_deflate.tif", rgb, compression="tiff_adobe_deflate")
    save("grey.tif", grey)
    save("cmyk.tif", rgb.convert("CMYK"))
    save("palette.gif", rgb.quantize(16))
    save("transparent.gif", rgb.quantize(16), transparency=3)
    second = Image.fromarray(noise(6, 9, 13, 3)).quantize(16)
    save("animated.gif", rgb.quantize(16), save_all=True, append_images=[second], duration=100)
    save("lossless.webp", rgb, lossless=True)
    save("lossless_alpha.webp", rgba, lossless=True, exact=True)
    save("lossy.webp", big, quality=80)
    save("rgb.ppm", rgb)
    save("grey.pgm", grey)
    save("bilevel.pbm", grey.convert("1"))
    for name, options in {
        "444.jpg": dict(quality=90, subsampling=0),
        "420.jpg": dict(quality=90, subsampling=2),
        "422.jpg": dict(quality=90, subsampling=1),
        "progressive.jpg": dict(quality=90, subsampling=0, progressive=True),
        "restart.jpg": dict(quality=90, subsampling=0, restart_marker_blocks=2),
    }.items():
        save(name, big, **options)
    save("grey.jpg", Image.fromarray(smooth(7, 27, 35)[..., 0]), quality=90)
    # PIL writes CMYK with Adobe's marker and inverted, as the programs that make such files do.
    cmyk = Image.fromarray(noise(8, 2, 3, 4).repeat(8, 0).repeat(8, 1), mode="CMYK")
    save("cmyk.jpg", cmyk, quality=95)
    save("cmyk_smooth.jpg", Image.merge("CMYK", [*big.split(), big.getchannel(1).point(lambda v: v // 2)]), quality=95)
    # YCCK: the same planes with the Adobe marker's transform set to 2 and the colours converted accordingly.
    c, m, y, k = (np.asarray(band) for band in cmyk.split())
    ycc = np.asarray(Image.merge("RGB", [Image.fromarray(b) for b in (c, m, y)]).convert("YCbCr"))
    ycck = Image.merge("CMYK", [Image.fromarray(ycc[..., i]) for i in range(3)] + [Image.fromarray(k)])
    ycck.save(IMAGES / "ycck.jpg", quality=95)
    data = bytearray((IMAGES / "ycck.jpg").read_bytes())
    adobe = data.find(b"Adobe")
    assert adobe > 0 and data[adobe + 11] == 0
    data[adobe + 11] = 2
    (IMAGES / "ycck.jpg").write_bytes(data)
    files.append("ycck.jpg")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = f"exif_{orientation}.jpg"
        big.crop((0, 0, 16, 24)).save(IMAGES / name, exif=exif, quality=95, subsampling=0)
        files.append(name)
    exif = Image.Exif()
    exif[0x0112] = 6
    save("exif_6.png", rgb, exif=exif)
    save("exif_6.webp", rgb, exif=exif, lossless=True)
    save("exif_6.tif", rgb, exif=exif)

    cases = []
    from PIL import ImageOps
    for name in files:
        image = Image.open(IMAGES / name)
        if name == "rgb16.png":
            expected = cv2.imread(str(IMAGES / name), cv2.IMREAD_COLOR)[..., ::-1]
        elif name == "grey16.png":
            # PIL clips 16-bit grey to white; ours keeps the high byte, as OpenCV does.
            expected = cv2.imread(str(IMAGES / name), cv2.IMREAD_COLOR)
        else:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        cases.append(dict(file=name, width=expected.shape[1], height=expected.shape[0], rgb=expected.tobytes().hex()))
    save_json("decode.json", cases)


# ------------------------------------------------------------------------------------------------------------ resize

def resizing():
    cases, torch_difference = [], 0
    sizes = [((1, 1), (1, 1)), ((1, 1), (7, 5)), ((13, 9), (1, 1)), ((13, 9), (13, 9)), ((13, 9), (26, 18)),
             ((13, 9), (31, 9)), ((13, 9), (13, 4)), ((13, 9), (5, 40)), ((64, 48), (16, 12)), ((64, 48), (63, 47)),
             ((65, 1), (20, 1)), ((1, 65), (1, 20)), ((100, 3), (1024, 31)), ((333, 500), (682, 1024)),
             ((1000, 333), (256, 85)), ((1920, 1080), (1024, 576)), ((2000, 37), (7, 3)), ((641, 479), (1024, 765)),
             ((257, 255), (256, 256)), ((3, 500), (6, 1024)),
             # Around the size from which Pillow resizes columns first.
             ((1080, 2400), (461, 1024)), ((61, 122), (32, 64)), ((61, 123), (32, 64)), ((61, 130), (30, 64)),
             ((100, 100), (101, 99)), ((50, 100), (100, 50)), ((100, 300), (99, 150)), ((100, 300), (99, 299)),
             ((100, 300), (150, 310))]
    for (width, height), (new_width, new_height) in sizes:
        for kind in ("noise", "smooth"):
            source = noise(11, height, width, 3) if kind == "noise" else smooth(12, height, width)
            resized = np.asarray(Image.fromarray(source).resize((new_width, new_height), Image.BILINEAR))
            cases.append(dict(kind=kind, width=width, height=height, new_width=new_width, new_height=new_height, crc=crc(resized)))
            theirs = torchvision.transforms.v2.functional.resize(
                torch.from_numpy(source.copy()).permute(2, 0, 1), [new_height, new_width], antialias=True)
            difference = np.abs(theirs.permute(1, 2, 0).numpy().astype(int) - resized.astype(int))
            torch_difference = max(torch_difference, difference.max())
    save_json("resize.json", cases)
    print("largest difference of torchvision's uint8 antialias resize to Pillow's:", torch_difference)


# ------------------------------------------------------------------------------------------------------------- masks

def coco_string(mask):
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def masks():
    cases = []
    for index, (width, height, density) in enumerate(
        [(1, 1, 0), (1, 1, 256), (5, 3, 0), (5, 3, 256), (64, 64, 100), (65, 63, 128), (200, 3, 60), (3, 200, 60),
         (130, 70, 10), (130, 70, 240), (128, 128, 1), (640, 480, 2)]):
        mask = speckle(20 + index, height, width, density)
        encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        counts = amg.mask_to_rle_pytorch(torch.from_numpy(mask)[None])[0]["counts"]
        box = amg.batched_mask_to_box(torch.from_numpy(mask)[None])[0].tolist()
        cases.append(dict(seed=20 + index, width=width, height=height, density=density, area=int(coco.area(encoded)),
                          coco=encoded["counts"].decode(), counts=counts if len(counts) < 40 else None, box=box))
    save_json("rle.json", cases)

    cases = []
    for index in range(24):
        width, height, density = [(40, 30, 40), (40, 30, 120), (67, 35, 12), (67, 35, 200)][index % 4]
        mask = speckle(40 + index, height, width, density)
        for mode in ("holes", "islands"):
            for threshold in (2, 5, 30, 100000):
                cleaned, changed = amg.remove_small_regions(mask, threshold, mode)
                cases.append(dict(seed=40 + index, width=width, height=height, density=density, mode=mode,
                                  threshold=threshold, changed=bool(changed), coco=coco_string(cleaned)))
    save_json("small_regions.json", cases)

    cases = []
    for index, count in enumerate([1, 2, 30, 200, 200, 400]):
        raw = noise(80 + index, count, 6, 1).reshape(count, 6).astype(np.float32)
        boxes = np.stack([raw[:, 0], raw[:, 1], raw[:, 0] + raw[:, 2] / 2, raw[:, 1] + raw[:, 3] / 2], 1)
        scores = np.floor(raw[:, 4] / 8) / np.float32(32)  # many ties
        categories = (raw[:, 5].astype(np.int64)) % (1 if index % 2 else 3)
        for threshold in (0.1, 0.5, 0.7):
            # With numbers this small torchvision's shift of the categories apart is exact; its other way, category by
            # category, ends with a sort that is not stable.
            keep = torchvision.ops.boxes._batched_nms_coordinate_trick(
                torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(categories), threshold)
            cases.append(dict(seed=80 + index, count=count, categories=1 if index % 2 else 3, threshold=threshold, keep=keep.tolist()))
    save_json("nms.json", cases)


# ----------------------------------------------------------------------------------------------------------- upscale

def upscaling():
    cases = []
    for index, (side, canvas, width, height) in enumerate(
        [(256, 1024, 640, 427), (256, 1024, 427, 640), (256, 1024, 1500, 1000), (256, 1024, 1024, 1024), (256, 1024, 97, 31),
         (256, 1024, 1, 1), (256, 1024, 1, 50), (64, 256, 300, 200), (32, 37, 100, 90), (256, None, 640, 427),
         (256, None, 1500, 1000), (288, None, 333, 777), (256, None, 63, 65)]):
        low = torch.from_numpy(logits(100 + index, side))[None, None]
        if canvas:
            scale = canvas / max(width, height)
            new_height, new_width = int(height * scale + 0.5), int(width * scale + 0.5)
            # A side of no pixels fails upstream; ours keeps one.
            new_height, new_width = max(new_height, 1), max(new_width, 1)
            middle = torch.nn.functional.interpolate(low, (canvas, canvas), mode="bilinear", align_corners=False)
            middle = middle[..., :new_height, :new_width]
        else:
            middle = low
        full = torch.nn.functional.interpolate(middle, (height, width), mode="bilinear", align_corners=False)[0, 0].numpy()
        rows = sorted({0, height // 3, height - 1})
        columns = list(range(0, width, max(1, width // 40)))
        cases.append(dict(
            seed=100 + index, side=side, canvas=canvas, width=width, height=height,
            above_zero=int((full > 0).sum()), above_high=int((full > 1).sum()), above_low=int((full > -1).sum()),
            coco=coco_string(full > 0), rows=rows, columns=columns,
            values=[[float(full[r, c]) for c in columns] for r in rows]))
    save_json("upscale.json", cases)


def main():
    decoding()
    resizing()
    masks()
    upscaling()
    names = sorted(p for p in HERE.rglob("*") if p.is_file() and p.suffix != ".py" and p.name != "manifest.json")
    manifest = dict(
        versions=dict(pillow=PIL.__version__, numpy=np.__version__, torch=torch.__version__,
                      torchvision=torchvision.__version__, opencv=cv2.__version__, pycocotools="2.0.11",
                      segment_anything="1.0"),
        files={str(p.relative_to(HERE)): __import__("hashlib").sha256(p.read_bytes()).hexdigest() for p in names})
    (HERE / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


main()
