//! `samovar eval`: how good a model is on pictures whose masks are known.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Result;
use samovar::evaluate::{EvaluateOptions, EvaluateProgress, Evaluation, Figures, evaluate};
use samovar::files;
use samovar::media::write::encode_rgb_png;

use super::segment::print;
use crate::failure::usage;
use crate::model_args::ModelArgs;
use crate::outputs::Files;
use crate::{interrupt, progress};

/// Measure a model on pictures whose masks are known: IoU by one click, by ten, by a box
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Pictures with label maps in one file (.segpack)
    #[arg(value_name = "PACK")]
    pack: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Only the first N pictures of each source
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Only N masks of each picture, always the same ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    per_image: Option<u32>,
    /// Clicks per mask
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=50))]
    clicks: u8,
    /// Write overlays of the worst masks there: found blue, missed yellow, too much magenta, the prompt white
    #[arg(long, value_name = "DIR")]
    errors: Option<PathBuf>,
    /// Overlays for each source and kind of prompt
    #[arg(long, value_name = "N", default_value_t = 4, requires = "errors", value_parser = clap::value_parser!(u8).range(1..))]
    worst: u8,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  samovar eval dev.segpack
  samovar eval dev.segpack --limit 5                    a quick look
  samovar eval dev.segpack --model facebook/sam-vit-base --per-image 4 --json
  samovar eval dev.segpack --errors worst/              pictures of where it fails

First click: the point of the object farthest from its border; next clicks: the same in the larger error, with the mask \
so far given back. Box: the object's own, each side moved by up to 5 % of its length. Masks under 0.1 % of their picture \
are left out. IoU is averaged over the masks of each source, then over sources.

A segpack is 8 bytes SEGPACK1 and then records, all numbers little endian: u32 length and a JSON header (id, src, w, h, \
layers: [{kind}]); u32 length and a JPEG or PNG; u8 number of label layers; for each, u32 length and a greyscale PNG of \
labels, 0 for none.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if let Some(folder) = args.errors.as_deref().filter(|folder| folder.exists() && !folder.is_dir()) {
        return Err(usage(format!("\"{}\" is a file; --errors takes a folder", folder.display())));
    }
    let options = EvaluateOptions {
        pictures_per_source: args.limit.map(|limit| limit as usize),
        masks_per_picture: args.per_image.map(|limit| limit as usize),
        clicks: usize::from(args.clicks),
        worst_per_source: if args.errors.is_some() { usize::from(args.worst) } else { 0 },
    };
    let model = args.model.load()?;
    interrupt::catch_saying("stopping after the pictures at hand; what was measured is shown");
    let bar = OnceLock::new();
    let watch = |progress: EvaluateProgress| {
        let bar = bar.get_or_init(|| progress::items(progress.of_pictures as u64, "pictures"));
        bar.set_position(progress.pictures as u64);
        bar.set_message(format!("{} masks", progress.masks));
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let found = evaluate(&model, &args.pack, &options, &watch).map_err(|error| {
        let pack = args.pack.display().to_string();
        let names_it = error.to_string().contains(&pack);
        let error = anyhow::Error::new(error);
        if names_it { error } else { error.context(format!("\"{pack}\"")) }
    })?;
    if let Some(bar) = bar.get() {
        bar.finish_and_clear();
    }
    if let Some(folder) = &args.errors {
        write_overlays(folder, &found)?;
    }
    if args.json {
        print(&serde_json::to_value(&found)?)?;
    } else {
        table(&found, &mut io::stdout().lock())?;
    }
    // Whoever reads the exit code alone must not take a part for the whole.
    if found.complete { Ok(()) } else { Err(samovar::Error::Stopped.into()) }
}

/// A column: its head, and its figure of a row.
type Column = (String, Box<dyn Fn(&Figures) -> f64>);

