//! How a device is opened, and why it is not.

use crate::adapter::NoAdapters;

/// How to open a device.
#[derive(Debug, Clone, Copy, Default)]
pub struct WgpuOptions {
    /// Most bytes of memory taken on the device, by tensors and all else. `None`: most of what a card of its own has, half of
    /// memory that is shared with the host. Drivers tell that on Vulkan; elsewhere it is the size of the largest block.
    pub budget_bytes: Option<u64>,
    /// Whether shaders check that they read and write inside their operands, beyond the checks of shapes that every call
    /// passes. It costs time and is for tests.
    pub bounds_checks: bool,
}

/// Why a device was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is none.
    #[error(transparent)]
    NoAdapters(#[from] NoAdapters),
    /// There is none of this number.
    #[error("there is no graphics device {index}: there are {count}, counted from 0")]
    NoSuchAdapter {
        /// The number asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// It lacks what every operator needs.
    #[error("{adapter}: {why}")]
    Unusable {
        /// Its name.
        adapter: String,
        /// What it lacks.
        why: String,
    },
    /// The driver refused.
    #[error("{adapter}: the driver does not open it: {why}")]
    Refused {
        /// Its name.
        adapter: String,
        /// What the driver says.
        why: String,
    },
}
