//! What tells two states of a file apart without reading it.

use std::fs::Metadata;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A file that was changed so shortly before it was hashed may have been changed again since, within one tick of the file
/// system's clock: its hash is not trusted. (Git calls such files racy.)
pub(super) const TICK: Duration = Duration::from_millis(50);
/// The same where times are whole seconds, as on FAT, whose clock goes by two of them.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Size, times and place of a file at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, i64, u64, u64)", into = "(u64, u64, i64, u64, u64)")]
pub struct Identity {
    bytes: u64,
    modified_ns: u64,
    /// Of the last change of anything about the file, which no program can set; 0 where renaming must not count.
    changed_ns: i64,
    inode: u64,
    device: u64,
}

impl From<(u64, u64, i64, u64, u64)> for Identity {
    fn from((bytes, modified_ns, changed_ns, inode, device): (u64, u64, i64, u64, u64)) -> Self {
        Self { bytes, modified_ns, changed_ns, inode, device }
    }
}

impl From<Identity> for (u64, u64, i64, u64, u64) {
    fn from(Identity { bytes, modified_ns, changed_ns, inode, device }: Identity) -> Self {
        (bytes, modified_ns, changed_ns, inode, device)
    }
}

impl Identity {
    /// Of a file that others may write: a change that sets the time back shows as well.
    pub fn of(found: &Metadata) -> Self {
        #[cfg(unix)]
        let (changed_ns, inode, device) = {
            use std::os::unix::fs::MetadataExt;
            let changed_ns = found.ctime().saturating_mul(1_000_000_000).saturating_add(found.ctime_nsec());
            (changed_ns, found.ino(), found.dev())
        };
        #[cfg(not(unix))]
        let (changed_ns, inode, device) =
            (i64::try_from(nanoseconds(found.created())).unwrap_or(i64::MAX), 0, 0);
        let modified_ns = nanoseconds(found.modified());
        Self { bytes: found.len(), modified_ns, changed_ns, inode, device }
    }

    /// Of a file that this program wrote: being renamed, or mounted elsewhere, does not change it.
    pub fn of_own(found: &Metadata) -> Self {
        Self { changed_ns: 0, device: 0, ..Self::of(found) }
    }

    /// Whether the last change is so long ago that another one would show.
    pub(super) fn is_settled(&self) -> bool {
        let now = nanoseconds(Ok(SystemTime::now()));
        let changed_ns = self.modified_ns.max(u64::try_from(self.changed_ns).unwrap_or(0));
        let is_coarse = self.modified_ns.is_multiple_of(1_000_000_000);
        let tick = if is_coarse { COARSE_TICK } else { TICK };
        now > changed_ns.saturating_add(u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX))
    }
}

fn nanoseconds(time: io::Result<SystemTime>) -> u64 {
    let since = time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
