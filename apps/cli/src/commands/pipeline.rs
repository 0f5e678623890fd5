//! `samovar pipeline`: a detector finds things in images or frames, and a model cuts each of them out.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use samovar::detection::DEFAULT_THRESHOLD;
use samovar::media::write::{CocoAnnotation, CocoSegmentation};
use samovar::pipeline::{Pipeline, PipelineOptions, SegmentedMask};
use samovar::{AlphaMask, BitMask, Detection, Detector, DetectorModel, Model, PictureUse, PredictedMask};
use serde_json::{Value, json};

use super::segment::print;
use crate::batch::{self, Memory, Source, for_each_image};
use crate::cache_args::{CacheArgs, embed};
use crate::colour_args::ColourArgs;
use crate::contents::Contents;
use crate::failure::usage;
use crate::frames::{RangeArgs, Shot};
use crate::inputs::{self, InputImage, Inputs, Sources};
use crate::job_args::JobArgs;
use crate::model_args::{ModelArgs, resolve};
use crate::outputs::is_stdout;
use crate::progress;
use crate::result_folder::{Known, ResultFolder};
use crate::results::{self, Format, FormatArgs, Found, Writer};
use crate::session::Session;

/// Find things with a detector and cut each of them out: images, folders, or each frame of a video
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Images, or folders of images. Or one video, or the pattern of a sequence (shot.####.png, shot.%04d.png)
    #[arg(required = true, value_name = "IMAGE|DIR|VIDEO")]
    images: Vec<PathBuf>,
    /// What finds things: an id of `samovar models`, a Hugging Face folder, or an original .pth file (D-FINE)
    #[arg(long, short, value_name = "MODEL")]
    detector: String,
    /// Classes to cut out, as person,dog [default: all the detector knows]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    labels: Vec<String>,
    /// Least score of a detection, 0 to 1
    #[arg(long, value_name = "SCORE", default_value_t = DEFAULT_THRESHOLD)]
    threshold: f32,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    colour: ColourArgs,
    /// Folder for the results
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
    /// Also write each image with its masks in colours, as `photo.overlay.png` beside the result
    #[arg(long)]
    overlay: bool,
    /// Print one JSON document with boxes, labels, scores and times on stdout
    #[arg(long)]
    json: bool,
    /// Folders: also images in the folders within
    #[arg(long, short)]
    recursive: bool,
    #[command(flatten, next_help_heading = "Frames of a video, a pattern, or a folder that is a sequence")]
    range: RangeArgs,
    #[command(flatten, next_help_heading = "Options")]
    job: JobArgs,
}

const EXAMPLES: &str = "\
Examples:
  samovar models pull ustc-community/dfine-small-coco
  samovar pipeline photo.jpg --detector ustc-community/dfine-small-coco --out cut/
  samovar pipeline frames/ --detector dfine-small/ --model facebook/sam2.1-hiera-tiny --out masks/
  samovar pipeline clip.mp4 --detector dfine_s_coco.pth --labels person,dog --threshold 0.6 --out masks/
  samovar pipeline clip.mp4 --detector dfine-small/ --every-nth 10 --format overlay --out shown/
  samovar pipeline photos/ --detector dfine-small/ --format cutout --out cut/     cut/photo.cutouts/1.png, ... and masks.json
  samovar pipeline photos/ --detector dfine-small/ --out masks/ --json | jq '.images[].objects[].label'

Each image is encoded once, and each box is a prompt. An annotation has COCO's fields (run lengths, area, bbox of the mask, category), \
the detector's score and detection_box, and the mask's predicted_iou; masks of the best score come first. Without --format the results \
are COCO documents, one per image and masks/annotations.json with all.

A folder's or a video's run goes on where it was stopped. It remembers what its results were made from, by content: image, model, \
detector and parameters. What has changed is done anew, and results that somebody changed are kept. Ctrl-C finishes the images at hand.";

