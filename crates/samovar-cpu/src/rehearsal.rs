//! Operators cut for all threads, but run task by task on one, with the time of each: what `examples/scaling.rs` lays
//! out on more processors than the machine has.

use std::sync::{Mutex, PoisonError};

/// Seconds on some clock; one of the thread's own time on a machine that is shared.
pub(crate) type Clock = fn() -> f64;

/// The tasks of one operator.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    /// What each took, in the order in which threads would take them.
    pub task_seconds: Vec<f64>,
    /// What they took together, reading the clock included.
    pub seconds: f64,
    /// `false` for work so small that the calling thread would do all of it.
    pub shared: bool,
}

pub(crate) struct Rehearsal {
    clock: Clock,
    rehearsed: Mutex<Vec<Rehearsed>>,
}

impl Rehearsal {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, rehearsed: Mutex::new(Vec::new()) }
    }

    pub(crate) fn run(&self, tasks: usize, shared: bool, mut task: impl FnMut(usize)) {
        let mut task_seconds = Vec::with_capacity(tasks);
        let begin = (self.clock)();
        for index in 0..tasks {
            let start = (self.clock)();
            task(index);
            task_seconds.push((self.clock)() - start);
        }
        let seconds = (self.clock)() - begin;
        let mut rehearsed = self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner);
        rehearsed.push(Rehearsed { task_seconds, seconds, shared });
    }

    pub(crate) fn take(&self) -> Vec<Rehearsed> {
        std::mem::take(&mut *self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
