"""Trains nano for a number of seconds on a CUDA machine from one shard, measures it, and leaves everything in one folder.

    python fit.py --seconds 450 --shard ../shard --out runs/gpu

Starts from --init (training/checkpoint.safetensors if it is there, else the shipped weights) and writes to --out:
nano.safetensors (averaged weights, f16), curves.csv and curves.png, sheet.png, report.json and report.txt. Stops by the
clock: weights are saved before anything else is done, and again every --save-seconds. `--device cpu --seconds 60 --limit
64` runs all of it, small, on a processor. All choices that ../ABLATIONS.md compares are switches here.
"""
import time

START = time.time()

import argparse  # noqa: E402
import contextlib  # noqa: E402
import csv  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..")]

import numpy as np  # noqa: E402
import torch  # noqa: E402

import evaluate  # noqa: E402
import export  # noqa: E402
import report  # noqa: E402
import steps  # noqa: E402
from clicks import EXTRA  # noqa: E402
from optimiser import optimiser  # noqa: E402
from scenes import Scenes, Shard  # noqa: E402

CHECKPOINT = os.path.join(HERE, "..", "checkpoint.safetensors")
SHIPPED = os.path.join(HERE, "..", "..", "crates", "samovar-runtime", "assets", "nano.safetensors")


def pairs(cast):
    """Parses NAME=VALUE,NAME=VALUE."""
    return lambda s: {k: cast(v) for k, v in (item.split("=") for item in s.split(",") if item)}


def numbers(s):
    return [float(x) for x in s.split(",") if x]


def parser():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    g = a.add_argument_group("the run")
    g.add_argument("--seconds", type=float, default=450, help="of wall clock for everything, from the start of the program")
    g.add_argument("--reserve", type=float, default=60, help="seconds of them kept for measuring at the end")
    g.add_argument("--shard", default=os.path.join(HERE, "..", "shard"), help="folder that make_shard.py filled")
    g.add_argument("--out", default=os.path.join(HERE, "..", "runs", "gpu"))
    g.add_argument("--init", help="file to start from")
    g.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    g.add_argument("--limit", type=int, default=0, help="use only so many pictures")
    g.add_argument("--phases", default="256x128x4:0.4,384x64x4:0.6", help="SIZExPICTURESxMASKS:SHARE of the time, ...")
    g.add_argument("--max-images", type=int, default=0, help="stop after so many pictures, for comparisons at equal work")
    g.add_argument("--save-seconds", type=float, default=60)
    g.add_argument("--check-seconds", type=float, default=90, help="between quick looks at the dev pack")
    g.add_argument("--seed", type=int, default=0)
    g.add_argument("--no-amp", dest="amp", action="store_false", help="f32 instead of bf16 autocast")
    g.add_argument("--layout", choices=["auto", "nchw", "nhwc"], default="auto", help="auto: measured at the start")
    g.add_argument("--compile", action="store_true", help="torch.compile of the mask losses")
    g.add_argument("--procs", type=int, default=min(16, os.cpu_count() or 1), help="processes that measure at the end")
    g.add_argument("--dev-per-image", type=int, default=4)
    g.add_argument("--dev-per-source", type=int, default=0)
    g.add_argument("--clicks", type=int, default=10, help="of the measurement at the end")
    g = a.add_argument_group("the optimiser")
    g.add_argument("--lr", type=float, default=6e-4)
    g.add_argument("--min-lr", type=float, default=1e-5)
    g.add_argument("--span", type=numbers, default=[0.0, 1.0], help="FROM,TO: this run's part of one cosine over several runs")
    g.add_argument("--warmup", type=int, default=100, help="steps")
    g.add_argument("--trunk-lr", type=float, default=0.4, help="factor on the trunk's learning rate")
    g.add_argument("--freeze-blocks", type=int, default=3)
    g.add_argument("--ema", type=float, default=0.999)
    g = a.add_argument_group("pictures")
    g.add_argument("--mix", type=pairs(float), default={}, help="GROUP=SHARE,...: panoptic=0.12,parts=0.25 draws them more often")
    g.add_argument("--zoom", type=float, default=0.5, help="share of pictures that are zoomed, turned and stretched")
    g.add_argument("--paste", type=float, default=0.25, help="probability of the first pasted object")
    g.add_argument("--occlude", type=float, default=0.0, help="share of pasted objects put on something labelled")
    g.add_argument("--whole", type=float, default=1.0, help="weight of the whole among its parts")
    g.add_argument("--background", type=float, default=0.2, help="probability of the background as one of the masks")
    g = a.add_argument_group("prompts")
    g.add_argument("--kinds", type=numbers, default=[0.62, 0.30, 0.08], help="shares of clicks, boxes, damaged masks")
    g.add_argument("--random-click", type=float, default=0.35, help="share of first clicks anywhere in the mask")
    g.add_argument("--random-correction", type=float, default=0.15)
    g.add_argument("--rounds", type=pairs(float), default={"1": 0.3, "2": 0.3, "3": 0.2, "5": 0.12, "8": 0.08},
                   help="ROUNDS=PROBABILITY,...")
    g.add_argument("--extra", type=float, default=0.12, help="share of batches that begin with up to 6 clicks more")
    g.add_argument("--part-negatives", type=float, default=0.0, help="see clicks.Prompts.correct")
    g = a.add_argument_group("losses")
    g.add_argument("--single", type=float, default=0.6, help="weight of the single mask for one click")
    g.add_argument("--iou", type=float, default=2.0, help="weight of the squared error of predicted IoU")
    g.add_argument("--boundary", type=float, default=0.0, help="weight of the soft boundary F")
    g.add_argument("--levels", type=float, default=0.0, help="weight of part, object and group for masks 1, 2 and 3")
    g.add_argument("--choice", type=float, default=0.0, help="weight of the choice among the three by predicted IoU")
    g.add_argument("--distill", type=float, default=0.0, help="weight of what boxes say for what one click should say")
    g.add_argument("--round-weights", type=float, default=0.0, metavar="SECONDS", help="int8 weights in the last seconds")
    g = a.add_argument_group("the network")
    g.add_argument("--one-click-rule", choices=evaluate.RULES, default="token_0", help="which mask the file says to return")
    g.add_argument("--size", type=int, default=0, help="input side of the file that is written, if not the one it had")
    g.add_argument("--fine", type=int, default=0, metavar="CHANNELS", help="mask logits at stride 2")
    g.add_argument("--click-scales", type=numbers, default=[], help="further widths of clicks in the dense map")
    return a


