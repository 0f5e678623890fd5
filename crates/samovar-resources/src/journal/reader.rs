//! Reads what earlier runs have written.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::line::{Outcome, Record};

/// Longest line that is believed.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// What a journal says: the last word on each item.
#[derive(Debug, Default)]
pub struct Journal {
    /// By item.
    items: HashMap<String, (String, Outcome)>,
    /// Length up to the end of the last whole line.
    pub(super) sound_bytes: u64,
    /// Lines that were damaged, other than a last one that was cut.
    pub damaged_lines: usize,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Items done.
    pub done: usize,
    /// Items that failed and were not done since.
    pub failed: usize,
}

impl Journal {
    /// What became of an item with this key; nothing of one that was made of something else.
    pub fn outcome(&self, item: &str, key: &str) -> Option<&Outcome> {
        self.items.get(item).filter(|(of, _)| of == key).map(|(_, outcome)| outcome)
    }

    /// The last word on each item, in no order.
    pub fn items(&self) -> impl Iterator<Item = (&str, &Outcome)> {
        self.items.iter().map(|(item, (_, outcome))| (item.as_str(), outcome))
    }

    /// How far the job is.
    pub fn progress(&self) -> Progress {
        let done = self.items.values().filter(|(_, outcome)| matches!(outcome, Outcome::Done { .. })).count();
        Progress { done, failed: self.items.len() - done }
    }
}

/// Reads a journal; one that is not there is empty. Damaged lines are left out and counted: their items are done again.
///
/// # Errors
/// Those of reading.
pub fn read_journal(path: &Path) -> io::Result<Journal> {
    let mut journal = Journal::default();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(journal),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    let mut at = 0;
    loop {
        line.clear();
        let read = io::Read::take(&mut reader, MAX_LINE_BYTES).read_until(b'\n', &mut line)? as u64;
        at += read;
        match line.split_last() {
            None => return Ok(journal),
            Some((b'\n', content)) => match Record::of_line(content) {
                Some(Record { item, key, outcome }) => {
                    journal.items.insert(item, (key, outcome));
                }
                None => journal.damaged_lines += 1,
            },
            // Too long for a line, or the end of a killed run's last one.
            Some(_) if read == MAX_LINE_BYTES => journal.damaged_lines += 1,
            Some(_) => return Ok(journal),
        }
        journal.sound_bytes = at;
    }
}
