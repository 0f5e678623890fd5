//! The operators of SAM's ViT-B image encoder, with random weights: time and share of peak for every operator.
//!
//! `cargo run --release -p samovar-cpu --example vit_b [-- threads [repeats]]`. A stand-in for the model itself, which
//! lives above this crate; the shapes and the order of calls are the model's. `SAMOVAR_PRODUCTS=plain` adds up large
//! products in plain order.

#[path = "shared/environment.rs"]
mod environment;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use samovar_cpu::{CpuKernels, CpuOptions, Products, SimdLevel};
use samovar_tensor::{
    Activation, Attention, AttentionBias, Conv2d, Conv2dGeometry, Device, Epilogue, Instrument, LayerNorm,
    Linear, Pool, Result, Rows, Span, Tensor, TokenLayout,
};

use environment::asked;

const SIDE: usize = 64;
const CHANNELS: usize = 768;
const HEADS: usize = 12;
const WINDOW: usize = 14;
const BLOCKS: usize = 12;
const GLOBAL: [usize; 4] = [2, 5, 8, 11];

struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    rows: Tensor,
    columns: Tensor,
    /// Keys and values of padding tokens: the bias of `qkv`. `None` for global attention.
    padding: Option<Tensor>,
    projection: Linear,
    norm2: LayerNorm,
    widen: Linear,
    narrow: Linear,
}

struct Encoder {
    patches: Conv2d,
    positions: Tensor,
    blocks: Vec<Block>,
    neck1: Linear,
    neck_norm1: LayerNorm,
    neck2: Conv2d,
    neck_norm2: LayerNorm,
}

/// Numbers of about the size of trained weights.
struct Numbers(u32);

impl Numbers {
    fn tensor(&mut self, shape: &[usize], scale: f32) -> Tensor {
        let mut next = || {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
        Tensor::from_values(shape, &values)
    }

    fn linear(&mut self, device: &Device, inputs: usize, outputs: usize) -> Result<(Linear, Tensor)> {
        let bias = self.tensor(&[outputs], 0.1);
        let weight = self.tensor(&[outputs, inputs], (3.0 / inputs as f32).sqrt());
        Ok((device.load_linear(&weight, Some(&bias))?, bias))
    }

    fn norm(&mut self, device: &Device, channels: usize) -> Result<LayerNorm> {
        device.load_layer_norm(&self.tensor(&[channels], 1.0), &self.tensor(&[channels], 0.1), 1e-6)
    }
}

impl Encoder {
    fn new(device: &Device) -> Result<Self> {
        let mut numbers = Numbers(1);
        let blocks = (0..BLOCKS).map(|i| {
            let grid = if GLOBAL.contains(&i) { SIDE } else { WINDOW };
            let (qkv, bias) = numbers.linear(device, CHANNELS, 3 * CHANNELS)?;
            Ok(Block {
                norm1: numbers.norm(device, CHANNELS)?,
                qkv,
                rows: device.load(&numbers.tensor(&[2 * grid - 1, CHANNELS / HEADS], 0.1))?,
                columns: device.load(&numbers.tensor(&[2 * grid - 1, CHANNELS / HEADS], 0.1))?,
                padding: (grid == WINDOW)
                    .then(|| device.load(&bias.reshape([1, 3 * CHANNELS])?))
                    .transpose()?,
                projection: numbers.linear(device, CHANNELS, CHANNELS)?.0,
                norm2: numbers.norm(device, CHANNELS)?,
                widen: numbers.linear(device, CHANNELS, 4 * CHANNELS)?.0,
                narrow: numbers.linear(device, 4 * CHANNELS, CHANNELS)?.0,
            })
        });
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        let patches = numbers.tensor(&[CHANNELS, 3, 16, 16], 0.05);
        let neck2 = numbers.tensor(&[256, 256, 3, 3], 0.03);
        Ok(Self {
            patches: device.load_conv2d(&patches, None, Conv2dGeometry::patches(16))?,
            positions: device.load(&numbers.tensor(&[1, SIDE, SIDE, CHANNELS], 0.1))?,
            blocks,
            neck1: numbers.linear(device, CHANNELS, 256)?.0,
            neck_norm1: numbers.norm(device, 256)?,
            neck2: device.load_conv2d(&neck2, None, Conv2dGeometry::same(3))?,
            neck_norm2: numbers.norm(device, 256)?,
        })
    }

