"""One training step of nano on a batch of scenes, and the model states around it: averaged weights, rounded weights."""
import copy

import torch
import torch.nn.functional as F

import clicks as C
from losses import border_weights, boundary_loss, choice_loss, mask_losses, weighted_mean
from model import up2

compiled = {"mask_losses": mask_losses}  # replaced by a compiled one on request


def decode(net, feats, prompts):
    points, labels, boxes = prompts.dense()
    return net.decode(feats, points, labels, boxes, prompts.mask, tokens=prompts.tokens())


def at_cells(logits, size):
    """Logits at the side of the labels: doubled, or as they are where the network has finer ones."""
    logits = logits.float()
    return logits if logits.shape[-1] == size else up2(logits)


def soft_targets(net, feats, prompts, size):
    """What the network says to the masks' boxes: probabilities [P, 1, H, H] of the single mask."""
    with torch.no_grad():
        masks, _ = decode(net, feats, prompts.as_boxes())
        return at_cells(masks[:, :1], size).sigmoid()


def level_losses(logits, batch, n):
    """Losses of masks 1, 2, 3 against part, object and group, where they are known: logits [P, 3, H, H] -> [P]."""
    masks, known = batch["level_masks"].flatten(0, 1), batch["level_known"].flatten(0, 1).float()
    gt = masks.float().flatten(0, 1)[:, None]
    flat = logits.flatten(0, 1)[:, None]
    loss, _ = compiled["mask_losses"](flat, gt, border_weights(gt))
    return (loss.view(n, 3) * known).sum(1) / known.sum(1).clamp(min=1)


def step(net, batch, o, g, rounds, extra, amp):
    """Forward and backward; gradients are left in net. -> {figure: (sum, weight) tensors}. The encoder runs once, forward
    and backward; the decoder once a round, with the logits so far fed back."""
    with amp():
        feats = net.encode(batch["image"].contiguous(memory_format=o.memory_format))
    held = [f.detach().requires_grad_() for f in feats]
    masks, weight = batch["masks"].flatten(0, 1), batch["weight"].flatten()
    n, size = len(masks), masks.shape[-1]
    gt = masks[:, None].float()
    border = border_weights(gt)
    prompts = C.Prompts(masks, batch["part"].flatten(), o, g, extra)
    figures = {}

    def note(name, value, w):
        figures[name] = ((value.detach() * w).sum(), w.sum())

    teacher = None
    if o.distill > 0:
        with amp():
            teacher = soft_targets(net, held, prompts, size)
    for r in range(rounds):
        first = r == 0 and extra == 0
        with amp():
            low, said = decode(net, held, prompts)
        said = said.float()
        heads = 4 if r == 0 else 1  # later rounds train the single mask only
        logits = at_cells(low[:, :heads], size)
        loss, iou = compiled["mask_losses"](logits, gt, border)
        if o.boundary > 0:
            loss = loss + o.boundary * boundary_loss(logits, gt)
        ambiguous = (prompts.kind == C.CLICK) & first
        total = loss[:, 0] * torch.where(ambiguous, o.single, 1.0)
        if heads > 1:
            total = total + loss[:, 1:].amin(1) * torch.where(ambiguous, 1.0, 0.25)
            if o.levels > 0:
                total = total + o.levels * torch.where(ambiguous, level_losses(logits[:, 1:], batch, n), 0.0)
            if o.choice > 0:
                total = total + o.choice * torch.where(ambiguous, choice_loss(said[:, 1:], iou[:, 1:]), 0.0)
        if teacher is not None and r == 0:
            bce = F.binary_cross_entropy_with_logits(logits[:, :1], teacher, reduction="none")
            total = total + o.distill * torch.where(ambiguous, (bce * border).mean((1, 2, 3)), 0.0)
        total = total + o.iou * (said[:, :heads] - iou).square().mean(1)
        total = weighted_mean(total, weight)
        (total / rounds).backward()
        with torch.no_grad():
            if first:
                best = iou[:, 1:].gather(1, said[:, 1:].argmax(1, keepdim=True))[:, 0]
                click, box = weight * (prompts.kind == C.CLICK), weight * prompts.is_box
                note("click", iou[:, 0], click)
                note("chosen", best, click)
                note("oracle", iou[:, 1:].amax(1), click)
                note("box", iou[:, 0], box)
                note("iou_error", (said[:, 0] - iou[:, 0]).abs(), weight)
            note(f"round{r + 1}", iou[:, 0], weight)
            note("loss", total, torch.ones_like(total))
            if r + 1 < rounds:
                use = torch.zeros(n, dtype=torch.long, device=masks.device)
                if heads > 1:
                    use = torch.where(ambiguous & (prompts.u(n) < 0.6), said[:, 1:].argmax(1) + 1, use)
                kept = low[torch.arange(n, device=masks.device), use].float()
                prompts.correct(at_cells(kept[:, None], size)[:, 0] > 0)
                prompts.mask = kept
    torch.autograd.backward(feats, [h.grad for h in held])
    return figures


LEAST_DEPTH = 96  # the runtime keeps shallower layers in f32


class Rounding:
    """Weights as the runtime's int8 has them (symmetric, one scale a row) while a step runs, the exact ones again after:
    gradients pass as if nothing had happened. The trunk stays exact, as the runtime keeps it."""

    def __init__(self, net):
        dense = lambda m: isinstance(m, torch.nn.Linear) or isinstance(m, torch.nn.Conv2d) and m.groups == 1
        self.params = [m.weight for name, m in net.named_modules()
                       if dense(m) and "trunk" not in name and m.weight[0].numel() >= LEAST_DEPTH]

    def __enter__(self):
        with torch.no_grad():
            self.exact = [p.detach().clone() for p in self.params]
            for p in self.params:
                row = p.detach().flatten(1)
                scale = (row.abs().amax(1, keepdim=True) / 127).clamp(min=1e-12)
                p.copy_(((row / scale).round() * scale).view_as(p))

    def __exit__(self, *_):
        with torch.no_grad():
            for p, exact in zip(self.params, self.exact):
                p.copy_(exact)


def averaged(net):
    return copy.deepcopy(net).eval().requires_grad_(False)
