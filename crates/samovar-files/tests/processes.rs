//! Writers in processes of their own: killed at any moment, at their limits, with pipes for an output.
#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use samovar_files::{AtomicFile, Group, sweep};

/// Tells a child of these tests in which folder to work.
const FOLDER: &str = "SAMOVAR_FILES_TEST_FOLDER";
const KILLS: u32 = 50;

/// This program again, running one of its ignored tests.
fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", test]).env(FOLDER, folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// `None` when somebody runs the ignored tests by hand.
fn folder_of_child() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// A file that tells whether it is whole: its length, then that many equal bytes.
fn content(round: usize) -> Vec<u8> {
    let len = (round * 7919) % 40_000;
    [&(len as u64).to_le_bytes()[..], &vec![round as u8; len]].concat()
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some((len, rest)) = bytes.split_first_chunk() else { return false };
    u64::from_le_bytes(*len) == rest.len() as u64 && rest.windows(2).all(|pair| pair[0] == pair[1])
}

fn has_temporary(folder: &Path) -> bool {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.into_iter().any(|name| name.as_encoded_bytes().ends_with(b".samovar-tmp"))
}

#[test]
#[ignore = "the child of the test below"]
fn child_writes_without_end() {
    let Some(folder) = folder_of_child() else { return };
    for round in 0.. {
        let mut group = Group::default();
        for number in 0..3 {
            let mut file = AtomicFile::create(folder.join(format!("file{number}"))).unwrap();
            for part in content(round).chunks(1000) {
                file.write_all(part).unwrap();
            }
            match number {
                0 => file.commit().unwrap(),
                _ => group.add(file).unwrap(),
            }
        }
        group.commit().unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_whole_files_and_does_not_block_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let (mut seen, mut left) = (0, 0);
    for kill in 0..KILLS {
        let mut writer = child("child_writes_without_end", folder.path()).spawn().unwrap();
        // Every fifth is killed before it may have begun; the others when they write. The machine's own noise makes the
        // moments random.
        let begun = Instant::now();
        while kill % 5 > 0 && !has_temporary(folder.path()) && begun.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(u64::from(kill.wrapping_mul(2_654_435_761) % 30_000)));
        writer.kill().unwrap();
        writer.wait().unwrap();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("file") {
                assert!(is_whole(&fs::read(&path).unwrap()), "kill {kill}: {name} is not whole");
                seen += 1;
            }
        }
        // The next run begins with what is there.
        AtomicFile::create(folder.path().join("file0")).unwrap().commit().unwrap();
        fs::remove_file(folder.path().join("file0")).unwrap();
        left += sweep(folder.path());
    }
    assert!(
        seen > 0 && left > 0,
        "{seen} files seen, {left} left behind: the kills came too early or too late"
    );
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name.to_string_lossy().starts_with("file")), "{names:?}");
}

#[test]
#[ignore = "the child of the test below"]
fn child_writes_a_file_beyond_its_limit() {
    let Some(folder) = folder_of_child() else { return };
    let path = folder.join("large");
    let mut file = AtomicFile::create(&path).unwrap();
    let written = file.write_all(&vec![1; 1 << 20]);
    let error = written.err().map(|error| samovar_files::Error::io(&path, error)).or(file.commit().err());
    let error = error.unwrap().to_string();
    fs::write(folder.join("error"), error).unwrap();
}

#[test]
fn a_disk_that_takes_no_more_leaves_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("large"), "old").unwrap();
    // A limit on the size of files, which is the one kind of full disk that needs no root.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "child_writes_a_file_beyond_its_limit"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let error = fs::read_to_string(folder.path().join("error")).unwrap();
    assert!(error.contains("large\": writing failed: ") && error.contains("ulimit -f"), "{error}");
    assert_eq!(fs::read(folder.path().join("large")).unwrap(), b"old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
#[ignore = "the child of the test below"]
fn child_writes_to_its_own_output() {
    let Some(folder) = folder_of_child() else { return };
    let error = AtomicFile::create("/dev/stdout").unwrap_err();
    fs::write(folder.join("error"), error.to_string()).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_at_dev_stdout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = child("child_writes_to_its_own_output", folder.path());
    assert!(writer.stdout(Stdio::piped()).output().unwrap().status.success());
    let error = fs::read_to_string(folder.path().join("error")).unwrap();
    assert!(error.contains("/dev/stdout\": this is a device or a pipe, not a file"), "{error}");
    assert!(fs::symlink_metadata("/dev/stdout").unwrap().is_symlink());
}

/// Not a test of anything: prints what durability costs. `cargo test --release -p samovar-files -- --ignored --nocapture
/// cost_of`
#[test]
#[ignore = "a measurement, not a test"]
fn cost_of_a_thousand_small_files() {
    let bytes = vec![7; 4000];
    let run = |what: &str, write: &mut dyn FnMut(&Path)| {
        let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
        let start = Instant::now();
        for number in 0..1000 {
            write(&folder.path().join(format!("{number}.json")));
        }
        println!("{what:24} {:7.0?} for 1,000 files of 4 kB", start.elapsed());
    };
    let begin = |path: &Path| {
        let mut file = AtomicFile::create(path).unwrap();
        file.write_all(&bytes).unwrap();
        file
    };
    for _ in 0..3 {
        run("renamed, not synced", &mut |path| {
            let temporary = path.with_extension("tmp");
            fs::write(&temporary, &bytes).unwrap();
            fs::rename(&temporary, path).unwrap();
        });
        run("each on its own", &mut |path| begin(path).commit().unwrap());
        for size in [8, 64] {
            let mut group = Group::default();
            run(&format!("groups of {size}"), &mut |path| {
                group.add(begin(path)).unwrap();
                if group.len() == size {
                    std::mem::take(&mut group).commit().unwrap();
                }
            });
        }
    }
}
