"""samovar beside its peers: same input, same threads, one run.

    python run.py encode  --samovar ../../target/release/samovar --workdir DIR
    python run.py encode  --samovar ... --workdir DIR --dtype f32,int8 --calibrate PACK    with openvino-int8
    python run.py decode  --samovar ... --workdir DIR --model mobile_sam --mobilesam-path DIR
    python run.py encode  --samovar ... --workdir DIR --model sam2_tiny --sam2-path DIR
    python run.py everything --samovar ... --workdir DIR        no mask filtered by its scores
    python run.py track   --samovar ... --workdir DIR           SAM 2.1 tiny through a clip: 1 and 5 objects (track.py)
    python run.py startup --samovar ...                         process start to written mask
    python run.py masks   --samovar ... --pack PACK [--limit 3 --per-image 2]    IoU and boundary F beside GrabCut and flood fill
    python run.py all     --samovar ... --workdir DIR --mobilesam-path DIR --calibrate PACK    one table of ratios

Every measurement is a fresh process; the tools take turns for --rounds rounds, so that a machine growing warm or busy
hurts all alike. Reported: median, fastest and slowest call (warm, --repeat calls per process), processor time per call,
time from process start to the first call, the largest resident memory the kernel saw for the process, and the ratio of
samovar's median to the peer's (below 1: samovar is faster); 8 bits are held against 8 bits. All peers' outputs are
compared with PyTorch's. --json FILE keeps everything, with versions and the state of the machine; without --samovar only
the peers run.

Peers: PyTorch (transformers SamModel, or upstream MobileSAM or SAM 2, eager), ONNX Runtime and OpenVINO (f32) on the same ONNX
export; with --calibrate PACK|DIR also OpenVINO in 8 bits, quantised by NNCF. With 8 or 16 bits comes the loss: cosine and
relative error of image_embeddings, relative error of the decoder's logits, and IoU of masks, against PyTorch in f32, over
two pictures that were not calibrated with (one of noise without --calibrate) and eight clicks on each.

Weights are seeded, saved once in --workdir (1.3 GB with the exports). This process stays small on purpose: a child's peak
memory as reported by the kernel can include its parent's.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import summary
import track

HERE = Path(__file__).resolve().parent
WORKER = HERE / "worker.py"
PICTURE = HERE.parent / "goldens" / "automatic" / "shapes.png"


def start(command, threads, cpus):
    """Runs to the end; (stdout, wall seconds, peak resident bytes). Raises with the command's own words on failure."""
    environment = os.environ | {name: str(threads) for name in (
        "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")}
    command = [str(part) for part in command]
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            command, stdout=output, stderr=complaints, env=environment,
            preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0), complaints.seek(0)
        text = output.read().decode()
        if child.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{complaints.read().decode()[-2000:]}")
    return text, wall, usage.ru_maxrss * 1024


def last_json(text):
    """The JSON document on the last line that is one; libraries may chat before it."""
    try:
        return json.loads(text)
    except ValueError:
        return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


# ----------------------------------------------------------------------------------------------------- tools


class Worker:
    """A peer in Python."""

    def __init__(self, tool, arguments):
        self.tool, self.arguments = tool, arguments
        self.dtype = "int8" if tool.endswith("int8") else "f32"

    def measure(self):
        a = self.arguments
        command = worker_command(a, "run") + ["--tool", self.tool, "--repeat", a.repeat, "--image", a.image]
        if a.work == "everything":
            command += ["--points-per-side", a.peer_points_per_side]
        text, _, peak = start(command, a.threads, a.cpus)
        return last_json(text) | {"peak_rss_bytes": peak}

    def loss(self):
        a = self.arguments
        return last_json(start(worker_command(a, "loss") + ["--tool", self.tool], a.threads, a.cpus)[0])


