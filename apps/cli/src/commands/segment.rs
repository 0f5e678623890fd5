//! `samovar segment`: objects by point, box and mask.

mod objects;
mod output;

pub use output::{check_place, style_for};

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use samovar::{Engine, LazyImage, Model, RgbImage};
use serde_json::{Value, json};

use crate::batch::{ResultFolder, for_each_image};
use crate::failure::usage;
use crate::inputs::{self, InputImage};
use crate::model_args::ModelArgs;
use crate::progress;
use objects::{Object, PromptArgs};
use output::{Format, Found, Writer};

/// Cut objects out of images by points, boxes and masks
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Images, or folders of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// All three masks that an ambiguous prompt may mean, the likeliest first, in numbered files
    #[arg(long)]
    multimask: bool,
    /// File to write (`photo.cutout.png` in the current folder if not given); a folder for several images
    #[arg(long, short, value_name = "FILE|DIR")]
    out: Option<PathBuf>,
    /// What to write [default: cutout, or by the ending of --out: .png cutout, .json coco]
    #[arg(long, short, value_enum)]
    format: Option<Format>,
    /// One file per object where there are several, numbered, instead of all in one
    #[arg(long)]
    separate: bool,
    /// Take stray parts and pinholes out of the masks: `auto` means nano, whose masks have many; the others are then
    /// upstream's to the pixel
    #[arg(long, value_enum, default_value_t = CleanUp::Auto)]
    clean_up: CleanUp,
    /// How far outlines may stray from the mask's edge, in pixels (polygon and coco outlines); 0 is exact
    #[arg(long, value_name = "PIXELS", default_value_t = 0.5)]
    tolerance: f64,
    /// COCO with outlines instead of run lengths
    #[arg(long)]
    outlines: bool,
    /// Print one JSON document with masks (COCO run lengths), boxes and scores on stdout; files only with --out
    #[arg(long)]
    json: bool,
    /// Folders: also images in the folders within
    #[arg(long, short)]
    recursive: bool,
    /// Folders: write over the results of another run
    #[arg(long)]
    overwrite: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum CleanUp {
    Auto,
    Always,
    Never,
}

impl Args {
    fn load(&self, engine: &Engine) -> Result<Model> {
        let model = self.model.load_on(engine)?;
        Ok(match self.clean_up {
            CleanUp::Auto => model,
            CleanUp::Always => model.with_cleanup(true),
            CleanUp::Never => model.with_cleanup(false),
        })
    }
}

const EXAMPLES: &str = "\
Examples:
  samovar segment photo.jpg --point 420,300                       the object there, as photo.cutout.png
  samovar segment photo.jpg --point 420,300 --point 90,40,0       ... and not what is at 90,40
  samovar segment photo.jpg --box 60,40,500,380 --out mask.png --format png
  samovar segment photo.jpg --point 420,300 --mask rough.png --out refined.png
  samovar segment photo.jpg --box 10,10,90,90 --box 200,40,330,180 --format overlay
  samovar segment photo.jpg --point 420,300 --json                run lengths, box and score on stdout
  samovar segment frames/ --point 420,300 --out masks/ --format png
  samovar segment frames/ --prompts prompts.json --out masks/

Coordinates are pixels of the image as it is shown (after EXIF rotation), x right, y down; the centre of the first
pixel is 0.5,0.5. Several boxes mean several objects; a positive point belongs to the smallest box it lies in,
negative points belong to all. Without boxes all points mean one object.

prompts.json: {\"prompts\": [{\"image\": \"a.jpg\", \"points\": [[420, 300, 1]], \"box\": [60, 40, 500, 380],
\"mask\": \"rough.png\"}, ...]}; one entry is one object, without \"image\" it is for all images.

A folder's run goes on where it was stopped: results that are there are not made again.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if !(args.tolerance >= 0.0 && args.tolerance.is_finite()) {
        return Err(usage(format!("--tolerance is {}; expected pixels, 0 or more", args.tolerance)));
    }
    let prompts = args.prompt.read()?;
    let inputs = inputs::list(&args.images, args.recursive)?;
    let into_folder =
        |out: &PathBuf| out.is_dir() || out.to_string_lossy().ends_with(std::path::is_separator);
    let is_single = inputs.is_single && !args.out.as_ref().is_some_and(into_folder);
    let format = Format::choose(args.format, args.out.as_deref(), is_single)?;
    match &inputs.images[..] {
        [input] if is_single => one(args, &prompts, input, format),
        images => many(args, &prompts, images, format),
    }
}

