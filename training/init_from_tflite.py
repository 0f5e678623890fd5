"""Dequantises the MobileNetV2 trunk of a TensorFlow Lite file (Apache-2.0) into nano's trunk.

    python init_from_tflite.py WEIGHTS.tflite [--check DATA.segpack]

Weights are uint8 per tensor, w = scale * (q - zero); biases int32 with the product of input and weight
scales; batch norm is already folded; activations are ReLU6. --check runs the DeepLab head of the file in
PyTorch on pictures of pedestrians and people and prints the classes found (15 = person).
"""
import sys

import numpy as np
import tflite
import torch
import torch.nn.functional as F


def read_convs(path):
    """-> list of (op name, weight OIHW float32, bias float32) in graph order."""
    model = tflite.Model.GetRootAsModel(open(path, "rb").read(), 0)
    graph = model.Subgraphs(0)
    names = {v: k for k, v in tflite.BuiltinOperator.__dict__.items() if isinstance(v, int)}

    def tensor(i):
        t = graph.Tensors(i)
        dtype = {tflite.TensorType.UINT8: np.uint8, tflite.TensorType.INT32: np.int32,
                 tflite.TensorType.FLOAT32: np.float32}[t.Type()]
        raw = model.Buffers(t.Buffer()).DataAsNumpy().view(dtype).reshape(t.ShapeAsNumpy())
        if dtype == np.float32:
            return raw
        q = t.Quantization()
        return np.float32(q.ScaleAsNumpy()[0]) * (raw.astype(np.float32) - np.float32(q.ZeroPointAsNumpy()[0]))

    out = []
    for i in range(graph.OperatorsLength()):
        op = graph.Operators(i)
        code = model.OperatorCodes(op.OpcodeIndex())
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            _, w, b = op.InputsAsNumpy()
            # conv weights are OHWI, depthwise weights 1HWO
            w = tensor(w).transpose(0, 3, 1, 2) if name == "CONV_2D" else tensor(w).transpose(3, 0, 1, 2)
            out.append((name, torch.from_numpy(w.copy()), torch.from_numpy(tensor(b).copy())))
    return out


def load_trunk(trunk, path):
    """Copies the file's first convolutions into model.Trunk, in order; returns the rest (the head)."""
    convs = read_convs(path)
    mods = [trunk.stem]
    for b in trunk.blocks:
        mods += [m for m in (b.expand, b.depthwise, b.project) if m is not None]
    for m, (_, w, b) in zip(mods, convs):
        assert m.weight.shape == w.shape, (m, w.shape)
        m.weight.data.copy_(w)
        m.bias.data.copy_(b)
    return convs[len(mods):]


def check(path, pack):
    """Fraction of the person mask that the dequantised DeepLab labels person, on some pedestrians."""
    import cv2
    from data import read_pack
    from model import Trunk, NanoConfig
    trunk = Trunk(NanoConfig())
    aspp, pool, proj, logits = [(w, b) for _, w, b in load_trunk(trunk, path)]
    n = 0
    for hdr, jpeg, pngs in read_pack(pack):
        if hdr["src"] not in ("pennfudan", "coco-1person"):
            continue
        img = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
        lab = cv2.imdecode(np.frombuffer(pngs[0], np.uint8), cv2.IMREAD_UNCHANGED) > 0
        img, lab = cv2.resize(img, (513, 513)), cv2.resize(lab.astype(np.uint8), (513, 513)) > 0
        x = torch.from_numpy(img).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            y = trunk(x)[-1]
            a = F.relu(F.conv2d(y, *aspp))
            g = F.relu(F.conv2d(y.mean((2, 3), keepdim=True), *pool)).expand_as(a)
            z = F.conv2d(F.relu(F.conv2d(torch.cat([g, a], 1), *proj)), *logits)
            c = F.interpolate(z, (513, 513), mode="bilinear", align_corners=True).argmax(1)[0].numpy()
        print(hdr["src"], hdr["id"], f"IoU of class person with the labelled people: {((c == 15) & lab).sum() / ((c == 15) | lab).sum():.3f}")
        n += 1
        if n >= 6:
            break


if __name__ == "__main__":
    if "--check" in sys.argv:
        check(sys.argv[1], sys.argv[sys.argv.index("--check") + 1])
    else:
        for name, w, b in read_convs(sys.argv[1]):
            print(name, tuple(w.shape), f"|w| {w.abs().mean():.4f}")
