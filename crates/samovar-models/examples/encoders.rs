//! Models of full size with random weights on a CUDA device: time of an encoding and of a prompt, and memory above the weights.
//!
//! `cargo run --release -p samovar-models --example encoders [-- dtype [device [models ...]]]`; see `dev/gpu`.

#[path = "shared/random_weights.rs"]
mod random_weights;

use std::sync::Arc;
use std::time::{Duration, Instant};

use random_weights::{RandomWeights, random};
use samovar_cuda::{Arithmetic, CudaKernels, CudaOptions};
use samovar_geometry::Point;
use samovar_models::{MaskOutput, Model, ModelConfig, PromptBatch};
use samovar_tensor::{Device, Kernels, Pool, Precision};

const TIME: Duration = Duration::from_secs(2);

/// Best and median of the times of a call that waits, in milliseconds.
fn times<T>(
    mut call: impl FnMut() -> samovar_models::Result<T>,
) -> Result<[f64; 2], Box<dyn std::error::Error>> {
    for _ in 0..3 {
        call()?;
    }
    let (start, mut all) = (Instant::now(), Vec::new());
    while start.elapsed() < TIME {
        let begin = Instant::now();
        call()?;
        all.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    all.sort_by(f64::total_cmp);
    Ok([all[0], all[all.len() / 2]])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let precision: Precision = arguments.next().unwrap_or("bf16".into()).parse()?;
    let index = arguments.next().map_or(Ok(0), |word| word.parse())?;
    let mut models: Vec<String> = arguments.collect();
    if models.is_empty() {
        models = ["vit_b", "vit_h", "sam2.1_t", "mobile_sam", "nano"].map(String::from).into();
    }
    let arithmetic = if precision == Precision::F32 { Arithmetic::Exact } else { Arithmetic::Rounded };
    println!(
        "| model, {precision} | encode ms: best, median | prompt ms: best, median | weights MB | peak above MB |"
    );
    println!("|---|---|---|---|---|");
    for name in models {
        let kernels = Arc::new(CudaKernels::open(index, CudaOptions { arithmetic })?);
        let pool = Pool::on(kernels.memory(), usize::MAX);
        let device = Device::new(kernels, pool).with_weight_precision(precision);
        device.reserve()?;
        let config =
            ModelConfig::from_catalogue(&name).ok_or_else(|| format!("{name} is not in the catalogue"))?;
        let model = Model::load(&device, &config, &RandomWeights)?;
        let (encoder, segmenter) = (model.image_encoder()?, model.promptable_segmenter()?);
        let side = segmenter.input_size().width as usize;
        let pixels = device.load(&random(&[1, side, side, 3], 1.0, 0.0))?;
        device.synchronise()?;
        let weights = device.pool().stats().in_use_bytes;
        device.pool().reset_peak();
        let encode = times(|| {
            let features = encoder.encode(&device, &pixels)?;
            device.synchronise()?;
            Ok(features)
        })?;
        let peak = device.pool().stats().peak_bytes - weights;
        let features = encoder.encode(&device, &pixels)?;
        let prompts = PromptBatch {
            prompts: 1,
            points: vec![Point::new(side as f64 / 2.0, side as f64 / 3.0)],
            labels: vec![1],
            output: MaskOutput::Multimask,
            ..PromptBatch::default()
        };
        let prompt = times(|| {
            let found = segmenter.decode(&device, &features, &prompts)?;
            // As whoever asks for masks does: the scores come to the host.
            Ok(device.download(&found.iou_scores)?.wait()?)
        })?;
        println!(
            "| {name} | {:.2}, {:.2} | {:.2}, {:.2} | {} | {} |",
            encode[0],
            encode[1],
            prompt[0],
            prompt[1],
            weights / 1_000_000,
            peak / 1_000_000
        );
    }
    Ok(())
}
