"""Goldens of SAM 2's tracker at tiny size: facebookresearch/sam2's SAM2VideoPredictor on a synthetic shot, beside transformers.

    python samtwo_video.py --out sam2_video --sam2-path /path/to/sam2

SAM 2's code is read from a checkout of https://github.com/facebookresearch/sam2 (made with commit 2b90b9f; it wants iopath and
hydra-core). Weights, names and the trunk are those of `samtwo.py`, but that the memory works here: masks are taken down 16-fold,
memory attention and fuser have two layers. Writes
    original.pt             the weights, original names, {"model": state dict}, bf16: every weight is a bf16 number
    names.json              transformers' name -> the original name, or the four of a table of points
    config.json             of Sam2VideoModel for the same weights
    shot/1001.png ...       the shot, 96 x 96: as large as the model's input, so nothing is resized
    masks/<session>.<frame>.<object>.png   mask prompts
    sessions.json           what is asked of the tracker, step by step, and what its outputs are called
    outputs.safetensors     <session>.<run>.<frame>.scores and .pointers; .masks [objects, 24, 24], of some sessions for all frames
                            on which an object is left; and for some frames .attended, memory attention's output
                            [objects, 36, 32], and .memory before it is rounded to bf16 [objects, 36, 16]
    positions.safetensors   sine positions of a memory and of an image, temporal positions of pointers, RoPE's cosines and sines

Channels are last in .attended and .memory, cells in rows. Frames are numbered from 0 in these names and in sessions.json. Masks
are low-resolution logits as the predictor keeps them: -1024 where the object's score is below 0, not filled.

What is recorded is the original code in f32 on one thread; memories are rounded to bf16 before anything reads them, as there.
Two things are mended, neither of which changes a number that the original gives:
- with no pointer in the past, memories stay bf16 and f32 weights refuse them: they are made f32 (`float_memories`);
- `fill_holes_in_mask_scores` is off: without its CUDA extension the original skips it.

Where transformers 5.23 (Sam2VideoModel) differs, the original is followed. The recipe runs it as it is, which must differ, and
with rows 1 to 5 mended (`mend`), which must agree: there is no sixth that these sessions see.
 1. The pointer of a mask prompt is that of the best of three masks; originally that of the single mask's token.
 2. The memory of a mask prompt is made of the mask itself; originally of its low-resolution logits, enlarged again.
 3. With max_cond_frame_num, pointers of all prompted frames are attended to, and those of frames that were not chosen are no
    longer found among the recent ones; originally only those of the chosen ones, and the others as recent frames.
 4. The logits that a frame has are not given to the decoder with a further click on it. Originally they are, within +-32.
 5. A corrected frame never conditions others; originally that is add_all_frames_to_correct_as_cond (off in SAM 2, on in SAM 3,
    on here in `corrected`: with it off, propagation computes the corrected frame anew and forgets the click).
Not seen by these sessions: an object is tracked on a frame where another one gets its prompt, and any() of the two decides
whether masks are binarised for memory; it shows only where such a memory is read before propagation makes it again.
Alike in both, though said otherwise elsewhere: memories of prompted frames, of clicks and of masks, are of binary masks
(`propagate_in_video_preflight` passes is_mask_from_pts=True for either).
Nor this, as nothing is resized: the original resizes pictures with Pillow's bicubic filter, transformers bilinearly.
"""

import argparse
import copy
import functools
import hashlib
import json
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import common
import samtwo
from samtwo import GRID, IMAGE, PROMPT_DIM, SEED

# There the memory only has names. A pointer is two tokens of memory here, four in the published models.
samtwo.MASK_STRIDE, samtwo.MEMORY_DIM = 16, PROMPT_DIM // 2
LAYERS, FRAMES, FIRST_NUMBER = 2, 20, 1001
# What is too close to call: which mask is best, whether an object is there.
LEAST_MARGIN = 2e-3
# Largest difference over the spread of all masks of a session, of all scores and so on, and norms of the same. A memory's last
# bit of bf16 is up to 8e-3 of its value: where an implementation rounds otherwise, nothing is much nearer than half of this later.
LARGEST, RELATIVE = 5e-3, 5e-4


