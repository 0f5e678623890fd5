//! Together or not at all, each whole.

use std::fs;
use std::io::Write;

use super::*;

#[test]
fn files_of_a_group_appear_at_its_commit_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let begin = |name: &str| {
        let mut file = AtomicFile::create(folder.path().join(name)).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        file
    };
    let mut group = Group::default();
    assert!(group.is_empty());
    for name in ["a", "b", "c"] {
        group.add(begin(name)).unwrap();
    }
    assert_eq!(group.len(), 3);
    assert!(!folder.path().join("a").exists());
    // A run beside this one does not take them for left behind.
    assert_eq!(crate::sweep(folder.path()), 0);
    group.commit().unwrap();
    for name in ["a", "b", "c"] {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), name);
    }
    let mut bytes = Group::default();
    bytes.write(&folder.path().join("a"), b"other").unwrap();
    bytes.commit().unwrap();
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"other");
    let mut dropped = Group::default();
    dropped.add(begin("d")).unwrap();
    drop(dropped);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}
