//! How good a model is on pictures whose masks are known: by one click, by up to ten, by a box, beside what needs no
//! model.
//!
//! The protocol is that of interactive segmentation. The first click is the point of the object farthest from its
//! border; each next one the same in the larger error region, missed or too much, with the previous logits fed back.
//! The box is the object's own, each side moved by up to 5 % of its length. Masks under 0.1 % of their picture are left
//! out. IoU, and boundary F within two pixels, are averaged over the masks of each source, then over sources, so that a
//! source with many masks counts no more than another. Boxes and samples follow from the names of the pictures alone: every run draws the same ones,
//! whatever part of a pack it looks at.
//!
//! Pictures are shared out to workers of one thread each. Operators of a small model are too short to be worth
//! sharing; with a large one fewer workers run where memory is short. Results are handed on in the order of the pack as soon
//! as all before them are there, and only sums are kept.

mod baselines;
mod draws;
mod figures;
mod fnv;
mod options;
mod protocol;
mod reference;
mod sample;
pub mod video;
mod worst;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::forecast::job_bytes;
use crate::model::Model;
use crate::sharing::one_per_thread;
use figures::SourceSums;
use sample::{Records, Survey};
use worst::Worst;

pub use figures::{
    Agreement, AnswerFigures, BoxFigures, ByPrompt, ClickFigures, ClicksTo, Figures, MaskFigures,
    SourceFigures,
};
pub use options::{BOUNDARY_REACH, EvaluateOptions, LEAST_SHARE, MAX_CLICKS};
pub use reference::{ReferenceFigure, ReferenceTable};
pub use worst::{WorstMask, WorstPrompt, draw_worst};

/// Pictures that may be done before those ahead of them: what is finished out of order waits in memory.
const MOST_AHEAD: usize = 64;

/// How far an evaluation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluateProgress {
    /// Pictures done.
    pub pictures: usize,
    /// Pictures there are to do.
    pub of_pictures: usize,
    /// Masks done, those of pictures under way included.
    pub masks: usize,
}

/// What an evaluation found.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// The model, as it was loaded.
    pub model: String,
    /// The pack.
    pub pack: PathBuf,
    /// Whether all pictures asked for were done; `false` after a stop.
    pub complete: bool,
    /// Whether that was the whole pack, every mask of it.
    pub whole_pack: bool,
    /// Pictures with masks that were done.
    pub pictures: usize,
    /// Masks that were done.
    pub masks: usize,
    /// Time it took.
    pub seconds: f64,
    /// Mean over sources.
    pub mean: Figures,
    /// Each source, by name.
    pub sources: BTreeMap<String, SourceFigures>,
    /// What classical tools were measured to reach on this very pack, where somebody did.
    pub reference: Option<ReferenceTable>,
    /// The seed of the sample, where only a part was asked for.
    pub seed: Option<u64>,
    /// The worst answers, per source and kind of prompt, the worst first; [`draw_worst`] makes pictures of them.
    #[serde(skip)]
    pub worst: Vec<WorstMask>,
}

/// Measures a model on a segpack (`samovar_media::segpack`).
///
/// `progress` is told after every few masks, from any worker, and `each` of every mask, in the order of the pack;
/// [`ControlFlow::Break`] from either stops the work, and what the finished pictures gave comes back with
/// `complete: false`.
///
/// # Errors
/// [`Error::Usage`] for options out of range, [`Error::Media`] for a damaged pack, [`Error::File`] for a pack without
/// masks, [`Error::Stopped`] when it was stopped before the first picture, and what [`Model::embed`] and
/// [`crate::Embedding::segment`] may give.
pub fn evaluate(
    model: &Model,
    pack: &Path,
    options: &EvaluateOptions,
    progress: &(dyn Fn(EvaluateProgress) -> ControlFlow<()> + Sync),
    each: &mut (dyn FnMut(&MaskFigures) -> ControlFlow<()> + Send),
) -> Result<Evaluation> {
    if !(1..=MAX_CLICKS).contains(&options.clicks) {
        return Err(Error::usage(format!(
            "{} clicks per mask; 1 to {MAX_CLICKS} are possible",
            options.clicks
        )));
    }
    if [options.pictures_per_source, options.masks_per_picture].contains(&Some(0)) {
        return Err(Error::usage("a sample of nothing; a limit must be at least 1"));
    }
    let start = Instant::now();
    let _room = model.engine().set_aside("reading a pack", job_bytes(0))?;
    let survey = Survey::of(model, pack, options)?;
    // In the middle of the work it would cost all figures.
    if let Some((what, needs)) = &survey.largest {
        drop(model.reserve(what, needs)?);
    }
    let largest_bytes = survey.largest.as_ref().map_or(0, |(_, needs)| needs.peak_bytes());
    let jobs = Jobs {
        state: Mutex::new(State {
            records: Records::open(pack, &survey)?,
            progress: EvaluateProgress { pictures: 0, of_pictures: survey.chosen(), masks: 0 },
            each,
            done: 0,
            settled: 0,
            waiting: BTreeMap::new(),
            sources: BTreeMap::new(),
            worst: Worst::new(options.worst_per_source),
            failure: None,
        }),
        moved: Condvar::new(),
        model,
        options,
        progress,
    };
    let mut models = one_per_thread(model, survey.chosen(), largest_bytes)?;
    // Where no worker fits beside a picture, the engine itself does all.
    let mine = models.pop().unwrap_or_else(|| model.clone());
    thread::scope(|scope| {
        for model in &models {
            let jobs = &jobs;
            // What threads the system does not give leave undone, this one does.
            let _ = thread::Builder::new().spawn_scoped(scope, move || jobs.work(model));
        }
        jobs.work(&mine);
    });
    let state = jobs.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.summary(model, pack, options, &survey, start.elapsed())
}

