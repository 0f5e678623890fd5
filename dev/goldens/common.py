"""What every recipe shares: seeded weights, SAM's two name spaces, the manifest.

Weights are drawn tensor by tensor from a generator keyed by (seed, tensor name), so that neither the order of the
tensors nor the framework's own initialisation reaches the result. Every parameter and every buffer is overwritten:
upstream initialises relative positions, position tables and whole layers with (nearly) zero, and a comparison over
zeros proves nothing.
"""

import hashlib
import json
import math
import os
import platform
import re
import sys
import zlib
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import torch


def use_one_thread():
    """Goldens are made on one thread: the order of every sum is then fixed."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.set_grad_enabled(False)


# --------------------------------------------------------------------------------------------- seeded values


def normal(seed, name, shape):
    """Standard normals that depend on (seed, name) only."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return torch.from_numpy(rng.standard_normal(tuple(shape)).astype(np.float32))


def seeded_value(name, tensor, seed, gain=1.0):
    """A value for tensor `name` (original SAM or transformers names) that is large enough to move the output."""
    leaf = name.rsplit(".", 1)[-1]
    draw = normal(seed, name, tensor.shape)
    if leaf == "num_batches_tracked":
        return torch.full_like(tensor, 1000)
    if leaf == "running_var":
        return torch.exp(0.4 * draw)
    if leaf == "running_mean":
        return 0.3 * draw
    if leaf in ("rel_pos_h", "rel_pos_w"):
        return 0.3 * draw
    if leaf in ("pos_embed", "pos_embed_window", "attention_biases"):
        return 0.5 * draw
    if leaf in ("positional_embedding", "positional_encoding_gaussian_matrix"):
        return draw
    if re.search(r"(point_embed|point_embeddings\.\d|not_a_point_embed|no_mask_embed|iou_token|mask_tokens|hq_token|hf_token|obj_score_token|no_memory_embedding)", name):
        return 0.7 * draw
    if leaf == "bias":
        return 0.2 * draw
    if tensor.ndim == 1:  # weights of layer and batch norms
        return 1.0 + 0.1 * draw
    if is_transposed_convolution(name):
        fan_in = tensor.shape[0]  # kernel = stride: every output pixel sees one input pixel
    else:
        fan_in = math.prod(tensor.shape[1:])
    return gain * draw / math.sqrt(fan_in)


def is_transposed_convolution(name):
    plain = r"upscale_conv[12]|output_upscaling\.[03]"
    of_hq = r"compress_vit_conv[12]|compress_vit_feat\.[03]|decoder\.encoder_conv[12]|embedding_encoder\.[03]"
    return bool(re.search(rf"({plain}|{of_hq})\.weight$", name))


def seed_module(module, seed, gain=1.0):
    """Overwrites every parameter and persistent buffer of `module`; returns how many tensors that were."""
    state = module.state_dict()
    shared = {}
    for name, tensor in state.items():
        # Tied tensors (SAM's position matrix) take the value of their first name.
        first = shared.setdefault(tensor.data_ptr(), name)
        value = seeded_value(first, tensor, seed, gain)
        assert value.shape == tensor.shape, name
        tensor.copy_(value)
    return len(state)


# ------------------------------------------------------------------------------------------ SAM's name spaces

