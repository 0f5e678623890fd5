"""The optimiser of both training loops, on a CPU and on a GPU."""
import torch


def optimiser(net, o, fused=False):
    """AdamW; the trunk learns slower, its first blocks not at all."""
    trunk = net.vision_encoder.trunk
    trunk.frozen_blocks = o.freeze_blocks
    for m in [trunk.stem, *trunk.blocks[:o.freeze_blocks]] if o.freeze_blocks else []:
        m.requires_grad_(False)
    groups = {}
    for name, p in net.named_parameters():
        if p.requires_grad:
            groups.setdefault(("trunk" in name, p.ndim > 1 and "embed" not in name and "token" not in name), []).append(p)
    return torch.optim.AdamW([{"params": ps, "scale": o.trunk_lr if t else 1.0, "weight_decay": 0.02 if w else 0.0}
                              for (t, w), ps in groups.items()], lr=o.lr, betas=(0.9, 0.98), fused=fused)