class Samovar:
    """`samovar bench`, which warms up, repeats and reports by itself."""

    def __init__(self, arguments, dtype, binary):
        self.arguments, self.dtype, self.binary = arguments, dtype, binary
        self.model = arguments.workdir / {
            "vit_b": "sam_vit_b", "mobile_sam": "mobile_sam.pt", "sam2_tiny": "sam2.1_hiera_tiny.pt"}[arguments.model]
        self.options = ["--model", self.model, "--threads", arguments.threads]
        if dtype != "f32":
            self.options += ["--dtype", dtype]

    def measure(self):
        a = self.arguments
        if a.work == "everything":
            with tempfile.TemporaryDirectory() as folder:
                _, wall, peak = start([
                    self.binary, "everything", a.image, *self.options, "--out", Path(folder) / "masks.json",
                    "--points-per-side", a.points_per_side, "--pred-iou-thresh", 0, "--stability-score-thresh", 0],
                    a.threads, a.cpus)
            return {"times_s": [wall], "load_s": 0.0, "peak_rss_bytes": peak, "dtype": self.dtype, "with_start": True}
        text, _, peak = start([
            self.binary, "bench", a.work, *self.options, "--repeat", a.repeat, "--json"], a.threads, a.cpus)
        result = last_json(text)
        times = [result["median_s"], result["min_s"], result["max_s"]]
        return result | {"times_s": times, "peak_rss_bytes": peak}

    def loss(self):
        a = self.arguments
        with tempfile.TemporaryDirectory() as folder:
            outputs = Path(folder) / "out.safetensors"
            inputs = a.workdir / f"{a.model}.{'pictures' if a.calibrate else 'noise'}.inputs.safetensors"
            start([self.binary, "forward", *self.options, "--inputs", inputs, "--outputs", outputs], a.threads, a.cpus)
            return last_json(start(worker_command(a, "loss") + ["--outputs", outputs], a.threads, a.cpus)[0])


class Startup:
    """A whole process, from nothing to the end."""

    dtype = "f32"

    def __init__(self, command, arguments):
        self.command, self.arguments = command, arguments

    def measure(self):
        _, wall, peak = start(self.command, self.arguments.threads, self.arguments.cpus)
        return {"times_s": [wall], "load_s": 0.0, "peak_rss_bytes": peak}


def worker_command(arguments, action):
    command = [arguments.python, WORKER, action, "--workdir", arguments.workdir, "--model", arguments.model,
               "--threads", arguments.threads]
    if action in ("run", "export"):
        command += ["--work", arguments.work]
    if arguments.mobilesam_path:
        command += ["--mobilesam-path", arguments.mobilesam_path]
    if arguments.sam2_path:
        command += ["--sam2-path", arguments.sam2_path]
    if arguments.calibrate:
        command += ["--calibrate", arguments.calibrate, "--calibrate-images", arguments.calibrate_images]
    return command


def binaries(arguments):
    """The binary that is measured, and the one before a change beside it, as one more tool to hold it against."""
    named = {"samovar": arguments.samovar, "before": arguments.before}
    return {name: binary for name, binary in named.items() if binary}


def tools(arguments):
    found = {}
    if arguments.work == "startup":
        for name, binary in binaries(arguments).items():
            mask = Path(tempfile.gettempdir()) / f"samovar-startup-{os.getpid()}.png"
            found[name] = Startup([binary, "segment", arguments.image, "--point", "40,30", "--out", mask], arguments)
        for name, modules in {"torch": "torch", "torch+transformers": "torch, transformers",
                              "onnxruntime": "onnxruntime", "openvino": "openvino"}.items():
            found[f"import {name}"] = Startup([arguments.python, "-c", f"import {modules}"], arguments)
        return found
    for dtype in arguments.dtype.split(",") if arguments.samovar else ():
        for name, binary in binaries(arguments).items():
            found[name if dtype == "f32" else f"{name}-{dtype}"] = Samovar(arguments, dtype, binary)
    works = {"everything": ["pytorch"], "decode": ["pytorch", "onnxruntime", "openvino"]}
    for peer in filter(None, arguments.peers.split(",")):
        if peer in works.get(arguments.work, [peer]):
            found[peer] = Worker(peer, arguments)
    return found


# --------------------------------------------------------------------------------------------------- results


def disagreement(sample, reference):
    """Largest difference over the standard deviation of the reference sample."""
    spread = statistics.pstdev(reference) or 1.0
    return max(abs(a - b) for a, b in zip(sample, reference, strict=True)) / spread


