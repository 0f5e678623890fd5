//! Appends to a journal, alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::line::Record;
use super::reader::{Journal, read_journal};

/// How often records are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// Records that wait at most.
    pub group_records: usize,
    /// How long the oldest of them waits at most, while others come.
    pub group_time: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { group_records: 256, group_time: Duration::from_secs(1) }
    }
}

/// Appends records to a journal. One process at a time: the lock ends with it, however that ends. A record is written at once
/// (a killed process loses nothing) and synced with its group (a power cut loses at most a group, whose items are then done
/// again).
#[derive(Debug)]
pub struct JournalWriter {
    path: PathBuf,
    file: File,
    options: JournalOptions,
    unsynced: usize,
    oldest_unsynced: Instant,
    /// Length that is sound; a failed write is cut off again before the next.
    sound_bytes: u64,
    is_torn: bool,
}

impl JournalWriter {
    /// Opens a journal, or begins one, and says what is in it. What a killed run left of a last line is cut off.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] when another process has it, and those of reading and writing.
    pub fn open(path: &Path, options: JournalOptions) -> io::Result<(Self, Journal)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another run works on this job"));
            }
            // A file system without locks: nothing keeps two runs apart there.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let journal = read_journal(path)?;
        file.set_len(journal.sound_bytes)?;
        file.seek(SeekFrom::End(0))?;
        let writer = Self {
            path: path.to_owned(),
            file,
            options,
            unsynced: 0,
            oldest_unsynced: Instant::now(),
            sound_bytes: journal.sound_bytes,
            is_torn: false,
        };
        Ok((writer, journal))
    }

    /// Appends a record, whose results must be durable already.
    ///
    /// # Errors
    /// Those of writing: the record is then not in the journal, and the next can be written.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.sound_bytes)?;
            self.file.seek(SeekFrom::Start(self.sound_bytes))?;
            self.is_torn = false;
        }
        let line = record.to_line();
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            self.is_torn = true;
            return Err(error);
        }
        self.sound_bytes += line.len() as u64;
        if self.unsynced == 0 {
            self.oldest_unsynced = Instant::now();
        }
        self.unsynced += 1;
        let is_due = self.unsynced >= self.options.group_records
            || self.oldest_unsynced.elapsed() >= self.options.group_time;
        if is_due { self.sync() } else { Ok(()) }
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.unsynced > 0 {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Where the journal is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        let _ = self.sync();
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
