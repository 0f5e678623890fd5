//! `samovar everything`: masks for all that is in an image, or in each frame of a video, without a prompt.

mod output;
mod parameters;

use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use samovar::automatic::{self, AutomaticMask, AutomaticMasks, AutomaticOptions, Progress};
use samovar::files::sweep_beside;
use samovar::media::write::CocoDataset;
use samovar::{Model, PictureUse, PictureWork, Recommendations, RgbImage};
use serde_json::{Value, json};

use super::segment::print;
use crate::batch::{self, Memory, Source, for_each_image};
use crate::cache_args::CacheArgs;
use crate::colour_args::ColourArgs;
use crate::contents::Contents;
use crate::failure::usage;
use crate::frames::{RangeArgs, Shot};
use crate::inputs::{self, InputImage, Inputs, Sources};
use crate::job_args::JobArgs;
use crate::made::Made;
use crate::model_args::{ModelArgs, resolve};
use crate::outputs::{Files, check_place, check_stdout, is_stdout, write_stdout};
use crate::progress;
use crate::result_folder::{Known, ResultFolder};
use crate::results::{self, Format, FormatArgs, Found, Layout, SheetStyle, Writer};
use crate::session::Session;
use output::{Automatic, MERGED};
use parameters::Parameters;

/// Find the masks of everything in images, or in each frame of a video, without prompts, as COCO JSON or in any other format
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Images, or folders of images; `-` is one image from stdin. Or one video, or the pattern of a sequence (shot.####.png, shot.%04d.png)
    #[arg(required = true, value_name = "IMAGE|DIR|VIDEO")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    colour: ColourArgs,
    /// File to write (`photo.json` in the current folder if not given), `-` for stdout; a folder for several images, and for
    /// formats with a file per mask
    #[arg(long, short, value_name = "FILE|DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    /// Also write the image with its masks in colours, as `photo.overlay.png` beside the result
    #[arg(long)]
    overlay: bool,
    /// Print the COCO document on stdout; files only with --out or --overlay
    #[arg(long)]
    json: bool,
    /// Folders: also images in the folders within
    #[arg(long, short)]
    recursive: bool,
    #[command(flatten, next_help_heading = "Frames of a video, a pattern, or a folder that is a sequence")]
    range: RangeArgs,
    #[command(flatten, next_help_heading = "Options")]
    job: JobArgs,
    #[command(flatten, next_help_heading = "Parameters, named as in segment-anything")]
    parameters: Parameters,
}

const EXAMPLES: &str = "\
Examples:
  samovar everything photo.jpg                          photo.json
  samovar everything photo.jpg --overlay                photo.json and photo.overlay.png
  samovar everything photo.jpg --format labels          photo.labels.png: a number per pixel
  samovar everything photo.jpg --format cutout          photo.cutouts/1.png, 2.png, ... and masks.json
  samovar everything photo.jpg --format polygon --separate --out shapes/
  samovar everything photo.jpg --model facebook/sam-vit-base --crop-n-layers 1 --out masks.json
  samovar everything frames/ --out masks/               one JSON per image, then masks/annotations.json
  samovar everything clip.mp4 --out masks/ --every-nth 10 --fast-mode   every tenth frame of a video, named by its number
  samovar everything shot.####.png --start 1001 --end 1050 --out masks/ --format labels
  samovar everything frames/ --out masks/ --preset memory-constrained
  samovar everything photo.jpg --json | jq '.annotations | length'

png and cutout have a file per mask, in a folder of the image's own (photo.masks/, photo.cutouts/) where masks.json tells of \
1.png as annotation 1, and so on; the others one file for all masks, rle and polygon as lists; overlay, rle and polygon \
have a file per mask with --separate.

Each annotation has COCO's fields (run lengths, area, bbox) and predicted_iou, stability_score, point_coords, crop_box. \
Masks of best predicted IoU come first.

A video is read by the system's ffmpeg, frame by frame; its results have the numbers of the frames (a video counts from 0).

