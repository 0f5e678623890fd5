//! `samovar track`: objects through a video or a sequence of images.

mod args;
mod document;
pub(super) mod memory;
mod output;
mod places;
mod preview;
mod prompts;
mod report;
mod shown;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use samovar::Model;
use samovar::forecast::job_bytes;
use samovar::media::video::{Direction as Way, FrameNumber, FrameSource, Skipping};
use samovar::resources::contents::{Key, KeyBuilder};
use samovar::tracking::{self, FrameKeys, MaskRules, Shot, ShotNeeds, ShotOptions, TrackedFrame};
use serde_json::json;

pub use self::args::Args;
use self::args::Direction;
use self::output::{Format, Output};
use self::prompts::{Labels, Prompts};
use self::report::{NewFrames, Report, ranges};
use crate::failure::describe;
use crate::frames::{self, RangeArgs};
use crate::made::Made;
use crate::planned::Planned;
use crate::say::one_line;
use crate::session::Session;
use crate::{interrupt, progress};

/// Name of the record of what was found, in the folder of results.
const LOG: &str = ".samovar-track";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let session = Session::start(&args.model, &args.cache)?;
    args.model.check_following(&session.engine)?;
    let open = |range: &RangeArgs, backward_bytes| {
        let limits = session.engine.decode_limits();
        frames::open(&args.frames, range, limits, args.colour.space(), Some(backward_bytes))
    };
    let mut backward_bytes = memory::block_bytes(&session.engine);
    let mut frames = open(&args.range, backward_bytes)?;
    frames.notes().iter().for_each(|note| say!("note: \"{}\": {note}", args.frames.display()));
    let prompts = args.prompt.read(frames.size(), session.engine.decode_limits())?;
    let sources = places::sources(args, &prompts);
    let first = frames::first(&*frames)?;
    places::check(args, &sources)?;
    let prompts = prompts.within(&mut *frames, &args.range, || open(&RangeArgs::ALL, 0))?;
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
            frames = open(&args.range, backward_bytes)?;
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
        let again = open(&args.range, backward_bytes)?;
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
    let Some(out) = &args.out else { return Ok(()) };
    let digits = frames::digits(&args.frames, first);
    let output = Output::open(out, args.format, digits, args.overwrite, sources, prompts.labels());
    let follow = |output| follow(args, &session, &model, frames, (prompts, first), output);
    output.and_then(follow).map_err(on_full_disk)
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
    (prompts, first): (Prompts, FrameNumber),
    mut output: Output,
) -> Result<()> {
    let (source, out) = (source_key(args), output.folder().to_owned());
    places::write_job(args, &out)?;
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
    let labels = prompts.labels();
    let shown = ShownBy {
        rules: args.rules(),
        labels: if args.format == Format::Rle { labels } else { Labels::new() },
    };
    prompts.say(&mut shot, first, &shown.rules_before(&out)?)?;
    let direction = tracking::Direction::from(args.direction);
    let keys = shot.keys(direction);
    let (from, mut unread) = known(args, &shown, &mut output, &mut shot, &keys);
    let bar = progress::items(expected.unwrap_or(0), "frames");
    bar.watch(&session.engine);
    let began = Instant::now();
    let mut report = Report::new();
    if let Some(from) = from {
        output.signals(from).cloned().for_each(|signal| report.signals.add(signal));
    }
    let mut behind = NewFrames::default();
    let mut walk_back = |frame: &TrackedFrame| {
        bar.set_message(format!("backward, frame {}", frame.number));
        behind.hear(frame);
        !interrupt::asked()
    };
    let mut stopped = false;
    let mut walk = shot.propagate_from(direction, from, &mut walk_back)?;
    report.new = behind;
    let mut item_began = Instant::now();
    loop {
        let frame = walk.next();
        for error in skipped.news() {
            bar.suspend(|| say!("failed: {}", one_line(&error)));
            output.are_unread(&skipped.frames(), |frame| keys.of(frame), &args.frames)?;
        }
        let Some(frame) = frame else { break };
        let mut frame = frame?;
        let key = shown.key(keys.of(frame.number));
        let to_look_at = report.take(&frame);
        if let Some(worst) = to_look_at.first() {
            bar.set_message(format!("look at frame {}: {}", worst.frame, worst.words));
        }
        // The frame that a resumed run begins with has none before it to be compared with; what was said then holds.
        let was_said = from.is_some_and(|from| frame.number <= from);
        if !was_said {
            to_look_at.iter().cloned().for_each(|signal| report.signals.add(signal));
        }
        shown.rules.apply(&mut frame.objects)?;
        let is_known = output.is_known(frame.number, key);
        if !is_known && frame.objects.len() < keys.objects(frame.number) {
            let why = output.unread_before(frame.number, keys.of(frame.number));
            let why = why.unwrap_or_else(|| "what was found there is damaged".to_owned());
            let log = out.join(LOG);
            unread.insert(
                frame.number,
                format!("frame {}: {why}; to find all anew remove \"{}\"", frame.number, log.display()),
            );
        } else if !is_known {
            output.write(&frame, key, &to_look_at)?;
        } else if !was_said {
            output.look_at(frame.number, &to_look_at)?;
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
    skipped.notes().iter().for_each(|note| say!("note: \"{}\": {note}", args.frames.display()));
    if stopped {
        return Err(anyhow!(
            "stopped after {} frames, which are kept; run the same command again to go on",
            output.given().len()
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
    drop(walk);
    let source = shot.source();
    let document = output.finish(&name, |frame| source.file(frame))?;
    let took = began.elapsed();
    if let Some(place) = &args.preview {
        preview::write(place, args.fps, &mut shot, &keys, |frame| {
            Ok(shown.rules.apply(&mut frame.objects)?)
        })?;
    }
    unread.values().for_each(|error| say!("failed in an earlier run: {}", one_line(error)));
    unread.extend(skipped.frames());
    report.say(args, &output, document.as_deref().unwrap_or(&out), took, &unread)?;
    output.told()?;
    match unread.len() {
        0 => Ok(()),
        count => Err(anyhow!(
            "{} could not be read and {} no masks ({}); the others are done",
            if count == 1 { "1 frame".to_owned() } else { format!("{count} frames") },
            if count == 1 { "has" } else { "have" },
            ranges(&unread.into_keys().collect())
        )),
    }
}

/// What to do where the disk is full.
fn on_full_disk(error: anyhow::Error) -> anyhow::Error {
    let is_full =
        |cause: &io::Error| matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    match error.chain().any(|cause| cause.downcast_ref().is_some_and(is_full)) {
        true => anyhow!(
            "{}; the frames that are finished are safe: once there is room the same command goes on, or give --out on another disk",
            describe(&error)
        ),
        false => error,
    }
}

/// How far what was written would be written again as it is, from the first frame on, and which frames before could not be read then.
fn known(
    args: &Args,
    shown: &ShownBy,
    output: &mut Output,
    shot: &mut Shot,
    keys: &FrameKeys,
) -> (Option<FrameNumber>, BTreeMap<FrameNumber, String>) {
    let (mut last, mut unread) = (None, BTreeMap::new());
    if args.direction == Direction::Backward {
        return (last, unread);
    }
    let source = shot.source();
    for number in (0..).map_while(|place| source.number_at(place)) {
        let key = keys.of(number);
        if output.is_known(number, shown.key(key)) {
            last = Some(number);
        } else if let Some(why) = output.unread_before(number, key) {
            unread.insert(number, why);
        } else {
            break;
        }
    }
    // Behind what is known they are tried again.
    unread.retain(|&number, _| last.is_some_and(|last| number < last));
    (last, unread)
}

/// What decides how frames are shown, beside what is found.
struct ShownBy {
    rules: MaskRules,
    /// Where they are written with each frame.
    labels: Labels,
}

/// Name of the file with the rules by which frames are shown, in the folder of results.
const RULES: &str = ".samovar-track-rules.json";

impl ShownBy {
    /// The rules by which frames were shown until now; from here on it is these.
    fn rules_before(&self, folder: &Path) -> Result<MaskRules> {
        let place = folder.join(RULES);
        let before = std::fs::read(&place).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if before != Some(self.rules) {
            samovar::media::write::write_json(&place, &self.rules)?;
        }
        Ok(before.unwrap_or(self.rules))
    }

    /// Of what is found in a frame, and how it is shown.
    fn key(&self, found: Key) -> Key {
        let MaskRules { no_overlap, fill_holes, remove_islands } = self.rules;
        let is_tidied_apart = no_overlap && (fill_holes > 0 || remove_islands > 0);
        let version = if is_tidied_apart { "samovar shown 2" } else { "samovar shown 1" };
        let rules = format!("{no_overlap} {fill_holes} {remove_islands}");
        let mut key = KeyBuilder::new(version).part("found", found.as_bytes()).part("rules", rules);
        for (object, label) in &self.labels {
            key = key.part("object", object.to_le_bytes()).part("label", label.as_str());
        }
        key.finish()
    }
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
