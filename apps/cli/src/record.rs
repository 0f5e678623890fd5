//! The record of a folder of results: which files are of this program, what they held, and what they were made from.
//!
//! A journal ([`samovar::resources::journal`]): first what will be written, then what was made, so that a run that is killed at
//! any time leaves no result that the next one takes for somebody else's. The file is also the lock on the folder, which ends
//! with its process. Runs on parts of the same images have journals of their own beside it, and hold it together.

mod said;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use samovar::resources::contents::{Identity, Key, Remembered};
use samovar::resources::journal::{JournalLock, JournalOptions, JournalReading, JournalWriter, read_journal};

use crate::contents::Contents;
use crate::outputs::HashedFile;
use crate::shard::Shard;
use said::{Announced, Begin, Line, Pending, Placed};
pub use said::{Done, Failed, Own, Run, Said};

/// Name of the record.
pub const RECORD_FILE: &str = ".samovar-results.jsonl";
/// What the names of records of parts begin with.
const PART_START: &str = ".samovar-results.";

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
    /// Damaged lines of it.
    damaged: usize,
    /// Of a part: the record that all parts hold.
    _held: Option<JournalLock>,
    said: Mutex<Said>,
    /// Files that were found to be unchanged, though not as they were.
    refreshed: Mutex<Vec<(String, Key, Option<Identity>)>>,
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
        .filter(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(is_record) && path.is_file()
        })
        .collect();
    all.sort();
    all
}

