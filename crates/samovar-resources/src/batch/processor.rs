//! Items in batches that follow memory.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::size::{BatchSize, Retry};
use crate::instruments::Events;
use crate::memory::{MemoryLevel, MemoryManager};

/// How to make a [`BatchProcessor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// Whether sizes follow memory; otherwise batches are of the default size, and still halve when they do not fit.
    pub auto_batch_size: bool,
    /// Size where nothing is known.
    pub default_batch_size: usize,
    /// Largest size.
    pub max_batch_size: usize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { auto_batch_size: true, default_batch_size: 8, max_batch_size: 32 }
    }
}

/// Share of the free memory that a batch may take: the rest is for what was not counted.
const SHARE: f64 = 0.8;

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchReport {
    /// Size of every batch that was done, in order.
    pub batch_sizes: Vec<usize>,
    /// How often memory ran out, and a batch was halved.
    pub halved: usize,
    /// How often memory was cleaned up between batches.
    pub cleanups: usize,
    /// Items that were not begun because the caller stopped.
    pub left: usize,
}

/// Runs a function over items in batches (documents 000 and 003): sizes follow memory, memory is cleaned up between
/// batches, and a batch that does not fit is halved and done again, so that no item is lost to it.
///
/// ```
/// use samovar_resources::batch::{BatchOptions, BatchProcessor, Retry};
///
/// let processor = BatchProcessor::new(BatchOptions::default());
/// let items: Vec<u32> = (0..100).collect();
/// let squares = processor.process_in_batches(
///     &items,
///     None,
///     |_: &String| Retry::Never,
///     |batch| Ok(batch.iter().map(|item| item * item).collect()),
///     |done, all| println!("{done} of {all}"),
/// )?;
/// assert_eq!(squares[99], 99 * 99);
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct BatchProcessor {
    options: BatchOptions,
    memory: Option<Arc<MemoryManager>>,
    events: Events,
}

impl BatchProcessor {
    /// A processor that knows nothing of memory: batches are of the default size.
    pub fn new(options: BatchOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// The same, asking `memory` for sizes and for clean-ups.
    #[must_use]
    pub fn with_memory(self, memory: &Arc<MemoryManager>) -> Self {
        Self { memory: Some(Arc::clone(memory)), ..self }
    }

    /// The same, telling of halved batches.
    #[must_use]
    pub fn with_events(self, events: Events) -> Self {
        Self { events, ..self }
    }

    /// How many items of this size fit the memory that is left, 1 at least: what one does with a single item that does not
    /// fit is for its own plan to say.
    pub fn get_optimal_batch_size(&self, bytes_per_item: usize) -> usize {
        let BatchOptions { auto_batch_size, default_batch_size, max_batch_size } = self.options;
        let Some(memory) = self.memory.as_ref().filter(|_| auto_batch_size) else {
            return default_batch_size.clamp(1, max_batch_size.max(1));
        };
        let available = memory.estimate_available_for_model();
        let least = available.devices.iter().map(|(_, left)| *left).fold(available.host_bytes, usize::min);
        let fitting = (least as f64 * SHARE) as usize / bytes_per_item.max(1);
        let of_level = match memory.level() {
            MemoryLevel::Calm | MemoryLevel::Pressure => fitting,
            MemoryLevel::Warning => fitting / 2,
            MemoryLevel::Critical => 1,
        };
        of_level.clamp(1, max_batch_size.max(1))
    }

    /// Runs `f` over all items and gives its answers in their order. `f` answers a batch with as many values as it has items.
    /// `batch_size` is the size to begin with, the default where `None`. `progress` hears of items done, and of all.
    ///
    /// # Errors
    /// The first error of `f` that [`Retry::Never`] is said of, or that a batch of one ends with, also after a clean-up.
    pub fn process_in_batches<T, R, E>(
        &self,
        items: &[T],
        batch_size: Option<usize>,
        retry: impl Fn(&E) -> Retry,
        mut f: impl FnMut(&[T]) -> Result<Vec<R>, E>,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Vec<R>, E> {
        let mut answers = Vec::with_capacity(items.len());
        self.for_each_batch(items, batch_size, retry, |batch| {
            let some = f(batch)?;
            assert_eq!(some.len(), batch.len(), "a batch is answered with one value per item");
            answers.extend(some);
            progress(answers.len(), items.len());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(answers)
    }

    /// Runs `f` over all items, batch by batch, until it breaks; results are its own affair.
    ///
    /// # Errors
    /// As [`BatchProcessor::process_in_batches`].
    pub fn for_each_batch<T, E>(
        &self,
        items: &[T],
        batch_size: Option<usize>,
        retry: impl Fn(&E) -> Retry,
        mut f: impl FnMut(&[T]) -> Result<ControlFlow<()>, E>,
    ) -> Result<BatchReport, E> {
        let most = self.options.max_batch_size.max(1);
        let wanted = batch_size.unwrap_or(self.options.default_batch_size).clamp(1, most);
        let mut report = BatchReport::default();
        let (mut at, mut size) = (0, BatchSize::new(wanted));
        let mut has_made_room = false;
        while at < items.len() {
            let batch = &items[at..items.len().min(at + size.get())];
            match f(batch) {
                Ok(flow) => {
                    at += batch.len();
                    report.batch_sizes.push(batch.len());
                    has_made_room = false;
                    if flow.is_break() {
                        break;
                    }
                    size.succeeded();
                    report.cleanups += usize::from(self.clean_up_between());
                }
                Err(error) if batch.len() > 1 && retry(&error) == Retry::Halved => {
                    report.halved += 1;
                    let to = size.halve(batch.len());
                    self.events.emit("batch_halved", || [("from", batch.len().into()), ("to", to.into())]);
                    if let Some(memory) = &self.memory {
                        memory.cleanup(true);
                    }
                }
                // The last resort of a single item: all that can be given back.
                Err(error) if !has_made_room && self.memory.is_some() && retry(&error) == Retry::Halved => {
                    has_made_room = true;
                    if let Some(memory) = &self.memory {
                        memory.cleanup(true);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        report.left = items.len() - at;
        Ok(report)
    }

    /// Whether anything had to be given back.
    fn clean_up_between(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.tend().is_some())
    }
}

#[cfg(test)]
#[path = "processor_tests.rs"]
mod tests;
