//! `samovar config suggest`: a preset made from what was measured on this machine.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use samovar::certificate::processor;
use samovar::memory::{Memory, bytes};
use samovar::resources::disk;
use samovar::{Engine, Model, Options, RgbImage, Size};

use crate::environment;
use crate::failure::usage;
use crate::inputs::Sources;
use crate::outputs::check_place;
use crate::progress;

/// How long the processor's peak is measured.
const PEAK_TIME: Duration = Duration::from_millis(200);

/// How long each way of sharing threads is measured.
const TRY_TIME: Duration = Duration::from_millis(1500);

/// Least gain of one image a thread for which it is worth the memory.
const LEAST_GAIN: f64 = 1.05;

/// The picture that is encoded: it comes to the model at the model's own size.
const SIDE: u32 = 1024;

/// Share of the free disk that features may take, and the most that is sensible.
const SHARE_OF_DISK: f64 = 0.1;
const MOST_ON_DISK: u64 = 16_000_000_000;
const LEAST_ON_DISK: u64 = 1_000_000_000;

/// What was found out about the machine.
struct Measured {
    processors: usize,
    instructions: String,
    peak_flop_per_s: f64,
    memory: Memory,
    /// Images per second: all threads on one image, and one thread on each.
    together_per_s: f64,
    apart_per_s: f64,
    /// Free where features are kept.
    disk_bytes: Option<u64>,
}

/// Runs the command.
pub fn run(out: Option<&Path>, overwrite: bool) -> Result<()> {
    if let Some(out) = out {
        check_place(out, "--out takes a file", &Sources::of([]))?;
        if out.exists() && !overwrite {
            return Err(usage(format!(
                "\"{}\" is there already; name another, or give --overwrite",
                out.display()
            )));
        }
    }
    let wait = progress::spinner("measuring this machine");
    let measured = measure()?;
    wait.finish_and_clear();
    let text = write(&measured);
    match out {
        Some(out) => {
            samovar::files::write_bytes(out, text.as_bytes())
                .with_context(|| format!("\"{}\"", out.display()))?;
            say!("{}  samovar ... --preset {}", out.display(), out.display());
        }
        None => std::io::stdout().lock().write_all(text.as_bytes())?,
    }
    Ok(())
}

fn measure() -> Result<Measured> {
    let engine = Engine::new(Options::default())?;
    let peak_flop_per_s = engine.cpu()?.measure_peak(PEAK_TIME);
    let processors = engine.threads();
    let side = f64::from(SIDE) / 2.0;
    let image = Arc::new(RgbImage::from_fn(Size::new(SIDE, SIDE), |x, y| {
        let is_inside = (f64::from(x) - side).hypot(f64::from(y) - side) < side / 2.0;
        if is_inside { [210, 40, 30] } else { [30, 60, 160] }
    }));
    let together_per_s = images_per_s(vec![engine.load("nano")?], &image)?;
    let alone = || Engine::new(Options { threads: 1, ..Options::default() })?.load("nano");
    let alone = (0..processors).map(|_| alone()).collect::<samovar::Result<Vec<_>>>()?;
    let apart_per_s = if processors == 1 { together_per_s } else { images_per_s(alone, &image)? };
    let folder = environment::cache_folder();
    let disk_bytes = folder.as_deref().and_then(disk::free_bytes);
    let (instructions, memory) = (engine.instructions(), Memory::now());
    Ok(Measured {
        processors,
        instructions,
        peak_flop_per_s,
        memory,
        together_per_s,
        apart_per_s,
        disk_bytes,
    })
}

/// How many images models encode in a second, each on a thread of its own.
fn images_per_s(models: Vec<Model>, image: &Arc<RgbImage>) -> Result<f64> {
    // The first run of each takes its memory.
    for model in &models {
        model.embed_pixels(image)?;
    }
    let began = Instant::now();
    let encode = |model: &Model| -> samovar::Result<usize> {
        let mut count = 0;
        while count == 0 || began.elapsed() < TRY_TIME {
            model.embed_pixels(image)?;
            count += 1;
        }
        Ok(count)
    };
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = models.iter().map(|model| scope.spawn(|| encode(model))).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|count| count.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<samovar::Result<Vec<_>>>()
    })?;
    Ok(counts.into_iter().sum::<usize>() as f64 / began.elapsed().as_secs_f64())
}

fn write(measured: &Measured) -> String {
    let Measured { processors, memory, together_per_s, apart_per_s, .. } = measured;
    let mut text = String::new();
    let mut line = |words: &str| {
        let _ = writeln!(text, "{words}");
    };
    let whose = if memory.is_container { "the container" } else { "the machine" };
    line("# This machine, as samovar config suggest measured it");
    line("#");
    line(&format!("# {}, {processors} threads, {}", processor(), measured.instructions));
    line(&format!(
        "# {:.0} GFLOP/s in f32, {} of {} free in {whose}",
        measured.peak_flop_per_s / 1e9,
        bytes(memory.available_bytes),
        bytes(memory.total_bytes)
    ));
    line("");
    line("# samovar computes on processors alone; auto takes another device when there is one it can use.");
    line("device = \"auto\"");
    line("");
    let gain = apart_per_s / together_per_s;
    line(&format!(
        "# nano encodes {together_per_s:.1} images a second with all threads on one image, {apart_per_s:.1} with an image to each thread"
    ));
    line(&format!("# ({gain:.2} times)."));
    line("threads = \"auto\"");
    line("");
    match gain >= LEAST_GAIN {
        true => {
            line(
                "# Folders gain by an image to each thread, so auto is left to choose that where the model is small enough.",
            );
            line("images_at_once = \"auto\"");
        }
        false => {
            line("# Folders gain nothing by an image to each thread, and several take more memory.");
            line("images_at_once = 1");
        }
    }
    line("");
    line(
        "# auto is nine tenths of what is free when a command begins. A number is for machines that are shared.",
    );
    line("memory = \"auto\"");
    line("");
    line(
        "# f32, or the model file's own. `samovar doctor --model MODEL` measures what int8, bf16 and f16 save and cost here.",
    );
    line("dtype = \"auto\"");
    line("");
    line("# For single images, so that the next prompt on them is answered at once.");
    line("cache = \"auto\"");
    line("");
    let in_memory = (memory.available_bytes / 32).clamp(32_000_000, 1_000_000_000) / 1_000_000;
    line(&format!("# A thirty-second of the {} that are free, 1 GB at most.", bytes(memory.available_bytes)));
    line(&format!("cache_memory = \"{in_memory}MB\""));
    line("");
    let on_disk = match measured.disk_bytes {
        Some(free) => {
            let share = (free as f64 * SHARE_OF_DISK) as u64;
            line(&format!(
                "# A tenth of the {} that are free where features are kept, 16 GB at most; one of SAM ViT-B is 4.2 MB.",
                bytes(free as usize)
            ));
            share.clamp(LEAST_ON_DISK.min(free / 2), MOST_ON_DISK)
        }
        None => {
            line("# The system does not say how much is free where features are kept.");
            LEAST_ON_DISK
        }
    };
    line(&format!("cache_disk = \"{}MB\"", on_disk / 1_000_000));
    line("");
    let points = if memory.available_bytes < 2_000_000_000 { 2 } else { 8 };
    line(
        "# Points that `everything` answers together: more than 8 gain nothing on processors, fewer take less memory.",
    );
    line(&format!("points_per_batch = {points}"));
    text
}
