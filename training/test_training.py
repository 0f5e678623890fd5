"""Cheap checks of the pieces that are easy to get wrong: python test_training.py"""
import os
import tempfile

import numpy as np
import torch

import data
import export
from make_golden import CFG, seeded
from model import Nano, NanoConfig, dense_prompt
from losses import border_weights, mask_losses
from train import corrections


def tiny():
    net = Nano(NanoConfig(**CFG)).eval()
    with torch.no_grad():
        seeded(net, 3)
    return net


def test_batched_prompts_equal_single_ones():
    net = tiny()
    with torch.no_grad():
        feats = net.encode(torch.randn(2, 3, 64, 64))
        pts, labs = torch.rand(6, 2, 2) * 64, torch.ones(6, 2, dtype=torch.long)
        all_masks, all_iou = net.decode(feats, pts, labs)
        one, iou = net.decode([f[1:] for f in feats], pts[4:5], labs[4:5])
    assert torch.allclose(all_masks[4:5], one, atol=1e-4) and torch.allclose(all_iou[4:5], iou, atol=1e-5)


def test_dense_map():
    m = dense_prompt(torch.tensor([[[9.5, 17.5]]]), torch.tensor([[1]]), torch.tensor([[4.0, 0.0, 14.0, 8.0]]),
                     torch.full((1, 16, 16), 99.0), 16, 1.5, 10.0)[0]
    assert m[0].eq(1).all() and m[2].eq(0).all()
    assert m[1].argmax() == 4 * 16 + 2 and abs(m[1].max().item() - 1) < 1e-6
    assert m[3, 0].tolist()[:5] == [0, 1, 1, 0.5, 0] and m[3, 1, 1] == 1 and m[3, 2].eq(0).all()


def test_export_round_trip():
    net = tiny()
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "x.safetensors")
        export.save(net, path, torch.float32)
        back = export.load(path)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), back.state_dict().values()))


def test_perfect_mask_has_no_loss():
    gt = torch.zeros(1, 1, 32, 32)
    gt[..., 8:20, 5:30] = 1
    loss, iou = mask_losses((gt * 2 - 1) * 30, gt, border_weights(gt))
    assert loss.item() < 1e-3 and iou.item() == 1


def test_corrections_hit_the_error():
    rng = np.random.default_rng(0)
    gt = np.zeros((1, 32, 32), np.uint8)
    gt[0, 4:28, 4:28] = 1
    pred = gt.copy()
    pred[0, 4:28, 4:16] = 0
    for _ in range(20):
        xy, lab = corrections(pred, gt, rng)
        x, y = ((xy[0] + 0.5) // 2).astype(int)
        assert lab[0] == 1 and gt[0, y, x] and not pred[0, y, x]


def test_warp_keeps_pixel_centres():
    img = np.zeros((40, 60, 3), np.uint8)
    img[10:30, 20:40] = 255
    m = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    big, small = data.warp(img, m, 64, True), data.warp(img[..., 0] // 255, m * 0.5, 32, False)
    assert (big[:40, :60] == img).all() and small[5:15, 10:20].all() and small.sum() == 100


if __name__ == "__main__":
    for name, f in list(globals().items()):
        if name.startswith("test_"):
            f()
            print("ok", name)
