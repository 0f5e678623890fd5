"""Goldens of D-FINE at tiny size: the same weights through transformers' DFineForObjectDetection and through the authors' code.

    python dfine.py --out dfine --dfine-path /path/to/D-FINE

The authors' code is read from a checkout of https://github.com/Peterande/D-FINE (made with commit 4a1f73a; of torchvision it
wants nothing that runs here, and goes without). Three models, as D-FINE comes in three forms:
    s   three levels, backbone with learnable affine blocks (S, M), more bins than published, another offset scale
    n   two levels (N)
    x   an input so large that anchors on its border are left out, no affine blocks, and a decoder narrower than the encoder, so with projections between them (X; L has none)
s/picture.png is the first of its pictures. shapes.json has names and shapes of the published sizes, as the authors' code builds them. For each of the three models writes
    <model>/config.json, model.safetensors, preprocessor_config.json   a transformers folder, as the hub has them
    <model>/original.pth   the same weights under the authors' names: {"ema": {"module": ...}} (s), {"model": ...} (x)
    <model>/tensors.safetensors   pixel_values (each to be repeated `repeat` times along both sides) -> logits, pred_boxes; and what follows from them, `post.{image}.scores`, `.labels`,
        `.boxes`, by RTDetrImageProcessor.post_process_object_detection for the threshold and sizes in manifest.json

Every parameter and buffer is overwritten (also `up`, `reg_scale`, the scales of affine blocks, some of them negative, and the
`num_points_scale` of deformable attention), but for two that follow from the size of the input: anchors and their mask, which
the authors' code keeps. Which queries are chosen, and in which order, is decided by scores; pixels are drawn until no two of
them that matter lie closer than GAP of their spread, and no chosen anchor is one of those on the border, which all look alike.

Three things of the authors' code that transformers does otherwise, and no published model meets:
- positions of cells are those of a square map (rows and columns exchanged elsewhere);
- anchors on the border are infinite there, and the largest number in transformers: both are 1 behind a sigmoid;
- the projections in front of the decoder are convolutions with a norm in both, absent where widths agree.
"""

import argparse
import importlib
import json
import re
import sys
import types
import warnings
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

import common

SEED = 20261128
GAP = 1e-3
THRESHOLD = 0.5
SIZES = [(480, 640), (333, 200)]  # height, width of the images boxes are for

MODELS = {
    "s": dict(
        image=96, repeat=4, backbone=dict(
            stem_channels=[3, 8, 6], stage_in_channels=[6, 8, 12, 16], stage_mid_channels=[4, 4, 6, 6],
            stage_out_channels=[8, 12, 16, 20], stage_num_blocks=[1, 1, 2, 1], stage_numb_of_layers=[2, 1, 2, 2],
            use_learnable_affine_block=True, out_indices=[2, 3, 4]),
        model=dict(
            encoder_hidden_dim=16, encoder_in_channels=[12, 16, 20], encoder_ffn_dim=24, encoder_attention_heads=4,
            d_model=16, decoder_in_channels=[16, 16, 16], decoder_ffn_dim=20, decoder_n_points=[3, 6, 3], decoder_layers=3,
            decoder_attention_heads=2, depth_mult=0.34, hidden_expansion=0.5, num_queries=14, num_labels=7, max_num_bins=40)),
    "n": dict(
        image=160, repeat=8, backbone=dict(
            stem_channels=[3, 6, 8], stage_in_channels=[8, 10, 12, 16], stage_mid_channels=[4, 4, 4, 6],
            stage_out_channels=[10, 12, 16, 24], stage_num_blocks=[1, 1, 2, 1], stage_numb_of_layers=[2, 2, 1, 2],
            use_learnable_affine_block=True, out_indices=[3, 4]),
        model=dict(
            encoder_hidden_dim=16, encoder_in_channels=[16, 24], encoder_ffn_dim=20, encoder_attention_heads=8,
            encode_proj_layers=[1], feat_strides=[16, 32], num_feature_levels=2, d_model=16, decoder_in_channels=[16, 16],
            decoder_ffn_dim=24, decoder_n_points=[6, 6], decoder_layers=2, decoder_attention_heads=8, depth_mult=0.5,
            hidden_expansion=0.34, num_queries=12, num_labels=5)),
    "x": dict(
        image=416, repeat=8, backbone=dict(
            stem_channels=[3, 8, 8], stage_in_channels=[8, 8, 12, 16], stage_mid_channels=[4, 4, 6, 6],
            stage_out_channels=[8, 12, 16, 24], stage_num_blocks=[1, 2, 1, 2], stage_numb_of_layers=[1, 2, 2, 1],
            use_learnable_affine_block=False, out_indices=[2, 3, 4]),
        model=dict(
            encoder_hidden_dim=24, encoder_in_channels=[12, 16, 24], encoder_ffn_dim=28, encoder_attention_heads=4,
            d_model=16, decoder_in_channels=[24, 24, 24], decoder_ffn_dim=20, decoder_n_points=[3, 6, 3], decoder_layers=3,
            decoder_attention_heads=4, depth_mult=0.67, hidden_expansion=1.0, num_queries=16, num_labels=6,
            freeze_backbone_batch_norms=True)),
}
CLASSES = ["person", "bicycle", "car", "cat", "dog", "traffic light", "toothbrush"]


