//! `samovar bench encode` and `decode`: one operation of a model, again and again.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use samovar::memory::{bytes, peak_resident_bytes};
use samovar::planning::ModelPlan;
use samovar::{Prompt, RgbImage, Size};
use serde_json::json;

use crate::commands::segment::print;
use crate::model_args::{ModelArgs, resolve};

/// What is measured and how often.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Measurements, after one that does not count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: u32,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// From normalised pixels to an encoded image.
    Encode,
    /// From one click to three masks of low-resolution logits, on an encoded image.
    Decode,
}

/// A square of pixels with something at every scale; what they show does not change the time.
pub fn picture(side: u32) -> RgbImage {
    RgbImage::from_fn(Size::square(side), |x, y| {
        let mix = (x ^ y).wrapping_mul(0x9E37_79B9) >> 24;
        [(x * 255 / side) as u8, (y * 255 / side) as u8, mix as u8]
    })
}

/// Runs the command.
pub fn run(args: &Args, what: What, process_start: Instant) -> Result<()> {
    let engine = args.model.engine()?;
    let source = resolve(&args.model.model)?;
    let model = args.model.load_on(&engine)?;
    let load_s = process_start.elapsed().as_secs_f64();
    let image = picture(model.input_size().width);
    let pixels = model.preprocess(&image)?;
    let mut times = Vec::new();
    let mut measure = |work: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        for round in 0..=args.repeat {
            let start = Instant::now();
            work()?;
            if round > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
        Ok(())
    };
    match what {
        What::Encode => measure(&mut || {
            model.network().image_encoder()?.encode(engine.device(), &pixels)?;
            Ok(())
        })?,
        What::Decode => {
            drop(pixels);
            let embedding = model.embed_pixels(&image)?;
            let side = f64::from(image.width());
            let click = Prompt::default().point(0.4 * side, 0.3 * side).multimask();
            measure(&mut || {
                embedding.segment(&click)?;
                Ok(())
            })?;
        }
    }
    times.sort_by(f64::total_cmp);
    let median = (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0;
    let plan = ModelPlan::of(engine.device(), &source.open()?.config, model.precision())?;
    let work = if what == What::Encode { &plan.encode } else { &plan.decode };
    let gflop = work.cost().operations as f64 / 1e9;
    let peak = peak_resident_bytes();
    if args.json {
        return print(&json!({
            "model": model.name(),
            "median_s": median,
            "min_s": times[0],
            "max_s": times[times.len() - 1],
            "load_s": load_s,
            "peak_rss_bytes": peak,
            "dtype": model.precision().to_string(),
            "threads": engine.threads(),
            "simd": engine.instructions(),
            "repeat": args.repeat,
            "gflop": gflop,
            "gflop_per_s": gflop / median,
        }));
    }
    let mut out = std::io::stdout().lock();
    let what = if what == What::Encode { "encode one image" } else { "decode one prompt" };
    writeln!(
        out,
        "{}: {what}, {}, {} threads, {}",
        model.name(),
        model.precision(),
        engine.threads(),
        engine.instructions()
    )?;
    writeln!(
        out,
        "median {:.4} s  (min {:.4}, max {:.4}, of {})   {:.1} GFLOP/s",
        median,
        times[0],
        times[times.len() - 1],
        times.len(),
        gflop / median
    )?;
    writeln!(out, "load {load_s:.3} s   peak memory {}", bytes(peak))?;
    Ok(())
}
