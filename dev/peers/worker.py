"""One peer, one job, one process: what run.py starts for every measurement. Prints one JSON document.

    python worker.py run --tool pytorch|onnxruntime|openvino --work encode|decode|everything --model vit_b|mobile_sam
                         --workdir DIR --threads N --repeat N
    python worker.py prepare --model vit_b|mobile_sam --workdir DIR [--mobilesam-path DIR]
    python worker.py export --work encode|decode --model ... --workdir DIR

`prepare` writes seeded weights and inputs, `export` the ONNX file that ONNX Runtime and OpenVINO share; both are done
once per work folder. `run` times nothing but the call itself, after one call to warm up; imports and loading are
reported apart.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "goldens"))
PROCESS_START = time.perf_counter()


def peak_rss_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024


# ------------------------------------------------------------------------------------------ weights and inputs


def weights_path(workdir, model):
    return workdir / {"vit_b": "sam_vit_b", "mobile_sam": "mobile_sam.pt"}[model]


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
        else:
            torch.save(full_size.mobile_sam_model(arguments.mobilesam_path).state_dict(), path)
    inputs = workdir / "inputs.safetensors"
    if not inputs.exists():
        save_file({
            "pixel_values": full_size.pixels(),
            "image_embeddings": full_size.common.normal(1, "image_embeddings", (1, 256, 64, 64)),
            "input_points": torch.tensor([[[[412.5, 300.0]]]]),
        }, inputs)


def torch_module(work, model, workdir, mobilesam_path):
    """The module that does the work, and its inputs by name: what is timed, and what is exported."""
    import full_size
    import torch
    from safetensors.torch import load_file

    inputs = load_file(workdir / "inputs.safetensors")
    labels = torch.ones(1, 1, 1, dtype=torch.int64)
    if model == "vit_b":
        from transformers import SamModel

        sam = SamModel.from_pretrained(weights_path(workdir, model)).eval()
    else:
        sam = full_size.mobile_sam_model(mobilesam_path)
        sam.load_state_dict(torch.load(weights_path(workdir, model), weights_only=True))
        sam.eval()

    class Encode(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = sam.vision_encoder if model == "vit_b" else sam.image_encoder

        def forward(self, pixel_values):
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
    module, inputs = torch_module(arguments.work, arguments.model, arguments.workdir, arguments.mobilesam_path)
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


# ----------------------------------------------------------------------------------------------------- peers


def pytorch(arguments):
    import torch

    torch.set_num_threads(arguments.threads)
    module, inputs = torch_module(arguments.work, arguments.model, arguments.workdir, arguments.mobilesam_path)

    def call():
        result = module(*inputs.values())
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
    return lambda: session.run(None, inputs)[0]


def openvino(arguments):
    import openvino as ov

    core = ov.Core()
    compiled = core.compile_model(core.read_model(onnx_path(arguments)), "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": arguments.threads, "PERFORMANCE_HINT": "LATENCY"})
    inputs = numpy_inputs(arguments)
    request = compiled.create_infer_request()
    return lambda: request.infer(inputs)[compiled.output(0)].copy()


def pytorch_everything(arguments):
    """Upstream's generator on the original file, nothing filtered by score."""
    import numpy as np
    import torch
    from PIL import Image
    from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

    torch.set_num_threads(arguments.threads)
    sam = sam_model_registry["vit_b"](checkpoint=str(arguments.workdir / "sam_vit_b.pth"))
    generator = SamAutomaticMaskGenerator(
        sam, points_per_side=arguments.points_per_side, pred_iou_thresh=0.0, stability_score_thresh=0.0,
        output_mode="coco_rle")
    picture = np.array(Image.open(arguments.image).convert("RGB"))
    return lambda: np.array([len(generator.generate(picture))], dtype=np.float32)


PEERS = {"pytorch": pytorch, "onnxruntime": onnxruntime, "openvino": openvino}


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
    print(json.dumps({
        "times_s": times, "cpu_s": processor, "load_s": load_s, "peak_rss_bytes": peak_rss_bytes(), "dtype": "f32",
        "sample": [float(value) for value in flat[:: max(1, flat.size // 1000)]],
    }))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "prepare", "export"])
    parser.add_argument("--tool", choices=list(PEERS))
    parser.add_argument("--work", choices=["encode", "decode", "everything"])
    parser.add_argument("--model", choices=["vit_b", "mobile_sam"], default="vit_b")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--mobilesam-path", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--points-per-side", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.action == "run":
        run(arguments)
        return
    import torch

    torch.set_grad_enabled(False)
    {"prepare": prepare, "export": export}[arguments.action](arguments)


if __name__ == "__main__":
    main()
