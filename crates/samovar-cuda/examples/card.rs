//! What a card does: its kernels against the reference, how fast they are, what its memory is like.
//!
//! `cargo run --release -p samovar-cuda --example card -- suite|figures|memory [device [small]]`; see `dev/gpu`. With `small` the work
//! of figures is so little that the fake driver does it, too, and they say nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use samovar_cuda::{Arithmetic, CudaKernels, CudaOptions};
use samovar_tensor::{
    Activation, Attention, AttentionBias, Device, Epilogue, Error, Kernels, Pool, Precision, Result, Rows,
    Shape, Tensor, TokenLayout,
};
use samovar_testkit::operators::Suite;

/// How much work figures are.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// How long each is measured.
    time: Duration,
    /// Sides of maps, and with their squares numbers of tokens, are divided by this.
    divisor: usize,
}

impl Size {
    fn side(self, side: usize) -> usize {
        (side / self.divisor).max(1)
    }

    fn tokens(self, tokens: usize) -> usize {
        (tokens / self.divisor / self.divisor).max(1)
    }
}

fn open(index: usize, arithmetic: Arithmetic) -> Result<(Arc<CudaKernels>, Device)> {
    let kernels = Arc::new(CudaKernels::open(index, CudaOptions { arithmetic })?);
    let pool = Pool::on(kernels.memory(), usize::MAX);
    Ok((Arc::clone(&kernels), Device::new(kernels, pool)))
}

/// The best time of a call in batches that are waited for, in seconds.
fn time(device: &Device, size: Size, mut call: impl FnMut() -> Result<Tensor>) -> Result<f64> {
    for _ in 0..3 {
        call()?;
    }
    device.synchronise()?;
    let (start, mut best, mut calls) = (Instant::now(), f64::INFINITY, 1);
    while best.is_infinite() || start.elapsed() < size.time {
        let batch = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        device.synchronise()?;
        let taken = batch.elapsed().as_secs_f64();
        best = best.min(taken / f64::from(calls));
        // Batches of 20 ms, so that waiting does not count.
        if taken < 0.02 && calls < 4096 {
            calls *= 2;
        }
    }
    Ok(best)
}

fn numbers(device: &Device, shape: impl Into<Shape>) -> Result<Tensor> {
    let mut state = 1u32;
    device.upload_with(shape, |to| {
        for number in to {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *number = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        }
    })
}

fn row(what: &str, seconds: f64, operations: f64, bytes: f64) {
    let rate = |amount: f64, unit: f64| {
        if amount > 0.0 { format!("{:.1}", amount / seconds / unit) } else { "–".into() }
    };
    println!("| {what} | {:.1} | {} | {} |", seconds * 1e6, rate(operations, 1e12), rate(bytes, 1e9));
}

/// Rows, inputs and outputs of products that models have.
const PRODUCTS: [(&str, usize, usize, usize); 7] = [
    ("ViT-B, first of the MLP", 4096, 768, 3072),
    ("ViT-B, second of the MLP", 4096, 3072, 768),
    ("ViT-B, qkv", 4096, 768, 2304),
    ("ViT-H, first of the MLP", 4096, 1280, 5120),
    ("SAM 2 tiny, first stage", 65_536, 96, 384),
    ("SAM 2 tiny, third stage", 4096, 384, 1536),
    ("decoder, tokens", 7, 256, 2048),
];