/// What all records of a folder say, whoever writes them now.
pub fn read(folder: &Path, contents: &Contents) -> Result<Said> {
    let mut said = Said::default();
    for path in journals(folder) {
        let mut one = Said::default();
        let reading = read_journal(&path, |line| one.take(line, contents));
        one.damaged_lines = named(&path, reading)?.damaged_lines;
        let written = std::fs::metadata(&path).and_then(|found| found.modified()).ok();
        let written = written.and_then(|written| written.duration_since(UNIX_EPOCH).ok());
        if let Some((run, written)) = one.last_run_mut().zip(written) {
            run.last_written = written.as_secs_f64();
        }
        said.merge(one);
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
        let mut record = Self::of(folder, shard, Said::default());
        let own = path_of(folder, shard);
        if shard.is_some() && folder.join(RECORD_FILE).exists() {
            record.hold()?;
        }
        let said = record.said.get_mut().unwrap_or_else(PoisonError::into_inner);
        for path in journals(folder) {
            // Parts of another number have images of this one.
            if let Some(Shard { of, .. }) = shard
                && path != path_of(folder, None)
                && !path.to_string_lossy().ends_with(&format!("-of-{of}.jsonl"))
                && JournalLock::is_held(&path).unwrap_or(false)
            {
                return Err(anyhow!("{}; wait for its end, or give another folder", is_busy(folder)));
            }
            let mut one = Said::default();
            let mut each = |line| one.take(line, contents);
            let reading: JournalReading = if path == own {
                let opened = JournalWriter::open(&path, JournalOptions::default(), &mut each);
                let (writer, reading) = named(&path, opened).map_err(|error| in_words(error, folder))?;
                record.journal = Some(writer);
                record.damaged = reading.damaged_lines;
                reading
            } else {
                named(&path, read_journal(&path, &mut each))?
            };
            one.damaged_lines = reading.damaged_lines;
            if let Some(first) = reading.first_damaged_line.filter(|_| one.new_damaged_lines() > 0) {
                let which = match reading.damaged_lines {
                    1 => format!("line {first} is damaged and left out"),
                    count => format!("{count} lines are damaged and left out, line {first} first"),
                };
                say!("note: \"{}\": {which}; what it recorded is done again", path.display());
            }
            said.merge(one);
        }
        Ok(record)
    }

    fn of(folder: &Path, shard: Option<Shard>, said: Said) -> Self {
        let refreshed = Mutex::default();
        Self {
            folder: folder.to_owned(),
            shard,
            journal: None,
            damaged: 0,
            _held: None,
            said: Mutex::new(said),
            refreshed,
        }
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
    pub fn begin(&mut self, images: usize, done: usize, fine: Vec<String>) -> Result<()> {
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
        let files = std::mem::take(self.refreshed.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !files.is_empty() {
            self.add(&Line::There(files))?;
        }
        if !fine.is_empty() {
            self.note(Line::Fine(fine))?;
        }
        self.note(Line::Begin(Begin {
            at: now_ms() as f64 / 1e3,
            images,
            done,
            damaged: self.damaged,
            shard: self.shard,
        }))
    }

    /// Refuses to go on once the folder of results was moved, removed or replaced, or its record alone: what was written now
    /// would be where nobody looks for it, or nobody would know that it is there.
    pub fn check_place(&self) -> Result<()> {
        let journal = self.journal()?;
        if journal.is_in_place() {
            return Ok(());
        }
        let (folder, record) = (self.folder.display(), journal.path().display());
        Err(anyhow!(
            "\"{folder}\" was moved, removed or replaced while this run wrote to it, or \"{record}\" in it: what was done is \
             where that folder is now; put it back, or give another one, and run the same command again"
        ))
    }

    /// How an image was done, by the name of its results. One whose files were all announced and are all there is done, even if
    /// the run was killed before it could say so.
    pub fn done(&self, name: &str) -> Option<Done> {
        let said = self.said();
        let (done, pending) = (said.done().get(name).cloned(), said.announced(name).cloned());
        drop(said);
        let are_there = |pending: &Pending| pending.files.iter().all(|own| self.state_of(own) == State::Ours);
        let placed = pending.filter(are_there).map(|Pending { made_by, files, at_ms }| {
            let image = done.as_ref().map(|done| done.image.clone()).unwrap_or_default();
            Done { made_by, files, image, at_ms }
        });
        placed.or(done)
    }

    /// The images of which files were announced, by the names of their results.
    pub fn names(&self) -> Vec<String> {
        self.said().names().cloned().collect()
    }

    /// The files of an image that is done which somebody has changed since; `None` if it has to be done anew whatever it was made from:
    /// where files are gone, and after a run that was killed while it did the image anew.
    pub fn changed_of(&self, done: &Done) -> Option<Vec<String>> {
        let mut changed = Vec::new();
        for own in &done.files {
            match self.state_of(own) {
                State::Absent => return None,
                State::Changed if self.state(&own.file) == State::Ours => return None,
                State::Changed | State::Foreign => changed.push(own.file.clone()),
                State::Ours => {}
            }
        }
        Some(changed)
    }

    /// Whether this program wrote a file that held this, and would again.
    pub fn wrote(&self, file: &str, key: Key) -> bool {
        self.said().owns(file).iter().any(|own| own.key == key)
    }

    /// Whether an image failed before, whatever it was made by.
    pub fn has_failed_before(&self, name: &str) -> bool {
        self.said().failed().contains_key(name)
    }

    /// Why an image that is made by this failed before.
    pub fn failed(&self, name: &str, made_by: &Key) -> Option<String> {
        let said = self.said();
        said.failed().get(name).filter(|failed| failed.made_by == *made_by).map(|failed| failed.error.clone())
    }

    /// Whether something was recorded that nobody can read any more.
    pub fn is_damaged(&self) -> bool {
        self.said().damaged_lines > 0
    }

    /// What a file in the folder is.
    pub fn state(&self, file: &str) -> State {
        let path = self.folder.join(file);
        if std::fs::metadata(&path).is_err() {
            return if path.is_symlink() { State::Foreign } else { State::Absent };
        }
        // What was announced and is not there yet has left in its place what was there before.
        let owns = self.said().owns(file);
        match owns.iter().any(|own| self.state_of(own) == State::Ours) {
            true => State::Ours,
            false if owns.is_empty() => State::Foreign,
            false => State::Changed,
        }
    }

    /// What a file is that this program has written.
    pub fn state_of(&self, own: &Own) -> State {
        let path = self.folder.join(&own.file);
        let Ok(found) = std::fs::metadata(&path) else {
            return if path.is_symlink() { State::Foreign } else { State::Absent };
        };
        let identity = Some(Identity::of_own(&found));
        if own.identity == identity {
            return State::Ours;
        }
        if !Key::of_file(&path).is_ok_and(|now| now == own.key) {
            return State::Changed;
        }
        // As after a copy to another disk.
        self.refreshed.lock().unwrap_or_else(PoisonError::into_inner).push((
            own.file.clone(),
            own.key,
            identity,
        ));
        self.said().refresh(&own.file, own.key, identity);
        State::Ours
    }

    /// Notes what will be written, and which image is done with it, made by what. Before the files are put in their places
    /// [`Record::sync`] must have made that durable, so that it is known whatever happens next.
    pub fn announce(&self, files: Vec<(String, Key)>, completes: Option<(String, Key)>) -> Result<()> {
        self.note(Line::Write(Announced { at_ms: now_ms(), files, completes }))
    }

    /// Puts a file of no image, which has all its bytes, in its place in the folder.
    pub fn put(&self, file: &str, bytes: HashedFile) -> Result<()> {
        let (placing, key) = bytes.finish();
        self.announce(vec![(file.to_owned(), key)], None)?;
        self.sync()?;
        placing.commit()?;
        self.note(Line::There(vec![(file.to_owned(), key, self.identity(file))]))
    }

    /// Notes that an image is done with files that were announced, `others` in other lines than the one that completes it.
    pub fn is_done(&self, name: &str, others: &[String], image: PathBuf, ms: u64) -> Result<()> {
        let own = self.said().announced(name).map(|pending| pending.files.clone());
        let own = own.unwrap_or_default();
        let there = own.iter().map(|own| self.identity(&own.file)).collect();
        let is_other = |file: &&String| own.iter().all(|own| own.file != **file);
        let others = others.iter().filter(is_other).map(|file| (file.clone(), self.identity(file))).collect();
        self.note(Line::Done(name.to_owned(), Placed { image, ms, there, others }))
    }

    fn identity(&self, file: &str) -> Option<Identity> {
        std::fs::metadata(self.folder.join(file)).ok().map(|found| Identity::of_own(&found))
    }

    /// Notes that an image failed.
    pub fn has_failed(&self, name: &str, made_by: Key, image: PathBuf, error: String) -> Result<()> {
        self.note(Line::Failed(name.to_owned(), Failed { at_ms: now_ms(), made_by, image, error }))
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
    let record = Record::of(folder, None, said);
    record.state(&name) == State::Ours
}

/// Whether a run is at work in a folder of results.
pub fn is_at_work(folder: &Path) -> bool {
    journals(folder).iter().any(|path| JournalLock::is_held(path).unwrap_or(false))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What a lock that is held means here.
pub fn in_words(error: anyhow::Error, folder: &Path) -> anyhow::Error {
    let is_held = |error: &io::Error| error.kind() == io::ErrorKind::ResourceBusy;
    match error.downcast_ref::<io::Error>().is_some_and(is_held) {
        true => anyhow!("{}; wait for its end, or give another folder", is_busy(folder)),
        false => error,
    }
}

fn is_busy(folder: &Path) -> String {
    format!("\"{}\": another run of samovar is at work in this folder of results", folder.display())
}
