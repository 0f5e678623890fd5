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


def boundary_loss(logits, gt, reach=2):
    """1 - F of soft boundaries, matched within `reach` cells (Bokhovkin and Burnaev 2019): logits [P, N, H, H], gt
    [P, 1, H, H] -> [P, N]."""
    near = lambda x: F.max_pool2d(x, 2 * reach + 1, 1, reach)
    rim = lambda x: x + F.max_pool2d(-x, 3, 1, 1)  # what a 3x3 erosion takes away
    p, g = rim(logits.sigmoid()), rim(gt)
    precision = (p * near(g)).sum((2, 3)) / (p.sum((2, 3)) + 1)
    recall = (g * near(p)).sum((2, 3)) / (g.sum((2, 3)) + 1)
    return 1 - 2 * precision * recall / (precision + recall + 1e-6)


def choice_loss(predicted, iou, temperature=0.05):
    """Cross-entropy between the choice that predicted IoU makes among masks and the one true IoU would make, both softened
    by `temperature`: [P, N] twice -> [P]. Nothing where all masks are equally good."""
    return F.kl_div((predicted / temperature).log_softmax(1), (iou / temperature).softmax(1), reduction="none").sum(1)


def weighted_mean(x, w):
    return (x * w).sum() / w.sum().clamp(min=1)
