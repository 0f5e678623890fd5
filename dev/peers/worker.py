"""One peer, one job, one process: what run.py starts for every measurement. Prints one JSON document.

    python worker.py run --tool pytorch|onnxruntime|openvino|openvino-int8 --work encode|decode|everything
                         --model vit_b|mobile_sam|sam2_tiny --workdir DIR --threads N --repeat N
    python worker.py prepare --model vit_b|mobile_sam|sam2_tiny --workdir DIR [--mobilesam-path DIR] [--sam2-path DIR]
    python worker.py export --work encode|decode --model ... --workdir DIR
    python worker.py quantise --model ... --workdir DIR --calibrate PACK|DIR [--calibrate-images N]
    python worker.py reference --model ... --workdir DIR [--calibrate PACK|DIR]
    python worker.py loss --tool openvino-int8 | --outputs OUT.safetensors  --model ... --workdir DIR

`prepare` writes seeded weights and inputs, `export` the ONNX file that ONNX Runtime and OpenVINO share, `quantise` the
same encoder in 8 bits, `reference` what PyTorch answers in f32; all are done once per work folder. `run` times nothing
but the call itself, after one call to warm up; imports and loading are reported apart. `loss` compares a tool's answers,
or a file that `samovar forward` wrote, with the reference.
"""

import argparse
import io
import json
import struct
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "goldens"))
PROCESS_START = time.perf_counter()

INPUT_SIDE = 1024
# Pictures the loss is measured on; never calibrated with.
LOSS_PICTURES = 2
# Clicks on each of them, in pixels of the input.
LOSS_CLICKS = [(x, y) for y in (256.5, 640.5) for x in (160.5, 384.5, 608.5, 832.5)]


def peak_rss_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024


# ------------------------------------------------------------------------------------------ weights and inputs


def weights_path(workdir, model):
    return workdir / {"vit_b": "sam_vit_b", "mobile_sam": "mobile_sam.pt", "sam2_tiny": "sam2.1_hiera_tiny.pt"}[model]


def prepare(arguments):
    import full_size
    import torch
    from safetensors.torch import save_file

    workdir, path = arguments.workdir, weights_path(arguments.workdir, arguments.model)
    workdir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        if arguments.model == "vit_b":
            model = full_size.save_transformers(path)
            torch.save(full_size.original_model(model).state_dict(), workdir / "sam_vit_b.pth")
        elif arguments.model == "sam2_tiny":
            full_size.samtwo.use_sam2(arguments.sam2_path)
            torch.save({"model": full_size.original_sam2_model().state_dict()}, path)
        else:
            torch.save(full_size.mobile_sam_model(arguments.mobilesam_path).state_dict(), path)
    inputs = workdir / "inputs.safetensors"
    if not inputs.exists():
        save_file({
            "pixel_values": full_size.pixels(),
            "image_embeddings": full_size.common.normal(1, "image_embeddings", (1, 256, 64, 64)),
            "input_points": torch.tensor([[[[412.5, 300.0]]]]),
        }, inputs)


