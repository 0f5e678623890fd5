//! Appends to a journal, alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::line::to_line;
use super::reader::{JournalReading, read_journal};

/// How often lines are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// Lines that wait at most.
    pub group_lines: usize,
    /// How long the oldest of them waits at most, while others come.
    pub group_time: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { group_lines: 256, group_time: Duration::from_secs(1) }
    }
}

/// Appends lines to a journal, from any number of threads of one process: the lock ends with it, however that ends. A line is
/// written at once (a killed process loses nothing) and synced with its group (a power cut loses at most a group).
#[derive(Debug)]
pub struct JournalWriter {
    path: PathBuf,
    file: File,
    options: JournalOptions,
    end: Mutex<End>,
    /// Length that is durable; whoever holds this syncs, for all who wait for it.
    durable_bytes: Mutex<u64>,
}

/// The end of the file.
#[derive(Debug)]
struct End {
    /// Length that is sound.
    sound_bytes: u64,
    /// Whether a failed write left something behind it, to be cut off before the next.
    is_torn: bool,
    unsynced: usize,
    oldest_unsynced: Instant,
}

impl JournalWriter {
    /// Opens a journal, or begins one, and hands on what is in it. What a killed run left of a last line is cut off.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] when another process has it, and those of reading and writing.
    pub fn open<L: DeserializeOwned + Send>(
        path: &Path,
        options: JournalOptions,
        each: impl FnMut(L),
    ) -> io::Result<(Self, JournalReading)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        check_lock(file.try_lock())?;
        let reading = read_journal(path, each)?;
        if file.metadata()?.len() != reading.sound_bytes {
            file.set_len(reading.sound_bytes)?;
        }
        file.seek(SeekFrom::End(0))?;
        let sound_bytes = reading.sound_bytes;
        let end = End { sound_bytes, is_torn: false, unsynced: 0, oldest_unsynced: Instant::now() };
        let (end, durable_bytes) = (Mutex::new(end), Mutex::new(sound_bytes));
        Ok((Self { path: path.to_owned(), file, options, end, durable_bytes }, reading))
    }

    /// Appends a line, which becomes durable with its group.
    ///
    /// # Errors
    /// Those of writing: the line is then not in the journal, and the next can be written.
    pub fn append(&self, line: &impl Serialize) -> io::Result<()> {
        let (end_bytes, is_due) = self.write(line)?;
        if is_due { self.sync_until(end_bytes) } else { Ok(()) }
    }

    /// Makes everything appended durable. Threads that ask at the same time share one sync.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync(&self) -> io::Result<()> {
        let end_bytes = self.end().sound_bytes;
        self.sync_until(end_bytes)
    }

    /// Where the journal is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the file that is written, and that was neither moved, nor removed, nor replaced. Where
    /// the system does not tell files apart, one that is there counts.
    pub fn is_in_place(&self) -> bool {
        let (there, ours) = match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(ours)) => (there, ours),
            (Err(error), _) => {
                return !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
            }
            (_, Err(_)) => return true,
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            (there.dev(), there.ino()) == (ours.dev(), ours.ino())
        }
        #[cfg(not(unix))]
        {
            let _ = (there, ours);
            true
        }
    }

    /// Says where the line ends, and whether its group is to be synced.
    fn write(&self, line: &impl Serialize) -> io::Result<(u64, bool)> {
        let line = to_line(line)?;
        let mut end = self.end();
        let mut file = &self.file;
        if end.is_torn {
            file.set_len(end.sound_bytes)?;
            file.seek(SeekFrom::Start(end.sound_bytes))?;
            end.is_torn = false;
        }
        if let Err(error) = file.write_all(&line) {
            end.is_torn = true;
            return Err(error);
        }
        end.sound_bytes += line.len() as u64;
        if end.unsynced == 0 {
            end.oldest_unsynced = Instant::now();
        }
        end.unsynced += 1;
        let JournalOptions { group_lines, group_time } = self.options;
        let is_due = end.unsynced >= group_lines || end.oldest_unsynced.elapsed() >= group_time;
        Ok((end.sound_bytes, is_due))
    }

    fn sync_until(&self, end_bytes: u64) -> io::Result<()> {
        let mut durable_bytes = self.durable_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if *durable_bytes >= end_bytes {
            return Ok(());
        }
        let written_bytes = {
            let mut end = self.end();
            end.unsynced = 0;
            end.sound_bytes
        };
        self.file.sync_data()?;
        *durable_bytes = written_bytes;
        Ok(())
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        let _ = self.sync();
    }
}

/// Keeps everybody from writing a journal alone, beside others who do the same; ends with its process.
#[derive(Debug)]
pub struct JournalLock {
    _file: File,
}

impl JournalLock {
    /// Holds a journal, which is begun if it is not there, together with others.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] when somebody writes it alone, and those of opening it.
    pub fn shared(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        check_lock(file.try_lock_shared())?;
        Ok(Self { _file: file })
    }

    /// Whether some process holds or writes a journal now.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        let file = File::open(path)?;
        Ok(matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

fn check_lock(locked: Result<(), TryLockError>) -> io::Result<()> {
    match locked {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another run works on this job"))
        }
        // Where a file system has no locks, nothing keeps two runs apart.
        Err(TryLockError::Error(_)) => Ok(()),
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