/// What the workers share.
struct Jobs<'a> {
    state: Mutex<State<'a>>,
    /// Told when a picture is settled, or nothing more will be.
    moved: Condvar,
    model: &'a Model,
    options: &'a EvaluateOptions,
    progress: &'a (dyn Fn(EvaluateProgress) -> ControlFlow<()> + Sync),
}

struct State<'a> {
    records: Records<'a>,
    progress: EvaluateProgress,
    each: &'a mut (dyn FnMut(&MaskFigures) -> ControlFlow<()> + Send),
    /// Pictures done.
    done: usize,
    /// Pictures that were handed on, all before this number.
    settled: usize,
    /// What is done before others ahead of it.
    waiting: BTreeMap<usize, protocol::Picture>,
    sources: BTreeMap<String, SourceSums>,
    worst: Worst,
    /// The first one; ends the work.
    failure: Option<Error>,
}

/// Ends the work of all when one worker panics, for whom the others would wait.
struct EndsAll<'a, 'b>(&'a Jobs<'b>);

impl Drop for EndsAll<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Error::Stopped);
        }
    }
}

impl<'a> Jobs<'a> {
    /// Takes pictures and measures them until there are none.
    fn work(&self, model: &Model) {
        debug_assert_eq!(model.name(), self.model.name());
        let _ends_all = EndsAll(self);
        loop {
            let (number, place, record) = match self.take() {
                Ok(Some(next)) => next,
                Ok(None) => return,
                Err(error) => return self.fail(error),
            };
            let report = |masks| self.report(0, masks);
            match protocol::measure(model, &record, place, self.options, &report) {
                Ok(picture) => {
                    self.lock().keep(number, picture);
                    self.moved.notify_all();
                    if self.report(1, 0).is_break() {
                        return self.fail(Error::Stopped);
                    }
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    /// The next picture, once no more than [`MOST_AHEAD`] are under way or wait for those ahead of them.
    fn take(&self) -> Result<Option<(usize, usize, samovar_media::segpack::SegpackRecord)>> {
        let mut state = self.lock();
        while state.failure.is_none() && state.records.given() - state.settled >= MOST_AHEAD {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.failure.is_some() { Ok(None) } else { state.records.next() }
    }

    fn report(&self, pictures: usize, masks: usize) -> ControlFlow<()> {
        let mut state = self.lock();
        state.progress.pictures += pictures;
        state.progress.masks += masks;
        let (progress, failed) = (state.progress, state.failure.is_some());
        drop(state);
        match failed {
            true => ControlFlow::Break(()),
            false => (self.progress)(progress),
        }
    }

    fn fail(&self, error: Error) {
        self.lock().failure.get_or_insert(error);
        self.moved.notify_all();
    }

    /// A worker that panicked leaves the state whole: it changes in single steps.
    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State<'_> {
    fn keep(&mut self, number: usize, picture: protocol::Picture) {
        self.done += 1;
        self.waiting.insert(number, picture);
        while let Some(picture) = self.waiting.remove(&self.settled) {
            self.settled += 1;
            self.settle(picture);
        }
    }

    /// Hands a picture on. Whichever worker was first: the same numbers in the same order.
    fn settle(&mut self, picture: protocol::Picture) {
        if picture.masks.is_empty() {
            return;
        }
        for mask in &picture.masks {
            if (self.each)(mask).is_break() {
                self.failure.get_or_insert(Error::Stopped);
            }
        }
        self.sources.entry(picture.source).or_default().add(&picture.masks);
        picture.worst.into_iter().for_each(|one| self.worst.add(one));
    }

    fn summary(
        mut self,
        model: &Model,
        pack: &Path,
        options: &EvaluateOptions,
        survey: &Survey,
        time: Duration,
    ) -> Result<Evaluation> {
        // After a stop there may be gaps, behind which finished pictures wait.
        for (_, picture) in std::mem::take(&mut self.waiting) {
            self.settle(picture);
        }
        match self.failure.take() {
            None => {}
            Some(Error::Stopped) if !self.sources.is_empty() => {}
            Some(error) => return Err(error),
        }
        if self.sources.is_empty() {
            let least = 100.0 * LEAST_SHARE;
            return Err(Error::file(
                pack,
                format!("no mask covers {least} % of its picture; nothing to measure"),
            ));
        }
        let sources: BTreeMap<String, SourceFigures> =
            self.sources.into_iter().map(|(name, sums)| (name, sums.means())).collect();
        let complete = self.done == survey.chosen();
        let whole_pack = complete && survey.chosen() == survey.all && options.masks_per_picture.is_none();
        let is_sample = options.pictures_per_source.is_some() || options.masks_per_picture.is_some();
        Ok(Evaluation {
            model: model.name().to_owned(),
            pack: pack.to_owned(),
            complete,
            whole_pack,
            pictures: sources.values().map(|source| source.pictures).sum(),
            masks: sources.values().map(|source| source.masks).sum(),
            seconds: time.as_secs_f64(),
            mean: Figures::mean(sources.values().map(|source| &source.figures)),
            reference: ReferenceTable::of_pack(survey.fingerprint),
            seed: is_sample.then_some(options.seed),
            sources,
            worst: self.worst.into_sorted(),
        })
    }
}

#[cfg(test)]
mod tests;