fn one(args: &Args, prompts: &objects::Prompts, input: &InputImage, format: Format) -> Result<()> {
    let engine = args.model.engine()?;
    let image = LazyImage::open_within(&input.path, *engine.decode_limits());
    // What is wrong with the picture or the prompt should show before the model is loaded.
    let pixels = image.pixels()?;
    let objects = prompts.of(&input.path, pixels.size())?;
    let out = match (&args.out, args.json) {
        (Some(out), _) => Some(out.clone()),
        (None, true) => None,
        (None, false) => Some(PathBuf::from(format!("{}.{}", input.result_name, format.ending()))),
    };
    if let Some(out) = &out {
        output::check_place(out)?;
    }
    let wait = progress::spinner("encoding the image");
    let model = args.load(&engine)?;
    let found = segment(&model, &pixels, &objects, args.multimask)?;
    wait.finish_and_clear();
    let mut files = Vec::new();
    if let Some(out) = &out {
        let writer = Writer {
            format,
            separate: args.separate || args.multimask,
            tolerance: args.tolerance,
            outlines: args.outlines,
        };
        files = writer.write(out, input, &pixels, &found)?;
    }
    if args.json {
        return print(&document(&model, input, &pixels, &found, &files)?);
    }
    for (file, mask) in files.iter().zip(output::described(&found, files.len())) {
        eprintln!("{}  {mask}", file.display());
    }
    Ok(())
}

fn many(args: &Args, prompts: &objects::Prompts, images: &[InputImage], format: Format) -> Result<()> {
    let folder = match (&args.out, args.json) {
        (Some(out), _) => {
            let parameters = json!({
                "model": args.model.model, "prompts": prompts.to_json(), "multimask": args.multimask,
                "format": format.name(), "separate": args.separate, "tolerance": args.tolerance,
                "outlines": args.outlines,
                "clean_up": format!("{:?}", args.clean_up), "dtype": args.model.dtype.map(|dtype| dtype.to_string()),
            });
            Some(ResultFolder::open(out, "segment", parameters, args.overwrite)?)
        }
        (None, true) => None,
        (None, false) => return Err(usage("several images need a folder for their results; give --out DIR")),
    };
    let model = args.load(&args.model.engine()?)?;
    let writer = Writer {
        format,
        separate: args.separate || args.multimask,
        tolerance: args.tolerance,
        outlines: args.outlines,
    };
    let place = |input: &InputImage| match &folder {
        Some(folder) => folder.place(&format!("{}.{}", input.result_name, format.file_ending())).map(Some),
        None => Ok(None),
    };
    let is_done = |input: &InputImage| {
        !args.overwrite && place(input).is_ok_and(|out| out.is_some_and(|out| writer.is_done(&out)))
    };
    let mut documents = Vec::new();
    let summary = for_each_image(images, model.engine().decode_limits(), is_done, |input, _, pixels| {
        let objects = prompts.of(&input.path, pixels.size())?;
        let found = segment(&model, &pixels, &objects, args.multimask)?;
        let files = match place(input)? {
            Some(out) => writer.write(&out, input, &pixels, &found)?,
            None => Vec::new(),
        };
        if args.json {
            documents.push(document(&model, input, &pixels, &found, &files)?);
        }
        Ok(output::described(&found, 1).join(""))
    });
    if args.json {
        print(&json!({
            "images": documents, "done": summary.done, "skipped": summary.skipped, "failed": summary.failed,
            "left": summary.left,
        }))?;
    } else if std::io::stderr().is_terminal() || !summary.failed.is_empty() || summary.left > 0 {
        eprintln!("{} done, {} done before, {} failed", summary.done, summary.skipped, summary.failed.len());
    }
    summary.into_result()
}

/// All masks of all objects: one per object, or three each.
fn segment(model: &Model, pixels: &Arc<RgbImage>, objects: &[Object], multimask: bool) -> Result<Vec<Found>> {
    let prompts: Vec<_> =
        objects.iter().map(|object| samovar::Prompt { multimask, ..object.prompt.clone() }).collect();
    let answers = model.embed_pixels(pixels)?.segment_many(&prompts)?;
    let mut found = Vec::new();
    for (object, answer) in answers.into_iter().enumerate() {
        for (rank, predicted) in answer.into_ranked().into_iter().enumerate() {
            found.push(Found { object, rank, mask: predicted.mask()?, predicted });
        }
    }
    Ok(found)
}

fn document(
    model: &Model,
    input: &InputImage,
    pixels: &RgbImage,
    found: &[Found],
    files: &[PathBuf],
) -> Result<Value> {
    let masks: Vec<Value> = found.iter().map(output::mask_json).collect::<Result<_>>()?;
    Ok(json!({
        "image": input.path.display().to_string(),
        "width": pixels.width(),
        "height": pixels.height(),
        "model": model.name(),
        "masks": masks,
        "files": files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
    }))
}

/// One document on stdout.
pub fn print(document: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, document).map_err(std::io::Error::from).context("stdout")?;
    out.write_all(b"\n").and_then(|()| out.flush()).context("stdout")?;
    Ok(())
}
