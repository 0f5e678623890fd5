"""Runs variants of the training one after the other, each for the same number of pictures or seconds from the same start,
and prints rows for ../ABLATIONS.md.

    python ablate.py --seconds 420 --out runs/ablations --only base,boundary,levels -- --phases 256x128x4:1

Everything after -- goes to every variant. The dev figures are of the shard's small dev pack; the columns are differences
to `base` where `base` is among the variants. With 7 variants in 420 seconds each one has a minute, measuring included.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

VARIANTS = {
    "base": [],
    "fine": ["--fine", "8"],
    "boundary": ["--boundary", "0.5"],
    "fine+boundary": ["--fine", "8", "--boundary", "0.5"],
    "click-scales": ["--click-scales", "6"],
    "part-negatives": ["--part-negatives", "0.5"],
    "panoptic-parts": ["--mix", "panoptic=0.12,parts=0.26", "--background", "0.4"],
    "occlude": ["--paste", "0.5", "--occlude", "0.7"],
    "levels": ["--levels", "0.5"],
    "choice": ["--choice", "0.1"],
    "levels+choice": ["--levels", "0.5", "--choice", "0.1"],
    "size-416": ["--size", "416", "--phases", "288x96x4:0.4,416x52x4:0.6"],
    "distill": ["--distill", "1"],
    "round-weights": ["--round-weights", "20"],
}
SHOWN = ["one_click", "chosen_of_3", "oracle_of_3", "box", "clicks_10", "boundary_f_1", "boundary_f_box", "boundary_f_10",
         "predicted_iou_pearson", "choice_beats_single"]


def row(name, told, base):
    figures = told["dev"]["all"]
    cells = []
    for f in SHOWN:
        v = figures.get(f, float("nan"))
        cells.append(f"{v:.3f}" + (f" ({v - base['dev']['all'][f]:+.3f})" if base and base is not told else ""))
    return f"| {name} | {told['images']:,} | " + " | ".join(cells) + " |"


def main():
    argv, rest = sys.argv[1:], []
    if "--" in argv:
        argv, rest = argv[:argv.index("--")], argv[argv.index("--") + 1:]
    a = argparse.ArgumentParser()
    a.add_argument("--seconds", type=float, default=420, help="for all variants together")
    a.add_argument("--reserve", type=float, default=25, help="seconds of each for measuring")
    a.add_argument("--out", default=os.path.join(HERE, "..", "runs", "ablations"))
    a.add_argument("--only", default=",".join(VARIANTS))
    a.add_argument("--keep-weights", action="store_true", help="also keep every variant's file")
    a = a.parse_args(argv)
    names = a.only.split(",")
    if unknown := [n for n in names if n not in VARIANTS]:
        sys.exit(f"no such variants: {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    os.makedirs(a.out, exist_ok=True)
    told, work = {}, tempfile.mkdtemp(prefix="nano-ablations-")
    for name in names:
        out = os.path.join(work, name)
        command = [sys.executable, os.path.join(HERE, "fit.py"), "--seconds", str(a.seconds / len(names)), "--reserve",
                   str(a.reserve), "--out", out, "--check-seconds", "1e9", *rest, *VARIANTS[name]]
        print(f"== {name}", flush=True)
        with open(os.path.join(a.out, "log.txt"), "a") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
        if code:
            print(f"{name} failed with {code}; see log.txt", flush=True)
            continue
        told[name] = json.load(open(os.path.join(out, "report.json")))
        if a.keep_weights:
            shutil.move(os.path.join(out, "nano.safetensors"), os.path.join(a.out, f"{name}.safetensors"))
        json.dump(told, open(os.path.join(a.out, "ablations.json"), "w"), indent=1)
        print(row(name, told[name], told.get("base")), flush=True)
    lines = ["| variant | pictures | " + " | ".join(SHOWN) + " |", "|---" * (len(SHOWN) + 2) + "|"]
    lines += [row(name, t, told.get("base")) for name, t in told.items()]
    open(os.path.join(a.out, "ablations.md"), "w").write("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
