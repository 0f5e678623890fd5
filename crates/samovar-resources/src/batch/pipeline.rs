//! Stages that overlap: each on a thread of its own, between them bounded queues, so that the slowest never waits.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// What one stage did until it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageTime {
    /// The stage.
    pub name: &'static str,
    /// How long it worked.
    pub worked: Duration,
    /// How long it waited for other stages.
    pub waited: Duration,
    /// Items it worked on.
    pub items: usize,
}

/// How long the stages of a pipeline worked and waited; each is told when it ends.
#[derive(Debug, Clone, Default)]
pub struct StageTimes(Arc<Mutex<Vec<StageTime>>>);

impl StageTimes {
    /// The stages that have ended.
    pub fn all(&self) -> Vec<StageTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A chain of stages on the threads of a scope. Order is kept. Dropping the end stops all stages at their next item.
///
/// ```
/// use samovar_resources::batch::{Pipeline, StageTimes};
///
/// let times = StageTimes::default();
/// let sum: u64 = std::thread::scope(|scope| {
///     Pipeline::source(scope, &times, "read", 2, 0..10u64)
///         .stage("square", 2, |number| number * number)
///         .into_iter()
///         .sum()
/// });
/// assert_eq!(sum, 285);
/// ```
pub struct Pipeline<'scope, 'env, T> {
    scope: &'scope Scope<'scope, 'env>,
    times: StageTimes,
    receiver: Receiver<T>,
}

impl<'scope, 'env, T: Send + 'scope> Pipeline<'scope, 'env, T> {
    /// Items from an iterator, at most `ahead` of them waiting beside the one that is being made.
    pub fn source<I>(
        scope: &'scope Scope<'scope, 'env>,
        times: &StageTimes,
        name: &'static str,
        ahead: usize,
        items: I,
    ) -> Self
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: Send + 'scope,
    {
        let (sender, receiver) = sync_channel(ahead);
        let (own, mut items) = (times.clone(), items.into_iter());
        scope.spawn(move || {
            let mut clock = Clock::new(own, name);
            while let Some(item) = clock.work(|| items.next()) {
                if clock.wait(|| sender.send(item)).is_err() {
                    break;
                }
            }
        });
        Self { scope, times: times.clone(), receiver }
    }

    /// Another stage: `work` on each item, on a thread of its own, with at most `ahead` results waiting.
    pub fn stage<U: Send + 'scope>(
        self,
        name: &'static str,
        ahead: usize,
        mut work: impl FnMut(T) -> U + Send + 'scope,
    ) -> Pipeline<'scope, 'env, U> {
        let (sender, receiver) = sync_channel(ahead);
        let Self { scope, times, receiver: before } = self;
        let own = times.clone();
        scope.spawn(move || {
            let mut clock = Clock::new(own, name);
            while let Ok(item) = clock.wait(|| before.recv()) {
                let done = clock.work(|| work(item));
                if clock.wait(|| sender.send(done)).is_err() {
                    break;
                }
            }
        });
        Pipeline { scope, times, receiver }
    }
}

impl<T> IntoIterator for Pipeline<'_, '_, T> {
    type Item = T;
    type IntoIter = std::sync::mpsc::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.receiver.into_iter()
    }
}

/// Counts how long a stage works and waits, and tells when it ends, also by a panic.
struct Clock {
    times: StageTimes,
    own: StageTime,
}

impl Clock {
    fn new(times: StageTimes, name: &'static str) -> Self {
        let own = StageTime { name, worked: Duration::ZERO, waited: Duration::ZERO, items: 0 };
        Self { times, own }
    }

    fn work<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.own.worked += began.elapsed();
        self.own.items += 1;
        done
    }

    fn wait<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = wait();
        self.own.waited += began.elapsed();
        done
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.times.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.own);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn stages_overlap_and_keep_the_order() {
        let times = StageTimes::default();
        let (read, is_read) = channel();
        let all: Vec<usize> = std::thread::scope(|scope| {
            let source = (0..40).inspect(move |_| read.send(()).unwrap_or_default());
            let one = Pipeline::source(scope, &times, "read", 1, source);
            is_read.recv().unwrap();
            let two = one.stage("encode", 1, move |item| {
                // While an item is here, the next is read: it need not be done with this one.
                if item < 39 {
                    is_read.recv_timeout(Duration::from_secs(20)).unwrap();
                }
                item + 1
            });
            two.stage("write", 1, |item| item).into_iter().collect()
        });
        assert_eq!(all, (1..=40).collect::<Vec<_>>());
        let mut items: Vec<_> = times.all().iter().map(|stage| (stage.name, stage.items)).collect();
        items.sort_unstable();
        // The source asks once more than there are items.
        assert_eq!(items, [("encode", 40), ("read", 41), ("write", 40)]);
    }

    #[test]
    fn no_more_is_made_than_fits_the_queues_and_a_stop_reaches_the_source() {
        let (made, times) = (AtomicUsize::new(0), StageTimes::default());
        let taken: Vec<usize> = std::thread::scope(|scope| {
            let source = std::iter::repeat_with(|| made.fetch_add(1, Ordering::SeqCst));
            let items = Pipeline::source(scope, &times, "read", 1, source).stage("work", 1, |item| item);
            items.into_iter().take(3).inspect(|_| std::thread::sleep(Duration::from_millis(20))).collect()
        });
        assert_eq!(taken, [0, 1, 2]);
        // Taken, waiting, worked on, waiting, being made.
        assert!(made.into_inner() <= 3 + 1 + 1 + 1 + 2);
    }
}
