//! `samovar everything`: masks for all that is in an image, without a prompt.

mod output;
mod parameters;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use samovar::automatic::{self, AutomaticMask, AutomaticOptions, Progress};
use samovar::files::sweep_beside;
use samovar::{LazyImage, Model, RgbImage};
use serde_json::json;

use super::segment::print;
use crate::batch::for_each_image;
use crate::contents::Contents;
use crate::failure::usage;
use crate::inputs::{self, InputImage, Sources};
use crate::made::Made;
use crate::model_args::{ModelArgs, resolve};
use crate::outputs::{Files, check_place, is_stdout};
use crate::progress;
use crate::result_folder::ResultFolder;
use output::{MERGED, Report};
use parameters::Parameters;

/// Find the masks of everything in images, without prompts, as COCO JSON
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Images, or folders of images
    #[arg(required = true, value_name = "IMAGE|DIR")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// File to write (`photo.json` in the current folder if not given), `-` for stdout; a folder for several images
    #[arg(long, short, value_name = "FILE.json|DIR")]
    out: Option<PathBuf>,
    /// Also write the image with its masks in colours, as `photo.overlay.png` beside the JSON
    #[arg(long)]
    overlay: bool,
    /// Print the COCO document on stdout; files only with --out or --overlay
    #[arg(long)]
    json: bool,
    /// Folders: also images in the folders within
    #[arg(long, short)]
    recursive: bool,
    /// Write over files that samovar has not made or that were changed since, and over the results of another run
    #[arg(long)]
    overwrite: bool,
    #[command(flatten, next_help_heading = "Parameters, named as in segment-anything")]
    parameters: Parameters,
}

const EXAMPLES: &str = "\
Examples:
  samovar everything photo.jpg                          photo.json
  samovar everything photo.jpg --overlay                photo.json and photo.overlay.png
  samovar everything photo.jpg --model facebook/sam-vit-base --crop-n-layers 1 --out masks.json
  samovar everything frames/ --out masks/               one JSON per image, then masks/annotations.json
  samovar everything photo.jpg --json | jq '.annotations | length'

Each annotation has COCO's fields (run lengths, area, bbox) and predicted_iou, stability_score, point_coords, crop_box. \
Masks of best predicted IoU come first.

A folder's run goes on where it was stopped. It remembers what its results were made from, by content: image, points, model and \
parameters. What has changed is done anew, and results that somebody changed are kept. Ctrl-C finishes the image at hand.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let mut inputs = inputs::list(&args.images, args.recursive)?;
    let into_folder = |out: &PathBuf| {
        !is_stdout(out) && out.is_dir() || out.to_string_lossy().ends_with(std::path::is_separator)
    };
    let is_single = inputs.is_single && !args.out.as_ref().is_some_and(into_folder);
    if let Some(out) = args.out.as_deref().filter(|_| !is_single) {
        inputs.keep_apart(out, |input| result_files(args, input))?;
    }
    let others = args.parameters.point_grids().into_iter().chain([Path::new(&args.model.model)]);
    let sources = inputs.sources(others);
    let result = match &inputs.images[..] {
        [input] if is_single => one(args, input, &sources),
        images => many(args, images, &sources),
    };
    inputs.report_left_out();
    result
}

fn one(args: &Args, input: &InputImage, sources: &Sources) -> Result<()> {
    let engine = args.model.engine()?;
    let image = LazyImage::open_within(&input.path, *engine.decode_limits());
    // What is wrong with picture, places or parameters should show before the model is loaded.
    let pixels = image.pixels()?;
    pixels.notes().iter().for_each(|note| say!("note: \"{}\": {note}", input.path.display()));
    let out = match (&args.out, args.json) {
        (Some(out), _) => Some(out.clone()),
        (None, true) => None,
        (None, false) => Some(PathBuf::from(format!("{}.json", input.result_name))),
    };
    let is_out_stdout = out.as_deref().is_some_and(is_stdout);
    if args.json && is_out_stdout {
        return Err(usage("--json and --out - would both write the document to stdout; give one of them"));
    }
    let to_stdout = args.json || is_out_stdout;
    let out = out.filter(|_| !is_out_stdout);
    if let Some(out) = &out {
        check_place(out, "--out takes a file for one image", sources)?;
        sweep_beside(out);
        output::check_file(out)?;
    }
    let overlay = args.overlay.then(|| {
        let beside = out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.json", input.result_name)));
        output::overlay_of(&beside)
    });
    if let Some(overlay) = &overlay {
        check_place(overlay, "--overlay writes a file there", sources)?;
    }
    let made = Made::here();
    let files: Vec<PathBuf> = out.iter().chain(&overlay).cloned().collect();
    made.check(&files, args.overwrite)?;
    let loading = progress::spinner("loading the model");
    let model = args.model.load_on(&engine)?;
    loading.finish_and_clear();
    let options = args.parameters.options(&model)?;
    let masks = generate_with_bar(&model, &pixels, &options)?;
    let report = Report { model: &model, options: &options, masks: &masks, image: &pixels };
    let document = report.document(&output::file_name(input));
    report.write(Files::remembered_by(&made), out.as_deref(), &document, overlay.as_deref())?;
    if to_stdout {
        return print(&document);
    }
    for file in out.iter().chain(&overlay) {
        say!("{}  {}", file.display(), described(masks.len()));
    }
    Ok(())
}

