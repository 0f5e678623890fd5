//! `samovar bench track`: what following objects through a frame takes once all is remembered that can be, and which part takes it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow};
use samovar::media;
use samovar::media::video::{self, Direction, Frame, FrameNumber, FrameSource, VideoOptions};
use samovar::memory::{bytes, peak_resident_bytes};
use samovar::profile::Profiler;
use samovar::tracking::{self, ObjectId, ShotOptions};
use samovar::{Image, Prompt, RgbImage, Size};
use serde_json::{Value, json};

use super::single::picture;
use crate::commands::segment::print;
use crate::model_args::ModelArgs;

/// What is measured and how often.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A folder of images, a pattern or a video; made frames of the model's input size if not given
    #[arg(value_name = "FRAMES")]
    frames: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Objects, each followed from a click on the first frame
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    objects: ObjectId,
    /// Frames that do not count: with 16 SAM 2 remembers 7 maps and 16 pointers of each object, as many as it ever does
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    warm_up: u32,
    /// Frames that count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: u32,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// A picture that moves, for ever.
struct Made {
    still: RgbImage,
    next: FrameNumber,
}

impl FrameSource for Made {
    fn size(&self) -> Size<Image> {
        self.still.size()
    }

    fn start(&mut self, from: Option<FrameNumber>, _: Direction) -> media::Result<()> {
        self.next = from.unwrap_or(0);
        Ok(())
    }

    fn next(&mut self) -> media::Result<Option<Frame>> {
        let (size, gone) = (self.size(), self.next as u32);
        let moved = |x: u32, y: u32| self.still.pixel((x + gone % size.width) % size.width, y);
        let pixels = Arc::new(RgbImage::from_fn(size, moved));
        self.next += 1;
        Ok(Some(Frame { number: self.next - 1, time: None, pixels }))
    }
}

/// Runs the command.
pub fn run(args: &Args, process_start: Instant) -> Result<()> {
    let engine = args.model.engine()?;
    let model = args.model.load_on(&engine)?;
    let profiler = Profiler::recording(engine.device().pool(), false);
    let model = model.on(&engine.with_instrument(profiler.clone()));
    let load_s = process_start.elapsed().as_secs_f64();
    let frames: Box<dyn FrameSource> = match &args.frames {
        Some(path) => {
            let options = VideoOptions { limits: *engine.decode_limits(), ..VideoOptions::default() };
            video::open(path, &options)?
        }
        None => Box::new(Made { still: picture(model.input_size().width), next: 0 }),
    };
    let size = frames.size();
    let first = frames.number_at(0).ok_or_else(|| anyhow!("there are no frames"))?;
    let mut shot = model.open_video(frames, &ShotOptions::default())?;
    // Clicks in rows of a square.
    let across = f64::from(args.objects).sqrt().ceil();
    for object in 1..=args.objects {
        let (column, row) = (f64::from(object - 1) % across, (f64::from(object - 1) / across).floor());
        let at = |cell: f64, side: u32| (cell + 0.5) / across * f64::from(side);
        shot.prompt(first, object, &Prompt::default().point(at(column, size.width), at(row, size.height)))?;
    }
    let mut walk = shot.propagate(tracking::Direction::Forward)?;
    let mut times = Vec::new();
    for frame in 0..args.warm_up + args.repeat {
        let too_short = || anyhow!("the frames end after {frame}; {} are needed", args.warm_up + args.repeat);
        if frame < args.warm_up {
            walk.next().ok_or_else(too_short)??;
            continue;
        }
        let start = Instant::now();
        profiler.round(|| walk.next()).ok_or_else(too_short)??;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let median = (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0;
    let per_frame = |duration: std::time::Duration| duration.as_secs_f64() / f64::from(args.repeat);
    let stages: Vec<(&str, f64)> =
        profiler.stages().iter().map(|stage| (stage.name, per_frame(stage.duration))).collect();
    let peak = peak_resident_bytes();
    if args.json {
        let stages: serde_json::Map<String, Value> =
            stages.iter().map(|(name, time)| ((*name).to_owned(), json!(time))).collect();
        return print(&json!({
            "model": model.name(),
            "objects": args.objects,
            "warm_up": args.warm_up,
            "repeat": args.repeat,
            "median_s": median,
            "min_s": times[0],
            "max_s": times[times.len() - 1],
            "stages_s": stages,
            "load_s": load_s,
            "peak_rss_bytes": peak,
            "dtype": model.precision().to_string(),
            "threads": engine.threads(),
            "simd": engine.instructions(),
        }));
    }
    let mut out = std::io::stdout().lock();
    let objects = f64::from(args.objects);
    writeln!(out, "{}: {} objects through a frame, {}", model.name(), args.objects, engine.instructions())?;
    writeln!(
        out,
        "median {median:.3} s  (min {:.3}, max {:.3}, of {}), {:.3} s for each object",
        times[0],
        times[times.len() - 1],
        times.len(),
        median / objects
    )?;
    for (name, time) in stages {
        writeln!(out, "  {name}: {time:.3} s")?;
    }
    writeln!(out, "load {load_s:.3} s   peak memory {}", bytes(peak))?;
    Ok(())
}