def summarise(rounds):
    times = [value for one in rounds for value in one["times_s"]]
    processor = [value for one in rounds for value in one.get("cpu_s", [])]
    return {
        "median_s": statistics.median(times), "min_s": min(times), "max_s": max(times),
        "cpu_s": statistics.median(processor) if processor else None,
        "load_s": statistics.median(one["load_s"] for one in rounds),
        "peak_rss_bytes": max(one["peak_rss_bytes"] for one in rounds),
        "rounds": [{key: value for key, value in one.items() if key != "sample"} for one in rounds],
    }


def machine():
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor())
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(),
            "load_average_before": [round(value, 2) for value in os.getloadavg()]}


def versions(python):
    code = ("import importlib.metadata as m, json; print(json.dumps({d.metadata['Name'].lower(): d.version for d in "
            "m.distributions() if d.metadata['Name'].lower() in ('torch', 'transformers', 'onnxruntime', 'openvino', "
            "'onnx', 'nncf', 'segment-anything', 'timm')}))")
    return json.loads(subprocess.run([python, "-c", code], capture_output=True, check=True, text=True).stdout)


def table(results):
    rows = [("", "median s", "min s", "max s", "cpu s", "load s", "peak MB", "samovar/peer", "memory", "apart")]
    for name, r in results.items():
        ours = None if name.startswith("samovar") else summary.counterpart(results, r)
        rows.append((
            name, f"{r['median_s']:.3f}", f"{r['min_s']:.3f}", f"{r['max_s']:.3f}",
            f"{r['cpu_s']:.3f}" if r["cpu_s"] else "", f"{r['load_s']:.2f}", f"{r['peak_rss_bytes'] / 1e6:.0f}",
            f"{ours['median_s'] / r['median_s']:.2f}" if ours else "",
            f"{ours['peak_rss_bytes'] / r['peak_rss_bytes']:.2f}" if ours else "",
            f"{r['apart']:.0e}" if r.get("apart") else ""))
    text = aligned(rows)
    rows = [("loss against f32", "cosine", "embeddings", "logits", "mask IoU", "worst")]
    for name, r in results.items():
        if lost := r.get("loss"):
            rows.append((
                name, f"{lost['embedding_cosine']:.6f}", f"{lost['embedding_error']:.1e}", f"{lost['logits_error']:.1e}",
                f"{lost['mask_iou']:.4f}", f"{lost['worst_mask_iou']:.4f}"))
    return text + ("\n\n" + aligned(rows) if len(rows) > 1 else "")


