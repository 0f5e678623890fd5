//! How far a pull is, and whoever is told.

use std::ops::ControlFlow;

use super::error::{HubError, Result};
use super::remote_file::RemoteFile;

/// How far a pull is. `all_*` sum over the files of the pull. Sizes are 0 until the hub has told them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file at hand, as named in the call.
    pub file: &'a str,
    /// Bytes of it that are here, resumed ones included.
    pub done_bytes: u64,
    /// Its size.
    pub total_bytes: u64,
    /// Bytes of all files that are here.
    pub all_done_bytes: u64,
    /// Size of all files.
    pub all_total_bytes: u64,
}

/// Told about every step of a pull, and several times a second while the server is silent; `Break` stops it and leaves a
/// partial that the next pull resumes.
pub type OnProgress<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;

/// Passes progress on and turns a `Break` into an error.
pub(super) struct Reporter<'a, 'b> {
    pub(super) callback: &'a mut OnProgress<'b>,
    pub(super) repo_id: &'a str,
    pub(super) finished_bytes: u64,
    pub(super) all_total_bytes: u64,
}

impl Reporter<'_, '_> {
    pub(super) fn report(&mut self, remote: &RemoteFile<'_>, done_bytes: u64) -> Result<()> {
        let flow = (self.callback)(Progress {
            file: remote.name,
            done_bytes,
            total_bytes: remote.size,
            all_done_bytes: self.finished_bytes + done_bytes,
            all_total_bytes: self.all_total_bytes,
        });
        match flow {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(HubError::cancelled(self.repo_id, remote.name)),
        }
    }
}
