//! Work that is cut up for several threads, as many as the system gives.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

/// Runs `work` on a thread of the scope, or here and now where the system has none.
pub(crate) fn spawn_or_run<'scope>(scope: &'scope Scope<'scope, '_>, work: impl FnOnce() + Send + 'scope) {
    let slot = Arc::new(Mutex::new(Some(work)));
    let take = |slot: &Mutex<Option<_>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let theirs = Arc::clone(&slot);
    let spawned = Builder::new().spawn_scoped(scope, move || {
        if let Some(work) = take(&theirs) {
            work();
        }
    });
    if spawned.is_err()
        && let Some(work) = take(&slot)
    {
        work();
    }
}
