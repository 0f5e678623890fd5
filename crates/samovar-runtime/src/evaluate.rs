//! How good a model is on pictures whose masks are known: by one click, by up to ten, by a box, beside what needs no
//! model.
//!
//! The protocol is that of interactive segmentation. The first click is the point of the object farthest from its
//! border; each next one the same in the larger error region, missed or too much, with the previous logits fed back.
//! The box is the object's own, each side moved by up to 5 % of its length. Masks under 0.1 % of their picture are left
//! out. IoU is averaged over the masks of each source, then over sources, so that a source with many masks counts no
//! more than another. Boxes and samples follow from the names of the pictures alone: every run draws the same ones,
//! whatever part of a pack it looks at.
//!
//! Pictures are shared out to workers of one thread each. Operators of a small model are too short to be worth
//! sharing; with a large one fewer workers run where memory is short.

mod baselines;
mod figures;
mod fnv;
mod options;
mod protocol;
mod reference;
mod worst;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use samovar_media::segpack::{SegpackLimits, SegpackReader, SegpackRecord};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::model::Model;
use fnv::{FNV_OFFSET, fnv};

pub use figures::{Figures, SourceFigures};
pub use options::{EvaluateOptions, LEAST_SHARE, MAX_CLICKS};
pub use reference::{ReferenceFigure, ReferenceTable};
pub use worst::{WorstMask, WorstPrompt};

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
    /// The worst answers, per source and kind of prompt, the worst first.
    #[serde(skip)]
    pub worst: Vec<WorstMask>,
}

/// Measures a model on a segpack (`samovar_media::segpack`).
///
/// `progress` is told after every few masks, from any worker; [`ControlFlow::Break`] stops the work, and what the
/// finished pictures gave comes back with `complete: false`.
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
    let survey = Survey::of(pack, options)?;
    let jobs = Jobs {
        state: Mutex::new(State {
            records: Records::open(pack, options)?,
            progress: EvaluateProgress { pictures: 0, of_pictures: survey.chosen, masks: 0 },
            done: Vec::new(),
            worst: BTreeMap::new(),
            failure: None,
        }),
        model,
        options,
        progress,
    };
    let all_threads = model.engine().threads();
    // The first picture is one worker's; it tells how much memory one takes.
    let alone = model.on(&model.engine().worker()?);
    let pool = model.device().pool();
    let before = pool.stats();
    jobs.work(&alone, Some(1));
    let one_worker = pool.stats().peak_bytes.saturating_sub(before.in_use_bytes).max(1);
    let room = model.engine().budget_bytes().saturating_sub(before.in_use_bytes);
    let workers = (room / one_worker).clamp(1, all_threads);
    let engines = (1..workers).map(|_| model.engine().worker()).collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        for engine in &engines {
            let jobs = &jobs;
            scope.spawn(move || jobs.work(&model.on(engine), None));
        }
        jobs.work(&alone, None);
    });
    let state = jobs.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.summary(model, pack, options, &survey, start.elapsed())
}

/// What is in a pack, from its headers.
struct Survey {
    /// Pictures that will be looked at.
    chosen: usize,
    /// Pictures there are.
    all: usize,
    /// Of the names of all pictures.
    fingerprint: u64,
}

impl Survey {
    fn of(pack: &Path, options: &EvaluateOptions) -> Result<Self> {
        let mut survey = Self { chosen: 0, all: 0, fingerprint: FNV_OFFSET };
        let mut taken = Taken::new(options);
        for record in SegpackReader::open(pack, SegpackLimits::default())? {
            let header = record.map_err(|error| error.at(pack))?.header;
            survey.all += 1;
            survey.chosen += usize::from(taken.takes(&header.src));
            survey.fingerprint =
                fnv(survey.fingerprint, format!("{}/{}\n", header.src, header.id).as_bytes());
        }
        Ok(survey)
    }
}

/// Which pictures of each source are in the sample: the first ones.
struct Taken {
    limit: Option<usize>,
    of_source: BTreeMap<String, usize>,
}

impl Taken {
    fn new(options: &EvaluateOptions) -> Self {
        Self { limit: options.pictures_per_source, of_source: BTreeMap::new() }
    }

