//! Many images: what is done is kept, what was done before is skipped, what fails is reported and the rest goes on.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use samovar::forecast::job_bytes;
use samovar::media::image::ColourSpace;
use samovar::resources::batch::{ItemEvent, Retry, Worker, WorkerOptions, Workers, WorkersReport};
use samovar::resources::instruments::Events;
use samovar::sharing::Sharing;
use samovar::tensor::Stop;
use samovar::{DecodeLimits, ErrorKind, LazyImage, Model, PictureBytes, PictureWork, RgbImage};
use serde::Serialize;

use crate::cache_args::Cache;
use crate::contents::Contents;
use crate::failure::{describe, needed_bytes};
use crate::frames::Shot;
use crate::inputs::InputImage;
use crate::job_args::JobArgs;
use crate::say::one_line;
use crate::{interrupt, progress};

/// How a run over many images ended.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Images done now.
    pub done: usize,
    /// Images done by an earlier run.
    pub skipped: usize,
    /// Images that failed, and why.
    pub failed: Vec<Failed>,
    /// Images that failed in an earlier run and were not tried again, and why.
    pub failed_before: Vec<Failed>,
    /// Images left when Ctrl-C came, or the disk was full.
    pub left: usize,
    /// Images whose results are there, done now or before, by the names of their results.
    #[serde(skip)]
    pub finished: HashSet<String>,
    /// What they are, as "images".
    #[serde(skip)]
    pub unit: &'static str,
    /// Budget with which those that memory was too little for would have been done.
    #[serde(skip)]
    pub needed_bytes: Option<usize>,
    /// Whether the work ended because nothing more can be written.
    #[serde(skip)]
    pub disk_full: bool,
    /// Why the work ended where its results are not where they were any more.
    #[serde(skip)]
    pub lost: Option<String>,
    /// Where the time went.
    pub time: Spent,
}

/// Where the time of a run went, in seconds.
#[derive(Debug, Default, Serialize)]
pub struct Spent {
    /// From the first image to the last.
    pub wall_s: f64,
    /// Of all threads.
    pub processor_s: f64,
    /// Processor time by stage, in the order of the work. What threads did that several images share is not in it.
    pub stages: Vec<StageSpent>,
}

/// Processor time of a stage in all images.
#[derive(Debug, Serialize)]
pub struct StageSpent {
    /// Its name.
    pub stage: &'static str,
    /// Seconds.
    pub processor_s: f64,
}

impl Spent {
    fn add(&mut self, report: &WorkersReport) {
        self.wall_s += report.time.as_secs_f64();
        self.processor_s += report.processor.as_secs_f64();
        for stage in &report.stages {
            let seconds = stage.processor.as_secs_f64();
            match self.stages.iter_mut().find(|one| one.stage == stage.name) {
                Some(one) => one.processor_s += seconds,
                None => self.stages.push(StageSpent { stage: stage.name, processor_s: seconds }),
            }
        }
    }

    /// In one line, if the system told.
    fn words(&self) -> Option<String> {
        let Self { wall_s, processor_s, stages } = self;
        if *processor_s == 0.0 {
            return None;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let in_stages: f64 = stages.iter().map(|one| one.processor_s).sum();
        let mut parts: Vec<String> =
            stages.iter().map(|one| format!("{} {:.1}", one.stage, one.processor_s)).collect();
        parts.push(format!("shared threads and the rest {:.1}", (processor_s - in_stages).max(0.0)));
        let shared_s = processor_s / cores as f64;
        Some(format!(
            "time {wall_s:.1} s; processor time {processor_s:.1} s ({}), which {cores} processors alone with it do in {shared_s:.1} s",
            parts.join(", ")
        ))
    }
}

/// An image that failed.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// The image.
    pub image: String,
    /// Why.
    pub error: String,
}

impl Summary {
    /// How many images were done, done before, and failed.
    pub fn counts(&self, done: &str) -> String {
        let before = match self.failed_before.len() {
            0 => String::new(),
            count => format!(", {count} failed before"),
        };
        format!(
            "{} done{done}, {} done before, {} failed{before}",
            self.done,
            self.skipped,
            self.failed.len()
        )
    }