/// The file of a folder's results that has all of them.
const MERGED: &str = "annotations.json";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    args.format.check()?;
    if is_stdout(&args.out) {
        return Err(usage("--out takes a folder here; for boxes and scores on stdout add --json"));
    }
    let limits = args.model.engine.decode_limits()?;
    let shot = Shot::named(&args.images, &args.range, &limits, args.colour.space())?;
    let mut inputs = match &shot {
        Some(shot) => Inputs::of_shot(shot.images.clone()),
        None => inputs::list(&args.images, args.recursive)?,
    };
    let job = Job { args, format: args.format.format.unwrap_or(Format::Coco), shot: shot.as_ref() };
    inputs.keep_apart(&args.out, |input| job.result_files(input))?;
    let others = [Path::new(&args.model.model), Path::new(&args.detector)].into_iter();
    let sources = inputs.sources(others.chain(args.cache.log.as_deref()));
    inputs.check_stdin(false)?;
    let result = job.run(&args.job.part_of(&inputs.images), &sources);
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
    /// Writes results; documents have these classes whatever is found, so that those of all images agree.
    fn writer(&self, info: Value, classes: &[String]) -> Writer {
        Writer::of_many(&self.args.format, self.format, info).with_classes(classes)
    }

    /// All results of an image, as far as their names are known before.
    fn result_files(&self, input: &InputImage) -> Vec<PathBuf> {
        let places = self.writer(json!(null), &[]);
        let files = places.files(&places.name_in_folder(&input.result_name), 0);
        files.into_iter().chain(self.has_overlay().then(|| overlay_name(input))).collect()
    }

    /// The same, and those that an earlier run has left there.
    fn result_files_there(&self, input: &InputImage) -> Vec<PathBuf> {
        let (places, folder) = (self.writer(json!(null), &[]), &self.args.out);
        let place = folder.join(places.name_in_folder(&input.result_name));
        let there = places.numbered_there(&place);
        let there = there.filter_map(|file| file.strip_prefix(folder).map(Path::to_owned).ok());
        self.result_files(input).into_iter().chain(there).collect()
    }

    fn has_overlay(&self) -> bool {
        self.args.overlay && self.format != Format::Overlay
    }

    fn picture_use(&self) -> PictureUse {
        match self.args.overlay {
            true => PictureUse::Overlay,
            false => self.writer(json!(null), &[]).style.picture_use(),
        }
    }

    fn parameters(&self) -> Result<Value> {
        let args = self.args;
        let mut parameters = json!({
            "model": args.model.model, "detector": args.detector, "labels": args.labels, "threshold": args.threshold,
            "format": self.format.name(), "separate": args.format.separate, "tolerance": args.format.tolerance,
            "outlines": args.format.outlines, "overlay": args.overlay,
            "dtype": args.model.precision()?.map(|dtype| dtype.to_string()),
        });
        args.colour.add_to(&mut parameters);
        Ok(parameters)
    }

    fn run(&self, images: &[InputImage], sources: &Sources) -> Result<()> {
        let args = self.args;
        let merges = self.format == Format::Coco;
        let places = self.writer(json!(null), &[]);
        let name = |input: &InputImage| places.name_in_folder(&input.result_name);
        if let Some(image) = images.iter().find(|image| merges && is_merged_name(&image.result_name)) {
            return Err(usage(format!(
                "\"{}\": its result would be {MERGED}, which is for all images together; rename it",
                image.path.display()
            )));
        }
        let (model_source, detector_source) = (resolve(&args.model.model)?, resolve(&args.detector)?);
        let made_from = |input: &InputImage, contents: &Contents| -> Result<Value> {
            let files = detector_source
                .files()
                .into_iter()
                .map(|path| contents.of(&path).with_context(|| format!("\"{}\"", path.display())));
            let mut made_from = json!({ "detector": files.collect::<Result<Vec<_>>>()? });
            if let Some(frame) = input.frame {
                made_from["frame"] = frame.into();
            }
            Ok(made_from)
        };
        let parameters = self.parameters()?;
        let mut folder =
            ResultFolder::open(&args.out, "pipeline", parameters, &model_source, &args.job, sources)?;
        let files = |input: &InputImage| self.result_files_there(input);
        folder.check(images, files, made_from, merges.then_some(MERGED), sources)?;
        let session = Session::start(&args.model, &args.cache)?;
        let asked = self.picture_use();
        let source = self.shot.map_or(Source::Files(args.colour.space()), Source::Shot);
        let (cache, model) = session.load_for(images, source, asked.into())?;
        let pipeline = self.pipeline(&session, &model)?;
        let info = json!({
            "description": "detections cut out by samovar", "model": model.name(),
            "detector": pipeline.detector().name(), "threshold": args.threshold,
        });
        let classes = if args.labels.is_empty() { pipeline.detector().classes() } else { &args.labels };
        let writer = self.writer(info, classes);
        folder.begin(images.len())?;
        let folder = &folder;
        let job = batch::Job {
            args: &args.job.with(session.settings.clone()),
            model: &model,
            asked: asked.into(),
            contents: Some(folder.contents()),
            cache: cache.as_ref(),
            events: &session.events,
            source,
        };
        let known = Known { folder: Some(folder), made_from };
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
            let packet = work.compute("pipeline", |model| {
                let embed = |model: &Model| embed(cache.as_ref(), model, work.image, pixels);
                pipeline.on(model.engine()).run_with(pixels, embed)
            })?;
            let document = args.json.then(|| document(input, &packet));
            let own = made_from(input, folder.contents())?;
            let count = packet.detections().len();
            let files = work.stage("write", || {
                let out = folder.make_place(&writer.name_in_folder(&input.result_name))?;
                let mut writing = writer.start(out, input.name_in_folder(), pixels, folder.files(input))?;
                let mut drawn = self.has_overlay().then(|| Overlay::of(pixels)).transpose()?;
                for (detection, mask) in packet.into_parts() {
                    let cut = CutOut::new(detection, mask)?;
                    writing.add(&cut)?;
                    drawn.as_mut().map_or(Ok(()), |drawn| drawn.add(&cut.mask))?;
                }
                if let Some(drawn) = drawn {
                    writing.add_file(&folder.place(&overlay_name(input)), &drawn.finish()?)?;
                }
                writing.finish()
            })?;
            folder.finish(input, &own, &files, work.took())?;
            Ok((described(count), (count, document)))
        })?;
        let total: usize = found.iter().map(|(count, _)| count).sum();
        let mut merged = None;
        // Of a part of the images there is no whole; the run on all of them finds all done, and puts them together.
        if merges && !summary.disk_full && summary.lost.is_none() && args.job.shard.is_none() {
            let results: Vec<_> = images
                .iter()
                .filter(|input| summary.finished.contains(&input.result_name))
                .map(|input| (input.name_in_folder(), folder.place(&name(input))))
                .collect();
            if folder.keeps_together || !results.is_empty() {
                merged = Some(folder.place(MERGED.as_ref()));
            }
            if !folder.keeps_together && !results.is_empty() {
                results::merge(folder, MERGED, &results)?;
            }
        }
        folder.end()?;
        if args.json {
            let documents: Vec<&Value> = found.iter().filter_map(|(_, document)| document.as_ref()).collect();
            print(&json!({
                "model": model.name(), "detector": pipeline.detector().name(), "objects": total, "images": documents,
                "done": summary.done, "skipped": summary.skipped, "failed": summary.failed,
                "failed_before": summary.failed_before, "left": summary.left, "annotations": merged,
            }))?;
        } else {
            let into = match merged {
                Some(path) => format!("; all together in {}", path.display()),
                None if summary.lost.is_none() => format!("; results in {}", args.out.display()),
                None => String::new(),
            };
            say!("{}{into}", summary.counts(&format!(" with {}", described(total))));
            summary.say_time();
        }
        summary.into_result()
    }

    /// The detector, loaded beside the model, in front of it.
    fn pipeline(&self, session: &Session, model: &Model) -> Result<Pipeline<DetectorModel>> {
        let args = self.args;
        let wait = progress::spinner("loading the detector");
        let detector = session.engine.load_detector_from(&resolve(&args.detector)?)?;
        wait.finish_and_clear();
        detector.notes().iter().for_each(|note| say!("note: {note}"));
        let detector = detector.with_threshold(args.threshold)?;
        // Masks are drawn while they are written, one at a time.
        let options = PipelineOptions { labels: args.labels.clone(), as_host: false };
        Ok(Pipeline::new(detector, model.clone(), options)?)
    }
}

