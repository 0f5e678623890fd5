"""Losses of masks and of their predicted IoU."""
import torch
import torch.nn.functional as F


def border_weights(gt):
    """gt [P, 1, H, H] in {0, 1} -> weights of mean 1, four times as heavy near the border."""
    w = 1 + 3 * (F.max_pool2d(gt, 5, 1, 2) + F.max_pool2d(-gt, 5, 1, 2))
    return w / w.mean((2, 3), keepdim=True)


def mask_losses(logits, gt, w):
    """logits [P, N, H, H], gt and its border weights w [P, 1, H, H] -> loss [P, N] (BCE with heavier borders + dice), IoU [P, N]."""
    bce = (F.binary_cross_entropy_with_logits(logits, gt.expand_as(logits), reduction="none") * w).mean((2, 3))
    p = logits.sigmoid()
    inter, area = (p * gt).sum((2, 3)), p.sum((2, 3)) + gt.sum((2, 3))
    dice = 1 - (2 * inter + 1) / (area + 1)
    with torch.no_grad():
        on = (logits > 0).float()
        i = (on * gt).sum((2, 3))
        iou = i / (on.sum((2, 3)) + gt.sum((2, 3)) - i).clamp(min=1)
    return 4 * bce + dice, iou
