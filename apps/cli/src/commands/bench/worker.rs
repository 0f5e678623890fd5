//! What tables start in processes of their own: work on one held engine. Prints one JSON document, in seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use samovar::resources::cache::{DiskOptions, Store, StoreOptions, content_keys};
use samovar::resources::instruments::Latencies;
use samovar::{Embedding, Engine, LazyImage, Model, Prompt, RgbImage};
use serde_json::{Value, json};

use super::table::median;
use crate::commands::segment::print;
use crate::environment;
use crate::model_args::{ModelArgs, resolve};

/// What to do.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[arg(value_enum)]
    task: Task,
    /// The picture
    #[arg(long)]
    picture: std::path::PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// How many at once
    #[arg(long, value_delimiter = ',', default_value = "1")]
    at_once: Vec<usize>,
    /// Rounds of each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Task {
    /// An image, and the same again.
    Again,
    /// Several prompts in one call.
    Prompts,
    /// Several threads that prompt.
    Clients,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let engine = args.model.engine()?;
    let pixels = LazyImage::open_within(&args.picture, *engine.decode_limits()).pixels()?;
    print(&match args.task {
        Task::Again => again(args, engine, &pixels)?,
        Task::Prompts => prompts(args, &engine, &pixels)?,
        Task::Clients => clients(args, &engine, &pixels)?,
    })
}

fn seconds<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let made = work()?;
    Ok((start.elapsed().as_secs_f64(), made))
}

fn click(image: &RgbImage, number: usize) -> Prompt {
    let at = |side: u32, turn: f64| f64::from(side) * (0.5 + 0.4 * (turn * (number as f64 + 1.0)).sin());
    Prompt::default().point(at(image.width(), 1.3), at(image.height(), 0.7))
}

/// Encodes, prompts and draws one mask: seconds of all, and of the encoding.
fn answer(model: &Model, image: &RgbImage) -> Result<(f64, f64)> {
    let start = Instant::now();
    let (encoding_s, embedding) = seconds(|| Ok(model.embed_pixels(image)?))?;
    embedding.segment(&click(image, 0))?.best().mask()?;
    Ok((start.elapsed().as_secs_f64(), encoding_s))
}

fn again(args: &Args, engine: Engine, image: &RgbImage) -> Result<Value> {
    let folder = environment::cache_folder().context("SAMOVAR_CACHE is not set")?.join("again");
    let store = || {
        let disk = Some(DiskOptions { folder: folder.clone(), budget_bytes: 1 << 30 });
        Store::new(StoreOptions { disk, ..StoreOptions::default() })
    };
    let source = resolve(&args.model.model)?;
    let (load_s, model) = seconds(|| Ok(engine.load_from(&source)?))?;
    let first = store();
    let key = source.key(&content_keys(&first, false))?;
    // Threads start and memory is taken with the first image, which is not this one.
    answer(&model, &image.crop(0, 0, image.width() / 2, image.height() / 2)?)?;
    let kept = model.with_cache(&first, key);
    let cold = answer(&kept, image)?;
    let mut memory: Vec<(f64, f64)> = Vec::new();
    let mut disk: Vec<(f64, f64)> = Vec::new();
    let mut hits = 0;
    for _ in 0..args.rounds.max(1) {
        memory.push(answer(&kept, image)?);
        // Another process would have nothing in memory.
        let other = store();
        disk.push(answer(&model.with_cache(&other, key), image)?);
        hits += other.stats(None).hits_on_disk;
    }
    drop(first);
    let pool = Arc::clone(engine.device().pool());
    let (clean_up_s, ()) = seconds(|| {
        drop((kept, model, engine));
        pool.trim();
        Ok(())
    })?;
    let column = |samples: &[(f64, f64)], part: fn(&(f64, f64)) -> f64| {
        median(&samples.iter().map(part).collect::<Vec<_>>()).unwrap_or_default()
    };
    Ok(json!({
        "load_s": load_s, "cold_s": cold.0, "cold_encoding_s": cold.1,
        "memory_s": column(&memory, |sample| sample.0), "memory_encoding_s": column(&memory, |sample| sample.1),
        "disk_s": column(&disk, |sample| sample.0), "disk_encoding_s": column(&disk, |sample| sample.1),
        "is_kept_on_disk": hits > 0, "clean_up_s": clean_up_s, "left_bytes": pool.stats().in_use_bytes,
    }))
}

fn prompts(args: &Args, engine: &Engine, image: &RgbImage) -> Result<Value> {
    let embedding = args.model.load_on(engine)?.embed_pixels(image)?;
    let mut latencies = BTreeMap::new();
    let mut samples: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    // All sizes take turns; the first round does not count.
    for round in 0..=args.rounds {
        for &at_once in &args.at_once {
            let clicks: Vec<Prompt> = (0..at_once).map(|number| click(image, number)).collect();
            let (took, _) = seconds(|| Ok(embedding.segment_many(&clicks)?))?;
            if round > 0 {
                samples.entry(at_once).or_default().push(took);
            }
        }
    }
    for (at_once, samples) in samples {
        let latency_s = median(&samples).unwrap_or_default();
        let per_s = at_once as f64 / latency_s.max(1e-9);
        latencies.insert(at_once.to_string(), json!({ "latency_s": latency_s, "per_s": per_s }));
    }
    Ok(json!(latencies))
}

fn clients(args: &Args, engine: &Engine, image: &RgbImage) -> Result<Value> {
    let embedding = args.model.load_on(engine)?.embed_pixels(image)?;
    let prompt = |embedding: &Embedding| -> Result<()> {
        embedding.segment(&click(image, 0))?.best().mask()?;
        Ok(())
    };
    prompt(&embedding)?;
    let mut found = BTreeMap::new();
    for &at_once in &args.at_once {
        let pool = engine.device().pool();
        pool.reset_peak();
        let held_bytes = pool.stats().in_use_bytes;
        let (latencies, wall_s) = side_by_side(at_once, args.rounds, || prompt(&embedding))?;
        let quantiles = latencies.quantiles();
        let second = |time: Duration| time.as_secs_f64();
        found.insert(at_once.to_string(), json!({
            "p50_s": second(quantiles.p50), "p95_s": second(quantiles.p95), "p99_s": second(quantiles.p99),
            "longest_s": second(latencies.longest()), "per_s": latencies.count() as f64 / wall_s.max(1e-9),
            "spike_bytes": pool.stats().peak_bytes.saturating_sub(held_bytes),
        }));
    }
    Ok(json!(found))
}

/// `threads` threads do some work `rounds` times each: how long each piece took, and all together.
fn side_by_side(
    threads: usize,
    rounds: usize,
    work: impl Fn() -> Result<()> + Sync,
) -> Result<(Latencies, f64)> {
    let start = Instant::now();
    let of_thread = || -> Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let start = Instant::now();
            work()?;
            times.push(start.elapsed());
        }
        Ok(times)
    };
    let all = std::thread::scope(|scope| -> Result<Vec<Vec<Duration>>> {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(of_thread)).collect();
        let mut all = vec![of_thread()?];
        for other in others {
            all.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })?;
    let wall_s = start.elapsed().as_secs_f64();
    let mut latencies = Latencies::default();
    all.into_iter().flatten().for_each(|took| latencies.record(took));
    Ok((latencies, wall_s))
}
