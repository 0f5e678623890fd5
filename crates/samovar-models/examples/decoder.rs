//! SAM's mask decoder with random weights on a warm embedding: time per prompt by number of prompts at a time, and by
//! operator. Machines are shared, so operators are given by their processor time, the best of all runs.
//!
//! `cargo run --release -p samovar-models --example decoder [-- threads [seconds [prompts ...]]]`

#[path = "shared/random_weights.rs"]
mod random_weights;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use random_weights::{RandomWeights, random};
use samovar_cpu::{CpuKernels, CpuOptions, SimdLevel};
use samovar_geometry::Point;
use samovar_models::{ImageFeatures, MaskOutput, Model, ModelConfig, PromptBatch};
use samovar_tensor::{Device, Instrument, Pool, Span};

/// The table, and the processor time at the last call.
#[derive(Default)]
struct Totals(Mutex<(Table, f64)>);

/// Processor time of all threads so far, in seconds.
fn processor_time() -> f64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut now) };
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// Calls, operations and time by operator and shape of the result.
type Table = BTreeMap<(&'static str, String), (u32, u64, Duration)>;

impl Instrument for Totals {
    fn record(&self, span: &Span) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = processor_time();
        let time = Duration::from_secs_f64(now - totals.1);
        totals.1 = now;
        let total = totals.0.entry((span.op, span.output.to_string())).or_default();
        *total = (total.0 + 1, total.1 + span.cost.operations, total.2 + time);
    }
}

fn grid_of_points(prompts: usize) -> PromptBatch {
    let point = |i: usize| Point::new((i * 97 % 1024) as f64, (i * 389 % 1024) as f64);
    PromptBatch {
        prompts,
        points: (0..prompts).map(point).collect(),
        labels: vec![1; prompts],
        output: MaskOutput::Multimask,
        ..PromptBatch::default()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(Ok(0), |word| word.parse())?;
    let seconds = arguments.next().map_or(Ok(2.0), |word| word.parse())?;
    let mut counts = arguments.map(|word| word.parse()).collect::<Result<Vec<usize>, _>>()?;
    if counts.is_empty() {
        counts = vec![1, 4, 8, 16, 64];
    }
    let level = match std::env::var("SAMOVAR_SIMD") {
        Ok(word) if !word.is_empty() => Some(word.parse::<SimdLevel>()?),
        _ => None,
    };
    let kernels = Arc::new(CpuKernels::new(CpuOptions { threads, level, ..CpuOptions::default() })?);
    let totals = Arc::new(Totals::default());
    let plain = Device::new(kernels.clone(), Pool::new(usize::MAX));
    let device = plain.with_instrument(totals.clone());
    // MobileSAM has SAM's decoder and fewer weights to make up.
    let config = ModelConfig::from_catalogue("mobile_sam").ok_or("not in the catalogue")?;
    let model = Model::load(&plain, &config, &RandomWeights)?;
    let segmenter = model.promptable_segmenter()?;
    let embedding = random(&[1, 64, 64, 256], 1.0, 0.0);
    let features = ImageFeatures { embedding, high_res: Vec::new(), hq: None, is_conditioned: false };
    let threads = kernels.threads() as f64;
    // Of one thread, as are the operators below.
    let peak = kernels.measure_peak_by(Duration::from_millis(50), || processor_time() / threads) / threads;
    println!("{}, peak {:.1} GFLOP/s per thread", plain.name(), peak / 1e9);
    for count in counts {
        let prompts = grid_of_points(count);
        segmenter.decode(&plain, &features, &prompts)?;
        plain.pool().reset_peak();
        let (mut score, mut all, mut processor) = (Vec::new(), Vec::new(), Vec::new());
        let mut best = Table::new();
        let take = || {
            let next = (Table::new(), processor_time());
            std::mem::replace(&mut *totals.0.lock().unwrap_or_else(PoisonError::into_inner), next).0
        };
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < seconds || all.len() < 3 {
            take();
            let (start, start_processor) = (Instant::now(), processor_time());
            let scored = segmenter.score(&device, &features, &prompts)?;
            score.push(start.elapsed());
            segmenter.draw(&device, &features, scored)?;
            all.push(start.elapsed());
            processor.push(Duration::from_secs_f64(processor_time() - start_processor));
            for (key, total) in take() {
                let before = best.entry(key).or_insert(total);
                before.2 = before.2.min(total.2);
            }
        }
        let millis = |times: &mut Vec<Duration>| {
            times.sort();
            let [best, median] = [0, times.len() / 2].map(|i| times[i].as_secs_f64() * 1e3 / count as f64);
            format!("{best:6.2} ({median:6.2})")
        };
        let stats = plain.pool().stats();
        println!(
            "{count:3} prompts: best (median) {} ms per prompt, {} of it for scores, {} of processor; {:.0} MB of tensors",
            millis(&mut all),
            millis(&mut score),
            millis(&mut processor),
            stats.peak_bytes as f64 / 1e6
        );
        let mut rows: Vec<_> = best.into_iter().collect();
        rows.sort_by_key(|(_, total)| std::cmp::Reverse(total.2));
        for ((op, shape), (calls, operations, time)) in rows.into_iter().take(14) {
            let share = operations as f64 / time.as_secs_f64() / peak * 100.0;
            let each = time.as_secs_f64() * 1e3 / count as f64;
            println!("    {each:7.3} ms {share:5.1} % {calls:3} x {op} {shape}");
        }
    }
    Ok(())
}
