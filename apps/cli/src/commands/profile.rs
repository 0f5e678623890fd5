//! `samovar profile`: where the time goes, operator by operator; and which kernel each of them takes.

mod routes;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use samovar::profile::Profiler;
use samovar::tensor::Transfers;
use samovar::{Engine, LazyImage, Model, PictureUse, Prompt, RgbImage, Size};
use serde_json::{Value, json};

use super::segment::print;
use crate::model_args::ModelArgs;

/// Show where the time goes: every operator with its share of the machine's measured peak
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// An image; a made one if not given
    image: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Rounds to add up, after one that does not count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: u32,
    /// Print which kernel runs for which shape instead: the table of this machine, and the routes that the model took
    #[arg(long, conflicts_with = "repeat")]
    routes: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  samovar profile
  samovar profile photo.jpg --model facebook/sam-vit-base
  samovar profile --routes --model facebook/sam-vit-base

One round encodes the image and answers one click with three masks. The peak is what all threads together reach with \
multiply-adds in registers, measured for a fifth of a second at the start. Large products use additions beside them where \
the machine has units for both, or fewer multiply-adds than are counted, and may exceed it.";

/// How long the peak is measured.
const PEAK_TIME: Duration = Duration::from_millis(200);

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let engine = args.model.engine()?;
    let mut _room = None;
    let image = match &args.image {
        Some(path) => {
            let image = LazyImage::open_within(path, *engine.decode_limits());
            _room = Some(args.model.reserve_picture(&engine, &image, PictureUse::Masks)?);
            image.pixels()?
        }
        None => RgbImage::from_fn(Size::new(1024, 768), |x, y| [x as u8, y as u8, (x ^ y) as u8]).into(),
    };
    let model = args.model.load_on(&engine)?;
    if args.routes {
        return print_routes(args, &engine, &model, &image);
    }
    let peak = engine.cpu()?.measure_peak(PEAK_TIME);
    let profiler = Profiler::new();
    let watched = model.on(&engine.with_instrument(profiler.clone()));
    let click = click(&image);
    let mut walls = [Duration::ZERO; 4];
    let mut before = engine.device().transfers();
    for round in 0..=args.repeat {
        if round == 1 {
            profiler.take();
            walls = [Duration::ZERO; 4];
            before = engine.device().transfers();
        }
        let mut lap = Instant::now();
        let mut wall = |index: usize| {
            walls[index] += lap.elapsed();
            lap = Instant::now();
        };
        let pixels = watched.preprocess(&image)?;
        wall(0);
        let embedding = watched.embed_preprocessed(&pixels, image.size())?;
        wall(1);
        let answer = embedding.segment(&click)?;
        wall(2);
        answer.best().mask()?;
        wall(3);
    }
    let rounds = f64::from(args.repeat);
    let copies = Copies::since(&before, &engine.device().transfers(), rounds);
    let stages: Vec<(&str, f64)> = ["preprocess", "encoder", "decoder", "postprocess"]
        .into_iter()
        .zip(walls.map(|wall| wall.as_secs_f64() / rounds))
        .collect();
    let mut rows: Vec<Row> = profiler
        .take()
        .into_iter()
        .map(|((stage, op), time)| Row {
            stage,
            op,
            calls: time.calls / u64::from(args.repeat),
            seconds: time.duration.as_secs_f64() / rounds,
            gflop: time.cost.operations as f64 / 1e9 / rounds,
            bytes: time.cost.bytes as f64 / rounds,
        })
        .collect();
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let whole: f64 = stages.iter().map(|(_, seconds)| seconds).sum();
    if args.json {
        let rows: Vec<Value> = rows.iter().map(|row| row.json(peak)).collect();
        let stages: Vec<Value> =
            stages.iter().map(|(stage, seconds)| json!({ "stage": stage, "seconds": seconds })).collect();
        return print(&json!({
            "model": model.name(), "dtype": model.precision().to_string(), "threads": engine.threads(), "simd": engine.instructions(),
            "peak_gflop_per_s": peak / 1e9, "seconds": whole, "stages": stages, "copies": copies.json(),
            "operators": rows,
        }));
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}, {}, {} threads, {}, peak in f32 {:.0} GFLOP/s\n",
        model.name(),
        model.precision(),
        engine.threads(),
        engine.instructions(),
        peak / 1e9
    )?;
    for (stage, seconds) in &stages {
        writeln!(out, "{stage:12} {:>10.2} ms {:>6.1} %", seconds * 1e3, 100.0 * seconds / whole)?;
    }
    writeln!(out, "\n{copies}")?;
    writeln!(
        out,
        "\n{:12} {:18} {:>6} {:>10} {:>7} {:>10} {:>9} {:>8}",
        "stage", "operator", "calls", "ms", "share", "GFLOP", "GFLOP/s", "of peak"
    )?;
    for row in &rows {
        let rate = row.gflop / row.seconds.max(1e-12);
        writeln!(
            out,
            "{:12} {:18} {:>6} {:>10.3} {:>5.1} % {:>10.3} {rate:>9.1} {:>6.1} %",
            row.stage,
            row.op,
            row.calls,
            row.seconds * 1e3,
            100.0 * row.seconds / whole,
            row.gflop,
            100.0 * rate * 1e9 / peak
        )?;
    }
    Ok(())
}

