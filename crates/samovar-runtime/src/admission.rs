//! Who may begin: pieces of work on one device that do not fit beside each other wait for each other.
//!
//! Asking how much memory is left and taking it are two steps, and other threads work in between. So whoever begins
//! promises what it will take at most, and the others count promises as taken.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use samovar_tensor::{Pool, PoolStats, SetAside};

use crate::error::{Error, Result};

/// Counts what running work may still take, and who holds memory beside tensors; shared by all engines on one memory.
#[derive(Default)]
pub(crate) struct Gate {
    taken: Mutex<Taken>,
    left: Condvar,
}

/// What others must do without, or wait for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Taken {
    /// Bytes of work, which ends by itself.
    promised_bytes: usize,
    /// Pictures with what is made of them, held as long as somebody wants. Their bytes are set aside in the pool.
    reservations: usize,
}

impl Taken {
    /// Memory as it is when all of it is taken.
    fn from(self, now: PoolStats) -> PoolStats {
        PoolStats { in_use_bytes: now.in_use_bytes.saturating_add(self.promised_bytes), ..now }
    }
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
        let mut taken = self.lock();
        loop {
            match admit(&taken.from(memory())) {
                Err(Error::DoesNotFit { .. }) if taken.promised_bytes > 0 => {
                    taken = self.left.wait(taken).unwrap_or_else(PoisonError::into_inner);
                }
                Err(refusal) => return Err(refusal),
                Ok((admitted, bytes)) => {
                    taken.promised_bytes += bytes;
                    return Ok((admitted, Promise { gate: Arc::clone(self), bytes }));
                }
            }
        }
    }

    /// Sets memory of the pool aside in which no tensor will be, if `admit` allows it, which is told whether nobody else has
    /// done so. Waits while others hold or work beside whom it would not fit, so nobody may ask for more while he holds some
    /// himself.
    ///
    /// # Errors
    /// What `admit` answers when nobody else holds or works.
    pub(crate) fn hold(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        bytes: usize,
        admit: impl Fn(&PoolStats, bool) -> Result<()>,
    ) -> Result<Reservation> {
        let mut taken = self.lock();
        loop {
            match admit(&taken.from(pool.stats()), taken.reservations == 0) {
                Err(Error::DoesNotFit { .. }) if *taken != Taken::default() => {
                    taken = self.left.wait(taken).unwrap_or_else(PoisonError::into_inner);
                }
                Err(refusal) => return Err(refusal),
                Ok(()) => {
                    let aside = Some(pool.set_aside(bytes)?);
                    taken.reservations += 1;
                    return Ok(Reservation { gate: Arc::clone(self), aside });
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room in the memory budget for a picture and what is made of it, as long as this lives.
pub struct Reservation {
    gate: Arc<Gate>,
    /// Given back before those who wait look.
    aside: Option<SetAside>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut taken = self.gate.lock();
        self.aside = None;
        taken.reservations -= 1;
        drop(taken);
        self.gate.left.notify_all();
    }
}

/// What a piece of work may take while this lives.
pub(crate) struct Promise {
    gate: Arc<Gate>,
    bytes: usize,
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.gate.lock().promised_bytes -= self.bytes;
        self.gate.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use samovar_tensor::host_memory;

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
        assert_eq!(*gate.lock(), Taken::default());
        let never = gate.enter(PoolStats::default, |_| Err::<((), usize), _>(refusal()));
        assert!(matches!(never, Err(Error::DoesNotFit { .. })), "nobody to wait for");
    }

    #[test]
    fn pictures_were_not_counted() {
        let (gate, pool) = (Arc::new(Gate::default()), Pool::on(host_memory(), 100));
        let fits = |memory: &PoolStats, bytes: usize| match memory.in_use_bytes + bytes <= 100 {
            true => Ok(()),
            false => Err(refusal()),
        };
        let hold = |bytes| gate.hold(&pool, bytes, |memory, _| fits(memory, bytes));
        let work = |bytes| gate.enter(|| pool.stats(), |memory| fits(memory, bytes).map(|()| ((), bytes)));
        assert!(matches!(hold(101), Err(Error::DoesNotFit { .. })), "nobody to wait for");
        let first = hold(60).unwrap();
        assert_eq!(pool.stats().in_use_bytes, 60);
        assert!(work(40).is_ok());
        assert!(
            matches!(work(41), Err(Error::DoesNotFit { .. })),
            "whoever works may hold what is in the way"
        );
        // Another picture waits for this one to go.
        std::thread::scope(|scope| {
            let second = scope.spawn(|| hold(60).map(drop));
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!second.is_finished());
            drop(first);
            assert!(second.join().unwrap().is_ok());
        });
        assert_eq!(pool.stats().in_use_bytes, 0);
        assert_eq!(*gate.lock(), Taken::default());
    }
}
