"""PyTorch on the same card: products, attention, and, where transformers is there, SAM's and SAM 2's encoders in bfloat16 with SDPA, eager and
compiled. Random weights; prints the rows that dev/gpu/results keeps for each kind of card.

    python3 dev/gpu/peer.py [seconds per figure]
"""
import sys
import time

try:
    import torch
except ImportError:
    print("no torch on this machine")
    sys.exit(0)
if not torch.cuda.is_available():
    print("torch sees no card")
    sys.exit(0)

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0


def best(call):
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    least, calls, start = float("inf"), 1, time.time()
    while time.time() - start < SECONDS:
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
        taken = time.perf_counter() - begin
        least = min(least, taken / calls)
        if taken < 0.02 and calls < 4096:
            calls *= 2
    return least


def row(what, seconds, operations=0.0):
    rate = f"{operations / seconds / 1e12:.1f}" if operations else "–"
    print(f"| {what} | {seconds * 1e6:.1f} | {rate} |", flush=True)


def products():
    for rows, inputs, outputs in [(4096, 768, 3072), (4096, 3072, 768), (4096, 768, 2304), (4096, 1280, 5120), (65536, 96, 384), (4096, 384, 1536), (7, 256, 2048)]:
        for dtype in [torch.bfloat16, torch.float32]:
            x = torch.randn(rows, inputs, device="cuda", dtype=dtype)
            layer = torch.nn.Linear(inputs, outputs, device="cuda", dtype=dtype)
            row(f"linear {rows}x{inputs}x{outputs}, {dtype}", best(lambda: layer(x)), 2.0 * rows * inputs * outputs)


def attention():
    for what, batch, heads, queries, keys, channels in [("all tokens, ViT-B", 1, 12, 4096, 4096, 64), ("windows of 14, ViT-B", 25, 12, 196, 196, 64), ("memory, SAM 2", 1, 1, 4096, 28736, 256)]:
        q, k, v = (torch.randn(batch, heads, n, channels, device="cuda", dtype=torch.bfloat16) for n in (queries, keys, keys))
        call = lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v)
        row(f"SDPA without bias, {what}", best(call), 4.0 * batch * heads * queries * keys * channels)


def encoders():
    try:
        from transformers import Sam2Config, Sam2Model, SamConfig, SamModel, SamVisionConfig
    except ImportError:
        print("\nno transformers on this machine, so no encoders")
        return
    print("\n| encoder, bfloat16 | ms | peak MB above the weights |\n|---|---|---|")
    sizes = {"vit_b": {}, "vit_h": dict(hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, global_attn_indexes=[7, 15, 23, 31], mlp_dim=5120)}
    models = {name: (lambda size=size: SamModel(SamConfig(vision_config=SamVisionConfig(**size).to_dict()))) for name, size in sizes.items()}
    models["sam2.1_t"] = lambda: Sam2Model(Sam2Config())
    for name, make in models.items():
        for compiled in [False, True]:
            try:
                model = make().eval().to("cuda", torch.bfloat16)
                encoder = model.vision_encoder
                if compiled:
                    encoder = torch.compile(encoder)
                pixels = torch.randn(1, 3, 1024, 1024, device="cuda", dtype=torch.bfloat16)
                with torch.inference_mode():
                    encoder(pixels)
                    torch.cuda.synchronize()
                    weights = torch.cuda.memory_allocated()
                    torch.cuda.reset_peak_memory_stats()
                    seconds = best(lambda: encoder(pixels))
                peak = torch.cuda.max_memory_allocated() - weights
                print(f"| {name}{', compiled' if compiled else ''} | {seconds * 1e3:.2f} | {peak / 1e6:.0f} |", flush=True)
            except Exception as error:
                print(f"| {name}{', compiled' if compiled else ''} | {type(error).__name__}: {str(error)[:120]} | |", flush=True)


print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}\n\n| what | µs | TFLOP/s |\n|---|---|---|")
products()
attention()
encoders()