# --------------------------------------------------------------------------------------------- transformers


def configuration(name):
    from transformers import DFineConfig, HGNetV2Config

    numbers = MODELS[name]
    backbone = HGNetV2Config(
        stage_downsample=[False, True, True, True], stage_light_block=[False, False, True, True], stage_kernel_size=[3, 3, 5, 5],
        depths=numbers["backbone"]["stage_num_blocks"], hidden_sizes=numbers["backbone"]["stage_out_channels"],
        embedding_size=numbers["backbone"]["stem_channels"][-1], **numbers["backbone"])
    labels = dict(enumerate(CLASSES[: numbers["model"]["num_labels"]]))
    settings = dict(freeze_backbone_batch_norms=False) | numbers["model"]
    return DFineConfig(
        backbone_config=backbone, id2label=labels, label2id={label: i for i, label in labels.items()},
        attn_implementation="eager", **settings)


def seeded(name, tensor, which):
    """A value for every parameter and buffer. Heads appear under two names; the shorter one names the draw."""
    name = name.removeprefix("model.decoder.") if re.search(r"\.(class|bbox)_embed\.", name) else name
    name = f"{which}.{name}"
    draw = common.normal(SEED, name, tensor.shape)
    if name.endswith("decoder.up"):
        return torch.full_like(tensor, 0.6)
    if name.endswith("decoder.reg_scale"):
        return torch.full_like(tensor, 5.0)
    if name.endswith("num_points_scale"):
        return 0.3 + 0.05 * draw
    if name.endswith("lab.scale"):
        return torch.where(draw > -0.8, 1 + 0.2 * draw, draw)
    if re.search(r"sampling_offsets\.bias$", name):
        return 2 * draw  # beyond the box, and for boxes on the border beyond the map
    if re.search(r"class_embed\.\d+\.bias$", name):
        return 0.2 * draw - (2.5 if which == "s" else 1)
    if re.search(r"bbox_embed\.\d+\.layers\.2\.weight$", name):
        return 2 * common.seeded_value(name, tensor, SEED)
    if re.search(r"self_attn\.[qk]_proj\.weight$", name):
        return common.seeded_value(name, tensor, SEED)  # more, and softmax is all or nothing
    # Deeper models with large weights make much of their roundings.
    less = 0.2 if which == "x" else 0
    gain = (1.4 if ".convolution." in name or ".conv" in name else 1.3) - less
    return common.seeded_value(name, tensor, SEED, gain)


def seed(model, which):
    for name, tensor in model.state_dict().items():
        tensor.copy_(seeded(name, tensor, which))
    return model


def transformers_model(name):
    from transformers import DFineForObjectDetection

    return seed(DFineForObjectDetection(configuration(name)).eval(), name)


