//! `samovar eval`: how good a model is on pictures whose masks are known, or masks of videos.

mod document;
mod overlays;
mod table;
mod video;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Result;
use samovar::evaluate::{EvaluateOptions, EvaluateProgress, MaskFigures, evaluate};

use crate::failure::{describe, usage};
use crate::model_args::ModelArgs;
use crate::{interrupt, progress};
use document::Document;

/// Measure a model on pictures whose masks are known, by clicks and boxes; or masks of videos
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Pictures with label maps in one file (.segpack); with --masks, the true masks of videos: such a file of frames, or a
    /// folder
    #[arg(value_name = "PACK")]
    pack: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Only N pictures of each source, drawn at random from all of them, the same ones for the same --seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Only N masks of each picture, drawn at random, the same ones for the same --seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    per_image: Option<u32>,
    /// Which pictures and masks --limit and --per-image draw
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Clicks per mask
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=50))]
    clicks: u8,
    /// Write overlays of the worst masks there: found blue, missed yellow, too much magenta, the prompt white
    #[arg(long, value_name = "DIR")]
    errors: Option<PathBuf>,
    /// Overlays for each source and kind of prompt
    #[arg(long, value_name = "N", default_value_t = 4, requires = "errors", value_parser = clap::value_parser!(u32).range(1..))]
    worst: u32,
    /// Measure these masks of videos, made by whatever tool, instead of a model: J, F and J&F against those in PACK
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "dtype", "limit", "per_image", "seed", "clicks", "errors", "worst"])]
    masks: Option<PathBuf>,
    /// Count an object's first and a sequence's last frame too
    #[arg(long, requires = "masks")]
    all_frames: bool,
    /// Print one JSON document on stdout, with the figures of every mask
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  samovar eval dev.segpack
  samovar eval dev.segpack --limit 5                    a quick look: five pictures of each source
  samovar eval dev.segpack --limit 5 --seed 1           at five others
  samovar eval dev.segpack --model facebook/sam-vit-base --per-image 4 --json > figures.json
  samovar eval dev.segpack --errors worst/ --worst 20   pictures of where it fails
  samovar eval DAVIS/Annotations/480p --masks results/  masks of videos: J&F
  samovar eval video_dev.segpack --masks results/ --json

First click: the point of the object farthest from its border; next clicks: the same in the larger error, with the mask \
so far given back. Box: the object's own, each side moved by up to 5 % of its length. Masks under 0.1 % of their picture \
are left out. IoU and boundary F are averaged over the masks of each source, then over sources. Boundary F is that of the \
DAVIS evaluation, with boundaries matched within 2 pixels.

--limit draws a number for each picture from its name and the seed, and takes the smallest of each source: a larger sample \
holds the smaller one, and pictures that a pack gains push out no more than they are.

Ctrl-C ends a run with the figures of what was done, marked PARTIAL (\"complete\": false), and exit code 1.

--json has \"per_mask\" (source, picture, layer, label, area, share, bounds, and for clicks and box what was asked, IoU, \
boundary F and predicted IoU), then the means. docs/evaluation.md describes it.

--masks takes a folder with a folder for each sequence, its frames PNG files named as in the truth: label maps, by palette \
as in DAVIS and YouTube-VOS or greyscale, or a folder of masks for each object, named by its label. J is the mean IoU, F the \
mean boundary F within 0.8 % of the diagonal, both over frames, then over objects; recall is the share of frames over 0.5, decay \
what the last quarter has less than the first. The frame that first shows an object and a sequence's last one are left out.

A segpack is 8 bytes SEGPACK1 and then records, all numbers little endian: u32 length and a JSON header (id, src, w, h, \
layers: [{kind}], of frames also seq and frame); u32 length and a JPEG or PNG; u8 number of label layers; for each, u32 length \
and a PNG of labels, greyscale or by palette, 0 for none.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if let Some(masks) = &args.masks {
        return video::run(masks, &args.pack, args.all_frames, args.json);
    }
    if let Some(folder) = args.errors.as_deref().filter(|folder| folder.exists() && !folder.is_dir()) {
        return Err(usage(format!("\"{}\" is a file; --errors takes a folder", folder.display())));
    }
    let options = EvaluateOptions {
        pictures_per_source: args.limit.map(|limit| limit as usize),
        masks_per_picture: args.per_image.map(|limit| limit as usize),
        seed: args.seed,
        clicks: usize::from(args.clicks),
        worst_per_source: if args.errors.is_some() { args.worst as usize } else { 0 },
    };
    let model = args.model.load()?;
    interrupt::catch_saying("stopping after the pictures at hand; what was measured is shown");
    let bar = OnceLock::new();
    let watch = |progress: EvaluateProgress| {
        let bar = bar.get_or_init(|| {
            let bar = progress::items(progress.of_pictures as u64, "pictures");
            bar.watch(model.engine());
            bar
        });
        bar.set_position(progress.pictures as u64);
        bar.set_message(format!("{} masks", progress.masks));
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut document = args.json.then(|| Document::new(io::stdout()));
    let mut each = |mask: &MaskFigures| match &mut document {
        Some(document) => document.add(mask),
        None => ControlFlow::Continue(()),
    };
    let found = evaluate(&model, &args.pack, &options, &watch, &mut each);
    if let Some(bar) = bar.into_inner() {
        bar.finish_and_clear();
    }
    let found = found.map_err(|error| named(error, &args.pack));
    match (document, &found) {
        (Some(document), Ok(found)) => document.finish(found)?,
        (Some(document), Err(error)) => document.fail(&describe(error))?,
        (None, Ok(found)) => table::print(found, &mut io::stdout().lock())?,
        (None, Err(_)) => {}
    }
    let found = found?;
    if let Some(folder) = &args.errors {
        overlays::write(folder, &found.worst, &args.pack, &model)?;
    }
    // Whoever reads the exit code alone must not take a part for the whole.
    if found.complete { Ok(()) } else { Err(samovar::Error::Stopped.into()) }
}

/// The error, naming the pack where it does not yet.
fn named(error: samovar::Error, pack: &std::path::Path) -> anyhow::Error {
    let pack = pack.display().to_string();
    let names_it = error.to_string().contains(&pack);
    let error = anyhow::Error::new(error);
    if names_it { error } else { error.context(format!("\"{pack}\"")) }
}
