//! What is kept from one run to the next, from outside.

mod common;

use std::path::{Path, PathBuf};

use common::Bench;
use serde_json::Value;

const CLICK: [&str; 2] = ["--point", "45,35"];

/// A model in a file, small as it is.
fn model() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/sam1/original.pth").display().to_string()
}

fn segment(bench: &Bench, more: &[&str]) -> Value {
    let model = model();
    let arguments = [&["segment", "photo.png", "--model", &model, "--json"], &CLICK[..], more].concat();
    serde_json::from_str(&bench.done(&arguments).stdout).unwrap()
}

fn stats(bench: &Bench) -> Value {
    serde_json::from_str(&bench.done(&["cache", "stats", "--json"]).stdout).unwrap()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = found.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.flat_map(|path| if path.is_dir() { entries(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

#[test]
fn a_second_run_answers_the_same_and_the_log_tells_hits_and_misses() {
    let bench = Bench::new();
    bench.picture("photo.png", 90, 70, &[(45.0, 35.0, 20.0)]);
    // Old enough for its times to be trusted.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let first = segment(&bench, &["--log", "events.jsonl"]);
    let second = segment(&bench, &["--log", "events.jsonl"]);
    let without = segment(&bench, &["--cache", "off"]);
    let rehashed = segment(&bench, &["--verify"]);
    assert!(first == second && first == without && first == rehashed);
    let log = std::fs::read_to_string(bench.path("events.jsonl")).unwrap();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |event: &str, kind: &str| {
        events.iter().filter(|line| line["event"] == event && line["kind"] == kind).count()
    };
    assert_eq!((count("cache_miss", "files"), count("cache_hit", "files")), (2, 2), "{log}");
    assert_eq!(count("cache_miss", "features") + count("cache_hit", "features"), 2, "{log}");
    let masks = events.iter().filter(|line| line["event"] == "sam_mask_output" && line["as_host"] == 1);
    let devices: Vec<&str> = masks.map(|line| line["device"].as_str().unwrap()).collect();
    assert!(devices.len() == 2 && !devices[0].is_empty(), "{log}");
    assert!(events.iter().all(|line| line["ts"].as_f64().unwrap() > 1.7e9));
    assert_eq!(stats(&bench)["kinds"]["files"]["entries"], 2);
}

#[test]
fn events_are_not_written_into_pictures() {
    let bench = Bench::new();
    let photo = bench.picture("photo.png", 90, 70, &[(45.0, 35.0, 20.0)]);
    let whole = std::fs::read(&photo).unwrap();
    let prompts = bench.path("prompts.json");
    std::fs::write(&prompts, "{}").unwrap();
    for log in ["photo.png", "prompts.json", "-"] {
        bench.refused(2, "this is none", &["segment", "photo.png", "--point", "45,35", "--log", log]);
    }
    assert_eq!(std::fs::read(&prompts).unwrap(), b"{}");
    let one_name = ["segment", "photo.png", "--point", "45,35", "--out", "one.png", "--log", "one.png"];
    bench.refused(2, "or its log", &one_name);
    assert!(!bench.path("one.png").exists());
    assert_eq!(std::fs::read(&photo).unwrap(), whole);
}

/// A full disk lost them without a word.
#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_is_told_of_once_and_the_work_goes_on() {
    let bench = Bench::new();
    (0..3).for_each(|number| drop(bench.picture(&format!("in/{number}.png"), 90, 70, &[(45.0, 35.0, 20.0)])));
    let command =
        ["segment", "in", "--point", "45,35", "--format", "png", "--out", "out", "--log", "/dev/full"];
    let said = bench.done(&command).stderr;
    assert_eq!(said.matches("--log \"/dev/full\": ").count(), 1, "{said}");
    assert!(said.contains("3 done"), "{said}");
}

#[test]
fn another_picture_under_the_same_name_is_another_picture() {
    let bench = Bench::new();
    let photo = bench.picture("photo.png", 90, 70, &[(45.0, 35.0, 20.0)]);
    let time = std::fs::metadata(&photo).unwrap().modified().unwrap();
    let first = segment(&bench, &[]);
    bench.picture("photo.png", 90, 70, &[(30.0, 20.0, 12.0)]);
    std::fs::File::options().write(true).open(&photo).unwrap().set_modified(time).unwrap();
    let second = segment(&bench, &[]);
    assert_ne!(first, second);
    assert_eq!(second, segment(&bench, &["--cache", "off"]));
}

#[test]
fn what_is_kept_can_be_seen_checked_and_cleared() {
    let bench = Bench::new();
    assert_eq!(stats(&bench)["bytes"], 0);
    segment_off(&bench);
    assert!(entries(&bench.path("cache/features")).is_empty(), "--cache off keeps nothing");
    segment(&bench, &[]);
    let kept = entries(&bench.path("cache/features"));
    assert!(!kept.is_empty());
    std::fs::write(&kept[0], b"samovar\x01 and then nothing").unwrap();
    let verified = bench.done(&["cache", "verify", "--json"]).stdout;
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(verified["removed"].as_array().unwrap().len(), 1);
    assert_eq!(verified["sound"].as_u64().unwrap() as usize, kept.len() - 1);
    bench.done(&["cache", "clear", "--unused-for", "1d"]);
    assert_eq!(entries(&bench.path("cache/features")).len(), kept.len() - 1);
    bench.done(&["cache", "clear"]);
    assert!(entries(&bench.path("cache/features")).is_empty());
    bench.refused(2, "as 30d", &["cache", "clear", "--unused-for", "soon"]);
    let mut bad = bench.command();
    bad.env("SAMOVAR_CACHE_SIZE", "much").args(["cache", "stats"]);
    let bad = bad.output().unwrap();
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("SAMOVAR_CACHE_SIZE is `much`"));
}

fn segment_off(bench: &Bench) {
    bench.picture("photo.png", 90, 70, &[(45.0, 35.0, 20.0)]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    segment(bench, &["--cache", "off"]);
}

#[test]
fn pictures_that_come_again_in_a_folder_are_encoded_once_and_nothing_is_left_on_disk() {
    let bench = Bench::new();
    for (name, at) in [("a", 30.0), ("b", 45.0), ("c", 30.0), ("d", 30.0), ("e", 45.0), ("f", 30.0)] {
        bench.picture(&format!("imgs/{name}.png"), 90, 70, &[(at, 35.0, 20.0)]);
    }
    let model = model();
    let one = ["--images-at-once", "1"];
    let command = ["segment", "imgs", "--model", &model, "--format", "png", "--log", "events.jsonl"];
    let command = [&command[..], &one].concat();
    bench.done(&[&command[..], &CLICK, &["--out", "out"]].concat());
    bench.done(&[&command[..], &CLICK, &["--out", "off", "--cache", "off"]].concat());
    for name in ["a", "b", "c", "d", "e", "f"] {
        let result = |folder: &str| std::fs::read(bench.path(&format!("{folder}/{name}.png"))).unwrap();
        assert_eq!(result("out"), result("off"), "{name}");
    }
    let log = std::fs::read_to_string(bench.path("events.jsonl")).unwrap();
    let count = |event: &str| log.lines().filter(|line| line.contains(&format!("\"{event}\""))).count();
    assert_eq!((count("cache_miss"), count("cache_hit")), (2, 4), "{log}");
    assert!(entries(&bench.path("cache/features")).is_empty());
}

#[test]
fn many_processes_share_a_cache_while_one_is_killed_again_and_again() {
    let bench = Bench::new();
    let names: Vec<String> = (0..5).map(|number| format!("{number}.png")).collect();
    for (number, name) in names.iter().enumerate() {
        bench.picture(name, 90, 70, &[(30.0 + 5.0 * number as f64, 35.0, 20.0)]);
    }
    let model = model();
    let command = |name: &str, cache: &str| {
        let mut command = bench.command();
        command
            .args(["segment", name, "--model", &model, "--json", "--cache", cache, "--threads", "1"])
            .args(CLICK);
        command.stderr(std::process::Stdio::null());
        command
    };
    let expected: Vec<Vec<u8>> =
        names.iter().map(|name| command(name, "off").output().unwrap().stdout).collect();
    assert!(expected.iter().all(|document| document.starts_with(b"{")));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (command, names, is_over, bench) = (&command, &names, &is_over, &bench);
        scope.spawn(move || {
            for kill in 0u64.. {
                if is_over.load(std::sync::atomic::Ordering::SeqCst) {
                    return;
                }
                let name = &names[kill as usize % names.len()];
                let mut child = command(name, "on").stdout(std::process::Stdio::null()).spawn().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(2 + kill * 7 % 40));
                let _ = child.kill();
                child.wait().unwrap();
            }
        });
        // All but one of those at work find the cache empty again and again.
        scope.spawn(move || {
            while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                bench.run(&["cache", "clear"]);
                std::thread::sleep(std::time::Duration::from_millis(60));
            }
        });
        let runs: Vec<_> = (0..7)
            .map(|start| {
                let expected = &expected;
                scope.spawn(move || {
                    for step in 0..10 {
                        let number = (start + step) % names.len();
                        let found = command(&names[number], "on").output().unwrap();
                        assert!(
                            found.status.success() && found.stdout == expected[number],
                            "{}",
                            names[number]
                        );
                    }
                })
            })
            .collect();
        let ended: Vec<_> = runs.into_iter().map(|run| run.join()).collect();
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok));
    });
    for (name, expected) in names.iter().zip(&expected) {
        assert!(command(name, "on").output().unwrap().stdout == *expected, "{name}");
    }
    let verified: Value = serde_json::from_str(&bench.done(&["cache", "verify", "--json"]).stdout).unwrap();
    assert_eq!(verified["removed"].as_array().unwrap().len(), 0, "{verified}");
}

