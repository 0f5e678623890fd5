//! The record of a folder of results: which files are of this program, what they held, and what they were made from.
//!
//! Lines of JSON that are only ever added, first what will be written, then what was made: a run that is killed at any time leaves
//! no result that the next one takes for somebody else's. The file is also the lock on the folder, which ends with its process.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::contents::{Contents, Digest, Seen, Stamp};

/// Name of the record.
pub const RECORD_FILE: &str = ".samovar-results.jsonl";
/// Longest line that is read: 100,000 results of one image.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// One line. A reader of an older version ignores what it does not know.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Line {
    /// Files that are or will be written, by their path in the folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<Written>,
    /// An image that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    done: Option<(String, Done)>,
    /// Files that were read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    read: Vec<Seen>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Written {
    file: String,
    digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stamp: Option<Stamp>,
}

/// How an image was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    /// Digest of all that its results are made by.
    pub made_by: Digest,
    /// Its results, by their path in the folder.
    pub files: Vec<String>,
    /// The image, by its absolute path.
    #[serde(default)]
    pub image: PathBuf,
}

/// What a file in the folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not there.
    Absent,
    /// As this program wrote it.
    Ours,
    /// Written by this program, and changed since.
    Changed,
    /// Of somebody else.
    Foreign,
}

/// The record of one folder.
#[derive(Debug)]
pub struct Record {
    folder: PathBuf,
    /// Open and locked; `None` before the first run in this folder begins.
    file: Option<File>,
    files: HashMap<String, (Digest, Option<Stamp>)>,
    done: HashMap<String, Done>,
    /// Stamps that were found to be new on unchanged files.
    refreshed: Vec<Written>,
}

impl Record {
    /// Reads the record of a folder and locks it, if there is one. Nothing is written.
    ///
    /// # Errors
    /// When another run is at work in the folder, or the record cannot be read.
    pub fn open(folder: &Path, contents: &Contents) -> Result<Self> {
        let mut record = Self {
            folder: folder.to_owned(),
            file: None,
            files: HashMap::new(),
            done: HashMap::new(),
            refreshed: Vec::new(),
        };
        let path = folder.join(RECORD_FILE);
        match OpenOptions::new().read(true).append(true).open(&path) {
            Ok(file) => {
                lock(&file, folder)?;
                record.read(&file, contents).with_context(|| format!("\"{}\"", path.display()))?;
                record.file = Some(file);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(anyhow::Error::new(error).context(format!(
                    "\"{}\": the record of these results cannot be opened",
                    path.display()
                )));
            }
        }
        Ok(record)
    }

    fn read(&mut self, file: &File, contents: &Contents) -> io::Result<()> {
        let mut reader = BufReader::new(file);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes)? == 0 {
                return Ok(());
            }
            // A line that a kill or a power cut left half is no fact: what it would say is found out anew.
            let Ok(line) = serde_json::from_slice::<Line>(&bytes) else { continue };
            for Written { file, digest, stamp } in line.files {
                self.files.insert(file, (digest, stamp));
            }
            self.done.extend(line.done);
            line.read.into_iter().for_each(|seen| contents.add(seen));
        }
    }

    /// Makes the record, if there is none, and locks it.
    ///
    /// # Errors
    /// When another run has begun in this folder meanwhile, or the file cannot be written.
    pub fn begin(&mut self) -> Result<()> {
        if self.file.is_none() {
            let path = self.folder.join(RECORD_FILE);
            let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
            let file = file.with_context(|| format!("\"{}\"", path.display()))?;
            lock(&file, &self.folder)?;
            if file.metadata()?.len() > 0 {
                return Err(anyhow!("{}; run it again to go on", is_busy(&self.folder)));
            }
            self.file = Some(file);
        }
        self.end_torn_line()?;
        let files = std::mem::take(&mut self.refreshed);
        if files.is_empty() { Ok(()) } else { self.add(&Line { files, ..Line::default() }, false) }
    }

    fn end_torn_line(&mut self) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut last = [b'\n'];
        if file.metadata()?.len() > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
        }
        Ok(())
    }

    /// How an image was done, by the name of its results.
    pub fn done(&self, name: &str) -> Option<&Done> {
        self.done.get(name)
    }

    /// What a file in the folder is.
    pub fn state(&mut self, file: &str) -> State {
        let path = self.folder.join(file);
        let Ok(found) = std::fs::metadata(&path) else {
            return if path.is_symlink() { State::Foreign } else { State::Absent };
        };
        let Some((digest, before)) = self.files.get(file) else { return State::Foreign };
        let stamp = Stamp::of_result(&found);
        if before.as_ref() == Some(&stamp) {
            return State::Ours;
        }
        if !Digest::of_file(&path).is_ok_and(|now| now == *digest) {
            return State::Changed;
        }
        // As after a copy to another disk.
        let digest = digest.clone();
        self.refreshed.push(Written {
            file: file.to_owned(),
            digest: digest.clone(),
            stamp: Some(stamp.clone()),
        });
        self.files.insert(file.to_owned(), (digest, Some(stamp)));
        State::Ours
    }

    /// Notes what will be written, so that it is known whatever happens next.
    pub fn will_write(&mut self, files: &[(String, Digest)]) -> Result<()> {
        let written = |(file, digest): &(String, Digest)| Written {
            file: file.clone(),
            digest: digest.clone(),
            stamp: None,
        };
        let line = Line { files: files.iter().map(written).collect(), ..Line::default() };
        self.add(&line, true)?;
        self.files.extend(files.iter().map(|(file, digest)| (file.clone(), (digest.clone(), None))));
        Ok(())
    }

    /// Notes that files which [`Record::will_write`] announced are there, and the image that is done with them.
    pub fn has_written(
        &mut self,
        files: &[String],
        done: Option<(&str, Done)>,
        read: Vec<Seen>,
    ) -> Result<()> {
        let mut written = Vec::with_capacity(files.len());
        for file in files {
            let stamp = std::fs::metadata(self.folder.join(file)).ok().map(|found| Stamp::of_result(&found));
            if let Some((digest, before)) = self.files.get_mut(file) {
                before.clone_from(&stamp);
                written.push(Written { file: file.clone(), digest: digest.clone(), stamp });
            }
        }
        let done = done.map(|(name, done)| (name.to_owned(), done));
        self.add(&Line { files: written, done: done.clone(), read }, false)?;
        self.done.extend(done);
        Ok(())
    }

    fn add(&mut self, line: &Line, durable: bool) -> Result<()> {
        let path = self.folder.join(RECORD_FILE);
        let named = || format!("\"{}\"", path.display());
        let file = self.file.as_mut().with_context(named)?;
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        file.write_all(&bytes).with_context(named)?;
        if durable {
            file.sync_data().with_context(named)?;
        }
        Ok(())
    }
}

/// Whether a file is a result of a folder of results, and as this program wrote it there.
pub fn is_result(file: &Path) -> bool {
    let Ok(file) = std::path::absolute(file) else { return false };
    let Some(folder) = file.ancestors().skip(1).find(|folder| folder.join(RECORD_FILE).is_file()) else {
        return false;
    };
    let name = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy().into_owned();
    // While a run is at work there, nobody knows.
    Record::open(folder, &Contents::default()).is_ok_and(|mut record| record.state(&name) == State::Ours)
}

/// Locks the record for as long as it is open. Where a file system has no locks, there is none.
fn lock(file: &File, folder: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(anyhow!("{}; wait for its end, or give another folder", is_busy(folder)))
        }
    }
}

fn is_busy(folder: &Path) -> String {
    format!("\"{}\": another run of samovar is at work in this folder of results", folder.display())
}
