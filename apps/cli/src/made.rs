//! Files that this program wrote one by one, wherever they are now: what it made it may replace, what others made it asks about.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use samovar::files::{make_folder, write_bytes};
use samovar::resources::contents::Key;

use crate::environment;
use crate::failure::usage;
use crate::outputs::{Placing, Remember};
use crate::record::is_result;

/// Keys that are kept, the newest ones.
const MOST: usize = 20_000;
/// Largest list that is read.
const MAX_BYTES: u64 = 16 << 20;

/// The keys of the files that this user's samovar wrote, in its cache folder.
#[derive(Debug)]
pub struct Made {
    list: Option<PathBuf>,
}

impl Made {
    /// Those of this user.
    pub fn here() -> Self {
        Self { list: environment::cache_folder().map(|folder| folder.join("made")) }
    }

    fn lines(&self) -> Vec<String> {
        let Some(list) = &self.list else { return Vec::new() };
        let is_small = std::fs::metadata(list).is_ok_and(|found| found.is_file() && found.len() <= MAX_BYTES);
        let bytes = if is_small { std::fs::read(list).unwrap_or_default() } else { Vec::new() };
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    /// Lets files, which `flag` named, be written if they take the place of none, or of those that this program made; asks
    /// otherwise, where somebody can answer.
    ///
    /// # Errors
    /// When something is in the way and nobody says that it may be replaced.
    pub fn check(&self, files: &[PathBuf], flag: &str, overwrite: bool) -> Result<()> {
        let there = files.iter().filter(|file| file.exists());
        if overwrite || there.clone().next().is_none() {
            return Ok(());
        }
        let made: HashSet<String> = self.lines().into_iter().collect();
        let is_made = |file: &Path| Key::of_file(file).is_ok_and(|key| made.contains(&key.to_string()));
        let foreign: Vec<&PathBuf> = there.filter(|file| !is_made(file) && !is_result(file)).collect();
        let Some(first) = foreign.first() else { return Ok(()) };
        let more =
            if foreign.len() > 1 { format!(" (and {} more)", foreign.len() - 1) } else { String::new() };
        let what = format!(
            "\"{}\"{more} is there, and samovar has not made it, or it was changed since",
            first.display()
        );
        if io::stdin().is_terminal() && io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "{what}. Replace it? [y/N] ");
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer)?;
            if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
                return Ok(());
            }
        }
        Err(usage(format!("{what}; name another file with {flag}, or --overwrite to replace it")))
    }

    /// Takes note of a file that this program has just made.
    pub fn remember(&self, file: &Path) {
        if let Ok(key) = Key::of_file(file) {
            // Without the note there is a question at the next run.
            let _ = self.add(&[(file.to_owned(), key)]);
        }
    }

    fn add(&self, keys: &[(PathBuf, Key)]) -> io::Result<()> {
        let Some(list) = &self.list else { return Ok(()) };
        if let Some(folder) = list.parent() {
            make_folder(folder)?;
        }
        let mut lines = self.lines();
        if lines.len() > 2 * MOST {
            let kept = lines.split_off(lines.len() - MOST);
            write_bytes(list, (kept.join("\n") + "\n").as_bytes())?;
        }
        let new: String = keys.iter().map(|(_, key)| format!("{key}\n")).collect();
        OpenOptions::new().append(true).create(true).open(list)?.write_all(new.as_bytes())
    }
}

impl Remember for &Made {
    /// A list that cannot be written means a question at the next run, and is no reason not to do this one's work.
    fn place(&self, files: Placing) -> Result<()> {
        let _ = self.add(&files.keys);
        files.now()
    }
}
