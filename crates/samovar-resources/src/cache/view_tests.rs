use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::cache::{DiskOptions, KeyBuilder, MemoryOnly, StoreOptions};
use crate::memory::{MemoryLevel, Reclaim};

/// Values are bytes; those that begin with 255 are of another version.
struct Bytes;

impl Codec<Vec<u8>> for Bytes {
    fn size_bytes(&self, value: &Vec<u8>) -> usize {
        value.len()
    }

    fn encode(&self, value: &Vec<u8>) -> Option<Vec<u8>> {
        Some(value.clone())
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<Vec<u8>> {
        match bytes.first() {
            Some(255) => Decoded::Foreign,
            Some(254) => Decoded::NoRoom,
            _ => Decoded::Value(bytes.to_vec()),
        }
    }
}

fn on_disk(folder: &std::path::Path, budget_bytes: u64) -> FeatureCache<Vec<u8>> {
    let disk = Some(DiskOptions { folder: folder.to_owned(), budget_bytes });
    let store = Store::new(StoreOptions { memory_budget_bytes: 1 << 20, disk, ..StoreOptions::default() });
    FeatureCache::new(&store, "bytes", Bytes)
}

fn key(number: usize) -> Key {
    Key::of_content(&number.to_le_bytes())
}

fn set(cache: &FeatureCache<Vec<u8>>, number: usize, value: Vec<u8>) {
    cache.set(key(number), Origin::default(), Duration::from_secs(1), Arc::new(value));
}

fn entries(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let kind = std::fs::read_dir(folder.join("bytes")).into_iter().flatten().flatten();
    let mut files: Vec<_> = kind
        .flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten())
        .map(|file| file.path())
        .collect();
    files.sort();
    files
}

#[test]
fn what_one_process_kept_another_finds() {
    let folder = tempfile::tempdir().unwrap();
    set(&on_disk(folder.path(), 1 << 20), 1, vec![1, 2, 3]);
    let other = on_disk(folder.path(), 1 << 20);
    assert_eq!(*other.get(&key(1)).unwrap(), [1, 2, 3]);
    assert_eq!(*other.get(&key(1)).unwrap(), [1, 2, 3]);
    assert!(other.get(&key(2)).is_none());
    let stats = other.stats();
    assert_eq!((stats.hits_on_disk, stats.hits_in_memory, stats.misses), (1, 1, 1));
    assert!((stats.hit_rate() - 2.0 / 3.0).abs() < 1e-12);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path().join("bytes")).unwrap().permissions().mode();
        assert_ne!(mode & 0o700, 0);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_and_the_entry_goes() {
    let folder = tempfile::tempdir().unwrap();
    set(&on_disk(folder.path(), 1 << 20), 1, (0..40).collect());
    let [path] = &entries(folder.path())[..] else { panic!("one entry") };
    let whole = std::fs::read(path).unwrap();
    for bit in 0..8 * whole.len() {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(path, &damaged).unwrap();
        let cache = on_disk(folder.path(), 1 << 20);
        assert!(cache.get(&key(1)).is_none(), "bit {bit}");
        assert_eq!(cache.stats().rejected, 1);
        assert!(!path.exists());
    }
    for length in 0..whole.len() {
        std::fs::write(path, &whole[..length]).unwrap();
        assert!(on_disk(folder.path(), 1 << 20).get(&key(1)).is_none(), "{length} bytes");
    }
    std::fs::write(path, &whole).unwrap();
    assert!(on_disk(folder.path(), 1 << 20).get(&key(1)).is_some());
}

#[test]
fn an_entry_under_another_name_is_foreign() {
    let folder = tempfile::tempdir().unwrap();
    let cache = on_disk(folder.path(), 1 << 20);
    set(&cache, 1, vec![1]);
    set(&cache, 2, vec![2]);
    let paths = entries(folder.path());
    std::fs::copy(&paths[0], &paths[1]).unwrap();
    let cache = on_disk(folder.path(), 1 << 20);
    let found: Vec<_> = [1, 2].map(|number| cache.get(&key(number)).map(|value| value.to_vec())).into();
    assert!(found == [Some(vec![1]), None] || found == [None, Some(vec![2])], "{found:?}");
    set(&cache, 255, vec![255]);
    let cache = on_disk(folder.path(), 1 << 20);
    assert!(cache.get(&key(255)).is_none(), "of another version");
    assert_eq!(cache.stats().rejected, 1);
    set(&cache, 254, vec![254]);
    let entries_before = entries(folder.path());
    assert!(on_disk(folder.path(), 1 << 20).get(&key(254)).is_none(), "no room now");
    assert_eq!(entries(folder.path()), entries_before);
}

