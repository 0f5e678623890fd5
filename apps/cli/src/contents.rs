//! What files of a run hold: read once, before they are read for work, and remembered for the next run.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use samovar::resources::contents::{ContentKeys, Key, Remembered, RunMemory};

/// Files that were read now or in earlier runs.
#[derive(Debug)]
pub struct Contents {
    keys: ContentKeys,
    memory: Arc<RunMemory>,
    /// Of this run, whatever becomes of the file meanwhile.
    now: Mutex<HashMap<PathBuf, Key>>,
}

impl Default for Contents {
    fn default() -> Self {
        let memory = Arc::new(RunMemory::default());
        Self { keys: ContentKeys::new(memory.clone(), false), memory, now: Mutex::default() }
    }
}

impl Contents {
    /// Takes what a record has.
    pub fn add(&self, address: Key, remembered: Remembered) {
        self.memory.add(address, remembered);
    }

    /// What a file holds. Asked before the file is read for work: should it be changed in between, the next run sees that.
    pub fn read(&self, file: &Path) -> io::Result<Key> {
        let key = self.keys.of_file(file)?;
        self.now(|now| now.insert(file.to_owned(), key));
        Ok(key)
    }

    /// What a file held when it was read in this run; if it was not, it is now.
    pub fn of(&self, file: &Path) -> io::Result<Key> {
        match self.now(|now| now.get(file).copied()) {
            Some(key) => Ok(key),
            None => self.read(file),
        }
    }

    /// Lets go of a file that nobody will ask for again.
    pub fn forget(&self, file: &Path) {
        self.now(|now| now.remove(file));
    }

    /// What was read and no record has yet.
    pub fn take_new(&self) -> Vec<(Key, Remembered)> {
        self.memory.take_new()
    }

    fn now<T>(&self, work: impl FnOnce(&mut HashMap<PathBuf, Key>) -> T) -> T {
        work(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
