"""Cheap checks of the pieces that are easy to get wrong: python test_training.py"""
import contextlib
import io
import json
import os
import sys
import tempfile

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "gpu"))

import clicks  # noqa: E402
import data  # noqa: E402
import evaluate  # noqa: E402
import export  # noqa: E402
import fit  # noqa: E402
import make_shard  # noqa: E402
import scenes  # noqa: E402
import steps  # noqa: E402
from losses import border_weights, boundary_loss, choice_loss, mask_losses  # noqa: E402
from make_golden import CFG, seeded  # noqa: E402
from model import Nano, NanoConfig, dense_prompt, up2  # noqa: E402
from train import corrections  # noqa: E402


GOLDENS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "dev", "goldens")


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


def test_extensions_start_as_what_the_file_computes():
    net = tiny()
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "x.safetensors")
        export.save(net, path, torch.float32)
        assert "fine_dim" not in export_config(path) and "click_scales" not in export_config(path)
        more = export.load(path, fine_dim=4, click_scales=[6.0])
        export.save(more, path, torch.float32)
        assert export_config(path)["fine_dim"] == 4
        back = export.load(path)
    x, pts, labs = torch.randn(1, 3, 64, 64), torch.rand(2, 2, 2) * 64, torch.tensor([[1, 0], [1, 1]])
    with torch.no_grad():
        masks, iou = net.decode(net.encode(x), pts, labs)
        for other in (more, back):
            fine, iou_2 = other.decode(other.encode(x), pts, labs)
            assert fine.shape[-1] == 2 * masks.shape[-1]
            assert torch.allclose(fine, up2(masks), atol=1e-3) and torch.allclose(iou, iou_2, atol=1e-4)
        net.decode(net.encode(x), pts, labs, None, fine[:, 0])  # finer logits may be fed back


def export_config(path):
    with safe_open(path, "pt") as f:
        return json.loads(f.metadata()["samovar_config"])


def test_distance_on_the_device_is_the_exact_one():
    torch.manual_seed(0)
    on = torch.rand(6, 23, 40) < 0.9
    on[0] = True
    got = clicks.squared_distance(on, memory=1 << 16)
    for i in range(len(on)):
        d = cv2.distanceTransform(np.pad(on[i].numpy().astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        assert np.allclose(d ** 2, got[i].numpy(), atol=0.05)


def options(*argv):
    o = fit.options(argv)
    o.memory_format = torch.contiguous_format
    return o


def test_clicks_on_the_device_hit_mask_and_error():
    g = torch.Generator().manual_seed(1)
    masks = torch.zeros(6, 32, 32, dtype=torch.bool)
    masks[:, 4:28, 4:28] = True
    pred = masks.clone()
    pred[:3, 4:28, 4:16] = False  # a half is missed
    pred[3:, :, 28:] = True  # too much is taken
    prompts = clicks.Prompts(masks, torch.zeros(6, dtype=torch.bool), options(), g)
    at = ((prompts.first + 0.5) / 2).floor().long()
    assert masks[torch.arange(6), at[:, 1], at[:, 0]].all()
    prompts.correct(pred)
    at = ((prompts.points[:, 0] + 0.5) / 2).floor().long()
    assert (masks ^ pred)[torch.arange(6), at[:, 1], at[:, 0]].all()
    assert prompts.labels[:, 0].tolist() == [1, 1, 1, 0, 0, 0]
    exact = torch.tensor([8.0, 8.0, 56.0, 56.0])
    assert (prompts.box - exact).abs().max() <= 0.12 * 48 + 1e-3


def test_part_negatives_prefer_what_is_too_much():
    masks = torch.zeros(4, 32, 32, dtype=torch.bool)
    masks[:, 4:28, 4:28] = True
    pred = masks.clone()
    pred[:, 4:28, 4:20] = False  # missed: more than
    pred[:, 4:28, 28:32] = True  # what is too much
    part = torch.tensor([True, True, False, False])
    prompts = clicks.Prompts(masks, part, options("--part-negatives", "1"), torch.Generator().manual_seed(1))
    prompts.correct(pred)
    assert prompts.labels[:, 0].tolist() == [0, 0, 1, 1]


def small_pack(path, n=10):
    """Grey pictures with one bright square each, the square labelled; ids and sources as the training pack has them."""
    with open(path, "wb") as f:
        f.write(b"SEGPACK1")
        for i in range(n):
            img, lab = np.full((48, 64, 3), 60, np.uint8), np.zeros((48, 64), np.uint8)
            img[8:40, 10 + i:40 + i], lab[8:40, 10 + i:40 + i] = 230, 1
            hdr = {"id": str(i), "src": ("duts-tr", "animals")[i % 2], "lic": "",
                   "layers": [{"kind": ("binary", "instances")[i % 2]}]}
            f.write(make_shard.record_bytes(hdr, img, [lab], 90))


def test_shards_are_disjoint_and_complete():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "x.segpack")
        small_pack(path, 23)
        ids = [[r[0]["id"] for r in make_shard.deal(data.read_pack(path), i, 3)] for i in range(3)]
        again = [r[0]["id"] for r in make_shard.deal(data.read_pack(path), 1, 3)]
    assert sorted(sum(ids, []), key=int) == [str(i) for i in range(23)]
    assert again == ids[1] and max(map(len, ids)) - min(map(len, ids)) <= 2


def test_scenes_move_pictures_and_labels_alike():
    o = options("--paste", "0", "--mix", "synthetic=0", "--background", "0", "--zoom", "1")
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "x.segpack")
        small_pack(path)
        shard = scenes.Shard(path, torch.device("cpu"))
    s = scenes.Scenes(shard, 64, 8, 1, o, torch.device("cpu"), 0)
    s.photometric = lambda x: x
    batch = s.next(np.random.default_rng(0))
    bright = F.max_pool2d(-F.max_pool2d(-batch["image"].mean(1), 2), 1) > 0.2  # all four pixels of a cell
    on = batch["masks"][:, 0] & (batch["weight"][:, :1, None] > 0)
    assert on.sum() > 500
    assert (bright & ~on & (batch["weight"][:, :1, None] > 0)).sum() < 0.02 * on.sum()
    assert (on & ~(F.max_pool2d(batch["image"].mean(1), 2) > 0.2)).sum() < 0.04 * on.sum()