    fn encode(&self, device: &Device, image: &Tensor) -> Result<Tensor> {
        let none = Activation::Identity;
        let patches = device.stage("patches");
        let mut x = patches.conv2d(image, &self.patches, &Epilogue::add(&self.positions))?;
        for block in &self.blocks {
            let normed = device.layer_norm(&x, &block.norm1, none)?;
            let qkv = device.stage("qkv").linear(&normed, &block.qkv, &Epilogue::NONE)?;
            let grid = if block.padding.is_some() { WINDOW } else { SIDE };
            let attended = device
                .stage(if block.padding.is_some() { "windows" } else { "global" })
                .attention(&Attention {
                    q: Rows::columns(&qkv, 0),
                    k: Rows::columns(&qkv, CHANNELS),
                    v: Rows::columns(&qkv, 2 * CHANNELS),
                    heads: HEADS,
                    head_channels: CHANNELS / HEADS,
                    value_channels: CHANNELS / HEADS,
                    scale: 0.125,
                    layout: match &block.padding {
                        Some(row) => TokenLayout::Windows {
                            batch: 1,
                            grid: [SIDE, SIDE],
                            window: WINDOW,
                            query_stride: 1,
                            padding: Some(row),
                        },
                        None => {
                            let tokens = SIDE * SIDE;
                            TokenLayout::Sequence { batch: 1, key_batch: 1, queries: tokens, keys: tokens }
                        }
                    },
                    bias: AttentionBias::RelativePosition {
                        rows: &block.rows,
                        columns: &block.columns,
                        grid: [grid, grid],
                    },
                    precision: block.qkv.precision(),
                })?;
            drop(qkv);
            x = device.stage("projection").linear(&attended, &block.projection, &Epilogue::add(&x))?;
            let normed = device.layer_norm(&x, &block.norm2, none)?;
            let wide =
                device.stage("widen").linear(&normed, &block.widen, &Epilogue::act(Activation::Gelu))?;
            x = device.stage("narrow").linear(&wide, &block.narrow, &Epilogue::add(&x))?;
        }
        let neck = device.stage("neck");
        let x = neck.layer_norm(&neck.linear(&x, &self.neck1, &Epilogue::NONE)?, &self.neck_norm1, none)?;
        neck.layer_norm(&neck.conv2d(&x, &self.neck2, &Epilogue::NONE)?, &self.neck_norm2, none)
    }
}

/// Calls, operations and time by operator and stage.
#[derive(Default)]
struct Totals(Mutex<Table>);

type Table = BTreeMap<(&'static str, &'static str), (u32, u64, Duration)>;

impl Instrument for Totals {
    fn record(&self, span: &Span) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total = totals.entry((span.op, span.stage)).or_default();
        *total = (total.0 + 1, total.1 + span.cost.operations, total.2 + span.duration);
    }
}

/// Time this process has run on processors.
fn processor_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the struct.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "no processor clock");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse().expect("a number"));
    let threads = arguments.next().unwrap_or(0);
    let repeats = arguments.next().unwrap_or(3);
    let level: Option<SimdLevel> = asked("SAMOVAR_SIMD");
    let products: Option<Products> = asked("SAMOVAR_PRODUCTS");
    let kernels = CpuKernels::new(CpuOptions { threads, level, products }).expect("a CPU backend");
    let kernels = Arc::new(kernels);
    let totals = Arc::new(Totals::default());
    let plain = Device::new(kernels.clone(), Pool::new(usize::MAX));
    let device = plain.with_instrument(totals.clone());
    let encoder = Encoder::new(&plain)?;
    let image = Numbers(2).tensor(&[1, 1024, 1024, 3], 1.0);
    let _warm = encoder.encode(&plain, &image)?;
    let (mut best, mut best_totals, mut peak) = (Duration::MAX, Table::new(), 0.0f64);
    let mut processor = f64::INFINITY;
    for _ in 0..repeats {
        peak = peak.max(kernels.measure_peak(Duration::from_millis(50)));
        std::mem::take(&mut *totals.0.lock().unwrap_or_else(PoisonError::into_inner));
        let (start, processor_start) = (Instant::now(), processor_seconds());
        encoder.encode(&device, &image)?;
        processor = processor.min(processor_seconds() - processor_start);
        if start.elapsed() < best {
            best = start.elapsed();
            best_totals = std::mem::take(&mut *totals.0.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
    let operations: u64 = best_totals.values().map(|total| total.1).sum();
    let share = |operations: u64, time: Duration| operations as f64 / time.as_secs_f64() / peak * 100.0;
    println!("{}, peak {:.1} GFLOP/s", plain.name(), peak / 1e9);
    for (&(op, stage), &(calls, operations, time)) in &best_totals {
        let millis = time.as_secs_f64() * 1e3;
        let rate = operations as f64 / time.as_secs_f64() / 1e9;
        println!(
            "{op:12} {stage:12} {calls:3} calls {millis:9.1} ms {rate:8.1} GFLOP/s {:5.1} %",
            share(operations, time)
        );
    }
    println!(
        "{:.3} s ({processor:.3} s of processor time) for {:.1} GFLOP: {:.1} GFLOP/s, {:.1} % of peak; {:.0} MB of \
         tensors at most",
        best.as_secs_f64(),
        operations as f64 / 1e9,
        operations as f64 / best.as_secs_f64() / 1e9,
        share(operations, best),
        plain.pool().stats().peak_bytes as f64 / 1e6
    );
    Ok(())
}
