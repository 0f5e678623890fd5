//! `samovar track`: objects through a video or a sequence of images.

pub(super) mod memory;
mod output;
mod places;
mod preview;
mod prompts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use samovar::Model;
use samovar::forecast::job_bytes;
use samovar::media::video::{Direction as Way, FrameNumber, FrameSource, Skipped, Skipping};
use samovar::resources::contents::{Key, KeyBuilder};
use samovar::tracking::{
    self, News, ObjectId, Seen, ShotNeeds, ShotOptions, Signal, SignalSummary, Signals, TrackedFrame,
};
use serde_json::{Value, json};

use self::output::{Format, Output};
use self::prompts::{PromptArgs, Prompts};
use super::segment::print;
use crate::cache_args::CacheArgs;
use crate::colour_args::ColourArgs;
use crate::failure::usage;
use crate::frames::{self, RangeArgs};
use crate::inputs::Sources;
use crate::made::Made;
use crate::model_args::ModelArgs;
use crate::planned::Planned;
use crate::say::one_line;
use crate::session::Session;
use crate::{interrupt, progress, result_folder::JOB_FILE};

/// Follow objects through a video or a sequence of images, from prompts on some of its frames
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A folder of images, a pattern (shot.####.png, shot.%04d.png), or a video
    #[arg(value_name = "FRAMES")]
    frames: PathBuf,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    colour: ColourArgs,
    /// Folder of results; the same command goes on where it was stopped, and does anew what changed prompts reach
    #[arg(long, short, value_name = "DIR", required_unless_present = "logits")]
    out: Option<PathBuf>,
    /// Write what SAM 2's own predictor would find, unrefined: every prompted frame counts before and behind. safetensors of f32
    /// `frame_<i>.object_<id>` (low-resolution logits) and `frame_<i>.object_<id>.score`
    #[arg(long, value_name = "OUT.safetensors")]
    logits: Option<PathBuf>,
    /// What to write of each frame
    #[arg(long, short, value_enum, default_value = "labels")]
    format: Format,
    /// Which way objects are followed from their prompts
    #[arg(long, value_enum, default_value = "both")]
    direction: Direction,
    /// Objects share no pixel: where masks meet, the likelier one has it
    #[arg(long)]
    no_overlap: bool,
    /// Fill holes of at most so many pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    fill_holes: u64,
    /// Remove islands of at most so many pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    remove_islands: u64,
    /// Write all frames that should be looked at, with the reason, as JSON: the score drops, the area jumps, the mask flickers, objects
    /// swap or vanish. The worst are told at the end in any case
    #[arg(long, value_name = "FILE.json")]
    signals: Option<PathBuf>,
    /// Also write a video with the masks drawn on it, at the frames' own times: .mp4, .mov, .mkv or .webm, by the system's ffmpeg
    #[arg(long, value_name = "FILE.mp4", requires = "out")]
    preview: Option<PathBuf>,
    /// Frames a second of the preview where the frames have no times, as those of sequences
    #[arg(long, value_name = "N", default_value_t = 24.0, value_parser = preview::rate)]
    fps: f64,
    /// Keep after so many frames where each object can be gone on with
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    checkpoint_every: u32,
    /// Write over results of another command
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// To later frames
    Forward,
    /// To earlier frames
    Backward,
    /// Forward from an object's first prompt, and backward to the frames before it
    Both,
}

impl From<Direction> for tracking::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Forward => Self::Forward,
            Direction::Backward => Self::Backward,
            Direction::Both => Self::Both,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  samovar track shot/ --point 420,300 --out masks/                      the object there in the first frame, through all of them
  samovar track shot.####.png --frame 1001 --box 60,40,500,380 --out masks/
  samovar track clip.mp4 --prompts prompts.json --out masks/            many objects, prompts on any frames
  samovar track clip.mp4 --prompts prompts.json --out cut/ --format cutout --start 100 --end 250
  samovar track clip.mp4 --point 420,300 --out masks/ --preview look.mp4  and a video to look at
  samovar track plates/shot.####.exr --frame 1001 --box 60,40,500,380 --colorspace acescg --out masks/
  samovar eval DAVIS/Annotations/480p --masks results/                  how good they are

