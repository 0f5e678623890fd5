"""SEGPACK1 reading, sampling, augmentation and first prompts.

A training sample is a dict of numpy arrays (S input side, K masks, H = S / 2, E extra clicks):
image u8 [S, S, 3], masks u8 [K, H, H], click f32 [K, 2], box f32 [K, 4], kind i64 [K] (0 click, 1 box,
2 noisy mask + click), noisy u8 [K, H, H], extra f32 [K, E, 2], extra_label i64 [K, E].
Coordinates are input pixels as SAM takes them (pixel index; the centre is at +0.5).
"""
import json
import struct

import cv2
import numpy as np
import torch

CLICK, BOX, NOISY = 0, 1, 2
EXTRA = 6
FILL = 128
# share of each group; sources within a group are drawn in proportion to count ** 0.6
GROUPS = {
    "salient": (0.31, ("duts-tr", "ecssd")),
    "coco": (0.17, ("coco-mini", "coco-4class", "coco-1person", "coco-tiny-train", "coco-zz-train", "coco-engin")),
    "panoptic": (0.05, ("coco-val100-panoptic",)),
    "parts": (0.19, ("ccp", "carparts", "facade")),
    "instances": (0.14, ("animals", "feralcat", "pennfudan", "teacher", "solar")),
    "small": (0.08, ("dsb2018", "soybean", "mushrooms")),
    "rest": (0.03, ("fire", "pothole")),
    "synthetic": (0.03, ()),
}


def read_pack(path):
    """Yields (header dict, jpeg bytes, [png bytes per layer])."""
    with open(path, "rb") as f:
        assert f.read(8) == b"SEGPACK1", path
        u32 = lambda: struct.unpack("<I", f.read(4))[0]
        while True:
            b = f.read(4)
            if not b:
                return
            hdr = json.loads(f.read(struct.unpack("<I", b)[0]))
            jpeg = f.read(u32())
            yield hdr, jpeg, [f.read(u32()) for _ in range(f.read(1)[0])]


def decode(rec):
    """-> RGB u8 [h, w, 3], [label maps u8/u16 [h, w]]."""
    hdr, jpeg, pngs = rec
    img = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    return img, [cv2.imdecode(np.frombuffer(p, np.uint8), cv2.IMREAD_UNCHANGED) for p in pngs]


def letterbox_matrix(h, w, s, rng, strong):
    """2x3 matrix from source pixel edges (corner origin) to input pixel edges."""
    k = s / max(h, w)
    zoom = strong and rng.random() < 0.45
    if not zoom:
        m = np.array([[k, 0, 0], [0, k, 0]], np.float64)
    else:
        k *= np.exp(rng.uniform(np.log(0.55), np.log(2.3)))
        ax = np.exp(rng.uniform(-0.12, 0.12))
        a = np.deg2rad(rng.normal(0, 8)) if rng.random() < 0.5 else 0.0
        rot = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([k * ax, k / ax])
        place = lambda n, scale: rng.uniform(min(0, s - n * scale), max(0, s - n * scale))
        c = rot @ np.array([w / 2, h / 2])
        t = np.array([place(w, k * ax) + w * k * ax / 2, place(h, k / ax) + h * k / ax / 2]) - c
        m = np.concatenate([rot, t[:, None]], 1)
    if rng.random() < 0.5:  # mirror about the picture's own middle
        m = m @ np.array([[-1, 0, w], [0, 1, 0], [0, 0, 1]], np.float64)
    if strong and rng.random() < 0.06:
        m = m @ np.array([[1, 0, 0], [0, -1, h], [0, 0, 1]], np.float64)
    return m


def warp(img, m, size, linear):
    """Warps by an edge-origin matrix; linear is antialiased by an area pre-shrink."""
    m = m.copy()
    if linear:
        k = np.sqrt(abs(np.linalg.det(m[:, :2])))
        if k < 0.9:
            h, w = img.shape[:2]
            nh, nw = max(1, round(h * k)), max(1, round(w * k))
            img = cv2.resize(img, (nw, nh), interpolation=cv2.INTER_AREA)
            m[:, 0] *= w / nw
            m[:, 1] *= h / nh
    m[:, 2] += (m[:, 0] + m[:, 1]) * 0.5 - 0.5  # corner origin -> pixel centres
    return cv2.warpAffine(img, m, (size, size), flags=cv2.INTER_LINEAR if linear else cv2.INTER_NEAREST,
                          borderValue=(FILL,) * 3 if linear else 0)


