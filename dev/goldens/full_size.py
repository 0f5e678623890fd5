"""Full-size parity in one command: seeded SAM ViT-B (and MobileSAM) through upstream and through `samovar forward`.

    python full_size.py --samovar ../../target/release/samovar
    python full_size.py --samovar ... --mobilesam-path DIR      MobileSAM too
    python full_size.py --samovar ... --sam-hq-path DIR         SAM-HQ instead: transformers (mended, see samhq.py), the
                                                                original code, and Light HQ-SAM
    python full_size.py --samovar ... --sam2-path DIR           SAM 2.1 tiny instead: transformers (the folder of a
                                                                Sam2VideoModel, as on the hub) and the original .pt
    python full_size.py --samovar ... --edgetam-path DIR        EdgeTAM instead: transformers (the folder of an
                                                                EdgeTamVideoModel, as on the hub) and the original .pt
    python full_size.py --samovar ... --dfine                   D-FINE-S instead: transformers (a folder) and the same weights under
                                                                the authors' names
    python full_size.py --samovar ... --only original           one of: transformers, original, mobile_sam

Weights are seeded, every parameter and buffer overwritten, and saved to a temporary folder (about 750 MB; --work keeps
it and the upstream outputs for the next run). For every model and prompt case this prints, for image_embeddings,
pred_masks and iou_scores, the largest difference over the standard deviation and the relative L2 error, and the IoU of
the thresholded masks. The exit code is 1 if anything is beyond 1e-4 or below IoU 0.9999.

`samovar forward --model M --inputs IN.safetensors --outputs OUT.safetensors` takes and gives tensors with the names and
layouts of transformers' SamModel.forward: pixel_values [B, 3, S, S], input_points [B, P, N, 2], input_labels [B, P, N],
input_boxes [B, P, 4], input_masks [B, 1, S/4, S/4] -> image_embeddings, pred_masks [B, P, 3, S/4, S/4], iou_scores
[B, P, 3]. Multimask output is on, as it is by default in transformers. The original code of SAM-HQ gives the best of the three
alone, which is the first.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import common
import dfine
import edgetam
import samhq
import samtwo
from sam1 import run_original

SEED = 20260110
SIZE = 1024
ERROR, IOU = 1e-4, 0.9999
VIT_B = dict(
    image_size=SIZE, patch_size=16, dim=768, depth=12, heads=12, mlp_ratio=4.0, window=14, global_blocks=[2, 5, 8, 11],
    prompt_dim=256, mask_channels=16, decoder_mlp=2048, decoder_heads=8, iou_hidden=256)


def prompt_cases():
    i = lambda values: torch.tensor(values, dtype=torch.int64)
    point = dict(input_points=torch.tensor([[[[412.5, 300.0]]]]), input_labels=i([[[1]]]))
    box = dict(input_boxes=torch.tensor([[[100.0, 220.5, 700.0, 901.25]]]))
    mask = dict(input_masks=5 * common.normal(SEED, "mask prompt", (1, 1, 256, 256)))
    two = dict(
        input_points=torch.tensor([[[[412.5, 300.0], [10.0, 1000.0]], [[700.0, 512.0], [40.0, 77.0]]]]),
        input_labels=i([[[1, 0], [1, 1]]]))
    return {"point": point, "box_and_mask": {**box, **mask}, "two_prompts": two}


def pixels():
    """Smooth colours with noise, as normalised pixels."""
    coarse = common.normal(SEED, "coarse pixels", (1, 3, 24, 24))
    smooth = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic", align_corners=False)
    return (smooth + 0.2 * common.normal(SEED, "fine pixels", (1, 3, SIZE, SIZE))).clamp(-2.1, 2.6)


# --------------------------------------------------------------------------------------------------- models


def transformers_model():
    from transformers import SamConfig, SamModel

    model = SamModel(SamConfig(attn_implementation="sdpa")).eval()
    common.seed_module(model, SEED)
    return model


def save_transformers(folder):
    model = transformers_model()
    model.save_pretrained(folder)
    return model


def original_model(hf):
    original = common.build_original_sam(**VIT_B)
    original.load_state_dict(common.to_original_state(hf.state_dict()), strict=True)
    return original


def mobile_sam_model(path):
    sys.path.insert(0, str(path))
    from mobile_sam import sam_model_registry

    model = sam_model_registry["vit_t"]()
    common.seed_module(model, SEED)
    return model.eval()  # after the weights: eval() copies the attention biases


def sam_hq_model():
    from transformers import SamHQConfig, SamHQModel

    model = SamHQModel(SamHQConfig(attn_implementation="sdpa")).eval()
    common.seed_module(model, SEED)
    return samhq.mend(model)


def original_sam_hq_model():
    original = common.build_original_sam(**VIT_B, is_hq=True)
    original.load_state_dict(common.to_original_state(sam_hq_model().state_dict()), strict=True)
    return original


def light_hq_sam_model():
    from segment_anything import sam_model_registry

    model = sam_model_registry["vit_tiny"]()
    common.seed_module(model, SEED)
    return model.eval()  # after the weights: eval() copies the attention biases


def sam2_model():
    """Sam2Model of SAM 2.1 tiny, and the Sam2VideoModel with the same weights."""
    from transformers import Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel

    video = samtwo.seed(Sam2VideoModel(Sam2VideoConfig()).eval(), SEED)
    model = Sam2Model(Sam2Config()).eval()
    model.load_state_dict({name: video.state_dict()[name] for name in model.state_dict()}, strict=True)
    return model, video


def original_sam2_model():
    from sam2.build_sam import build_sam2

    original = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu")
    original.load_state_dict(samtwo.to_original_state(sam2_model()[1].state_dict(), mask_layers=4), strict=True)
    return original


def edgetam_model():
    """EdgeTamModel, and the EdgeTamVideoModel with the same weights."""
    from transformers import EdgeTamConfig, EdgeTamModel, EdgeTamVideoModel

    config = edgetam.published_configuration()
    video = edgetam.seed(EdgeTamVideoModel(config).eval(), SEED)
    model = EdgeTamModel(EdgeTamConfig(vision_config=config.vision_config)).eval()
    model.load_state_dict({name: video.state_dict()[name] for name in model.state_dict()}, strict=True)
    return model, video


def original_edgetam_model():
    from sam2.build_sam import build_sam2

    original = build_sam2("configs/edgetam.yaml", device="cpu")
    original.load_state_dict(edgetam.to_original_state(edgetam_model()[1].state_dict()), strict=True)
    return original


def forward_sam2(model, inputs):
    embeddings = model.get_image_embeddings(inputs["pixel_values"])
    return embeddings, lambda prompts: samtwo.run(model, embeddings, [0], True, prompts)


def forward_original_sam2(model, inputs):
    embeddings = samtwo.encode_original(model, inputs["pixel_values"])
    return embeddings, lambda prompts: samtwo.decode_original(model, embeddings, True, prompts)


def forward_sam_hq(model, inputs):
    encoded = model.vision_encoder(inputs["pixel_values"])

    def decode(prompts):
        out = samhq.decode(model, encoded, [0], True, prompts)
        return out.pred_masks, out.iou_scores

    return encoded.last_hidden_state, decode


def forward_original_sam_hq(model, inputs):
    embeddings, early = model.image_encoder(inputs["pixel_values"])
    return embeddings, lambda prompts: samhq.run_original(model, embeddings, early[0], True, prompts)


def forward_original(model, inputs):
    embeddings = model.image_encoder(inputs["pixel_values"])
    return embeddings, lambda prompts: run_original(model, embeddings, True, prompts)


def forward_transformers(model, inputs):
    embeddings = model.get_image_embeddings(inputs["pixel_values"])

    def decode(prompts):
        out = model(image_embeddings=embeddings, **prompts)
        return out.pred_masks, out.iou_scores

    return embeddings, decode


FILES = {
    "transformers": "sam_vit_b", "original": "sam_vit_b.pth", "mobile_sam": "mobile_sam.pt", "sam_hq": "sam_hq_vit_b",
    "original_sam_hq": "sam_hq_vit_b.pth", "light_hq_sam": "sam_hq_vit_tiny.pth",
    "sam2": "sam2.1_hiera_tiny", "original_sam2": "sam2.1_hiera_tiny.pt", "edgetam": "EdgeTAM-hf",
    "original_edgetam": "edgetam.pt"}
OUTPUTS = ("pred_masks", "iou_scores", "object_score_logits")


def prepare(work, name, mobilesam_path):
    """The model on disk and upstream's outputs, both kept in `work`."""
    model_path = work / FILES[name]
    expected = work / f"{name}.expected.safetensors"
    if model_path.exists() and expected.exists():
        return model_path, load_file(expected)
    print(f"{name}: building, saving and running upstream", file=sys.stderr)
    if name == "transformers":
        model = save_transformers(model_path)
        forward = forward_transformers
    elif name == "sam_hq":
        model = sam_hq_model()
        model.save_pretrained(model_path)
        forward = forward_sam_hq
    elif name in ("sam2", "edgetam"):
        model, video = sam2_model() if name == "sam2" else edgetam_model()
        video.save_pretrained(model_path)
        forward = forward_sam2
    elif name in ("original_sam2", "original_edgetam"):
        model = original_sam2_model() if name == "original_sam2" else original_edgetam_model()
        torch.save({"model": model.state_dict()}, model_path)
        forward = forward_original_sam2
    elif name in ("original_sam_hq", "light_hq_sam"):
        model = original_sam_hq_model() if name == "original_sam_hq" else light_hq_sam_model()
        torch.save(model.state_dict(), model_path)
        forward = forward_original_sam_hq
    elif name == "original":
        model = original_model(transformers_model())
        torch.save(model.state_dict(), model_path)
        forward = forward_original
    else:
        model = mobile_sam_model(mobilesam_path)
        torch.save(model.state_dict(), model_path)
        forward = forward_original
    embeddings, decode = forward(model, {"pixel_values": pixels()})
    if isinstance(embeddings, torch.Tensor):
        tensors = {"image_embeddings": embeddings}
    else:
        tensors = {f"image_embeddings.{level}": x for level, x in enumerate(embeddings)}
    for case, prompts in prompt_cases().items():
        tensors |= {f"{case}.{output}": x for output, x in zip(OUTPUTS, decode(prompts))}
    tensors = common.contiguous(tensors)
    save_file(tensors, expected)
    return model_path, tensors


