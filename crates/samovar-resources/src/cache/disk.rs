//! What lies on disk: one file per entry, shared by any number of processes, with no index that could be wrong.
//!
//! Files appear whole or not at all, a hit renews a file's time, and whoever finds the folder over its budget removes what is
//! worth least. Two processes that do so at once remove a little too much; nothing else can go wrong between them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use samovar_files::{make_folder, sweep};

use super::entry_file::{self, Header, ReadEntry, Sound};
use crate::contents::{Key, Origin};

/// Ending of entries.
const ENDING: &str = "entry";
/// What is left of the budget after making room, so that not every entry makes room anew.
const LEFT_SHARE: f64 = 0.9;
/// What an entry counts as having cost at least: that is what it takes to ask a disk for what it was made of. Small ones whose cost
/// nobody told, as the keys of files, so outlive large ones.
const LEAST_COST_SECONDS: f64 = 1e-3;
/// Entries written by this process between two looks at what the others have written.
const WRITES_PER_LOOK: u64 = 64;

/// Where a cache lies on disk, and how much it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    /// The folder; it is made when the first entry is written.
    pub folder: PathBuf,
    /// Most bytes of all entries together.
    pub budget_bytes: u64,
}

/// Which entries are meant: those of which all that is set here is true.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Of this kind.
    pub kind: Option<String>,
    /// Made of this image.
    pub image: Option<Key>,
    /// Made by this model.
    pub model: Option<Key>,
    /// Not used for so long.
    pub unused_for: Option<Duration>,
}

impl Selection {
    fn is_meant(&self, header: &Header, unused_for: Duration) -> bool {
        let is = |wanted: &Option<Key>, found: &Option<String>| {
            wanted.is_none_or(|wanted| found.as_deref() == Some(&wanted.to_string()))
        };
        self.kind.as_ref().is_none_or(|kind| *kind == header.kind)
            && is(&self.image, &header.image)
            && is(&self.model, &header.model)
            && self.unused_for.is_none_or(|least| unused_for >= least)
    }
}

/// What [`super::Store::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Entries that are whole.
    pub sound: usize,
    /// Bytes of these.
    pub sound_bytes: u64,
    /// Those that were not, and why; they were removed.
    pub removed: Vec<(PathBuf, String)>,
}

/// The disk tier.
pub(super) struct Disk {
    options: DiskOptions,
    /// Bytes of all entries as of the last look, and what this process has written since.
    known_bytes: Mutex<Option<u64>>,
    writes: AtomicU64,
}

/// An entry as it lies there.
struct Lying {
    path: PathBuf,
    bytes: u64,
    last_use: SystemTime,
    /// Others have put there what is none: a folder, a named pipe.
    is_file: bool,
}

/// What became of looking for an entry.
pub(super) enum Found {
    Nothing,
    /// It was there, was not what it should be, and was removed.
    Rejected(&'static str),
    Sound(Sound),
}

impl Disk {
    pub(super) fn new(options: DiskOptions) -> Self {
        Self { options, known_bytes: Mutex::new(None), writes: AtomicU64::new(0) }
    }

    pub(super) fn options(&self) -> &DiskOptions {
        &self.options
    }

    fn path(&self, kind: &str, key: &Key) -> PathBuf {
        let key = key.to_string();
        self.options.folder.join(kind).join(&key[..2]).join(format!("{key}.{ENDING}"))
    }

    pub(super) fn get(&self, kind: &str, key: &Key) -> Found {
        let path = self.path(kind, key);
        let why = match entry_file::read(&path, self.options.budget_bytes) {
            ReadEntry::Absent => return Found::Nothing,
            ReadEntry::Sound(sound) if sound.header.kind == kind && sound.header.key == key.to_string() => {
                renew(&path);
                return Found::Sound(sound);
            }
            ReadEntry::Sound(_) => "it is the entry of something else",
            ReadEntry::Damaged(why) => why,
        };
        let _ = remove(&path);
        Found::Rejected(why)
    }

    /// Removes what was sound and still could not be understood.
    pub(super) fn reject(&self, kind: &str, key: &Key) {
        let _ = fs::remove_file(self.path(kind, key));
    }

    /// Writes an entry and makes room for it. An entry that is there already only counts as used.
    pub(super) fn set(
        &self,
        kind: &str,
        key: &Key,
        origin: &Origin,
        cost_seconds: f64,
        payload: &[u8],
    ) -> samovar_files::Result<()> {
        let path = self.path(kind, key);
        if path.is_file() {
            renew(&path);
            return Ok(());
        }
        let bytes = payload.len() as u64 + 512;
        if bytes > self.options.budget_bytes {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            make_private_folder(&self.options.folder)?;
            make_folder(folder)?;
        }
        self.make_room(bytes);
        let header = Header::new(kind, key, origin, cost_seconds, payload.len());
        entry_file::write(&path, &header, payload)
    }

