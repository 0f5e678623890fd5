//! `samovar segment`: objects by point, box and mask.

mod matching;
pub mod objects;
mod output;

use std::path::{Path, PathBuf};

use anyhow::Result;
use samovar::files::sweep_beside;
use samovar::{BitMask, Embedding, Model, PictureUse, RgbImage};
use serde_json::{Value, json};

use crate::batch::{Job, Source, Turn, for_each_image};
use crate::cache_args::{CacheArgs, embed};
use crate::colour_args::ColourArgs;
use crate::failure::usage;
use crate::inputs::{self, InputImage, Sources};
use crate::job_args::JobArgs;
use crate::made::Made;
use crate::model_args::{ModelArgs, resolve};
use crate::outputs::{Files, check_place, check_stdout, is_stdout, write_stdout};
use crate::progress;
use crate::result_folder::{Known, ResultFolder};
use crate::results::{self, Format, FormatArgs, Writer, Writing, json_line};
use crate::session::Session;
use objects::{MaskReader, Object, PromptArgs};
use output::{Answered, Found};

/// Cut objects out of images by points, boxes and masks
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Images, or folders of images; `-` is one image from stdin
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    colour: ColourArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// All three masks that an ambiguous prompt may mean, the likeliest first, in numbered files
    #[arg(long)]
    multimask: bool,
    /// File to write (`photo.cutout.png` in the current folder if not given), `-` for stdout; a folder for several images
    #[arg(long, short, value_name = "FILE|DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    /// Take stray parts and pinholes out of the masks: `auto` means nano, whose masks have many; the others are then
    /// upstream's to the pixel
    #[arg(long, value_enum, default_value_t = CleanUp::Auto)]
    clean_up: CleanUp,
    /// Print one JSON document with masks (COCO run lengths), boxes and scores on stdout; files only with --out
    #[arg(long)]
    json: bool,
    /// Folders: also images in the folders within
    #[arg(long, short)]
    recursive: bool,
    #[command(flatten)]
    job: JobArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum CleanUp {
    Auto,
    Always,
    Never,
}

impl Args {
    fn masks_per_object(&self) -> usize {
        if self.multimask { 3 } else { 1 }
    }