# ----------------------------------------------------------------------------------------------- comparison


def compare(name, got, want):
    """Prints one line; True if within bounds."""
    if got is None or got.shape != want.shape:
        print(f"  {name:32} expected {tuple(want.shape)}, found {None if got is None else tuple(got.shape)}")
        return False
    worst, relative = common.relative_errors(got, want)
    # Two scores of objects that happen to be alike have next to no deviation.
    fine = (worst <= ERROR or name.endswith("object_score_logits")) and relative <= ERROR
    line = f"  {name:32} max/std {worst:.2e}  rel L2 {relative:.2e}"
    if name.endswith("pred_masks"):
        overlaps = [common.mask_iou(g > 0, w > 0) for g, w in zip(got.flatten(0, 2), want.flatten(0, 2))]
        fine &= min(overlaps) >= IOU
        line += f"  mask IoU {min(overlaps):.6f}"
    print(line + ("" if fine else "   BEYOND"))
    return fine


def check(samovar, work, name, mobilesam_path):
    model_path, expected = prepare(work, name, mobilesam_path)
    print(f"{name}: {model_path.name}")
    fine, first = True, True
    for case, prompts in prompt_cases().items():
        source, target = work / "in.safetensors", work / "out.safetensors"
        save_file(common.contiguous({"pixel_values": pixels(), **prompts}), source)
        target.unlink(missing_ok=True)
        start = time.perf_counter()
        command = [samovar, "forward", "--model", model_path, "--inputs", source, "--outputs", target]
        subprocess.run([str(part) for part in command], check=True)
        print(f"  {case}: {time.perf_counter() - start:.1f} s")
        got = load_file(target)
        if first:
            for output in (output for output in expected if output.startswith("image_embeddings")):
                fine &= compare(output, got.get(output), expected[output])
            first = False
        for output in OUTPUTS:
            want = expected.get(f"{case}.{output}")
            if want is None:
                continue
            found = got.get(output)
            if name in ("original_sam_hq", "light_hq_sam") and found is not None:
                found = found[:, :, : want.shape[2]]
            fine &= compare(f"{case}.{output}", found, want)
    return fine