#[test]
fn verify_finds_what_is_damaged_without_being_asked_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let cache = on_disk(folder.path(), 1 << 20);
    (0..5).for_each(|number| set(&cache, number, vec![1; 100]));
    let paths = entries(folder.path());
    std::fs::write(&paths[2], b"samovar\x01 no entry").unwrap();
    let verification = cache.store().verify();
    assert_eq!((verification.sound, verification.removed.len()), (4, 1));
    assert_eq!(verification.removed[0].0, paths[2]);
    assert_eq!(entries(folder.path()).len(), 4);
}

#[test]
fn the_disk_keeps_to_its_budget_and_keeps_what_was_used_last() {
    let folder = tempfile::tempdir().unwrap();
    let cache = on_disk(folder.path(), 20_000);
    for number in 0..100 {
        set(&cache, number, vec![0; 1000]);
        let held: u64 = entries(folder.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(held <= 20_000, "{held}");
        if number == 5 {
            // Files' times are not finer than this everywhere.
            for path in entries(folder.path()) {
                let past = std::time::SystemTime::now() - Duration::from_secs(1000);
                std::fs::File::options().write(true).open(path).unwrap().set_modified(past).unwrap();
            }
            assert!(on_disk(folder.path(), 20_000).get(&key(3)).is_some(), "used again just now");
        }
        if number == 16 {
            let fresh = on_disk(folder.path(), 20_000);
            assert!(fresh.get(&key(3)).is_some());
        }
    }
    set(&cache, 1000, vec![0; 30_000]);
    assert!(on_disk(folder.path(), 20_000).get(&key(1000)).is_none(), "larger than all there is");
}

/// Keys of files, of which a model's took seconds to make, went first for room that others needed.
#[test]
fn small_entries_whose_cost_nobody_told_outlive_large_ones_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let cache = on_disk(folder.path(), 20 << 20);
    cache.set(key(0), Origin::default(), Duration::ZERO, Arc::new(vec![1; 64]));
    for number in 1..20 {
        cache.set(key(number), Origin::default(), Duration::from_millis(100), Arc::new(vec![0; 4 << 20]));
    }
    let other = on_disk(folder.path(), 20 << 20);
    let left = (1..20).filter(|&number| other.get(&key(number)).is_some()).count();
    assert!(other.get(&key(0)).is_some() && (1..=4).contains(&left), "{left}");
}

/// A file that has changed since was a hit in the log, and was hashed all the same.
#[test]
fn what_is_not_as_wanted_is_a_miss_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let cache = on_disk(folder.path(), 1 << 20);
    cache.set(key(0), Origin::default(), Duration::ZERO, Arc::new(vec![1]));
    assert!(cache.get_if(&key(0), |value| value[0] == 1).is_some());
    assert!(cache.get_if(&key(0), |value| value[0] == 2).is_none());
    assert_eq!((cache.stats().hits(), cache.stats().misses, cache.stats().rejected), (1, 1, 0));
    let other = on_disk(folder.path(), 1 << 20);
    assert!(other.get(&key(0)).is_none(), "it is not there for others either");
}

#[test]
fn entries_are_cleared_by_what_they_are_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let cache = on_disk(folder.path(), 1 << 20);
    for (number, image, model) in [(0, 10, 20), (1, 10, 21), (2, 11, 20)] {
        let origin = Origin { image: Some(key(image)), model: Some(key(model)) };
        cache.set(key(number), origin, Duration::ZERO, Arc::new(vec![0]));
    }
    let held = |cache: &FeatureCache<Vec<u8>>| {
        (0..3).filter(|&number| cache.get(&key(number)).is_some()).collect::<Vec<_>>()
    };
    cache.invalidate_image(key(11));
    assert_eq!(held(&cache), [0, 1]);
    let model = Some(key(21));
    assert_eq!(cache.store().clear(&Selection { model, ..Selection::default() }).0, 1);
    assert_eq!(held(&on_disk(folder.path(), 1 << 20)), [0]);
    let unused_for = Some(Duration::from_secs(60));
    assert_eq!(cache.store().clear(&Selection { unused_for, ..Selection::default() }).0, 0);
    cache.clear();
    assert!(entries(folder.path()).is_empty() && held(&cache).is_empty());
}

