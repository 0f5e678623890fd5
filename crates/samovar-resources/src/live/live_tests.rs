use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::running::file_name;
use super::*;
use crate::memory::DeviceMemory;

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map_or_else(|_| Vec::new(), |found| found.map(|entry| entry.unwrap().path()).collect())
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "nothing came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_process_is_seen_while_it_publishes_and_not_after() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let publisher = Publisher::start(&run, "samovar segment".into(), "images", || (7, 10, "a.png".into()));
    publisher.watch_devices(|| {
        vec![DeviceMemory { name: "cpu".into(), used_bytes: 5, ..DeviceMemory::default() }]
    });
    publisher.skipped(4);
    publisher.item_ended(Duration::from_millis(20), false);
    publisher.item_ended(Duration::from_millis(40), true);
    let seen = wait_for(|| running(&run).pop());
    assert_eq!((seen.process_id, seen.command.as_str()), (std::process::id(), "samovar segment"));
    let work = &seen.work;
    assert_eq!((work.through, work.all, work.left, work.skipped, work.failed), (7, 10, 3, 4, 1));
    assert_eq!((work.current.as_str(), work.recent.as_slice()), ("a.png", &[3][..]));
    assert!((work.per_s - 10.0).abs() < 1.0 && work.left_s.unwrap() < 0.4, "{work:?}");
    assert!((work.p50_ms - 20.0).abs() < 1.0 && (work.p99_ms - 40.0).abs() < 1.0, "{work:?}");
    assert!(seen.memory.resident_bytes > 0 && seen.devices[0].used_bytes == 5);
    drop(publisher);
    assert!(files(&run).is_empty() && running(&run).is_empty());
}

#[test]
fn what_is_over_at_once_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    drop(Publisher::start(&folder.path().join("run"), String::new(), "", || (0, 0, String::new())));
    assert!(files(folder.path()).is_empty());
    assert!(began.elapsed() < Duration::from_millis(250), "the end waits for nothing");
}

#[test]
fn a_folder_that_cannot_be_made_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let publisher = Publisher::start(&file.join("run"), String::new(), "", || (0, 0, String::new()));
    std::thread::sleep(Duration::from_millis(400));
    drop(publisher);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn files_of_the_dead_are_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    let mut child =
        Command::new(std::env::current_exe().unwrap()).arg("--list").stdout(Stdio::null()).spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    let own = std::process::id();
    let text = |id: u32, began: u64| {
        serde_json::to_string(&Snapshot { process_id: id, process_began_s: began, ..Snapshot::default() })
            .unwrap()
    };
    fs::write(run.join(file_name(dead)), text(dead, 1_700_000_000)).unwrap();
    // The number of a process that runs, but began at another time.
    fs::write(run.join(file_name(own)), text(own, 1_000)).unwrap();
    let kept = ["another-host.17.live.json", "notes.txt", "features"];
    kept.iter().for_each(|name| fs::write(run.join(name), text(17, 0)).unwrap());
    assert!(running(run).is_empty());
    let mut left: Vec<_> = files(run).into_iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    left.sort();
    assert_eq!(left, ["another-host.17.live.json", "features", "notes.txt"]);
}

#[test]
fn what_is_no_snapshot_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    let own = run.join(file_name(std::process::id()));
    let deep = "[".repeat(60_000);
    let long = format!("{{\"command\": \"{}\"}}", "x".repeat(70_000));
    for text in [
        "",
        "{",
        "null",
        "[]",
        "{\"process_id\": -1}",
        "{\"work\": {\"recent\": [1e300]}}",
        &deep,
        &long,
        "\u{0}",
    ] {
        fs::write(&own, text).unwrap();
        assert!(running(run).is_empty());
        assert!(!own.exists(), "{}", &text[..text.len().min(40)]);
    }
}
