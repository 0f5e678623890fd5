//! Folders of images: several at once, parts of them, those that fail or take too long, and what is told of them.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use common::{Bench, Run};
use serde_json::Value;

const DISC: (f64, f64, f64) = (40.0, 50.0, 20.0);
const POINT: [&str; 4] = ["--point", "40,50", "--format", "png"];

fn pictures(count: usize) -> Bench {
    let bench = Bench::new();
    (0..count).for_each(|number| drop(bench.picture(&format!("imgs/{number:03}.png"), 160, 100, &[DISC])));
    bench
}

fn segment(bench: &Bench, more: &[&str]) -> Run {
    bench.run(&[&["segment", "imgs"][..], &POINT, more].concat())
}

fn status(bench: &Bench, folder: &str) -> Value {
    serde_json::from_str(&bench.done(&["job", "status", folder, "--json"]).stdout).unwrap()
}

/// The results in a folder, by name.
fn results(bench: &Bench, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = bench.path(folder);
    let is_result = |file: &PathBuf| {
        file.starts_with(&folder) && !file.file_name().unwrap().to_string_lossy().starts_with('.')
    };
    let files = bench.files().into_iter().filter(is_result);
    files
        .map(|file| (file.strip_prefix(&folder).unwrap().to_owned(), std::fs::read(&file).unwrap()))
        .collect()
}

