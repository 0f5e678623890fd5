"""Writes the shipped file: python export.py runs/nano/last.pt nano.safetensors [--image-size 384] [--dtype f16]

Takes the averaged (EMA) weights of a checkpoint. The safetensors metadata key "samovar_config" holds the
configuration as JSON. `load` reads such a file back.
"""
import argparse
import json

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from model import Nano, NanoConfig

RULE = {"one_click": "token_0", "otherwise": "token_0"}  # the better of the rules on dev


def save(net, path, dtype=torch.float16, extra=None):
    cfg = {**net.cfg.to_dict(), "mask_rule": RULE, **(extra or {})}
    keep = ("shared_image_embedding.positional_embedding",)  # phases need all their bits
    tensors = {k: v.detach().to(torch.float32 if k in keep else dtype).cpu().contiguous().clone() for k, v in net.state_dict().items()}
    save_file(tensors, path, metadata={"samovar_config": json.dumps(cfg), "format": "pt"})


def load(path, **changes):
    """The model of a file, for inference; changes are configuration entries to replace (see `widened`)."""
    with safe_open(path, "pt") as f:
        cfg = json.loads(f.metadata()["samovar_config"])
        state = {k: f.get_tensor(k).float() for k in f.keys()}
    names = NanoConfig.__dataclass_fields__
    net = Nano(NanoConfig(**{**{k: v for k, v in cfg.items() if k in names}, **changes}))
    net.load_state_dict(widened(state, net) if changes else state)
    return net.eval()


def widened(state, net):
    """A state for a network with extensions the file does not have, so that it computes what the file computes:
    further input channels weigh nothing, layers that are missing keep their own start."""
    out = {}
    for name, own in net.state_dict().items():
        v = state.get(name, own)
        if v.shape != own.shape:
            if v.ndim != 4 or v.shape[1] > own.shape[1] or v.shape[::2] != own.shape[::2]:
                raise ValueError(f"{name}: {tuple(v.shape)} in the file, {tuple(own.shape)} in the network")
            v = F.pad(v, (0, 0, 0, 0, 0, own.shape[1] - v.shape[1]))
        out[name] = v
    if lost := sorted(set(state) - set(out)):
        raise ValueError(f"the network has no place for {', '.join(lost[:4])}")
    return out


if __name__ == "__main__":
    a = argparse.ArgumentParser()
    a.add_argument("checkpoint")
    a.add_argument("out")
    a.add_argument("--image-size", type=int, default=384)
    a.add_argument("--dtype", choices=["f16", "f32"], default="f16")
    a = a.parse_args()
    ck = torch.load(a.checkpoint, weights_only=False, map_location="cpu")
    net = Nano()
    net.load_state_dict(ck["ema"])
    net.cfg.image_size = a.image_size
    save(net, a.out, torch.float16 if a.dtype == "f16" else torch.float32,
         {"training": {"steps": ck["step"], "images": ck["seen"], "minutes": round(ck["spent"], 1)}})
    print(f"{a.out}: step {ck['step']}")