# What a processor gets through in a minute; each can still be given.
SMALL = {"phases": "128x4x3:1", "reserve": 35, "amp": False, "procs": 1, "dev_per_source": 1, "dev_per_image": 1, "clicks": 3}


def options(argv=None):
    a = parser()
    if a.parse_known_args(argv)[0].device == "cpu":
        a.set_defaults(**SMALL)
    return a.parse_args(argv)


def start(o, device):
    path = o.init or (CHECKPOINT if os.path.exists(CHECKPOINT) else SHIPPED)
    changes = {}
    if o.fine:
        changes["fine_dim"] = o.fine
    if o.click_scales:
        changes["click_scales"] = o.click_scales
    if o.size:
        changes["image_size"] = o.size
    net = export.load(path, **changes).train()
    print(f"starts from {os.path.relpath(path)}", flush=True)
    return net.to(device)


def phases_of(text):
    out = [(tuple(map(int, p.split(":")[0].split("x"))), float(p.split(":")[1])) for p in text.split(",")]
    total = sum(share for _, share in out)
    return [(shape, share / total) for shape, share in out]


class Curves:
    """A CSV that grows; columns are fixed by the first rows seen, so all are named here."""
    COLUMNS = ["second", "step", "images", "lr", "images_per_second", "loss", "click", "chosen", "oracle", "box", "iou_error",
               "norm", *(f"round{i}" for i in range(1, 11)), "dev_click", "dev_chosen", "dev_oracle", "dev_box"]

    def __init__(self, path):
        self.file = open(path, "w", newline="")
        self.rows = csv.DictWriter(self.file, self.COLUMNS, extrasaction="ignore")
        self.rows.writeheader()

    def add(self, **row):
        self.rows.writerow({k: (round(v, 5) if isinstance(v, float) else v) for k, v in row.items()})
        self.file.flush()
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


