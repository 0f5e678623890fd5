//! Who may begin: pieces of work on one device that do not fit beside each other wait for each other.
//!
//! Asking how much memory is left and taking it are two steps, and other threads work in between. So whoever begins
//! promises what it will take at most, and the others count promises as taken.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use samovar_tensor::PoolStats;

use crate::error::{Error, Result};

/// Counts what running work may still take; shared by all engines on one memory.
#[derive(Default)]
pub(crate) struct Gate {
    promised_bytes: Mutex<usize>,
    left: Condvar,
}

impl Gate {
    /// Lets work begin that `admit` allows in the memory that is left, and says what it takes at most; waits while others
    /// work beside whom it would not fit.
    ///
    /// # Errors
    /// What `admit` answers when nobody else works.
    pub(crate) fn enter<T>(
        self: &Arc<Self>,
        memory: impl Fn() -> PoolStats,
        admit: impl Fn(&PoolStats) -> Result<(T, usize)>,
    ) -> Result<(T, Promise)> {
        let mut promised_bytes = self.lock();
        loop {
            let now = memory();
            let in_use_bytes = now.in_use_bytes.saturating_add(*promised_bytes);
            match admit(&PoolStats { in_use_bytes, ..now }) {
                Err(Error::DoesNotFit { .. }) if *promised_bytes > 0 => {
                    promised_bytes = self.left.wait(promised_bytes).unwrap_or_else(PoisonError::into_inner);
                }
                Err(refusal) => return Err(refusal),
                Ok((admitted, bytes)) => {
                    *promised_bytes += bytes;
                    return Ok((admitted, Promise { gate: Arc::clone(self), bytes }));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.promised_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a piece of work may take while this lives.
pub(crate) struct Promise {
    gate: Arc<Gate>,
    bytes: usize,
}

impl Drop for Promise {
    fn drop(&mut self) {
        *self.gate.lock() -= self.bytes;
        self.gate.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn refusal() -> Error {
        Error::DoesNotFit { what: "it".into(), needed_bytes: 2, budget_bytes: 1, breakdown: String::new() }
    }

    #[test]
    fn work_that_does_not_fit_beside_others_waits_for_them() {
        let gate = Arc::new(Gate::default());
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let admit = |memory: &PoolStats| match memory.in_use_bytes + 40 <= 100 {
                            true => Ok(((), 40)),
                            false => Err(refusal()),
                        };
                        let (_, promise) = gate.enter(PoolStats::default, admit).unwrap();
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        drop(promise);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 2);
        assert_eq!(*gate.lock(), 0);
        let never = gate.enter(PoolStats::default, |_| Err::<((), usize), _>(refusal()));
        assert!(matches!(never, Err(Error::DoesNotFit { .. })), "nobody to wait for");
    }
}
