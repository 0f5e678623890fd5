"""Augmented pictures with label maps, made on the device from a shard that lies decoded in its memory.

Shapes: B pictures, K masks each, S input side, H = S / 2 the side of label maps and masks, L the side of stored pictures.
Coordinates in matrices are pixel edges (corner origin); everything random comes from one generator on the device, but for
the choice of pictures.
"""
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from data import FILL, GROUPS, decode, read_pack  # noqa: E402

KINDS = ("binary", "instances", "panoptic", "parts", "components", "stuff", "synthetic")
PART_KINDS, BACKGROUND_KINDS = ("parts",), ("binary", "panoptic", "synthetic")
PASTES, SHAPES = 3, 9  # objects pasted, shapes drawn, at most
UNION, BACKGROUND = -1, -2


def source_shares(counts, mix):
    """{source: pictures}, {group: share that replaces the default} -> {source: share}; "" is drawn shapes."""
    unknown = set(mix) - set(GROUPS)
    if unknown:
        raise ValueError(f"no such groups: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    out = {}
    for group, (share, srcs) in GROUPS.items():
        share = mix.get(group, share)
        if group == "synthetic":
            out[""] = share
            continue
        srcs = [s for s in srcs if counts.get(s)]
        n = np.array([counts[s] for s in srcs], float) ** 0.6
        out.update({s: share * v for s, v in zip(srcs, n / n.sum() if len(n) else [])})
    total = sum(out.values())
    return {s: v / total for s, v in out.items()}


class Shard:
    """Pictures u8 [N, 3, L, L] (edges repeated into the padding) and label maps i16 [N, L, L] (padding 0) on a device."""

    def __init__(self, path, device, limit=0, threads=None):
        recs = list(read_pack(path))[: limit or None]
        assert recs, f"{path}: no pictures"
        self.side = max(max(r[0]["w"], r[0]["h"]) for r in recs)
        side = self.side

        def unpack(rec):
            img, labs = decode(rec)
            h, w = img.shape[:2]
            lab = np.zeros((side, side), np.int16)
            lab[:h, :w] = labs[0]
            img = cv2.copyMakeBorder(np.ascontiguousarray(img), 0, side - h, 0, side - w, cv2.BORDER_REPLICATE)
            return img.transpose(2, 0, 1), lab

        self.images = torch.empty(len(recs), 3, side, side, dtype=torch.uint8, device=device)
        self.labels = torch.empty(len(recs), side, side, dtype=torch.int16, device=device)
        with ThreadPoolExecutor(threads or min(16, os.cpu_count() or 1)) as pool:
            for at in range(0, len(recs), 256):
                part = list(pool.map(unpack, recs[at:at + 256]))
                self.images[at:at + 256] = torch.from_numpy(np.stack([p[0] for p in part])).to(device)
                self.labels[at:at + 256] = torch.from_numpy(np.stack([p[1] for p in part])).to(device)
        self.wh = torch.tensor([[r[0]["w"], r[0]["h"]] for r in recs], dtype=torch.float32, device=device)
        kinds = ["parts" if r[0]["src"] == "carparts" else r[0]["layers"][0]["kind"] for r in recs]
        self.kind = torch.tensor([KINDS.index(k) for k in kinds], device=device)
        self.by_src = {}
        for i, r in enumerate(recs):
            self.by_src.setdefault(r[0]["src"], []).append(i)
        self.cutouts = torch.tensor([i for i, k in enumerate(kinds) if k == "binary"], device=device)
        self.boxes = torch.zeros(len(recs), 4, device=device)  # x0, y0, x1, y1 of the cut-outs
        for i in self.cutouts.tolist():
            on = self.labels[i] > 0
            if on.any():
                x, y = on.any(0).nonzero()[:, 0], on.any(1).nonzero()[:, 0]
                self.boxes[i] = torch.stack([x[0], y[0], x[-1] + 1, y[-1] + 1]).float()
        size = self.boxes[self.cutouts, 2:] - self.boxes[self.cutouts, :2] if len(self.cutouts) else torch.zeros(0, 2)
        self.cutouts = self.cutouts[(size >= 16).all(1)] if len(self.cutouts) else self.cutouts
        self.by_src = {s: np.array(v) for s, v in self.by_src.items()}
        self.labels_end = max(int(self.labels.max()), SHAPES) + 1  # pasted objects are numbered from here

    def __len__(self):
        return len(self.images)


def compose(a, b):
    """2x3 matrices [B, 2, 3]: first b, then a."""
    return torch.cat([a[:, :, :2] @ b[:, :, :2], a[:, :, :2] @ b[:, :, 2:] + a[:, :, 2:]], 2)


def matrices(a, b, c, d, tx, ty):
    """Rows [a b tx; c d ty] from vectors [B] -> [B, 2, 3]."""
    return torch.stack([torch.stack([a, b, tx], 1), torch.stack([c, d, ty], 1)], 1)


def inverse(m):
    a, b, c, d = m[:, :, :2].flatten(1).unbind(1)
    inv = torch.stack([d, -b, -c, a], 1).view(-1, 2, 2) / (a * d - b * c)[:, None, None]
    return torch.cat([inv, -inv @ m[:, :, 2:]], 2)


def sampling_grid(m, size, span, side):
    """Where an output of size x size pixels, which shows the input square of `span` pixels, reads a stored picture of
    `side`, for matrices m [B, 2, 3] from stored to input edges -> grid [B, size, size, 2] for grid_sample."""
    inv = inverse(m)
    a = inv[:, :, :2] * (span / side)
    theta = torch.cat([a, a.sum(2, keepdim=True) + inv[:, :, 2:] * (2 / side) - 1], 2)
    return F.affine_grid(theta, (len(m), 1, size, size), align_corners=False)


def sample(x, grid, mode="bilinear", padding="border"):
    return F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=False)


