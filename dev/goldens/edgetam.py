"""Goldens of EdgeTAM at tiny size, on images and video: the code of facebookresearch/EdgeTAM, beside transformers.

    python edgetam.py --out edgetam --edgetam-path /path/to/EdgeTAM

EdgeTAM's code is read from a checkout of https://github.com/facebookresearch/EdgeTAM (made with commit 9cc44bf; it wants iopath,
hydra-core and timm, and its package is called sam2, too). Cases and sessions are those of `samtwo.py` and `samtwo_video.py`, shot and
masks are those in sam2_video. Writes
    config.json, model.safetensors   a transformers folder of EdgeTamVideoModel, as the hub has it; bf16: every weight is a bf16 number
    image.json                       the config.json of EdgeTamModel for the same weights
    original.pt                      the same weights, original names, {"model": state dict}, bf16
    encoder.safetensors              pixel_values -> image_embeddings.0 .. .2, fine to coarse, no_mem_embed added
    cases.safetensors                <case>.input_* -> <case>.pred_masks, .iou_scores, .object_score_logits
    sessions.json, outputs.safetensors   as in sam2_video; .memory is [objects, 19, 16], the latents along a line first
    shapes.json                      names and shapes of the published model, as upstream builds it

Recorded is what SAM2ImagePredictor computes, and SAM2VideoPredictor of the same checkout with each object in a state of its own:
that predictor is the one of SAM 2's first release, which tracks all objects of a state as one batch and gives those that have no
prompt on a frame an empty mask there. One object at a time it does what the later one does, which sam2_video records.

transformers (5.24) agrees on images but for what is said in `samtwo.py`, and on video with what `samtwo_video.py` mends; in what
EdgeTAM adds there is no difference. As it is it keeps memories in f32, where the original rounds them to bf16, and it does not get that far:
the score of an object with a mask prompt lacks a dimension, and a frame with another object fails (`mend`). A config.json without a vision_config is of another model there: its default is Hiera.

The dimensions: stages of 24, 12, 6 and 3 cells, with 2, 1, 3 and 1 blocks, every other one of which has a squeeze-and-excitation;
10 latents along a line and 9 of windows of 2 x 2 cells.
"""

import argparse
import copy
import functools
import json
import re
import types
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

import common
import samtwo
import samtwo_video
from samtwo import DECODER_MLP, DELTA, FUSER_MLP, GRID, IMAGE, IOU_HIDDEN, MASK_CHANNELS, MEMORY_MLP, PROMPT_DIM, SEED, STABLE
from sam1 import unmoved_parameters

DIMS, DEPTHS = [8, 12, 16, 20], [2, 1, 3, 1]
LATENTS, LATENTS_2D = 10, 9
SIDE_2D = 3
LAYERS = 2
MEMORY_DIM = PROMPT_DIM // 2
# Scores of objects differ little from frame to frame, and lie on both sides of 0.
OBJECT_WEIGHT, OBJECT_BIAS = 4.0, -31.0
# Sessions of samtwo_video: 20 frames, 3 kinds of prompts, objects hidden for a while; forward, backward, both ways, few frames, few
# conditioning frames, corrections. Pointers say nothing about where they are, as in SAM 2.0, so that version is not asked for again.
SESSIONS = ("forward", "backward", "both", "short", "limited", "corrected")


# ------------------------------------------------------------------------------------------------------ weights


def seed(model, seed=SEED, object_weight=OBJECT_WEIGHT, object_bias=OBJECT_BIAS):
    """Overwrites all of a model of transformers, of either class."""
    samtwo.seed(model, seed)
    state = model.state_dict()
    state["mask_decoder.pred_obj_score_head.proj_out.weight"].mul_(object_weight)
    state["mask_decoder.pred_obj_score_head.proj_out.bias"].fill_(object_bias)
    if "mask_downsample.bias" in state:
        # A mask is something else inside than outside, and in `corrected` the pointer of one is that of an object.
        state["mask_downsample.weight"].mul_(4.0)
        state["mask_downsample.bias"].fill_(0.2)
    for name, tensor in state.items():
        # Three branches add up in every block, and no norm holds what comes out: trained ones are as small.
        if re.search(r"token_mixer\.conv1?\.bn\.weight$", name):
            tensor.mul_(0.3)
        if re.search(r"(channel_mixer|ffn)\.conv2\.bn\.weight$", name):
            tensor.mul_(0.375)
        # As large as stability needs it, here.
        if name.startswith("mask_decoder.output_hypernetworks_mlps.0.proj_out."):
            tensor.mul_(0.3)
        if "spatial_perceiver.latents" in name:
            tensor.mul_(3.0)
    return model


