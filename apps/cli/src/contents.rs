//! Contents of files by digest: read once, and trusted while size, times and inode stay.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of SHA-256 that are kept: by accident no two contents share them.
const DIGEST_BYTES: usize = 16;
/// The coarsest clock of a file system, FAT's. A file that was written less than this ago may be written again and have the same
/// time.
const CLOCK: Duration = Duration::from_secs(2);

/// What a file holds, as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest(String);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.0.update(bytes);
        hasher.finish()
    }

    /// Of a file, which is read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => hasher.0.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Takes bytes as they are written.
#[derive(Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Of all bytes so far.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize()[..DIGEST_BYTES].iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What changes when a file does, and can be asked without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(String);

impl Stamp {
    /// Of a file that others may write: a change that sets the time back shows as well.
    fn of_input(found: &Metadata) -> Self {
        Self(format!("{} {}", Self::of_result(found).0, changed(found)))
    }

    /// Of a file that this program wrote; being renamed does not change it.
    pub fn of_result(found: &Metadata) -> Self {
        Self(format!("{} {} {}", found.len(), nanoseconds(found.modified()), inode(found)))
    }
}

#[cfg(unix)]
fn changed(found: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!("{}.{:09}", found.ctime(), found.ctime_nsec())
}

#[cfg(not(unix))]
fn changed(found: &Metadata) -> String {
    nanoseconds(found.created()).to_string()
}

#[cfg(unix)]
fn inode(found: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

fn nanoseconds(time: io::Result<SystemTime>) -> u128 {
    let since = time.ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos())
}

/// A file that was read, for a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    path: String,
    digest: Digest,
    stamp: Stamp,
}

/// Files that were read now or in earlier runs.
#[derive(Debug, Default)]
pub struct Contents(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By absolute path.
    files: HashMap<String, (Stamp, Digest)>,
    /// Of this run, whatever becomes of the file meanwhile.
    now: HashMap<String, Digest>,
    /// What a record does not have yet.
    new: Vec<Seen>,
}

impl Contents {
    /// Takes what a record has.
    pub fn add(&self, seen: Seen) {
        self.known(|known| known.files.insert(seen.path, (seen.stamp, seen.digest)));
    }

    /// What a file holds. Asked before the file is read for work: should it be changed in between, the next run sees that.
    pub fn read(&self, file: &Path) -> io::Result<Digest> {
        let path = std::path::absolute(file)?.to_string_lossy().into_owned();
        let found = std::fs::metadata(file)?;
        let stamp = Stamp::of_input(&found);
        let before =
            self.known(|known| known.files.get(&path).filter(|(before, _)| *before == stamp).cloned());
        let digest = match before {
            Some((_, digest)) => digest,
            None => {
                let now = SystemTime::now();
                let digest = Digest::of_file(file)?;
                if is_settled(&found, now) {
                    self.known(|known| {
                        known.files.insert(path.clone(), (stamp.clone(), digest.clone()));
                        known.new.push(Seen { path: path.clone(), digest: digest.clone(), stamp });
                    });
                }
                digest
            }
        };
        self.known(|known| known.now.insert(path, digest.clone()));
        Ok(digest)
    }

    /// What a file held when it was read in this run; if it was not, it is now.
    pub fn of(&self, file: &Path) -> io::Result<Digest> {
        let path = std::path::absolute(file)?.to_string_lossy().into_owned();
        match self.known(|known| known.now.get(&path).cloned()) {
            Some(digest) => Ok(digest),
            None => self.read(file),
        }
    }

    /// What was read and no record has yet.
    pub fn take_new(&self) -> Vec<Seen> {
        self.known(|known| std::mem::take(&mut known.new))
    }

    fn known<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a change from now on shows in the times.
fn is_settled(found: &Metadata, now: SystemTime) -> bool {
    let is_old = |time: SystemTime| now.duration_since(time).is_ok_and(|age| age >= CLOCK);
    #[cfg(unix)]
    let changed = {
        use std::os::unix::fs::MetadataExt;
        let seconds = u64::try_from(found.ctime()).unwrap_or(0);
        SystemTime::UNIX_EPOCH
            + Duration::from_secs(seconds)
            + Duration::from_nanos(found.ctime_nsec() as u64)
    };
    #[cfg(not(unix))]
    let changed = found.created().unwrap_or(SystemTime::UNIX_EPOCH);
    found.modified().is_ok_and(is_old) && is_old(changed)
}