/// What was found in an image, for people's programs.
fn document(input: &InputImage, packet: &samovar::ResultPacket) -> Value {
    let object = |detection: &Detection| {
        let bounds = detection.box_in_image;
        json!({
            "label": &*detection.label, "score": detection.score,
            "box": [bounds.x0, bounds.y0, bounds.x1, bounds.y1],
        })
    };
    let timing = packet.timing();
    json!({
        "image": input.label(),
        "width": packet.size().width,
        "height": packet.size().height,
        "objects": packet.detections().iter().map(object).collect::<Vec<_>>(),
        "seconds": {
            "detect": timing.detect.as_secs_f64(), "encode": timing.encode.as_secs_f64(),
            "decode": timing.decode.as_secs_f64(),
        },
    })
}

/// A thing on its way into a file.
struct CutOut {
    detection: Detection,
    mask: BitMask,
    /// What it was drawn from.
    predicted: Option<PredictedMask>,
}

impl CutOut {
    fn new(detection: Detection, mask: SegmentedMask) -> Result<Self> {
        Ok(match mask {
            SegmentedMask::Device(predicted) => {
                Self { detection, mask: predicted.mask()?, predicted: Some(predicted) }
            }
            SegmentedMask::Host(mask) => Self { detection, mask, predicted: None },
        })
    }
}

