"""Goldens of SAM 2 on images at tiny size: the same weights through the code of facebookresearch/sam2 and through transformers.

    python samtwo.py --out sam2 --sam2-path /path/to/sam2

SAM 2's code is read from a checkout of https://github.com/facebookresearch/sam2 (made with commit 2b90b9f; it wants iopath and
hydra-core). Writes
    config.json, model.safetensors   a transformers folder of Sam2VideoModel, as the hub has them (save_pretrained)
    image.json                       the config.json of Sam2Model for the same weights
    original.pt                      the same weights, original names, {"model": state dict}
    encoder.safetensors              pixel_values -> image_embeddings.0 .. .2, fine to coarse, no_mem_embed added
    cases.safetensors                <case>.input_* -> <case>.pred_masks, .iou_scores, .object_score_logits
    forward_in.safetensors, forward_out.safetensors   one case as `samovar forward` reads and writes it
    shapes.json                      names and shapes of the published models, of 2.0 and 2.1, as upstream builds them

What is recorded is what SAM2ImagePredictor computes; Sam2Model must agree, and does but for two cases (`TRANSFORMERS_ONLY`):
- a mask prompt alone: transformers puts two tokens beside it that are not points, SAM2ImagePredictor none;
- label -10, with which transformers pads point lists, does not exist in the original code.

The dimensions are odd on purpose: stages of 24, 12, 6 and 3 cells with windows of 4, 2, 4 and 2 (padded in the last two, with and
without pooled queries), one global block, position tables of 5 x 7 and 4 x 4 cells. Of the memory parts only the names matter;
no picture needs them.
"""

import argparse
import json
import re
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

import common
from sam1 import unmoved_parameters

SEED = 20260128
IMAGE, DIMS, HEADS, DEPTHS, WINDOWS, GLOBAL, BACKGROUND = 96, [4, 8, 16, 32], [1, 2, 4, 8], [1, 2, 3, 2], [4, 2, 4, 2], [4], [5, 7]
PROMPT_DIM, MASK_CHANNELS, DECODER_MLP, IOU_HIDDEN = 32, 8, 40, 20
GRID = IMAGE // 16
MEMORY_DIM, MEMORY_MLP, FUSER_MLP, MASK_STRIDE = 64, 40, 48, 4
# The single mask is taken where it is stable; both must happen, and no choice may change when the threshold of logits moves so much.
STABLE, DELTA, ROUNDING = 0.98, 0.05, 3e-3
TRANSFORMERS_ONLY = ("mask_as_transformers", "three_points_padded")


# ------------------------------------------------------------------------------------------------- transformers


