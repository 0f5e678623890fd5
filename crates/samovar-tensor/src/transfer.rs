//! Copies over the border between the host and a device, and how many there were.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::PendingCopy;
use crate::{Result, Tensor};

/// Copies between the host and a device since it was made. In host memory nothing is copied: tensors are written and
/// read where they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Copies to the device.
    pub uploads: u64,
    /// Their bytes.
    pub uploaded_bytes: u64,
    /// Copies to the host.
    pub downloads: u64,
    /// Their bytes.
    pub downloaded_bytes: u64,
}

/// Counts copies; shared by all clones of a device.
#[derive(Default)]
pub(crate) struct TransferCounter {
    uploads: AtomicU64,
    uploaded_bytes: AtomicU64,
    downloads: AtomicU64,
    downloaded_bytes: AtomicU64,
}

impl TransferCounter {
    pub(crate) fn uploaded(&self, bytes: usize) {
        self.uploads.fetch_add(1, Ordering::Relaxed);
        self.uploaded_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn downloaded(&self, bytes: usize) {
        self.downloads.fetch_add(1, Ordering::Relaxed);
        self.downloaded_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Transfers {
        Transfers {
            uploads: self.uploads.load(Ordering::Relaxed),
            uploaded_bytes: self.uploaded_bytes.load(Ordering::Relaxed),
            downloads: self.downloads.load(Ordering::Relaxed),
            downloaded_bytes: self.downloaded_bytes.load(Ordering::Relaxed),
        }
    }
}

/// A tensor on its way to the host.
#[must_use = "a download is there when it has been waited for"]
pub struct Download {
    /// Where the values go; or the tensor itself, where the host reads it as it is.
    pub(crate) tensor: Tensor,
    pub(crate) pending: Option<Box<dyn PendingCopy>>,
}

impl Download {
    /// Waits for the values: a tensor that [`Tensor::f32`] reads.
    ///
    /// # Errors
    /// [`crate::Error::Backend`] when the copy, or work before it, failed.
    pub fn wait(mut self) -> Result<Tensor> {
        if let Some(pending) = self.pending.take() {
            pending.wait(self.tensor.raw_mut()?)?;
        }
        Ok(self.tensor)
    }
}
