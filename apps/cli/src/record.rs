//! The record of a folder of results: which files are of this program, what they held, and what they were made from.
//!
//! A journal ([`samovar::resources::journal`]): first what will be written, then what was made, so that a run that is killed at
//! any time leaves no result that the next one takes for somebody else's. The file is also the lock on the folder, which ends
//! with its process. Runs on parts of the same images have journals of their own beside it, and hold it together.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use samovar::resources::contents::{Identity, Key, Remembered};
use samovar::resources::journal::{JournalLock, JournalOptions, JournalReading, JournalWriter, read_journal};
use serde::{Deserialize, Serialize};

use crate::contents::Contents;
use crate::shard::Shard;

/// Name of the record.
pub const RECORD_FILE: &str = ".samovar-results.jsonl";
/// What the names of records of parts begin with.
const PART_START: &str = ".samovar-results.";

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// A run begins.
    Begin(Begin),
    /// Files will be in their places.
    Write(Announced),
    /// They are, or were found to be unchanged.
    There(Vec<(String, Option<Identity>)>),
    /// An image is done.
    Done(String, Done),
    /// An image failed.
    Failed(String, Failed),
    /// Files that were read.
    Read(Vec<(Key, Remembered)>),
}

/// The beginning of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begin {
    /// Seconds since 1970.
    pub at: f64,
    /// The images it is about, those included that were done before.
    pub images: usize,
    /// The part of the images, if it takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// A run, as its journal tells.
#[derive(Debug)]
pub struct Run {
    /// How it began.
    pub begin: Begin,
    /// Images it has done.
    pub done: usize,
    /// When its journal was written last, in seconds since 1970; 0 where nobody asked.
    pub last_written: f64,
}

/// Files that will be written.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Announced {
    /// By their path in the folder.
    files: Vec<(String, Key)>,
    /// The image that is done when they are there, by the name of its results, and what its results are made by. Where an image
    /// has many files, they are announced in several lines, of which the last says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completes: Option<(String, Key)>,
}

/// How an image was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    /// Hash of all that its results are made by.
    pub made_by: Key,
    /// Its results, by their path in the folder.
    pub files: Vec<(String, Option<Identity>)>,
    /// The image, by its absolute path.
    pub image: PathBuf,
    /// Milliseconds it took.
    pub ms: u64,
}

impl Done {
    /// Its results, by their path in the folder.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.files.iter().map(|(file, _)| file)
    }
}

/// How an image failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failed {
    /// Hash of all that its results would have been made by.
    pub made_by: Key,
    /// The image, as it was named.
    pub image: PathBuf,
    /// Why.
    pub error: String,
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
    shard: Option<Shard>,
    /// Open and locked; `None` before the first run in this folder begins.
    journal: Option<JournalWriter>,
    /// Of a part: the record that all parts hold.
    _held: Option<JournalLock>,
    said: Mutex<Said>,
}

/// What the journals say.
#[derive(Debug, Default)]
pub struct Said {
    files: HashMap<String, (Key, Option<Identity>)>,
    done: HashMap<String, Done>,
    failed: HashMap<String, Failed>,
    /// Announced with all their files, and not known to be done.
    announced: HashMap<String, (Key, Vec<String>)>,
    /// The last run of each journal.
    runs: Vec<Run>,
    /// Files that were found to be unchanged, though not as they were.
    refreshed: Vec<(String, Option<Identity>)>,
    damaged_lines: usize,
}

impl Said {
    fn take(&mut self, line: Line, contents: &Contents) {
        match line {
            Line::Begin(begin) => {
                // One after the other in a journal.
                self.runs.retain(|run| run.begin.shard != begin.shard);
                self.runs.push(Run { begin, done: 0, last_written: 0.0 });
            }
            Line::Write(Announced { files, completes }) => {
                if let Some((name, made_by)) = completes {
                    let names = files.iter().map(|(file, _)| file.clone()).collect();
                    self.announced.insert(name, (made_by, names));
                }
                self.files.extend(files.into_iter().map(|(file, key)| (file, (key, None))));
            }
            Line::There(files) => self.are_there(&files),
            Line::Done(name, done) => {
                self.are_there(&done.files);
                self.announced.remove(&name);
                self.failed.remove(&name);
                if let Some(run) = self.runs.last_mut() {
                    run.done += 1;
                }
                self.done.insert(name, done);
            }
            Line::Failed(name, failed) => {
                self.failed.insert(name, failed);
            }
            Line::Read(all) => all.into_iter().for_each(|(address, found)| contents.add(address, found)),
        }
    }

    fn are_there(&mut self, files: &[(String, Option<Identity>)]) {
        for (file, identity) in files {
            if let Some((_, before)) = self.files.get_mut(file) {
                *before = *identity;
            }
        }
    }