    fn cleaning_up(&self, model: Model) -> Model {
        match self.clean_up {
            CleanUp::Auto => model,
            CleanUp::Always => model.with_cleanup(true),
            CleanUp::Never => model.with_cleanup(false),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  samovar segment photo.jpg --point 420,300                       the object there, as photo.cutout.png
  samovar segment photo.jpg --point 420,300 --point 90,40,0       ... and not what is at 90,40
  samovar segment photo.jpg --box 60,40,500,380 --out mask.png --format png
  samovar segment photo.jpg --point 420,300 --mask rough.png --out refined.png
  samovar segment photo.jpg --box 10,10,90,90 --box 200,40,330,180 --format overlay
  samovar segment photo.jpg --box 10,10,90,90 --box 200,40,330,180 --format labels
  samovar segment photo.jpg --point 420,300 --json                run lengths, box and score on stdout
  samovar segment photo.jpg --point 420,300 --out - | magick - -trim cup.webp    the file itself on stdout
  samovar segment frames/ --point 420,300 --out masks/ --format png
  samovar segment frames/ --prompts prompts.json --out masks/
  samovar segment val2017/ --prompts instances_val2017.json --skip-unused --format coco --out masks/
  samovar segment photos/ --prompts photos/ --format coco --out masks/    labelme's files beside the photos

Coordinates are pixels of the image as it is shown (after EXIF rotation), x right, y down; the centre of the first \
pixel is 0.5,0.5. Several boxes mean several objects; a positive point belongs to the smallest box it lies in, \
negative points belong to all. Without boxes all points mean one object.

prompts.json: {\"prompts\": [{\"image\": \"a.jpg\", \"points\": [[420, 300, 1]], \"box\": [60, 40, 500, 380], \
\"mask\": \"rough.png\"}, ...]}; one entry is one object, without \"image\" it is for all images. An image is named by its \
path in the folder that is given, by a whole path, or by as much of the end of it as tells it apart; an entry for no image is an \
error, or with --skip-unused a note. Masks lie beside prompts.json, or where their paths lead from there. \"label\" names the class of \
the result.

COCO data sets and labelme's files are prompts too, told by their content: boxes and rectangles are boxes, keypoints and points \
clicks, outlines, run lengths and masks are refined within their box, labels become the classes of --format coco. \
docs/prompts.md has the details.

A folder's run goes on where it was stopped. It remembers what its results were made from, by content: image, prompts, masks, model \
and parameters. What has changed is done anew; with other parameters the folder is refused, as it is while another run is at work in \
it. Results that somebody changed are kept. A single result takes the place of a file only if samovar made that (it remembers in its \
cache folder, SAMOVAR_CACHE) and nobody changed it; else it asks, or without a terminal refuses. --overwrite goes ahead.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    args.format.check()?;
    let mut inputs = inputs::list(&args.images, args.recursive)?;
    let prompts = args.prompt.read(&inputs, &args.model.engine.decode_limits()?)?;
    let others = prompts.files().chain([Path::new(&args.model.model)]).chain(args.cache.log.as_deref());
    let sources = inputs.sources(others);
    let into_folder = |out: &PathBuf| {
        !is_stdout(out) && out.is_dir() || out.to_string_lossy().ends_with(std::path::is_separator)
    };
    let is_single = inputs.is_single && !args.out.as_ref().is_some_and(into_folder);
    let format = format_of(args.format.format, args.out.as_deref().filter(|_| is_single))?;
    let info = json!({ "description": "masks by samovar" });
    let writer = Writer::of_prompts(&args.format, format, args.format.separate || args.multimask, info);
    if let Some(out) = args.out.as_deref().filter(|_| !is_single) {
        inputs.keep_apart(out, |input| result_files(args, &prompts, &writer, input))?;
    }
    inputs.check_stdin(is_single)?;
    let result = match &inputs.images[..] {
        [input] if is_single => one(args, &prompts, input, &writer, &sources),
        images => many(args, &prompts, &args.job.part_of(images), &writer, &sources),
    };
    inputs.report_left_out();
    result
}

/// The one asked for, or the one the ending of the output means.
fn format_of(asked: Option<Format>, out: Option<&Path>) -> Result<Format> {
    let Some(out) = out.filter(|out| !is_stdout(out)) else { return Ok(asked.unwrap_or(Format::Cutout)) };
    if let Some(format) = asked {
        return format.check_ending(out).map(|()| format);
    }
    match results::ending_of(out).as_str() {
        "png" => Ok(Format::Cutout),
        "json" => Ok(Format::Coco),
        _ => Err(usage(format!(
            "\"{}\": what should be written? give a name ending in .png or .json, or --format",
            out.display()
        ))),
    }
}

fn one(
    args: &Args,
    prompts: &objects::Prompts,
    input: &InputImage,
    writer: &Writer,
    sources: &Sources,
) -> Result<()> {
    args.job.check_single()?;
    let session = Session::start(&args.model, &args.cache)?;
    let image = input.open(session.engine.decode_limits(), args.colour.space())?;
    let made = match args.out.is_none() && args.json {
        true => PictureUse::Masks,
        false => writer.style.picture_use(),
    };
    let _room = session.reserve_picture(&image, made.into())?;
    // What is wrong with the picture, the prompt or the place should show before the model is loaded.
    let pixels = image.pixels()?;
    pixels.notes().iter().for_each(|note| say!("note: \"{}\": {note}", input.path.display()));
    let objects = prompts.of(&input.path, pixels.size())?;
    let out = match (&args.out, args.json) {
        (Some(out), _) => Some(out.clone()),
        (None, true) => None,
        (None, false) => Some(writer.own_name(&input.result_name)),
    };
    let made = Made::here();
    let to_stdout = out.as_deref().is_some_and(is_stdout);
    if let Some(out) = &out {
        let files = writer.files(out, objects.len() * args.masks_per_object());
        if to_stdout {
            check_stdout_alone(args, writer, files.len())?;
        } else {
            check_place(out, "--out takes a file for one image", sources)?;
            sweep_beside(out);
            files.iter().try_for_each(|file| check_place(file, "name another --out", sources))?;
            made.check(&files, "--out", args.job.overwrite)?;
        }
    }
    let wait = progress::spinner("encoding the image");
    let (cache, model) = session.load(true)?;
    let model = args.cleaning_up(model);
    let embedding = embed(cache.as_ref(), &model, &image, &pixels)?;
    let files = if to_stdout { Files::to_stdout() } else { Files::remembered_by(&made) };
    let writing = out.map(|out| writer.start(out, input.file_name(), &pixels, files)).transpose()?;
    let answer = segment(args, &embedding, &objects, writing, Turn::Alone(&model))?;
    wait.finish_and_clear();
    if args.json {
        return print(&document(&model, input, &pixels, &answer));
    }
    for (file, mask) in answer.files.iter().zip(answer.described(answer.files.len())) {
        say!("{}  {mask}", file.display());
    }
    if let Some(words) = empty_words(answer.left_out(writer)) {
        say!("{words}");
    }
    Ok(())
}

/// Refuses what stdout cannot take.
fn check_stdout_alone(args: &Args, writer: &Writer, files: usize) -> Result<()> {
    if args.json {
        return Err(usage("--json and --out - would both write to stdout; give one of them"));
    }
    if files > 1 {
        return Err(usage(format!(
            "--out - takes one file, and these masks are {files}; leave out --separate and --multimask, or use --format coco"
        )));
    }
    check_stdout(writer.style.format.file_ending() == "png")
}

fn many(
    args: &Args,
    prompts: &objects::Prompts,
    images: &[InputImage],
    writer: &Writer,
    sources: &Sources,
) -> Result<()> {
    let mut folder = match (&args.out, args.json) {
        (Some(out), _) if is_stdout(out) => {
            return Err(usage(
                "--out - is stdout, which takes the result of one image; give --out DIR for several",
            ));
        }
        (Some(out), _) => {
            let mut parameters = json!({
                "model": args.model.model, "prompts": prompts.to_json(), "multimask": args.multimask,
                "format": writer.style.format.name(), "separate": args.format.separate,
                "tolerance": args.format.tolerance, "outlines": args.format.outlines,
                "clean_up": format!("{:?}", args.clean_up), "dtype": args.model.precision()?.map(|dtype| dtype.to_string()),
            });
            args.colour.add_to(&mut parameters);
            let model = resolve(&args.model.model)?;
            Some(ResultFolder::open(out, "segment", parameters, &model, &args.job, sources)?)
        }
        (None, true) => None,
        (None, false) => return Err(usage("several images need a folder for their results; give --out DIR")),
    };
    if let Some(folder) = &mut folder {
        let files = |input: &InputImage| result_files(args, prompts, writer, input);
        folder.check(
            images,
            files,
            |input, contents| prompts.made_from(&input.path, contents),
            None,
            sources,
        )?;
    }
    let session = Session::start(&args.model, &args.cache)?;
    let made = folder.as_ref().map_or(PictureUse::Masks, |_| writer.style.picture_use());
    let source = Source::Files(args.colour.space());
    let (cache, model) = session.load_for(images, source, made.into())?;
    let model = args.cleaning_up(model);
    folder.as_mut().map_or(Ok(()), |folder| folder.begin(images.len()))?;
    let folder = folder.as_ref();
    let contents = folder.map(ResultFolder::contents);
    let job = Job {
        args: &args.job.with(session.settings.clone()),
        model: &model,
        asked: made.into(),
        contents,
        cache: cache.as_ref(),
        events: &session.events,
        source,
    };
    let made_from = |input: &InputImage, contents: &_| prompts.made_from(&input.path, contents);
    let known = Known { folder, made_from };
    let (summary, answers) = for_each_image(images, &job, &known, |work| {
        let (input, pixels) = (work.input, work.pixels);
        let own = contents.map(|contents| made_from(input, contents)).transpose()?;
        let objects = prompts.of(&input.path, pixels.size())?;
        let writing = folder.map(|folder| {
            let out = folder.make_place(&writer.name_in_folder(&input.result_name))?;
            writer.start(out, input.name_in_folder(), pixels, folder.files(input))
        });
        let writing = writing.transpose()?;
        let embedding = work.compute("encode", |model| embed(cache.as_ref(), model, work.image, pixels))?;
        let answer = segment(args, &embedding, &objects, writing, Turn::InWorker(work))?;
        if let Some((folder, own)) = folder.zip(own.as_ref()) {
            folder.finish(input, own, &answer.files, work.took())?;
        }
        let json = args.json.then(|| document(&model, input, pixels, &answer));
        Ok((answer.described(1).join(""), (json, answer.left_out(writer))))
    })?;
    folder.map_or(Ok(()), ResultFolder::end)?;
    let left_out: usize = answers.iter().map(|(_, left_out)| left_out).sum();
    let documents: Vec<Value> = answers.into_iter().filter_map(|(json, _)| json).collect();
    if args.json {
        print(&json!({
            "images": documents, "done": summary.done, "skipped": summary.skipped, "failed": summary.failed,
            "failed_before": summary.failed_before, "left": summary.left,
        }))?;
    } else {
        let out = args.out.as_ref().filter(|_| summary.lost.is_none());
        let into = out.map(|out| format!("; results in {}", out.display())).unwrap_or_default();
        say!("{}{into}", summary.counts(""));
        summary.say_time();
    }
    if let Some(words) = empty_words(left_out) {
        say!("{words}");
    }
    summary.into_result()
}

/// All results of an image in a folder of results.
fn result_files(
    args: &Args,
    prompts: &objects::Prompts,
    writer: &Writer,
    input: &InputImage,
) -> Vec<PathBuf> {
    let masks = prompts.count(&input.path) * args.masks_per_object();
    writer.files(&writer.name_in_folder(&input.result_name), masks)
}

/// All masks of an image, as far as they are kept.
#[derive(Default)]
struct Answer {
    found: Vec<Found>,
    joined: Option<BitMask>,
    /// For the JSON document, if there will be one.
    json: Vec<Value>,
    files: Vec<PathBuf>,
}

impl Answer {
    /// How many masks have no place in the file.
    fn left_out(&self, writer: &Writer) -> usize {
        self.found.iter().filter(|found| writer.style.leaves_out(found.area)).count()
    }

    fn described(&self, files: usize) -> Vec<String> {
        self.joined.as_ref().map_or_else(Vec::new, |joined| output::described(&self.found, joined, files))
    }
}

fn empty_words(masks: usize) -> Option<String> {
    let what = if masks == 1 { "1 empty mask has".to_owned() } else { format!("{masks} empty masks have") };
    (masks > 0).then(|| format!("{what} no outlines and no annotation; without --outlines they are kept"))
}

/// Prompts whose answers are held together; what becomes of them at the image's size is worked through mask by mask.
const OBJECTS_AT_ONCE: usize = 16;

/// Finds all masks of all objects, one per object or three each, and writes them.
fn segment(
    args: &Args,
    embedding: &Embedding,
    objects: &[Object],
    mut writing: Option<Writing>,
    turn: Turn,
) -> Result<Answer> {
    let mut answer = Answer::default();
    let mut masks = MaskReader::within(*embedding.model().engine().decode_limits());
    let size = embedding.image_size();
    for some in objects.chunks(OBJECTS_AT_ONCE) {
        let prompts = some.iter().map(|object| object.prompt(&mut masks, size, args.multimask));
        let prompts = prompts.collect::<Result<Vec<_>>>()?;
        let answers =
            turn.compute("decode", |model| Ok(embedding.on(model.engine()).segment_many(&prompts)?))?;
        let first = answer.found.last().map_or(0, |found| found.object + 1);
        turn.stage("draw", || {
            for ((object, asked), segmentation) in (first..).zip(some).zip(answers) {
                for (rank, predicted) in segmentation.into_ranked().into_iter().enumerate() {
                    let mask = predicted.mask()?;
                    let label = asked.label().map(str::to_owned);
                    let iou_score = predicted.iou_score;
                    let found = Found { object, rank, iou_score, area: mask.area(), label };
                    if let Some(writing) = &mut writing {
                        writing.add(&Answered { mask: &mask, predicted: &predicted, found: &found })?;
                    }
                    if args.json {
                        answer.json.push(output::mask_json(&found, &mask)?);
                    }
                    results::join(&mut answer.joined, &mask)?;
                    answer.found.push(found);
                }
            }
            Ok(())
        })?;
    }
    answer.files =
        turn.stage("write", || Ok(writing.map(Writing::finish).transpose()?.unwrap_or_default()))?;
    Ok(answer)
}

fn document(model: &Model, input: &InputImage, pixels: &RgbImage, answer: &Answer) -> Value {
    json!({
        "image": input.path.display().to_string(),
        "width": pixels.width(),
        "height": pixels.height(),
        "model": model.name(),
        "masks": answer.json,
        "files": answer.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
    })
}

/// One document on stdout.
pub fn print(document: &Value) -> Result<()> {
    write_stdout(&json_line(document)?)
}
