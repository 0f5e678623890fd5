//! Items side by side: each worker takes an item from its beginning to its end, and workers take turns where they share what
//! computes. While one computes, others read and write, so that what computes never waits; and no more items are under way
//! than there are workers.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::size::{BatchSize, Retry};
use crate::instruments::{Events, processor_time, thread_time};
use crate::memory::{MemoryLevel, MemoryManager};

/// How many items are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerOptions {
    /// Items under way at once.
    pub workers: usize,
    /// How many of them compute at once.
    pub computing: usize,
}

/// Runs work over items on workers. How many are under way follows memory: half as many after an item ran out of it, which is then
/// done again and not lost; fewer while the manager warns.
#[derive(Debug, Clone)]
pub struct Workers {
    options: WorkerOptions,
    memory: Option<Arc<MemoryManager>>,
    events: Events,
}

/// What an item does at the moment it is told of.
#[derive(Debug)]
pub enum ItemEvent<R, E> {
    /// The item of this number was begun.
    Began(usize),
    /// It ended, after this time.
    Ended(usize, Duration, Result<R, E>),
}

/// What one stage did in all items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageTime {
    /// The stage.
    pub name: &'static str,
    /// How long workers worked in it, together.
    pub worked: Duration,
    /// Processor time of the workers in it; of threads that compute for them the report has the rest. Zero where the system
    /// does not tell.
    pub processor: Duration,
    /// How long they waited for their turn before.
    pub waited: Duration,
    /// How often.
    pub times: usize,
}

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkersReport {
    /// Items that were not begun.
    pub left: usize,
    /// How often memory ran out and fewer items were taken at once.
    pub halved: usize,
    /// The stages, in the order in which they were first seen.
    pub stages: Vec<StageTime>,
    /// From the beginning to the end.
    pub time: Duration,
    /// Processor time of all threads of the process meanwhile; zero where the system does not tell.
    pub processor: Duration,
}

/// A worker, for the work on it.
pub struct Worker<'a> {
    /// Its number, from 0.
    pub index: usize,
    turns: &'a Turns,
    stages: RefCell<Vec<StageTime>>,
}

/// Lets so many workers compute at once.
struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

/// What the workers share.
struct Shared<'a> {
    workers: &'a Workers,
    count: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    next: usize,
    /// Items that ran out of memory beside others.
    again: Vec<usize>,
    running: usize,
    size: BatchSize,
    halved: usize,
    is_stopped: bool,
    stages: Vec<StageTime>,
}

impl Workers {
    /// Workers that know nothing of memory but the errors of items.
    pub fn new(options: WorkerOptions) -> Self {
        Self { options, memory: None, events: Events::default() }
    }

    /// The same, asking `memory` before each item.
    #[must_use]
    pub fn with_memory(self, memory: &Arc<MemoryManager>) -> Self {
        Self { memory: Some(Arc::clone(memory)), ..self }
    }

    /// The same, telling of clean-ups and of fewer items at once.
    #[must_use]
    pub fn with_events(self, events: Events) -> Self {
        Self { events, ..self }
    }

    /// Runs `work` over `items`, which are begun in their order. `each` hears of them on the calling thread, of
    /// all together that happened while it was at work; after a
    /// [`ControlFlow::Break`], or once `may_begin` denies it, none is begun any more, and those under way are finished.
    pub fn run<T: Sync, R: Send, E: Send>(
        &self,
        items: &[T],
        may_begin: impl Fn() -> bool + Sync,
        retry: impl Fn(&E) -> Retry + Sync,
        work: impl Fn(&Worker, &T) -> Result<R, E> + Sync,
        mut each: impl FnMut(Vec<ItemEvent<R, E>>) -> ControlFlow<()>,
    ) -> WorkersReport {
        let (began, processor_before) = (Instant::now(), processor_time());
        let workers = self.options.workers.clamp(1, items.len().max(1));
        let shared = Shared {
            workers: self,
            count: items.len(),
            state: Mutex::new(State {
                next: 0,
                again: Vec::new(),
                running: 0,
                size: BatchSize::new(workers),
                halved: 0,
                is_stopped: false,
                stages: Vec::new(),
            }),
            changed: Condvar::new(),
        };
        let turns = Turns { free: Mutex::new(self.options.computing.max(1)), freed: Condvar::new() };
        thread::scope(|scope| {
            let (sender, events) = channel();
            let ride_of = |index: usize| {
                let (sender, shared, may_begin, retry, work) =
                    (sender.clone(), &shared, &may_begin, &retry, &work);
                let turns = &turns;
                move || {
                    let worker = Worker { index, turns, stages: RefCell::default() };
                    shared.ride(&worker, items, may_begin, retry, work, &sender);
                    shared.lock().add(worker.stages.into_inner());
                }
            };
            // Fewer workers where the system has no thread more; events wait for the end where it has none.
            let spawn = |index: usize| thread::Builder::new().spawn_scoped(scope, ride_of(index)).is_ok();
            if (0..workers).take_while(|&index| spawn(index)).count() == 0 {
                ride_of(0)();
            }
            drop(sender);
            while let Ok(event) = events.recv() {
                if each(std::iter::once(event).chain(events.try_iter()).collect()).is_break() {
                    shared.lock().is_stopped = true;
                    shared.changed.notify_all();
                }
            }
        });
        let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        WorkersReport {
            left: items.len() - state.next + state.again.len(),
            halved: state.halved,
            stages: state.stages,
            time: began.elapsed(),
            processor: since(processor_before, processor_time()),
        }
    }
}