    fn takes(&mut self, source: &str) -> bool {
        let Some(limit) = self.limit else { return true };
        let count = self.of_source.entry(source.to_owned()).or_default();
        *count += 1;
        *count <= limit
    }
}

/// The sample, picture by picture.
struct Records {
    reader: Box<dyn Iterator<Item = samovar_media::Result<SegpackRecord>> + Send>,
    taken: Taken,
    given: usize,
}

impl Records {
    fn open(pack: &Path, options: &EvaluateOptions) -> Result<Self> {
        let reader = Box::new(SegpackReader::open(pack, SegpackLimits::default())?);
        Ok(Self { reader, taken: Taken::new(options), given: 0 })
    }

    fn next(&mut self) -> Result<Option<(usize, SegpackRecord)>> {
        for record in self.reader.by_ref() {
            let record = record?;
            if self.taken.takes(&record.header.src) {
                self.given += 1;
                return Ok(Some((self.given - 1, record)));
            }
        }
        Ok(None)
    }
}

/// What the workers share.
struct Jobs<'a> {
    state: Mutex<State>,
    model: &'a Model,
    options: &'a EvaluateOptions,
    progress: &'a (dyn Fn(EvaluateProgress) -> ControlFlow<()> + Sync),
}

struct State {
    records: Records,
    progress: EvaluateProgress,
    /// Number of the picture, and what it gave.
    done: Vec<(usize, protocol::Picture)>,
    /// The worst answers so far, by source.
    worst: BTreeMap<String, Vec<WorstMask>>,
    /// The first one; ends the work.
    failure: Option<Error>,
}

impl Jobs<'_> {
    /// Takes pictures and measures them until there are none, or `most` are done.
    fn work(&self, model: &Model, most: Option<usize>) {
        debug_assert_eq!(model.name(), self.model.name());
        let mut count = 0;
        while most.is_none_or(|most| count < most) {
            let mut state = self.lock();
            if state.failure.is_some() {
                return;
            }
            let (number, record) = match state.records.next() {
                Ok(Some(next)) => next,
                Ok(None) => return,
                Err(error) => return state.fail(error),
            };
            drop(state);
            let picture = protocol::measure(model, &record, self.options, &|masks| self.report(0, masks));
            match picture {
                Ok(picture) => {
                    self.lock().keep(number, picture, self.options.worst_per_source);
                    if self.report(1, 0).is_break() {
                        return self.lock().fail(Error::Stopped);
                    }
                }
                Err(error) => return self.lock().fail(error),
            }
            count += 1;
        }
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

    /// A worker that panicked leaves the state whole: it changes in single steps.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    fn keep(&mut self, number: usize, mut picture: protocol::Picture, worst: usize) {
        let of_source = self.worst.entry(picture.source.clone()).or_default();
        of_source.append(&mut picture.worst);
        worst::keep(of_source, worst);
        self.done.push((number, picture));
    }

    fn summary(
        mut self,
        model: &Model,
        pack: &Path,
        options: &EvaluateOptions,
        survey: &Survey,
        time: Duration,
    ) -> Result<Evaluation> {
        match self.failure.take() {
            None => {}
            Some(Error::Stopped) if self.done.iter().any(|(_, picture)| !picture.masks.is_empty()) => {}
            Some(error) => return Err(error),
        }
        let complete = self.done.len() == survey.chosen;
        // Whichever worker was first: sums of the same numbers in the same order.
        self.done.sort_by_key(|&(number, _)| number);
        let mut by_source: BTreeMap<String, Vec<Vec<Figures>>> = BTreeMap::new();
        for (_, picture) in self.done {
            if !picture.masks.is_empty() {
                by_source.entry(picture.source).or_default().push(picture.masks);
            }
        }
        let sources: BTreeMap<String, SourceFigures> =
            by_source.into_iter().map(|(name, pictures)| (name, SourceFigures::of(&pictures))).collect();
        if sources.is_empty() {
            let least = 100.0 * LEAST_SHARE;
            return Err(Error::file(
                pack,
                format!("no mask covers {least} % of its picture; nothing to measure"),
            ));
        }
        let whole_pack = complete && survey.chosen == survey.all && options.masks_per_picture.is_none();
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
            sources,
            worst: self.worst.into_values().flatten().collect(),
        })
    }
}

#[cfg(test)]
mod tests;