    fn make_room(&self, bytes: u64) {
        let mut known = self.known_bytes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_due = self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(WRITES_PER_LOOK);
        let mut held = match *known {
            Some(known) if !is_due => known,
            _ => {
                self.folders().iter().for_each(|folder| {
                    sweep(folder);
                });
                self.list().iter().map(|lying| lying.bytes).sum()
            }
        };
        if held + bytes > self.options.budget_bytes {
            held = self.shrink_to((self.options.budget_bytes as f64 * LEFT_SHARE) as u64, bytes);
        }
        *known = Some(held + bytes);
    }

    /// Removes what is worth least until so many bytes and `more` fit; says what is left.
    fn shrink_to(&self, budget_bytes: u64, more: u64) -> u64 {
        let now = SystemTime::now();
        let mut all: Vec<(f64, Lying)> = self
            .list()
            .into_iter()
            .filter(|lying| lying.is_file)
            .map(|lying| {
                let cost = entry_file::read_header(&lying.path).map_or(0.0, |header| header.cost_seconds);
                let idle = now.duration_since(lying.last_use).unwrap_or_default().as_secs_f64() + 1.0;
                (idle * lying.bytes as f64 / cost.max(LEAST_COST_SECONDS), lying)
            })
            .collect();
        all.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let mut held: u64 = all.iter().map(|(_, lying)| lying.bytes).sum();
        for (_, lying) in all {
            if held + more <= budget_bytes {
                break;
            }
            if fs::remove_file(&lying.path).is_ok() {
                held -= lying.bytes;
            }
        }
        held
    }

    /// Folders in which entries lie.
    fn folders(&self) -> Vec<PathBuf> {
        let kinds = subfolders(&self.options.folder);
        kinds.iter().flat_map(|kind| subfolders(kind)).collect()
    }

    fn list(&self) -> Vec<Lying> {
        let files = self
            .folders()
            .into_iter()
            .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let entries =
            files.filter(|file| Path::new(&file.file_name()).extension().is_some_and(|end| end == ENDING));
        let lying = entries.filter_map(|file| {
            let found = file.metadata().ok()?;
            let last_use = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let is_file = found.is_file();
            Some(Lying { path: file.path(), bytes: if is_file { found.len() } else { 0 }, last_use, is_file })
        });
        lying.collect()
    }

    /// Number of entries and their bytes, by kind.
    pub(super) fn usage(&self) -> std::collections::BTreeMap<String, (usize, u64)> {
        let mut usage = std::collections::BTreeMap::<_, (usize, u64)>::new();
        for lying in self.list().into_iter().filter(|lying| lying.is_file) {
            let kind = lying.path.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default();
            let (entries, bytes) = usage.entry(kind.to_string_lossy().into_owned()).or_default();
            (*entries, *bytes) = (*entries + 1, *bytes + lying.bytes);
        }
        usage
    }

    /// Removes the entries that are meant; says how many and how many bytes.
    pub(super) fn clear(&self, selection: &Selection) -> (usize, u64) {
        let now = SystemTime::now();
        let mut removed = (0, 0);
        for lying in self.list() {
            let unused_for = now.duration_since(lying.last_use).unwrap_or_default();
            let is_meant = *selection == Selection::default()
                || entry_file::read_header(&lying.path)
                    .is_some_and(|header| selection.is_meant(&header, unused_for));
            if is_meant && remove(&lying.path).is_ok() {
                removed = (removed.0 + 1, removed.1 + lying.bytes);
            }
        }
        self.folders().iter().for_each(|folder| {
            sweep(folder);
        });
        *self.known_bytes.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        removed
    }

    /// Reads and checks all entries, and removes those that are not sound.
    pub(super) fn verify(&self) -> Verification {
        let mut verification = Verification::default();
        for lying in self.list() {
            let stem = lying.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let kind = lying.path.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default();
            let why = match entry_file::read(&lying.path, u64::MAX) {
                // A link that leads nowhere.
                ReadEntry::Absent if !lying.is_file => "no file",
                ReadEntry::Absent => continue,
                ReadEntry::Sound(sound) if sound.header.key == stem && *sound.header.kind == *kind => {
                    verification.sound += 1;
                    verification.sound_bytes += lying.bytes;
                    continue;
                }
                ReadEntry::Sound(_) => "it is the entry of something else",
                ReadEntry::Damaged(why) => why,
            };
            let _ = remove(&lying.path);
            verification.removed.push((lying.path, why.to_owned()));
        }
        verification
    }
}

/// Removes what is in an entry's place, whatever it is.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

/// What shows in an embedding may be private, as the picture is: nobody else may look.
fn make_private_folder(folder: &Path) -> samovar_files::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    make_folder(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    }
    Ok(())
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// A file's time is that of its last use.
fn renew(path: &Path) {
    let now = SystemTime::now();
    let is_recent = fs::metadata(path)
        .and_then(|found| found.modified())
        .is_ok_and(|at| now.duration_since(at).is_ok_and(|since| since < Duration::from_secs(1)));
    if !is_recent {
        let _ = File::options().write(true).open(path).and_then(|file| file.set_modified(now));
    }
}