def choice(model, pixels):
    """How far apart the scores are that choose the queries, over their spread; 0 if an anchor on the border is chosen."""
    out = model.model(pixel_values=pixels)
    scores, order = out.enc_outputs_class.max(-1).values.sort(dim=-1, descending=True)
    chosen = model.config.num_queries
    gaps = scores[:, :chosen] - scores[:, 1 : chosen + 1]
    shapes = [(pixels.shape[2] // stride, pixels.shape[3] // stride) for stride in model.config.feat_strides]
    _, valid = model.model.generate_anchors(tuple(shapes), device="cpu", dtype=torch.float32)
    inside = valid[0, order[:, :chosen].flatten()].all()
    return (gaps.min() / scores.std()).item() if inside else 0.0, valid.sum().item(), valid.numel()


def repeated(name, drawn):
    """Large pixels take little room in a file."""
    times = MODELS[name].get("repeat", 1)
    return drawn.repeat_interleave(times, 2).repeat_interleave(times, 3)


def pixels_of(name, model):
    """The first pixels, of a row of draws, by which queries are chosen clearly."""
    image = MODELS[name]["image"]
    for draw in range(200):
        cells = image // MODELS[name].get("repeat", 1)
        drawn = common.normal(SEED, f"pixel_values.{name}.{draw}", (2, 3, cells, cells)).mul(0.25).add(0.5).clamp(0, 1)
        drawn = (255 * drawn).round() / 255  # so that a picture of bytes has them
        pixels = repeated(name, drawn)
        gap, valid, anchors = choice(model, pixels)
        if gap > GAP:
            print(f"{name} draw {draw}: chosen by {gap:.1e} of the spread of scores; {valid} of {anchors} anchors inside")
            return drawn
    raise SystemExit(f"{name}: no draw has clear queries; another seed")


# --------------------------------------------------------------------------------------------- the authors' code

# transformers name -> the authors'; applied in order, first to last.
_TO_ORIGINAL = [
    (r"^model\.backbone\.model\.embedder\.", "backbone.stem."),
    (r"^model\.backbone\.model\.encoder\.", "backbone."),
    (r"^(backbone\..*)\.convolution\.", r"\1.conv."),
    (r"^(backbone\..*)\.normalization\.", r"\1.bn."),
    (r"^model\.encoder_input_proj\.(\d+)\.0\.", r"encoder.input_proj.\1.conv."),
    (r"^model\.encoder_input_proj\.(\d+)\.1\.", r"encoder.input_proj.\1.norm."),
    (r"^model\.decoder_input_proj\.(\d+)\.0\.", r"decoder.input_proj.\1.conv."),
    (r"^model\.decoder_input_proj\.(\d+)\.1\.", r"decoder.input_proj.\1.norm."),
    (r"^model\.encoder\.aifi\.", "encoder.encoder."),
    (r"^(encoder\.encoder\..*)\.mlp\.layers\.0\.", r"\1.linear1."),
    (r"^(encoder\.encoder\..*)\.mlp\.layers\.1\.", r"\1.linear2."),
    (r"^(encoder\.encoder\..*)\.self_attn_layer_norm\.", r"\1.norm1."),
    (r"^(encoder\.encoder\..*)\.final_layer_norm\.", r"\1.norm2."),
    (r"\.self_attn\.o_proj\.", ".self_attn.out_proj."),
    (r"^model\.encoder\.(fpn|pan)_blocks\.(\d+)\.conv1\.", r"encoder.\1_blocks.\2.cv1."),
    (r"^model\.encoder\.(fpn|pan)_blocks\.(\d+)\.csp_rep1\.", r"encoder.\1_blocks.\2.cv2.0."),
    (r"^model\.encoder\.(fpn|pan)_blocks\.(\d+)\.conv2\.", r"encoder.\1_blocks.\2.cv2.1."),
    (r"^model\.encoder\.(fpn|pan)_blocks\.(\d+)\.csp_rep2\.", r"encoder.\1_blocks.\2.cv3.0."),
    (r"^model\.encoder\.(fpn|pan)_blocks\.(\d+)\.conv3\.", r"encoder.\1_blocks.\2.cv3.1."),
    (r"^model\.encoder\.(fpn|pan)_blocks\.(\d+)\.conv4\.", r"encoder.\1_blocks.\2.cv4."),
    (r"^model\.encoder\.downsample_convs\.(\d+)\.conv1\.", r"encoder.downsample_convs.\1.0.cv1."),
    (r"^model\.encoder\.downsample_convs\.(\d+)\.conv2\.", r"encoder.downsample_convs.\1.0.cv2."),
    (r"^model\.encoder\.", "encoder."),
    (r"^model\.enc_output\.0\.", "decoder.enc_output.proj."),
    (r"^model\.enc_output\.1\.", "decoder.enc_output.norm."),
    (r"^model\.(enc_score_head|enc_bbox_head|denoising_class_embed)\.", r"decoder.\1."),
    (r"^model\.decoder\.(query_pos_head|pre_bbox_head)\.", r"decoder.\1."),
    (r"^model\.decoder\.(up|reg_scale)$", r"decoder.\1"),
    (r"^class_embed\.", "decoder.dec_score_head."),
    (r"^bbox_embed\.", "decoder.dec_bbox_head."),
    (r"^model\.decoder\.", "decoder.decoder."),
    (r"^(decoder\.decoder\.layers\.\d+)\.self_attn_layer_norm\.", r"\1.norm1."),
    (r"^(decoder\.decoder\.layers\.\d+)\.encoder_attn\.", r"\1.cross_attn."),
    (r"^(decoder\.decoder\.layers\.\d+)\.mlp\.layers\.0\.", r"\1.linear1."),
    (r"^(decoder\.decoder\.layers\.\d+)\.mlp\.layers\.1\.", r"\1.linear2."),
    (r"^(decoder\.decoder\.layers\.\d+)\.final_layer_norm\.", r"\1.norm3."),
]


def to_original_state(state):
    """transformers' state dict under the authors' names; queries, keys and values of self-attention become one layer."""
    named = {}
    for name, tensor in state.items():
        if re.match(r"model\.decoder\.(class|bbox)_embed\.", name):
            continue
        for pattern, replacement in _TO_ORIGINAL:
            name = re.sub(pattern, replacement, name)
        named[name] = tensor.clone()
    for name in [name for name in named if name.endswith(".q_proj.weight")]:
        front = name.removesuffix(".q_proj.weight")
        for leaf in ("weight", "bias"):
            named[f"{front}.in_proj_{leaf}"] = torch.cat([named.pop(f"{front}.{part}_proj.{leaf}") for part in "qkv"])
    # Parameters of the authors' decoder and of its inner module.
    return named | {f"decoder.decoder.{leaf}": named[f"decoder.{leaf}"] for leaf in ("up", "reg_scale")}


def use_dfine(path):
    """The modules of a checkout that make the model, without those of training and data that it imports beside them."""
    src = Path(path) / "src"
    assert (src / "zoo" / "dfine" / "dfine_decoder.py").exists(), f"{path} is no checkout of Peterande/D-FINE"

    def package(name, folder):
        module = types.ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module
        return module

    package("src", src)
    package("src.core", src / "core").register = lambda *_, **__: lambda made: made
    for name in ("nn", "nn.backbone", "zoo", "zoo.dfine"):
        package(f"src.{name}", src / name.replace(".", "/"))
    if importlib.util.find_spec("torchvision") is None:
        package("torchvision", src)
        package("torchvision.ops", src)
        package("torchvision.ops.boxes", src).box_area = None


def original_model(config, image, state):
    backbone = importlib.import_module("src.nn.backbone.hgnetv2").HGNetv2
    encoder = importlib.import_module("src.zoo.dfine.hybrid_encoder").HybridEncoder
    decoder = importlib.import_module("src.zoo.dfine.dfine_decoder").DFINETransformer
    whole = importlib.import_module("src.zoo.dfine.dfine").DFINE
    b = config.backbone_config
    stages = zip(b.stage_in_channels, b.stage_mid_channels, b.stage_out_channels, b.stage_num_blocks, b.stage_downsample,
                 b.stage_light_block, b.stage_kernel_size, b.stage_numb_of_layers)
    backbone.arch_configs["seeded"] = {
        "stem_channels": list(b.stem_channels), "stage_config": {f"stage{i + 1}": list(s) for i, s in enumerate(stages)},
        "url": ""}
    model = whole(
        backbone("seeded", use_lab=b.use_learnable_affine_block, return_idx=[i - 1 for i in b.out_indices], freeze_at=-1,
                 freeze_norm=config.freeze_backbone_batch_norms, pretrained=False),
        encoder(in_channels=list(config.encoder_in_channels), feat_strides=list(config.feat_strides),
                hidden_dim=config.encoder_hidden_dim, nhead=config.encoder_attention_heads,
                dim_feedforward=config.encoder_ffn_dim, use_encoder_idx=list(config.encode_proj_layers),
                expansion=config.hidden_expansion, depth_mult=config.depth_mult, eval_spatial_size=[image, image]),
        decoder(num_classes=config.num_labels, hidden_dim=config.d_model, num_queries=config.num_queries,
                feat_channels=list(config.decoder_in_channels), feat_strides=list(config.feat_strides),
                num_levels=config.num_feature_levels, num_points=list(config.decoder_n_points),
                nhead=config.decoder_attention_heads, num_layers=config.decoder_layers, dim_feedforward=config.decoder_ffn_dim,
                eval_spatial_size=[image, image], reg_max=config.max_num_bins, reg_scale=config.reg_scale)).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    left = [name for name in missing if name not in ("decoder.anchors", "decoder.valid_mask")]
    assert not left and not unexpected, f"missing {left}, unexpected {unexpected}"
    return model


def published_shapes(path):
    """Names and shapes of the published sizes, as the authors' code builds them from the authors' files."""
    import yaml

    def merged(into, more):
        for key, value in more.items():
            into[key] = merged(dict(into.get(key) or {}), value) if isinstance(value, dict) else value
        return into

    backbone = importlib.import_module("src.nn.backbone.hgnetv2").HGNetv2
    encoder = importlib.import_module("src.zoo.dfine.hybrid_encoder").HybridEncoder
    decoder = importlib.import_module("src.zoo.dfine.dfine_decoder").DFINETransformer
    whole = importlib.import_module("src.zoo.dfine.dfine").DFINE
    folder, shapes = Path(path) / "configs" / "dfine", {}
    for size in "nsmlx":
        settings = yaml.safe_load((folder / "include" / "dfine_hgnetv2.yml").read_text())
        settings = merged(settings, yaml.safe_load((folder / f"dfine_hgnetv2_{size}_coco.yml").read_text()))
        spatial = settings["eval_spatial_size"]
        model = whole(
            backbone(**settings["HGNetv2"] | {"pretrained": False}), encoder(**settings["HybridEncoder"], eval_spatial_size=spatial),
            decoder(**settings["DFINETransformer"], eval_spatial_size=spatial)).eval()
        state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
        shapes[f"dfine_{size}_coco.pth"] = {name: "x".join(map(str, tensor.shape)) for name, tensor in state.items()}
    return shapes


# ----------------------------------------------------------------------------------------------------- files


def post_process(logits, boxes, threshold, sizes):
    """RTDetrImageProcessor.post_process_object_detection, which does not run without torchvision."""
    from transformers.image_transforms import center_to_corners_format

    boxes = center_to_corners_format(boxes)
    height, width = torch.tensor(sizes).unbind(1)
    boxes = boxes * torch.stack([width, height, width, height], dim=1)[:, None, :]
    queries, classes = logits.shape[1:]
    scores, index = logits.sigmoid().flatten(1).topk(queries, dim=-1)
    labels, index = index % classes, index // classes
    boxes = boxes.gather(1, index.unsqueeze(-1).expand(-1, -1, 4))
    return [dict(scores=s[s > threshold], labels=l[s > threshold], boxes=b[s > threshold])
            for s, l, b in zip(scores, labels, boxes)]


def unmoved(model, pixels, want, least=1e-5):
    """Parameters of which another value leaves the outputs as they are."""
    silent = []
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked") or re.match(r"model\.decoder\.(class|bbox)_embed\.", name):
            continue
        kept = tensor.clone()
        # The bias of scores that choose queries moves nothing unless it changes a choice.
        for changed in (kept * 1.3 + 0.1, 4 * kept.flip(0) if kept.ndim else kept):
            tensor.copy_(changed)
            out = model(pixel_values=pixels)
            moved = max(common.relative_errors(out.logits, want.logits)[0],
                        common.relative_errors(out.pred_boxes, want.pred_boxes)[0])
            if moved >= least:
                break
        else:
            silent.append(name)
        tensor.copy_(kept)
    return silent


# Trained, and read by no inference: classes of denoising; the quality of boxes and the classes of layers that are not the last; the
# first half of what a norm behind it takes out.
def is_unused(name, layers):
    layer = re.search(r"(?:lqe_layers|class_embed)\.(\d+)\.", name)
    return "denoising_class_embed" in name or bool(layer and int(layer[1]) + 1 < layers)


def make(name, out):
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    image = MODELS[name]["image"]
    model = transformers_model(name)
    # Heads are one module under two names.
    model.model.decoder.class_embed, model.model.decoder.bbox_embed = model.class_embed, model.bbox_embed
    drawn = pixels_of(name, model)
    pixels = repeated(name, drawn)
    want = model(pixel_values=pixels)
    silent = [n for n in unmoved(model, pixels, want) if not is_unused(n, model.config.decoder_layers)]
    # Keys' biases move no softmax.
    silent = [n for n in silent if not n.endswith("k_proj.bias")]
    assert not silent, f"{name}: no output depends on {silent}"

    state = to_original_state(model.state_dict())
    original = original_model(model.config, image, state)
    found = original(pixels)
    for what, ours, theirs in [("logits", want.logits, found["pred_logits"]), ("boxes", want.pred_boxes, found["pred_boxes"])]:
        worst, relative = common.relative_errors(theirs, ours)
        print(f"{name} {what:7} {tuple(ours.shape)} std {ours.std():.3f}  the authors' code: {worst:.1e}, {relative:.1e}")
        assert worst < 2e-5 and relative < 1e-5, "the two upstreams differ"

    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    whole = original.state_dict()
    if name != "n":
        torch.save({"ema": {"module": whole}} if name == "s" else {"model": whole}, folder / "original.pth")
    tensors = {"pixel_values": drawn, "logits": want.logits, "pred_boxes": want.pred_boxes}
    for index, found in enumerate(post_process(want.logits, want.pred_boxes, THRESHOLD, SIZES)):
        tensors |= {f"post.{index}.{key}": value for key, value in found.items()}
        print(f"{name} image {index}: {len(found['scores'])} of {model.config.num_queries} beyond {THRESHOLD}")
    save_file(common.contiguous(tensors), folder / "tensors.safetensors")
    if name == "s":
        bytes_of = (255 * pixels[0]).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(bytes_of).save(folder / "picture.png")
    (folder / "preprocessor_config.json").write_text(PREPROCESSOR.replace("SIDE", str(image)))
    common.write_manifest(
        folder, recipe="dfine.py", seed=SEED, packages=common.versions("transformers", "safetensors"),
        tolerance={"max_abs_over_std": 5e-5, "relative_l2": 1e-5}, upstream="Peterande/D-FINE 4a1f73a8bcfac736a88abde9596d87f116d780a7",
        image_size=image, repeat=MODELS[name].get("repeat", 1), queries=model.config.num_queries, classes=CLASSES[: model.config.num_labels], threshold=THRESHOLD, sizes=SIZES)


# What the published folders have.
PREPROCESSOR = """{
  "do_convert_annotations": true,
  "do_normalize": false,
  "do_pad": false,
  "do_rescale": true,
  "do_resize": true,
  "format": "coco_detection",
  "image_mean": [0.485, 0.456, 0.406],
  "image_processor_type": "RTDetrImageProcessor",
  "image_std": [0.229, 0.224, 0.225],
  "pad_size": null,
  "resample": 2,
  "rescale_factor": 0.00392156862745098,
  "size": {"height": SIDE, "width": SIDE}
}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dfine-path", type=Path, required=True, help="checkout of Peterande/D-FINE")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    common.use_one_thread()
    use_dfine(arguments.dfine_path)
    for name in MODELS:
        make(name, arguments.out)
    (arguments.out / "shapes.json").write_text(json.dumps(published_shapes(arguments.dfine_path)) + "\n")


if __name__ == "__main__":
    main()