fn columns(clicks: usize) -> Vec<Column> {
    let mut columns: Vec<Column> = vec![
        ("1 click".into(), Box::new(|figures| figures.one_click)),
        ("best of 3".into(), Box::new(|figures| figures.best_of_three)),
        ("box".into(), Box::new(|figures| figures.boxed)),
    ];
    for count in [2, 3, 5, 10, clicks] {
        let head = format!("{count} clicks");
        if count <= clicks && count > 1 && columns.iter().all(|(other, _)| *other != head) {
            columns.push((head, Box::new(move |figures| figures.clicks[count - 1])));
        }
    }
    columns.push(("to 0.80".into(), Box::new(|figures| figures.clicks_to.iou_80)));
    columns.push(("to 0.90".into(), Box::new(|figures| figures.clicks_to.iou_90)));
    columns.push(("bare box".into(), Box::new(|figures| figures.bare_box)));
    columns.push(("flood".into(), Box::new(|figures| figures.flood_fill)));
    columns
}

fn table(found: &Evaluation, out: &mut impl Write) -> Result<()> {
    if !found.complete {
        writeln!(out, "PARTIAL: stopped before the end; the pictures that were done:\n")?;
    }
    let Evaluation { model, pictures, masks, seconds, .. } = found;
    let sources = found.sources.len();
    writeln!(
        out,
        "{model} on {}: {pictures} pictures, {masks} masks, {sources} sources, {seconds:.0} s\n",
        found.pack.display()
    )?;
    const MEAN: &str = "mean over sources";
    let clicks = found.mean.clicks.len();
    let columns = columns(clicks);
    let width = found.sources.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(MEAN.len());
    write!(out, "{:width$} {:>6}", "mean IoU by", "masks")?;
    columns.iter().try_for_each(|(head, _)| write!(out, " {head:>9}"))?;
    writeln!(out)?;
    let row = |out: &mut dyn Write, name: &str, masks: usize, figures: &Figures| -> io::Result<()> {
        write!(out, "{name:width$} {masks:>6}")?;
        for (head, figure) in &columns {
            let digits = if head.starts_with("to ") { 2 } else { 3 };
            write!(out, " {:>9.digits$}", figure(figures))?;
        }
        writeln!(out)
    };
    for (name, source) in &found.sources {
        row(out, name, source.masks, &source.figures)?;
    }
    row(out, MEAN, *masks, &found.mean)?;
    writeln!(
        out,
        "\n`best of 3`: of the three masks one click may mean, the best by the truth. `to 0.80`: clicks until that IoU, \
         {clicks} where it is\nnever reached. Without a model: `bare box` is the exact box taken as the mask, `flood` a \
         flood fill from the first click."
    )?;
    match &found.reference {
        Some(reference) => {
            let count = reference.tools.values().map(|tool| tool.masks).max().unwrap_or(0);
            writeln!(
                out,
                "\nNot measured in this run: OpenCV {} on {count} masks of this pack, one per picture \
                 (dev/peers/grabcut.py):",
                reference.opencv
            )?;
            for (name, tool) in &reference.tools {
                writeln!(out, "  {name:27} {:.3}", tool.mean_over_sources)?;
            }
        }
        None => writeln!(out, "\nGrabCut was not measured on this pack; dev/peers/grabcut.py does that.")?,
    }
    if !found.complete {
        writeln!(out, "\nPARTIAL: these are no figures of the whole; run it again to the end.")?;
    }
    Ok(())
}

fn write_overlays(folder: &Path, found: &Evaluation) -> Result<()> {
    files::make_folder(folder)?;
    files::sweep(folder);
    let mut group = Files::default();
    for worst in &found.worst {
        let name = format!(
            "{}_{}_{:.3}_{}_{}.png",
            file_name_part(&worst.source),
            worst.prompt.kind(),
            worst.iou,
            file_name_part(&worst.picture),
            worst.mask
        );
        group.add(&folder.join(name), &encode_rgb_png(&worst.overlay()?)?)?;
    }
    group.finish()?;
    say!("{} overlays in {}", found.worst.len(), folder.display());
    Ok(())
}

/// Names in a pack are anybody's: only what is harmless in a file's name stays, and not too much of it.
fn file_name_part(name: &str) -> String {
    let harmless = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    name.chars().take(60).map(harmless).collect()
}