def aligned(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(
        cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
        for row in rows)


# ---------------------------------------------------------------------------------------------------- the runs


def prepare(arguments):
    """What the tools need in the work folder, made once."""
    if arguments.work == "startup":
        return
    steps = [("prepare", arguments.work)]
    peers = set(arguments.peers.split(","))
    if arguments.work != "everything" and peers & {"onnxruntime", "openvino", "openvino-int8"}:
        steps.append(("export", arguments.work))
    if arguments.work == "encode" and wants_loss(arguments):
        # The loss is that of the masks, so a decoder is needed; always the same one, in f32.
        steps += [("export", "decode"), ("reference", "encode")]
    if arguments.work == "encode" and "openvino-int8" in peers:
        steps.append(("quantise", "encode"))
    for action, work in steps:
        command = worker_command(argparse.Namespace(**vars(arguments) | {"work": work}), action)
        start(command, arguments.threads, arguments.cpus)


def wants_loss(arguments):
    return arguments.work == "encode" and any(tool.dtype != "f32" for tool in tools(arguments).values())


def measure(arguments):
    """All tools in turn; (results by tool, complaints by tool)."""
    prepare(arguments)
    rounds, failed, found = {}, {}, tools(arguments)
    losses = {}

    def attempt(name, work):
        try:
            return work()
        except (OSError, RuntimeError) as error:
            failed[name] = str(error)
            rounds.pop(name, None)
            print(f"{name} failed: {error}", file=sys.stderr)

    for turn in range(arguments.rounds):
        for name, tool in found.items():
            if name not in failed:
                print(f"round {turn + 1} of {arguments.rounds}: {name}", file=sys.stderr)
                if one := attempt(name, tool.measure):
                    rounds.setdefault(name, []).append(one)
    if wants_loss(arguments):
        for name, tool in found.items():
            if name not in failed and (tool.dtype != "f32" or name == "samovar"):
                print(f"loss: {name}", file=sys.stderr)
                losses[name] = attempt(name, tool.loss)
    results = {name: summarise(many) | {"dtype": found[name].dtype} for name, many in rounds.items()}
    reference = rounds.get("pytorch", [{}])[0].get("sample")
    for name, many in rounds.items():
        if reference and "sample" in many[0] and name != "pytorch":
            results[name]["apart"] = disagreement(many[0]["sample"], reference)
        if losses.get(name):
            results[name]["loss"] = losses[name]
    return results, failed


def document(arguments):
    """One work, measured and printed; what --json writes."""
    found = machine()
    results, failed = measure(arguments)
    model = f" {arguments.model}" if arguments.work != "startup" else ""
    print(f"{arguments.work}{model}, {arguments.threads} threads, {arguments.rounds} rounds of {arguments.repeat}")
    print(table(results), flush=True)
    names = ("work", "model", "dtype", "threads", "repeat", "rounds", "points_per_side", "peer_points_per_side")
    found["load_average_after"] = [round(value, 2) for value in os.getloadavg()]
    return {
        "settings": {name: getattr(arguments, name) for name in names}, "machine": found,
        "versions": versions(arguments.python), "results": results, "failed": failed}


def settle(arguments, **changes):
    """The arguments of one work, with what depends on it filled in."""
    one = argparse.Namespace(**vars(arguments) | changes)
    one.repeat = one.repeat or {"decode": 30, "everything": 1}.get(one.work, 3)
    one.rounds = one.rounds or (5 if one.work == "startup" else 1 if one.work == "everything" else 3)
    one.peer_points_per_side = one.peer_points_per_side or one.points_per_side
    if one.calibrate and one.work == "encode" and "openvino" in one.peers.split(","):
        one.peers += ",openvino-int8" if "openvino-int8" not in one.peers else ""
    return one


def run_all(arguments):
    """Every figure of the summary; each work is kept in the work folder, so that a broken run goes on."""
    kept = arguments.workdir / "all"
    kept.mkdir(parents=True, exist_ok=True)
    both = "f32,int8" if arguments.dtype == "f32" else arguments.dtype
    works = {
        "encode-vit_b": dict(work="encode", model="vit_b", dtype=both),
        "encode-mobile_sam": dict(work="encode", model="mobile_sam", dtype=both),
        "decode-vit_b": dict(work="decode", model="vit_b", dtype="f32"),
        "everything-vit_b": dict(
            work="everything", model="vit_b", dtype="f32", points_per_side=arguments.points_per_side or 32,
            peer_points_per_side=arguments.peer_points_per_side or 16),
        "startup": dict(work="startup", dtype="f32"),
    }
    documents = {}
    for name, changes in works.items():
        path = kept / f"{name}.json"
        if arguments.again or not path.exists():
            one = document(settle(arguments, **changes))
            if not one["failed"]:
                path.write_text(json.dumps(one, indent=1) + "\n")
            documents[name] = one
        else:
            print(f"{name}: kept from before, {path}", file=sys.stderr)
            documents[name] = json.loads(path.read_text())
    text = summary.markdown(documents)
    (kept / "summary.md").write_text(text)
    print(f"\n{text}")
    return documents


def run_masks(arguments):
    """`samovar eval`, then GrabCut and flood fill on the same masks with the same prompts, one table; the exit code."""
    options = ["--model", arguments.weights, "--threads", arguments.threads, "--seed", arguments.seed]
    for name in ("limit", "per_image"):
        if getattr(arguments, name):
            options += [f"--{name.replace('_', '-')}", getattr(arguments, name)]
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "figures.json"
        with open(prompts, "wb") as file:
            command = [arguments.samovar, "eval", arguments.pack, *options, "--json"]
            subprocess.run([str(part) for part in command], stdout=file, check=True)
        command = [arguments.python, HERE / "grabcut.py", arguments.pack, "--prompts", prompts, "--threads", arguments.threads]
        if arguments.json:
            command += ["--json", arguments.json]
        return subprocess.run([str(part) for part in command]).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["encode", "decode", "everything", "track", "startup", "masks", "all"])
    parser.add_argument("--samovar", type=Path, help="the binary; without it only the peers run")
    parser.add_argument("--before", type=Path, help="the binary before a change, measured beside it")
    parser.add_argument("--model", choices=["vit_b", "mobile_sam", "sam2_tiny"], default="vit_b")
    parser.add_argument("--mobilesam-path", type=Path, help="checkout of ChaoningZhang/MobileSAM")
    parser.add_argument("--sam2-path", type=Path, help="checkout of facebookresearch/sam2")
    parser.add_argument("--peers", default="pytorch,onnxruntime,openvino")
    parser.add_argument("--dtype", default="f32", help="samovar's, as f32, f16, int8 or several: f32,int8")
    parser.add_argument("--calibrate", type=Path, metavar="PACK|DIR",
                        help="pictures to quantise OpenVINO's encoder with; adds the peer openvino-int8")
    parser.add_argument("--calibrate-images", type=int, default=16, help="so many of them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpus", type=lambda text: [int(part) for part in text.split(",")], help="pin to these, as 0,1")
    parser.add_argument("--repeat", type=int, help="calls per process (default: 3, decode 30, everything 1)")
    parser.add_argument("--rounds", type=int, help="processes per tool (default: 3, startup 5, everything 1)")
    parser.add_argument("--workdir", type=Path, help="weights and exports are kept here")
    parser.add_argument("--objects", default="1,5", help="for track: how many, several in turn (default: 1,5)")
    parser.add_argument("--image", type=Path, default=PICTURE, help="for everything and startup")
    parser.add_argument("--points-per-side", type=int, help="for everything (default: 16; of all: 32)")
    parser.add_argument("--peer-points-per-side", type=int,
                        help="for PyTorch's everything, which takes minutes (default: the same; of all: 16, scaled up)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--again", action="store_true", help="for all: measure what the work folder has, too")
    parser.add_argument("--pack", type=Path, help="for masks: pictures with known masks (.segpack)")
    parser.add_argument("--weights", default="nano", help="for masks: the model, as samovar's --model (default: nano)")
    parser.add_argument("--limit", type=int, help="for masks: pictures of each source, drawn by --seed (default: all)")
    parser.add_argument("--per-image", type=int, help="for masks: masks of each picture, drawn by --seed (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="for masks")
    arguments = parser.parse_args()
    if arguments.work == "masks":
        if not arguments.samovar or not arguments.pack:
            parser.error("masks needs --samovar and --pack")
        sys.exit(run_masks(arguments))
    if arguments.work != "startup" and not arguments.workdir:
        parser.error("--workdir is needed")
    if (arguments.model == "mobile_sam" or arguments.work == "all") and not arguments.mobilesam_path:
        parser.error("--mobilesam-path is needed")
    if arguments.model == "sam2_tiny" and (
            arguments.work not in ("encode", "everything") or arguments.dtype != "f32"):
        parser.error("sam2_tiny is measured with encode and everything, in f32")
    if arguments.model == "sam2_tiny" and not arguments.sam2_path:
        parser.error("--sam2-path is needed")
    if arguments.work == "everything" and arguments.model == "mobile_sam":
        parser.error("everything is measured with vit_b and sam2_tiny")
    if "openvino-int8" in arguments.peers and not arguments.calibrate:
        parser.error("openvino-int8 needs --calibrate")
    if arguments.work == "all":
        documents = run_all(arguments)
    elif arguments.work == "track":
        found = machine()
        results = track.measure(arguments, binaries(arguments), start, last_json, aligned)
        found["load_average_after"] = [round(value, 2) for value in os.getloadavg()]
        documents = {"track": {
            "machine": found, "versions": versions(arguments.python), "threads": arguments.threads, "results": results, "failed": {}}}
    else:
        arguments.points_per_side = arguments.points_per_side or 16
        documents = {arguments.work: document(settle(arguments))}
    if arguments.json:
        written = documents if arguments.work == "all" else documents[arguments.work]
        arguments.json.write_text(json.dumps(written, indent=1) + "\n")
    sys.exit(1 if any(one["failed"] for one in documents.values()) else 0)


if __name__ == "__main__":
    main()
