//! Lists graphics devices, and measures one: host time per operator launch, products and attention per second.
//!
//! `cargo run --release -p samovar-wgpu --example devices -- [NUMBER] [SIDE]`: the number in the list, and rows of the products
//! (a software driver manages few).

use std::sync::Arc;
use std::time::Instant;

use samovar_tensor::{
    Attention, AttentionBias, Device, Epilogue, Kernels, Pool, Precision, Result, Rows, Tensor, TokenLayout,
};
use samovar_testkit::cpu_time;
use samovar_wgpu::{WgpuKernels, WgpuOptions, adapters};

/// Launches whose host time is measured, in rounds that the driver keeps up with.
const LAUNCHES: u32 = 100;
const ROUNDS: u32 = 50;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let index = arguments.next().map(|word| word.parse()).transpose()?;
    let side: usize = arguments.next().map(|word| word.parse()).transpose()?.unwrap_or(256);
    for adapter in adapters()? {
        println!("{}: {adapter}\n   {adapter:?}", adapter.index);
    }
    let Some(index) = index else { return Ok(()) };
    let options = WgpuOptions { bounds_checks: false, ..WgpuOptions::default() };
    let start = Instant::now();
    let kernels: Arc<dyn Kernels> = Arc::new(WgpuKernels::open(index, options)?);
    println!("{}: opened in {:.0} ms", kernels.name(), start.elapsed().as_secs_f64() * 1e3);
    let device = Device::new(Arc::clone(&kernels), Pool::on(kernels.memory(), usize::MAX));
    launches(&device)?;
    products(&device, side)?;
    attention(&device, side)?;
    Ok(())
}

/// What the host pays: shape checks, the pool, operands, recording, handing over.
fn launches(device: &Device) -> Result<()> {
    let x = device.filled([8, 64], 1.0)?;
    let layer = device.load_linear(&Tensor::from_values([64, 64], &[0.0; 4096]), None)?;
    type Call<'a> = Box<dyn Fn() -> Result<Tensor> + 'a>;
    let calls: [(&str, Call); 2] = [
        ("add", Box::new(|| device.add(&x, &x))),
        ("linear", Box::new(|| device.linear(&x, &layer, &Epilogue::NONE))),
    ];
    for (name, call) in calls {
        drop(call()?);
        device.synchronise()?;
        let (mut mean, mut best) = ([0.0; 2], [f64::MAX; 2]);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let (result, spent) = cpu_time(|| (0..LAUNCHES).try_for_each(|_| call().map(drop)));
            result?;
            for (i, took) in [start.elapsed(), spent].into_iter().enumerate() {
                let each = took.as_secs_f64() * 1e6 / f64::from(LAUNCHES);
                mean[i] += each / f64::from(ROUNDS);
                best[i] = best[i].min(each);
            }
            device.synchronise()?;
        }
        let [[wall, cpu], [least_wall, least_cpu]] = [mean, best];
        println!(
            "a launch of {name}: {wall:.1} us, of which the thread works {cpu:.1}; at best {least_wall:.1} and {least_cpu:.1}"
        );
    }
    Ok(())
}

/// The best of a few times.
fn timed(device: &Device, operations: f64, what: &str, call: impl Fn() -> Result<Tensor>) -> Result<()> {
    drop(call()?);
    device.synchronise()?;
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        drop(call()?);
        device.synchronise()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{what}: {:.3} ms, {:.2} GFLOP/s", best * 1e3, operations / best * 1e-9);
    Ok(())
}

fn products(device: &Device, rows: usize) -> Result<()> {
    for precision in Precision::ALL {
        for (inputs, outputs) in [(768, 768), (768, 3072)] {
            let weight = Tensor::from_values([outputs, inputs], &vec![0.01; outputs * inputs]);
            let layer = device.with_weight_precision(precision).load_linear(&weight, None)?;
            let x = device.filled([rows, inputs], 0.5)?;
            let operations = 2.0 * (rows * inputs) as f64 * outputs as f64;
            let what = format!("{rows}x{inputs} to {outputs} in {precision}");
            timed(device, operations, &what, || device.linear(&x, &layer, &Epilogue::NONE))?;
        }
    }
    Ok(())
}

fn attention(device: &Device, tokens: usize) -> Result<()> {
    let (heads, channels) = (12, 64);
    let qkv = device.filled([tokens, 3 * heads * channels], 0.1)?;
    let call = || {
        device.attention(&Attention {
            q: Rows::columns(&qkv, 0),
            k: Rows::columns(&qkv, heads * channels),
            v: Rows::columns(&qkv, 2 * heads * channels),
            heads,
            head_channels: channels,
            value_channels: channels,
            scale: 0.125,
            layout: TokenLayout::Sequence { batch: 1, key_batch: 1, queries: tokens, keys: tokens },
            bias: AttentionBias::None,
            precision: Precision::F32,
        })
    };
    let operations = 4.0 * (tokens * tokens * heads * channels) as f64;
    timed(device, operations, &format!("attention of {tokens} tokens, {heads} heads of {channels}"), call)
}
