//! Which routes were taken, and for which shapes.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::routes::table::Route;

/// How often an operator took a route for a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteUse {
    /// Name of the operator, as [`samovar_tensor::Device`] calls it.
    pub operator: &'static str,
    /// [`Route::name`].
    pub route: &'static str,
    /// The sizes of the call in words: for a product, rows x depth to columns.
    pub shape: String,
    /// Calls of this shape.
    pub calls: u64,
}

type Calls = BTreeMap<(&'static str, &'static str, String), u64>;

/// Counts calls while it is on.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    is_on: AtomicBool,
    calls: Mutex<Calls>,
}

impl Recorder {
    pub(crate) fn start(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Stops, and tells what was counted.
    pub(crate) fn finish(&self) -> Vec<RouteUse> {
        self.is_on.store(false, Ordering::Relaxed);
        let calls = std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner));
        let row = |((operator, route, shape), calls)| RouteUse { operator, route, shape, calls };
        calls.into_iter().map(row).collect()
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Counts a call, if it is on.
    pub(crate) fn note(&self, operator: &'static str, route: &Route, shape: &dyn Display) {
        if self.is_on() {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            *calls.entry((operator, route.name, shape.to_string())).or_default() += 1;
        }
    }
}