A folder's or a video's run goes on where it was stopped. It remembers what its results were made from, by content: image, points, model and \
parameters. What has changed is done anew, and results that somebody changed are kept. Ctrl-C finishes the image at hand.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    args.format.check()?;
    let limits = args.model.engine.decode_limits()?;
    let shot = Shot::named(&args.images, &args.range, &limits, args.colour.space())?;
    let mut inputs = match &shot {
        Some(shot) => Inputs::of_shot(shot.images.clone()),
        None => inputs::list(&args.images, args.recursive)?,
    };
    let into_folder = |out: &PathBuf| {
        !is_stdout(out) && out.is_dir() || out.to_string_lossy().ends_with(std::path::is_separator)
    };
    let is_single = inputs.is_single && !args.out.as_ref().is_some_and(into_folder);
    let format = output::format_of(args.format.format, args.out.as_deref().filter(|_| is_single))?;
    let job = Job { args, format, shot: shot.as_ref() };
    // A folder of numbered files is named after its image, so that --out is a folder of results for a single image too.
    let is_single = is_single && !(job.has_folders() && args.out.is_some());
    if let Some(out) = args.out.as_deref().filter(|_| !is_single) {
        inputs.keep_apart(out, |input| job.result_files(input))?;
    }
    let others = args.parameters.point_grids().into_iter().chain([Path::new(&args.model.model)]);
    let others = others.chain(args.cache.log.as_deref());
    let sources = inputs.sources(others);
    inputs.check_stdin(is_single)?;
    let result = match &inputs.images[..] {
        [input] if is_single => job.one(input, &sources),
        images => job.many(&args.job.part_of(images), &sources),
    };
    inputs.report_left_out();
    if let ([path], Some(shot)) = (&args.images[..], &shot) {
        shot.frame_notes().iter().for_each(|note| say!("note: \"{}\": {note}", path.display()));
    }
    result
}

/// What was asked for.
struct Job<'a> {
    args: &'a Args,
    format: Format,
    /// What the images are frames of.
    shot: Option<&'a Shot>,
}

