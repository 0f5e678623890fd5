//! Fully connected layers with weights in f32, f16, bf16 and int8, side by side: which of them pays, and where.
//!
//! `cargo bench -p samovar-cpu --bench precision [-- filter [threads]]`; `SAMOVAR_SIMD=avx512|avx2|scalar` chooses the
//! level, `SAMOVAR_INT8=pairs` the way without instructions made for 8 bits. With one thread the clock is the process's
//! own time, so that a shared machine can be measured; the contestants take turns.

#[path = "../examples/shared/environment.rs"]
mod environment;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use samovar_cpu::{CpuKernels, CpuOptions, Int8Level, SimdLevel};
use samovar_tensor::{Activation, Device, Epilogue, Linear, Pool, Precision, Tensor};
use samovar_testkit::Random;

use environment::asked;

/// Model and layer, rows, inputs, outputs, what follows.
const SHAPES: &[(&str, usize, usize, usize, Activation)] = &[
    ("vit_b qkv", 4096, 768, 2304, Activation::Identity),
    ("vit_b projection", 4096, 768, 768, Activation::Identity),
    ("vit_b widen", 4096, 768, 3072, Activation::Gelu),
    ("vit_b narrow", 4096, 3072, 768, Activation::Identity),
    ("vit_h widen", 4096, 1280, 5120, Activation::Gelu),
    ("mobile stage0 narrow", 65536, 256, 64, Activation::Gelu),
    ("mobile stage1 qkv", 16384, 128, 384, Activation::Identity),
    ("mobile stage2 widen", 4096, 160, 640, Activation::Gelu),
    ("mobile stage3 narrow", 4096, 1280, 320, Activation::Identity),
    ("nano project", 16384, 96, 24, Activation::Identity),
    ("nano deep", 576, 960, 160, Activation::Identity),
    ("nano mlp", 576, 256, 1024, Activation::Gelu),
    ("decoder tokens", 7, 256, 128, Activation::Identity),
    ("decoder mlp", 7, 256, 2048, Activation::Relu),
    ("decoder image", 4096, 256, 128, Activation::Identity),
];

/// Time for each shape.
const BUDGET: Duration = Duration::from_millis(1600);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let filter = arguments.first().cloned().unwrap_or_default();
    let threads = arguments.get(1).map_or(0, |word| word.parse().expect("a number of threads"));
    let level: Option<SimdLevel> = asked("SAMOVAR_SIMD");
    let mut kernels =
        CpuKernels::new(CpuOptions { threads, level, ..CpuOptions::default() }).expect("a CPU backend");
    match std::env::var("SAMOVAR_INT8").as_deref() {
        Ok("pairs") => kernels = kernels.with_int8_level(Int8Level::Pairs).expect("every machine has it"),
        Ok("") | Err(_) => {}
        Ok(word) => panic!("SAMOVAR_INT8 is `{word}`; expected pairs, or nothing"),
    }
    let kernels = Arc::new(kernels);
    let device = Device::new(kernels.clone(), Pool::new(usize::MAX));
    println!("{}, int8 with {}", device.name(), kernels.int8_level().name(kernels.level()));
    let alone = kernels.threads() == 1;
    let origin = Instant::now();
    let clock = || if alone { processor_seconds() } else { origin.elapsed().as_secs_f64() };
    println!("{:22} {:>16} {:>7}   GOP/s (times f32)", "", "rows x in x out", "peak");
    for &(name, rows, inputs, outputs, activation) in SHAPES.iter().filter(|shape| shape.0.contains(&filter))
    {
        let weight = Tensor::from_values([outputs, inputs], &numbers(outputs * inputs));
        let bias = Tensor::from_values([outputs], &numbers(outputs));
        let layers: Vec<Linear> = Precision::ALL
            .iter()
            .map(|&precision| device.with_weight_precision(precision).load_linear(&weight, Some(&bias)))
            .collect::<Result<_, _>>()
            .expect("weights fit");
        let input = device.upload([rows, inputs], &numbers(rows * inputs)).expect("memory");
        let operations = (2 * rows * inputs * outputs) as f64;
        let (mut peak, mut times) = (0.0f64, vec![Vec::new(); layers.len()]);
        let start = Instant::now();
        while start.elapsed() < BUDGET || times[0].len() < 5 {
            peak = peak.max(kernels.measure_peak_by(Duration::from_millis(5), clock));
            for (layer, times) in layers.iter().zip(&mut times) {
                let call = clock();
                black_box(device.linear(&input, layer, &Epilogue::act(activation)).expect("shapes fit"));
                times.push(clock() - call);
            }
        }
        let rates: Vec<f64> = times.iter_mut().map(|times| operations / median(times)).collect();
        let shape = format!("{rows}x{inputs}x{outputs}");
        print!("{name:22} {shape:>16} {:7.1}  ", peak / 1e9);
        for (precision, rate) in Precision::ALL.iter().zip(&rates) {
            print!(" {precision} {:7.1} ({:4.2})", rate / 1e9, rate / rates[0]);
        }
        println!();
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Time this process has run on processors.
fn processor_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the struct.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "no processor clock");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Numbers in −1..1, always the same.
fn numbers(count: usize) -> Vec<f32> {
    let mut random = Random::new("products");
    (0..count).map(|_| random.number()).collect()
}
