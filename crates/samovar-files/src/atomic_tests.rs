//! Whole or not at all, and nothing but files replaced.

use std::fs;

use super::*;
use crate::ErrorKind;

fn listing(folder: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

fn write(path: &Path, content: &str) -> Result<()> {
    write_bytes(path, content.as_bytes())
}

#[test]
fn a_file_appears_on_commit_and_replaces_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.png");
    fs::write(&path, "old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"neq").unwrap();
    file.seek(SeekFrom::Start(2)).unwrap();
    file.write_all(b"w").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    file.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(listing(folder.path()), ["mask.png"]);
}

#[test]
fn a_write_that_failed_or_was_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.png");
    fs::write(&path, "old").unwrap();
    let failed = write_atomically(&path, |file| {
        file.write_all(b"half").unwrap();
        Err(Error::io(&path, io::ErrorKind::StorageFull.into()))
    });
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Full);
    let mut dropped = AtomicFile::create(&path).unwrap();
    dropped.write_all(b"half").unwrap();
    drop(dropped);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(listing(folder.path()), ["mask.png"]);
}

#[test]
fn an_error_that_the_writer_swallowed_does_not_become_a_broken_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.png");
    let mut file = AtomicFile::create(&path).unwrap();
    assert!(file.seek(SeekFrom::Current(-1)).is_err());
    let error = file.commit().unwrap_err().to_string();
    assert!(error.contains("an earlier write to it failed"), "{error}");
    assert_eq!(listing(folder.path()), [""; 0]);
}

#[test]
fn two_writers_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.png");
    let mut first = AtomicFile::create(&path).unwrap();
    let mut second = AtomicFile::create(&path).unwrap();
    first.write_all(b"first").unwrap();
    second.write_all(b"second").unwrap();
    second.commit().unwrap();
    first.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(listing(folder.path()), ["mask.png"]);
}

#[test]
fn names_of_255_bytes_are_written_and_longer_ones_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a".repeat(255), format!("b{}", "ü".repeat(127)), format!("{}.json", "漢".repeat(83))] {
        let path = folder.path().join(&name);
        write(&path, "whole").unwrap_or_else(|error| panic!("{} bytes: {error}", name.len()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    }
    let error = AtomicFile::create(folder.path().join("c".repeat(256))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAFile);
    assert!(error.to_string().ends_with("give a shorter one"), "{error}");
    assert_eq!(listing(folder.path()).len(), 3);
}

#[test]
fn what_a_killed_writer_left_is_not_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.png");
    // Left in a process of this very id, as after a reboot: forgotten, so that nothing is cleaned up.
    std::mem::forget(AtomicFile::create(&path).unwrap());
    write(&path, "whole").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"whole");
}

#[test]
fn places_that_cannot_be_written_are_named_with_what_to_do() {
    let missing = write(Path::new("no/such/folder/mask.png"), "").unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NoFolder);
    assert_eq!(missing.path(), Path::new("no/such/folder/mask.png"));
    assert!(missing.to_string().starts_with("\"no/such/folder/mask.png\": writing failed: "), "{missing}");
    assert!(
        missing.to_string().ends_with("there is no folder \"no/such/folder\"; make it first"),
        "{missing}"
    );
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(write(&folder.path().join("file/mask.png"), "").unwrap_err().kind(), ErrorKind::NoFolder);
    for name in ["/", "..", "masks/"] {
        assert_eq!(AtomicFile::create(name).unwrap_err().kind(), ErrorKind::NotAFile, "{name}");
    }
    // A folder where the file should go.
    fs::create_dir(folder.path().join("mask.png")).unwrap();
    let taken = write(&folder.path().join("mask.png"), "").unwrap_err();
    assert!(taken.to_string().contains("this is a folder; name a file"), "{taken}");
    assert_eq!(listing(folder.path()), ["file", "mask.png"]);
    for (kind, words) in [
        (io::ErrorKind::StorageFull, "free space there, or name a file on another disk"),
        (io::ErrorKind::ReadOnlyFilesystem, "is on a file system that is read-only; name a place on another"),
        (io::ErrorKind::PermissionDenied, "check the permissions of the folder \"out\""),
    ] {
        let error = Error::io(Path::new("out/mask.png"), kind.into()).to_string();
        assert!(error.starts_with("\"out/mask.png\": writing failed: ") && error.ends_with(words), "{error}");
    }
}

#[test]
fn a_folder_that_vanishes_while_a_file_is_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let mut file = AtomicFile::create(inner.join("mask.png")).unwrap();
    file.write_all(b"whole").unwrap();
    fs::remove_dir_all(&inner).unwrap();
    let error = file.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoFolder, "{error}");
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced_and_a_link_stays_one() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::os::unix::net::UnixListener;

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let socket = at("socket.png");
    let _listener = UnixListener::bind(&socket).unwrap();
    symlink(&socket, at("to-socket.png")).unwrap();
    symlink(at("nowhere.png"), at("dangling.png")).unwrap();
    fs::write(at("mask.png"), "old").unwrap();
    symlink("mask.png", at("link.png")).unwrap();
    let before = listing(folder.path());
    for (name, what) in [
        ("socket.png", "this is a device or a pipe, not a file"),
        ("to-socket.png", "this is a device or a pipe, not a file"),
        ("dangling.png", "this is a link that leads nowhere"),
    ] {
        let error = write(&at(name), "").unwrap_err().to_string();
        assert!(error.contains(what), "{name}: {error}");
    }
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    write(&at("link.png"), "new").unwrap();
    assert!(fs::symlink_metadata(at("link.png")).unwrap().is_symlink());
    assert_eq!(fs::read(at("mask.png")).unwrap(), b"new");
    assert_eq!(listing(folder.path()), before);
}

#[cfg(unix)]
#[test]
fn devices_outlive_a_writer_that_names_them() {
    use std::os::unix::fs::FileTypeExt;

    for device in ["/dev/null", "/dev/full", "/dev/zero"] {
        assert!(write(Path::new(device), "x").is_err(), "{device}");
        assert!(fs::metadata(device).unwrap().file_type().is_char_device(), "{device}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_is_readable_for_whom_the_umask_lets_read() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let (usual, written) = (folder.path().join("usual"), folder.path().join("written"));
    File::create(&usual).unwrap();
    write(&written, "x").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&written), mode(&usual));
}