    /// Where the time went, for people, if anything was done.
    pub fn say_time(&self) {
        if let Some(words) = self.time.words().filter(|_| self.done > 1) {
            say!("{words}");
        }
    }

    /// An error that tells what is not done, if anything is not.
    pub fn into_result(self) -> Result<()> {
        let Self { done, skipped, failed, failed_before, left, disk_full, lost, unit, needed_bytes, .. } =
            self;
        let all = done + skipped + failed.len() + failed_before.len() + left;
        if let Some(lost) = lost {
            return Err(anyhow!("stopped with {} of {all} {unit} done: {lost}", done + skipped));
        }
        if disk_full {
            return Err(anyhow!(
                "stopped because the disk is full: {} of {all} {unit} are done and kept; make room and run the same \
                 command again to go on",
                done + skipped
            ));
        }
        let would_do = needed_bytes.map_or_else(String::new, |bytes| {
            format!(
                "; for those that memory was too little for, --memory {}MB would do",
                bytes.div_ceil(1_000_000)
            )
        });
        match (failed.len(), left) {
            (0, 0) => match failed_before.len() {
                0 => Ok(()),
                count => Err(anyhow!(
                    "{count} of {all} {unit} failed before and were not tried again; --retry-failed tries them"
                )),
            },
            (0, left) => {
                Err(anyhow!("stopped with {left} of {all} {unit} left; run the same command again to go on"))
            }
            (failed, 0) if !failed_before.is_empty() => Err(anyhow!(
                "{failed} of {all} {unit} failed, and {} failed before and were not tried again (--retry-failed tries them){would_do}",
                failed_before.len()
            )),
            (failed, 0) if failed == all => Err(anyhow!("all {all} {unit} failed{would_do}")),
            (failed, 0) => Err(anyhow!("{failed} of {all} {unit} failed; the others are done{would_do}")),
            (failed, left) => Err(anyhow!("{failed} of {all} {unit} failed and {left} are left{would_do}")),
        }
    }
}

/// What runs over images have in common.
pub struct Job<'a> {
    /// The arguments.
    pub args: &'a JobArgs,
    /// The model.
    pub model: &'a Model,
    /// What is asked of each picture.
    pub asked: PictureWork,
    /// Asked before an image is read, if anybody wants to know what images hold.
    pub contents: Option<&'a Contents>,
    /// What keeps what is found in images.
    pub cache: Option<&'a Cache>,
    /// Who listens.
    pub events: &'a Events,
    /// Where the pictures come from, if not from files of their own.
    pub source: Source<'a>,
}

/// Where pictures come from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// Each from its file; what its values mean.
    Files(Option<ColourSpace>),
    /// From a shot.
    Shot(&'a Shot),
}

impl Source<'_> {
    /// An image, of which nothing is read yet.
    pub fn open(self, input: &InputImage, limits: DecodeLimits) -> LazyImage {
        match self {
            Self::Files(space) => LazyImage::open_as(&input.path, limits, space),
            Self::Shot(shot) => shot.image(input),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Files(_) => "images",
            Self::Shot(_) => "frames",
        }
    }
}

/// What is known of images from earlier runs, and what later ones should know.
pub trait Memory {
    /// Whether the image is done.
    fn is_done(&self, _: &InputImage) -> bool {
        false
    }

    /// Why it failed before, if it is not to be tried again.
    fn failed_before(&self, _: &InputImage) -> Option<String> {
        None
    }

    /// Puts what was finished in its place.
    fn commit(&self) {}

    /// Why that did not succeed with an image.
    fn take_error(&self, _: &InputImage) -> Option<anyhow::Error> {
        None
    }

    /// Why nothing more can be put where what was done is.
    fn lost(&self) -> Option<String> {
        None
    }

    /// Takes note that it failed, of its own accord.
    fn fail(&self, _: &InputImage, _: &str) -> Result<()> {
        Ok(())
    }
}

