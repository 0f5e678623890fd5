"""samovar beside its peers: same input, same threads, one run.

    python run.py encode  --samovar ../../target/release/samovar --workdir DIR
    python run.py decode  --samovar ... --workdir DIR --model mobile_sam --mobilesam-path DIR
    python run.py everything --samovar ... --workdir DIR        no mask filtered by its scores
    python run.py startup --samovar ...                         process start to written mask

Every measurement is a fresh process; the tools take turns for --rounds rounds, so that a machine growing warm or busy
hurts all alike. Reported: median, fastest and slowest call (warm, --repeat calls per process), processor time per call,
time from process start to the first call, the largest resident memory the kernel saw for the process, and the ratio of
samovar's median to the peer's (below 1: samovar is faster). All peers' outputs are compared with PyTorch's. --json FILE
keeps everything, with versions and the state of the machine; without --samovar only the peers run.

Peers: PyTorch (transformers SamModel, or upstream MobileSAM, eager), ONNX Runtime and OpenVINO (f32) on the same ONNX
export. Weights are seeded, saved once in --workdir (1.2 GB with the exports). This process stays small on purpose: a
child's peak memory as reported by the kernel can include its parent's.
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

    def measure(self):
        a = self.arguments
        text, _, peak = start(worker_command(a, "run") + [
            "--tool", self.tool, "--threads", a.threads, "--repeat", a.repeat, "--image", a.image,
            "--points-per-side", a.points_per_side], a.threads, a.cpus)
        return last_json(text) | {"peak_rss_bytes": peak}


class Samovar:
    """`samovar bench`, which warms up, repeats and reports by itself."""

    def __init__(self, arguments):
        self.arguments = arguments

    def measure(self):
        a = self.arguments
        model = a.workdir / {"vit_b": "sam_vit_b", "mobile_sam": "mobile_sam.pt"}[a.model]
        if a.work == "everything":
            with tempfile.TemporaryDirectory() as folder:
                _, wall, peak = start([
                    a.samovar, "everything", a.image, "--model", model, "--out", Path(folder) / "masks.json",
                    "--points-per-side", a.points_per_side, "--pred-iou-thresh", 0, "--stability-score-thresh", 0], a.threads, a.cpus)
            return {"times_s": [wall], "load_s": 0.0, "peak_rss_bytes": peak, "dtype": "f32", "with_start": True}
        text, _, peak = start([
            a.samovar, "bench", a.work, "--model", model, "--dtype", a.dtype, "--threads", a.threads, "--repeat",
            a.repeat, "--json"], a.threads, a.cpus)
        result = last_json(text)
        times = [result["median_s"], result["min_s"], result["max_s"]]
        return result | {"times_s": times, "peak_rss_bytes": peak}


class Startup:
    """A whole process, from nothing to the end."""

    def __init__(self, command, arguments):
        self.command, self.arguments = command, arguments

    def measure(self):
        _, wall, peak = start(self.command, self.arguments.threads, self.arguments.cpus)
        return {"times_s": [wall], "load_s": 0.0, "peak_rss_bytes": peak}


def worker_command(arguments, action):
    command = [arguments.python, WORKER, action, "--workdir", arguments.workdir, "--model", arguments.model]
    if arguments.work in ("encode", "decode", "everything") and action != "prepare":
        command += ["--work", arguments.work]
    if arguments.mobilesam_path:
        command += ["--mobilesam-path", arguments.mobilesam_path]
    return command


def tools(arguments):
    found = {}
    if arguments.work == "startup":
        if arguments.samovar:
            mask = Path(tempfile.gettempdir()) / f"samovar-startup-{os.getpid()}.png"
            found["samovar"] = Startup(
                [arguments.samovar, "segment", arguments.image, "--point", "40,30", "--out", mask], arguments)
        for name, modules in {"torch": "torch", "torch+transformers": "torch, transformers",
                              "onnxruntime": "onnxruntime", "openvino": "openvino"}.items():
            found[f"import {name}"] = Startup([arguments.python, "-c", f"import {modules}"], arguments)
        return found
    if arguments.samovar:
        found["samovar"] = Samovar(arguments)
    for peer in arguments.peers.split(","):
        if peer and (arguments.work != "everything" or peer == "pytorch"):
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
            "'onnx', 'segment-anything', 'timm')}))")
    return json.loads(subprocess.run([python, "-c", code], capture_output=True, check=True, text=True).stdout)


def table(results):
    ours = results.get("samovar")
    rows = [("", "median s", "min s", "max s", "cpu s", "load s", "peak MB", "samovar/peer", "memory", "apart")]
    for name, r in results.items():
        rows.append((
            name, f"{r['median_s']:.3f}", f"{r['min_s']:.3f}", f"{r['max_s']:.3f}",
            f"{r['cpu_s']:.3f}" if r["cpu_s"] else "", f"{r['load_s']:.2f}", f"{r['peak_rss_bytes'] / 1e6:.0f}",
            f"{ours['median_s'] / r['median_s']:.2f}" if ours and r is not ours else "",
            f"{ours['peak_rss_bytes'] / r['peak_rss_bytes']:.2f}" if ours and r is not ours else "",
            f"{r['apart']:.0e}" if r.get("apart") else ""))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(
        cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
        for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["encode", "decode", "everything", "startup"])
    parser.add_argument("--samovar", type=Path, help="the binary; without it only the peers run")
    parser.add_argument("--model", choices=["vit_b", "mobile_sam"], default="vit_b")
    parser.add_argument("--mobilesam-path", type=Path, help="checkout of ChaoningZhang/MobileSAM")
    parser.add_argument("--peers", default="pytorch,onnxruntime,openvino")
    parser.add_argument("--dtype", default="f32", help="samovar's; the peers always run f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpus", type=lambda text: [int(part) for part in text.split(",")], help="pin to these, as 0,1")
    parser.add_argument("--repeat", type=int, help="calls per process (default: 3, decode 30, everything 1)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workdir", type=Path, help="weights and exports are kept here")
    parser.add_argument("--image", type=Path, default=PICTURE, help="for everything and startup")
    parser.add_argument("--points-per-side", type=int, default=16, help="for everything")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers")
    parser.add_argument("--json", type=Path, help="write everything here")
    arguments = parser.parse_args()
    if arguments.work != "startup" and not arguments.workdir:
        parser.error("--workdir is needed")
    if arguments.model == "mobile_sam" and not arguments.mobilesam_path:
        parser.error("mobile_sam needs --mobilesam-path")
    if arguments.work == "everything" and arguments.model != "vit_b":
        parser.error("everything is measured with vit_b")
    arguments.repeat = arguments.repeat or {"decode": 30, "everything": 1}.get(arguments.work, 3)

    if arguments.work != "startup":
        start(worker_command(arguments, "prepare"), arguments.threads, arguments.cpus)
        if arguments.work != "everything" and {"onnxruntime", "openvino"} & set(arguments.peers.split(",")):
            start(worker_command(arguments, "export"), arguments.threads, arguments.cpus)

    found, rounds, failed = machine(), {}, {}
    for turn in range(arguments.rounds):
        for name, tool in tools(arguments).items():
            if name in failed:
                continue
            print(f"round {turn + 1} of {arguments.rounds}: {name}", file=sys.stderr)
            try:
                rounds.setdefault(name, []).append(tool.measure())
            except (OSError, RuntimeError) as error:
                failed[name] = str(error)
                rounds.pop(name)
                print(f"{name} failed: {error}", file=sys.stderr)
    results = {name: summarise(many) for name, many in rounds.items()}
    reference = rounds.get("pytorch", [{}])[0].get("sample")
    for name, many in rounds.items():
        if reference and "sample" in many[0] and name != "pytorch":
            results[name]["apart"] = disagreement(many[0]["sample"], reference)

    print(f"{arguments.work} {arguments.model if arguments.work != 'startup' else ''} threads {arguments.threads}, "
          f"{arguments.rounds} rounds of {arguments.repeat}")
    print(table(results))
    if arguments.json:
        settings = {name: str(getattr(arguments, name)) for name in ("work", "model", "dtype", "threads", "repeat", "rounds")}
        found["load_average_after"] = [round(value, 2) for value in os.getloadavg()]
        arguments.json.write_text(json.dumps({
            "settings": settings, "machine": found, "versions": versions(arguments.python), "results": results,
            "failed": failed,
        }, indent=1) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