impl Job<'_> {
    fn has_folders(&self) -> bool {
        Writer::of_many(&self.args.format, self.format, json!(null)).layout == Layout::Folder
    }

    fn writer(&self, info: Value) -> Writer {
        Writer::of_many(&self.args.format, self.format, info)
    }

    /// All results of an image in a folder of results, as far as their names are known before.
    fn result_files(&self, input: &InputImage) -> Vec<PathBuf> {
        let places = self.writer(json!(null));
        let files = places.files(&places.name_in_folder(&input.result_name), 0);
        files.into_iter().chain(self.has_overlay().then(|| overlay_name(input))).collect()
    }

    /// The same, and those that an earlier run has left there.
    fn result_files_there(&self, folder: &Path, input: &InputImage) -> Vec<PathBuf> {
        let places = self.writer(json!(null));
        let place = folder.join(places.name_in_folder(&input.result_name));
        let there = places.numbered_there(&place);
        let there = there.filter_map(|file| file.strip_prefix(folder).map(Path::to_owned).ok());
        self.result_files(input).into_iter().chain(there).collect()
    }

    /// With what made the masks under COCO's `info`.
    fn writer_of(&self, model: &Model, options: &AutomaticOptions) -> Writer {
        self.writer(json!({
            "description": "automatic masks by samovar", "model": model.name(), "parameters": options,
        }))
    }

    /// What is made of a picture at its own size, and found in it.
    fn work(&self, options: &AutomaticOptions, recommended: &Recommendations) -> PictureWork {
        let made = match self.writer(json!(null)).style.picture_use() {
            _ if self.args.overlay => PictureUse::Overlay,
            PictureUse::Masks | PictureUse::Outlines if self.args.parameters.copies_pixels() => {
                PictureUse::Crops
            }
            made => made,
        };
        options.work(made, recommended)
    }

    /// Whether an overlay is written beside the format that was asked for.
    fn has_overlay(&self) -> bool {
        self.args.overlay && (self.format != Format::Overlay || self.has_folders())
    }

    fn one(&self, input: &InputImage, sources: &Sources) -> Result<()> {
        let args = self.args;
        args.job.check_single()?;
        let session = Session::start(&args.model, &args.cache)?;
        let image = input.open(session.engine.decode_limits(), args.colour.space())?;
        // What is wrong with picture, places or parameters should show before the model is loaded.
        let recommended = session.recommendations()?;
        let options = args.parameters.options(&recommended, &session.settings)?;
        let work = self.work(&options, &recommended);
        let _room = session.reserve_picture(&image, work)?;
        let pixels = image.pixels()?;
        pixels.notes().iter().for_each(|note| say!("note: \"{}\": {note}", input.path.display()));
        let places = self.writer(json!(null));
        let own_name = || match self.format {
            Format::Coco => PathBuf::from(format!("{}.json", input.result_name)),
            _ => places.own_name(&input.result_name),
        };
        let out = match (&args.out, args.json) {
            (Some(out), _) => Some(out.clone()),
            (None, true) => None,
            (None, false) => Some(own_name()),
        };
        let to_stdout = out.as_deref().is_some_and(is_stdout);
        if to_stdout {
            if args.json {
                return Err(usage("--json and --out - would both write to stdout; give one of them"));
            }
            check_stdout(self.format.file_ending() == "png")?;
        }
        let out = out.filter(|_| !to_stdout);
        if let Some(out) = &out {
            match places.layout {
                Layout::Folder if out.exists() && !out.is_dir() => {
                    return Err(usage(format!(
                        "\"{}\" is a file; a folder is to be made there",
                        out.display()
                    )));
                }
                Layout::Folder => sources.check_file(out)?,
                _ => check_place(out, "--out takes a file for one image", sources)?,
            }
            sweep_beside(out);
        }
        let overlay = self.has_overlay().then(|| match &args.out {
            Some(out) if !to_stdout => output::overlay_of(out),
            _ => overlay_name(input),
        });
        if let Some(overlay) = &overlay {
            check_place(overlay, "--overlay writes a file there", sources)?;
        }
        let made = Made::here();
        let result =
            out.iter().flat_map(|out| places.files(out, 0).into_iter().chain(places.numbered_there(out)));
        let there: Vec<PathBuf> = result.chain(overlay.clone()).collect();
        made.check(&there, "--out", args.job.overwrite)?;
        let loading = progress::spinner("loading the model");
        let (_cache, model) = session.load(true)?;
        loading.finish_and_clear();
        let masks = generate_with_bar(&model, &pixels, &options, work)?;
        let writer = self.writer_of(&model, &options);
        let report = Report { writer: &writer, masks: &masks, image: &pixels };
        let memory = Files::remembered_by(&made);
        let files = match (out, &overlay) {
            (Some(out), overlay) => report.write(memory, out, input.file_name(), overlay.as_deref())?,
            (None, Some(overlay)) => {
                let mut files = memory;
                files.add(overlay, &report.overlay()?)?;
                files.finish()?
            }
            (None, None) => Vec::new(),
        };
        if to_stdout {
            return write_stdout(&report.bytes(&input.file_name())?);
        }
        if args.json {
            return print(&json!(report.document(&input.file_name())?));
        }
        // Of numbered files the folder is enough.
        let folder = |file: &PathBuf| match writer.layout {
            Layout::Folder if overlay.as_ref() != Some(file) => file.parent().map(|folder| folder.join("")),
            _ => Some(file.clone()),
        };
        let mut shown: Vec<PathBuf> = files.iter().filter_map(folder).collect();
        shown.dedup();
        for file in shown {
            say!("{}  {}", file.display(), described(masks.len()));
        }
        Ok(())
    }

    fn many(&self, images: &[InputImage], sources: &Sources) -> Result<()> {
        let args = self.args;
        let places = self.writer(json!(null));
        let name = |input: &InputImage| places.name_in_folder(&input.result_name);
        let made_from = |input: &InputImage, contents: &Contents| {
            let grids = args.parameters.point_grids();
            let grids =
                grids.map(|path| contents.of(path).with_context(|| format!("\"{}\"", path.display())));
            let mut made_from = json!({ "point_grids": grids.transpose()? });
            if let Some(frame) = input.frame {
                made_from["frame"] = frame.into();
            }
            Ok(made_from)
        };
        let merges = self.format == Format::Coco;
        let mut folder = match (&args.out, args.json) {
            (Some(out), _) if is_stdout(out) => {
                return Err(usage(
                    "--out - is stdout, which takes the result of one image in one file; give --out DIR for several",
                ));
            }
            (Some(out), _) => {
                if let Some(image) = images.iter().find(|image| merges && is_merged_name(&image.result_name))
                {
                    return Err(usage(format!(
                        "\"{}\": its result would be {MERGED}, which is for all images together; rename it",
                        image.path.display()
                    )));
                }
                let mut parameters = json!({
                    "model": args.model.model, "parameters": args.parameters.to_json(),
                    "dtype": args.model.precision()?.map(|dtype| dtype.to_string()),
                });
                if args.format.format.is_some() || args.format.outlines {
                    parameters["format"] = json!({
                        "name": self.format.name(), "separate": args.format.separate,
                        "tolerance": args.format.tolerance, "outlines": args.format.outlines,
                    });
                }
                args.colour.add_to(&mut parameters);
                let model = resolve(&args.model.model)?;
                let mut folder =
                    ResultFolder::open(out, "everything", parameters, &model, &args.job, sources)?;
                let files = |input: &InputImage| self.result_files_there(out, input);
                folder.check(images, files, made_from, merges.then_some(MERGED), sources)?;
                Some(folder)
            }
            (None, true) if !args.overlay => None,
            _ => {
                return Err(usage(
                    "several images or frames need a folder for their results; give --out DIR",
                ));
            }
        };
        let session = Session::start(&args.model, &args.cache)?;
        let recommended = session.recommendations()?;
        let options = args.parameters.options(&recommended, &session.settings)?;
        let asked = self.work(&options, &recommended);
        let source = self.shot.map_or(Source::Files(args.colour.space()), Source::Shot);
        let (cache, model) = session.load_for(images, source, asked)?;
        let writer = self.writer_of(&model, &options);
        folder.as_mut().map_or(Ok(()), |folder| folder.begin(images.len()))?;
        let folder = folder.as_ref();
        let contents = folder.map(ResultFolder::contents);
        let job = batch::Job {
            args: &args.job.with(session.settings.clone()),
            model: &model,
            asked,
            contents,
            cache: cache.as_ref(),
            events: &session.events,
            source,
        };
        let known = Known { folder, made_from };
        let _ahead = match self.shot {
            Some(shot) => {
                let is_open =
                    |input: &&InputImage| !known.is_done(input) && known.failed_before(input).is_none();
                shot.expect(images.iter().filter(is_open));
                Some(session.engine.set_aside("frames that are decoded ahead", shot.ahead_bytes)?)
            }
            None => None,
        };
        let (summary, found) = for_each_image(images, &job, &known, |work| {
            let (input, pixels) = (work.input, work.pixels);
            let masks = work.compute("masks", |model| generate(model, pixels, &options, asked))?;
            let report = Report { writer: &writer, masks: &masks, image: pixels };
            let document = match folder {
                Some(folder) => {
                    let own = made_from(input, folder.contents())?;
                    let files = work.stage("write", || {
                        let out = folder.make_place(&name(input))?;
                        let overlay = self.has_overlay().then(|| folder.place(&overlay_name(input)));
                        report.write(folder.files(input), out, input.name_in_folder(), overlay.as_deref())
                    })?;
                    folder.finish(input, &own, &files, work.took())?;
                    None
                }
                None => Some(report.document(&input.name_in_folder())?),
            };
            Ok((described(masks.len()), (masks.len(), document)))
        })?;
        let total: usize = found.iter().map(|(masks, _)| masks).sum();
        let mut merged = None;
        // Of a part of the images there is no whole; the run on all of them finds all done, and puts them together.
        let merges_now = merges && !summary.disk_full && summary.lost.is_none() && args.job.shard.is_none();
        if let Some(folder) = folder.filter(|folder| merges_now && folder.keeps_together) {
            merged = Some(folder.place(MERGED.as_ref()));
        } else if let Some(folder) = folder.filter(|_| merges_now) {
            // Of an image that was not done there may be a file all the same: of another run, or of the user.
            let results: Vec<_> = images
                .iter()
                .filter(|input| summary.finished.contains(&input.result_name))
                .map(|input| (input.name_in_folder(), folder.place(&name(input))))
                .collect();
            if !results.is_empty() {
                let path = folder.place(MERGED.as_ref());
                results::merge(folder, MERGED, &results)?;
                merged = Some(path);
            }
        }
        folder.map_or(Ok(()), ResultFolder::end)?;
        if args.json {
            let mut document = json!({
                "masks": total, "done": summary.done, "skipped": summary.skipped, "failed": summary.failed,
                "failed_before": summary.failed_before, "left": summary.left, "annotations": merged,
            });
            if folder.is_none() {
                let documents = found.iter().filter_map(|(_, document)| document.as_ref());
                document["images"] = json!(documents.collect::<Vec<_>>());
            }
            print(&document)?;
        } else {
            let into = match (merged, &args.out) {
                (Some(path), _) => format!("; all together in {}", path.display()),
                (None, Some(out)) if !merges && summary.lost.is_none() => {
                    format!("; results in {}", out.display())
                }
                _ => String::new(),
            };
            say!("{}{into}", summary.counts(&format!(" with {}", described(total))));
            summary.say_time();
        }
        summary.into_result()
    }
}