def torch_module(arguments):
    """The module that does the work, and its inputs by name: what is timed, and what is exported."""
    import full_size
    import torch
    from safetensors.torch import load_file

    work, model, workdir, mobilesam_path = arguments.work, arguments.model, arguments.workdir, arguments.mobilesam_path
    inputs = load_file(workdir / "inputs.safetensors")
    labels = torch.ones(1, 1, 1, dtype=torch.int64)
    if model == "vit_b":
        from transformers import SamModel

        sam = SamModel.from_pretrained(weights_path(workdir, model)).eval()
    elif model == "sam2_tiny":
        full_size.samtwo.use_sam2(arguments.sam2_path)
        from sam2.build_sam import build_sam2

        sam = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", str(weights_path(workdir, model)), device="cpu")
    else:
        sam = full_size.mobile_sam_model(mobilesam_path)
        sam.load_state_dict(torch.load(weights_path(workdir, model), weights_only=True))
        sam.eval()

    class Encode(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = sam.vision_encoder if model == "vit_b" else sam.image_encoder

        def forward(self, pixel_values):
            if model == "sam2_tiny":
                # The trunk, the neck and the decoder's layers on the finer maps: all that is done once per image.
                maps = sam.forward_image(pixel_values)["backbone_fpn"]
                return maps[2] + sam.no_mem_embed[0, 0, :, None, None], maps[0], maps[1]
            result = self.encoder(pixel_values)
            return result if isinstance(result, torch.Tensor) else result.last_hidden_state

    class Decode(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.sam = sam

        def forward(self, image_embeddings, input_points):
            if model == "vit_b":
                out = self.sam(
                    image_embeddings=image_embeddings, input_points=input_points, input_labels=labels)
                return out.pred_masks, out.iou_scores
            sparse, dense = self.sam.prompt_encoder(points=(input_points[0], labels[0]), boxes=None, masks=None)
            return self.sam.mask_decoder(
                image_embeddings=image_embeddings, image_pe=self.sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=True)

    if work == "encode":
        return Encode().eval(), {"pixel_values": inputs["pixel_values"]}
    return Decode().eval(), {name: inputs[name] for name in ("image_embeddings", "input_points")}


def onnx_path(arguments):
    return arguments.workdir / f"{arguments.model}.{arguments.work}.onnx"


def export(arguments):
    """ONNX by torch.onnx: the TorchScript exporter, and the dynamo one where the former fails."""
    import torch

    path = onnx_path(arguments)
    if path.exists():
        return
    module, inputs = torch_module(arguments)
    settings = dict(input_names=list(inputs), opset_version=17)
    started, failure = time.perf_counter(), None
    for dynamo in (False, True):
        partial = path.with_suffix(".partial.onnx")
        if dynamo:
            settings["opset_version"] = 18
        try:
            torch.onnx.export(module, tuple(inputs.values()), str(partial), dynamo=dynamo, **settings)
        except Exception as error:  # whatever an exporter raises, the other one may do
            failure = error
            print(f"exporter dynamo={dynamo}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        partial.rename(path)
        took = round(time.perf_counter() - started, 1)
        print(json.dumps({"exported": path.name, "dynamo": dynamo, "seconds": took, "bytes": path.stat().st_size,
                          "peak_rss_bytes": peak_rss_bytes()}))
        return
    raise failure


# --------------------------------------------------------------------------------------------- 8 bits, and loss


def pictures(path):
    """The encoded pictures of a folder, or of a segpack: 8 bytes `SEGPACK1`, then records of u32 length + JSON header,
    u32 length + JPEG, u8 number of label layers, and for each u32 length + PNG."""
    if path.is_dir():
        return [file.read_bytes() for file in sorted(path.iterdir())
                if file.suffix.lower() in (".jpg", ".jpeg", ".png")]
    found, data, at = [], path.read_bytes(), 8
    if data[:8] != b"SEGPACK1":
        raise SystemExit(f"{path}: not a SEGPACK1 file")

    def block(at):
        start = at + 4
        return start, start + struct.unpack_from("<I", data, at)[0]

    while at < len(data):
        _, at = block(at)
        start, at = block(at)
        found.append(data[start:at])
        layers, at = data[at], at + 1
        for _ in range(layers):
            _, at = block(at)
    return found


def chosen_pictures(arguments):
    """(to calibrate with, to measure the loss on): both spread over the whole set, disjoint, always the same."""
    found = pictures(arguments.calibrate)
    kept_back = [found.pop(len(found) * (i + 1) // (LOSS_PICTURES + 1)) for i in range(min(LOSS_PICTURES, len(found)))]
    count = min(arguments.calibrate_images, len(found))
    if count == 0:
        raise SystemExit(f"{arguments.calibrate}: too few pictures")
    return [found[i * len(found) // count] for i in range(count)], kept_back


def preprocess(encoded):
    """pixel_values [1, 3, 1024, 1024] as upstream makes them: the long side resized, normalised, padded with zeros."""
    import numpy as np
    from PIL import Image

    picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    scale = INPUT_SIDE / max(picture.size)
    size = [int(side * scale + 0.5) for side in picture.size]
    pixels = np.asarray(picture.resize(size, Image.BILINEAR), dtype=np.float32)
    pixels = (pixels - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    values = np.zeros((1, 3, INPUT_SIDE, INPUT_SIDE), dtype=np.float32)
    values[0, :, : size[1], : size[0]] = pixels.transpose(2, 0, 1)
    return values


def int8_path(arguments):
    return arguments.workdir / f"{arguments.model}.encode.int8-{arguments.calibrate_images}.xml"


def quantise(arguments):
    """Post-training quantisation by NNCF with its recipe for transformers (SmoothQuant, bias correction)."""
    path = int8_path(arguments)
    if path.exists():
        return
    import nncf
    import openvino as ov

    started = time.perf_counter()
    arguments.work = "encode"
    model = ov.Core().read_model(onnx_path(arguments))
    calibration, _ = chosen_pictures(arguments)
    dataset = nncf.Dataset(calibration, lambda encoded: {"pixel_values": preprocess(encoded)})
    quantised = nncf.quantize(
        model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration))
    partial = path.with_name("partial.xml")
    ov.save_model(quantised, partial, compress_to_fp16=False)
    partial.with_suffix(".bin").rename(path.with_suffix(".bin"))
    partial.rename(path)
    print(json.dumps({
        "quantised": path.name, "pictures": len(calibration), "seconds": round(time.perf_counter() - started, 1),
        "bytes": path.with_suffix(".bin").stat().st_size, "peak_rss_bytes": peak_rss_bytes()}))


def reference_paths(arguments):
    """(inputs as `samovar forward` takes them, PyTorch's f32 answers)."""
    kind = "pictures" if arguments.calibrate else "noise"
    return [arguments.workdir / f"{arguments.model}.{kind}.{part}.safetensors" for part in ("inputs", "expected")]


def reference(arguments):
    import numpy as np
    import torch
    from safetensors.numpy import load_file, save_file

    inputs_path, expected_path = reference_paths(arguments)
    if expected_path.exists():
        return
    if arguments.calibrate:
        pixels = np.concatenate([preprocess(encoded) for encoded in chosen_pictures(arguments)[1]])
    else:
        pixels = load_file(arguments.workdir / "inputs.safetensors")["pixel_values"]
    count, clicks = len(pixels), len(LOSS_CLICKS)
    points = np.tile(np.array(LOSS_CLICKS, dtype=np.float32).reshape(1, clicks, 1, 2), (count, 1, 1, 1))
    save_file({"pixel_values": pixels, "input_points": points,
               "input_labels": np.ones((count, clicks, 1), dtype=np.int64)}, inputs_path)
    torch.set_num_threads(arguments.threads)
    arguments.work = "encode"
    encode = pytorch(arguments)
    embeddings = np.concatenate([encode({"pixel_values": one[None]}) for one in pixels])
    arguments.work = "decode"
    expected = {"image_embeddings": embeddings, "pred_masks": decode_all(pytorch(arguments), embeddings)}
    # The file takes numbers as they lie in memory, and ViT-B's embeddings lie channels last.
    save_file({name: np.ascontiguousarray(values) for name, values in expected.items()}, expected_path)


def decode_all(decode, embeddings):
    """pred_masks [B, clicks, 3, 256, 256]."""
    import numpy as np

    clicks = [np.array(click, dtype=np.float32).reshape(1, 1, 1, 2) for click in LOSS_CLICKS]
    return np.stack([
        np.stack([decode({"image_embeddings": one[None], "input_points": click}).reshape(3, 256, 256) for click in clicks])
        for one in embeddings])


def loss(arguments):
    """How far from f32: of image_embeddings over all numbers, of logits likewise, and of the masks."""
    import numpy as np
    from safetensors.numpy import load_file

    inputs_path, expected_path = reference_paths(arguments)
    want = load_file(expected_path)
    if arguments.outputs:
        got = load_file(arguments.outputs)
    else:
        arguments.work = "encode"
        encode = PEERS[arguments.tool](arguments)
        embeddings = np.concatenate([
            encode({"pixel_values": one[None]}) for one in load_file(inputs_path)["pixel_values"]])
        arguments.work = "decode"
        decode = compile_openvino(onnx_path(arguments), arguments.threads)
        got = {"image_embeddings": embeddings, "pred_masks": decode_all(decode, embeddings)}

    def relative(a, b):
        return float(np.linalg.norm(a - b) / np.linalg.norm(b))

    def flat(name):
        pair = got[name].astype(np.float64).reshape(-1), want[name].astype(np.float64).reshape(-1)
        if pair[0].size != pair[1].size:
            raise SystemExit(f"{name}: {got[name].shape}, expected {want[name].shape}")
        return pair

    a, b = flat("image_embeddings")
    c, d = flat("pred_masks")
    masks = (c > 0).reshape(-1, 256 * 256), (d > 0).reshape(-1, 256 * 256)
    either, both = (masks[0] | masks[1]).sum(1), (masks[0] & masks[1]).sum(1)
    overlap = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    print(json.dumps({
        "embedding_cosine": float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), "embedding_error": relative(a, b),
        "logits_error": relative(c, d), "mask_iou": float(overlap.mean()), "worst_mask_iou": float(overlap.min()),
        "masks": len(overlap)}))


# ----------------------------------------------------------------------------------------------------- peers


def pytorch(arguments):
    import torch

    torch.set_num_threads(arguments.threads)
    module, inputs = torch_module(arguments)

    def call(inputs=inputs):
        result = module(*(torch.as_tensor(value) for value in inputs.values()))
        return (result if isinstance(result, torch.Tensor) else result[0]).numpy()

    return call


def numpy_inputs(arguments):
    from safetensors.numpy import load_file

    names = ["pixel_values"] if arguments.work == "encode" else ["image_embeddings", "input_points"]
    inputs = load_file(arguments.workdir / "inputs.safetensors")
    return {name: inputs[name] for name in names}


def onnxruntime(arguments):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(onnx_path(arguments)), options, providers=["CPUExecutionProvider"])
    inputs = numpy_inputs(arguments)
    return lambda inputs=inputs: session.run(None, inputs)[0]


def compile_openvino(path, threads):
    """A call of the file. What is not quantised stays f32: the default would be bf16 where the machine has it."""
    import openvino as ov

    core = ov.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    return lambda inputs: request.infer(inputs)[compiled.output(0)].copy()


def openvino(arguments):
    inputs, call = numpy_inputs(arguments), compile_openvino(onnx_path(arguments), arguments.threads)
    return lambda inputs=inputs: call(inputs)


def openvino_int8(arguments):
    if arguments.work != "encode":
        raise SystemExit("only encoders are quantised")
    inputs, call = numpy_inputs(arguments), compile_openvino(int8_path(arguments), arguments.threads)
    return lambda inputs=inputs: call(inputs)


def pytorch_everything(arguments):
    """Upstream's generator on the original file, nothing filtered by score."""
    import numpy as np
    import torch
    from PIL import Image

    torch.set_num_threads(arguments.threads)
    if arguments.model == "sam2_tiny":
        import full_size

        full_size.samtwo.use_sam2(arguments.sam2_path)
        from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator as Generator
        from sam2.build_sam import build_sam2

        path = weights_path(arguments.workdir, arguments.model)
        sam = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", str(path), device="cpu")
    else:
        from segment_anything import SamAutomaticMaskGenerator as Generator, sam_model_registry

        sam = sam_model_registry["vit_b"](checkpoint=str(arguments.workdir / "sam_vit_b.pth"))
    generator = Generator(
        sam, points_per_side=arguments.points_per_side, pred_iou_thresh=0.0, stability_score_thresh=0.0,
        output_mode="coco_rle")
    picture = np.array(Image.open(arguments.image).convert("RGB"))
    encode, encoding = generator.predictor.set_image, []

    def timed_encode(*image):
        start = time.perf_counter()
        encode(*image)
        encoding.append(time.perf_counter() - start)

    def call():
        return np.array([len(generator.generate(picture))], dtype=np.float32)

    generator.predictor.set_image = timed_encode
    call.encode_s = encoding
    return call


PEERS = {"pytorch": pytorch, "onnxruntime": onnxruntime, "openvino": openvino, "openvino-int8": openvino_int8}


def run(arguments):
    if arguments.tool == "pytorch":
        import torch  # only here: it would count in the memory of the others

        torch.set_grad_enabled(False)
    load = pytorch_everything if arguments.work == "everything" else PEERS[arguments.tool]
    call = load(arguments)
    load_s = time.perf_counter() - PROCESS_START
    result, times, processor = call(), [], []
    for _ in range(arguments.repeat):
        start, start_processor = time.perf_counter(), time.process_time()
        result = call()
        times.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    flat = result.reshape(-1)
    extra = {"encode_s": call.encode_s[-arguments.repeat:]} if hasattr(call, "encode_s") else {}
    print(json.dumps(extra | {
        "times_s": times, "cpu_s": processor, "load_s": load_s, "peak_rss_bytes": peak_rss_bytes(),
        "dtype": "int8" if arguments.tool == "openvino-int8" else "f32",
        "sample": [float(value) for value in flat[:: max(1, flat.size // 1000)]],
    }))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "prepare", "export", "quantise", "reference", "loss"])
    parser.add_argument("--tool", choices=list(PEERS))
    parser.add_argument("--work", choices=["encode", "decode", "everything"])
    parser.add_argument("--model", choices=["vit_b", "mobile_sam", "sam2_tiny"], default="vit_b")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--mobilesam-path", type=Path)
    parser.add_argument("--sam2-path", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--points-per-side", type=int, default=16)
    parser.add_argument("--calibrate", type=Path, help="segpack or folder of pictures")
    parser.add_argument("--calibrate-images", type=int, default=16)
    parser.add_argument("--outputs", type=Path, help="for loss: what `samovar forward` wrote")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.action in ("prepare", "export", "reference"):
        import torch  # only here: it would count in the memory of the others

        torch.set_grad_enabled(False)
    {"run": run, "prepare": prepare, "export": export, "quantise": quantise, "reference": reference,
     "loss": loss}[arguments.action](arguments)


if __name__ == "__main__":
    main()
