"""Goldens of SAM-HQ at tiny size: the same weights through transformers' SamHQModel and the code of SysCV/sam-hq.

    python samhq.py --out sam_hq --sam-hq-path /path/to/sam-hq

SAM-HQ is not on PyPI: check out https://github.com/SysCV/sam-hq (made with commit fb181f8) and name the folder; its package
is called segment_anything, too, and is imported instead of the original. Writes
    config.json, model.safetensors   a transformers folder (save_pretrained)
    original.pth                     the same weights, original names, torch.save zip of the state dict
    encoder.safetensors              pixel_values -> image_embeddings, early (behind the first global block, of two)
    cases.safetensors                as in sam1.py, prompts and sizes too
    forward_in.safetensors, forward_out.safetensors   one case as `samovar forward` reads and writes it
    light.pth, light_encoder.safetensors, light_cases.safetensors   Light HQ-SAM: TinyViT in front of the same decoder, in
                                     the sizes of mobilesam.py (whose two changes of upstream's code are made here, too)
    automatic.pth, automatic.json    SAM-HQ's SamAutomaticMaskGenerator on automatic/shapes.png: the trained SAM of
                                     automatic/ with seeded parts of SAM-HQ, whose masks are a third as strong as SAM's
All masks are sums of SAM's and SAM-HQ's (`hq_token_only=False`, the default of both).

transformers (5.23 and before) keeps only the tokens of what its two-way transformer returns: masks are drawn on the
image as it went in, and with rows and columns exchanged, while the scores are right. `mend` puts that in order; the goldens
are of the mended model, which agrees with upstream's code (`assert_mended`).

With multimask_output transformers gives three masks, best predicted IoU first; upstream's code gives the best one alone.
Its automatic masks are therefore one per point.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import automatic
import common
import mobilesam
import sam1
from sam1 import DECODER_MLP, DIM, GLOBAL, HEADS, IMAGE, IOU_HIDDEN, MASK_CHANNELS, ORIGINAL_TOO, PROMPT_DIM, prompt_cases

SEED = 20260104
# Scores of a prompt's masks are ranked: none of them may be so near another that rounding decides.
LEAST_GAP = 1e-3
STRENGTH = 0.3  # of the automatic model's seeded HQ mask
SETTINGS = dict(
    points_per_side=8, points_per_batch=24, pred_iou_thresh=0.35, stability_score_thresh=0.6, box_nms_thresh=0.8,
    crop_n_layers=1, crop_nms_thresh=0.75, crop_n_points_downscale_factor=2)


def build():
    from transformers import SamHQConfig, SamHQModel

    return mend(sam1.build_transformers(SamHQConfig, SamHQModel, SEED, vit_dim=DIM))


def mend(model):
    """transformers' SamHQModel with masks drawn on what its two-way transformer makes of the image: it is left where the
    decoder looks for it, in the image that went in, with rows and columns exchanged. Returns the model."""
    transformer = model.mask_decoder.transformer
    unmended = transformer.forward

    def forward(*, image_embeddings, **inputs):
        tokens, image = unmended(image_embeddings=image_embeddings, **inputs)
        channels_first = image.squeeze(1).transpose(1, 2).reshape(image_embeddings.shape)
        image_embeddings.copy_(channels_first.transpose(2, 3))
        return tokens, image

    transformer.forward = forward
    return model


def assert_mended(model, original, encoded, original_encoded):
    """With the same epsilon, too, both upstreams give the same masks."""
    for module in original.mask_decoder.transformer.layers.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    embeddings, early = original_encoded
    images, multimask, inputs = prompt_cases()["prompts_per_image"]
    masks, _ = run_original(original, embeddings, early[0], multimask, inputs)
    found = decode(model, encoded, images, multimask, inputs).pred_masks[:, :, :1]
    apart = common.relative_errors(masks, found)
    assert max(apart) < 2e-5, f"transformers, mended, and the original are apart by {apart}; is it mended upstream?"


def decode(model, encoded, images, multimask, inputs):
    """A case through transformers, on what its encoder found."""
    early = [early[images] for early in encoded.intermediate_embeddings]
    return model(
        image_embeddings=encoded.last_hidden_state[images], intermediate_embeddings=early, multimask_output=multimask,
        **inputs)


def all_outputs(model, pixels, cases):
    encoded = model.vision_encoder(pixels)
    found = [encoded.last_hidden_state]
    for images, multimask, inputs in cases.values():
        out = decode(model, encoded, images, multimask, inputs)
        found += [out.pred_masks, out.iou_scores]
    return found


class OneEarlyMap(torch.nn.Module):
    """Upstream's decoder for `run_original`, which knows nothing of early maps: the one of the image whose turn it is."""

    def __init__(self, decoder, early):
        super().__init__()
        self.decoder, self.early = decoder, list(early.split(1))

    def forward(self, **inputs):
        return self.decoder(**inputs, hq_token_only=False, interm_embeddings=[self.early.pop(0)])