def backbone_config(**more):
    from transformers import TimmWrapperConfig

    arguments = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3], **more}
    return TimmWrapperConfig(architecture="repvit_m1", model_args=arguments)


def published_configuration():
    """That of EdgeTamVideoModel as transformers' conversion writes it."""
    from transformers import EdgeTamVideoConfig, EdgeTamVisionConfig

    return EdgeTamVideoConfig(
        vision_config=EdgeTamVisionConfig(backbone_config=backbone_config()),
        enable_temporal_pos_encoding_for_object_pointers=False, enable_occlusion_spatial_embedding=False)


def configurations():
    """Those of EdgeTamVideoModel and of EdgeTamModel."""
    from transformers import EdgeTamConfig, EdgeTamVideoConfig, EdgeTamVisionConfig

    heads = lambda: dict(
        vision_config=EdgeTamVisionConfig(
            backbone_config=backbone_config(embed_dim=DIMS, depth=DEPTHS), backbone_channel_list=DIMS[::-1],
            backbone_feature_sizes=[[IMAGE // s, IMAGE // s] for s in (4, 8, 16)], fpn_hidden_size=PROMPT_DIM),
        prompt_encoder_config=dict(
            hidden_size=PROMPT_DIM, image_size=IMAGE, patch_size=16, mask_input_channels=MASK_CHANNELS),
        mask_decoder_config=dict(hidden_size=PROMPT_DIM, mlp_dim=DECODER_MLP, iou_head_hidden_dim=IOU_HIDDEN))
    video = EdgeTamVideoConfig(
        **heads(), image_size=IMAGE, enable_temporal_pos_encoding_for_object_pointers=False,
        enable_occlusion_spatial_embedding=False, memory_attention_hidden_size=PROMPT_DIM,
        memory_attention_num_layers=LAYERS, memory_attention_mlp_hidden_size=MEMORY_MLP,
        memory_attention_rope_feat_sizes=[GRID, GRID], memory_attention_rope_k_sizes=[SIDE_2D, SIDE_2D],
        perceiver_resampler_num_latents=LATENTS, perceiver_resampler_num_latents_2d=LATENTS_2D,
        perceiver_resampler_hidden_size=MEMORY_DIM, perceiver_resampler_attention_head_dim=MEMORY_DIM,
        perceiver_resampler_mlp_intermediate_size=4 * MEMORY_DIM,
        memory_encoder_hidden_size=PROMPT_DIM, memory_encoder_output_channels=MEMORY_DIM,
        mask_downsampler_embed_dim=PROMPT_DIM, memory_fuser_num_layers=LAYERS, memory_fuser_embed_dim=PROMPT_DIM,
        memory_fuser_intermediate_dim=FUSER_MLP)
    return video, EdgeTamConfig(**heads(), attn_implementation="eager")


def build():
    """EdgeTamModel, and the EdgeTamVideoModel with the same weights and a memory."""
    from transformers import EdgeTamModel, EdgeTamVideoModel

    video_config, config = configurations()
    video = EdgeTamVideoModel(video_config).eval()
    samtwo.MEMORY_DIM = MEMORY_DIM
    samtwo_video.narrow_keys(video.memory_attention)
    seed(video)
    for tensor in video.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.bfloat16())
    model = EdgeTamModel(config).eval()
    model.load_state_dict({name: video.state_dict()[name] for name in model.state_dict()}, strict=True)
    return model, video


# ---------------------------------------------------------------------------------------------------- original

_TO_ORIGINAL = [
    (r"^vision_encoder\.backbone\.timm_model\.", "image_encoder.trunk.body."),
    (r"^(memory_attention\.layers\.\d+)\.mlp\.up_proj\.", r"\1.linear1."),
    (r"^(memory_attention\.layers\.\d+)\.mlp\.down_proj\.", r"\1.linear2."),
    (r"^spatial_perceiver\.latents_1d$", "spatial_perceiver.latents"),
    (r"^spatial_perceiver\.layer_norm\.", "spatial_perceiver.norm."),
    (r"^(spatial_perceiver\.layers\.\d+)\.layer_norm_input\.", r"\1.attn.norm_x."),
    (r"^(spatial_perceiver\.layers\.\d+)\.layer_norm_latents\.", r"\1.attn.norm_latents."),
    (r"^(spatial_perceiver\.layers\.\d+)\.layer_norm_self\.", r"\1.self_attn.norm."),
    (r"^(spatial_perceiver\.layers\.\d+)\.cross_attention\.", r"\1.attn."),
    (r"^(spatial_perceiver\.layers\.\d+)\.self_attention\.", r"\1.self_attn."),
    (r"^(spatial_perceiver\..*attn)\.(q|kv)_proj\.", r"\1.to_\2."),
    (r"^(spatial_perceiver\..*attn)\.o_proj\.", r"\1.to_out."),
    (r"^(spatial_perceiver\.layers\.\d+)\.mlp\.", r"\1.ff."),
    (r"^(spatial_perceiver\.layers\.\d+)\.self_mlp\.", r"\1.self_ff."),
    (r"^(spatial_perceiver\..*ff)\.layer_norm\.", r"\1.0."),
    (r"^(spatial_perceiver\..*ff)\.up_proj\.", r"\1.1."),
    (r"^(spatial_perceiver\..*ff)\.down_proj\.", r"\1.3."),
]


def to_original_state(state):
    """The state dict of transformers' EdgeTamVideoModel under the original names: the inverse of what transformers' conversion does."""
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("spatial_perceiver.") and ".v_proj." in name:
            continue
        if name.startswith("spatial_perceiver.") and ".k_proj." in name:
            tensor = torch.cat([tensor, state[name.replace(".k_proj.", ".v_proj.")]])
            name = name.replace(".k_proj.", ".kv_proj.")
        for pattern, replacement in _TO_ORIGINAL:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    own = ("image_encoder.trunk.", "spatial_perceiver.")
    return {name: x for name, x in renamed.items() if name.startswith(own)} | samtwo.to_original_state(
        {name: x for name, x in renamed.items() if not name.startswith(own)}, mask_layers=4)


def use_edgetam(path):
    """`sam2` is that of a checkout of facebookresearch/EdgeTAM, and its trunk does not ask the hub for weights."""
    samtwo.use_sam2(path)
    import timm
    from sam2.modeling.backbones import timm as backbones
    from sam2.modeling import perceiver  # noqa: F401: fails here if it is SAM 2's

    backbones.create_model = lambda name, pretrained, **named: timm.create_model(name, pretrained=False, **named)


def build_predictor(state, *, max_cond_frames=-1, corrections_condition=False):
    """Upstream's SAM2VideoPredictor in the same sizes, which keeps what the tracker computes on its way."""
    import timm
    from sam2.modeling import memory_attention, memory_encoder
    from sam2.modeling.backbones import timm as backbones
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.perceiver import PerceiverResampler
    from sam2.modeling.position_encoding import PositionEmbeddingSine
    from sam2.modeling.sam.mask_decoder import MaskDecoder
    from sam2.modeling.sam.prompt_encoder import PromptEncoder
    from sam2.modeling.sam.transformer import RoPEAttention, RoPEAttentionv2, TwoWayTransformer
    from sam2.modeling.sam2_utils import MLP
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    class Tiny(SAM2VideoPredictor):
        def _build_sam_heads(self):
            self.sam_prompt_embed_dim, self.sam_image_embedding_size = self.hidden_dim, GRID
            self.sam_prompt_encoder = PromptEncoder(
                embed_dim=PROMPT_DIM, image_embedding_size=(GRID, GRID), input_image_size=(IMAGE, IMAGE),
                mask_in_chans=MASK_CHANNELS)
            self.sam_mask_decoder = MaskDecoder(
                num_multimask_outputs=3,
                transformer=TwoWayTransformer(depth=2, embedding_dim=PROMPT_DIM, mlp_dim=DECODER_MLP, num_heads=8),
                transformer_dim=PROMPT_DIM, iou_head_depth=3, iou_head_hidden_dim=IOU_HIDDEN, use_high_res_features=True,
                iou_prediction_use_sigmoid=True, pred_obj_scores=True, pred_obj_scores_mlp=True,
                use_multimask_token_for_obj_ptr=True, **self.sam_mask_decoder_extra_args)
            self.obj_ptr_proj = MLP(PROMPT_DIM, PROMPT_DIM, PROMPT_DIM, 3)
            self.obj_ptr_tpos_proj = torch.nn.Identity()

    positions = lambda features: PositionEmbeddingSine(features, normalize=True)
    rotary = dict(rope_theta=10000.0, embedding_dim=PROMPT_DIM, num_heads=1, downsample_rate=1, dropout=0.1)
    create = backbones.create_model
    backbones.create_model = lambda name, pretrained, **named: timm.create_model(
        name, pretrained=False, embed_dim=tuple(DIMS), depth=tuple(DEPTHS), **named)
    trunk = backbones.TimmBackbone("repvit_m1.dist_in1k", ("layer0", "layer1", "layer2", "layer3"))
    backbones.create_model = create
    layer = memory_attention.MemoryAttentionLayer(
        activation="relu", d_model=PROMPT_DIM, dim_feedforward=MEMORY_MLP, dropout=0.1, pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True, pos_enc_at_cross_attn_queries=False,
        self_attention=RoPEAttention(feat_sizes=(GRID, GRID), **rotary),
        cross_attention=RoPEAttentionv2(q_sizes=(GRID, GRID), k_sizes=(SIDE_2D, SIDE_2D), kv_in_dim=MEMORY_DIM, **rotary))
    block = memory_encoder.CXBlock(PROMPT_DIM)
    block.pwconv1, block.pwconv2 = torch.nn.Linear(PROMPT_DIM, FUSER_MLP), torch.nn.Linear(FUSER_MLP, PROMPT_DIM)
    predictor = Tiny(
        image_encoder=ImageEncoder(scalp=1, trunk=trunk, neck=FpnNeck(
            position_encoding=positions(PROMPT_DIM), d_model=PROMPT_DIM, backbone_channel_list=DIMS[::-1],
            fpn_interp_model="nearest", fpn_top_down_levels=[2, 3])),
        memory_attention=memory_attention.MemoryAttention(
            d_model=PROMPT_DIM, pos_enc_at_input=True, layer=layer, num_layers=LAYERS),
        memory_encoder=memory_encoder.MemoryEncoder(
            out_dim=MEMORY_DIM, in_dim=PROMPT_DIM, position_encoding=positions(MEMORY_DIM),
            mask_downsampler=memory_encoder.MaskDownSampler(
                embed_dim=PROMPT_DIM, kernel_size=3, stride=2, padding=1, total_stride=16),
            fuser=memory_encoder.Fuser(layer=block, num_layers=LAYERS)),
        spatial_perceiver=PerceiverResampler(
            depth=2, dim=MEMORY_DIM, dim_head=MEMORY_DIM, heads=1, ff_mult=4, hidden_dropout_p=0.0, attention_dropout_p=0.0,
            pos_enc_at_key_value=True, concat_kv_latents=False, num_latents=LATENTS, num_latents_2d=LATENTS_2D,
            position_encoding=positions(MEMORY_DIM), use_self_attn=True),
        num_maskmem=7, image_size=IMAGE, sigmoid_scale_for_mem_enc=20.0, sigmoid_bias_for_mem_enc=-10.0,
        use_mask_input_as_output_without_sam=True, directly_add_no_mem_embed=True, use_high_res_features_in_sam=True,
        multimask_output_in_sam=True, iou_prediction_use_sigmoid=True, use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=False, only_obj_ptrs_in_the_past_for_eval=True, pred_obj_scores=True,
        pred_obj_scores_mlp=True, fixed_no_obj_ptr=True, multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True, multimask_min_pt_num=0, multimask_max_pt_num=1, use_mlp_for_obj_ptr_proj=True,
        max_cond_frames_in_attn=max_cond_frames,
        sam_mask_decoder_extra_args=dict(
            dynamic_multimask_via_stability=True, dynamic_multimask_stability_delta=DELTA,
            dynamic_multimask_stability_thresh=STABLE),
    ).eval()
    predictor.load_state_dict(state, strict=True)
    return samtwo_video.settle(samtwo_video.recording(predictor), corrections_condition)


class PerObject:
    """The predictor of the checkout, with a state of its own for each object; it is asked as the later one is."""

    def __init__(self, predictor):
        self.predictor = predictor

    def __getattr__(self, name):
        return getattr(self.predictor, name)

    def init_state(self, **named):
        states = {}
        self.new_state = lambda: self.predictor.init_state(**named)
        return {"states": states, "output_dict_per_obj": {}}

    def _of(self, state, number):
        if number not in state["states"]:
            state["states"][number] = self.new_state()
            state["output_dict_per_obj"][len(state["output_dict_per_obj"])] = state["states"][number]["output_dict"]
        return state["states"][number]

    def add_new_mask(self, inference_state, frame_idx, obj_id, **given):
        self.predictor.add_new_mask(self._of(inference_state, obj_id), frame_idx, obj_id, **given)

    def add_new_points_or_box(self, inference_state, frame_idx, obj_id, **given):
        self.predictor.add_new_points_or_box(self._of(inference_state, obj_id), frame_idx, obj_id, **given)

    def propagate_in_video(self, inference_state, **named):
        runs = [self.predictor.propagate_in_video(one, **named) for one in inference_state["states"].values()]
        for frames in zip(*runs, strict=True):
            yield frames[0][0], list(inference_state["states"]), None


# ------------------------------------------------------------------------------------------------- transformers


def transformers_session(pixels):
    from transformers.models.edgetam_video.modeling_edgetam_video import EdgeTamVideoInferenceSession

    return EdgeTamVideoInferenceSession(video=pixels, video_height=IMAGE, video_width=IMAGE, dtype=torch.float32)


def mend(model):
    """EdgeTamVideoModel with what `samtwo_video.mend` mends, scores of mask prompts in the shape of all others, and memories that
    are rounded as the original's are."""
    model = samtwo_video.mend(model)
    as_output, encode = model._use_mask_as_output, model._encode_new_memory

    def _use_mask_as_output(self, *arguments):
        found = as_output(*arguments)
        found.object_score_logits = found.object_score_logits.unsqueeze(-1)
        return found

    def _encode_new_memory(self, *arguments, **named):
        features, positions = encode(*arguments, **named)
        return features.bfloat16().float(), positions

    for method in (_use_mask_as_output, _encode_new_memory):
        setattr(model, method.__name__, types.MethodType(method, model))
    return model


def published_shapes():
    """Names and shapes of the published model, from upstream's own configuration."""
    from sam2.build_sam import build_sam2

    model = build_sam2("configs/edgetam.yaml", device="cpu")
    return {name: "x".join(map(str, x.shape)) for name, x in model.state_dict().items()}


# ------------------------------------------------------------------------------------------------------ written


def pictures(model, original, out):
    """Cases on images: encoder.safetensors, cases.safetensors; returns what the manifest says about them."""
    pixels, cases = common.normal(SEED, "pixel_values", (2, 3, IMAGE, IMAGE)), samtwo.prompt_cases()
    silent = unmoved_parameters(model, pixels, cases, all_outputs=samtwo.all_outputs)
    # A bias added to every key shifts all logits of a query alike, and softmax does not see it.
    silent = [name for name in silent if not name.endswith("k_proj.bias")]
    assert not silent, f"no recorded output depends on {silent}"
    maps, theirs = samtwo.encode_original(original, pixels), model.get_image_embeddings(pixels)
    for level, (a, b) in enumerate(zip(theirs, maps)):
        print(f"image_embeddings.{level}: std {b.std():.3f}, transformers against original", common.relative_errors(a, b))
        assert max(common.relative_errors(a, b)) < 1e-5
    names = ("pred_masks", "iou_scores", "object_score_logits")
    tensors, described, stable = {}, {}, []
    for name, (images, multimask, inputs) in cases.items():
        result = samtwo.run(model, theirs, images, multimask, inputs)
        if name not in samtwo.TRANSFORMERS_ONLY:
            found = samtwo.decode_original(original, [x[images] for x in maps], multimask, inputs)
            apart = max(common.relative_errors(a, b)[0] for a, b in zip(result, found))
            print(f"{name:24} std {found[0].std():6.3f}  transformers apart by {apart:.1e}")
            assert (apart < 1e-4) == (name != "mask"), name
            result = found
        if not multimask:
            stable += samtwo.choices(model, theirs, images, inputs)
        tensors |= {f"{name}.{key}": value for key, value in inputs.items()}
        tensors |= {f"{name}.{key}": value for key, value in zip(names, result)}
        described[name] = {
            "images": images, "multimask_output": multimask, "inputs": sorted(inputs),
            "transformers_only": name in samtwo.TRANSFORMERS_ONLY}
    print(sum(stable), "of", len(stable), "single masks are stable")
    assert any(stable) and not all(stable)
    encoder = {"pixel_values": pixels, **{f"image_embeddings.{i}": x for i, x in enumerate(maps)}}
    save_file(common.contiguous(encoder), out / "encoder.safetensors")
    save_file(common.contiguous(tensors), out / "cases.safetensors")
    return described


def video(model, state, out):
    """Sessions on video: outputs.safetensors, sessions.json."""
    frames = samtwo_video.shot()
    pixels = samtwo_video.to_pixels(frames)
    noise = common.normal(SEED, "noise", pixels.shape)
    chosen = {name: x for name, x in samtwo_video.sessions().items() if name in SESSIONS}
    built = lambda session, state=state: PerObject(build_predictor(
        state, **{key: session[key] for key in ("max_cond_frames", "corrections_condition") if key in session}))
    outputs, margins = {}, []
    for name, session in chosen.items():
        predictor = built(session)
        found, _ = samtwo_video.follow(predictor, pixels, frames, name, session)
        margins += predictor.margins
        scores = torch.cat([value for key, value in found.items() if key.endswith(".scores")])
        noisy, _ = samtwo_video.follow(built(session), pixels * (1 + 1e-6 * noise), frames, name, session)
        lines = {"rounding moves it by": samtwo_video.apart(noisy, found)}
        model.config.max_cond_frame_num = session.get("max_cond_frames", -1)
        lines["transformers mended"] = samtwo_video.apart(samtwo_video.follow_transformers(
            mend(copy.deepcopy(model)), pixels, frames, name, session, session.get("corrections_condition", False),
            transformers_session), found)
        line = f"{name:12} {(scores < 0).sum():3} of {len(scores):3} hidden; "
        print(line + ", ".join(f"{what} {largest:.1e} / {relative:.1e}" for what, (largest, relative) in lines.items()))
        for what in ("rounding moves it by", "transformers mended"):
            largest, relative = lines[what]
            assert largest < samtwo_video.LARGEST / 2 and relative < samtwo_video.RELATIVE / 2, what
        outputs |= found
    print(f"least margin {min(margins):.1e}")
    assert min(margins) > samtwo_video.LEAST_MARGIN
    hidden = [(x < 0).tolist() for name, x in outputs.items() if name.startswith("forward.") and name.endswith("scores")]
    assert {(False, False), (True, True)} < {tuple(x) for x in hidden}, "both objects are there, hidden, and one alone"

    def follow_all(state):
        found = {}
        for name in ("forward", "corrected"):
            found |= samtwo_video.follow(built(chosen[name], state), pixels, frames, name, chosen[name])[0]
        return found

    silent = samtwo_video.silent_parameters(state, follow_all)
    assert not silent, f"no recorded output depends on {silent}"
    save_file(common.contiguous(outputs), out / "outputs.safetensors")
    (out / "sessions.json").write_text(
        json.dumps({name: samtwo_video.described(name, x) for name, x in chosen.items()}, indent=1) + "\n")


def as_bf16(state):
    return {name: x.bfloat16() if x.is_floating_point() else x for name, x in state.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--edgetam-path", type=Path, required=True, help="checkout of facebookresearch/EdgeTAM")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    use_edgetam(arguments.edgetam_path)
    import tqdm
    tqdm.tqdm.__init__ = functools.partialmethod(tqdm.tqdm.__init__, disable=True)
    common.use_one_thread()

    model, of_video = build()
    state = to_original_state(of_video.state_dict())
    described = pictures(model, build_predictor(state), out)
    video(of_video, state, out)

    save_file(common.contiguous(as_bf16(of_video.state_dict())), out / "model.safetensors", metadata={"format": "pt"})
    for name, config in zip(("config.json", "image.json"), configurations()):
        (out / name).write_text(without_labels(config))
    torch.save({"model": as_bf16(state)}, out / "original.pt")
    (out / "shapes.json").write_text(json.dumps(published_shapes(), indent=0, separators=(",", ":")) + "\n")
    common.write_manifest(
        out, recipe="edgetam.py", seed=SEED, packages=common.versions("transformers", "safetensors", "pillow", "timm"),
        tolerance={"max_abs_over_std": 4e-5, "relative_l2": 1e-5}, upstream="facebookresearch/EdgeTAM 9cc44bf", cases=described,
        tolerance_of_video={"max_abs_over_std": samtwo_video.LARGEST, "relative_l2": samtwo_video.RELATIVE})


def without_labels(config):
    """A config.json without the thousand names of ImageNet's classes."""
    found = config.to_dict()
    found["vision_config"]["backbone_config"].pop("label_names", None)
    return json.dumps(found, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    main()