/// The masks of one image, on their way into files.
struct Report<'a> {
    writer: &'a Writer,
    masks: &'a [AutomaticMask],
    image: &'a RgbImage,
}

impl Report<'_> {
    fn write(
        &self,
        files: Files,
        out: PathBuf,
        file_name: String,
        overlay: Option<&Path>,
    ) -> Result<Vec<PathBuf>> {
        let mut writing = self.writer.start(out, file_name, self.image, files)?;
        if let Some(overlay) = overlay {
            writing.add_file(overlay, &self.overlay()?)?;
        }
        self.in_order().into_iter().try_for_each(|mask| writing.add(&Automatic(mask)))?;
        writing.finish()
    }

    /// The one file that all masks go to.
    fn bytes(&self, file_name: &str) -> Result<Vec<u8>> {
        let masks: Vec<_> = self.in_order().into_iter().map(Automatic).collect();
        results::encode(
            &self.writer.style,
            self.image,
            file_name,
            masks.iter().map(|mask| mask as &dyn Found),
        )
    }

    fn in_order(&self) -> Vec<&AutomaticMask> {
        let is_drawn = self.writer.style.format == Format::Overlay && self.writer.layout == Layout::Together;
        if is_drawn { self.large_first() } else { self.masks.iter().collect() }
    }

    /// COCO, whatever is written.
    fn document(&self, file_name: &str) -> Result<CocoDataset> {
        let masks: Vec<_> = self.masks.iter().map(Automatic).collect();
        self.writer.dataset(self.image, file_name, masks.iter().map(|mask| mask as &dyn Found))
    }

    /// The image with its masks as PNG.
    fn overlay(&self) -> Result<Vec<u8>> {
        let masks: Vec<_> = self.large_first().into_iter().map(Automatic).collect();
        let style = SheetStyle { format: Format::Overlay, ..self.writer.style.clone() };
        results::encode(&style, self.image, "", masks.iter().map(|mask| mask as &dyn Found))
    }

    /// So that small ones show.
    fn large_first(&self) -> Vec<&AutomaticMask> {
        let mut masks: Vec<&AutomaticMask> = self.masks.iter().collect();
        masks.sort_by_key(|mask| Reverse(mask.area));
        masks
    }
}

fn overlay_name(input: &InputImage) -> PathBuf {
    PathBuf::from(format!("{}.overlay.png", input.result_name))
}

fn is_merged_name(result_name: &str) -> bool {
    format!("{result_name}.json").eq_ignore_ascii_case(MERGED)
}

fn described(masks: usize) -> String {
    if masks == 1 { "1 mask".to_owned() } else { format!("{masks} masks") }
}

fn generate(
    model: &Model,
    pixels: &RgbImage,
    options: &AutomaticOptions,
    work: PictureWork,
) -> Result<AutomaticMasks> {
    let room_bytes = work.found_bytes(pixels.size());
    Ok(automatic::generate_in_room(model, pixels, options, room_bytes, &mut |_| ControlFlow::Continue(()))?)
}

fn generate_with_bar(
    model: &Model,
    pixels: &Arc<RgbImage>,
    options: &AutomaticOptions,
    work: PictureWork,
) -> Result<AutomaticMasks> {
    let room_bytes = work.found_bytes(pixels.size());
    let bar = progress::items(0, "points");
    bar.watch(model.engine());
    let masks =
        automatic::generate_in_room(model, pixels, options, room_bytes, &mut |progress: &Progress| {
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
