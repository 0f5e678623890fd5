//! What went wrong in work that was asked for earlier.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use samovar_tensor::{Error, Result};

/// The first failure of a device that nobody has been told by waiting.
#[derive(Default)]
pub(crate) struct Failures {
    /// Whether there is one: read at every launch.
    is_any: AtomicBool,
    first: Mutex<Option<String>>,
    /// The driver has given the device up; nothing will work again.
    lost: Mutex<Option<String>>,
}

impl Failures {
    pub(crate) fn add(&self, what: String) {
        lock(&self.first).get_or_insert(what);
        self.is_any.store(true, Ordering::SeqCst);
    }

    pub(crate) fn lose(&self, why: String) {
        lock(&self.lost).get_or_insert(why);
        self.is_any.store(true, Ordering::SeqCst);
    }

    /// The failure, if there is one; it stays.
    pub(crate) fn report(&self, device: &str) -> Result<()> {
        if !self.is_any.load(Ordering::SeqCst) {
            return Ok(());
        }
        let lost = lock(&self.lost).clone().map(|why| format!("the driver has given it up: {why}"));
        match lost.or_else(|| lock(&self.first).clone()) {
            Some(what) => Err(Error::Backend { device: device.to_owned(), what }),
            None => Ok(()),
        }
    }

    /// The same, and all but a lost device works again.
    pub(crate) fn take(&self, device: &str) -> Result<()> {
        let report = self.report(device);
        *lock(&self.first) = None;
        self.is_any.store(lock(&self.lost).is_some(), Ordering::SeqCst);
        report
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // A value is replaced as a whole.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
