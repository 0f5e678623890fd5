//! Whole or not at all.

use super::*;
use crate::MediaErrorKind;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("samovar-atomic-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn listing(folder: &Path) -> Vec<String> {
    let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_file_appears_on_commit_and_replaces_what_was_there() {
    let folder = folder("commit");
    let path = folder.join("mask.png");
    std::fs::write(&path, "old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    file.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(listing(&folder), ["mask.png"]);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_failure_half_way_leaves_what_was_there_and_nothing_else() {
    let folder = folder("failure");
    let path = folder.join("mask.png");
    std::fs::write(&path, "old").unwrap();
    let error = write_atomically(&path, |file| {
        file.write_all(b"half").unwrap();
        Err(MediaError::write(io::ErrorKind::StorageFull.into()))
    })
    .unwrap_err();
    assert_eq!((error.kind(), error.path()), (MediaErrorKind::Write, Some(path.as_path())));
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(listing(&folder), ["mask.png"]);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn two_writers_do_not_meet() {
    let folder = folder("two");
    let path = folder.join("mask.png");
    let mut first = AtomicFile::create(&path).unwrap();
    let mut second = AtomicFile::create(&path).unwrap();
    first.write_all(b"first").unwrap();
    second.write_all(b"second").unwrap();
    second.commit().unwrap();
    first.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"first");
    assert_eq!(listing(&folder), ["mask.png"]);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let missing = Path::new("no/such/folder/mask.png");
    let error = write_atomically(missing, |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), MediaErrorKind::Write);
    assert!(error.to_string().starts_with("\"no/such/folder/mask.png\": writing failed"), "{error}");
    assert!(
        error.to_string().ends_with("check that the folder exists, is writable and has free space"),
        "{error}"
    );
    assert!(AtomicFile::create("/").is_err());
    // A folder where the file should go.
    let folder = folder("taken");
    std::fs::create_dir(folder.join("mask.png")).unwrap();
    std::fs::write(folder.join("mask.png/x"), "").unwrap();
    assert!(write_atomically(&folder.join("mask.png"), |_| Ok(())).is_err());
    assert_eq!(listing(&folder), ["mask.png"]);
    std::fs::remove_dir_all(folder).unwrap();
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced_and_a_link_stays_one() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::os::unix::net::UnixListener;

    let folder = folder("special");
    let socket = folder.join("socket.png");
    let _listener = UnixListener::bind(&socket).unwrap();
    symlink(&socket, folder.join("to-socket.png")).unwrap();
    symlink(folder.join("nowhere.png"), folder.join("dangling.png")).unwrap();
    std::fs::write(folder.join("mask.png"), "old").unwrap();
    symlink("mask.png", folder.join("link.png")).unwrap();
    let before = listing(&folder);
    for (name, what) in [
        ("socket.png", "this is a device or a pipe, not a file"),
        ("to-socket.png", "this is a device or a pipe, not a file"),
        ("dangling.png", "this is a link that leads nowhere"),
    ] {
        let error = write_atomically(&folder.join(name), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains(what), "{name}: {error}");
    }
    assert!(std::fs::metadata(&socket).unwrap().file_type().is_socket());
    write_atomically(&folder.join("link.png"), |file| file.write_all(b"new").map_err(MediaError::write))
        .unwrap();
    assert!(std::fs::symlink_metadata(folder.join("link.png")).unwrap().is_symlink());
    assert_eq!(std::fs::read(folder.join("mask.png")).unwrap(), b"new");
    assert_eq!(listing(&folder), before);
    std::fs::remove_dir_all(folder).unwrap();
}