def configurations():
    """Those of Sam2VideoModel and of Sam2Model."""
    from transformers import Sam2Config, Sam2VideoConfig

    vision = dict(
        backbone_config=dict(
            model_type="sam2_hiera_det_model", hidden_size=DIMS[0], num_attention_heads=HEADS[0], image_size=[IMAGE, IMAGE],
            blocks_per_stage=DEPTHS, embed_dim_per_stage=DIMS, num_attention_heads_per_stage=HEADS,
            window_size_per_stage=WINDOWS, global_attention_blocks=GLOBAL,
            window_positional_embedding_background_size=BACKGROUND),
        backbone_channel_list=DIMS[::-1], backbone_feature_sizes=[[IMAGE // s, IMAGE // s] for s in (4, 8, 16)],
        fpn_hidden_size=PROMPT_DIM)
    heads = dict(
        vision_config=vision,
        prompt_encoder_config=dict(
            hidden_size=PROMPT_DIM, image_size=IMAGE, patch_size=16, mask_input_channels=MASK_CHANNELS),
        mask_decoder_config=dict(hidden_size=PROMPT_DIM, mlp_dim=DECODER_MLP, iou_head_hidden_dim=IOU_HIDDEN))
    video = Sam2VideoConfig(
        **heads, image_size=IMAGE, memory_attention_hidden_size=PROMPT_DIM, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=MEMORY_MLP, memory_attention_rope_feat_sizes=[GRID, GRID],
        memory_encoder_hidden_size=PROMPT_DIM, memory_encoder_output_channels=MEMORY_DIM,
        mask_downsampler_embed_dim=PROMPT_DIM, mask_downsampler_total_stride=MASK_STRIDE, memory_fuser_num_layers=1,
        memory_fuser_embed_dim=PROMPT_DIM, memory_fuser_intermediate_dim=FUSER_MLP)
    return video, Sam2Config(**heads, attn_implementation="eager")


def seed(model, seed=SEED):
    """Overwrites all of a model of transformers, of either class."""
    common.seed_module(model, seed, gain=1.3)
    state = model.state_dict()
    # Two tensors in transformers, one in the original.
    shared = state["shared_image_embedding.positional_embedding"]
    state["prompt_encoder.shared_embedding.positional_embedding"].copy_(shared)
    # Logits large enough for a mask to be stable, and scores of objects on both sides of 0.
    state["mask_decoder.output_hypernetworks_mlps.0.proj_out.weight"].mul_(20)
    state["mask_decoder.output_hypernetworks_mlps.0.proj_out.bias"].mul_(20)
    state["mask_decoder.pred_obj_score_head.proj_out.weight"].mul_(8)
    state["mask_decoder.pred_obj_score_head.proj_out.bias"].fill_(-5.1)
    return model


def build():
    """Sam2Model, and the Sam2VideoModel with the same weights and a memory."""
    from transformers import Sam2Model, Sam2VideoModel

    video_config, config = configurations()
    video = seed(Sam2VideoModel(video_config).eval())
    model = Sam2Model(config).eval()
    model.load_state_dict({name: video.state_dict()[name] for name in model.state_dict()}, strict=True)
    return model, video


# ---------------------------------------------------------------------------------------------------- original

_TO_ORIGINAL = [
    (r"^shared_image_embedding\.positional_embedding$", "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^image_encoder\.trunk\.patch_embed\.projection\.", "image_encoder.trunk.patch_embed.proj."),
    (r"^(image_encoder\.trunk\.blocks\.\d+)\.layer_norm([12])\.", r"\1.norm\2."),
    (r"^(image_encoder\.trunk\.blocks\.\d+)\.mlp\.proj_in\.", r"\1.mlp.layers.0."),
    (r"^(image_encoder\.trunk\.blocks\.\d+)\.mlp\.proj_out\.", r"\1.mlp.layers.1."),
    (r"^vision_encoder\.neck\.convs\.(\d+)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm([1234])\.", r"\1.norm\2."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.mlp\.proj_in\.", r"\1.mlp.layers.0."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.mlp\.proj_out\.", r"\1.mlp.layers.1."),
    (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
    (r"^(mask_decoder\.\w+(?:\.\d+)?|object_pointer_proj)\.proj_in\.", r"\1.layers.first."),
    (r"^(mask_decoder\.(?:iou_prediction_head|pred_obj_score_head|output_hypernetworks_mlps\.\d+)|object_pointer_proj)"
     r"\.layers\.(\d+)\.", r"\1.layers.middle\2."),
    (r"^(mask_decoder\.\w+(?:\.\d+)?|object_pointer_proj)\.proj_out\.", r"\1.layers.2."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"\.o_proj\.", ".out_proj."),
    # The memory.
    (r"^memory_attention\.layer_norm\.", "memory_attention.norm."),
    (r"^(memory_attention\.layers\.\d+)\.layer_norm([123])\.", r"\1.norm\2."),
    (r"^memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"^memory_encoder\.mask_downsampler\.layers\.(\d+)\.conv\.", r"memory_encoder.mask_downsampler.encoder.conv\1."),
    (r"^memory_encoder\.mask_downsampler\.layers\.(\d+)\.layer_norm\.", r"memory_encoder.mask_downsampler.encoder.norm\1."),
    (r"^memory_encoder\.memory_fuser\.", "memory_encoder.fuser."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv([12])\.", r".pwconv\1."),
    (r"^(memory_encoder\.fuser\.layers\.\d+)\.layer_norm\.", r"\1.norm."),
    (r"^(memory_encoder\.fuser\.layers\.\d+)\.scale$", r"\1.gamma"),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
]


def to_original_state(state, mask_layers=2):
    """The state dict of transformers' Sam2VideoModel under the original names: the inverse of what transformers' conversion does."""
    renamed = {}
    for name, tensor in state.items():
        if name == "prompt_encoder.shared_embedding.positional_embedding":
            continue
        if name == "prompt_encoder.point_embed.weight":
            renamed |= {f"sam_prompt_encoder.point_embeddings.{i}.weight": tensor[i : i + 1].clone() for i in range(4)}
            continue
        for pattern, replacement in _TO_ORIGINAL:
            name = re.sub(pattern, replacement, name)
        name = name.replace(".layers.first.", ".layers.0.")
        name = re.sub(r"\.layers\.middle(\d+)\.", lambda m: f".layers.{int(m[1]) + 1}.", name)
        encoder = "memory_encoder.mask_downsampler.encoder"
        name = re.sub(r"\.encoder\.conv(\d+)\.", lambda m: f".encoder.{3 * int(m[1])}.", name)
        name = re.sub(r"\.encoder\.norm(\d+)\.", lambda m: f".encoder.{3 * int(m[1]) + 1}.", name)
        name = name.replace("memory_encoder.mask_downsampler.final_conv", f"{encoder}.{3 * mask_layers}")
        renamed[name] = tensor
    return renamed


def use_sam2(path):
    """`sam2` is that of a checkout of facebookresearch/sam2."""
    sys.path.insert(0, str(Path(path).resolve()))
    import sam2.build_sam  # noqa: F401: fails here if it is not a checkout


def build_original():
    """Upstream's SAM2Base in the same sizes. The sizes of its heads stand in its code; here they are smaller."""
    from sam2.modeling import memory_attention, memory_encoder
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine
    from sam2.modeling.sam.mask_decoder import MaskDecoder
    from sam2.modeling.sam.prompt_encoder import PromptEncoder
    from sam2.modeling.sam.transformer import RoPEAttention, TwoWayTransformer
    from sam2.modeling.sam2_base import SAM2Base
    from sam2.modeling.sam2_utils import MLP

    class Tiny(SAM2Base):
        def _build_sam_heads(self):
            self.sam_prompt_embed_dim = self.hidden_dim
            self.sam_image_embedding_size = GRID
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
            self.obj_ptr_tpos_proj = torch.nn.Linear(PROMPT_DIM, self.mem_dim)

    def positions(features):
        return PositionEmbeddingSine(features, normalize=True, warmup_cache=False)

    def attention(**more):
        return RoPEAttention(
            rope_theta=10000.0, feat_sizes=(GRID, GRID), embedding_dim=PROMPT_DIM, num_heads=1, downsample_rate=1, dropout=0.1,
            **more)

    encoder = ImageEncoder(
        scalp=1,
        trunk=Hiera(
            embed_dim=DIMS[0], num_heads=HEADS[0], stages=tuple(DEPTHS), window_spec=tuple(WINDOWS),
            global_att_blocks=tuple(GLOBAL), window_pos_embed_bkg_spatial_size=tuple(BACKGROUND)),
        neck=FpnNeck(
            position_encoding=positions(PROMPT_DIM), d_model=PROMPT_DIM, backbone_channel_list=DIMS[::-1],
            fpn_interp_model="nearest", fpn_top_down_levels=[2, 3]))
    layer = memory_attention.MemoryAttentionLayer(
        activation="relu", cross_attention=attention(rope_k_repeat=True, kv_in_dim=64), d_model=PROMPT_DIM,
        dim_feedforward=MEMORY_MLP, dropout=0.1, pos_enc_at_attn=False, pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False, self_attention=attention())
    block = memory_encoder.CXBlock(PROMPT_DIM)
    block.pwconv1, block.pwconv2 = torch.nn.Linear(PROMPT_DIM, FUSER_MLP), torch.nn.Linear(FUSER_MLP, PROMPT_DIM)
    return Tiny(
        image_encoder=encoder,
        memory_attention=memory_attention.MemoryAttention(
            d_model=PROMPT_DIM, pos_enc_at_input=True, layer=layer, num_layers=1),
        memory_encoder=memory_encoder.MemoryEncoder(
            out_dim=MEMORY_DIM, in_dim=PROMPT_DIM, position_encoding=positions(MEMORY_DIM),
            mask_downsampler=memory_encoder.MaskDownSampler(
                embed_dim=PROMPT_DIM, kernel_size=3, stride=2, padding=1, total_stride=MASK_STRIDE),
            fuser=memory_encoder.Fuser(layer=block, num_layers=1)),
        num_maskmem=7, image_size=IMAGE, sigmoid_scale_for_mem_enc=20.0, sigmoid_bias_for_mem_enc=-10.0,
        use_mask_input_as_output_without_sam=True, directly_add_no_mem_embed=True, no_obj_embed_spatial=True,
        use_high_res_features_in_sam=True, multimask_output_in_sam=True, iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True, add_tpos_enc_to_obj_ptrs=True, proj_tpos_enc_in_obj_ptrs=True,
        use_signed_tpos_enc_to_obj_ptrs=True, only_obj_ptrs_in_the_past_for_eval=True, pred_obj_scores=True,
        pred_obj_scores_mlp=True, fixed_no_obj_ptr=True, multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True, multimask_min_pt_num=0, multimask_max_pt_num=1, use_mlp_for_obj_ptr_proj=True,
        sam_mask_decoder_extra_args=dict(
            dynamic_multimask_via_stability=True, dynamic_multimask_stability_delta=DELTA,
            dynamic_multimask_stability_thresh=STABLE),
    ).eval()


def encode_original(original, pixels):
    """What SAM2ImagePredictor.set_image keeps of pixels that are prepared already: the maps of the decoder, fine to coarse."""
    backbone = original.forward_image(pixels)
    _, features, _, sizes = original._prepare_backbone_features(backbone)
    features[-1] = features[-1] + original.no_mem_embed
    return [x.permute(1, 2, 0).reshape(pixels.shape[0], -1, *size) for x, size in zip(features, sizes)]


def decode_original(original, maps, multimask, inputs):
    """SAM2ImagePredictor._predict on the maps of some images, and the object score it drops: masks, scores, object scores."""
    found = []
    for image in range(maps[0].shape[0]):
        points = None
        if "input_points" in inputs:
            points = (inputs["input_points"][image].clone(), inputs["input_labels"][image].int())
        if "input_boxes" in inputs:
            corners = inputs["input_boxes"][image].reshape(-1, 2, 2)
            labels = torch.tensor([[2, 3]], dtype=torch.int).repeat(len(corners), 1)
            # A box is two points, before the others.
            points = (corners, labels) if points is None else (
                torch.cat([corners, points[0]], dim=1), torch.cat([labels, points[1]], dim=1))
        mask = inputs.get("input_masks")
        sparse, dense = original.sam_prompt_encoder(
            points=points, boxes=None, masks=None if mask is None else mask[image : image + 1])
        one = [x[image : image + 1] for x in maps]
        masks, scores, _, objects = original.sam_mask_decoder(
            image_embeddings=one[-1], image_pe=original.sam_prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense, multimask_output=multimask, repeat_image=sparse.shape[0] > 1,
            high_res_features=one[:-1])
        found.append((masks, scores, objects))
    return [torch.stack(parts) for parts in zip(*found)]


def published_shapes():
    """Names and shapes of the published models, from upstream's own configurations."""
    from sam2.build_sam import build_sam2

    found = {}
    for version, folder in (("sam2", "sam2"), ("sam2.1", "sam2.1")):
        for short, long in (("t", "tiny"), ("s", "small"), ("b+", "base_plus"), ("l", "large")):
            if version == "sam2" and short != "t":
                continue  # the trunk is that of 2.1
            model = build_sam2(f"configs/{folder}/{version}_hiera_{short}.yaml", device="cpu")
            found[f"{version}_hiera_{long}.pt"] = {name: list(x.shape) for name, x in model.state_dict().items()}
    return found


# ------------------------------------------------------------------------------------------------------- cases


def prompt_cases():
    """name -> (images of the batch, multimask, inputs); coordinates in the 96x96 input frame."""
    f, i = torch.tensor, lambda values: torch.tensor(values, dtype=torch.int64)
    mask = 6 * common.normal(SEED, "mask prompt", (1, 1, 4 * GRID, 4 * GRID))
    point = dict(input_points=f([[[[35.0, 53.5]]]]), input_labels=i([[[1]]]))
    box = dict(input_boxes=f([[[7.25, 11.0, 71.0, 90.5]]]))
    return {
        "one_point": ([0], True, point),
        "one_point_single_mask": ([0], False, point),
        "three_points_padded": ([0, 1], True, dict(
            input_points=f([[[[20.0, 31.5], [3.0, 50.0], [44.75, 8.0]]], [[[33.0, 12.0], [-10.0, -10.0], [-10.0, -10.0]]]]),
            input_labels=i([[[1, 0, 1]], [[0, -10, -10]]]))),
        "three_points": ([0], False, dict(
            input_points=f([[[[20.0, 31.5], [3.0, 50.0], [84.75, 8.0]]]]), input_labels=i([[[1, 0, 1]]]))),
        "label_minus_one": ([1], True, dict(input_points=f([[[[20.0, 31.5], [9.0, 9.0]]]]), input_labels=i([[[1, -1]]]))),
        "outside": ([1], True, dict(input_points=f([[[[-4.0, 101.0]]]]), input_labels=i([[[1]]]))),
        "box": ([0], True, box),
        "box_single_mask": ([1], False, box),
        "box_and_points": ([0], True, dict(
            input_points=f([[[[20.0, 31.5], [10.0, 13.0]]]]), input_labels=i([[[1, 0]]]), **box)),
        "mask": ([0], True, dict(input_masks=mask)),
        "mask_as_transformers": ([0], True, dict(input_masks=mask)),
        "mask_and_point": ([0], False, dict(input_masks=mask, **point)),
        "mask_point_and_box": ([1], True, dict(input_masks=mask, **point, **box)),
        "prompts_per_image": ([0, 1], True, dict(
            input_points=f([[[[20.0, 31.5]], [[5.0, 6.0]], [[90.0, 89.0]]], [[[48.0, 28.0]], [[1.0, 94.0]], [[40.0, 2.0]]]]),
            input_labels=i([[[1], [1], [0]], [[0], [1], [1]]]))),
        "boxes_per_image": ([1], False, dict(input_boxes=f(
            [[[0.0, 0.0, 96.0, 96.0], [12.0, 3.0, 50.0, 40.0], [60.0, 60.0, 64.5, 95.0]]]))),
        "points_of_single_masks": ([0], False, dict(
            input_points=f([[[[x, y]] for x, y in ((10.0, 12.0), (50.0, 41.0), (80.0, 17.0), (33.0, 90.0), (71.5, 64.0))]]),
            input_labels=i([[[1], [0], [1], [1], [0]]]))),
    }


def run(model, embeddings, images, multimask, inputs):
    result = model(
        image_embeddings=[x[images] for x in embeddings], multimask_output=multimask, **inputs)
    return [result.pred_masks, result.iou_scores, result.object_score_logits]


def all_outputs(model, pixels, cases):
    embeddings = model.get_image_embeddings(pixels)
    found = list(embeddings)
    for images, multimask, inputs in cases.values():
        found += run(model, embeddings, images, multimask, inputs)
    return found


def choices(model, embeddings, images, inputs):
    """Which single masks of a case are stable; the same whatever rounding does."""
    decoder = model.mask_decoder
    decoder.dynamic_multimask_via_stability = False
    masks = run(model, embeddings, images, False, inputs)[0]
    decoder.dynamic_multimask_via_stability = True
    found = []
    for delta in (DELTA - ROUNDING, DELTA, DELTA + ROUNDING):
        decoder.dynamic_multimask_stability_delta = delta
        found.append((decoder._get_stability_scores(masks) >= STABLE).flatten().tolist())
    decoder.dynamic_multimask_stability_delta = DELTA
    assert found[0] == found[1] == found[2], "rounding decides whether a mask is stable"
    return found[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sam2-path", type=Path, required=True, help="checkout of facebookresearch/sam2")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    use_sam2(arguments.sam2_path)
    common.use_one_thread()

    model, video = build()
    original = build_original()
    original.load_state_dict(to_original_state(video.state_dict()), strict=True)
    pixels = common.normal(SEED, "pixel_values", (2, 3, IMAGE, IMAGE))
    cases = prompt_cases()
    silent = unmoved_parameters(model, pixels, cases, all_outputs=all_outputs)
    # A bias added to every key shifts all logits of a query alike, and softmax does not see it.
    silent = [name for name in silent if not name.endswith("k_proj.bias")]
    assert not silent, f"no recorded output depends on {silent}"

    maps, theirs = encode_original(original, pixels), model.get_image_embeddings(pixels)
    for level, (a, b) in enumerate(zip(theirs, maps)):
        print(f"image_embeddings.{level}: transformers against original", common.relative_errors(a, b))
        assert max(common.relative_errors(a, b)) < 1e-5
    encoder = {"pixel_values": pixels, **{f"image_embeddings.{i}": x for i, x in enumerate(maps)}}

    names = ("pred_masks", "iou_scores", "object_score_logits")
    tensors, described, stable, objects = {}, {}, [], []
    for name, (images, multimask, inputs) in cases.items():
        result = run(model, theirs, images, multimask, inputs)
        if name not in TRANSFORMERS_ONLY:
            found = decode_original(original, [x[images] for x in maps], multimask, inputs)
            apart = max(common.relative_errors(a, b)[0] for a, b in zip(result, found))
            print(f"{name:24} std {found[0].std():6.3f}  transformers apart by {apart:.1e}")
            assert (apart < 1e-4) == (name != "mask"), name
            result = found
        if not multimask:
            stable += choices(model, theirs, images, inputs)
        objects += result[2].flatten().tolist()
        tensors |= {f"{name}.{key}": value for key, value in inputs.items()}
        tensors |= {f"{name}.{key}": value for key, value in zip(names, result)}
        described[name] = {
            "images": images, "multimask_output": multimask, "inputs": sorted(inputs),
            "transformers_only": name in TRANSFORMERS_ONLY}
    print(sum(stable), "of", len(stable), "single masks are stable")
    assert any(stable) and not all(stable)
    assert any(score < 0 for score in objects) and any(score > 0 for score in objects)

    video.save_pretrained(out)
    (out / "image.json").write_text(model.config.to_json_string())
    torch.save({"model": original.state_dict()}, out / "original.pt")
    save_file(common.contiguous(encoder), out / "encoder.safetensors")
    save_file(common.contiguous(tensors), out / "cases.safetensors")
    images, multimask, inputs = cases["box_and_points"]
    save_file(common.contiguous({"pixel_values": pixels[images], **inputs}), out / "forward_in.safetensors")
    result = run(model, theirs, images, multimask, inputs)
    save_file(common.contiguous({
        **{f"image_embeddings.{i}": x[images] for i, x in enumerate(theirs)}, **dict(zip(names, result)),
    }), out / "forward_out.safetensors")
    shapes = {file: {name: "x".join(map(str, shape)) for name, shape in tensors.items()}
              for file, tensors in published_shapes().items()}
    (out / "shapes.json").write_text(json.dumps(shapes, indent=0, separators=(",", ":")) + "\n")

    common.write_manifest(
        out, recipe="samtwo.py", seed=SEED, packages=common.versions("transformers", "safetensors"),
        tolerance={"max_abs_over_std": 4e-5, "relative_l2": 1e-5}, upstream="facebookresearch/sam2 2b90b9f", cases=described,
    )


if __name__ == "__main__":
    main()