# ------------------------------------------------------------------------------------------------------ weights


def configuration():
    """That of Sam2VideoModel."""
    config, _ = samtwo.configurations()
    config.memory_attention_num_layers = config.memory_fuser_num_layers = LAYERS
    return config


def build_transformers():
    from transformers import Sam2VideoModel

    model = Sam2VideoModel(configuration()).eval()
    narrow_keys(model.memory_attention)
    state = model.state_dict()
    samtwo.seed(model)
    # Both objects are gone for some frames and come back.
    state["mask_decoder.pred_obj_score_head.proj_out.bias"].fill_(-4.8)
    for tensor in state.values():
        tensor.copy_(tensor.bfloat16())
    return model


def narrow_keys(memory_attention):
    """Both upstreams say 64 for the width of what memory attention reads."""
    for layer in memory_attention.layers:
        for name in ("k_proj", "v_proj"):
            setattr(layer.cross_attn_image, name, torch.nn.Linear(samtwo.MEMORY_DIM, PROMPT_DIM))


def build_predictor(state, *, version="2.1", max_cond_frames=-1, corrections_condition=False):
    """SAM2VideoPredictor in the sizes of `samtwo.build_original`, which keeps what the tracker computes on its way."""
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    original = samtwo.build_original()
    original.memory_attention.num_layers = LAYERS
    for stack in (original.memory_attention, original.memory_encoder.fuser):
        stack.layers = torch.nn.ModuleList(copy.deepcopy(stack.layers[0]) for _ in range(LAYERS))
    narrow_keys(original.memory_attention)
    original.load_state_dict(state, strict=True)
    if version == "2.0":
        original.no_obj_embed_spatial = None
        original.add_tpos_enc_to_obj_ptrs = original.proj_tpos_enc_in_obj_ptrs = False
        original.use_signed_tpos_enc_to_obj_ptrs = False
        original.obj_ptr_tpos_proj = torch.nn.Identity()
    original.max_cond_frames_in_attn = max_cond_frames

    class Predictor(type(original), SAM2VideoPredictor):
        pass

    original.__class__ = Predictor
    return settle(recording(original), corrections_condition)


def recording(predictor):
    """The same predictor, which keeps memories before they are rounded, what attention gave, and how close choices were."""

    class Recording(type(predictor)):
        def _encode_new_memory(self, *arguments, **named):
            features, positions = super()._encode_new_memory(*arguments, **named)
            self.unrounded[rounded_bytes(features)] = features
            self.memory_positions = positions[-1]
            return features, positions

        def _prepare_memory_conditioned_features(self, *, frame_idx, output_dict, is_init_cond_frame, **named):
            features = super()._prepare_memory_conditioned_features(
                frame_idx=frame_idx, output_dict=output_dict, is_init_cond_frame=is_init_cond_frame, **named)
            if not is_init_cond_frame:
                self.attended[id(output_dict), frame_idx] = features
            return features

        def _forward_sam_heads(self, *arguments, **named):
            found = super()._forward_sam_heads(*arguments, **named)
            ious = found[2][0].sort(descending=True).values
            self.margins.append((found[6].abs().min() / 5).item())
            if len(ious) > 1:
                self.margins.append((ious[0] - ious[1]).item())
            return found

    predictor.__class__ = Recording
    predictor.unrounded, predictor.attended, predictor.margins = {}, {}, []
    return predictor