class Run:
    def __init__(self, o):
        self.o, self.device = o, torch.device(o.device)
        os.makedirs(o.out, exist_ok=True)
        torch.manual_seed(o.seed)
        torch.set_flush_denormal(True)
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        o.memory_format = torch.contiguous_format if o.layout == "nchw" else torch.channels_last
        self.net = start(o, self.device).to(memory_format=o.memory_format)
        self.ema, self.opt = steps.averaged(self.net), optimiser(self.net, o, fused=self.device.type == "cuda")
        self.g = torch.Generator(self.device).manual_seed(o.seed + 1)
        self.rng = np.random.default_rng(o.seed)
        self.amp = lambda: torch.autocast(self.device.type, torch.bfloat16, enabled=o.amp)
        self.shard = Shard(os.path.join(o.shard, "train.segpack"), self.device, o.limit)
        print(f"{len(self.shard)} pictures of side {self.shard.side} on {self.device} after {self.passed():.1f} s", flush=True)
        self.step_count = self.images = 0
        self.end = o.seconds - o.reserve
        self.begin = self.passed()
        self.stopped = False
        self.params = [p for group in self.opt.param_groups for p in group["params"]]
        self.figures, self.curves = {}, Curves(os.path.join(o.out, "curves.csv"))
        if o.compile:
            torch._dynamo.config.suppress_errors = True
            steps.compiled["mask_losses"] = torch.compile(steps.mask_losses, dynamic=True)

    def passed(self):
        return time.time() - START

    def rate(self):
        """The learning rate now: one cosine over all runs that share it, after a warm-up of this one."""
        part = min(1.0, max(0.0, (self.passed() - self.begin) / max(1e-9, self.end - self.begin)))
        at = self.o.span[0] + (self.o.span[1] - self.o.span[0]) * part
        lr = self.o.min_lr + (self.o.lr - self.o.min_lr) * 0.5 * (1 + math.cos(math.pi * at))
        return lr * min(1.0, (self.step_count + 1) / self.o.warmup)

    def train_on(self, batch):
        o = self.o
        rounds = int(self.rng.choice([int(r) for r in o.rounds], p=np.array(list(o.rounds.values())) / sum(o.rounds.values())))
        extra = int(self.rng.integers(1, EXTRA + 1)) if self.rng.random() < o.extra else 0
        lr = self.rate()
        for group in self.opt.param_groups:
            group["lr"] = lr * group["scale"]
        self.opt.zero_grad(set_to_none=True)
        rounding = o.round_weights > 0 and self.passed() > self.end - o.round_weights
        with steps.Rounding(self.net) if rounding else contextlib.nullcontext():
            figures = steps.step(self.net, batch, o, self.g, rounds, extra, self.amp)
        norm = torch.nn.utils.clip_grad_norm_(self.params, 2.0)
        if not torch.isfinite(norm):
            print("skipped a step: gradient not finite", flush=True)
            return
        self.opt.step()
        self.step_count += 1
        self.images += len(batch["image"])
        decay = min(o.ema, (1 + self.step_count) / (10 + self.step_count))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), [p.detach() for p in self.net.parameters()], 1 - decay)
        for name, (total, weight) in {**figures, "norm": (norm.detach(), torch.ones_like(norm))}.items():
            a, b = self.figures.get(name, (0, 0))
            self.figures[name] = a + total, b + weight

    def save(self):
        path = os.path.join(self.o.out, "nano.safetensors")
        self.ema.cfg.image_size = self.o.size or self.ema.cfg.image_size
        told = {"steps": self.step_count, "images": self.images, "seconds": round(self.passed() - self.begin)}
        rule = {**export.RULE, "one_click": self.o.one_click_rule}
        export.save(self.ema, path + ".tmp", torch.float16, {"training": told, "mask_rule": rule})
        os.replace(path + ".tmp", path)
        return path

    def check(self):
        """A quick look at the dev pack on the device."""
        res = evaluate.evaluate(self.ema, os.path.join(self.o.shard, "dev.segpack"), self.ema.cfg.image_size, 1,
                                per_image=2, per_source=2 if self.device.type == "cuda" else 1)
        s = evaluate.summary(res, 1)
        return {"dev_click": s["one_click"], "dev_chosen": s["chosen_of_3"], "dev_oracle": s["oracle_of_3"], "dev_box": s["box"]}

    def choose_layout(self, scenes):
        """Times three steps in each memory layout, and keeps the faster."""
        spent = {}
        state = {k: v.clone() for k, v in self.net.state_dict().items()}
        for name, layout in (("nhwc", torch.channels_last), ("nchw", torch.contiguous_format)):
            self.net.to(memory_format=layout)
            self.o.memory_format = layout
            for i in range(5):
                if i == 2:
                    torch.cuda.synchronize()
                    t = time.time()
                self.opt.zero_grad(set_to_none=True)
                steps.step(self.net, scenes.next(self.rng), self.o, self.g, 2, 0, self.amp)
            torch.cuda.synchronize()
            spent[name] = (time.time() - t) / 3
        self.opt.zero_grad(set_to_none=True)
        best = min(spent, key=spent.get)
        self.o.memory_format = torch.channels_last if best == "nhwc" else torch.contiguous_format
        self.net.load_state_dict(state)
        self.net.to(memory_format=self.o.memory_format)
        t = time.time()
        for _ in range(3):
            scenes.next(self.rng)
        torch.cuda.synchronize()
        print(f"{scenes.batch} pictures made in {(time.time() - t) / 3e-3:.0f} ms; with them, "
              f"a step of two rounds: {spent['nhwc'] * 1e3:.0f} ms in NHWC, {spent['nchw'] * 1e3:.0f} ms in NCHW", flush=True)

    def train(self):
        o, t = self.o, self.passed()
        said, shown, saved, checked = t, 0, t, t
        until, chosen = self.begin, o.layout != "auto" or self.device.type != "cuda"
        done = lambda: self.stopped or self.passed() >= self.end or (o.max_images and self.images >= o.max_images)
        for (size, batch, masks), share in phases_of(o.phases):
            until += share * (self.end - self.begin)
            while not done() and self.passed() < until:
                scenes = Scenes(self.shard, size, batch, masks, o, self.device, o.seed + 17 * size + self.step_count)
                print(f"phase: {size} px, {batch} pictures x {masks} masks, until {until:.0f} s", flush=True)
                try:
                    if not chosen:
                        self.choose_layout(scenes)
                        chosen = True
                    while not done() and self.passed() < until:
                        self.train_on(scenes.next(self.rng))
                        now = self.passed()
                        if now - said >= 5 or self.step_count == 1:
                            row = {k: float(a) / max(1e-9, float(b)) for k, (a, b) in self.figures.items() if float(b) > 0}
                            extra = {}
                            if now - checked >= o.check_seconds:
                                extra, checked = self.check(), self.passed()
                            self.curves.add(second=round(now, 1), step=self.step_count, images=self.images, lr=self.rate(),
                                            images_per_second=(self.images - shown) / (now - said), **row, **extra)
                            self.figures, said, shown = {}, self.passed(), self.images
                        if now - saved >= o.save_seconds:
                            self.save()
                            saved = self.passed()
                except torch.cuda.OutOfMemoryError:
                    self.opt.zero_grad(set_to_none=True)
                    torch.cuda.empty_cache()
                    batch //= 2
                    print(f"out of memory; {batch} pictures a step from here", flush=True)
                    if batch == 0:
                        raise
        spent = self.passed() - self.begin
        print(f"{self.step_count} steps, {self.images} pictures in {spent:.0f} s: {self.images / max(1e-9, spent):.1f} pictures/s")
        if self.device.type == "cuda":
            print(f"most GPU memory: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", flush=True)

    def finish(self):
        """Saves, then measures the file as it was saved, then draws."""
        o, path = self.o, self.save()
        dev = os.path.join(o.shard, "dev.segpack")
        out = lambda name: os.path.join(o.out, name)
        report.curves(out("curves.csv"), out("curves.png"))
        report.sheet(self.ema, dev, out("sheet.png"))
        res = evaluate.evaluate_file(path, dev, 0, o.clicks, o.dev_per_image, o.procs, o.dev_per_source)
        table, _ = evaluate.table(res, o.clicks)
        figures = {"all": evaluate.summary(res, o.clicks), "without soybean": evaluate.summary(res, o.clicks, ("soybean",))}
        told = {"steps": self.step_count, "images": self.images, "seconds": round(self.passed(), 1),
                "images_per_second": round(self.images / max(1e-9, self.end - self.begin), 1),
                "arguments": {k: v for k, v in vars(o).items() if k != "memory_format"}, "dev": figures}
        json.dump(told, open(out("report.json"), "w"), indent=1, default=str)
        lines = [table, *(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in f.items()) for name, f in figures.items())]
        open(out("report.txt"), "w").write("\n".join(lines) + "\n")
        print("\n".join(lines))
        print(f"done after {self.passed():.0f} s", flush=True)


def main(argv=None):
    o = options(argv)
    if not os.path.exists(os.path.join(o.shard, "train.segpack")):
        sys.exit(f"no train.segpack in {o.shard}; make_shard.py makes one, --shard says where it is")
    run = Run(o)

    def stop(*_):
        run.stopped = True

    signal.signal(signal.SIGTERM, stop)
    run.train()
    run.finish()


if __name__ == "__main__":
    main()
