//! Matrix products of the models, beside the `gemm` crate: share of the machine's measured peak.
//!
//! `cargo bench -p samovar-cpu --bench gemm [-- filter [threads]]`. Results are checked against each other before
//! they are timed. Ours are computed in all ways there are; small ones are always plain. Peak, ours and theirs are
//! measured in turns, so that a busy machine disturbs all alike. One thread is timed by its own processor time, which
//! other programs hardly disturb; several by the clock on the wall.

#[path = "../examples/shared/environment.rs"]
mod environment;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use samovar_cpu::{CpuKernels, CpuOptions, Products, SimdLevel};
use samovar_tensor::{Activation, Device, Epilogue, Linear, Pool, Tensor};
use samovar_testkit::Random;

use environment::asked;

/// Model and layer, rows, inputs, outputs.
const SHAPES: &[(&str, usize, usize, usize)] = &[
    ("vit_b qkv", 4096, 768, 2304),
    ("vit_b proj", 4096, 768, 768),
    ("vit_b fc1", 4096, 768, 3072),
    ("vit_b fc2", 4096, 3072, 768),
    ("vit_h fc1", 4096, 1280, 5120),
    ("mobile stage0 expand", 65536, 64, 256),
    ("mobile stage0 project", 65536, 256, 64),
    ("mobile stage1 qkv", 16384, 128, 384),
    ("mobile stage2 fc1", 4096, 160, 640),
    ("mobile stage3 fc2", 4096, 1280, 320),
    ("decoder tokens", 7, 256, 128),
    ("decoder mlp in", 7, 256, 2048),
    ("decoder mlp out", 7, 2048, 256),
    ("decoder tokens x64", 448, 256, 256),
    ("decoder image", 4096, 256, 128),
    ("decoder upscale", 16384, 64, 128),
    ("nano expand", 65536, 16, 96),
    ("nano expand small", 448, 16, 96),
    ("nano expand L3", 8192, 16, 96),
    ("nano project", 16384, 96, 24),
    ("nano deep", 1024, 960, 160),
    ("nano head", 1024, 320, 320),
];

/// Time for each contestant and shape.
const BUDGET: Duration = Duration::from_millis(400);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let filter = arguments.first().cloned().unwrap_or_default();
    let threads = arguments.get(1).map_or(0, |word| word.parse().expect("a number of threads"));
    let level: Option<SimdLevel> = asked("SAMOVAR_SIMD");
    let backend = |products| {
        let options = CpuOptions { threads, level, products: Some(products) };
        Arc::new(CpuKernels::new(options).expect("a CPU backend"))
    };
    let kernels = backend(Products::Plain);
    let pool = Pool::new(usize::MAX);
    let devices = Products::ALL.map(|products| Device::new(backend(products), Arc::clone(&pool)));
    println!("{}", devices[0].name());
    let alone = kernels.threads() == 1;
    let origin = Instant::now();
    let clock = || if alone { processor_seconds() } else { origin.elapsed().as_secs_f64() };
    println!(
        "{:24} {:>17} {:>8} {:>8} {:>6} {:>8} {:>6} {:>8} {:>6} {:>8} {:>6}",
        "", "rows x in x out", "peak", "plain", "", "paired", "", "strassen", "", "gemm", ""
    );
    for &(name, rows, inputs, outputs) in SHAPES.iter().filter(|(name, ..)| name.contains(&filter)) {
        let x = numbers(rows * inputs);
        let weight = numbers(outputs * inputs);
        let bias = Tensor::from_values([outputs], &numbers(outputs));
        let load = |device: &Device| {
            let weight = Tensor::from_values([outputs, inputs], &weight);
            device.load_linear(&weight, Some(&bias)).expect("weights fit")
        };
        let contestants: Vec<_> = devices.iter().map(|device| (device, load(device))).collect();
        let input = devices[0].upload([rows, inputs], &x).expect("memory");
        let ours = |(device, layer): &(&Device, Linear)| {
            device.linear(&input, layer, &Epilogue::act(Activation::Identity)).expect("shapes fit")
        };
        let mut y = vec![0.0f32; rows * outputs];
        product(&x, &weight, &mut y, rows, inputs, outputs, kernels.threads());
        let bias = bias.f32().expect("f32");
        for contestant in &contestants {
            for (i, (a, b)) in ours(contestant).f32().expect("f32").iter().zip(&y).enumerate() {
                let b = b + bias[i % outputs];
                assert!((a - b).abs() < 1e-5 * inputs as f32, "{name}: number {i} is {a}, theirs {b}");
            }
        }
        let operations = (2 * rows * inputs * outputs) as f64;
        let (mut peak, mut best) = (0.0f64, [0.0f64; 4]);
        let start = Instant::now();
        while start.elapsed() < 2 * BUDGET {
            peak = peak.max(kernels.measure_peak_by(Duration::from_millis(5), clock));
            for (slot, best) in best.iter_mut().enumerate() {
                for _ in 0..3 {
                    let call = clock();
                    match contestants.get(slot) {
                        Some(contestant) => drop(black_box(ours(contestant))),
                        None => product(&x, &weight, &mut y, rows, inputs, outputs, kernels.threads()),
                    }
                    *best = best.max(operations / (clock() - call));
                }
            }
        }
        let shape = format!("{rows}x{inputs}x{outputs}");
        print!("{name:24} {shape:>17} {:8.1}", peak / 1e9);
        for rate in best {
            print!(" {:8.1} {:5.1}%", rate / 1e9, rate / peak * 100.0);
        }
        println!();
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

fn product(
    x: &[f32],
    weight: &[f32],
    y: &mut [f32],
    rows: usize,
    inputs: usize,
    outputs: usize,
    threads: usize,
) {
    assert_eq!((x.len(), weight.len(), y.len()), (rows * inputs, outputs * inputs, rows * outputs));
    let parallelism = if threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
    // SAFETY: lengths were checked; strides describe row-major x and y, and weight as its transpose.
    unsafe {
        gemm::gemm(
            rows,
            outputs,
            inputs,
            y.as_mut_ptr(),
            1,
            outputs as isize,
            false,
            x.as_ptr(),
            1,
            inputs as isize,
            weight.as_ptr(),
            inputs as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Numbers in −1..1, always the same.
fn numbers(count: usize) -> Vec<f32> {
    let mut random = Random::new("products");
    (0..count).map(|_| random.number()).collect()
}
