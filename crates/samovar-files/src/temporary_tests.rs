//! Names within limits, and sweeps that take what is nobody's.

use super::*;

#[test]
fn temporary_names_are_short_new_and_hidden() {
    let long = Path::new("folder").join("ü".repeat(127));
    let first = temporary_name(&long);
    let name = first.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.len() <= 143, "{} bytes", name.len());
    assert!(name.starts_with(".ü") && name.ends_with(ENDING), "{name}");
    assert_eq!(first.parent(), long.parent());
    assert_ne!(first, temporary_name(&long));
}

#[test]
fn a_sweep_takes_what_a_kill_left_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (held_path, held) = begin(&at("held.json")).unwrap();
    // As after a kill: the file is there, its lock is gone.
    let (left, file) = begin(&at("left.json")).unwrap();
    drop(file);
    for others in ["result.json", ".hidden", ".samovar-tmp-notes", "mine.samovar-tmp"] {
        fs::write(at(others), "mine").unwrap();
    }
    fs::create_dir(at(".folder.samovar-tmp")).unwrap();
    assert_eq!(sweep(folder.path()), 1);
    assert!(!left.exists() && held_path.exists());
    for others in ["result.json", ".hidden", ".samovar-tmp-notes", "mine.samovar-tmp", ".folder.samovar-tmp"]
    {
        assert!(at(others).exists(), "{others}");
    }
    drop(held);
    assert_eq!(sweep(folder.path()), 1);
    assert_eq!(sweep(&at("no such folder")), 0);
}

#[cfg(unix)]
#[test]
fn a_pipe_with_the_name_of_a_temporary_file_does_not_stop_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join(".x.1-2.samovar-tmp");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(sweep(folder.path()), 0);
    assert!(pipe.exists());
}

#[cfg(unix)]
#[test]
fn a_link_is_replaced_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    for target in ["first", "second"] {
        replace_with(&link, |temporary| std::os::unix::fs::symlink(target, temporary)).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
    }
    let failed = replace_with(&link, |temporary| {
        fs::write(temporary, "half").unwrap();
        Err(io::ErrorKind::StorageFull.into())
    });
    assert_eq!(failed.unwrap_err().kind(), crate::ErrorKind::Full);
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("second"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
