"""Simulated prompts on the device, in batches: clicks by the distance to the border, jittered boxes, damaged masks.

Shapes: P prompts, H the side of masks (cells of 2 input pixels). Points, boxes: input pixels as SAM takes them.
"""
import torch
import torch.nn.functional as F

from scenes import random_cell

CLICK, BOX, NOISY = 0, 1, 2
EXTRA = 6


def squared_distance(on, memory=None):
    """on bool [P, H, W] -> exact squared distance of every cell that is on to the nearest that is off, [P, H, W] f32; the
    frame counts as off. Along rows by running maxima, across them by the minimum over all rows (Felzenszwalb's lower
    envelope without the envelope: H^2 W operations, all of them parallel)."""
    p, h, w = on.shape
    x = torch.arange(w, device=on.device, dtype=torch.float32)
    left = torch.cummax(torch.where(on, -1.0, x), 2).values
    right = -torch.cummax(torch.where(on, -float(w), -x).flip(2), 2).values.flip(2)
    row = torch.minimum(x - left, right - x) ** 2
    y = torch.arange(h, device=on.device, dtype=torch.float32)
    gap = ((y[:, None] - y[None]) ** 2)[None, :, :, None]  # [1, y, y', 1]
    edge = torch.minimum(y + 1, h - y)[None, :, None] ** 2
    memory = memory or (1 << 28 if on.is_cuda else 1 << 24)  # numbers at a time
    step = max(1, memory // (h * h * w))
    out = [(row[at:at + step, None] + gap).amin(2) for at in range(0, p, step)]
    return torch.minimum(torch.cat(out), edge) * on


def deepest(on):
    """-> (x, y) of the cell farthest from the border, [P, 2] i64."""
    i = squared_distance(on).flatten(1).argmax(1)
    w = on.shape[2]
    return torch.stack([i % w, i // w], 1)


def boxes_of(on):
    """-> x0, y0, x1, y1 of the cells that are on, edges, [P, 4] f32."""
    def span(a):
        n = a.shape[1]
        i = torch.arange(n, device=a.device)
        return torch.where(a, i, n).amin(1), torch.where(a, i, -1).amax(1) + 1
    (x0, x1), (y0, y1) = span(on.any(1)), span(on.any(2))
    return torch.stack([x0, y0, x1, y1], 1).float()


def disturbed(on, g):
    """A moved, grown, shrunk or holed version of masks, as tracking or a poor first mask would give."""
    n, h, _ = on.shape
    u = lambda *s: torch.rand(*s, generator=g, device=on.device)
    box = boxes_of(on)
    size = torch.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]).clamp(min=1)
    mid = (box[:, :2] + box[:, 2:]) / 2
    k = torch.exp(torch.randn(n, generator=g, device=on.device) * 0.06)
    shift = torch.randn(n, 2, generator=g, device=on.device) * 0.05 * size[:, None]
    a = torch.diag_embed((1 / k)[:, None].expand(-1, 2))
    t = (mid - (mid + shift) / k[:, None]) * (2 / h) + (1 / k[:, None] - 1)
    grid = F.affine_grid(torch.cat([a, t[:, :, None]], 2), (n, 1, h, h), align_corners=False)
    x = F.grid_sample(on[:, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
    pick = u(n, 1, 1, 1)
    for lo, r in ((0.0, 1), (0.15, 2), (0.3, 4)):  # larger radii only for masks they do not swallow
        fits = (pick >= lo) & (pick < lo + 0.15) & (size.view(n, 1, 1, 1) >= 12 * r)
        grow = u(n, 1, 1, 1) < 0.5
        x = torch.where(fits & grow, F.max_pool2d(x, 2 * r + 1, 1, r), x)
        x = torch.where(fits & ~grow, -F.max_pool2d(-x, 2 * r + 1, 1, r), x)
    x, c = x[:, 0] > 0.5, torch.arange(h, device=on.device)
    for _ in range(3):
        at = random_cell(on, g)
        r = (1 + u(n) * 0.2 * size) * (u(n) < 0.5)
        blob = (c[None, None, :] - at[:, 0, None, None]) ** 2 + (c[None, :, None] - at[:, 1, None, None]) ** 2 < r[:, None, None] ** 2
        x = torch.where(blob, u(n, 1, 1) < 0.5, x)
    return x


class Prompts:
    """The growing prompts of one batch: every prompt has the same number of clicks, and either two box corners or one
    more pad point, so that the token count is the same for all. masks bool [P, H, H]."""

    def __init__(self, masks, part, o, g, extra=0):
        self.masks, self.part, self.o, self.g = masks, part, o, g
        p, h, dev = len(masks), masks.shape[1], masks.device
        u = self.u = lambda *s, lo=0.0, hi=1.0: torch.rand(*s, generator=g, device=dev) * (hi - lo) + lo
        click, box, _ = o.kinds
        draw = u(p) * sum(o.kinds)
        self.kind = torch.where(draw < click, CLICK, torch.where(draw < click + box, BOX, NOISY))
        self.is_box = self.kind == BOX
        cells = boxes_of(masks)
        side = (cells[:, 2:] - cells[:, :2]).repeat(1, 2)
        amp = torch.where(u(p, 1) < 0.75, 0.05, 0.12)
        self.box = ((cells + u(p, 4, lo=-1, hi=1) * amp * side) * 2).clamp(0, 2 * h)
        self.first = self.inside_cell(torch.where(u(p, 1) < o.random_click, random_cell(masks, g), deepest(masks)))
        self.points, self.labels = torch.zeros(p, 0, 2, device=dev), torch.zeros(p, 0, dtype=torch.long, device=dev)
        for _ in range(extra):
            inner = random_cell(masks, g)
            near = (cells[:, :2] - 0.4 * side[:, :2] - 2 + u(p, 2) * (1.8 * side[:, :2] + 4)).long().clamp(0, h - 1)
            c = torch.where(u(p, 1) < 0.6, inner, near)
            self.add(self.inside_cell(c), masks[torch.arange(p, device=dev), c[:, 1], c[:, 0]].long())
        self.noisy = self.kind == NOISY
        self.mask = torch.zeros(p, h // 2, h // 2, device=dev)
        on = self.noisy.nonzero()[:, 0]
        if len(on):
            self.mask[on] = (F.avg_pool2d(disturbed(masks[on], g)[:, None].float(), 2)[:, 0] * 2 - 1) * 8

    def inside_cell(self, c):
        """Cells [P, 2] -> a random place inside them, input pixels."""
        return (c + 0.5) * 2 - 0.5 + self.u(*c.shape, lo=-0.5, hi=0.5)

    def as_boxes(self):
        """The same masks asked for by their boxes alone, for a teacher."""
        out = object.__new__(Prompts)
        out.__dict__.update(self.__dict__)
        out.is_box, out.mask = torch.ones_like(self.is_box), torch.zeros_like(self.mask)
        out.points, out.labels = self.points[:, :0], self.labels[:, :0]
        return out

    def tokens(self):
        """Clicks first, then corners for boxes; prompts of clicks only have (first click, pad) in their place."""
        p = len(self.first)
        corners = self.box.view(p, 2, 2)
        first = torch.stack([self.first, torch.zeros_like(self.first)], 1)
        box = self.is_box[:, None]
        lab = torch.where(box, torch.tensor([[2, 3]], device=box.device), torch.tensor([[1, -1]], device=box.device))
        return (torch.cat([self.points, torch.where(box[..., None], corners, first)], 1), torch.cat([self.labels, lab], 1))

    def dense(self):
        """Points, labels and boxes of the dense map (the first click only where there is no box)."""
        lab = torch.where(self.is_box, -1, 1)[:, None]
        return (torch.cat([self.points, self.first[:, None]], 1), torch.cat([self.labels, lab], 1),
                self.box * self.is_box[:, None])

    def add(self, xy, lab):
        self.points = torch.cat([self.points, xy[:, None]], 1)
        self.labels = torch.cat([self.labels, lab[:, None]], 1)

    def correct(self, pred):
        """The next click, in the larger error region of pred bool [P, H, H] (or, where the model ran over a part's edge,
        with probability `part_negatives` in what it took too much)."""
        missed, extra = self.masks & ~pred, pred & ~self.masks
        a, b = missed.flatten(1).sum(1), extra.flatten(1).sum(1)
        positive = a >= b
        if self.o.part_negatives > 0:
            spill = self.part & (b > 0.1 * self.masks.flatten(1).sum(1)) & (self.u(len(a)) < self.o.part_negatives)
            positive = positive & ~spill
        none = (a + b) == 0
        error = torch.where((none | positive)[:, None, None], torch.where(none[:, None, None], self.masks, missed), extra)
        c = torch.where(self.u(len(a), 1) < self.o.random_correction, random_cell(error, self.g), deepest(error))
        self.add(self.inside_cell(c), (positive | none).long())