# --------------------------------------------------------------------------------------------------- D-FINE


def dfine_configuration():
    """D-FINE-S, as published."""
    from transformers import DFineConfig, HGNetV2Config

    backbone = HGNetV2Config(
        stem_channels=[3, 16, 16], stage_in_channels=[16, 64, 256, 512], stage_mid_channels=[16, 32, 64, 128],
        stage_out_channels=[64, 256, 512, 1024], stage_num_blocks=[1, 1, 2, 1], stage_numb_of_layers=[3, 3, 3, 3],
        hidden_sizes=[128, 256, 512, 1024], use_learnable_affine_block=True, out_indices=[2, 3, 4])
    labels = {index: f"class {index}" for index in range(80)}
    return DFineConfig(
        backbone_config=backbone, decoder_layers=3, hidden_expansion=0.5, depth_mult=0.34, decoder_n_points=[3, 6, 3],
        encoder_in_channels=[256, 512, 1024], id2label=labels, label2id={label: index for index, label in labels.items()})


def prepare_dfine(work):
    """The folder, the original file, and upstream's outputs for pixels by which queries are chosen as clearly as may be."""
    from transformers import DFineForObjectDetection

    folder, original, expected = work / "dfine_s", work / "dfine_s.pth", work / "dfine.expected.safetensors"
    if folder.exists() and original.exists() and expected.exists():
        return folder, original, load_file(expected)
    print("dfine: building, saving and running upstream", file=sys.stderr)
    model = dfine.seed(DFineForObjectDetection(dfine_configuration()).eval(), "full size")
    model.model.decoder.class_embed, model.model.decoder.bbox_embed = model.class_embed, model.bbox_embed
    model.save_pretrained(folder)
    torch.save({"model": dfine.to_original_state(model.state_dict())}, original)
    best = (-1.0, None)
    for draw in range(8):
        coarse = common.normal(SEED, f"dfine pixels {draw}", (1, 3, 40, 40))
        pixels = torch.nn.functional.interpolate(coarse, (640, 640), mode="bicubic", align_corners=False)
        pixels = (255 * (0.5 + 0.25 * pixels).clamp(0, 1)).round() / 255
        best = max(best, (dfine.choice(model, pixels)[0], pixels), key=lambda one: one[0])
    print(f"dfine: queries are chosen by {best[0]:.1e} of the spread of scores", file=sys.stderr)
    out = model(pixel_values=best[1])
    tensors = common.contiguous({"pixel_values": best[1], "logits": out.logits, "pred_boxes": out.pred_boxes})
    save_file(tensors, expected)
    return folder, original, tensors