    /// The images that are done, by the names of their results.
    pub fn done(&self) -> &HashMap<String, Done> {
        &self.done
    }

    /// The images that failed and were not done since.
    pub fn failed(&self) -> &HashMap<String, Failed> {
        &self.failed
    }

    /// The last run of each journal.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Lines that nobody can read.
    pub fn damaged_lines(&self) -> usize {
        self.damaged_lines
    }
}

/// Where the record of a part is, or that of all.
fn path_of(folder: &Path, shard: Option<Shard>) -> PathBuf {
    folder.join(match shard {
        Some(Shard { number, of }) => format!("{PART_START}{number}-of-{of}.jsonl"),
        None => RECORD_FILE.to_owned(),
    })
}

/// All records of a folder.
pub fn journals(folder: &Path) -> Vec<PathBuf> {
    let is_record =
        |name: &str| name == RECORD_FILE || name.starts_with(PART_START) && name.ends_with(".jsonl");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_record))
        .collect();
    all.sort();
    all
}

/// What all records of a folder say, whoever writes them now.
pub fn read(folder: &Path, contents: &Contents) -> Result<Said> {
    let mut said = Said::default();
    for path in journals(folder) {
        let reading = read_journal(&path, |line| said.take(line, contents));
        said.damaged_lines += named(&path, reading)?.damaged_lines;
        let written = std::fs::metadata(&path).and_then(|found| found.modified()).ok();
        let written = written.and_then(|written| written.duration_since(UNIX_EPOCH).ok());
        if let Some((run, written)) = said.runs.last_mut().filter(|run| run.last_written == 0.0).zip(written)
        {
            run.last_written = written.as_secs_f64();
        }
    }
    Ok(said)
}

fn named<T>(path: &Path, result: io::Result<T>) -> Result<T> {
    result.with_context(|| format!("\"{}\": the record of these results cannot be used", path.display()))
}

impl Record {
    /// Reads the record of a folder and locks it, if there is one. No line is written.
    ///
    /// # Errors
    /// When another run is at work in the folder, or the record cannot be read.
    pub fn open(folder: &Path, shard: Option<Shard>, contents: &Contents) -> Result<Self> {
        let mut record =
            Self { folder: folder.to_owned(), shard, journal: None, _held: None, said: Mutex::default() };
        let own = path_of(folder, shard);
        if shard.is_some() && folder.join(RECORD_FILE).exists() {
            record.hold()?;
        }
        let said = record.said.get_mut().unwrap_or_else(PoisonError::into_inner);
        for path in journals(folder) {
            let mut each = |line| said.take(line, contents);
            let reading: JournalReading = if path == own {
                let opened = JournalWriter::open(&path, JournalOptions::default(), &mut each);
                let (writer, reading) = named(&path, opened).map_err(|error| in_words(error, folder))?;
                record.journal = Some(writer);
                reading
            } else {
                named(&path, read_journal(&path, &mut each))?
            };
            said.damaged_lines += reading.damaged_lines;
        }
        Ok(record)
    }

    /// Keeps runs on all images away.
    fn hold(&mut self) -> Result<()> {
        let path = path_of(&self.folder, None);
        let held = named(&path, JournalLock::shared(&path)).map_err(|error| in_words(error, &self.folder))?;
        self._held = Some(held);
        Ok(())
    }

