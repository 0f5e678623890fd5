//! `samovar profile`: where time and memory go, stage by stage and operator by operator, against what this machine could do; and
//! which kernel each operator takes.

mod document;
mod measured;
mod report;
mod routes;
mod table;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use samovar::automatic::{self, AutomaticOptions};
use samovar::profile::{Profiler, Roofline};
use samovar::{
    Engine, ErrorKind, LazyImage, Model, PictureUse, PictureWork, Precision, Prompt, RgbImage, Size,
};

use super::segment::print;
use crate::failure::{needed_bytes, usage};
use crate::inputs::Sources;
use crate::machine::busy_words;
use crate::made::Made;
use crate::model_args::{ModelArgs, resolve};
use crate::outputs::{Files, check_place};
use crate::progress;
use measured::{Copies, Measured, TwoRooflines};

/// Show where time and memory go: every stage and operator against the machine's measured ceilings
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
    /// A round finds everything in the image, as `samovar everything` does, instead of answering one click
    #[arg(long)]
    everything: bool,
    /// Write the rounds as trace events, for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Write the rounds as a flame graph
    #[arg(long, value_name = "FILE.svg")]
    flamegraph: Option<PathBuf>,
    /// Write over files that samovar has not made or that were changed since
    #[arg(long)]
    overwrite: bool,
    /// Print which kernel runs for which shape instead: the table of this machine, and the routes that the model took
    #[arg(long, conflicts_with_all = ["repeat", "everything", "trace", "flamegraph"])]
    routes: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  samovar profile
  samovar profile photo.jpg --model facebook/sam-vit-base
  samovar profile photo.jpg --everything --repeat 1
  samovar profile photo.jpg --trace round.json --flamegraph round.svg
  samovar profile --routes --model facebook/sam-vit-base

One round encodes the image and answers one click with three masks; its picture is decoded before.

The roof of an operator is the least that it could take here: its arithmetic at the peak of its numbers, its operands and results \
moved through memory once, or its calls; the largest of the three is what bounds it. The ceilings are measured before the rounds and, \
where memory allows, after them, a fifth of a second each, and the better counts; what they differ by is said: multiply-adds in registers, copies of 64 MiB, calls that do nothing, on all threads. \
Large products use additions beside multiply-adds where the machine has units for both, or fewer multiply-adds than are \
counted, and what is in cache need not come from memory: such operators may exceed their roof. With int8 the peak is that of \
the fastest numbers an operator may use, though some of its layers stay f32.";

/// How long each ceiling is measured.
const CEILING_TIME: Duration = Duration::from_millis(200);

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let sources = Sources::of(args.image.iter().map(PathBuf::as_path).chain([Path::new(&args.model.model)]));
    if args.trace.is_some() && args.trace == args.flamegraph {
        return Err(usage("--trace and --flamegraph name the same file; give each its own"));
    }
    let made = Made::here();
    for (flag, place) in [("--trace", &args.trace), ("--flamegraph", &args.flamegraph)] {
        if let Some(place) = place {
            check_place(place, &format!("{flag} takes a file"), &sources)?;
            made.check(std::slice::from_ref(place), flag, args.overwrite)?;
        }
    }
    let engine = args.model.engine()?;
    let recommended = resolve(&args.model.model)?.open()?.config.recommendations();
    let asked = match args.everything {
        true => AutomaticOptions::recommended(&recommended).work(PictureUse::Masks, &recommended),
        false => PictureUse::Masks.into(),
    };
    let image = match &args.image {
        Some(path) => LazyImage::open_within(path, *engine.decode_limits()),
        None => LazyImage::from_pixels(RgbImage::from_fn(Size::new(1024, 768), |x, y| {
            [x as u8, y as u8, (x ^ y) as u8]
        })),
    };
    let reserve = || args.model.reserve_picture(&engine, &image, asked);
    // Before its own work is part of the load.
    let busy = busy_words();
    let wait = progress::spinner("measuring the machine");
    // Before anything else is held: what is copied is larger than a small model.
    let before_rounds = match args.routes {
        true => None,
        false => {
            let measured = Roofline::measure(&engine, Precision::F32, CEILING_TIME);
            Some(measured.map_err(|error| the_larger(error.into(), reserve().err()))?)
        }
    };
    let _room = reserve()?;
    let image = image.pixels()?;
    let model = args.model.load_on(&engine)?;
    let Some(before_rounds) = before_rounds else {
        wait.finish_and_clear();
        return print_routes(args, &engine, &model, &image);
    };
    let before_rounds = Roofline { precision: model.precision(), ..before_rounds };
    let is_drawn = args.trace.is_some() || args.flamegraph.is_some();
    let profiler = Profiler::recording(engine.device().pool(), is_drawn);
    let watched = model.on(&engine.with_instrument(profiler.clone()));
    let options = AutomaticOptions::for_model(&model);
    let work = || match args.everything {
        true => everything(&watched, &image, &options, asked),
        false => answer(&watched, &image),
    };
    wait.set_message("one round that does not count");
    work()?;
    let calls: u64 = profiler.take().values().map(|time| time.calls).sum();
    let calls = usize::try_from(calls)?.saturating_mul(args.repeat as usize + 1);
    let calls_bytes = if is_drawn { Profiler::recording_bytes(calls) } else { 0 };
    let _calls = engine.set_aside("a record of every call", calls_bytes)?;
    let before = engine.device().transfers();
    for round in 1..=args.repeat {
        wait.set_message(format!("round {round} of {}", args.repeat));
        profiler.round(work)?;
    }
    let copies = Copies::since(&before, &engine.device().transfers(), f64::from(args.repeat));
    wait.set_message("measuring the machine again");
    let after_rounds = match Roofline::measure(&engine, model.precision(), CEILING_TIME) {
        Err(error) if error.kind() == ErrorKind::OutOfMemory => None,
        other => Some(other?),
    };
    let ceilings = TwoRooflines { before_rounds, after_rounds, busy };
    let measured = Measured::of(&engine, &model, &profiler, ceilings, copies)?;
    let name = format!("samovar profile: {}, {}", model.name(), model.precision());
    let mut files = Files::remembered_by(&made);
    if let Some(out) = &args.trace {
        let mut bytes = Vec::new();
        profiler.trace(&name).write_chrome(&mut bytes)?;
        files.add(out, &bytes)?;
    }
    if let Some(out) = &args.flamegraph {
        files.add(out, profiler.trace(&name).flame_graph(&name).as_bytes())?;
    }
    let files = files.finish()?;
    wait.finish_and_clear();
    match args.json {
        true => print(&document::document(&measured))?,
        false => table::write(std::io::stdout().lock(), &measured)?,
    }
    files.iter().for_each(|file| say!("{}", file.display()));
    Ok(())
}

/// Of two refusals the one that names more memory: what it names does for both.
fn the_larger(one: anyhow::Error, other: Option<anyhow::Error>) -> anyhow::Error {
    match other {
        Some(other) if needed_bytes(&other) > needed_bytes(&one) => other,
        _ => one,
    }
}

/// One click, from pixels to a mask.
fn answer(model: &Model, image: &RgbImage) -> Result<()> {
    model.embed_pixels(image)?.segment(&click(image))?.best().mask()?;
    Ok(())
}

/// Everything, from pixels to run lengths.
fn everything(model: &Model, image: &RgbImage, options: &AutomaticOptions, asked: PictureWork) -> Result<()> {
    let room_bytes = asked.found_bytes(image.size());
    automatic::generate_in_room(model, image, options, room_bytes, &mut |_| ControlFlow::Continue(()))?;
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