/// An image at work.
pub struct Work<'a> {
    worker: &'a Worker<'a>,
    model: &'a Model,
    timeout: Option<Duration>,
    /// Time since the image was begun, less what it waited for its turn.
    spent: Cell<Duration>,
    began: Instant,
    /// The image.
    pub input: &'a InputImage,
    /// The same, with what is known beside its pixels.
    pub image: &'a LazyImage,
    /// Its pixels.
    pub pixels: &'a Arc<RgbImage>,
}

impl Work<'_> {
    /// Runs what computes, with a model that ends when the image's time is over.
    pub fn compute<R>(&self, stage: &'static str, work: impl FnOnce(&Model) -> Result<R>) -> Result<R> {
        self.worker.compute(stage, || {
            let Some(timeout) = self.timeout else { return work(self.model) };
            let began = Instant::now();
            let stop = Stop::at(began + timeout.saturating_sub(self.spent.get()));
            let result = work(&self.model.on(&self.model.engine().stopping(Arc::new(stop))));
            self.spent.set(self.spent.get() + began.elapsed());
            result.map_err(|error| match kind_of(&error) {
                Some(ErrorKind::Stopped) => given_up(timeout),
                _ => error,
            })
        })
    }

    /// Runs what others may compute beside.
    pub fn stage<R>(&self, stage: &'static str, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let began = Instant::now();
        let result = self.worker.stage(stage, work);
        self.spent.set(self.spent.get() + began.elapsed());
        result
    }

    /// How long the image has taken, with all its waiting.
    pub fn took(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Whoever computes on an image: a command for one image, or a worker for one of many.
#[derive(Clone, Copy)]
pub enum Turn<'a> {
    /// Nobody else computes.
    Alone(&'a Model),
    /// Others do.
    InWorker(&'a Work<'a>),
}

impl Turn<'_> {
    /// See [`Work::compute`].
    pub fn compute<R>(self, stage: &'static str, work: impl FnOnce(&Model) -> Result<R>) -> Result<R> {
        match self {
            Self::Alone(model) => work(model),
            Self::InWorker(worker) => worker.compute(stage, work),
        }
    }

    /// See [`Work::stage`].
    pub fn stage<R>(self, stage: &'static str, work: impl FnOnce() -> Result<R>) -> Result<R> {
        match self {
            Self::Alone(_) => work(),
            Self::InWorker(worker) => worker.stage(stage, work),
        }
    }
}

fn given_up(timeout: Duration) -> anyhow::Error {
    anyhow!("given up after {} s (--timeout)", timeout.as_secs_f64())
}

fn kind_of(error: &anyhow::Error) -> Option<ErrorKind> {
    ErrorKind::of(error.as_ref())
}