fn figures(index: usize, size: Size) -> Result<()> {
    println!("| what | µs | TFLOP/s | GB/s |\n|---|---|---|---|");
    let kinds = [
        (Precision::Bf16, Arithmetic::Rounded),
        (Precision::F16, Arithmetic::Rounded),
        (Precision::Int8, Arithmetic::Rounded),
        (Precision::Bf16, Arithmetic::Exact),
        (Precision::F32, Arithmetic::Exact),
    ];
    for (precision, arithmetic) in kinds {
        let (_, device) = open(index, arithmetic)?;
        let device = device.with_weight_precision(precision);
        for (what, rows, inputs, outputs) in PRODUCTS {
            let (rows, outputs) = (size.tokens(rows), size.tokens(outputs));
            let weight = Tensor::from_values([outputs, inputs], &vec![0.01; outputs * inputs]);
            let layer =
                device.load_linear(&weight, Some(&Tensor::from_values([outputs], &vec![0.0; outputs])))?;
            let x = numbers(&device, [rows, inputs])?;
            let seconds =
                time(&device, size, || device.linear(&x, &layer, &Epilogue::act(Activation::Gelu)))?;
            let name = format!("{what}, {rows}x{inputs}x{outputs}, {precision}, {arithmetic:?}");
            row(
                &name,
                seconds,
                2.0 * (rows * inputs * outputs) as f64,
                4.0 * (rows * (inputs + outputs)) as f64,
            );
        }
    }
    let (_, device) = open(index, Arithmetic::Rounded)?;
    for precision in [Precision::Bf16, Precision::F32] {
        attention(&device, size, precision)?;
    }
    let long = size.tokens(1 << 26);
    let x = numbers(&device, [long])?;
    let seconds = time(&device, size, || device.add(&x, &x))?;
    row("sum of two tensors of 256 MB", seconds, 0.0, 3.0 * 4.0 * long as f64);
    let norm = device.load_layer_norm(
        &Tensor::from_values([768], &[1.0; 768]),
        &Tensor::from_values([768], &[0.0; 768]),
        1e-6,
    )?;
    let rows = size.tokens(4096);
    let x = numbers(&device, [rows, 768])?;
    let seconds = time(&device, size, || device.layer_norm(&x, &norm, Activation::Identity))?;
    row("norm of 4096x768", seconds, 0.0, 2.0 * 4.0 * (rows * 768) as f64);
    let side = size.side(256);
    let x = numbers(&device, [1, side, side, 96])?;
    let seconds = time(&device, size, || device.channels_first(&x))?;
    row("transposition of 256x256x96", seconds, 0.0, 2.0 * 4.0 * (side * side * 96) as f64);
    launches(&device, size)?;
    copies(&device)
}

fn attention(device: &Device, size: Size, precision: Precision) -> Result<()> {
    let (grid, tokens) = (size.side(64), size.side(64) * size.side(64));
    let global = TokenLayout::Sequence { batch: 1, key_batch: 1, queries: tokens, keys: tokens };
    let padding = |columns: usize| numbers(device, [1, columns]);
    for (what, heads, channels, window) in [
        ("ViT-B, all tokens", 12, 64, None),
        ("ViT-B, windows of 14", 12, 64, Some(14)),
        ("ViT-H, all tokens", 16, 80, None),
        ("ViT-H, windows of 14", 16, 80, Some(14)),
    ] {
        let columns = 3 * heads * channels;
        let (qkv, padding) = (numbers(device, [1, grid, grid, columns])?, padding(columns)?);
        let side = window.unwrap_or(grid);
        let (rows, positions) =
            (numbers(device, [2 * side - 1, channels])?, numbers(device, [2 * side - 1, channels])?);
        let layout = match window {
            None => global,
            Some(window) => TokenLayout::Windows {
                batch: 1,
                grid: [grid, grid],
                window,
                query_stride: 1,
                padding: Some(&padding),
            },
        };
        let seconds = time(device, size, || {
            device.attention(&Attention {
                q: Rows::columns(&qkv, 0),
                k: Rows::columns(&qkv, heads * channels),
                v: Rows::columns(&qkv, 2 * heads * channels),
                heads,
                head_channels: channels,
                value_channels: channels,
                scale: 1.0 / (channels as f32).sqrt(),
                layout,
                bias: AttentionBias::RelativePosition {
                    rows: &rows,
                    columns: &positions,
                    grid: [side, side],
                },
                precision,
            })
        })?;
        let keys = window.map_or(tokens, |window| window * window);
        row(
            &format!("attention, {what}, {precision}"),
            seconds,
            4.0 * (tokens * keys * heads * channels) as f64,
            0.0,
        );
    }
    for (what, batch, queries, keys, heads, channels) in [
        ("decoder, 7 tokens to the image", 1, 7, 4096, 8, 16),
        ("decoder, 64 x 7 tokens to the image", 64, 7, 4096, 8, 16),
        ("decoder, the image to 7 tokens", 1, 4096, 7, 8, 16),
        ("SAM 2, memory", 1, 4096, 28_736, 1, 256),
    ] {
        let few = |count: usize| if count > 100 { size.tokens(count) } else { count };
        let (queries, keys) = (few(queries), few(keys));
        let (q, k, v) = (
            numbers(device, [batch * queries, heads * channels])?,
            numbers(device, [keys, heads * channels])?,
            numbers(device, [keys, heads * channels.min(64)])?,
        );
        let seconds = time(device, size, || {
            device.attention(&Attention {
                q: Rows::whole(&q),
                k: Rows::whole(&k),
                v: Rows::whole(&v),
                heads,
                head_channels: channels,
                value_channels: channels.min(64),
                scale: 1.0 / (channels as f32).sqrt(),
                layout: TokenLayout::Sequence { batch, key_batch: 1, queries, keys },
                bias: AttentionBias::None,
                precision,
            })
        })?;
        let products = 2 * batch * queries * keys * heads * (channels + channels.min(64));
        row(&format!("attention, {what}, {precision}"), seconds, products as f64, 0.0);
    }
    Ok(())
}

