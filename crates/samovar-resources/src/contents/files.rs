//! What files hold, by hashes that are made once and trusted while size, times and inode of the file stay.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::key::{Key, KeyBuilder};

/// What was found of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The file as it was.
    pub identity: Identity,
    /// What it held, or what was made of that.
    pub key: Key,
}

/// Remembers what files hold, by an address that is made of their place and of what is asked about them.
pub trait ContentMemory: Send + Sync {
    /// What was found in a file that was then as it is now.
    fn get(&self, address: &Key, identity: Identity) -> Option<Key>;

    /// Takes note of what was found now.
    fn put(&self, address: Key, remembered: Remembered);
}

/// Keys of what files hold, remembered so that a file is read for it once, by this process or, as the memory is, by any.
#[derive(Clone)]
pub struct ContentKeys {
    memory: Arc<dyn ContentMemory>,
    /// Whether to hash all files anew.
    rehash: bool,
}

impl ContentKeys {
    /// Keys that `memory` remembers. With `rehash` nothing is trusted: every file is hashed, and the new hashes are remembered.
    pub fn new(memory: Arc<dyn ContentMemory>, rehash: bool) -> Self {
        Self { memory, rehash }
    }

    /// The key of a file's bytes.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn of_file(&self, path: &Path) -> io::Result<Key> {
        self.of("bytes", path, || Key::of_file(path))
    }

    /// The key of something that only depends on a file's bytes, as its pixels. `what` names it, with the version of the code
    /// that makes it of the bytes; `hash` reads the file and hashes it.
    ///
    /// # Errors
    /// Those of `hash`, and of looking at the file.
    pub fn of<E: From<io::Error>>(
        &self,
        what: &str,
        path: &Path,
        hash: impl FnOnce() -> Result<Key, E>,
    ) -> Result<Key, E> {
        let before = Identity::of(&std::fs::metadata(path)?);
        // By whatever name: a link, a relative path.
        let place = path.canonicalize()?;
        let place = place.as_os_str().as_encoded_bytes();
        let address = KeyBuilder::new("samovar file 1").part("what", what).part("place", place).finish();
        if !self.rehash
            && let Some(key) = self.memory.get(&address, before)
        {
            return Ok(key);
        }
        let key = hash()?;
        let after = Identity::of(&std::fs::metadata(path)?);
        if after == before && after.is_settled() {
            self.memory.put(address, Remembered { identity: after, key });
        }
        Ok(key)
    }
}

impl fmt::Debug for ContentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentKeys").field("rehash", &self.rehash).finish_non_exhaustive()
    }
}

/// A memory of this process, which tells what is new in it.
#[derive(Debug, Default)]
pub struct RunMemory(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    files: HashMap<Key, Remembered>,
    new: Vec<(Key, Remembered)>,
}

impl RunMemory {
    /// Takes what an earlier run found.
    pub fn add(&self, address: Key, remembered: Remembered) {
        self.lock().files.insert(address, remembered);
    }

    /// What was found since this was asked last.
    pub fn take_new(&self) -> Vec<(Key, Remembered)> {
        std::mem::take(&mut self.lock().new)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ContentMemory for RunMemory {
    fn get(&self, address: &Key, identity: Identity) -> Option<Key> {
        let known = self.lock();
        known
            .files
            .get(address)
            .filter(|remembered| remembered.identity == identity)
            .map(|remembered| remembered.key)
    }

    fn put(&self, address: Key, remembered: Remembered) {
        let mut known = self.lock();
        known.files.insert(address, remembered);
        known.new.push((address, remembered));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::identity::TICK;
    use super::*;

    fn settle() {
        std::thread::sleep(2 * TICK);
    }

    #[test]
    fn a_file_is_hashed_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let memory = Arc::new(RunMemory::default());
        let keys = |rehash| ContentKeys::new(memory.clone(), rehash);
        let read = Cell::new(0);
        let key = |keys: &ContentKeys| {
            keys.of("test", &file, || {
                read.set(read.get() + 1);
                Ok::<_, io::Error>(Key::of_content(&std::fs::read(&file)?))
            })
            .unwrap()
        };
        std::fs::write(&file, b"one").unwrap();
        let first = key(&keys(false));
        assert_eq!(first, key(&keys(false)));
        assert_eq!(read.get(), 2, "written a moment ago");
        settle();
        assert_eq!((key(&keys(false)), key(&keys(false))), (first, first));
        assert_eq!(read.get(), 3);
        assert_eq!(key(&keys(true)), first);
        assert_eq!(read.get(), 4, "asked to");
        // Of the same length, with the old time.
        let time = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::write(&file, b"two").unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        let second = key(&keys(false));
        assert_ne!(first, second);
        settle();
        key(&keys(false));
        // Another file in its place, with the old time.
        let other = folder.path().join("other");
        std::fs::write(&other, b"xxx").unwrap();
        std::fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert_ne!(key(&keys(false)), second);
    }

    #[test]
    fn bytes_and_what_is_made_of_them_have_keys_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"one").unwrap();
        settle();
        let keys = ContentKeys::new(Arc::new(RunMemory::default()), false);
        for _ in 0..2 {
            assert_eq!(keys.of_file(&file).unwrap(), Key::of_content(b"one"));
            let pixels = keys.of("pixels", &file, || Ok::<_, io::Error>(Key::of_content(b"pixels")));
            assert_eq!(pixels.unwrap(), Key::of_content(b"pixels"));
        }
        assert!(keys.of_file(&folder.path().join("nothing")).is_err());
    }
}