/// Runs `work` on images, several under way at once, as memory allows. What `memory` says is done is skipped. `work` tells people
/// what it found in a few words, and hands on a value, which come back in the order of the images.
pub fn for_each_image<V: Send>(
    images: &[InputImage],
    job: &Job,
    memory: &(impl Memory + Sync),
    work: impl Fn(&Work) -> Result<(String, V)> + Sync,
) -> Result<(Summary, Vec<V>)> {
    let mut summary = Summary { unit: job.source.unit(), ..Summary::default() };
    let mut open = Vec::new();
    for input in images {
        if memory.is_done(input) {
            summary.skipped += 1;
            summary.finished.insert(input.result_name.clone());
        } else if let Some(error) = memory.failed_before(input) {
            summary.failed_before.push(Failed { image: input.label(), error });
        } else {
            open.push(input);
        }
    }
    let Job { args, model, asked, contents, cache, events, source } = *job;
    let bar =
        progress::items(images.len() as u64, source.unit()).with_position((images.len() - open.len()) as u64);
    bar.watch(model.engine());
    if let Some(cache) = cache {
        bar.watch_caches(cache.figures());
    }
    interrupt::catch();
    let _books = model.engine().set_aside("a list of images", job_bytes(images.len()))?;
    let limits = *model.engine().decode_limits();
    if let (Source::Shot(_), Some(first)) = (source, open.first()) {
        // One frame is as large as the next: none of them, or all.
        drop(model.reserve_picture(&source.open(first, limits), asked)?);
    }
    let one = |sharing: &Sharing, worker: &Worker, input: &InputImage| -> Result<Ended<V>> {
        let began = Instant::now();
        let model = sharing.model(worker.index);
        let image = source.open(input, limits);
        let _room = model.reserve_picture(&image, asked)?;
        let read = Instant::now();
        let pixels = worker.stage("read", || {
            // What cannot be read for this fails as a picture, too, and says so better.
            let _ = contents.map(|contents| contents.read(&input.path));
            image.pixels()
        })?;
        let spent = read.elapsed();
        if let Some(timeout) = args.timeout.filter(|&timeout| spent > timeout) {
            return Err(given_up(timeout));
        }
        let work_of = Work {
            worker,
            model,
            timeout: args.timeout,
            spent: spent.into(),
            began,
            input,
            image: &image,
            pixels: &pixels,
        };
        let (words, value) = work(&work_of)?;
        Ok(Ended { notes: pixels.notes().to_vec(), words, value })
    };
    let retry = |error: &anyhow::Error| match kind_of(error) {
        Some(ErrorKind::OutOfMemory) => Retry::Halved,
        _ if is_disk_full(error) => Retry::Stop,
        _ => Retry::Never,
    };
    // Every other image would fail the same way.
    let is_full = Cell::new(false);
    let lost = RefCell::new(None);
    let without_place = Cell::new(0);
    let mut said: HashSet<String> = HashSet::new();
    let mut values: Vec<Option<V>> = std::iter::repeat_with(|| None).take(open.len()).collect();
    let mut finished = vec![false; open.len()];
    let mut run = |sharing: &Sharing, numbers: &[usize], again: &mut Vec<usize>| {
        let workers =
            Workers::new(WorkerOptions { workers: sharing.at_once(), computing: sharing.computing() });
        let mut each_one = |event: ItemEvent<Ended<V>, anyhow::Error>| {
            let (number, took, result) = match event {
                ItemEvent::Began(index) => {
                    bar.set_message(open[numbers[index]].label());
                    return;
                }
                ItemEvent::Ended(index, took, result) => (numbers[index], took, result),
            };
            let input = open[number];
            let image = input.label();
            let result = result.and_then(|ended| memory.take_error(input).map_or(Ok(ended), Err));
            let has_failed = result.is_err();
            match result {
                Ok(Ended { notes, words, value }) => {
                    for note in notes {
                        // Of frames one says what all the others would.
                        if matches!(source, Source::Shot(_)) && !said.insert(note.clone()) {
                            continue;
                        }
                        bar.suspend(|| say!("note: \"{}\": {note}", one_line(&image)));
                    }
                    summary.done += 1;
                    finished[number] = true;
                    values[number] = Some(value);
                    events.emit("item_done", || {
                        [("item", image.clone().into()), ("seconds", took.as_secs_f64().into())]
                    });
                    bar.set_message(format!("{} {words}", input.result_name));
                }
                Err(_) if lost.borrow().is_some() => {
                    without_place.set(without_place.get() + 1);
                    return;
                }
                Err(error) if sharing.computing() > 1 && kind_of(&error) == Some(ErrorKind::OutOfMemory) => {
                    again.push(number);
                    return;
                }
                Err(error) => {
                    is_full.set(is_full.get() || is_disk_full(&error));
                    summary.needed_bytes = summary.needed_bytes.max(needed_bytes(&error));
                    let is_its_own = is_of_the_image(&error);
                    let error = describe(&error);
                    // What cannot be noted fails again, and is then tried again.
                    let _ = if is_its_own { memory.fail(input, &error) } else { Ok(()) };
                    events.emit("item_failed", || {
                        [("item", image.clone().into()), ("error", error.clone().into())]
                    });
                    let line =
                        if error.contains(&image) { error.clone() } else { format!("\"{image}\": {error}") };
                    bar.suspend(|| say!("failed: {}", one_line(&line)));
                    summary.failed.push(Failed { image, error });
                }
            }
            bar.item_ended(took, has_failed);
        };
        let each = |events: Vec<ItemEvent<Ended<V>, anyhow::Error>>| {
            memory.commit();
            lost.replace(memory.lost());
            events.into_iter().for_each(&mut each_one);
            let is_over = is_full.get() || lost.borrow().is_some();
            if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let work = |worker: &Worker, &number: &usize| one(sharing, worker, open[number]);
        let events = events.clone();
        let workers = workers.with_memory(model.engine().memory()).with_events(events);
        workers.run(numbers, || !interrupt::asked(), retry, work, each)
    };
    let at_once = args.images_at_once.map(usize::from);
    let first = open.first().and_then(|input| source.open(input, limits).metadata().ok());
    let picture_bytes = first.map_or(0, |metadata| PictureBytes::of(&metadata, asked).peak_bytes());
    let sharing = Sharing::of(model, open.len(), at_once, picture_bytes)?;
    let mut again = Vec::new();
    let report = run(&sharing, &(0..open.len()).collect::<Vec<_>>(), &mut again);
    drop(sharing);
    let (mut time, mut left) = (Spent::default(), report.left);
    time.add(&report);
    // What did not fit beside workers that have memory of their own may fit without.
    if !again.is_empty() && report.left == 0 {
        let rest = run(&Sharing::one_by_one(model), &again, &mut Vec::new());
        again.clear();
        time.add(&rest);
        left += rest.left;
    }
    bar.finish_and_clear();
    summary.finished.extend(
        open.iter().zip(&finished).filter(|(_, done)| **done).map(|(input, _)| input.result_name.clone()),
    );
    summary.disk_full = is_full.get();
    summary.lost = lost.into_inner().or_else(|| memory.lost());
    summary.left = left + again.len() + without_place.get();
    summary.time = time;
    Ok((summary, values.into_iter().flatten().collect()))
}

/// An image that is done.
struct Ended<V> {
    /// What a user should know about its pixels.
    notes: Vec<String>,
    /// What was found.
    words: String,
    value: V,
}

/// Whether an image fails for what is in it, and not for memory, or for disks that may be mended.
fn is_of_the_image(error: &anyhow::Error) -> bool {
    let of_file = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
    let is_of_disk = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<samovar::files::Error>()
            || cause.downcast_ref::<io::Error>().is_some_and(|error| !of_file.contains(&error.kind()))
    };
    kind_of(error) != Some(ErrorKind::OutOfMemory) && !error.chain().any(is_of_disk)
}

