"""Video parity at full size in one command: seeded SAM 2.1 tiny (or EdgeTAM) through the original's SAM2VideoPredictor and `samovar track --logits`.

    python full_size_video.py --samovar ../../target/release/samovar --sam2-path /path/to/sam2 [--work DIR]
    python full_size_video.py --samovar ... --edgetam-path /path/to/EdgeTAM [--work DIR]      EdgeTAM instead

Every parameter and buffer is overwritten (`samtwo.seed`), the bias of the head of object scores so that both objects are hidden for a
while. The shot has 22 frames of 1024 x 1024, two objects, prompts on two frames: a click on frame 4 and two on frame 5 for one, a box on
frame 4 for the other; then forward to the end, where more than 16 pointers are remembered, and backward to frame 0. For each frame this
prints the relative L2 error of the low-resolution logits of both objects and the difference of their scores. The exit code is 1 if
logits are beyond 1e-4 where nothing is remembered (prompted frames) or 1e-3 elsewhere, if somebody is hidden in one of them alone, or if
the shot does not have what it should. Upstream takes some minutes on two cores; --work keeps its outputs for the next run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import common
import edgetam
import samtwo
import samtwo_video

SEED, SIZE, FRAMES = 20260110, 1024, 22
SCORE_BIAS = 0.0
# Of EdgeTAM: factor on the head of object scores, and its bias.
EDGETAM_SCORES = (4.0, 0.0)
# Relative errors: without memories, with them (which both round to bf16), and of scores, over 1 or the score.
FRESH, REMEMBERED = 1e-4, 1e-3
PROMPTS = [
    dict(frame=4, object=1, points=[[320.0, 420.0, 1]]),
    dict(frame=4, object=2, box=[560.0, 520.0, 840.0, 760.0]),
    dict(frame=5, object=1, points=[[350.0, 432.0, 1], [860.0, 200.0, 0]]),
]
FRESH_FRAMES = {(prompt["frame"], prompt["object"]) for prompt in PROMPTS}


def shot():
    """A disc and a square on a shaded ground with stripes; from frame 9 to 13 all is dark. u8 [frames, 1024, 1024, 3]."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    ground = np.stack([90 + x // 12, 60 + y // 12, 150 - (x + y) // 36], axis=-1) + (14 * ((x // 60 + y // 60) % 2))[..., None]
    noise = np.random.default_rng(SEED).integers(0, 12, (SIZE, SIZE, 1))
    frames = []
    for t in range(FRAMES):
        frame = ground + noise
        frame[(x - 200 - 30 * t) ** 2 + (y - 380 - 10 * t) ** 2 < 130**2] = (230, 60, 40)
        left, top = 640 - 18 * t, 540 + 5 * t
        frame[(x >= left) & (x < left + 220) & (y >= top) & (y < top + 180)] = (20, 200, 90)
        if 9 <= t < 14:
            frame = frame // 12
        frames.append(frame.clip(0, 255).astype(np.uint8))
    return np.stack(frames)


def state_of_original():
    from transformers import Sam2VideoConfig, Sam2VideoModel

    model = samtwo.seed(Sam2VideoModel(Sam2VideoConfig()).eval(), SEED)
    model.state_dict()["mask_decoder.pred_obj_score_head.proj_out.bias"].fill_(SCORE_BIAS)
    return samtwo.to_original_state(model.state_dict(), mask_layers=4)


def build_predictor(state):
    from sam2.build_sam import build_sam2_video_predictor

    predictor = build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu", apply_postprocessing=False)
    predictor.load_state_dict(state, strict=True)
    return samtwo_video.settle(predictor)


def state_of_edgetam():
    from transformers import EdgeTamVideoModel

    weight, bias = EDGETAM_SCORES
    model = EdgeTamVideoModel(edgetam.published_configuration()).eval()
    return edgetam.to_original_state(edgetam.seed(model, SEED, weight, bias).state_dict())


def build_edgetam_predictor(state):
    from sam2.build_sam import build_sam2_video_predictor

    predictor = build_sam2_video_predictor("configs/edgetam.yaml", device="cpu", apply_postprocessing=False)
    predictor.load_state_dict(state, strict=True)
    return edgetam.PerObject(samtwo_video.settle(predictor))