/// Time of the host for an operator, and of an operator that has nothing to do.
fn launches(device: &Device, size: Size) -> Result<()> {
    let x = numbers(device, [64])?;
    const CALLS: u32 = 1000;
    let mut host = f64::INFINITY;
    for _ in 0..5 {
        device.synchronise()?;
        let start = Instant::now();
        for _ in 0..CALLS {
            device.activation(&x, Activation::Relu)?;
        }
        host = host.min(start.elapsed().as_secs_f64() / f64::from(CALLS));
    }
    row("host's time for an operator", host, 0.0, 0.0);
    row("smallest operator", time(device, size, || device.activation(&x, Activation::Relu))?, 0.0, 0.0);
    Ok(())
}

fn copies(device: &Device) -> Result<()> {
    let values = vec![1.0f32; 16 << 20];
    let bytes = 4.0 * values.len() as f64;
    let best = |call: &mut dyn FnMut() -> Result<()>| -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let start = Instant::now();
            call()?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok(best)
    };
    let up = best(&mut || {
        device.upload([values.len()], &values)?;
        device.synchronise()
    })?;
    row("upload of 64 MB", up, 0.0, bytes);
    let x = device.upload([values.len()], &values)?;
    let down = best(&mut || device.download(&x)?.wait().map(drop))?;
    row("download of 64 MB", down, 0.0, bytes);
    let small = device.upload([64], &values[..64])?;
    let round_trip = best(&mut || device.download(&small)?.wait().map(drop))?;
    row("download of 256 bytes", round_trip, 0.0, 0.0);
    Ok(())
}

/// Fills the card's memory, is refused, and goes on.
fn memory(index: usize) -> Result<()> {
    let (kernels, device) = open(index, Arithmetic::Exact)?;
    device.reserve()?;
    let before = kernels.free_bytes()?;
    println!("{}: {} MB free of {}", kernels.name(), before >> 20, kernels.card().memory_bytes >> 20);
    let mut held = Vec::new();
    let refusal = loop {
        match device.filled([1 << 28], 1.0) {
            Ok(tensor) => held.push(tensor),
            Err(error) => break error,
        }
    };
    println!("{} blocks of 1 GiB, then: {refusal}", held.len());
    assert!(matches!(refusal, Error::OutOfMemory { .. }));
    device.synchronise()?;
    held.truncate(held.len() / 2);
    let sum = device.add(&device.filled([1000], 1.0)?, &device.filled([1000], 2.0)?)?;
    assert_eq!(device.download(&sum)?.wait()?.to_f32_vec()?, [3.0; 1000]);
    drop(held);
    device.pool().trim();
    println!("{} MB free after all was given back", kernels.free_bytes()? >> 20);
    Ok(())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let work = arguments.next().unwrap_or_default();
    let index = arguments.next().map_or(Ok(0), |word| word.parse())?;
    let size = match arguments.next().as_deref() {
        Some("small") => Size { time: Duration::ZERO, divisor: 8 },
        Some(other) => return Err(format!("{other:?} is not small").into()),
        None => Size { time: Duration::from_millis(300), divisor: 1 },
    };
    for card in samovar_cuda::devices()? {
        let (major, minor) = card.compute_capability;
        println!(
            "cuda:{}: {}, {} MB, architecture {major}.{minor}, {} processors\n",
            card.index,
            card.name,
            card.memory_bytes >> 20,
            card.multiprocessors
        );
    }
    match work.as_str() {
        "suite" => {
            let suite = Suite::new();
            suite.check_device(&open(index, Arithmetic::Exact)?.1);
            suite.check_rounding_device(&open(index, Arithmetic::Rounded)?.1);
            println!("all {} cases agree with the reference, exact and rounded", suite.len());
        }
        "figures" => figures(index, size)?,
        "memory" => memory(index)?,
        other => return Err(format!("{other:?} is none of suite, figures and memory").into()),
    }
    Ok(())
}