def settle(predictor, corrections_condition=False):
    """A predictor of the original with the settings of its published builds for video, without what comes after the logits."""
    predictor.fill_hole_area, predictor.non_overlap_masks = 0, False
    predictor.clear_non_cond_mem_around_input = False
    predictor.add_all_frames_to_correct_as_cond = corrections_condition
    predictor.binarize_mask_from_pts_for_mem_enc = True

    def float_memories(module, arguments, named):
        return arguments, {**named, "memory": named["memory"].to(next(module.parameters()).dtype)}

    predictor.memory_attention.register_forward_pre_hook(float_memories, with_kwargs=True)
    return predictor


def rounded_bytes(features):
    return features.bfloat16().float().numpy().tobytes()


# --------------------------------------------------------------------------------------------------------- shot


def shot():
    """A disc and a square on a shaded ground go and come back; from frame 5 to 8 both are hidden. u8 [frames, 96, 96, 3]."""
    y, x = np.mgrid[0:IMAGE, 0:IMAGE]
    ground = np.stack([90 + x, 60 + y, 150 - (x + y) // 3], axis=-1) + (12 * ((x // 8 + y // 8) % 2))[..., None]
    frames = []
    for t in range(FRAMES):
        frame = ground.copy()
        way = t if t < 10 else 18.5 - t
        frame[(x - 18 - 3 * way) ** 2 + (y - 34 - way) ** 2 < 13**2] = (230, 60, 40)
        left, top = 66 - 2 * way, 52 + way / 2
        frame[(x >= left) & (x < left + 20) & (y >= top) & (y < top + 16)] = (20, 200, 90)
        if 5 <= t < 9:
            frame[(y >= 14) & (x >= 10)] = (10, 10, 30)
        frames.append(frame.clip(0, 255).astype(np.uint8))
    return np.stack(frames)


def to_pixels(frames):
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((torch.from_numpy(frames).float() / 255 - mean) / deviation).permute(0, 3, 1, 2).contiguous()


def mask_of(frames, frame, colour):
    return (frames[frame].astype(int) == colour).all(axis=-1)


# ----------------------------------------------------------------------------------------------------- sessions


def sessions():
    """name -> how the predictor is built, how many frames the shot has, its steps in order, frames recorded in full.

    A step gives an object a prompt, or runs: (start, reverse, frames at most).
    """
    click = dict(points=[[20.0, 36.0]], labels=[1])
    two = dict(points=[[45.5, 42.0], [80.0, 20.0]], labels=[1, 0])
    box = dict(box=[64.0, 50.0, 88.0, 70.0])
    disc, square = dict(colour=[230, 60, 40]), dict(colour=[20, 200, 90])
    prompt = lambda frame, object, what: dict(prompt=dict(frame=frame, object=object, **what))
    run = lambda name, start, reverse=False, most=None: dict(run=name, start=start, reverse=reverse, most=most)
    prompts = [prompt(0, 1, click), prompt(0, 2, box), prompt(3, 1, two), prompt(4, 2, square)]
    return {
        # Three kinds of prompts on three frames, more than 16 pointers, objects that go and come back.
        "forward": dict(all_masks=True, steps=[*prompts, run("all", 0)], full=[2, 7, 13, 19]),
        # From the end: frames 19 to 17 come before every prompt on their way, so they have memories but no pointers.
        "backward": dict(all_masks=True, steps=[
            prompt(14, 1, dict(box=[20.0, 26.0, 48.0, 56.0])), prompt(16, 2, square), prompt(10, 1, disc),
            run("all", 19, reverse=True)], full=[18, 9, 1]),
        # From the middle to both ends in one session: the way back sees what the way there has left.
        "both": dict(all_masks=True, steps=[
            prompt(10, 1, disc), prompt(10, 2, box), run("there", 10, most=7), run("back", 10, reverse=True)],
            full=[9, 3]),
        # Fewer frames than pointers are allowed: the number of frames is what distances are divided by.
        "short": dict(frames=6, steps=[prompt(0, 1, click), prompt(0, 2, square), run("all", 0)], full=[5]),
        # Of four prompted frames two are attended to, the others as recent frames.
        "limited": dict(max_cond_frames=2, steps=[
            prompt(0, 1, click), prompt(3, 1, disc), prompt(4, 1, two), prompt(15, 1, disc), run("all", 0)],
            full=[6, 19]),
        # A click on a frame that has been tracked, which conditions from then on.
        "corrected": dict(corrections_condition=True, steps=[
            prompt(0, 1, click), prompt(0, 2, box), run("first", 0, most=14),
            prompt(3, 1, dict(points=[[30.0, 38.0], [70.0, 60.0]], labels=[1, 0])), prompt(2, 2, square),
            run("again", 2, most=9)], full=[3, 4]),
        # SAM 2.0: pointers without positions, no embedding for what is hidden.
        "version_2_0": dict(version="2.0", steps=[*prompts, run("all", 0, most=16)], full=[9]),
    }


def follow(predictor, pixels, frames, name, session):
    """Runs a session through the original; returns {name of output: tensor} and the masks given."""
    from sam2 import sam2_video_predictor

    count = session.get("frames", FRAMES)
    sam2_video_predictor.load_video_frames = lambda **_: (pixels[:count], IMAGE, IMAGE)
    state = predictor.init_state(video_path=None)
    outputs, masks = {}, {}
    for step in session["steps"]:
        if "prompt" in step:
            given = step["prompt"]
            where = dict(inference_state=state, frame_idx=given["frame"], obj_id=given["object"])
            if "colour" in given:
                mask = mask_of(frames, given["frame"], given["colour"])
                masks[f"{name}.{given['frame']}.{given['object']}"] = mask
                predictor.add_new_mask(**where, mask=mask)
            else:
                predictor.add_new_points_or_box(
                    **where, points=given.get("points"), labels=given.get("labels"), box=given.get("box"))
            continue
        most = None if step["most"] is None else step["most"] - 1  # N + 1 frames originally
        for frame, objects, _ in predictor.propagate_in_video(
                state, start_frame_idx=step["start"], max_frame_num_to_track=most, reverse=step["reverse"]):
            is_full = frame in session["full"]
            with_masks = is_full or session.get("all_masks", False)
            record(predictor, state, outputs, f"{name}.{step['run']}.{frame}", frame, with_masks, is_full)
    return outputs, masks


def record(predictor, state, outputs, prefix, frame, with_masks, is_full):
    kept = state["output_dict_per_obj"]
    found = [kept[o]["cond_frame_outputs"].get(frame) or kept[o]["non_cond_frame_outputs"][frame] for o in kept]
    scores = torch.stack([x["object_score_logits"].flatten()[0] for x in found])
    if with_masks and (scores > 0).any():
        outputs[f"{prefix}.masks"] = torch.stack([x["pred_masks"][0, 0] for x in found])
    outputs[f"{prefix}.scores"] = scores
    outputs[f"{prefix}.pointers"] = torch.stack([x["obj_ptr"][0] for x in found])
    if is_full:
        # A map, or tokens already.
        last = lambda x: x[0] if x.ndim == 3 else x[0].flatten(1).T
        memories = [predictor.unrounded[x["maskmem_features"].float().numpy().tobytes()] for x in found]
        outputs[f"{prefix}.memory"] = torch.stack([last(x) for x in memories])
        attended = [predictor.attended.get((id(kept[o]), frame)) for o in kept]
        if all(x is not None for x in attended):
            outputs[f"{prefix}.attended"] = torch.stack([last(x) for x in attended])


# ------------------------------------------------------------------------------------------------- transformers


def transformers_session(pixels):
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    return Sam2VideoInferenceSession(video=pixels, video_height=IMAGE, video_width=IMAGE, dtype=torch.float32)


def follow_transformers(
        model, pixels, frames, name, session, corrections_condition=False, new_session=transformers_session):
    """The same session through Sam2VideoModel, one object after the other as its prompts come."""
    state = new_session(pixels[:session.get("frames", FRAMES)])
    outputs = {}
    for step in session["steps"]:
        kept = state.output_dict_per_obj
        if "prompt" in step:
            given = step["prompt"]
            index, frame = state.obj_id_to_idx(given["object"]), given["frame"]
            if "colour" in given:
                state.remove_point_inputs(index, frame)
                mask = torch.from_numpy(mask_of(frames, frame, given["colour"]))[None, None].float()
                state.add_mask_inputs(index, frame, mask)
            else:
                points = torch.tensor(given.get("points", [])).reshape(1, 1, -1, 2)
                labels = torch.tensor(given.get("labels", []), dtype=torch.int32).reshape(1, 1, -1)
                if "box" in given:
                    points = torch.cat([torch.tensor(given["box"]).reshape(1, 1, 2, 2), points], dim=2)
                    labels = torch.cat([torch.tensor([[[2, 3]]], dtype=torch.int32), labels], dim=2)
                state.add_point_inputs(index, frame, dict(point_coords=points, point_labels=labels))
            state.obj_with_new_inputs = [given["object"]]
            model(state, frame_idx=frame)
            if corrections_condition and frame in kept[index]["non_cond_frame_outputs"]:
                kept[index]["cond_frame_outputs"][frame] = kept[index]["non_cond_frame_outputs"].pop(frame)
            continue
        most = None if step["most"] is None else step["most"] - 1
        for output in model.propagate_in_video_iterator(
                state, start_frame_idx=step["start"], max_frame_num_to_track=most, reverse=step["reverse"]):
            frame, prefix = output.frame_idx, f"{name}.{step['run']}.{output.frame_idx}"
            found = [kept[o]["cond_frame_outputs"].get(frame) or kept[o]["non_cond_frame_outputs"][frame] for o in kept]
            outputs[f"{prefix}.masks"] = torch.stack([x["pred_masks"][0, 0] for x in found])
            outputs[f"{prefix}.scores"] = torch.stack([x["object_score_logits"].flatten()[0] for x in found])
            outputs[f"{prefix}.pointers"] = torch.stack([x["object_pointer"].flatten() for x in found])
    return outputs


def mend(model):
    """Sam2VideoModel with what the original does otherwise (rows 1 to 4 above; `follow_transformers` does row 5)."""
    forward, as_output = model._single_frame_forward, model._use_mask_as_output
    pointers, one_frame = model._get_object_pointers, model._run_single_frame_inference

    def _use_mask_as_output(self, backbone_features, high_res_features, mask_inputs):
        self._single_frame_forward = lambda **named: forward(**named, multimask_output=False)
        found = as_output(backbone_features, high_res_features, mask_inputs)
        del self._single_frame_forward
        found.high_res_masks = torch.nn.functional.interpolate(
            found.pred_masks, size=(IMAGE, IMAGE), mode="bilinear", align_corners=False)
        return found

    def _get_object_pointers(self, inference_session, obj_idx, frame_idx, *arguments, **named):
        kept = inference_session.output_dict_per_obj[obj_idx]
        chosen, others = self._select_closest_cond_frames(
            frame_idx, kept["cond_frame_outputs"], self.config.max_cond_frame_num)
        inference_session.output_dict_per_obj[obj_idx] = {
            "cond_frame_outputs": chosen, "non_cond_frame_outputs": {**others, **kept["non_cond_frame_outputs"]}}
        found = pointers(inference_session, obj_idx, frame_idx, *arguments, **named)
        inference_session.output_dict_per_obj[obj_idx] = kept
        return found

    def _run_single_frame_inference(self, *, inference_session, obj_idx, frame_idx, point_inputs, **named):
        kept = inference_session.output_dict_per_obj[obj_idx]
        before = kept["cond_frame_outputs"].get(frame_idx) or kept["non_cond_frame_outputs"].get(frame_idx)
        if point_inputs is not None and before is not None:
            named["prev_sam_mask_logits"] = before["pred_masks"].clamp(-32, 32)
        return one_frame(
            inference_session=inference_session, obj_idx=obj_idx, frame_idx=frame_idx, point_inputs=point_inputs, **named)

    for method in (_use_mask_as_output, _get_object_pointers, _run_single_frame_inference):
        setattr(model, method.__name__, types.MethodType(method, model))
    return model


# ------------------------------------------------------------------------------------------------------ compare


def apart(got, want):
    """(largest difference over the spread, |got - want| over |want|), the worst of masks, scores, ..., each over a session.

    -1024, which masks of what is not there consist of, counts for no spread.
    """
    worst = (0.0, 0.0)
    for kind in {name.rsplit(".", 1)[-1] for name in want}:
        names = [name for name in want if name.endswith(f".{kind}") and name in got]
        if names:
            a, b = (torch.cat([x[name].flatten() for name in names]) for x in (got, want))
            worst = tuple(map(max, worst, common.relative_errors(torch.where(b > -1000, a, a - b), torch.where(b > -1000, b, 0.0))))
    return worst


def silent_parameters(state, follow_all):
    """Of the memory's parameters those whose redrawing changes no output: a golden says nothing about them."""
    of_memory = (
        "memory_", "maskmem", "obj_ptr", "no_obj", "mask_downsample", "no_mem_embed", "spatial_perceiver")
    want, silent = follow_all(state), []
    for name in state:
        if name.startswith(of_memory):
            other = common.seeded_value(name, state[name], SEED + 1)
            if apart(follow_all({**state, name: other}), want)[0] < 1e-4:
                silent.append(name)
    return silent


# ------------------------------------------------------------------------------------------------------ written


def constants(predictor):
    """What depends on no picture: positions of memories, images and pointers, RoPE's rotations."""
    from sam2.modeling.sam2_utils import get_1d_sine_pe

    grid = lambda width: torch.zeros(1, width, GRID, GRID)
    cells = lambda x: x[0].flatten(1).T
    rotations = predictor.memory_attention.layers[0].self_attn.freqs_cis
    offsets = torch.arange(FRAMES)
    return {
        "memory": cells(predictor.memory_encoder.position_encoding(grid(samtwo.MEMORY_DIM))),
        "image": cells(predictor.image_encoder.neck.position_encoding(grid(PROMPT_DIM))),
        "pointers": predictor.obj_ptr_tpos_proj(get_1d_sine_pe(offsets / 15, dim=PROMPT_DIM)),
        "rope.cos": rotations.real, "rope.sin": rotations.imag,
    }


def name_map(model):
    """transformers' name -> the original one; a list where one tensor was several."""
    found = {}
    for name, tensor in model.state_dict().items():
        original = list(samtwo.to_original_state({name: tensor}, mask_layers=4))
        if original:
            found[name] = original if len(original) > 1 else original[0]
    return found


def described(name, session):
    """A session as sessions.json has it: masks by file."""
    steps = copy.deepcopy(session["steps"])
    for step in steps:
        given = step.get("prompt", {})
        if given.pop("colour", None):
            given["mask"] = f"masks/{name}.{given['frame']}.{given['object']}.png"
    return dict(
        frames=session.get("frames", FRAMES), max_cond_frames=session.get("max_cond_frames", -1),
        corrections_condition=session.get("corrections_condition", False), version=session.get("version", "2.1"),
        steps=steps, in_full=session["full"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sam2-path", type=Path, required=True, help="checkout of facebookresearch/sam2")
    arguments = parser.parse_args()
    out = arguments.out
    for folder in (out, out / "shot", out / "masks"):
        folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    samtwo.use_sam2(arguments.sam2_path)
    import tqdm
    tqdm.tqdm.__init__ = functools.partialmethod(tqdm.tqdm.__init__, disable=True)
    common.use_one_thread()

    model = build_transformers()
    state = samtwo.to_original_state(model.state_dict(), mask_layers=4)
    frames = shot()
    pixels = to_pixels(frames)
    built = lambda session, state=state: build_predictor(
        state, **{key: session[key] for key in ("version", "max_cond_frames", "corrections_condition") if key in session})

    noise = common.normal(SEED, "noise", pixels.shape)
    outputs, masks, margins = {}, {}, []
    for name, session in sessions().items():
        predictor = built(session)
        found, given = follow(predictor, pixels, frames, name, session)
        margins += predictor.margins
        masks |= given
        scores = torch.cat([value for key, value in found.items() if key.endswith(".scores")])
        noisy, _ = follow(built(session), pixels * (1 + 1e-6 * noise), frames, name, session)
        lines = {"rounding moves it by": apart(noisy, found)}
        if "version" not in session:
            model.config.max_cond_frame_num = session.get("max_cond_frames", -1)
            lines["transformers mended"] = apart(follow_transformers(
                mend(copy.deepcopy(model)), pixels, frames, name, session,
                corrections_condition=session.get("corrections_condition", False)), found)
            as_is = apart(follow_transformers(copy.deepcopy(model), pixels, frames, name, session), found)
            assert as_is[0] > 10 * LARGEST, name
            lines["as it is"] = as_is
        line = f"{name:12} {(scores < 0).sum():3} of {len(scores):3} hidden; "
        line += ", ".join(f"{what} {largest:.1e} / {relative:.1e}" for what, (largest, relative) in lines.items())
        print(line)
        for what in ("rounding moves it by", "transformers mended"):
            largest, relative = lines.get(what, (0, 0))
            assert largest < LARGEST / 2 and relative < RELATIVE / 2, line
        outputs |= found
    print(f"least margin {min(margins):.1e}")
    assert min(margins) > LEAST_MARGIN
    for name, value in outputs.items():
        if name.startswith("forward.all.") and name.endswith("scores"):
            frame = int(name.split(".")[2])
            assert (value < 0).all() == (9 <= frame < 15) or 5 <= frame < 9, "objects are hidden for a while"

    def follow_all(state):
        found = {}
        for name in ("forward", "both"):
            session = sessions()[name]
            found |= follow(built(session, state), pixels, frames, name, session)[0]
        return found

    silent = silent_parameters(state, follow_all)
    assert not silent, f"no recorded output depends on {silent}"

    torch.save({"model": {name: tensor.bfloat16() for name, tensor in state.items()}}, out / "original.pt")
    (out / "config.json").write_text(configuration().to_json_string())
    (out / "names.json").write_text(json.dumps(name_map(model), indent=0) + "\n")
    save_file(common.contiguous(outputs), out / "outputs.safetensors")
    save_file(common.contiguous(constants(built(sessions()["forward"]))), out / "positions.safetensors")
    (out / "sessions.json").write_text(json.dumps({name: described(name, x) for name, x in sessions().items()}, indent=1) + "\n")
    for number, frame in enumerate(frames, FIRST_NUMBER):
        Image.fromarray(frame).save(out / "shot" / f"{number}.png", optimize=True)
    for name, mask in masks.items():
        Image.fromarray((mask * 255).astype(np.uint8)).convert("1").save(out / "masks" / f"{name}.png", optimize=True)
    common.write_manifest(
        out, recipe="samtwo_video.py", seed=SEED, packages=common.versions("transformers", "safetensors", "pillow"),
        tolerance={"max_abs_over_std": LARGEST, "relative_l2": RELATIVE}, upstream="facebookresearch/sam2 2b90b9f",
        folders={f"{x.parent.name}/{x.name}": hashlib.sha256(x.read_bytes()).hexdigest()
                 for folder in ("shot", "masks") for x in sorted((out / folder).iterdir())})


if __name__ == "__main__":
    main()
