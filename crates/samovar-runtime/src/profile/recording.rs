//! The stages of rounds as they come, and every call of them where a trace is to be made.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use samovar_resources::instruments::{Trace, TraceSample, TraceSpan};
use samovar_tensor::{Cost, Pool, Shape, Span};

/// Calls that are kept; what comes after them is counted in sums alone.
const MOST_CALLS: usize = 1 << 18;

/// Bytes that keeping so many calls takes, and making a trace or a flame graph of them.
pub(super) fn bytes_of(calls: usize) -> usize {
    // A vector may be twice as long as what is in it. Drawn, a call is a span and a line of JSON.
    calls.min(MOST_CALLS) * (2 * size_of::<Call>() + size_of::<TraceSpan>() + 400)
}

/// A part of a round: calls of one stage, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// The stage, as [`samovar_tensor::Device::stage`] names it.
    pub name: &'static str,
    /// Since recording began.
    pub start: Duration,
    /// How long it took, the host's work between operators included.
    pub duration: Duration,
    /// Most bytes of the pool that were in use.
    pub peak_bytes: usize,
}

/// All parts of one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageUse {
    /// The stage.
    pub name: &'static str,
    /// Their time together.
    pub duration: Duration,
    /// Most bytes of the pool that were in use, weights included.
    pub peak_bytes: usize,
}

struct Call {
    start: Duration,
    duration: Duration,
    stage: &'static str,
    op: &'static str,
    output: Shape,
    cost: Cost,
    thread: usize,
    in_use_bytes: usize,
    /// Since the call before.
    peak_bytes: usize,
}

impl Call {
    fn end(&self) -> Duration {
        self.start + self.duration
    }
}

/// Adds up calls as they come, and keeps them where `keeps_calls`.
pub(super) struct Recording {
    pool: Arc<Pool>,
    keeps_calls: bool,
    began: Instant,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    calls: Vec<Call>,
    rounds: Vec<(Duration, Duration)>,
    threads: Vec<ThreadId>,
    /// When the last call of each of them ended.
    ends: Vec<Duration>,
    /// The stage that the thread of the rounds is in, and the number of its round.
    stage: Option<(usize, Stage)>,
    /// Those that are over.
    uses: Vec<StageUse>,
}

impl Kept {
    fn thread(&mut self) -> usize {
        let own = std::thread::current().id();
        let place = self.threads.iter().position(|&thread| thread == own).unwrap_or_else(|| {
            self.threads.push(own);
            self.ends.push(Duration::ZERO);
            self.threads.len() - 1
        });
        place + 1
    }

    /// The calls of the thread that runs the rounds, in order, as stages of rounds.
    fn stages(&self) -> Vec<Stage> {
        let mut stages = Vec::new();
        let mut stage = None;
        for call in self.calls.iter().filter(|call| call.thread == 1) {
            if let Some(round) = self.round_of(call) {
                stages.extend(go_on(&mut stage, round, call));
            }
        }
        stages.extend(stage.map(|(_, stage)| stage));
        stages
    }

    /// The number of the round that a call is in.
    fn round_of(&self, call: &Call) -> Option<usize> {
        self.rounds.iter().rposition(|&(start, _)| start <= call.start)
    }

    /// Adds the next call of the thread that runs the rounds to its stage.
    fn add(&mut self, call: &Call) {
        if let Some(round) = self.round_of(call)
            && let Some(over) = go_on(&mut self.stage, round, call)
        {
            add(&mut self.uses, &over);
        }
    }
}

/// Lets a call go on with the stage that its thread is in, or begin another; hands out the one that is over.
fn go_on(stage: &mut Option<(usize, Stage)>, round: usize, call: &Call) -> Option<Stage> {
    if let Some((of_round, stage)) = stage
        && *of_round == round
        && stage.name == call.stage
    {
        stage.duration = call.end() - stage.start;
        stage.peak_bytes = stage.peak_bytes.max(call.peak_bytes);
        return None;
    }
    let Call { start, duration, stage: name, peak_bytes, .. } = *call;
    stage.replace((round, Stage { name, start, duration, peak_bytes })).map(|(_, stage)| stage)
}