#[test]
fn a_value_is_made_once_however_many_ask() {
    let store = Store::new(StoreOptions::default());
    let cache = FeatureCache::new(&store, "slow", MemoryOnly(|_: &usize| 8));
    let (made, barrier) = (AtomicUsize::new(0), Barrier::new(8));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                let value = cache.get_or_compute(key(1), Origin::default(), || {
                    std::thread::sleep(Duration::from_millis(30));
                    Ok::<_, ()>(made.fetch_add(1, Ordering::SeqCst))
                });
                assert_eq!(value.as_deref(), Ok(&0));
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
}

#[test]
fn a_failure_is_not_remembered_and_stands_in_nobodys_way() {
    let store = Store::new(StoreOptions::default());
    let cache = FeatureCache::new(&store, "failing", MemoryOnly(|_: &u8| 1));
    assert_eq!(cache.get_or_compute(key(1), Origin::default(), || Err("no")), Err("no"));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cache.get_or_compute(key(1), Origin::default(), || -> Result<u8, ()> {
            std::panic::resume_unwind(Box::new(()))
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(cache.get_or_compute(key(1), Origin::default(), || Ok::<_, ()>(5)).as_deref(), Ok(&5));
}

#[test]
fn limits_of_a_kind_hold_within_those_of_the_store() {
    let store = Store::new(StoreOptions::default());
    let limits = KindLimits { max_entries: 3, ..KindLimits::default() };
    let few = FeatureCache::new(&store, "few", MemoryOnly(|_: &usize| 8)).with_limits(limits);
    let many = FeatureCache::new(&store, "many", MemoryOnly(|_: &usize| 8));
    for number in 0..10 {
        few.set(key(number), Origin::default(), Duration::ZERO, Arc::new(number));
        many.set(key(number), Origin::default(), Duration::ZERO, Arc::new(number));
    }
    assert_eq!((few.stats().entries, few.stats().evictions, many.stats().entries), (3, 7, 10));
    let old = KindLimits { max_age: Some(Duration::ZERO), ..KindLimits::default() };
    assert!(many.clone().with_limits(old).get(&key(9)).is_none());
}

#[test]
fn memory_is_given_back_by_level_and_the_disk_still_knows() {
    let folder = tempfile::tempdir().unwrap();
    let cache = on_disk(folder.path(), 1 << 20);
    (0..10).for_each(|number| set(&cache, number, vec![0; 100]));
    assert_eq!(cache.store().reclaim(MemoryLevel::Warning), 500);
    assert_eq!(cache.store().reclaim(MemoryLevel::Critical), 500);
    assert_eq!(cache.stats().memory_bytes, 0);
    assert!((0..10).all(|number| cache.get(&key(number)).is_some()), "from disk");
    assert_eq!(cache.store().resize(250), 800);
    assert_eq!(cache.stats().entries, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// An entry made under other pixels, weights, preprocessing, dtype or version is never served.
    #[test]
    fn nothing_is_served_for_another_question(a: [u8; 5], b: [u8; 5]) {
        let names = ["pixels", "model", "preprocessing", "dtype", "version"];
        let key = |parts: &[u8; 5]| {
            names.iter().zip(parts).fold(KeyBuilder::new("test"), |key, (name, part)| key.part(name, [*part])).finish()
        };
        let store = Store::new(StoreOptions::default());
        let cache = FeatureCache::new(&store, "answers", MemoryOnly(|_: &[u8; 5]| 5));
        cache.set(key(&a), Origin::default(), Duration::ZERO, Arc::new(a));
        match cache.get(&key(&b)) {
            Some(found) => prop_assert_eq!(*found, b),
            None => prop_assert_ne!(a, b),
        }
    }
}
