"""Cuts one shard of the training pack, and a small dev pack, for a machine that is reached with few bytes.

    python make_shard.py --data ../../../shared/data --shard 0/4 --max-bytes 30000000 --out ../shard

Writes OUT/train.segpack and OUT/dev.segpack: SEGPACK1 as `data.py` reads it, pictures as WebP of a long side of at most
--side, label maps shrunk alike. Deterministic: the pictures of every source are put in the order of the hash of their id
and dealt to the shards in turn, so that every shard has the same mix. Both files together stay within --max-bytes: the
dev pack comes first (it is the same in every shard), then quality falls in steps, and if that is not enough, pictures at the
end of the order are left out. What was kept is printed.
"""
import argparse
import hashlib
import json
import os
import struct
import sys

import cv2
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from data import decode, read_pack  # noqa: E402


def order(rec):
    return hashlib.sha256(f"{rec[0]['src']}/{rec[0]['id']}".encode()).digest()


def deal(recs, i, n, per_source=0):
    """Records of shard i of n, sources interleaved, so that every prefix has about the mix of the whole."""
    by_src = {}
    for rec in sorted(recs, key=order):
        by_src.setdefault(rec[0]["src"], []).append(rec)
    placed = []
    for src in sorted(by_src):
        mine = by_src[src][i::n]
        mine = mine[:per_source] if per_source else mine
        placed += [((at + 0.5) / len(mine), src, rec) for at, rec in enumerate(mine)]
    return [rec for *_, rec in sorted(placed, key=lambda p: p[:2])]


def record_bytes(hdr, img, labs, quality):
    """One record of a pack; img RGB u8."""
    ok, pic = cv2.imencode(".webp", np.ascontiguousarray(img[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert ok, hdr
    head = json.dumps({**hdr, "w": img.shape[1], "h": img.shape[0]}, separators=(",", ":")).encode()
    out = [struct.pack("<I", len(head)), head, struct.pack("<I", len(pic)), pic.tobytes(), bytes([len(labs)])]
    for lab in labs:
        png = cv2.imencode(".png", lab, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
        out += [struct.pack("<I", len(png)), png]
    return b"".join(out)


def shrink(rec, side):
    """-> RGB u8 and label maps of a long side of at most `side`. Labels come from the nearest pixel centre."""
    img, labs = decode(rec)
    h, w = img.shape[:2]
    k = side / max(h, w)
    if k >= 1:
        return img, labs
    size = max(1, round(w * k)), max(1, round(h * k))
    return (cv2.resize(np.ascontiguousarray(img), size, interpolation=cv2.INTER_AREA),
            [cv2.resize(lab, size, interpolation=cv2.INTER_NEAREST_EXACT) for lab in labs])


def write(path, recs, side, quality, most):
    """Writes as many records, in order, as fit into `most` bytes -> (bytes, records written)."""
    size, done = 8, 0
    with open(path + ".tmp", "wb") as f:
        f.write(b"SEGPACK1")
        for rec in recs:
            b = record_bytes(rec[0], *shrink(rec, side), quality)
            if size + len(b) > most:
                break
            f.write(b)
            size, done = size + len(b), done + 1
    os.replace(path + ".tmp", path)
    return size, done


LEAST_QUALITY = 35


def quality_that_fits(recs, side, quality, most):
    """The highest quality in steps of 5, by a sample of the records, that fits into `most` bytes."""
    sample = recs[:: max(1, len(recs) // 150)]
    pictures = [(rec[0], *shrink(rec, side)) for rec in sample]
    while quality > LEAST_QUALITY:
        mean = sum(len(record_bytes(*p, quality)) for p in pictures) / max(1, len(pictures))
        if mean * len(recs) * 1.02 <= most:
            break
        quality -= 5
    return quality


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--data", default="../../../shared/data", help="folder of train.segpack and dev.segpack")
    a.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "shard"))
    a.add_argument("--shard", default="0/4", help="i/n: the i-th of n, from 0")
    a.add_argument("--max-bytes", type=int, default=30_000_000, help="of both files together")
    a.add_argument("--side", type=int, default=352)
    a.add_argument("--quality", type=int, default=70, help="of WebP, to begin with")
    a.add_argument("--dev-side", type=int, default=384)
    a.add_argument("--dev-quality", type=int, default=80)
    a.add_argument("--dev-per-source", type=int, default=14)
    a.add_argument("--limit", type=int, default=0, help="only so many pictures, for a test; a quarter as many of dev")
    a = a.parse_args()
    cv2.setNumThreads(1)
    i, n = map(int, a.shard.split("/"))
    assert 0 <= i < n, f"--shard {a.shard}: i/n with i from 0 to n - 1"
    os.makedirs(a.out, exist_ok=True)
    dev = deal(read_pack(os.path.join(a.data, "dev.segpack")), 0, 1, a.dev_per_source)
    dev = dev[:max(14, a.limit // 4)] if a.limit else dev
    used, kept = write(os.path.join(a.out, "dev.segpack"), dev, a.dev_side, a.dev_quality, a.max_bytes // 4)
    print(f"dev: {kept} of {len(dev)} pictures, {used:,} bytes, quality {a.dev_quality}")
    recs = (r for r in read_pack(os.path.join(a.data, "train.segpack"))
            if "non-commercial" not in r[0].get("lic", "").lower())
    recs = deal(recs, i, n)
    recs = recs[:a.limit] if a.limit else recs
    quality = quality_that_fits(recs, a.side, a.quality, a.max_bytes - used)
    while True:
        size, kept = write(os.path.join(a.out, "train.segpack"), recs, a.side, quality, a.max_bytes - used)
        if kept == len(recs) or quality <= LEAST_QUALITY:
            break
        quality -= 5  # the sample promised too much
    print(f"train, shard {i} of {n}: {kept} of {len(recs)} pictures, {size:,} bytes, side {a.side}, quality {quality}")
    print(f"together {used + size:,} of {a.max_bytes:,} bytes")


if __name__ == "__main__":
    main()
