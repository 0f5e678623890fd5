"""Goldens of MobileSAM (TinyViT encoder) at tiny size, through the upstream code.

    python mobilesam.py --out mobile_sam --mobilesam-path /path/to/MobileSAM

MobileSAM is not on PyPI: check out https://github.com/ChaoningZhang/MobileSAM (made with commit
34bbbfdface3c18e5221aa7de6032d7220c6c6a1) and name the folder. Writes
    mobile_sam.pt         state dict as upstream ships it: batch norms unfolded (with the int64 num_batches_tracked),
                          norm_head and head present though unused, no attention_bias_idxs
    encoder.safetensors   pixel_values -> image_embeddings
    cases.safetensors     <case>.input_* -> <case>.pred_masks, <case>.iou_scores (names and layouts as in transformers)

Two things are fixed in upstream's code and set by hand at this size: the last merge has stride 1 (upstream asks whether
its output has 320, 448 or 576 channels, which is its way of naming the last merge of its three models), and the result
is viewed as the last stage's grid (upstream writes 64 x 64). No tensor tells the image size: it is in manifest.json.
No window divides its map (4 on 10, 4 on 5, 3 on 5). Heads and windows can be read off `attention_biases` ([heads,
window squared], entry |dy| * window + |dx|). Unlike SAM's, this qkv is ordered head by head: (heads, q k v, head size).

Upstream's Attention copies its biases when `eval()` is called. Weights loaded after that leave the old copy (zeros) in
use, as in `sam_model_registry["vit_t"](checkpoint=...)` until the caller says `eval()` again, which the README does.
These goldens follow the README.
"""

import argparse
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

import common
from sam1 import run_original

SEED = 20260102
IMAGE, GRID = 80, 5
DIMS, DEPTHS, HEADS, WINDOWS = [8, 12, 20, 24], [1, 1, 2, 1], [1, 3, 5, 3], [7, 4, 4, 3]
PROMPT_DIM, MASK_CHANNELS, DECODER_MLP, IOU_HIDDEN = 32, 8, 40, 20


def build(mobilesam_path):
    sys.path.insert(0, str(mobilesam_path))
    warnings.filterwarnings("ignore")
    from mobile_sam.modeling import MaskDecoder, PromptEncoder, Sam, TinyViT, TwoWayTransformer
    from mobile_sam.modeling.tiny_vit_sam import LayerNorm2d

    class SmallTinyViT(TinyViT):
        """Upstream's TinyViT with a grid other than 64 x 64, a narrow neck and the last merge's stride of 1."""

        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.layers[2].downsample.conv2.c.stride = (1, 1)
            self.neck = torch.nn.Sequential(
                torch.nn.Conv2d(DIMS[-1], PROMPT_DIM, kernel_size=1, bias=False),
                LayerNorm2d(PROMPT_DIM),
                torch.nn.Conv2d(PROMPT_DIM, PROMPT_DIM, kernel_size=3, padding=1, bias=False),
                LayerNorm2d(PROMPT_DIM),
            )

        def forward(self, x):
            x = self.patch_embed(x)
            for layer in self.layers:
                x = layer(x)
            return self.neck(x.transpose(1, 2).reshape(x.shape[0], -1, GRID, GRID))

    model = Sam(
        image_encoder=SmallTinyViT(
            img_size=IMAGE, num_classes=7, embed_dims=DIMS, depths=DEPTHS, num_heads=HEADS, window_sizes=WINDOWS,
            mlp_ratio=4.0, drop_path_rate=0.0, mbconv_expand_ratio=4.0, local_conv_size=3, layer_lr_decay=0.8,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=PROMPT_DIM, image_embedding_size=(GRID, GRID), input_image_size=(IMAGE, IMAGE),
            mask_in_chans=MASK_CHANNELS,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=PROMPT_DIM, mlp_dim=DECODER_MLP, num_heads=8),
            transformer_dim=PROMPT_DIM, iou_head_depth=3, iou_head_hidden_dim=IOU_HIDDEN,
        ),
    )
    common.seed_module(model, SEED, gain=1.3)
    return model.eval()  # after the weights: this copies the attention biases


def prompt_cases():
    mask = 6 * common.normal(SEED, "mask prompt", (1, 1, 4 * GRID, 4 * GRID))
    points = dict(
        input_points=torch.tensor([[[[20.0, 31.5], [3.0, 70.0]], [[44.75, 8.0], [60.5, 61.0]]]]),
        input_labels=torch.tensor([[[1, 0], [1, 1]]]))
    box = dict(input_boxes=torch.tensor([[[7.25, 11.0, 61.0, 70.5]]]))
    return {"points": (True, points), "box": (False, box), "mask_and_box": (True, dict(input_masks=mask, **box))}


def unmoved_parameters(model, pixels, least=1e-4):
    want, silent = model.image_encoder(pixels), []
    for name, tensor in model.image_encoder.state_dict().items():
        kept = tensor.clone()
        tensor.copy_(common.seeded_value(name, tensor, SEED + 1))
        model.eval()
        if common.relative_errors(model.image_encoder(pixels), want)[0] < least:
            silent.append(name)
        tensor.copy_(kept)
        model.eval()
    return silent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mobilesam-path", type=Path, required=True, help="checkout of ChaoningZhang/MobileSAM")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    common.use_one_thread()

    model = build(arguments.mobilesam_path)
    pixels = common.normal(SEED, "pixel_values", (1, 3, IMAGE, IMAGE))
    unused = ("norm_head.weight", "norm_head.bias", "head.weight", "head.bias")
    silent = [name for name in unmoved_parameters(model, pixels)
              if name not in unused and not name.endswith("num_batches_tracked")]
    assert not silent, f"the embedding does not depend on {silent}"

    embeddings = model.image_encoder(pixels)
    tensors, described = {}, {}
    for name, (multimask, inputs) in prompt_cases().items():
        masks, scores = run_original(model, embeddings, multimask, inputs)
        tensors |= {f"{name}.{key}": value for key, value in inputs.items()}
        tensors |= {f"{name}.pred_masks": masks, f"{name}.iou_scores": scores}
        described[name] = {"multimask_output": multimask, "inputs": sorted(inputs)}
        print(f"{name:16} masks {tuple(masks.shape)} std {masks.std():.3f}")

    torch.save(model.state_dict(), out / "mobile_sam.pt")
    save_file(common.contiguous({"pixel_values": pixels, "image_embeddings": embeddings}), out / "encoder.safetensors")
    save_file(common.contiguous(tensors), out / "cases.safetensors")
    common.write_manifest(
        out, recipe="mobilesam.py", seed=SEED, packages=common.versions("timm", "safetensors"),
        tolerance={"max_abs_over_std": 2e-5, "relative_l2": 1e-5},
        upstream="ChaoningZhang/MobileSAM 34bbbfdface3c18e5221aa7de6032d7220c6c6a1",
        geometry={
            "image_size": IMAGE, "grid": GRID, "embed_dims": DIMS, "depths": DEPTHS, "num_heads": HEADS,
            "window_sizes": WINDOWS, "last_merge_stride": 1, "decoder_heads": 8, "layer_norm_eps": 1e-5,
            "neck_layer_norm_eps": 1e-6, "batch_norm_eps": 1e-5,
        },
        cases=described,
    )


if __name__ == "__main__":
    main()