def test_pasting_takes_its_area_from_other_labels():
    o = options("--paste", "1", "--occlude", "1", "--mix", "synthetic=0")
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "x.segpack")
        small_pack(path)
        shard = scenes.Shard(path, torch.device("cpu"))
    s = scenes.Scenes(shard, 64, 8, 2, o, torch.device("cpu"), 0)
    img, lab, inside = torch.full((8, 3, 64, 64), 10.0), torch.ones(8, 32, 32, dtype=torch.long), torch.ones(8, 1, 64, 64) > 0
    s.paste(img, lab, inside, 0)
    pasted = lab == shard.labels_end
    assert pasted.flatten(1).any(1).float().mean() > 0.7
    assert (img[:, 0, ::2, ::2] > 100)[lab == 1].float().mean() < 0.05  # the bright object is nowhere but under its label


def test_a_run_leaves_weights_to_go_on_from():
    with tempfile.TemporaryDirectory() as d:
        first, out = os.path.join(d, "x.safetensors"), os.path.join(d, "out")
        export.save(tiny(), first, torch.float32)
        for name in ("train", "dev"):
            small_pack(os.path.join(d, f"{name}.segpack"))
        common = ["--shard", d, "--out", out, "--device", "cpu", "--no-amp", "--procs", "1", "--seconds", "1e9", "--phases",
                  "64x4x2:1", "--clicks", "2", "--max-images", "12", "--warmup", "1", "--ema", "0.5", "--round-weights", "1e9"]
        with contextlib.redirect_stdout(io.StringIO()):
            fit.main(["--init", first, *common])
        one = export.load(os.path.join(out, "nano.safetensors"))
        names = {"nano.safetensors", "curves.csv", "curves.png", "sheet.png", "report.json", "report.txt"}
        assert set(os.listdir(out)) == names
        assert export_config(os.path.join(out, "nano.safetensors"))["training"]["images"] == 12
        with contextlib.redirect_stdout(io.StringIO()):
            fit.main(["--init", os.path.join(out, "nano.safetensors"), *common, "--levels", "1", "--fine", "4", "--distill", "1"])
        two = export.load(os.path.join(out, "nano.safetensors"))
        told = json.load(open(os.path.join(out, "report.json")))
    w = [n.state_dict()["mask_decoder.upscale_conv1.weight"] for n in (tiny(), one, two)]
    assert not torch.equal(w[0], w[1]) and not torch.equal(w[1], w[2]) and all(x.isfinite().all() for x in w)
    assert two.cfg.fine_dim == 4 and 0 <= told["dev"]["all"]["one_click"] <= 1


def test_rounded_weights_come_back():
    net = tiny()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    least, steps.LEAST_DEPTH = steps.LEAST_DEPTH, 8
    try:
        with steps.Rounding(net):
            w = net.mask_decoder.transformer.layers[0].mlp.lin1.weight
            assert len(w[0].unique()) <= 255 and not torch.equal(w, before["mask_decoder.transformer.layers.0.mlp.lin1.weight"])
    finally:
        steps.LEAST_DEPTH = least
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_boundary_figures():
    a = np.zeros((1, 40, 40), bool)
    a[0, 10:30, 10:30] = True
    shifted, far = np.roll(a, 2, 2), np.roll(a, 9, (1, 2))
    assert evaluate.boundary_f(a, a)[0] == 1 and evaluate.boundary_f(shifted, a)[0] > 0.99
    assert evaluate.boundary_f(far, a)[0] < 0.5 and evaluate.boundary_f(np.zeros_like(a), a)[0] == 0
    gt = torch.from_numpy(a[:, None].astype(np.float32))
    near, off = ((torch.from_numpy(m[:, None].astype(np.float32)) * 2 - 1) * 30 for m in (a, far))
    assert boundary_loss(near, gt).item() < 0.05 < 0.4 < boundary_loss(off, gt).item()


def test_boundary_f_is_that_of_the_davis_evaluation():
    sys.path.append(GOLDENS)
    from measures import speckle

    cases = [case for case in json.load(open(os.path.join(GOLDENS, "measures", "boundary.json"))) if case["reach"] == 2]
    assert len(cases) >= 4
    for case in cases:
        found, truth = (speckle(seed, case["height"], case["width"], density) for seed, density in (case["found"], case["truth"]))
        assert abs(evaluate.boundary_f(found[None], truth[None])[0] - case["f"]) < 1e-9, case


def test_choice_loss_wants_the_best_mask_said_best():
    iou = torch.tensor([[0.9, 0.3, 0.2]])
    assert choice_loss(iou, iou).item() < 1e-6 < choice_loss(iou.flip(1), iou).item()


def test_ranks_share_ties():
    assert evaluate.ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


if __name__ == "__main__":
    for name, f in list(globals().items()):
        if name.startswith("test_"):
            f()
            print("ok", name)