/// Whoever opened the pipe waited for ever, and `verify` did not see it.
#[cfg(unix)]
#[test]
fn pipes_and_folders_in_the_place_of_entries_stop_no_work_and_are_removed() {
    let bench = Bench::new();
    bench.picture("photo.png", 90, 70, &[(45.0, 35.0, 20.0)]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let first = segment(&bench, &[]);
    let ending = |path: &PathBuf| path.extension().is_some_and(|end| end == "entry");
    let all: Vec<PathBuf> = entries(&bench.path("cache/features")).into_iter().filter(ending).collect();
    assert!(all.len() >= 2, "{all:?}");
    let put = |is_pipe: bool| {
        for entry in &all {
            let _ = std::fs::remove_file(entry);
            match is_pipe {
                true => assert!(std::process::Command::new("mkfifo").arg(entry).status().unwrap().success()),
                false => std::fs::create_dir_all(entry.join("within")).unwrap(),
            }
        }
    };
    for is_pipe in [true, false] {
        put(is_pipe);
        assert_eq!(segment(&bench, &[]), first);
        assert!(all.iter().all(|entry| entry.is_file()), "they are made anew");
        put(is_pipe);
        assert!(stats(&bench)["kinds"].as_object().unwrap().is_empty());
        let said = bench.done(&["cache", "verify"]).stdout;
        assert!(
            all.iter().all(|entry| said.contains(&format!("removed \"{}\": no file", entry.display()))),
            "{said}"
        );
        assert!(said.contains(&format!("0 entries are sound, 0 B; removed {}", all.len())), "{said}");
        assert!(all.iter().all(|entry| entry.symlink_metadata().is_err()));
    }
}