fn many(args: &Args, images: &[InputImage], sources: &Sources) -> Result<()> {
    let made_from = |_: &InputImage, contents: &Contents| {
        let grids = args.parameters.point_grids();
        let grids = grids.map(|path| contents.of(path).with_context(|| format!("\"{}\"", path.display())));
        Ok(json!({ "point_grids": grids.transpose()? }))
    };
    let folder = match (&args.out, args.json) {
        (Some(out), _) if is_stdout(out) => {
            return Err(usage(
                "--out - is stdout, which takes the result of one image; give --out DIR for several",
            ));
        }
        (Some(out), _) => {
            if let Some(image) = images.iter().find(|image| is_merged_name(&image.result_name)) {
                return Err(usage(format!(
                    "\"{}\": its result would be {MERGED}, which is for all images together; rename it",
                    image.path.display()
                )));
            }
            let parameters = json!({
                "model": args.model.model, "parameters": args.parameters.to_json(),
                "dtype": args.model.dtype.map(|dtype| dtype.to_string()),
            });
            let model = resolve(&args.model.model)?;
            let mut folder =
                ResultFolder::open(out, "everything", parameters, &model, args.overwrite, sources)?;
            let files = |input: &InputImage| result_files(args, input);
            folder.check(images, files, made_from, Some(MERGED), sources)?;
            Some(folder)
        }
        (None, true) if !args.overlay => None,
        _ => return Err(usage("several images need a folder for their results; give --out DIR")),
    };
    let model = args.model.load()?;
    let options = args.parameters.options(&model)?;
    folder.as_ref().map_or(Ok(()), ResultFolder::begin)?;
    let contents = folder.as_ref().map(ResultFolder::contents);
    let is_done = |input: &InputImage| folder.as_ref().is_some_and(|folder| folder.is_done(input));
    let mut documents = Vec::new();
    let mut total = 0;
    let limits = model.engine().decode_limits();
    let summary = for_each_image(images, limits, contents, is_done, |input, _, pixels| {
        let masks = generate(&model, &pixels, &options)?;
        let report = Report { model: &model, options: &options, masks: &masks, image: &pixels };
        match &folder {
            Some(folder) => {
                let out = folder.make_place(&document_name(input))?;
                let overlay = args.overlay.then(|| output::overlay_of(&out));
                let document = report.document(&output::file_name(input));
                let own = made_from(input, folder.contents())?;
                let files = report.write(folder.files(), Some(&out), &document, overlay.as_deref())?;
                folder.finish(input, &own, &files)?;
            }
            None => documents.push(report.document(&output::name_in_folder(input))),
        }
        total += masks.len();
        Ok(format!("{}, {total} in all", described(masks.len())))
    });
    let mut merged = None;
    if let Some(folder) = folder.as_ref().filter(|_| !summary.disk_full) {
        // Of an image that was not done there may be a file all the same: of another run, or of the user.
        let finished: HashSet<&PathBuf> = summary.finished.iter().collect();
        let results: Vec<_> = images
            .iter()
            .filter(|input| finished.contains(&input.path))
            .map(|input| (input, folder.place(&document_name(input))))
            .collect();
        if !results.is_empty() {
            let path = folder.place(MERGED.as_ref());
            output::merge(folder, &results)?;
            merged = Some(path);
        }
    }
    if args.json {
        let mut document = json!({
            "masks": total, "done": summary.done, "skipped": summary.skipped, "failed": summary.failed,
            "left": summary.left, "annotations": merged,
        });
        if folder.is_none() {
            document["images"] = documents.into();
        }
        print(&document)?;
    } else {
        let into = merged.map(|path| format!("; all together in {}", path.display())).unwrap_or_default();
        say!("{}{into}", summary.counts(&format!(" with {}", described(total))));
    }
    summary.into_result()
}

fn document_name(input: &InputImage) -> PathBuf {
    PathBuf::from(format!("{}.json", input.result_name))
}

/// All results of an image in a folder of results.
fn result_files(args: &Args, input: &InputImage) -> Vec<PathBuf> {
    let document = document_name(input);
    let overlay = args.overlay.then(|| output::overlay_of(&document));
    std::iter::once(document).chain(overlay).collect()
}

fn is_merged_name(result_name: &str) -> bool {
    format!("{result_name}.json").eq_ignore_ascii_case(MERGED)
}

fn described(masks: usize) -> String {
    if masks == 1 { "1 mask".to_owned() } else { format!("{masks} masks") }
}

fn generate(model: &Model, pixels: &RgbImage, options: &AutomaticOptions) -> Result<Vec<AutomaticMask>> {
    Ok(automatic::generate(model, pixels, options, &mut |_| ControlFlow::Continue(()))?)
}

fn generate_with_bar(
    model: &Model,
    pixels: &Arc<RgbImage>,
    options: &AutomaticOptions,
) -> Result<Vec<AutomaticMask>> {
    let bar = progress::items(0, "points");
    let masks = automatic::generate(model, pixels, options, &mut |progress: &Progress| {
        bar.set_length(progress.points as u64);
        bar.set_position(progress.points_done as u64);
        bar.set_message(match progress.crops {
            1 => described(progress.stages.crop_edge),
            crops => {
                format!(
                    "crop {} of {crops}, {}",
                    (progress.crop + 1).min(crops),
                    described(progress.stages.crop_edge)
                )
            }
        });
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    Ok(masks)
}