fn add(uses: &mut Vec<StageUse>, stage: &Stage) {
    let &Stage { name, duration, peak_bytes, .. } = stage;
    match uses.iter_mut().find(|used| used.name == name) {
        Some(used) => {
            used.duration += duration;
            used.peak_bytes = used.peak_bytes.max(peak_bytes);
        }
        None => uses.push(StageUse { name, duration, peak_bytes }),
    }
}

impl Recording {
    pub(super) fn new(pool: &Arc<Pool>, keeps_calls: bool) -> Self {
        pool.reset_peak();
        let threads = vec![std::thread::current().id()];
        let kept = Mutex::new(Kept { threads, ends: vec![Duration::ZERO], ..Kept::default() });
        Self { pool: Arc::clone(pool), keeps_calls, began: Instant::now(), kept }
    }

    pub(super) fn record(&self, span: &Span) {
        let end = self.began.elapsed();
        let memory = self.pool.stats();
        self.pool.reset_peak();
        let mut kept = self.lock();
        let thread = kept.thread();
        // Told a moment after it ended: it must not reach into the one before.
        let before = std::mem::replace(&mut kept.ends[thread - 1], end);
        let duration = span.duration.min(end.saturating_sub(before));
        let call = Call {
            start: end - duration,
            duration,
            stage: span.stage,
            op: span.op,
            output: span.output,
            cost: span.cost,
            thread,
            in_use_bytes: memory.in_use_bytes,
            peak_bytes: memory.peak_bytes,
        };
        if thread == 1 {
            kept.add(&call);
        }
        if self.keeps_calls && kept.calls.len() < MOST_CALLS {
            kept.calls.push(call);
        }
    }

    pub(super) fn round<T>(&self, work: impl FnOnce() -> T) -> T {
        let start = self.began.elapsed();
        // Open until it ends.
        self.lock().rounds.push((start, Duration::ZERO));
        let made = work();
        let duration = self.began.elapsed() - start;
        if let Some(round) = self.lock().rounds.last_mut() {
            round.1 = duration;
        }
        made
    }

    pub(super) fn rounds(&self) -> (usize, Duration) {
        let kept = self.lock();
        (kept.rounds.len(), kept.rounds.iter().map(|(_, duration)| duration).sum())
    }

    pub(super) fn stages(&self) -> Vec<StageUse> {
        let kept = self.lock();
        let mut uses = kept.uses.clone();
        if let Some((_, stage)) = &kept.stage {
            add(&mut uses, stage);
        }
        uses
    }

    pub(super) fn trace(&self, process: &str) -> Trace {
        let kept = self.lock();
        let rounds = kept.rounds.iter().zip(1..).map(|(&(start, duration), number): (_, u32)| TraceSpan {
            name: "round".into(),
            category: "round",
            start,
            duration,
            thread: 1,
            arguments: vec![("number", number.into())],
        });
        let stages = kept.stages().into_iter().map(|stage| TraceSpan {
            name: stage.name.into(),
            category: "stage",
            start: stage.start,
            duration: stage.duration,
            thread: 1,
            arguments: vec![("peak_bytes", stage.peak_bytes.into())],
        });
        let first = kept.rounds.first().map_or(Duration::MAX, |&(start, _)| start);
        let calls = || kept.calls.iter().filter(|call| call.start >= first);
        let operators = calls().map(|call| TraceSpan {
            name: call.op.into(),
            category: "operator",
            start: call.start,
            duration: call.duration,
            thread: call.thread,
            arguments: vec![
                ("stage", call.stage.into()),
                ("shape", call.output.to_string().into()),
                ("flop", call.cost.operations.into()),
                ("bytes", call.cost.bytes.into()),
            ],
        });
        let sample = |name, at, bytes: usize| TraceSample { name, at, value: bytes as f64 };
        let samples = calls().flat_map(|call| {
            let peak = sample("pool peak bytes", call.end(), call.peak_bytes);
            [sample("pool bytes", call.end(), call.in_use_bytes), peak]
        });
        Trace {
            process: process.to_owned(),
            spans: rounds.chain(stages).chain(operators).collect(),
            samples: samples.collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
