"""`run.py track`: SAM 2.1 tiny at full size through a clip, beside PyTorch, per object and frame, with all memories in place.

    python run.py track --samovar ../../target/release/samovar --workdir DIR [--objects 1,5] [--rounds 2] [--repeat 3]
    python track.py prepare --workdir DIR                        the weights, the clip
    python track.py run --workdir DIR --objects 5                PyTorch alone, one process

Both take the same 20 frames of 1024 x 1024, f32, the same weights (seeded, every parameter and buffer overwritten, but that objects
are in the picture), and one click for each object on the first frame. Timed are the last frames, from the decoded picture to
masks, encoding included, when each object has 7 memories of 4096 cells and 16 pointers, the most there ever are. samovar follows
the clip all the way there. transformers' Sam2VideoModel (eager, its default attention) follows it through two frames, and frames 2 to
15 are then given what frame 1 left: it would take minutes, and time depends on how much is remembered, not on what. Its session
keeps all frames in memory, 12.6 MB each, as it does for users.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
FRAMES, WARM_UP, SIZE = 20, 16, 1024
MODEL, CLIP = "sam2.1_hiera_tiny_tracked", "clip"
# Asked of a machine with AVX-512: samovar's time for an object on a frame over PyTorch's.
ASKED = {1: 0.45, 5: 0.35}
STAGES = ("encoder", "memory attention", "decoder", "memory encoder")


def clicks(objects):
    """One for each object, in rows of a square; `samovar bench track` has the same."""
    across = int(objects**0.5) + (int(objects**0.5) ** 2 < objects)
    return [((i % across + 0.5) / across * SIZE, (i // across + 0.5) / across * SIZE) for i in range(objects)]


# ----------------------------------------------------------------------------------------------------- PyTorch


def prepare(arguments):
    import numpy as np
    import torch
    from PIL import Image
    from transformers import Sam2VideoConfig, Sam2VideoModel

    sys.path.insert(0, str(HERE.parent / "goldens"))
    import samtwo

    if not (arguments.workdir / MODEL).exists():
        model = samtwo.seed(Sam2VideoModel(Sam2VideoConfig()).eval(), 20260110)
        # What is not in the picture is not drawn, and costs less.
        model.state_dict()["mask_decoder.pred_obj_score_head.proj_out.bias"].fill_(40.0)
        model.save_pretrained(arguments.workdir / MODEL)
    clip = arguments.workdir / CLIP
    if len(list(clip.glob("*.png"))) != FRAMES:
        clip.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(1).integers(0, 40, (SIZE, SIZE, 3))
        y, x = np.mgrid[0:SIZE, 0:SIZE]
        for frame in range(FRAMES):
            waves = [np.sin((x + 6 * frame) / 37 + c) + np.cos((y - 4 * frame) / 53 - c) for c in range(3)]
            picture = np.stack(waves, axis=-1) * 45 + 100 + noise
            Image.fromarray(picture.astype(np.uint8)).save(clip / f"{frame:04}.png")


def run(arguments):
    import numpy as np
    import torch
    from PIL import Image
    from transformers import Sam2VideoModel
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    begun = time.perf_counter()
    model = Sam2VideoModel.from_pretrained(arguments.workdir / MODEL).eval()
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    frames = [np.asarray(Image.open(path)) for path in sorted((arguments.workdir / CLIP).glob("*.png"))]
    pixels = torch.stack([((torch.from_numpy(x).float() / 255 - mean) / deviation).permute(2, 0, 1) for x in frames])
    session = Sam2VideoInferenceSession(video=pixels, video_height=SIZE, video_width=SIZE, dtype=torch.float32)
    load_s = time.perf_counter() - begun
    for number, click in enumerate(clicks(arguments.objects)):
        index = session.obj_id_to_idx(number + 1)
        session.add_point_inputs(index, 0, dict(
            point_coords=torch.tensor([click]).reshape(1, 1, 1, 2), point_labels=torch.ones(1, 1, 1, dtype=torch.int32)))
        session.obj_with_new_inputs = [number + 1]
        model(session, frame_idx=0)
    model(session, frame_idx=1)
    for kept in session.output_dict_per_obj.values():
        kept["non_cond_frame_outputs"] |= {frame: kept["non_cond_frame_outputs"][1] for frame in range(2, WARM_UP)}
        assert all((x["object_score_logits"] > 0).all() for x in kept["non_cond_frame_outputs"].values())
    keys = []
    hook = model.memory_attention.register_forward_pre_hook(
        lambda module, positional, named: keys.append(named["memory"].shape[0]), with_kwargs=True)
    times, processor = [], []
    for frame in range(WARM_UP, WARM_UP + arguments.repeat):
        start, start_processor = time.perf_counter(), time.process_time()
        found = model(session, frame_idx=frame)
        (torch.nn.functional.interpolate(found.pred_masks, size=(SIZE, SIZE), mode="bilinear") > 0).numpy()
        times.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    hook.remove()
    assert set(keys) == {7 * 64 * 64 + 16 * 4}, keys
    print(json.dumps({"times_s": times, "cpu_s": processor, "load_s": load_s, "dtype": "f32"}))


# ------------------------------------------------------------------------------------------------------ for run.py


class PyTorch:
    dtype = "f32"

    def __init__(self, arguments, objects, start, last_json):
        self.arguments, self.objects, self.start, self.last_json = arguments, objects, start, last_json

    def measure(self):
        a = self.arguments
        command = [a.python, HERE / "track.py", "run", "--workdir", a.workdir, "--objects", self.objects,
                   "--threads", a.threads, "--repeat", a.repeat]
        text, _, peak = self.start(command, a.threads, a.cpus)
        return self.last_json(text) | {"peak_rss_bytes": peak}


class Samovar(PyTorch):
    def __init__(self, arguments, objects, start, last_json, binary):
        super().__init__(arguments, objects, start, last_json)
        self.binary = binary

    def measure(self):
        a = self.arguments
        command = [self.binary, "bench", "track", a.workdir / CLIP, "--model", a.workdir / MODEL, "--objects", self.objects,
                   "--threads", a.threads, "--warm-up", WARM_UP, "--repeat", a.repeat, "--json"]
        text, _, peak = self.start(command, a.threads, a.cpus)
        found = self.last_json(text)
        return found | {"times_s": [found["median_s"], found["min_s"], found["max_s"]], "peak_rss_bytes": peak}


def measure(arguments, binaries, start, last_json, aligned):
    """All tools in turn for each number of objects; what --json writes. `start`, `last_json` and `aligned` are run.py's."""
    import statistics

    arguments.repeat, arguments.rounds = min(arguments.repeat or 3, FRAMES - WARM_UP), arguments.rounds or 2
    start([arguments.python, HERE / "track.py", "prepare", "--workdir", arguments.workdir], arguments.threads, arguments.cpus)
    rows = [("objects", "tool", "s a frame", "s an object", "fastest", "peak MB", "samovar/PyTorch", "of fastest", "memory", "asked")]
    parts = [("objects", "tool", *(f"{stage} s" for stage in STAGES), "rest s")]
    results = {}
    for objects in [int(part) for part in arguments.objects.split(",")]:
        tools = {name: Samovar(arguments, objects, start, last_json, binary) for name, binary in binaries.items()}
        if "pytorch" in arguments.peers.split(","):
            tools["pytorch"] = PyTorch(arguments, objects, start, last_json)
        rounds = {name: [] for name in tools}
        for turn in range(arguments.rounds):
            for name, tool in tools.items():
                print(f"{objects} objects, round {turn + 1} of {arguments.rounds}: {name}", file=sys.stderr)
                rounds[name].append(tool.measure())
        found = {name: {
            "median_s": statistics.median(t for one in many for t in one["times_s"]),
            "min_s": min(t for one in many for t in one["times_s"]),
            "peak_rss_bytes": max(one["peak_rss_bytes"] for one in many), "rounds": many} for name, many in rounds.items()}
        results[objects] = found
        peer = found.get("pytorch")
        for name, r in found.items():
            ratios = [""] * 4
            if peer and name != "pytorch":
                ratios = [f"{r[key] / peer[key]:.2f}" for key in ("median_s", "min_s", "peak_rss_bytes")]
                ratios.append(f"{ASKED[objects]:.2f}" if objects in ASKED else "")
            rows.append((str(objects), name, f"{r['median_s']:.3f}", f"{r['median_s'] / objects:.3f}", f"{r['min_s']:.3f}",
                         f"{r['peak_rss_bytes'] / 1e6:.0f}", *ratios))
            # Of the fastest round: its stages add up.
            best = min(r["rounds"], key=lambda one: one.get("median_s", 0))
            if stages := best.get("stages_s"):
                of = [stages.get(stage, 0.0) for stage in STAGES]
                parts.append((str(objects), name, *(f"{time:.3f}" for time in of), f"{best['median_s'] - sum(of):.3f}"))
    print(f"track sam2.1_hiera_tiny, {arguments.threads} threads, {arguments.rounds} rounds of {arguments.repeat} frames")
    print(aligned(rows) + "\n\n" + aligned(parts), flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["prepare", "run"])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    {"prepare": prepare, "run": run}[arguments.action](arguments)


if __name__ == "__main__":
    main()
