//! What files hold, by hashes that are made once and trusted while size, times and inode of the file stay.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::codec::{Codec, Decoded};
use super::key::{Key, KeyBuilder, Origin};
use super::store::Store;
use super::view::FeatureCache;

/// A file that was changed so shortly before it was hashed may have been changed again since, within one tick of the file
/// system's clock: its hash is not trusted. (Git calls such files racy.)
const TICK: Duration = Duration::from_millis(50);

/// Keys of what files hold. They are remembered in a [`Store`], also on disk, so that the next process need not read the file.
#[derive(Debug, Clone)]
pub struct ContentKeys {
    view: FeatureCache<Remembered>,
    /// Whether to hash all files anew.
    rehash: bool,
}

/// What tells two states of a file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    bytes: u64,
    modified_ns: u128,
    /// Of the last change of anything about the file, which no program can set.
    changed_ns: i128,
    inode: u64,
    device: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    identity: Identity,
    key: String,
}

impl Identity {
    fn of(found: &Metadata) -> Self {
        let since = |time: io::Result<SystemTime>| {
            time.ok()
                .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
                .map_or(0, |since| since.as_nanos())
        };
        #[cfg(unix)]
        let (changed_ns, inode, device) = {
            use std::os::unix::fs::MetadataExt;
            let changed_ns = i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
            (changed_ns, found.ino(), found.dev())
        };
        #[cfg(not(unix))]
        let (changed_ns, inode, device) = (since(found.created()) as i128, 0, 0);
        Self { bytes: found.len(), modified_ns: since(found.modified()), changed_ns, inode, device }
    }

    /// Whether the last change is so long ago that another one would show.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let changed_ns = self.modified_ns.max(u128::try_from(self.changed_ns).unwrap_or(0));
        now > changed_ns + TICK.as_nanos()
    }
}

struct AsJson;

impl Codec<Remembered> for AsJson {
    fn size_bytes(&self, _: &Remembered) -> usize {
        size_of::<Remembered>() + 64
    }

    fn encode(&self, value: &Remembered) -> Option<Vec<u8>> {
        serde_json::to_vec(value).ok()
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<Remembered> {
        serde_json::from_slice(bytes).map_or(Decoded::Foreign, Decoded::Value)
    }
}

impl ContentKeys {
    /// The kind under which keys of files lie in a store.
    pub const KIND: &'static str = "files";

    /// Remembers in a store. With `rehash` nothing is trusted: every file is hashed, and the new hashes are remembered.
    pub fn new(store: &Arc<Store>, rehash: bool) -> Self {
        Self { view: FeatureCache::new(store, Self::KIND, AsJson), rehash }
    }

    /// The key of a file's bytes.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn of_file(&self, path: &Path) -> io::Result<Key> {
        self.of("bytes", path, || {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(std::fs::File::open(path)?)?;
            Ok(Key::from_bytes(*hasher.finalize().as_bytes()))
        })
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
            && let Some(remembered) = self.view.get(&address)
            && remembered.identity == before
            && let Ok(key) = remembered.key.parse()
        {
            return Ok(key);
        }
        let key = hash()?;
        let after = Identity::of(&std::fs::metadata(path)?);
        if after == before && after.is_settled() {
            let remembered = Remembered { identity: after, key: key.to_string() };
            self.view.renew(address, Origin::default(), Arc::new(remembered));
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::cache::{DiskOptions, StoreOptions};

    fn keys(folder: &Path, rehash: bool) -> ContentKeys {
        let disk = Some(DiskOptions { folder: folder.to_owned(), budget_bytes: 1 << 20 });
        ContentKeys::new(&Store::new(StoreOptions { disk, ..StoreOptions::default() }), rehash)
    }

    fn settle() {
        std::thread::sleep(2 * TICK);
    }

    #[test]
    fn a_file_is_hashed_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, file) = (folder.path().join("cache"), folder.path().join("file"));
        let read = Cell::new(0);
        let key = |keys: &ContentKeys| {
            keys.of("test", &file, || {
                read.set(read.get() + 1);
                Ok::<_, io::Error>(Key::of_content(&std::fs::read(&file)?))
            })
            .unwrap()
        };
        std::fs::write(&file, b"one").unwrap();
        let first = key(&keys(&cache, false));
        assert_eq!(first, key(&keys(&cache, false)));
        assert_eq!(read.get(), 2, "written a moment ago");
        settle();
        assert_eq!((key(&keys(&cache, false)), key(&keys(&cache, false))), (first, first));
        assert_eq!(read.get(), 3);
        assert_eq!(key(&keys(&cache, true)), first);
        assert_eq!(read.get(), 4, "asked to");
        // Of the same length, with the old time.
        let time = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::write(&file, b"two").unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        let second = key(&keys(&cache, false));
        assert_ne!(first, second);
        settle();
        key(&keys(&cache, false));
        // Another file in its place, with the old time.
        let other = folder.path().join("other");
        std::fs::write(&other, b"xxx").unwrap();
        std::fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert_ne!(key(&keys(&cache, false)), second);
    }

    #[test]
    fn bytes_and_what_is_made_of_them_have_keys_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"one").unwrap();
        settle();
        let keys = keys(&folder.path().join("cache"), false);
        for _ in 0..2 {
            assert_eq!(keys.of_file(&file).unwrap(), Key::of_content(b"one"));
            let pixels = keys.of("pixels", &file, || Ok::<_, io::Error>(Key::of_content(b"pixels")));
            assert_eq!(pixels.unwrap(), Key::of_content(b"pixels"));
        }
        assert!(keys.of_file(&folder.path().join("nothing")).is_err());
    }
}