    /// Makes the record, if there is none, locks it, and notes that a run begins.
    ///
    /// # Errors
    /// When another run has begun in this folder meanwhile, or the file cannot be written.
    pub fn begin(&mut self, images: usize) -> Result<()> {
        if self.shard.is_some() && self._held.is_none() {
            self.hold()?;
        }
        if self.journal.is_none() {
            let path = path_of(&self.folder, self.shard);
            let opened = JournalWriter::open(&path, JournalOptions::default(), |_: Line| {});
            let (writer, reading) = named(&path, opened).map_err(|error| in_words(error, &self.folder))?;
            if reading != JournalReading::default() {
                return Err(anyhow!("{}; run it again to go on", is_busy(&self.folder)));
            }
            self.journal = Some(writer);
        }
        let files = std::mem::take(&mut self.said().refreshed);
        if !files.is_empty() {
            self.add(&Line::There(files))?;
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        self.add(&Line::Begin(Begin { at, images, shard: self.shard }))
    }

    /// How an image was done, by the name of its results. One whose files were all announced and are all there is done, even if
    /// the run was killed before it could say so.
    pub fn done(&self, name: &str) -> Option<Done> {
        let said = self.said();
        if let Some(done) = said.done.get(name) {
            return Some(done.clone());
        }
        let (made_by, files) = said.announced.get(name).cloned()?;
        drop(said);
        let are_there = files.iter().all(|file| self.state(file) == State::Ours);
        let files = files.into_iter().map(|file| (file, None)).collect();
        are_there.then_some(Done { made_by, files, image: PathBuf::new(), ms: 0 })
    }

    /// Whether an image failed before, whatever it was made by.
    pub fn has_failed_before(&self, name: &str) -> bool {
        self.said().failed.contains_key(name)
    }

    /// Why an image that is made by this failed before.
    pub fn failed(&self, name: &str, made_by: &Key) -> Option<String> {
        let said = self.said();
        said.failed.get(name).filter(|failed| failed.made_by == *made_by).map(|failed| failed.error.clone())
    }

    /// What a file in the folder is.
    pub fn state(&self, file: &str) -> State {
        let path = self.folder.join(file);
        let Ok(found) = std::fs::metadata(&path) else {
            return if path.is_symlink() { State::Foreign } else { State::Absent };
        };
        let Some((key, before)) = self.said().files.get(file).copied() else { return State::Foreign };
        let identity = Identity::of_own(&found);
        if before == Some(identity) {
            return State::Ours;
        }
        if !Key::of_file(&path).is_ok_and(|now| now == key) {
            return State::Changed;
        }
        // As after a copy to another disk.
        let mut said = self.said();
        said.refreshed.push((file.to_owned(), Some(identity)));
        said.files.insert(file.to_owned(), (key, Some(identity)));
        State::Ours
    }

    /// Notes what will be written, and which image is done with it, made by what. Before the files are put in their places
    /// [`Record::sync`] must have made that durable, so that it is known whatever happens next.
    pub fn announce(&self, files: Vec<(String, Key)>, completes: Option<(String, Key)>) -> Result<()> {
        let line = Line::Write(Announced { files, completes });
        self.add(&line)?;
        let Line::Write(Announced { files, .. }) = line else { return Ok(()) };
        self.said().files.extend(files.into_iter().map(|(file, key)| (file, (key, None))));
        Ok(())
    }

    /// Notes that files which [`Record::announce`] named are there.
    pub fn are_there(&self, files: &[String]) -> Result<()> {
        let line = Line::There(self.identities(files));
        self.note(line)
    }

    /// Notes that an image is done with files that were announced.
    pub fn is_done(&self, name: &str, made_by: Key, files: &[String], image: PathBuf, ms: u64) -> Result<()> {
        let done = Done { made_by, files: self.identities(files), image, ms };
        self.note(Line::Done(name.to_owned(), done))
    }

    /// Notes that an image failed.
    pub fn has_failed(&self, name: &str, made_by: Key, image: PathBuf, error: String) -> Result<()> {
        self.note(Line::Failed(name.to_owned(), Failed { made_by, image, error }))
    }

    /// Notes what was read.
    pub fn was_read(&self, files: Vec<(Key, Remembered)>) -> Result<()> {
        if files.is_empty() { Ok(()) } else { self.add(&Line::Read(files)) }
    }

    /// Makes all that was noted durable.
    pub fn sync(&self) -> Result<()> {
        let journal = self.journal()?;
        named(journal.path(), journal.sync())
    }

    fn note(&self, line: Line) -> Result<()> {
        self.add(&line)?;
        self.said().take(line, &Contents::default());
        Ok(())
    }

    fn identities(&self, files: &[String]) -> Vec<(String, Option<Identity>)> {
        let identity = |file: &String| {
            let found = std::fs::metadata(self.folder.join(file)).ok();
            (file.clone(), found.map(|found| Identity::of_own(&found)))
        };
        files.iter().map(identity).collect()
    }

    fn add(&self, line: &Line) -> Result<()> {
        let journal = self.journal()?;
        named(journal.path(), journal.append(line))
    }

    fn journal(&self) -> Result<&JournalWriter> {
        self.journal.as_ref().context("the record of these results was not begun")
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
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
    if is_at_work(folder) {
        return false;
    }
    let Ok(said) = read(folder, &Contents::default()) else { return false };
    let record =
        Record { folder: folder.to_owned(), shard: None, journal: None, _held: None, said: Mutex::new(said) };
    record.state(&name) == State::Ours
}

/// Whether a run is at work in a folder of results.
pub fn is_at_work(folder: &Path) -> bool {
    journals(folder).iter().any(|path| JournalLock::is_held(path).unwrap_or(false))
}

/// What a lock that is held means here.
fn in_words(error: anyhow::Error, folder: &Path) -> anyhow::Error {
    let is_held = |error: &io::Error| error.kind() == io::ErrorKind::ResourceBusy;
    match error.downcast_ref::<io::Error>().is_some_and(is_held) {
        true => anyhow!("{}; wait for its end, or give another folder", is_busy(folder)),
        false => error,
    }
}

fn is_busy(folder: &Path) -> String {
    format!("\"{}\": another run of samovar is at work in this folder of results", folder.display())
}