#[test]
fn the_results_are_the_same_however_many_images_are_under_way() {
    let bench = pictures(7);
    for (folder, more) in [
        ("one", &["--images-at-once", "1"][..]),
        ("five", &["--images-at-once", "5"]),
        ("auto", &[]),
        ("off", &["--no-optimizations"]),
    ] {
        let run = segment(&bench, &[&["--out", folder, "--threads", "4"], more].concat());
        assert!(run.code == 0 && run.stderr.contains("7 done, 0 done before, 0 failed"), "{run:?}");
        assert_eq!(results(&bench, folder).len(), 7);
        assert_eq!(results(&bench, folder), results(&bench, "one"), "{folder}");
    }
    // Documents come in the order of the images, whichever was done first.
    let run = segment(&bench, &["--json", "--images-at-once", "4", "--threads", "4"]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    let names: Vec<&str> =
        document["images"].as_array().unwrap().iter().map(|image| image["image"].as_str().unwrap()).collect();
    assert!(names.len() == 7 && names.is_sorted(), "{names:?}");
}

#[test]
fn parts_of_a_folder_do_not_overlap_and_the_whole_finds_them_done() {
    let bench = pictures(12);
    let everything = |more: &[&str]| {
        let command = ["everything", "imgs", "--out", "out", "--points-per-side", "4"];
        bench.run(&[&command[..], more].concat())
    };
    let mut count = 0;
    for part in ["1/3", "3/3", "2/3"] {
        let run = everything(&["--shard", part]);
        assert_eq!(run.code, 0, "{run:?}");
        let done = results(&bench, "out").len();
        assert!(run.stderr.contains(&format!("{} done with", done - count)), "{part}: {run:?}");
        assert!(run.stderr.contains("0 done before"), "{run:?}");
        count = done;
    }
    assert_eq!(count, 12, "and nothing that is of all images");
    let told = status(&bench, "out");
    assert_eq!(
        (&told["images"], &told["done"], &told["left"]),
        (&12.into(), &12.into(), &0.into()),
        "{told}"
    );
    let run = everything(&[]);
    assert!(run.code == 0 && run.stderr.contains("0 done with 0 masks, 12 done before"), "{run:?}");
    assert_eq!(bench.json("out/annotations.json")["images"].as_array().unwrap().len(), 12);
    bench.refused(2, "--shard", &["segment", "imgs", "--point", "1,1", "--out", "x", "--shard", "4/3"]);
}

#[test]
fn parts_run_at_once_and_keep_the_whole_away() {
    let bench = pictures(40);
    let start = |part: &str| {
        let mut command = bench.command();
        command.args(["segment", "imgs"]).args(POINT).args([
            "--out",
            "out",
            "--threads",
            "1",
            "--shard",
            part,
        ]);
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let parts = [start("1/2"), start("2/2")];
    for part in parts {
        let run = part.wait_with_output().unwrap();
        assert!(run.status.success(), "{run:?}");
    }
    assert_eq!(results(&bench, "out").len(), 40);
    assert!(segment(&bench, &["--out", "out"]).stderr.contains("0 done, 40 done before"));
}

#[test]
fn a_failed_image_is_named_and_tried_again_when_asked_or_when_it_changed() {
    let bench = pictures(3);
    std::fs::write(bench.path("imgs/bad.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    let run = segment(&bench, &["--out", "out"]);
    assert!(run.code == 1 && run.stderr.contains("3 done, 0 done before, 1 failed"), "{run:?}");
    let told = status(&bench, "out");
    assert_eq!((&told["done"], &told["left"], &told["at_work"]), (&3.into(), &0.into(), &false.into()));
    assert!(told["failed"][0]["image"].as_str().unwrap().ends_with("bad.png"), "{told}");
    assert!(!told["failed"][0]["error"].as_str().unwrap().is_empty());
    let words = bench.done(&["job", "status", "out"]).stdout;
    assert!(words.contains("3 of 4 images done (75.0 %), 1 failed") && words.contains("bad.png"), "{words}");
    let run = segment(&bench, &["--out", "out"]);
    assert!(run.code == 1 && run.stderr.contains("1 failed before"), "{run:?}");
    assert!(run.stderr.contains("--retry-failed"), "{run:?}");
    let run = segment(&bench, &["--out", "out", "--retry-failed"]);
    assert!(run.code == 1 && run.stderr.contains("0 done, 3 done before, 1 failed"), "{run:?}");
    bench.picture("imgs/bad.png", 160, 100, &[DISC]);
    let run = segment(&bench, &["--out", "out"]);
    assert!(run.code == 0 && run.stderr.contains("1 done, 3 done before, 0 failed"), "{run:?}");
    assert!(status(&bench, "out")["failed"].as_array().unwrap().is_empty());
    bench.refused(2, "is no folder of results", &["job", "status", "imgs"]);
}

#[test]
fn an_image_that_takes_too_long_is_given_up() {
    let bench = pictures(2);
    bench.picture("imgs/wide.png", 900, 700, &[DISC]);
    let everything = |seconds: &str, more: &[&str]| {
        let command = ["everything", "imgs", "--out", "out", "--points-per-side", "24", "--timeout", seconds];
        bench.run(&[&command[..], more].concat())
    };
    let run = everything("0.000001", &[]);
    assert!(run.code == 1 && run.stderr.contains("given up after 0.000001 s (--timeout)"), "{run:?}");
    assert!(run.stderr.contains("0 done with 0 masks, 0 done before, 3 failed"), "{run:?}");
    // Another limit is no other result.
    let run = everything("600", &["--retry-failed"]);
    assert!(run.code == 0 && run.stderr.contains("3 done with"), "{run:?}");
    for wrong in ["0", "-1", "soon"] {
        let timeout = format!("--timeout={wrong}");
        bench.refused(2, "--timeout", &["segment", "imgs", "--point", "1,1", "--out", "x", &timeout]);
    }
}

#[test]
fn a_job_tells_how_far_it_is_while_it_runs() {
    let bench = pictures(120);
    let mut command = bench.command();
    command.args(["segment", "imgs"]).args(POINT).args(["--out", "out", "--log", "log.jsonl"]);
    let mut run = command.stderr(Stdio::null()).spawn().unwrap();
    // A folder of results is there before the first of them.
    let told = loop {
        assert!(run.try_wait().unwrap().is_none(), "it ended before anything was told of it");
        let asked = bench.run(&["job", "status", "out", "--json"]);
        let told: Value = serde_json::from_str(&asked.stdout).unwrap_or_default();
        if told["done"].as_u64().is_some_and(|done| done >= 3) {
            break told;
        }
    };
    assert_eq!((&told["at_work"], &told["images"]), (&true.into(), &120.into()), "{told}");
    assert!(
        told["images_per_second"].as_f64().unwrap() > 0.0 && told["seconds_left"].as_f64().unwrap() > 0.0
    );
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(status(&bench, "out")["at_work"], false);
    let done = status(&bench, "out")["done"].as_u64().unwrap();
    let again = segment(&bench, &["--out", "out"]);
    let before: u64 =
        again.stderr.split(" done before").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(again.code == 0 && before >= done, "{done}: {again:?}");
    let log = std::fs::read_to_string(bench.path("log.jsonl")).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let items =
        events.filter(|event| event["event"] == "item_done" && event["seconds"].is_f64()).count() as u64;
    assert!(items > 0 && items <= before, "{items}");
}

/// Pictures of other content under the same names, or those of before.
fn change(bench: &Bench, count: usize, at: f64) {
    for number in 0..count {
        bench.picture(&format!("imgs/{number:03}.png"), 160, 100, &[(at, 50.0, 20.0)]);
    }
}

#[test]
fn of_runs_on_all_and_on_parts_the_latest_counts() {
    let bench = pictures(4);
    let run = |more: &[&str]| {
        let run = segment(&bench, &[&["--out", "out"], more].concat());
        assert_eq!(run.code, 0, "{run:?}");
        run.stderr
    };
    assert!(run(&[]).contains("4 done, 0 done before"));
    let first = results(&bench, "out");
    change(&bench, 4, 48.0);
    ["1/2", "2/2"].iter().for_each(|part| drop(run(&["--shard", part])));
    let second = results(&bench, "out");
    assert_ne!(first, second);
    let words = run(&[]);
    assert!(words.contains("0 done, 4 done before") && !words.contains("changed since"), "{words}");
    assert_eq!(status(&bench, "out")["done"], 4);
    // And back, on parts of another number.
    change(&bench, 4, 40.0);
    ["1/3", "2/3", "3/3"].iter().for_each(|part| drop(run(&["--shard", part])));
    assert_eq!(results(&bench, "out"), first);
    change(&bench, 4, 48.0);
    assert!(run(&[]).contains("4 done, 0 done before"));
    assert_eq!(results(&bench, "out"), second);
    // Other parameters on parts, and the same again.
    let other = |part: &str, more: &[&str]| {
        let command =
            ["segment", "imgs", "--point", "120,50", "--format", "png", "--out", "out", "--shard", part];
        let run = bench.run(&[&command[..], more].concat());
        assert_eq!(run.code, 0, "{run:?}");
        run.stderr
    };
    ["1/2", "2/2"].iter().for_each(|part| drop(other(part, &["--overwrite"])));
    for part in ["1/2", "2/2"] {
        assert!(other(part, &[]).contains("0 done, "), "{part}");
    }
}

#[test]
fn a_run_that_was_killed_while_it_did_images_anew_goes_on() {
    let bench = pictures(1);
    let done = |words: &str| {
        let run = segment(&bench, &["--out", "out"]);
        assert!(run.code == 0 && run.stderr.contains(words), "{run:?}");
    };
    let record = bench.path("out/.samovar-results.jsonl");
    done("1 done, 0 done before");
    let (old, was) = (results(&bench, "out"), std::fs::read(&record).unwrap());
    change(&bench, 1, 48.0);
    done("1 done, 0 done before");
    let new = results(&bench, "out");
    // As if it had ended after it had said what it would write, and before, or after, that was in its place.
    let whole = std::fs::read_to_string(&record).unwrap();
    let end = whole.rfind("\"done\":").and_then(|done| whole[..done].rfind('\n')).unwrap();
    assert!(end > was.len());
    for content in [&old, &new] {
        std::fs::write(&record, &whole.as_bytes()[..=end]).unwrap();
        for (name, bytes) in content {
            std::fs::write(bench.path("out").join(name), bytes).unwrap();
        }
        done(if content == &old { "1 done, 0 done before" } else { "0 done, 1 done before" });
        assert_eq!(results(&bench, "out"), new);
    }
    // The picture of before, and the result of after it.
    change(&bench, 1, 40.0);
    std::fs::write(&record, &whole.as_bytes()[..=end]).unwrap();
    done("1 done, 0 done before");
    assert_eq!(results(&bench, "out"), old);
}

#[test]
fn what_is_told_of_a_job_is_of_the_images_that_it_has_now() {
    let bench = pictures(3);
    let counts = |of: (u64, u64, usize)| {
        let told = status(&bench, "out");
        let failed = told["failed"].as_array().unwrap().len();
        assert_eq!((told["done"].as_u64().unwrap(), told["images"].as_u64().unwrap(), failed), of, "{told}");
    };
    segment(&bench, &["--out", "out"]);
    let whole = std::fs::read(bench.path("imgs/001.png")).unwrap();
    std::fs::write(bench.path("imgs/001.png"), b"nothing").unwrap();
    assert_eq!(segment(&bench, &["--out", "out"]).code, 1);
    counts((2, 3, 1));
    std::fs::write(bench.path("imgs/001.png"), whole).unwrap();
    assert_eq!(segment(&bench, &["--out", "out"]).code, 0);
    counts((3, 3, 0));
    std::fs::remove_file(bench.path("imgs/002.png")).unwrap();
    assert_eq!(segment(&bench, &["--out", "out"]).code, 0);
    counts((2, 2, 0));
}

/// What a run leaves in its folder is what it says: here it was moved away, with or without another one in its place, or its
/// record was removed.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_of_results_that_was_moved_or_replaced_ends_the_run() {
    let bench = pictures(150);
    let (out, away) = (bench.path("out"), bench.path("away"));
    let record = out.join(".samovar-results.jsonl");
    let moved = || std::fs::rename(&out, &away).unwrap();
    let replaced = || {
        moved();
        std::fs::create_dir(&out).unwrap();
    };
    let removed = || std::fs::remove_file(&record).unwrap();
    let ways: [(&str, &dyn Fn()); 3] = [("moved", &moved), ("replaced", &replaced), ("removed", &removed)];
    for (name, way) in ways {
        let mut command = bench.command();
        command.args(["segment", "imgs"]).args(POINT).args(["--out", "out"]);
        let mut run = command.stderr(Stdio::piped()).spawn().unwrap();
        while !out.join("001.png").exists() {
            assert!(run.try_wait().unwrap().is_none(), "{name}: it ended before anything was done");
        }
        way();
        let run = Run::from(run.wait_with_output().unwrap());
        assert!(run.code == 1 && run.stderr.contains("was moved, removed or replaced"), "{name}: {run:?}");
        assert!(!run.stderr.contains("results in out"), "{name}: {run:?}");
        assert!(name == "removed" || results(&bench, "out").is_empty(), "{name}: {run:?}");
        assert_eq!(out.exists(), name != "moved", "{name}");
        // What it counted is there, and the next run goes on with it.
        if name != "removed" {
            let _ = std::fs::remove_dir(&out);
            std::fs::rename(&away, &out).unwrap();
        }
        let said = run.stderr.split(" done, ").next().unwrap().rsplit([' ', '\n']).next().unwrap();
        let (said, there): (usize, _) = (said.parse().unwrap(), results(&bench, "out").len());
        assert!(said <= there && 0 < there && there < 150, "{name}: {there} {run:?}");
        let again = segment(&bench, &["--out", "out"]);
        assert!(again.code == 0, "{name}: {again:?}");
        let kept =
            results(&bench, "out").keys().filter(|file| file.to_string_lossy().contains(".kept-")).count();
        assert_eq!((results(&bench, "out").len() - kept, kept > 0), (150, name == "removed"), "{again:?}");
        std::fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_record_that_lost_its_end_or_all_of_it_blocks_no_folder() {
    let bench = pictures(4);
    let first = segment(&bench, &["--out", "out"]);
    assert_eq!(first.code, 0, "{first:?}");
    let (record, made) = (bench.path("out/.samovar-results.jsonl"), results(&bench, "out"));
    let sound = std::fs::read(&record).unwrap();
    for left in [sound.len() / 2, 40, 0] {
        std::fs::write(&record, &sound[..left]).unwrap();
        let run = segment(&bench, &["--out", "out"]);
        assert!(run.code == 0 && (left > 40 || run.stderr.contains("000.png.kept-1")), "{left}: {run:?}");
        let now = results(&bench, "out");
        assert!(made.iter().all(|(name, bytes)| now[name] == *bytes), "{left}");
        for kept in now.keys().filter(|name| !made.contains_key(*name)) {
            std::fs::remove_file(bench.path("out").join(kept)).unwrap();
        }
    }
    // A line that was damaged and found out anew is no matter any more.
    let sound = std::fs::read(&record).unwrap();
    let mut damaged = sound.clone();
    damaged[20] ^= 1;
    std::fs::write(&record, damaged).unwrap();
    let words = bench.done(&["job", "status", "out"]).stdout;
    assert!(words.contains("1 line of the record is damaged"), "{words}");
    assert!(segment(&bench, &["--out", "out"]).stderr.contains("line 1 is damaged"));
    assert!(!segment(&bench, &["--out", "out"]).stderr.contains("damaged"));
    assert_eq!(status(&bench, "out")["damaged_lines"], 0);

    std::fs::write(bench.path("out/.samovar-job.json"), "{\"comm").unwrap();
    bench.refused(2, ".samovar-job.json\" is damaged", &["job", "status", "out"]);
    let command = [&["segment", "imgs"][..], &POINT, &["--out", "out"]].concat();
    bench.refused(2, ".samovar-job.json\" is damaged", &command);
    std::fs::remove_file(bench.path("out/.samovar-job.json")).unwrap();
    let run = segment(&bench, &["--out", "out"]);
    assert!(run.code == 0 && run.stderr.contains("0 done, 4 done before"), "{run:?}");
    bench.refused(2, "no folder of results", &["job", "status", "imgs/000.png"]);
}

#[cfg(unix)]
#[test]
fn a_request_to_end_finishes_the_image_at_hand() {
    let bench = pictures(150);
    let mut command = bench.command();
    command.args(["segment", "imgs"]).args(POINT).args(["--out", "out"]);
    let mut run = command.stderr(Stdio::piped()).spawn().unwrap();
    while !bench.path("out/001.png").exists() {
        assert!(run.try_wait().unwrap().is_none(), "it ended before anything was done");
    }
    let asked = std::process::Command::new("kill").arg(run.id().to_string()).status().unwrap();
    assert!(asked.success());
    let run = Run::from(run.wait_with_output().unwrap());
    assert!(run.code == 1 && run.stderr.contains("stopping after the image at hand"), "{run:?}");
    assert!(run.stderr.contains("images left; run the same command again to go on"), "{run:?}");
    assert!(segment(&bench, &["--out", "out"]).code == 0 && results(&bench, "out").len() == 150);
}