impl Worker<'_> {
    /// Does what may be done beside everything else, and counts the time to a stage.
    pub fn stage<R>(&self, name: &'static str, work: impl FnOnce() -> R) -> R {
        self.timed(name, Duration::ZERO, work)
    }

    /// Computes, once it is this worker's turn, and counts the time to a stage.
    pub fn compute<R>(&self, name: &'static str, work: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let _turn = self.turns.take();
        self.timed(name, began.elapsed(), work)
    }

    fn timed<R>(&self, name: &'static str, waited: Duration, work: impl FnOnce() -> R) -> R {
        let (began, processor_before) = (Instant::now(), thread_time());
        let result = work();
        let processor = since(processor_before, thread_time());
        let one = StageTime { name, worked: began.elapsed(), processor, waited, times: 1 };
        add_stage(&mut self.stages.borrow_mut(), one);
        result
    }
}

fn since(before: Option<Duration>, now: Option<Duration>) -> Duration {
    now.zip(before).map_or(Duration::ZERO, |(now, before)| now.saturating_sub(before))
}

fn add_stage(stages: &mut Vec<StageTime>, one: StageTime) {
    match stages.iter_mut().find(|stage| stage.name == one.name) {
        Some(stage) => {
            stage.worked += one.worked;
            stage.processor += one.processor;
            stage.waited += one.waited;
            stage.times += one.times;
        }
        None => stages.push(one),
    }
}

impl Turns {
    fn take(&self) -> Turn<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Turn(self)
    }
}

/// A worker's turn, for as long as this lives.
struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

impl State {
    fn add(&mut self, stages: Vec<StageTime>) {
        stages.into_iter().for_each(|one| add_stage(&mut self.stages, one));
    }
}

impl Shared<'_> {
    fn ride<T, R, E>(
        &self,
        worker: &Worker,
        items: &[T],
        may_begin: &impl Fn() -> bool,
        retry: &impl Fn(&E) -> Retry,
        work: &impl Fn(&Worker, &T) -> Result<R, E>,
        events: &Sender<ItemEvent<R, E>>,
    ) {
        while let Some((number, is_alone)) = self.take(may_begin) {
            // Nobody waits for a worker that panicked.
            let _running = Running(self);
            if events.send(ItemEvent::Began(number)).is_err() {
                return;
            }
            let began = Instant::now();
            let result = work(worker, &items[number]);
            match result.as_ref().map_err(retry) {
                Ok(_) => self.lock().size.succeeded(),
                Err(Retry::Halved) if !is_alone => {
                    self.do_again(number);
                    continue;
                }
                Err(Retry::Stop) => self.lock().is_stopped = true,
                Err(_) => {}
            }
            if events.send(ItemEvent::Ended(number, began.elapsed(), result)).is_err() {
                return;
            }
        }
    }

    /// The next item, once memory allows one more, and whether none will be under way beside it.
    fn take(&self, may_begin: &impl Fn() -> bool) -> Option<(usize, bool)> {
        let mut state = self.lock();
        loop {
            let is_over = state.next >= self.count && state.again.is_empty();
            if state.is_stopped || !may_begin() || is_over && state.running == 0 {
                // Whoever waits for an item to be done again waits in vain.
                self.changed.notify_all();
                return None;
            }
            if !is_over && (state.running == 0 || state.running < self.most(state.size.get())) {
                let number = state.again.pop().unwrap_or_else(|| {
                    state.next += 1;
                    state.next - 1
                });
                state.running += 1;
                return Some((number, state.running == 1 && state.size.get() == 1));
            }
            // An item under way may have to be done again.
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many may be under way at the level of memory now.
    fn most(&self, size: usize) -> usize {
        let Some(memory) = &self.workers.memory else { return size };
        memory.tend();
        match memory.last_system_level() {
            MemoryLevel::Calm | MemoryLevel::Pressure => size,
            MemoryLevel::Warning => size.div_ceil(2),
            MemoryLevel::Critical => 1,
        }
    }

    /// Puts an item back for which memory ran out beside others.
    fn do_again(&self, number: usize) {
        let (tried, to) = {
            let mut state = self.lock();
            state.again.push(number);
            state.halved += 1;
            let tried = state.size.get();
            (tried, state.size.halve(tried))
        };
        if to < tried {
            self.workers.events.emit("batch_halved", || [("from", tried.into()), ("to", to.into())]);
        }
        if let Some(memory) = &self.workers.memory {
            memory.cleanup(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An item under way.
struct Running<'a, 'b>(&'a Shared<'b>);

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
#[path = "workers_tests.rs"]
mod tests;