prompts.json has entries with `frame` (the sequence's own number; a video counts from 0), `object` (1 to 255), and points, a box or a mask:
  {\"prompts\": [{\"frame\": 1001, \"object\": 1, \"points\": [[420, 300, 1], [380, 260, 0]]},
               {\"frame\": 1040, \"object\": 1, \"points\": [[410, 310, 1]]}],
   \"locked\": [{\"object\": 1, \"frames\": [1010, 1011]}]}

To correct a mask, add a prompt on its frame and run the same command again: the latest prompt is what counts there, and only the frames \
of that object that it can change are done anew; which ones did change is said. Locked frames keep the masks they have, and following goes on from them as from a mask that was given. Objects are \
followed each for itself: adding or removing one leaves the others as they are.

A frame that cannot be read is named and has no masks, the others go on without it, and the exit code is 1; a frame with a prompt has to be read.

Ctrl-C keeps what is finished, and the same command goes on from there. --memory is for this program; the ffmpeg that decodes a video takes its own beside it, \
some 120 MB for 1920x1080 and 300 MB for 3840x2160.";

/// Name of the record of what was found, in the folder of results.
const LOG: &str = ".samovar-track";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let session = Session::start(&args.model, &args.cache)?;
    args.model.check_following(&session.engine)?;
    let open = |backward_bytes| {
        let limits = session.engine.decode_limits();
        frames::open(&args.frames, &args.range, limits, args.colour.space(), Some(backward_bytes))
    };
    let mut backward_bytes = memory::block_bytes(&session.engine);
    let mut frames = open(backward_bytes)?;
    frames.notes().iter().for_each(|note| say!("note: \"{}\": {note}", args.frames.display()));
    let prompts = args.prompt.read(frames.size(), session.engine.decode_limits())?;
    let sources = places::sources(args, &prompts, &*frames);
    if let Some(out) = &args.out {
        check_folder(args, out)?;
    }
    places::check(args, &sources)?;
    let first = frames::first(&*frames)?;
    let goes_back = tracking::Direction::from(args.direction).goes_back(prompts.prompted(first), Some(first));
    let planned = Planned::of(&args.model, &session.engine)?;
    let admit =
        |frames: &dyn FrameSource| admit(args, &session, &planned, frames, goes_back, prompts.objects());
    let needs = match admit(&*frames) {
        // Frame by frame the way back through a video is slow, and in the least memory.
        Err(error)
            if goes_back && matches!(error.downcast_ref(), Some(samovar::Error::DoesNotFit { .. })) =>
        {
            backward_bytes = 0;
            frames = open(backward_bytes)?;
            admit(&*frames)
        }
        admitted => admitted,
    }?;
    let _room = session.engine.set_aside("masks and their files", needs.result_bytes + job_bytes(0))?;
    let wait = progress::spinner("loading the model");
    let (_cache, model) = session.load(false)?;
    wait.finish_and_clear();
    interrupt::catch_saying("stopping after the frame at hand");
    if let Some(logits) = &args.logits {
        let bar = progress::items(frames.expected_frames().unwrap_or(0), "frames");
        let again = open(backward_bytes)?;
        let mut told = |_: FrameNumber| {
            bar.item_ended(Duration::ZERO, false);
            !interrupt::asked()
        };
        let direction = args.direction.into();
        let written =
            tracking::write_logits(&model, again, &prompts.list(first), direction, logits, &mut told)?;
        bar.finish_and_clear();
        Made::here().remember(logits);
        say!("{}  {written} masks", logits.display());
    }
    match &args.out {
        Some(out) => follow(args, &session, &model, frames, prompts, first, out),
        None => Ok(()),
    }
}

/// Refuses what does not fit into memory, before the model is loaded and the first frame decoded.
fn admit(
    args: &Args,
    session: &Session,
    model: &Planned,
    frames: &dyn FrameSource,
    goes_back: bool,
    objects: usize,
) -> Result<ShotNeeds> {
    let ways: &[Way] = if goes_back { &[Way::Forward, Way::Backward] } else { &[Way::Forward] };
    let made = args.format.picture_use();
    let forecast = memory::forecast(&session.engine, model, frames, ways, objects, made)?;
    memory::check(&session.engine, &forecast, frames)?;
    Ok(forecast.needs)
}

/// Follows the objects and writes what is found.
fn follow(
    args: &Args,
    session: &Session,
    model: &Model,
    frames: Box<dyn FrameSource>,
    prompts: Prompts,
    first: FrameNumber,
    out: &Path,
) -> Result<()> {
    let digits = frames::digits(&args.frames, first);
    let source = source_key(args);
    let mut output = Output::open(out, args.format, digits)?;
    write_job(args, out)?;
    let options = ShotOptions { log: Some(out.join(LOG)), checkpoint_every: args.checkpoint_every, source };
    let expected = frames.expected_frames();
    let frames = Skipping::new(frames, prompts.frames(first));
    let skipped = frames.skipped();
    let mut shot = model.open_video(Box::new(frames), &options)?;
    if shot.damaged_records() > 0 {
        say!(
            "note: {} damaged records of an earlier run are left out; their frames are done anew",
            shot.damaged_records()
        );
    }
    prompts.say(&mut shot, first)?;
    let direction = tracking::Direction::from(args.direction);
    let keys = shot.keys(direction);
    // What is written already and would be written again as it is.
    let from = match direction {
        tracking::Direction::Backward => None,
        _ => {
            let mut done: Vec<FrameNumber> = output.frames().collect();
            done.sort_unstable();
            let is_there = |frame: &&FrameNumber| {
                output.has(**frame, shown_key(args, keys.of(**frame)), std::iter::empty())
            };
            done.iter().take_while(is_there).last().copied()
        }
    };
    let bar = progress::items(expected.unwrap_or(0), "frames");
    bar.watch(&session.engine);
    let said_before: Vec<Signal> = output
        .signals()
        .take_while(|(frame, _)| from.is_some_and(|from| *frame <= from))
        .flat_map(|(_, signals)| signals.to_vec())
        .collect();
    let began = Instant::now();
    let mut report = Report {
        signals: SignalSummary::new(MOST_SIGNALS),
        frames: 0,
        new: NewFrames::default(),
        objects: std::collections::BTreeMap::new(),
    };
    said_before.into_iter().for_each(|signal| report.signals.add(signal));
    let mut behind = NewFrames::default();
    let mut walk_back = |frame: &TrackedFrame| {
        bar.set_message(format!("backward, frame {}", frame.number));
        behind.hear(frame);
        !interrupt::asked()
    };
    let mut stopped = false;
    let mut signals = Signals::new();
    let mut walk = shot.propagate_from(direction, from, &mut walk_back)?;
    report.new = behind;
    let mut item_began = Instant::now();
    while let Some(frame) = walk.next() {
        let mut frame = frame?;
        let key = shown_key(args, keys.of(frame.number));
        let to_look_at = report.take(&frame, &mut signals);
        if let Some(worst) = to_look_at.first() {
            bar.set_message(format!("look at frame {}: {}", worst.frame, worst.words));
        }
        // The frame that a resumed run begins with has none before it to be compared with; what was said then holds.
        let is_known = from.is_some_and(|from| frame.number <= from);
        if !is_known {
            to_look_at.iter().cloned().for_each(|signal| report.signals.add(signal));
        }
        refine(args, &mut frame)?;
        let there = frame.objects.iter().map(|object| object.object);
        if !output.has(frame.number, key, there) {
            output.write(&frame, key, &to_look_at)?;
        } else if !is_known {
            output.keep(frame.number, key, &to_look_at)?;
        }
        for error in skipped.news() {
            bar.suspend(|| say!("failed: {}", one_line(&error)));
        }
        bar.item_ended(item_began.elapsed(), false);
        item_began = Instant::now();
        if interrupt::asked() {
            walk.keep()?;
            stopped = true;
            break;
        }
    }
    bar.finish_and_clear();
    // Behind the last frame that came.
    skipped.news().iter().for_each(|error| say!("failed: {}", one_line(error)));
    let written = output.files;
    if stopped {
        return Err(anyhow!(
            "stopped after {} frames, which are kept; run the same command again to go on",
            report.frames
        ));
    }
    if let Some(place) = &args.signals {
        samovar::media::write::write_json(
            place,
            &json!({ "total": report.signals.total(), "signals": report.signals.signals() }),
        )?;
        Made::here().remember(place);
    }
    let name = args.frames.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let document = output.finish(&name)?;
    let took = began.elapsed();
    if let Some(place) = &args.preview {
        preview::write(place, args.fps, &mut shot, &keys, |frame| refine(args, frame))?;
    }
    report.say(args, written, document.as_deref().unwrap_or(out), took, &skipped)?;
    let unread: BTreeSet<FrameNumber> = skipped.frames().into_keys().collect();
    match unread.len() {
        0 => Ok(()),
        count => Err(anyhow!(
            "{} could not be read and {} no masks ({}); the others are done",
            if count == 1 { "1 frame".to_owned() } else { format!("{count} frames") },
            if count == 1 { "has" } else { "have" },
            ranges(&unread)
        )),
    }
}

/// What decides how a frame is shown.
fn shown_key(args: &Args, found: Key) -> Key {
    let rules = format!("{} {} {}", args.no_overlap, args.fill_holes, args.remove_islands);
    KeyBuilder::new("samovar shown 1").part("found", found.as_bytes()).part("rules", rules).finish()
}

/// What was found as it is to be shown.
fn refine(args: &Args, frame: &mut TrackedFrame) -> Result<()> {
    if args.fill_holes > 0 || args.remove_islands > 0 {
        for object in &mut frame.objects {
            let mask = tracking::tidy_up(object.mask.mask(), args.fill_holes, args.remove_islands);
            object.mask = object.mask.clone().with_mask(mask);
        }
    }
    // Filling may cover what lies in a hole.
    if args.no_overlap {
        tracking::separate(&mut frame.objects)?;
    }
    Ok(())
}

/// Signals that are kept of one run.
const MOST_SIGNALS: usize = 1000;
/// Signals that are told at its end.
const TOLD_SIGNALS: usize = 5;

/// Frames in which something is new; those that are walked through backward first are heard twice.
#[derive(Default)]
struct NewFrames {
    /// With masks that are others than an earlier run's.
    changed: BTreeSet<FrameNumber>,
    /// With masks that were not known.
    found: BTreeSet<FrameNumber>,
}

impl NewFrames {
    fn hear(&mut self, frame: &TrackedFrame) {
        let any = |news: News| frame.objects.iter().any(|object| object.news == news);
        if any(News::Changed) {
            self.changed.insert(frame.number);
        }
        if any(News::Found) {
            self.found.insert(frame.number);
        }
    }

    fn count(&self) -> usize {
        self.changed.union(&self.found).count()
    }
}

/// What is told at the end.
struct Report {
    signals: SignalSummary,
    frames: usize,
    new: NewFrames,
    objects: std::collections::BTreeMap<ObjectId, Sighted>,
}

/// An object.
#[derive(Default)]
struct Sighted {
    frames: usize,
    visible: usize,
}

impl Report {
    /// Takes a frame, and tells what in it should be looked at.
    fn take(&mut self, frame: &TrackedFrame, signals: &mut Signals) -> Vec<Signal> {
        self.frames += 1;
        let seen: Vec<Seen> = frame.objects.iter().map(Seen::from).collect();
        let found = signals.take(frame.number, &seen);
        for object in &frame.objects {
            let seen = self.objects.entry(object.object).or_default();
            seen.frames += 1;
            seen.visible += usize::from(!object.mask.mask().is_empty());
        }
        self.new.hear(frame);
        found
    }

    fn say(
        &self,
        args: &Args,
        written: usize,
        results: &Path,
        took: Duration,
        skipped: &Skipped,
    ) -> Result<()> {
        if args.json {
            let objects: Vec<Value> = self
                .objects
                .iter()
                .map(|(object, seen)| json!({ "object": object, "frames": seen.frames, "visible": seen.visible }))
                .collect();
            return print(&json!({
                "frames": self.frames, "found": self.new.found.len(), "changed": self.new.changed, "files": written,
                "objects": objects,
                "signals": self.signals.signals(), "results": results, "seconds": took.as_secs_f64(),
                "preview": args.preview, "unread": skipped.frames(),
            }));
        }
        for (object, seen) in &self.objects {
            say!("object {object}: seen in {} of {} frames", seen.visible, seen.frames);
        }
        let worst = self.signals.signals();
        if !worst.is_empty() {
            say!(
                "{} frames to look at, the worst first (--signals FILE.json has all):",
                self.signals.total()
            );
            for signal in worst.iter().take(TOLD_SIGNALS) {
                say!("  frame {}: {}", signal.frame, signal.words);
            }
        }
        if !self.new.changed.is_empty() {
            say!("changed: frames {}", ranges(&self.new.changed));
        }
        let rate = self.frames as f64 / took.as_secs_f64().max(1e-9);
        say!(
            "{} frames ({rate:.1} a second), {} with new masks; results in {}",
            self.frames,
            self.new.count(),
            results.display()
        );
        Ok(())
    }
}

/// 3-5, 9.
fn ranges(frames: &BTreeSet<FrameNumber>) -> String {
    let frames: Vec<FrameNumber> = frames.iter().copied().collect();
    let parts = frames.chunk_by(|a, b| b - a == 1).map(|run| match run {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// What tells these frames from others: names, sizes and times of the files, and the range.
fn source_key(args: &Args) -> Key {
    let mut key = KeyBuilder::new("samovar frames 1");
    for file in frames::files(&args.frames) {
        let Ok(metadata) = file.metadata() else { continue };
        let time = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        key = key
            .part("name", file.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default())
            .part("bytes", metadata.len().to_le_bytes())
            .part("time", time.unwrap_or_default().as_nanos().to_le_bytes());
    }
    if let Some(space) = args.colour.space() {
        key = key.part("colorspace", space.name());
    }
    key.part("range", args.range.key()).finish()
}

fn job(args: &Args) -> Value {
    let frames = std::fs::canonicalize(&args.frames).unwrap_or_else(|_| args.frames.clone());
    json!({
        "command": "track",
        "parameters": {
            "format": args.format.to_possible_value().map(|value| value.get_name().to_owned()),
            "frames": frames.to_string_lossy(), "model": args.model.model,
        },
    })
}

/// Refuses folders of frames, and of results of others.
fn check_folder(args: &Args, out: &Path) -> Result<()> {
    if out.exists() && !out.is_dir() {
        return Err(usage(format!("\"{}\" is a file; --out takes a folder here", out.display())));
    }
    let sources = Sources::of([args.frames.as_path()].into_iter().chain(args.prompt.files()));
    let is_inside = |folder: &Path| {
        let whole = |path: &Path| std::fs::canonicalize(path).ok();
        whole(folder).is_some() && whole(folder) == whole(out)
    };
    if is_inside(&args.frames) || args.frames.parent().is_some_and(is_inside) {
        return Err(usage(format!("\"{}\" holds the frames; choose another folder", out.display())));
    }
    sources.check_folder(out)?;
    let before = std::fs::read(out.join(JOB_FILE)).ok();
    let is_ours = before.as_ref().is_some_and(|before| {
        serde_json::from_slice::<Value>(before).is_ok_and(|before| before == job(args))
    });
    let is_empty = !out.exists() || std::fs::read_dir(out)?.next().is_none();
    if !is_ours && !is_empty && !args.overwrite {
        return Err(usage(format!(
            "\"{}\" holds other files, or results of other frames, another model, command or format; choose another folder, or --overwrite",
            out.display()
        )));
    }
    Ok(())
}

fn write_job(args: &Args, out: &Path) -> Result<()> {
    Ok(samovar::media::write::write_json(&out.join(JOB_FILE), &job(args))?)
}