class Scenes:
    """Endless batches: next(rng) -> dict of image [B, 3, S, S] normalised, masks bool [B, K, H, H], weight [B, K] (0 where
    there was nothing to ask for), part bool [B, K] (parts and panoptic), parent and group bool [B, K, H, H] with their
    flags (see `levels`)."""

    def __init__(self, shard, size, batch, masks, o, device, seed):
        self.shard, self.size, self.batch, self.masks, self.o = shard, size, batch, masks, o
        self.device = device
        self.g = torch.Generator(device).manual_seed(seed)
        shares = source_shares({s: len(v) for s, v in shard.by_src.items()}, o.mix)
        self.srcs, self.p = list(shares), np.array(list(shares.values()))

    def u(self, *shape, lo=0.0, hi=1.0):
        return torch.rand(*shape, generator=self.g, device=self.device) * (hi - lo) + lo

    def n(self, *shape):
        return torch.randn(*shape, generator=self.g, device=self.device)

    def pick(self, rng):
        """-> picture indices [B], which of them are replaced by drawn shapes [B]."""
        src = rng.choice(len(self.srcs), self.batch, p=self.p)
        drawn = np.array([self.srcs[s] == "" for s in src])
        of = lambda s: self.shard.by_src[self.srcs[s]]
        idx = [rng.integers(len(self.shard)) if d else of(s)[rng.integers(len(of(s)))] for s, d in zip(src, drawn)]
        return torch.tensor(np.array(idx, np.int64), device=self.device), torch.tensor(drawn, device=self.device)

    def views(self, wh):
        """Letterbox, or zoom 0.55 to 2.3 with stretch, rotation and place; mirrored half of the time -> [B, 2, 3]."""
        b, s = len(wh), float(self.size)
        w, h = wh.unbind(1)
        zero, one = torch.zeros_like(w), torch.ones_like(w)
        k = s / torch.maximum(w, h)
        zoom = self.u(b) < self.o.zoom
        k = k * torch.where(zoom, torch.exp(self.u(b, lo=np.log(0.55), hi=np.log(2.3))), one)
        ax = torch.where(zoom, torch.exp(self.u(b, lo=-0.12, hi=0.12)), one)
        turn = torch.where(zoom & (self.u(b) < 0.5), self.n(b) * np.deg2rad(8.0), zero)
        cos, sin = turn.cos(), turn.sin()
        kx, ky = k * ax, k / ax
        a11, a12, a21, a22 = cos * kx, -sin * ky, sin * kx, cos * ky
        room_x, room_y = s - w * kx, s - h * ky
        at_x = torch.where(zoom, self.u(b) * room_x, zero) + w * kx / 2
        at_y = torch.where(zoom, self.u(b) * room_y, zero) + h * ky / 2
        cx, cy = a11 * w / 2 + a12 * h / 2, a21 * w / 2 + a22 * h / 2
        m = matrices(a11, a12, a21, a22, at_x - cx, at_y - cy)
        mirror = torch.where(self.u(b) < 0.5, -one, one)
        m = compose(m, matrices(mirror, zero, zero, one, torch.where(mirror < 0, w, zero), zero))
        upside = torch.where(self.u(b) < 0.06, -one, one)
        return compose(m, matrices(one, zero, zero, upside, zero, torch.where(upside < 0, h, zero)))

    def shown(self, idx, m, wh):
        """-> image [B, 3, S, S] 0..255, labels i64 [B, H, H], inside bool [B, 1, S, S]. Twice the resolution is read and
        averaged, which is antialiasing enough down to half the size."""
        s, side = self.size, self.shard.side
        img = F.avg_pool2d(sample(self.shard.images[idx].float(), sampling_grid(m, 2 * s, s, side)), 2)
        lab = sample(self.shard.labels[idx][:, None].float(), sampling_grid(m, s // 2, s, side), "nearest", "zeros")
        at = (sampling_grid(m, s, s, side) + 1) * (side / 2)
        inside = ((at >= 0) & (at < wh[:, None, None])).all(-1)[:, None]
        return img, lab[:, 0].long(), inside

    def paste(self, img, lab, inside, slot):
        """Pastes a salient object onto some pictures, and takes its area from the other labels, in place. With `occlude`
        its middle lies on something labelled, so that it hides part of it."""
        cut, o, s = self.shard.cutouts, self.o, self.size
        # the first slot is as frequent as `paste` says, every further one half as frequent as the one before
        on = (self.u(len(img)) < o.paste * 0.5 ** slot).nonzero()[:, 0]
        if not len(on) or not len(cut):
            return
        c = cut[torch.randint(len(cut), (len(on),), generator=self.g, device=self.device)]
        x0, y0, x1, y1 = self.shard.boxes[c].unbind(1)
        w, h = x1 - x0, y1 - y0
        k = s * torch.exp(self.u(len(on), lo=np.log(0.12), hi=np.log(0.75))) / torch.maximum(w, h)
        mid_x, mid_y = self.u(len(on)) * s, self.u(len(on)) * s
        if o.occlude > 0:
            cell = random_cell(lab[on] > 0, self.g)
            aim = (self.u(len(on)) < o.occlude) & (lab[on] > 0).flatten(1).any(1)
            # about half an object away from the cell, so that most of what is hidden stays in sight
            mid_x = torch.where(aim, cell[:, 0] * 2 + self.u(len(on), lo=-0.7, hi=0.7) * k * w, mid_x)
            mid_y = torch.where(aim, cell[:, 1] * 2 + self.u(len(on), lo=-0.7, hi=0.7) * k * h, mid_y)
        mirror = torch.where(self.u(len(on)) < 0.5, -1.0, 1.0)
        zero = torch.zeros_like(k)
        m = matrices(k * mirror, zero, zero, k, mid_x - k * mirror * (x0 + x1) / 2, mid_y - k * (y0 + y1) / 2)
        grid = sampling_grid(m, 2 * s, s, self.shard.side)
        patch = F.avg_pool2d(sample(self.shard.images[c].float(), grid), 2)
        alpha = F.avg_pool2d(sample((self.shard.labels[c] > 0)[:, None].float(), grid, padding="zeros"), 2)
        alpha = F.avg_pool2d(alpha, 3, 1, 1) * inside[on]
        patch = (patch - 128) * torch.exp(self.u(len(on), 1, 1, 1, lo=-0.25, hi=0.25)) + 128 \
            + self.u(len(on), 3, 1, 1, lo=-14, hi=14)
        img[on] = torch.lerp(img[on], patch.clamp(0, 255), alpha)
        solid = F.avg_pool2d(alpha, 2)[:, 0] > 0.5
        lab[on] = torch.where(solid, self.shard.labels_end + slot, lab[on])

    def draw(self, img, lab, inside, drawn):
        """Replaces pictures by shapes with flat, shaded or photographic fillings, in place."""
        on = drawn.nonzero()[:, 0]
        if not len(on):
            return
        n, s = len(on), self.size
        y, x = torch.meshgrid(*(torch.arange(s, device=self.device) + 0.5,) * 2, indexing="ij")

        def filling():
            a, b = self.u(n, 3, 1, 1, hi=255), self.u(n, 3, 1, 1, hi=255)
            flat = torch.lerp(a, b, (y / s) * (self.u(n, 1, 1, 1) < 0.5)) + self.n(n, 1, s, s) * self.u(n, 1, 1, 1, hi=8)
            photo = img[torch.randint(len(img), (n,), generator=self.g, device=self.device)]
            return torch.where(self.u(n, 1, 1, 1) < 0.4, photo, flat)

        out, new = filling(), torch.zeros(n, s, s, dtype=torch.long, device=self.device)
        count = torch.randint(2, SHAPES + 1, (n,), generator=self.g, device=self.device)
        for i in range(SHAPES):
            cx, cy, turn = self.u(n) * s, self.u(n) * s, self.u(n) * np.pi
            r = s * torch.exp(self.u(n, lo=np.log(0.04), hi=np.log(0.35)))
            col = lambda v: v[:, None, None]
            dx, dy = x - col(cx), y - col(cy)
            p, q = dx * col(turn.cos()) + dy * col(turn.sin()), dy * col(turn.cos()) - dx * col(turn.sin())
            p, q = p.abs() / col(r), q.abs() / col(r * self.u(n, lo=0.2))
            # between a diamond (1), an ellipse (2) and nearly a rectangle (8)
            e = col(torch.exp(self.u(n, lo=0.0, hi=np.log(8.0))))
            shape = (p.clamp(min=1e-6) ** e + q.clamp(min=1e-6) ** e < 1) & col(i < count)
            out = torch.where(shape[:, None], filling(), out)
            new = torch.where(shape, i + 1, new)
        img[on] = F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, 1)
        lab[on] = new[:, ::2, ::2]
        inside[on] = True

    def photometric(self, x):
        """Gain, colour, gamma, saturation, blur and noise, each for some pictures; x [B, 3, S, S] 0..255."""
        b = len(x)
        one = lambda p: self.u(b, 1, 1, 1) < p
        some = one(0.8)
        gain = torch.exp(self.u(b, 1, 1, 1, lo=-0.3, hi=0.3) + self.u(b, 3, 1, 1, lo=-0.08, hi=0.08))
        ramp = 255 * (x.clamp(0, 255) / 255 + 1e-6) ** torch.exp(self.u(b, 1, 1, 1, lo=-0.35, hi=0.35))
        x = torch.where(some, (ramp - 128) * gain + 128 + self.u(b, 1, 1, 1, lo=-25, hi=25), x)
        grey = (x * torch.tensor([0.299, 0.587, 0.114], device=x.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
        a = torch.where(one(0.17), 1.0, self.u(b, 1, 1, 1, lo=-0.5, hi=0.8))
        x = torch.where(one(0.3), torch.lerp(x, grey.expand_as(x), a), x)
        soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = torch.where(one(0.12), torch.lerp(x, soft, self.u(b, 1, 1, 1, lo=0.4)), x)
        x = torch.where(one(0.12), x + self.n(*x.shape) * self.u(b, 1, 1, 1, lo=2, hi=14), x)
        return x.clamp(0, 255)

    def wanted(self, lab, inside, kind):
        """K label ids per picture, UNION and BACKGROUND among them -> ids [B, K], weight [B, K]."""
        h, o, b = self.size // 2, self.o, len(lab)
        ends = self.shard.labels_end + PASTES
        counts = torch.zeros(b, ends, device=self.device).scatter_add_(
            1, lab.flatten(1), torch.ones(1, device=self.device).expand(b, h * h))
        least = max(12, int(0.0008 * h * h))
        good = counts >= least
        good[:, 0] = False
        w = good.float()
        n = w.sum(1)
        of = lambda names: sum((kind == KINDS.index(k) for k in names), torch.zeros_like(kind, dtype=torch.bool))
        # the whole of the parts is asked for as often as a quarter of its parts
        union = torch.where(of(PART_KINDS) & (n > 1), (n / 4).clamp(min=1), torch.zeros_like(n)) * o.whole
        empty = F.max_pool2d(inside.float(), 2)[:, 0].flatten(1).sum(1) - (h * h - counts[:, 0])
        ground = ((self.u(b) < o.background) & of(BACKGROUND_KINDS) & (empty > least)).float()
        w = torch.cat([w, union[:, None], ground[:, None]], 1)
        noise = -torch.log(-torch.log(self.u(*w.shape, lo=1e-6, hi=1 - 1e-6)))
        order = (w.clamp(min=1e-30).log() + noise).topk(min(self.masks, w.shape[1]), 1).indices
        found = (w > 0).sum(1, keepdim=True)
        turn = torch.arange(self.masks, device=self.device)[None] % found.clamp(min=1, max=order.shape[1])
        ids = order.gather(1, turn)
        ids = torch.where(ids == ends, UNION, torch.where(ids == ends + 1, BACKGROUND, ids))
        return ids, (found > 0).float().expand(-1, self.masks)

    def next(self, rng):
        o, s = self.o, self.size
        with torch.no_grad():
            idx, drawn = self.pick(rng)
            wh, kind = self.shard.wh[idx], self.shard.kind[idx].clone()
            img, lab, inside = self.shown(idx, self.views(wh), wh)
            self.draw(img, lab, inside, drawn)
            kind[drawn] = KINDS.index("synthetic")
            own = lab > 0
            for slot in range(PASTES):
                self.paste(img, lab, inside, slot)
            ids, weight = self.wanted(lab, inside, kind)
            img = torch.where(inside, self.photometric(img), float(FILL))
            ground = (lab == 0) & (F.max_pool2d(inside.float(), 2)[:, 0] > 0)
            whole = own & (lab < self.shard.labels_end)  # what the picture's own labels cover, minus what is pasted
            masks = lab[:, None] == ids[:, :, None, None]
            masks = torch.where((ids == UNION)[:, :, None, None], whole[:, None], masks)
            masks = torch.where((ids == BACKGROUND)[:, :, None, None], ground[:, None], masks)
            weight = weight * (masks.flatten(2).sum(2) > 8)
            part = ((kind == KINDS.index("parts")) | (kind == KINDS.index("panoptic")))[:, None] & (ids > 0)
            return {"image": (img - 127.5) / 127.5, "masks": masks, "weight": weight, "part": part & (ids < self.shard.labels_end),
                    **self.levels(ids, kind, masks, whole)}

    def levels(self, ids, kind, masks, whole):
        """What else a click on a mask may mean, by what the labels say: part, object, group -> level_masks bool
        [B, K, 3, H, H] and level_known [B, K, 3].

        Parts: the part itself, the whole. Instances: the instance as an object, all instances as a group where there are
        several. The rest: the mask as an object. Pasted objects and background: as objects.
        """
        named = (ids > 0) & (ids < self.shard.labels_end)
        is_part = (kind == KINDS.index("parts"))[:, None] & named
        is_one = (kind == KINDS.index("instances"))[:, None] & named
        several = (whole[:, None].flatten(2).sum(2) > 1.05 * masks.flatten(2).sum(2))
        every = whole[:, None].expand_as(masks)
        out = torch.stack([masks, torch.where(is_part[:, :, None, None], every, masks), every], 2)
        known = torch.stack([is_part, torch.ones_like(is_part), is_one & several], 2)
        return {"level_masks": out, "level_known": known}


def random_cell(on, g):
    """on bool [N, H, W] -> (x, y) of a random cell that is on (of any cell where none is), [N, 2] i64."""
    n, h, w = on.shape
    r = torch.rand(n, h * w, generator=g, device=on.device) + on.flatten(1)
    i = r.argmax(1)
    return torch.stack([i % w, i // w], 1)
