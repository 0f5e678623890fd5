//! Certificates on disk, by model and machine: what was measured once need not be measured at every run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use samovar_media::write::write_json;
use sha2::{Digest, Sha256};

use super::verdict::Certificate;
use crate::engine::Engine;
use crate::error::Result;
use crate::source::ModelSource;

/// Largest file of certificates that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Certificates of one model on one machine.
#[derive(Debug, Clone)]
pub struct Store {
    file: PathBuf,
}

impl Store {
    /// Where the certificates of a model are kept, for this machine's processor and an engine's threads and instructions, in
    /// the folder for what can be made again.
    pub fn of(source: &ModelSource, engine: &Engine, cache: &Path) -> Self {
        let mut hash = Sha256::new();
        for part in identity(source) {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hash.update(format!("{}\0{}\0{}", processor(), engine.instructions(), engine.threads()));
        let name: String = hash.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { file: cache.join("certificates").join(format!("{name}.json")) }
    }

    /// What was measured before; nothing if that cannot be read.
    pub fn read(&self) -> Vec<Certificate> {
        let small = fs::metadata(&self.file).is_ok_and(|data| data.len() <= MAX_BYTES);
        let text = if small { fs::read(&self.file).unwrap_or_default() } else { Vec::new() };
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps what was measured now.
    ///
    /// # Errors
    /// [`crate::Error::File`] or [`crate::Error::Media`] when it cannot be written.
    pub fn write(&self, certificates: &[Certificate]) -> Result<()> {
        if let Some(folder) = self.file.parent() {
            samovar_files::make_folder(folder)?;
            samovar_files::sweep(folder);
        }
        Ok(write_json(&self.file, &certificates)?)
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// What changes when a model's weights do: names, sizes and times of its files, or this program's version.
fn identity(source: &ModelSource) -> Vec<String> {
    let file = |path: &Path| {
        let data = fs::metadata(path).ok();
        let time = data.as_ref().and_then(|data| data.modified().ok()?.duration_since(UNIX_EPOCH).ok());
        let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        format!("{} {} {time:?}", whole.display(), data.map_or(0, |data| data.len()))
    };
    match source.path() {
        None => vec![source.name(), env!("CARGO_PKG_VERSION").to_owned()],
        Some(folder) if folder.is_dir() => {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut files: Vec<String> = entries.map(|entry| file(&entry.path())).collect();
            files.sort();
            files
        }
        Some(path) => vec![file(path)],
    }
}

/// The processor's name, as far as the system tells.
pub fn processor() -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