def in_one_order(logits, boxes, like):
    """Queries of nearly equal scores may have changed places: each is matched with the nearest of `like`."""
    mine, theirs = torch.cat([boxes[0], logits[0].sigmoid()], 1), torch.cat([like[1][0], like[0][0].sigmoid()], 1)
    order = torch.cdist(theirs.double(), mine.double()).argmin(1)
    return logits[:, order], boxes[:, order], len(set(order.tolist()))


def check_dfine(samovar, work):
    folder, original, expected = prepare_dfine(work)
    fine = True
    for model_path in (folder, original):
        source, target = work / "in.safetensors", work / "out.safetensors"
        save_file({"pixel_values": expected["pixel_values"]}, source)
        target.unlink(missing_ok=True)
        start = time.perf_counter()
        command = [samovar, "forward", "--model", model_path, "--inputs", source, "--outputs", target]
        subprocess.run([str(part) for part in command], check=True)
        print(f"{model_path.name}: {time.perf_counter() - start:.1f} s")
        got = load_file(target)
        logits, boxes, matched = in_one_order(
            got["logits"], got["pred_boxes"], (expected["logits"], expected["pred_boxes"]))
        fine &= compare("logits", logits, expected["logits"]) & compare("pred_boxes", boxes, expected["pred_boxes"])
        print(f"  {matched} of {logits.shape[1]} queries found")
        fine &= matched == logits.shape[1]
    return fine