def run_original(original, embeddings, early, multimask, inputs):
    """A case through upstream's code."""
    decoder = original.mask_decoder
    original.mask_decoder = OneEarlyMap(decoder, early)
    try:
        return sam1.run_original(original, embeddings, multimask, inputs)
    finally:
        original.mask_decoder = decoder


def assert_ranked(name, scores):
    gaps = scores[..., :-1] - scores[..., 1:]
    assert scores.shape[-1] == 1 or gaps.min() > LEAST_GAP, f"{name}: scores {scores.tolist()}"


# ------------------------------------------------------------------------------------------------ Light HQ-SAM


def build_light():
    from segment_anything.modeling import MaskDecoderHQ, PromptEncoder, Sam, TinyViT, TwoWayTransformer
    from segment_anything.modeling.tiny_vit_sam import LayerNorm2d

    dims, grid, prompt_dim = mobilesam.DIMS, mobilesam.GRID, mobilesam.PROMPT_DIM

    class SmallTinyViT(TinyViT):
        """Upstream's TinyViT with a grid other than 64 x 64, a narrow neck and the last merge's stride of 1."""

        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.layers[2].downsample.conv2.c.stride = (1, 1)
            self.neck = torch.nn.Sequential(
                torch.nn.Conv2d(dims[-1], prompt_dim, kernel_size=1, bias=False), LayerNorm2d(prompt_dim),
                torch.nn.Conv2d(prompt_dim, prompt_dim, kernel_size=3, padding=1, bias=False), LayerNorm2d(prompt_dim))

        def forward(self, x):
            x = self.patch_embed(x)
            early = []
            for i, layer in enumerate(self.layers):
                x = layer(x)
                if i == 1:
                    early.append(x.view(x.shape[0], grid, grid, -1))
            return self.neck(x.transpose(1, 2).reshape(x.shape[0], -1, grid, grid)), early

    model = Sam(
        image_encoder=SmallTinyViT(
            img_size=mobilesam.IMAGE, num_classes=7, embed_dims=dims, depths=mobilesam.DEPTHS,
            num_heads=mobilesam.HEADS, window_sizes=mobilesam.WINDOWS, mlp_ratio=4.0, drop_path_rate=0.0,
            mbconv_expand_ratio=4.0, local_conv_size=3, layer_lr_decay=0.8),
        prompt_encoder=PromptEncoder(
            embed_dim=prompt_dim, image_embedding_size=(grid, grid),
            input_image_size=(mobilesam.IMAGE, mobilesam.IMAGE), mask_in_chans=mobilesam.MASK_CHANNELS),
        mask_decoder=MaskDecoderHQ(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=prompt_dim, mlp_dim=mobilesam.DECODER_MLP, num_heads=8),
            transformer_dim=prompt_dim, iou_head_depth=3, iou_head_hidden_dim=mobilesam.IOU_HIDDEN, vit_dim=dims[2]),
    )
    common.seed_module(model, SEED, gain=1.3)
    return model.eval()  # after the weights: this copies the attention biases


def write_light(out):
    model = build_light()
    pixels = common.normal(SEED, "light pixel_values", (1, 3, mobilesam.IMAGE, mobilesam.IMAGE))
    embeddings, [early] = model.image_encoder(pixels)
    tensors, described = {}, {}
    for name, (multimask, inputs) in mobilesam.prompt_cases().items():
        masks, scores = run_original(model, embeddings, early, multimask, inputs)
        tensors |= {f"{name}.{key}": value for key, value in inputs.items()}
        tensors |= {f"{name}.pred_masks": masks, f"{name}.iou_scores": scores}
        described[name] = {"multimask_output": multimask, "inputs": sorted(inputs)}
        print(f"light {name:18} masks {tuple(masks.shape)} std {masks.std():.3f}")
    torch.save(model.state_dict(), out / "light.pth")
    save_file(common.contiguous({"pixel_values": pixels, "image_embeddings": embeddings}),
              out / "light_encoder.safetensors")
    save_file(common.contiguous(tensors), out / "light_cases.safetensors")
    return {"image_size": mobilesam.IMAGE, "cases": described}


# ------------------------------------------------------------------------------------------------ automatic masks


def build_automatic():
    return common.build_original_sam(
        image_size=automatic.SIZE, patch_size=8, dim=16, depth=2, heads=2, mlp_ratio=2.5, window=3, global_blocks=[1],
        prompt_dim=32, mask_channels=8, decoder_mlp=40, decoder_heads=8, iou_hidden=20, is_hq=True)


