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

/// How long each way of sharing threads is measured, and how often, in turns.
const TRY_TIME: Duration = Duration::from_millis(500);
const TRIES: usize = 3;

/// The picture that is encoded: it comes to the model at the model's own size.
const SIDE: u32 = 1024;

/// Share of the free disk that features may take, and the most that is sensible.
const SHARE_OF_DISK: f64 = 0.1;
const MOST_ON_DISK: u64 = 16_000_000_000;
const LEAST_ON_DISK: u64 = 1_000_000_000;

/// Free memory below which points are answered a few at a time.
const SCARCE_BYTES: usize = 2_000_000_000;

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
    let together = [engine.load("nano")?];
    let alone = || Engine::new(Options { threads: 1, ..Options::default() })?.load("nano");
    let alone = (0..processors).map(|_| alone()).collect::<samovar::Result<Vec<_>>>()?;
    let (mut together_per_s, mut apart_per_s) = (Vec::new(), Vec::new());
    for _ in 0..TRIES {
        together_per_s.push(images_per_s(&together, &image)?);
        apart_per_s.push(images_per_s(&alone, &image)?);
    }
    let (together_per_s, apart_per_s) = (median(together_per_s), median(apart_per_s));
    let folder = environment::feature_folder();
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
fn images_per_s(models: &[Model], image: &Arc<RgbImage>) -> Result<f64> {
    // The first run of each takes its memory.
    for model in models {
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
    line(
        "# auto is the best card that has passed its certificate, else the processors; these figures are those of the processors.",
    );
    line("device = \"auto\"");
    line("");
    line(&format!("# All {processors} threads of this machine; a number is for machines that are shared."));
    line("threads = \"auto\"");
    line("");
    line(&format!(
        "# nano encodes {together_per_s:.1} images a second with all threads on one image, {apart_per_s:.1} with an image to each thread \
         (medians of {TRIES})."
    ));
    line(
        "# auto gives each thread an image of its own where the model is small, and has large models read and write beside one.",
    );
    if *processors > 1 && apart_per_s < together_per_s {
        line(
            "# Here and now that was the slower way for nano: measure again when nothing else runs, or try 1 on a folder of yours.",
        );
    }
    line("images_at_once = \"auto\"");
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
    line(&format!(
        "# A thirty-second of the {} that are free, 32 MB at least and 1 GB at most.",
        bytes(memory.available_bytes)
    ));
    line(&format!("cache_memory = \"{in_memory}MB\""));
    line("");
    let on_disk = match measured.disk_bytes {
        Some(free) => {
            let share = (free as f64 * SHARE_OF_DISK) as u64;
            line(&format!(
                "# A tenth of the {} that are free where features are kept, 1 GB at least (or half of them where that is less) and 16 GB at \
                 most; one of SAM ViT-B is 4.2 MB.",
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
    let (points, why) = match memory.available_bytes < SCARCE_BYTES {
        true => (2, "Less than 2 GB are free, and fewer points together take less memory."),
        false => (8, "More than 8 points together gain nothing on processors (docs/performance.md)."),
    };
    line(&format!("# {why}"));
    line(&format!("points_per_batch = {points}"));
    text
}
