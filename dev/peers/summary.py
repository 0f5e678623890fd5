"""What run.py measured, as one markdown table: time, memory and load of every tool, samovar's ratio to it, the loss."""

import statistics

TITLES = {
    "encode-vit_b": "encode, SAM ViT-B, 1024²",
    "encode-mobile_sam": "encode, MobileSAM, 1024²",
    "decode-vit_b": "decode, one click, SAM ViT-B",
    "everything-vit_b": "everything, SAM ViT-B",
    "startup": "start of a process",
}
HEAD = ["work", "tool", "time", "samovar / it", "peak MB", "samovar / it", "load s", "cosine", "embeddings", "logits",
        "mask IoU"]


def counterpart(results, peer):
    """samovar's result to hold a peer's against: that of the same dtype, f32 where there is none."""
    ours = {name: result for name, result in results.items() if name.startswith("samovar")}
    same = [result for result in ours.values() if result["dtype"] == peer["dtype"]]
    return (same + [ours.get("samovar")] + list(ours.values()))[0] if ours else None


def seconds(value):
    return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


def scaled_everything(settings, result):
    """A peer's time for samovar's number of points: encoding once, and the rest as often as there are points more."""
    points, measured = settings["points_per_side"] ** 2, settings["peer_points_per_side"] ** 2
    return statistics.median(
        encode + (whole - encode) * points / measured
        for one in result["rounds"] for whole, encode in zip(one["times_s"], one["encode_s"], strict=True))


def rows(documents):
    for work, one in documents.items():
        settings, results = one["settings"], one["results"]
        for name, result in results.items():
            title, time, note = TITLES[work], result["median_s"], ""
            ours = None if name.startswith("samovar") else counterpart(results, result)
            if work == "everything-vit_b":
                title += f", {settings['points_per_side']}² points"
                scaled = settings["points_per_side"] != settings["peer_points_per_side"]
                if ours and scaled and "encode_s" in result["rounds"][0]:
                    time, note = scaled_everything(settings, result), " (scaled)"
            lost = result.get("loss")
            yield [
                title, name, seconds(time) + note, f"{ours['median_s'] / time:.2f}" if ours else "",
                f"{result['peak_rss_bytes'] / 1e6:.0f}",
                f"{ours['peak_rss_bytes'] / result['peak_rss_bytes']:.2f}" if ours else "",
                f"{result['load_s']:.2f}" if result["load_s"] else "",
                *([f"{lost['embedding_cosine']:.6f}", f"{lost['embedding_error']:.1e}", f"{lost['logits_error']:.1e}",
                   f"{lost['mask_iou']:.4f}"] if lost else [""] * 4)]


def markdown(documents):
    first = next(iter(documents.values()))
    found, loads = first["machine"], [one["machine"] for one in documents.values()]
    lines = [
        f"{found['cpu']}, {first['settings']['threads']} threads; "
        + ", ".join(f"{name} {version}" for name, version in sorted(first["versions"].items())) + ".",
        "Load average from "
        + f"{min(one['load_average_before'][0] for one in loads)} to {max(one['load_average_after'][0] for one in loads)}. "
        + "Time is the median; a ratio below 1 means samovar takes less. Peak memory is the process's, from its start.",
        ""]
    if everything := documents.get("everything-vit_b"):
        settings = everything["settings"]
        points, peer_points = settings["points_per_side"], settings["peer_points_per_side"]
        text = "Everything: no mask is filtered by its scores. samovar's time holds its start and loading, PyTorch's neither."
        if points != peer_points:
            text += (f" PyTorch ran {peer_points}² points, the same work for each; its time is scaled to {points}², encoding "
                     "counted once, its memory is not scaled.")
        lines[-1:] = [text, ""]
    lines += ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    previous = None
    for row in rows(documents):
        lines.append("| " + " | ".join(["" if row[0] == previous else row[0]] + row[1:]) + " |")
        previous = row[0]
    for work, one in documents.items():
        lines += [f"\n{TITLES[work]}: {name} failed." for name in one["failed"]]
    return "\n".join(lines) + "\n"