impl Found for CutOut {
    fn mask(&self) -> Result<Cow<'_, BitMask>> {
        Ok(Cow::Borrowed(&self.mask))
    }

    fn area(&self) -> u64 {
        self.mask.area()
    }

    fn label(&self) -> Option<&str> {
        Some(&self.detection.label)
    }

    fn alpha(&self) -> Result<AlphaMask> {
        Ok(match &self.predicted {
            Some(predicted) => predicted.alpha_of(&self.mask)?,
            None => AlphaMask::softened(&self.mask),
        })
    }

    fn annotation(&self, segmentation: CocoSegmentation) -> CocoAnnotation {
        let bounds = self.detection.box_in_image;
        CocoAnnotation {
            score: Some(f64::from(self.detection.score)),
            predicted_iou: self.predicted.as_ref().map(|mask| f64::from(mask.iou_score)),
            detection_box: Some([bounds.x0, bounds.y0, bounds.width(), bounds.height()]),
            ..CocoAnnotation::new(0, 0, &self.mask, segmentation)
        }
    }
}

/// The image with its masks on it, drawn as they come.
struct Overlay(samovar::media::write::Overlay);

impl Overlay {
    fn of(image: &samovar::RgbImage) -> Result<Self> {
        Ok(Self(samovar::media::write::Overlay::new(image, results::overlay_style(image))?))
    }

    fn add(&mut self, mask: &BitMask) -> Result<()> {
        Ok(self.0.add(mask)?)
    }

    fn finish(self) -> Result<Vec<u8>> {
        Ok(samovar::media::write::encode_rgb_png(&self.0.finish())?)
    }
}

fn overlay_name(input: &InputImage) -> PathBuf {
    PathBuf::from(format!("{}.overlay.png", input.result_name))
}

fn is_merged_name(result_name: &str) -> bool {
    format!("{result_name}.json").eq_ignore_ascii_case(MERGED)
}

fn described(things: usize) -> String {
    if things == 1 { "1 thing".to_owned() } else { format!("{things} things") }
}
