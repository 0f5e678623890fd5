//! Work that has to end before it is done.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Asked before every operator: from some moment on, or once somebody says so, they are refused with
/// [`crate::Error::Stopped`].
#[derive(Debug, Default)]
pub struct Stop {
    is_asked: AtomicBool,
    at: Option<Instant>,
}

impl Stop {
    /// From this moment on.
    pub fn at(at: Instant) -> Self {
        Self { is_asked: AtomicBool::new(false), at: Some(at) }
    }

    /// From now on.
    pub fn ask(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
    }

    /// Whether work has to end.
    pub fn is_due(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed) || self.at.is_some_and(|at| Instant::now() >= at)
    }
}
