//! Attention at the shapes of the models, one thread: share of peak by processor time, the best of several runs.
//!
//! `cargo run --release -p samovar-cpu --example attention [-- part-of-a-name]`

mod shared;

#[path = "shared/environment.rs"]
mod environment;

use std::sync::Arc;
use std::time::Duration;

use samovar_cpu::{CpuKernels, CpuOptions, SimdLevel};
use samovar_tensor::{
    Attention, AttentionBias, AxialAttention, Device, Pool, Precision, Result, Rows, TokenLayout,
};

use shared::{numbers, thread_seconds};

use environment::asked;

fn main() -> Result<()> {
    let level: Option<SimdLevel> = asked("SAMOVAR_SIMD");
    let kernels = Arc::new(
        CpuKernels::new(CpuOptions { threads: 1, level, ..CpuOptions::default() }).expect("a CPU backend"),
    );
    let device = Device::new(kernels.clone(), Pool::new(usize::MAX));
    println!("{}", device.name());
    let wanted = std::env::args().nth(1).unwrap_or_default();
    // Side of the map, of the windows (0: global), heads, channels of a head, whether positions are relative.
    for (name, side, window, heads, channels, relative) in [
        ("ViT-B windows", 64, 14, 12, 64, true),
        ("ViT-H windows", 64, 14, 16, 80, true),
        ("ViT-B windows, no bias", 64, 14, 12, 64, false),
        ("ViT-B global", 64, 0, 12, 64, true),
        ("ViT-B global, no bias", 64, 0, 12, 64, false),
        ("MobileSAM windows of 7", 128, 7, 4, 32, false),
        ("MobileSAM windows of 14", 64, 14, 5, 32, false),
        ("nano global", 24, 0, 4, 32, false),
        ("SAM 2 memory, itself", 64, 0, 1, 256, false),
    ] {
        if !name.contains(&wanted) {
            continue;
        }
        let columns = heads * channels;
        // In the pool, as models have it.
        let qkv = device.load(&numbers(&[1, side, side, 3 * columns], 1.0))?;
        let padding = device.load(&numbers(&[1, 3 * columns], 1.0))?;
        let grid = if window == 0 { side } else { window };
        let table = device.load(&numbers(&[2 * grid - 1, channels], 0.1))?;
        let bias_table = device.load(&numbers(&[heads, grid * grid, grid * grid], 1.0))?;
        let layout = match window {
            0 => TokenLayout::Sequence { batch: 1, key_batch: 1, queries: side * side, keys: side * side },
            _ => TokenLayout::Windows {
                batch: 1,
                grid: [side, side],
                window,
                query_stride: 1,
                padding: Some(&padding),
            },
        };
        let attention = Attention {
            q: Rows::columns(&qkv, 0),
            k: Rows::columns(&qkv, columns),
            v: Rows::columns(&qkv, 2 * columns),
            heads,
            head_channels: channels,
            value_channels: channels,
            scale: 1.0 / (channels as f32).sqrt(),
            layout,
            bias: match (relative, name.starts_with("MobileSAM")) {
                (true, _) => {
                    AttentionBias::RelativePosition { rows: &table, columns: &table, grid: [grid, grid] }
                }
                (_, true) => AttentionBias::Table(&bias_table),
                _ => AttentionBias::None,
            },
            precision: Precision::F32,
        };
        let reduced = Attention { precision: Precision::Int8, ..attention };
        let keys = grid * grid;
        let positions = if relative { 2 * grid * channels } else { 0 };
        let operations = side * side * heads * (keys * (4 * channels + 5) + 2 * positions);
        let (mut best, mut peak) = ([f64::MAX; 2], 0.0f64);
        for _ in 0..if window == 0 { 4 } else { 12 } {
            peak = peak.max(kernels.measure_peak_by(Duration::from_millis(20), thread_seconds));
            for (attention, best) in [&attention, &reduced].into_iter().zip(&mut best) {
                let start = thread_seconds();
                device.attention(attention)?;
                *best = best.min(thread_seconds() - start);
            }
        }
        let [exact, reduced] = best;
        let share = operations as f64 / exact / peak * 100.0;
        println!(
            "{name:24} {:8.2} ms {share:5.1} % of {:.1} GFLOP/s; reduced {:8.2} ms, {:.2} of it",
            exact * 1e3,
            peak / 1e9,
            reduced * 1e3,
            reduced / exact
        );
    }
    if "SAM 2 memory, bank".contains(&wanted) {
        to_memories(&device, &kernels)?;
    }
    Ok(())
}

/// Memories of SAM 2 as its layers attend to them, and as projected keys would be attended to.
fn to_memories(device: &Device, kernels: &CpuKernels) -> Result<()> {
    let (side, channels, memory, beside) = (64, 256, 64, 64);
    let cells = side * side;
    for maps in [1, 2, 3, 7, 14] {
        let count = maps * cells + beside;
        let load = |shape: &[usize], scale: f32| device.load(&numbers(shape, scale));
        let q = load(&[1, cells, channels], 1.0)?;
        let (keys, placeless) = (load(&[maps * cells, memory], 1.0)?, load(&[beside, memory], 1.0)?);
        let (values, table) = (load(&[count, memory], 1.0)?, load(&[side, memory + 1, channels / 2], 0.1)?);
        let projected = load(&[count, channels], 1.0)?;
        let scale = 1.0 / (channels as f32).sqrt();
        let axial = AxialAttention {
            q: &q,
            keys: &keys,
            beside: Some(&placeless),
            values: &values,
            columns: &table,
            rows: &table,
            scale,
        };
        let plain = Attention {
            q: Rows::whole(&q),
            k: Rows::whole(&projected),
            v: Rows::whole(&values),
            heads: 1,
            head_channels: channels,
            value_channels: memory,
            scale,
            layout: TokenLayout::Sequence { batch: 1, key_batch: 1, queries: cells, keys: count },
            bias: AttentionBias::None,
            precision: Precision::F32,
        };
        let (mut best, mut peak) = ([f64::MAX; 2], 0.0f64);
        for _ in 0..4 {
            peak = peak.max(kernels.measure_peak_by(Duration::from_millis(20), thread_seconds));
            let start = thread_seconds();
            device.axial_attention(&axial)?;
            let middle = thread_seconds();
            device.attention(&plain)?;
            best = [best[0].min(middle - start), best[1].min(thread_seconds() - middle)];
        }
        // Sums of products count as half of one.
        let tables = 2 * side * (memory + 1) * channels;
        let operations = [
            cells * (tables + cells * memory + count * (4 * memory + 5)),
            cells * count * (2 * (channels + memory) + 5),
        ];
        let share = |i: usize| operations[i] as f64 / best[i] / peak * 100.0;
        println!(
            "SAM 2 memory, bank of {maps:2} {:8.2} ms {:5.1} % of {:.1} GFLOP/s; projected {:8.2} ms {:5.1} %; {} taken",
            best[0] * 1e3,
            share(0),
            peak / 1e9,
            best[1] * 1e3,
            share(1),
            if device.axial_attention_pays(&axial)? { "the first is" } else { "the second is" }
        );
    }
    Ok(())
}