def photometric(img, rng):
    """Colour, blur, noise, JPEG; u8 in and out."""
    x = img
    if rng.random() < 0.8:
        gain = np.exp(rng.uniform(-0.3, 0.3)) * np.exp(rng.uniform(-0.08, 0.08, 3))
        bias = rng.uniform(-25, 25)
        gamma = np.exp(rng.uniform(-0.35, 0.35))
        ramp = 255 * (np.arange(256) / 255) ** gamma
        lut = np.clip((ramp[:, None] - 128) * gain + 128 + bias, 0, 255).astype(np.uint8)
        x = cv2.LUT(x, lut[:, None, :].reshape(1, 256, 3))
    r = rng.random()
    if r < 0.3:
        grey = cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        a = 1.0 if r < 0.05 else rng.uniform(-0.5, 0.8)
        x = cv2.addWeighted(grey, a, x, 1 - a, 0)
    if rng.random() < 0.12:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.12:
        x = np.clip(x + rng.normal(0, rng.uniform(2, 14), x.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.12:
        ok, b = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))])
        x = cv2.imdecode(b, cv2.IMREAD_COLOR) if ok else x
    return x


def deepest(mask):
    """(x, y) cell farthest from the border of a u8 mask (the frame counts as border), and the distance."""
    d = cv2.distanceTransform(cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0), cv2.DIST_L2, 3)
    i = int(d.argmax())
    y, x = divmod(i, d.shape[1])
    return x - 1, y - 1, float(d.flat[i])


def random_cell(mask, rng):
    i = np.flatnonzero(mask)
    y, x = divmod(int(i[rng.integers(len(i))]), mask.shape[1])
    return x, y


def to_input(x, y, rng, jitter=True):
    """A stride-2 cell -> input pixel coordinate inside it."""
    j = rng.uniform(-0.5, 0.5, 2) if jitter else (0, 0)
    return (x + 0.5) * 2 - 0.5 + j[0], (y + 0.5) * 2 - 0.5 + j[1]


