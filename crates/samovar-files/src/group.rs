//! Many small files, made durable together.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::atomic::{AtomicFile, Finished};
use crate::durable::sync_folder;
use crate::error::{Error, Result, folder_of};

/// Files that have all their bytes and wait to be put in their places together: each is synced, then all are renamed,
/// then every folder is synced once. Until [`Group::commit`] none of them is seen; dropped without, they are gone.
///
/// Whoever notes elsewhere that these files are done does so after the commit.
#[derive(Debug, Default)]
pub struct Group {
    files: Vec<Finished>,
}

impl Group {
    /// Takes a file that has all its bytes.
    ///
    /// # Errors
    /// Any [`Error`] of what is written last.
    pub fn add(&mut self, file: AtomicFile) -> Result<()> {
        self.files.push(file.finish()?);
        Ok(())
    }

    /// Takes a file of these bytes.
    ///
    /// # Errors
    /// Any [`Error`] but those of making it durable.
    pub fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = AtomicFile::create(path)?;
        file.write_all(bytes).map_err(|error| Error::io(path, error))?;
        self.add(file)
    }

    /// How many files wait. Each holds a file open, so groups are kept to a few hundred.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether no file waits.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Puts all files in their places.
    ///
    /// # Errors
    /// Any [`Error`], naming the first file that failed. Each file is whole or not there all the same.
    pub fn commit(mut self) -> Result<()> {
        self.sync()?;
        self.place()?;
        sync_folders(&self.folders())
    }

    /// Makes what is in the files durable, under whatever name.
    ///
    /// # Errors
    /// Any [`Error`], naming the first file that failed.
    pub fn sync(&self) -> Result<()> {
        self.files.iter().try_for_each(Finished::sync)
    }

    /// Puts all files in their places, after [`Group::sync`]. They stay there once [`sync_folders`] has made the names durable.
    ///
    /// # Errors
    /// Any [`Error`], naming the first file that failed.
    pub fn place(&mut self) -> Result<()> {
        self.files.iter_mut().try_for_each(Finished::place)
    }

    /// The folders that the files go to.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        self.files.iter().map(|file| folder_of(&file.path).to_owned()).collect()
    }
}

/// Makes the names in folders durable.
///
/// # Errors
/// Any [`Error`], naming the first folder that failed.
pub fn sync_folders(folders: &BTreeSet<PathBuf>) -> Result<()> {
    let sync = |folder: &PathBuf| sync_folder(folder).map_err(|error| Error::io(folder, error));
    folders.iter().try_for_each(sync)
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