/// In the middle of an image, with three masks to choose from.
fn click(image: &RgbImage) -> Prompt {
    let (x, y) = (f64::from(image.width()) / 2.0, f64::from(image.height()) / 2.0);
    Prompt::default().point(x, y).multimask()
}

/// One round, and the routes of its operators.
fn print_routes(args: &Args, engine: &Engine, model: &Model, image: &RgbImage) -> Result<()> {
    let kernels = engine.cpu()?;
    kernels.record_routes();
    model.embed_pixels(image)?.segment(&click(image))?.best().mask()?;
    let (table, taken) = (kernels.routes(), kernels.take_routes());
    if args.json {
        return print(&routes::document(&table, &taken));
    }
    Ok(routes::write(std::io::stdout().lock(), &table, &taken)?)
}

/// Copies over the border between the host and the device, per round.
struct Copies {
    uploads: f64,
    uploaded_bytes: f64,
    downloads: f64,
    downloaded_bytes: f64,
}

impl Copies {
    fn since(before: &Transfers, after: &Transfers, rounds: f64) -> Self {
        let per_round = |before: u64, after: u64| (after - before) as f64 / rounds;
        Self {
            uploads: per_round(before.uploads, after.uploads),
            uploaded_bytes: per_round(before.uploaded_bytes, after.uploaded_bytes),
            downloads: per_round(before.downloads, after.downloads),
            downloaded_bytes: per_round(before.downloaded_bytes, after.downloaded_bytes),
        }
    }

    fn json(&self) -> Value {
        json!({
            "to_device": self.uploads, "to_device_bytes": self.uploaded_bytes,
            "to_host": self.downloads, "to_host_bytes": self.downloaded_bytes,
        })
    }
}

impl std::fmt::Display for Copies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.uploads + self.downloads == 0.0 {
            return f.write_str("no copies: the device works in the host's memory");
        }
        let megabytes = |bytes: f64| bytes / 1e6;
        write!(
            f,
            "copies: {:.1} to the device ({:.2} MB), {:.1} to the host ({:.2} MB)",
            self.uploads,
            megabytes(self.uploaded_bytes),
            self.downloads,
            megabytes(self.downloaded_bytes)
        )
    }
}

/// One operator in one stage, per round.
struct Row {
    stage: &'static str,
    op: &'static str,
    calls: u64,
    seconds: f64,
    gflop: f64,
    bytes: f64,
}

impl Row {
    fn json(&self, peak: f64) -> Value {
        let rate = self.gflop / self.seconds.max(1e-12);
        json!({
            "stage": self.stage, "operator": self.op, "calls": self.calls, "seconds": self.seconds,
            "gflop": self.gflop, "bytes": self.bytes, "gflop_per_s": rate, "share_of_peak": rate * 1e9 / peak,
        })
    }
}