def follow_original(predictor, frames):
    """frame_<i>.object_<id> and its .score, as `samovar track --logits` writes them."""
    from sam2 import sam2_video_predictor

    pixels = samtwo_video.to_pixels(frames)
    sam2_video_predictor.load_video_frames = lambda **_: (pixels, SIZE, SIZE)
    state = predictor.init_state(video_path=None)
    for prompt in PROMPTS:
        points = np.array(prompt.get("points", []), dtype=np.float32).reshape(-1, 3)
        given = dict(box=prompt["box"]) if "box" in prompt else dict(points=points[:, :2], labels=points[:, 2].astype(np.int32))
        predictor.add_new_points_or_box(state, frame_idx=prompt["frame"], obj_id=prompt["object"], **given)
    found = {}
    for reverse in (False, True):
        for frame, objects, _ in predictor.propagate_in_video(state, reverse=reverse):
            print(f"upstream: frame {frame}", file=sys.stderr)
            for index, number in enumerate(objects):
                kept = state["output_dict_per_obj"][index]
                one = kept["cond_frame_outputs"].get(frame) or kept["non_cond_frame_outputs"][frame]
                found[f"frame_{frame}.object_{number}"] = one["pred_masks"][0, 0]
                found[f"frame_{frame}.object_{number}.score"] = one["object_score_logits"].flatten()
    return common.contiguous(found)


def prepare(work, is_edgetam):
    """The model, the shot and the prompts on disk; upstream's outputs, kept in `work`."""
    name = "edgetam_video" if is_edgetam else "sam2.1_hiera_tiny_video"
    model, clip, expected = work / f"{name}.pt", work / "shot", work / f"{name}.expected.safetensors"
    (work / "prompts.json").write_text(json.dumps({"prompts": PROMPTS}))
    frames = shot()
    if not (clip / f"{FRAMES - 1:04}.png").exists():
        clip.mkdir(exist_ok=True)
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(clip / f"{number:04}.png")
    if not model.exists():
        torch.save({"model": state_of_edgetam() if is_edgetam else state_of_original()}, model)
    if not expected.exists():
        state = torch.load(model, weights_only=True)["model"]
        build = build_edgetam_predictor if is_edgetam else build_predictor
        save_file(follow_original(build(state), frames), expected)
    return model, load_file(expected)


def compare(got, want):
    """Prints a line for each frame; True if all is within bounds."""
    fine, hidden, worst = True, 0, {FRESH: 0.0, REMEMBERED: 0.0}
    for frame in range(FRAMES):
        parts = []
        for number in (1, 2):
            name = f"frame_{frame}.object_{number}"
            if name not in got:
                parts.append(f"object {number} is missing")
                fine = False
                continue
            scores = [side[f"{name}.score"].item() for side in (got, want)]
            is_hidden = [score <= 0 for score in scores]
            bound = FRESH if (frame, number) in FRESH_FRAMES else REMEMBERED
            apart = abs(scores[0] - scores[1]) / max(1.0, abs(scores[1]))
            error = 0.0 if all(is_hidden) else common.relative_errors(got[name], want[name])[1]
            worst[bound] = max(worst[bound], error)
            is_fine = error <= bound and apart <= bound and is_hidden[0] == is_hidden[1]
            if all(is_hidden):
                is_fine &= bool((got[name] == want[name]).all())
            fine, hidden = fine and is_fine, hidden + is_hidden[1]
            parts.append(f"object {number} score {scores[1]:+8.3f} ({apart:.1e})  logits {'hidden ' if all(is_hidden) else f'{error:.1e}'}"
                         + ("" if is_fine else f"  BEYOND {bound:g}"))
        print(f"  frame {frame:2}: " + "   ".join(parts))
    shown = 2 * FRAMES - hidden
    print(f"worst without memories {worst[FRESH]:.1e}, with {worst[REMEMBERED]:.1e}; hidden {hidden}, shown {shown}")
    return fine and hidden >= 4 and shown >= 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samovar", required=True, help="the binary")
    upstream = parser.add_mutually_exclusive_group(required=True)
    upstream.add_argument("--sam2-path", type=Path, help="checkout of facebookresearch/sam2")
    upstream.add_argument("--edgetam-path", type=Path, help="checkout of facebookresearch/EdgeTAM: compares EdgeTAM")
    parser.add_argument("--work", type=Path, help="keep weights and upstream's outputs here (default: a temporary folder)")
    parser.add_argument("--threads", type=int, default=2, help="for upstream")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.edgetam_path:
        edgetam.use_edgetam(arguments.edgetam_path)
    else:
        samtwo.use_sam2(arguments.sam2_path)
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        model, want = prepare(work, arguments.edgetam_path is not None)
        out = work / "video.found.safetensors"
        out.unlink(missing_ok=True)
        start = time.perf_counter()
        command = [arguments.samovar, "track", work / "shot", "--prompts", work / "prompts.json", "--model", model,
                   "--direction", "both", "--logits", out]
        subprocess.run([str(part) for part in command], check=True)
        print(f"samovar: {time.perf_counter() - start:.1f} s")
        fine = compare(load_file(out), want)
    print("within bounds" if fine else "BEYOND, or not the shot it should be")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