class Sampler(torch.utils.data.IterableDataset):
    """Endless stream of batches (dicts of tensors with leading B)."""

    def __init__(self, path, size, batch, masks, seed):
        self.size, self.batch, self.masks, self.seed = size, batch, masks, seed
        self.by_src = {}
        for rec in read_pack(path):
            if "non-commercial" in rec[0].get("lic", "").lower():
                continue
            self.by_src.setdefault(rec[0]["src"], []).append(rec)
        self.cutouts = [r for s in ("duts-tr", "ecssd") for r in self.by_src.get(s, [])]
        self.src_p = {}
        for g, (share, srcs) in GROUPS.items():
            srcs = [s for s in srcs if s in self.by_src]
            n = np.array([len(self.by_src[s]) for s in srcs], float) ** 0.6
            if g == "synthetic":
                self.src_p[""] = share
            for s, v in zip(srcs, n / n.sum() if len(n) else []):
                self.src_p[s] = share * v
        self.srcs = list(self.src_p)
        self.p = np.array([self.src_p[s] for s in self.srcs])
        self.p /= self.p.sum()

    def __iter__(self):
        cv2.setNumThreads(1)
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0])
        while True:
            batch = []
            while len(batch) < self.batch:
                s = self.sample(rng)
                if s is not None:
                    batch.append(s)
            yield {k: torch.from_numpy(np.stack([b[k] for b in batch])) for k in batch[0]}

    def scene(self, rng):
        """-> image u8 [S, S, 3], [(kind, label map i32 [H, H])], inside-the-picture u8 [S, S]."""
        s = self.size
        src = self.srcs[rng.choice(len(self.srcs), p=self.p)]
        if src == "":
            img, lab = self.synthetic(rng)
            return img, [("synthetic", lab)], np.ones((s, s), np.uint8)
        recs = self.by_src[src]
        rec = recs[rng.integers(len(recs))]
        img, labs = decode(rec)
        m = letterbox_matrix(*img.shape[:2], s, rng, True)
        out = warp(np.ascontiguousarray(img), m, s, True)
        valid = warp(np.ones(img.shape[:2], np.uint8), m, s, False)
        labs = [warp(l, m * 0.5, s // 2, False).astype(np.int32) for l in labs]
        kinds = [l["kind"] for l in rec[0]["layers"]]
        layers = list(zip(kinds, labs))
        if src == "carparts":
            layers = [("parts", l) for _, l in layers]
        if rng.random() < 0.25:
            n = int(rng.integers(1, 4))
            pasted = np.zeros((s // 2, s // 2), np.int32)
            for i in range(n):
                self.paste(out, valid, layers, pasted, i + 1, rng)
            layers.append(("pasted", pasted))
        return out, layers, valid

    def paste(self, img, valid, layers, pasted, label, rng):
        """Pastes a salient object in place and takes its area from the other masks."""
        s = self.size
        cut, (mask,) = decode(self.cutouts[rng.integers(len(self.cutouts))])
        mask = (mask > 0).astype(np.uint8)
        x, y, w, h = cv2.boundingRect(mask)
        if w < 20 or h < 20:
            return
        k = s * np.exp(rng.uniform(np.log(0.12), np.log(0.75))) / max(w, h)
        m = np.array([[k, 0, rng.uniform(-0.2 * k * w, s - 0.8 * k * w) - k * x],
                      [0, k, rng.uniform(-0.2 * k * h, s - 0.8 * k * h) - k * y]])
        if rng.random() < 0.5:
            m = m @ np.array([[-1, 0, 2 * x + w], [0, 1, 0], [0, 0, 1]], np.float64)
        patch = warp(np.ascontiguousarray(cut), m, s, True)
        alpha = warp(np.repeat(mask[..., None] * 255, 3, 2), m, s, True)
        edge = warp(np.full((*mask.shape, 3), 255, np.uint8), m, s, False)  # outside the cut-out's own picture
        alpha = cv2.GaussianBlur(np.where(edge > 0, alpha, 0).astype(np.uint8), (0, 0), rng.uniform(0.4, 1.0)).astype(np.float32) * (valid[..., None] / 255)
        if rng.random() < 0.5:
            patch = photometric(patch, rng)
        img[:] = (img * (1 - alpha) + patch * alpha + 0.5).astype(np.uint8)
        on = alpha[::2, ::2, 0] + alpha[1::2, 1::2, 0] > 1.0
        for _, l in layers:
            l[on] = 0
        pasted[on] = label

    def synthetic(self, rng):
        """Flat, shaded or textured shapes over a flat, shaded or photographic ground."""
        s = self.size

        def texture():
            r = rng.random()
            if r < 0.4:
                img, _ = decode(self.cutouts[rng.integers(len(self.cutouts))])
                k = int(rng.integers(40, min(img.shape[:2]) + 1)) if min(img.shape[:2]) > 41 else min(img.shape[:2])
                y, x = rng.integers(img.shape[0] - k + 1), rng.integers(img.shape[1] - k + 1)
                return cv2.resize(np.ascontiguousarray(img[y:y + k, x:x + k]), (s, s))
            a, b = rng.integers(0, 256, (2, 3))
            t = np.linspace(0, 1, s)[:, None] if r < 0.7 else np.zeros((s, 1))
            g = (a * (1 - t) + b * t)[:, None, :] * np.ones((1, s, 1))
            return np.clip(g + rng.normal(0, rng.uniform(0, 10), (s, s, 1)), 0, 255).astype(np.uint8)

        img, lab = texture(), np.zeros((s, s), np.uint8)
        for i in range(int(rng.integers(2, 12))):
            c, r = rng.uniform(0, s, 2), s * np.exp(rng.uniform(np.log(0.04), np.log(0.35)))
            m = np.zeros((s, s), np.uint8)
            if rng.random() < 0.4:
                cv2.ellipse(m, (int(c[0]), int(c[1])), (int(r) + 1, int(r * rng.uniform(0.3, 1)) + 1), rng.uniform(0, 180), 0, 360, 1, -1)
            else:
                n = int(rng.integers(3, 10))
                a = np.sort(rng.uniform(0, 2 * np.pi, n))
                q = r * rng.uniform(0.5, 1.2, n)
                cv2.fillPoly(m, [np.stack([c[0] + q * np.cos(a), c[1] + q * np.sin(a)], 1).astype(np.int32)], 1)
            img = np.where(m[..., None] > 0, texture(), img)
            lab[m > 0] = i + 1
        return cv2.GaussianBlur(img, (0, 0), rng.uniform(0.3, 1.0)), lab[::2, ::2].astype(np.int32)

    def candidates(self, layers, valid, rng):
        """-> list of u8 [H, H] masks worth a prompt."""
        h = self.size // 2
        least = max(12, int(0.0008 * h * h))
        out = []
        for kind, lab in layers:
            n = np.bincount(lab.ravel())
            ids = [i for i in range(1, len(n)) if n[i] >= least]
            rng.shuffle(ids)
            out += [(lab == i).astype(np.uint8) for i in ids[:3 * self.masks]]
            union = (lab > 0).astype(np.uint8)
            if kind == "parts" and len(ids) > 1:
                out += [union] * max(1, len(ids) // 4)
            if kind in ("binary", "panoptic", "synthetic") and rng.random() < 0.2 and (union == 0).sum() > least:
                out.append((1 - union) * valid[::2, ::2])
        return out

    def sample(self, rng):
        s, h, k = self.size, self.size // 2, self.masks
        img, layers, valid = self.scene(rng)
        cand = [c for c in self.candidates(layers, valid, rng) if c.any()]
        if not cand:
            return None
        order = list(rng.permutation(len(cand)))
        masks = [cand[order[i % len(order)]] for i in range(k)]
        img = photometric(img, rng)
        img[valid == 0] = FILL  # padding is neutral at inference too
        out = {"image": np.ascontiguousarray(img), "masks": np.stack(masks),
               "click": np.zeros((k, 2), np.float32), "box": np.zeros((k, 4), np.float32),
               "kind": rng.choice([CLICK, BOX, NOISY], k, p=[0.66, 0.26, 0.08]).astype(np.int64),
               "noisy": np.zeros((k, h, h), np.uint8),
               "extra": np.zeros((k, EXTRA, 2), np.float32), "extra_label": np.zeros((k, EXTRA), np.int64)}
        for i, m in enumerate(masks):
            x, y, _ = deepest(m)
            if rng.random() < 0.4:
                x, y = random_cell(m, rng)
            out["click"][i] = to_input(x, y, rng)
            bx, by, bw, bh = cv2.boundingRect(m)
            amp = 0.05 if rng.random() < 0.75 else 0.12
            j = rng.uniform(-amp, amp, 4) * np.array([bw, bh, bw, bh])
            out["box"][i] = np.clip((np.array([bx, by, bx + bw, by + bh]) + j) * 2, 0, s)
            if out["kind"][i] == NOISY:
                out["noisy"][i] = disturb(m, rng)
            for e in range(EXTRA):
                if rng.random() < 0.6:
                    c, lab = random_cell(m, rng), 1
                else:  # a negative near the object
                    for _ in range(8):
                        c = (int(np.clip(rng.uniform(bx - 0.4 * bw - 2, bx + 1.4 * bw + 2), 0, h - 1)),
                             int(np.clip(rng.uniform(by - 0.4 * bh - 2, by + 1.4 * bh + 2), 0, h - 1)))
                        if not m[c[1], c[0]]:
                            break
                    lab = int(m[c[1], c[0]])
                out["extra"][i, e], out["extra_label"][i, e] = to_input(*c, rng), lab
        return out


def disturb(m, rng):
    """A moved, grown, shrunk or holed version of a mask, as tracking or a poor first mask would give."""
    h = m.shape[0]
    _, _, bw, bh = cv2.boundingRect(m)
    d = max(bw, bh)
    k = np.exp(rng.normal(0, 0.06))
    ys, xs = np.nonzero(m)
    c = np.array([xs.mean(), ys.mean()])
    t = rng.normal(0, 0.05 * d, 2) + c - k * c
    out = cv2.warpAffine(m, np.array([[k, 0, t[0]], [0, k, t[1]]]), (h, h), flags=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        r = int(rng.integers(1, max(2, d // 12) + 1))
        e = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))
        out = cv2.dilate(out, e) if rng.random() < 0.5 else cv2.erode(out, e)
    for _ in range(int(rng.integers(0, 4))):
        x, y = random_cell(m, rng)
        cv2.circle(out, (x, y), int(rng.uniform(1, 0.2 * d + 1)), int(rng.random() < 0.5), -1)
    return out


def loader(path, size, batch, masks, seed, workers=1):
    data = Sampler(path, size, batch, masks, seed)
    return torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers,
                                       prefetch_factor=4 if workers else None)