# transformers name -> original name; applied in order, first to last.
_TO_ORIGINAL = [
    (r"^shared_image_embedding\.positional_embedding$", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm([12])\.", r"image_encoder.blocks.\1.norm\2."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm([1234])\.", r"\1.norm\2."),
    (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
    # What SAM-HQ adds.
    (r"^mask_decoder\.hq_token\.", "mask_decoder.hf_token."),
    (r"^mask_decoder\.hq_mask_mlp\.", "mask_decoder.hf_mlp."),
    (r"^mask_decoder\.compress_vit_conv1\.", "mask_decoder.compress_vit_feat.0."),
    (r"^mask_decoder\.compress_vit_norm\.", "mask_decoder.compress_vit_feat.1."),
    (r"^mask_decoder\.compress_vit_conv2\.", "mask_decoder.compress_vit_feat.3."),
    (r"^mask_decoder\.encoder_conv1\.", "mask_decoder.embedding_encoder.0."),
    (r"^mask_decoder\.encoder_norm\.", "mask_decoder.embedding_encoder.1."),
    (r"^mask_decoder\.encoder_conv2\.", "mask_decoder.embedding_encoder.3."),
    (r"^mask_decoder\.mask_conv1\.", "mask_decoder.embedding_maskfeature.0."),
    (r"^mask_decoder\.mask_norm\.", "mask_decoder.embedding_maskfeature.1."),
    (r"^mask_decoder\.mask_conv2\.", "mask_decoder.embedding_maskfeature.3."),
    (r"^(mask_decoder\.(?:iou_prediction_head|hf_mlp|output_hypernetworks_mlps\.\d+))\.proj_in\.", r"\1.layers.first."),
    (r"^(mask_decoder\.(?:iou_prediction_head|hf_mlp|output_hypernetworks_mlps\.\d+))\.layers\.(\d+)\.", r"\1.layers.middle\2."),
    (r"^(mask_decoder\.(?:iou_prediction_head|hf_mlp|output_hypernetworks_mlps\.\d+))\.proj_out\.", r"\1.layers.last."),
]


def original_name(name, mlp_depth=3):
    """The name a tensor of transformers' SamModel has in the original repository; None for a tied copy."""
    if name == "prompt_encoder.shared_embedding.positional_embedding":
        return None
    for pattern, replacement in _TO_ORIGINAL:
        name = re.sub(pattern, replacement, name)
    name = name.replace(".layers.first.", ".layers.0.").replace(".layers.last.", f".layers.{mlp_depth - 1}.")
    return re.sub(r"\.layers\.middle(\d+)\.", lambda m: f".layers.{int(m[1]) + 1}.", name)


def to_original_state(state, mlp_depth=3):
    """transformers' state dict of a SamModel under the original names."""
    named = ((original_name(name, mlp_depth), tensor) for name, tensor in state.items())
    return {name: tensor for name, tensor in named if name is not None}


def build_original_sam(*, image_size, patch_size, dim, depth, heads, mlp_ratio, window, global_blocks, prompt_dim,
                       mask_channels, decoder_mlp, decoder_heads, iou_hidden, is_hq=False):
    """segment_anything's own `Sam` at any size (its registry only knows the three published ones); with `is_hq` SAM-HQ's,
    whose package has the same name: see `use_sam_hq`."""
    from functools import partial

    from segment_anything import modeling
    from segment_anything.modeling import ImageEncoderViT, PromptEncoder, Sam, TwoWayTransformer

    grid = image_size // patch_size
    decoder = partial(modeling.MaskDecoderHQ, vit_dim=dim) if is_hq else modeling.MaskDecoder
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=image_size, patch_size=patch_size, embed_dim=dim, depth=depth, num_heads=heads,
            mlp_ratio=mlp_ratio, out_chans=prompt_dim, qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=window,
            global_attn_indexes=global_blocks,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=prompt_dim, image_embedding_size=(grid, grid), input_image_size=(image_size, image_size),
            mask_in_chans=mask_channels,
        ),
        mask_decoder=decoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=prompt_dim, mlp_dim=decoder_mlp, num_heads=decoder_heads),
            transformer_dim=prompt_dim, iou_head_depth=3, iou_head_hidden_dim=iou_hidden,
        ),
    ).eval()


def use_sam_hq(path):
    """`segment_anything` is that of a checkout of SysCV/sam-hq from now on."""
    assert "segment_anything" not in sys.modules, "the original is imported already"
    sys.path.insert(0, str(path))
    from segment_anything.modeling import MaskDecoderHQ  # noqa: F401: fails here if it is another checkout


# ----------------------------------------------------------------------------------------------- comparison


def relative_errors(got, want):
    """(largest difference / standard deviation of `want`, |got - want| / |want|)."""
    got, want = got.double(), want.double()
    difference = got - want
    spread = want.std() if want.numel() > 1 else want.abs().max()
    return (difference.abs().max() / spread).item(), (difference.norm() / want.norm()).item()


def mask_iou(a, b):
    """IoU of two boolean masks; two empty ones agree."""
    union = (a | b).sum().item()
    return (a & b).sum().item() / union if union else 1.0


# ------------------------------------------------------------------------------------------------- manifest


def versions(*packages):
    from importlib.metadata import version

    found = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    for package in packages:
        found[package] = version(package)
    return found


def write_manifest(folder, *, recipe, seed, packages, tolerance, **more):
    """manifest.json: what made the files of `folder`, with what, and how closely a port must agree."""
    folder = Path(folder)
    files = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != "manifest.json":
            data = path.read_bytes()
            files[path.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {"recipe": recipe, "seed": seed, "versions": packages, "tolerance": tolerance, **more, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    total = sum(entry["bytes"] for entry in files.values())
    print(f"{folder}: {len(files)} files, {total / 1000:.0f} kB", file=sys.stderr)


def contiguous(tensors):
    """safetensors wants dense memory and one owner per tensor."""
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