# The package of SysCV/sam-hq is called as the original is, and EdgeTAM's as SAM 2's, so a run has one of them.
SAM_HQ = ["sam_hq", "original_sam_hq", "light_hq_sam"]
SAM_2 = ["sam2", "original_sam2"]
EDGETAM = ["edgetam", "original_edgetam"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samovar", required=True, help="the binary")
    parser.add_argument("--mobilesam-path", type=Path, help="checkout of ChaoningZhang/MobileSAM: compares it as well")
    parser.add_argument("--sam-hq-path", type=Path, help="checkout of SysCV/sam-hq: compares SAM-HQ instead")
    parser.add_argument("--sam2-path", type=Path, help="checkout of facebookresearch/sam2: compares SAM 2.1 tiny instead")
    parser.add_argument("--edgetam-path", type=Path, help="checkout of facebookresearch/EdgeTAM: compares EdgeTAM instead")
    parser.add_argument("--dfine", action="store_true", help="compares D-FINE-S instead")
    parser.add_argument("--only", choices=list(FILES))
    parser.add_argument("--work", type=Path, help="keep weights and upstream outputs here (default: a temporary folder)")
    parser.add_argument("--threads", type=int, default=2, help="for upstream")
    arguments = parser.parse_args()
    if arguments.only == "mobile_sam" and not arguments.mobilesam_path:
        parser.error("mobile_sam needs --mobilesam-path")
    warnings.filterwarnings("ignore")
    if arguments.sam_hq_path:
        common.use_sam_hq(arguments.sam_hq_path)
    elif arguments.only in SAM_HQ:
        parser.error(f"{arguments.only} needs --sam-hq-path")
    if arguments.sam2_path:
        samtwo.use_sam2(arguments.sam2_path)
    elif arguments.only == "original_sam2":
        parser.error("original_sam2 needs --sam2-path")
    if arguments.edgetam_path:
        edgetam.use_edgetam(arguments.edgetam_path)
    elif arguments.only == "original_edgetam":
        parser.error("original_edgetam needs --edgetam-path")
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)

    if arguments.only:
        names = [arguments.only]
    else:
        names = ["transformers", "original"]
        names = SAM_HQ if arguments.sam_hq_path else SAM_2 if arguments.sam2_path else names
        names = EDGETAM if arguments.edgetam_path else names
    if arguments.mobilesam_path and not arguments.only:
        names.append("mobile_sam")
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        if arguments.dfine:
            fine = check_dfine(arguments.samovar, work)
            print("within bounds" if fine else f"BEYOND {ERROR:g}")
            sys.exit(0 if fine else 1)
        fine = all([check(arguments.samovar, work, name, arguments.mobilesam_path) for name in names])
    print("within bounds" if fine else f"BEYOND {ERROR:g} or IoU {IOU}")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
