//! A file of a repository, before any of its bytes are here.

use super::checksum::Checksum;

/// One file as the hub describes it.
pub(super) struct RemoteFile<'a> {
    pub(super) name: &'a str,
    pub(super) commit: String,
    pub(super) checksum: Checksum,
    pub(super) size: u64,
}