fn is_disk_full(error: &anyhow::Error) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| full.contains(&error.kind())))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use clap::Parser;
    use samovar::{Engine, Options, PictureUse};

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        job: JobArgs,
    }

    struct Nothing;
    impl Memory for Nothing {}

    #[test]
    fn a_full_disk_ends_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let images: Vec<InputImage> = (0..4)
            .map(|index| {
                let path = folder.path().join(format!("{index}.png"));
                image::RgbImage::new(3, 2).save(&path).unwrap();
                let result_name = index.to_string();
                InputImage { in_folder: path.file_name().unwrap().into(), path, result_name, frame: None }
            })
            .collect();
        let engine = Engine::new(Options { threads: 1, ..Options::default() }).unwrap();
        let model = engine.load("nano").unwrap();
        let asked = AtomicUsize::new(0);
        let Arguments { job: args } = Arguments::parse_from(["test", "--images-at-once", "1"]);
        let events = Events::default();
        let job = Job {
            args: &args,
            model: &model,
            asked: PictureUse::Masks.into(),
            contents: None,
            cache: None,
            events: &events,
            source: Source::Files(None),
        };
        let (summary, values) =
            for_each_image(&images, &job, &Nothing, |work| match asked.fetch_add(1, Ordering::SeqCst) {
                0 => Ok((String::new(), work.input.result_name.clone())),
                _ => {
                    Err(anyhow::Error::new(io::Error::from(io::ErrorKind::StorageFull)).context("out/1.png"))
                }
            })
            .unwrap();
        assert_eq!((asked.into_inner(), values), (2, vec!["0".to_owned()]));
        assert_eq!((summary.done, summary.failed.len(), summary.left), (1, 1, 2));
        let words = summary.into_result().unwrap_err().to_string();
        assert!(words.contains("disk is full: 1 of 4 images are done and kept"), "{words}");
    }
}
