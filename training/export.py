"""Writes the shipped file: python export.py runs/nano/last.pt nano.safetensors [--image-size 384] [--dtype f16]

Takes the averaged (EMA) weights of a checkpoint. The safetensors metadata key "samovar_config" holds the
configuration as JSON. `load` reads such a file back.
"""
import argparse
import json

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from model import Nano, NanoConfig

RULE = {"one_click": "token_0", "otherwise": "token_0"}  # the better of the rules on dev


def save(net, path, dtype=torch.float16, extra=None):
    cfg = {**net.cfg.to_dict(), "mask_rule": RULE, **(extra or {})}
    keep = ("shared_image_embedding.positional_embedding",)  # phases need all their bits
    tensors = {k: v.detach().to(torch.float32 if k in keep else dtype).contiguous().clone() for k, v in net.state_dict().items()}
    save_file(tensors, path, metadata={"samovar_config": json.dumps(cfg), "format": "pt"})


def load(path):
    with safe_open(path, "pt") as f:
        cfg = json.loads(f.metadata()["samovar_config"])
        state = {k: f.get_tensor(k).float() for k in f.keys()}
    names = NanoConfig.__dataclass_fields__
    net = Nano(NanoConfig(**{k: v for k, v in cfg.items() if k in names}))
    net.load_state_dict(state)
    return net.eval()


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