def write_automatic(out):
    model = build_automatic()
    trained = torch.load(out.parent / "automatic" / "sam.pth", weights_only=True)
    state = {name: trained.get(name, common.seeded_value(name, tensor, SEED))
             for name, tensor in model.state_dict().items()}
    for name in ("mask_decoder.hf_mlp.layers.2.weight", "mask_decoder.hf_mlp.layers.2.bias"):
        state[name] = STRENGTH * state[name]
    model.load_state_dict(state, strict=True)
    picture = np.array(Image.open(out.parent / "automatic" / "shapes.png").convert("RGB"))
    records = automatic.generate(model, picture, SETTINGS)
    print(f"automatic: {len(records)} masks, areas {sorted(r['area'] for r in records)}")
    for attempt in range(3):
        shaken = build_automatic()
        shaken.load_state_dict({
            key: value * (1 + 1e-5 * common.normal(SEED + attempt, key, value.shape)) for key, value in state.items()})
        assert automatic.same_set(records, automatic.generate(shaken, picture, SETTINGS)), "a decision is too close"
    torch.save(state, out / "automatic.pth")
    described = dict(SETTINGS, stability_score_offset=1.0, crop_overlap_ratio=512 / 1500, min_mask_region_area=0)
    document = {"image": "shapes.png", "model": "automatic.pth", "settings": described, "masks": records}
    (out / "automatic.json").write_text(json.dumps(document, indent=1) + "\n")



def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sam-hq-path", type=Path, required=True, help="checkout of SysCV/sam-hq")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    common.use_sam_hq(arguments.sam_hq_path)
    common.use_one_thread()

    model = build()
    original = sam1.build_original_sam(is_hq=True)
    original.load_state_dict(common.to_original_state(model.state_dict()), strict=True)
    pixels = common.normal(SEED, "pixel_values", (2, 3, IMAGE, IMAGE))
    cases = prompt_cases()
    # A bias added to every key shifts all logits of a query alike, and softmax does not see it.
    silent = sam1.unmoved_parameters(model, pixels, cases, all_outputs=all_outputs)
    silent = [name for name in silent if not name.endswith("k_proj.bias")]
    assert not silent, f"no recorded output depends on {silent}"

    encoded = model.vision_encoder(pixels)
    embeddings, early = encoded.last_hidden_state, encoded.intermediate_embeddings
    assert len(early) == len(GLOBAL)
    original_embeddings, original_early = original.image_encoder(pixels)
    print("encoder, original against transformers:", common.relative_errors(original_embeddings, embeddings))
    encoder = {
        "pixel_values": pixels, "image_embeddings": embeddings, "early": early[0],
        "original.image_embeddings": original_embeddings}

    same = sam1.build_original_sam(is_hq=True)
    same.load_state_dict(original.state_dict())
    assert_mended(model, same, encoded, (original_embeddings, original_early))

    tensors, described = {}, {}
    for name, (images, multimask, inputs) in cases.items():
        result = decode(model, encoded, images, multimask, inputs)
        assert_ranked(name, result.iou_scores)
        tensors |= {f"{name}.{key}": value for key, value in inputs.items()}
        tensors |= {f"{name}.pred_masks": result.pred_masks, f"{name}.iou_scores": result.iou_scores}
        described[name] = {
            "images": images, "multimask_output": multimask, "inputs": sorted(inputs),
            "original": name in ORIGINAL_TOO}
        if described[name]["original"]:
            masks, scores = run_original(
                original, original_embeddings[images], original_early[0][images], multimask, inputs)
            tensors |= {f"{name}.original.pred_masks": masks, f"{name}.original.iou_scores": scores}
            apart = common.relative_errors(masks, result.pred_masks[:, :, :1])
            print(f"{name:24} std {result.pred_masks.std():6.3f}  original's best apart by {apart[0]:.1e}")

    model.save_pretrained(out)
    torch.save(original.state_dict(), out / "original.pth")
    save_file(common.contiguous(encoder), out / "encoder.safetensors")
    save_file(common.contiguous(tensors), out / "cases.safetensors")
    images, multimask, inputs = cases["box_and_points"]
    save_file(common.contiguous({"pixel_values": pixels[images], **inputs}), out / "forward_in.safetensors")
    result = model(pixel_values=pixels[images], multimask_output=multimask, **inputs)
    save_file(common.contiguous({
        "image_embeddings": embeddings[images], "pred_masks": result.pred_masks, "iou_scores": result.iou_scores,
    }), out / "forward_out.safetensors")
    light = write_light(out)
    write_automatic(out)

    common.write_manifest(
        out, recipe="samhq.py", seed=SEED,
        packages=common.versions("transformers", "safetensors", "timm", "torchvision", "pycocotools"),
        tolerance={"max_abs_over_std": 2e-5, "relative_l2": 1e-5},
        upstream="SysCV/sam-hq fb181f8",
        original={"two_way_layer_norm_eps": {"transformers": 1e-6, "original": 1e-5}},
        cases=described, light=light,
    )


if __name__ == "__main__":
    main()
