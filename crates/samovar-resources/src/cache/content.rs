//! What files hold, remembered in a store, also on disk: the next process need not read the file.

use std::sync::Arc;

use super::codec::{Codec, Decoded};
use super::store::Store;
use super::view::FeatureCache;
use crate::contents::{ContentKeys, ContentMemory, Identity, Key, Origin, Remembered};

/// The kind under which keys of files lie in a store.
const KIND: &str = "files";

struct AsJson;

impl Codec<Remembered> for AsJson {
    fn size_bytes(&self, _: &Remembered) -> usize {
        size_of::<Remembered>()
    }

    fn encode(&self, value: &Remembered) -> Option<Vec<u8>> {
        serde_json::to_vec(value).ok()
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<Remembered> {
        serde_json::from_slice(bytes).map_or(Decoded::Foreign, Decoded::Value)
    }
}

impl ContentMemory for FeatureCache<Remembered> {
    fn get(&self, address: &Key, identity: Identity) -> Option<Key> {
        self.get_if(address, |remembered| remembered.identity == identity).map(|remembered| remembered.key)
    }

    fn put(&self, address: Key, remembered: Remembered) {
        self.renew(address, Origin::default(), Arc::new(remembered));
    }
}

/// Keys of files that a store remembers. With `rehash` every file is hashed anew.
pub fn content_keys(store: &Arc<Store>, rehash: bool) -> ContentKeys {
    ContentKeys::new(Arc::new(FeatureCache::new(store, KIND, AsJson)), rehash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{DiskOptions, StoreOptions};

    #[test]
    fn another_process_need_not_read_a_file_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"one").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        let keys = || {
            let disk = Some(DiskOptions { folder: folder.path().join("cache"), budget_bytes: 1 << 20 });
            content_keys(&Store::new(StoreOptions { disk, ..StoreOptions::default() }), false)
        };
        let first = keys().of_file(&file).unwrap();
        assert_eq!(first, Key::of_content(b"one"));
        let again = keys().of("bytes", &file, || Err(std::io::Error::other("was read")));
        assert_eq!(again.unwrap(), first);
    }
}
