//! What `samovar track` writes over, and what it leaves alone.

mod common;

use common::Bench;
use serde_json::{Value, json};

/// A file of prompts: one click on frame 1001, of each of these objects.
fn prompts(bench: &Bench, objects: &[u32]) {
    let click = |object: &u32| json!({ "frame": 1001, "object": object, "points": [[60, 60, 1]] });
    let all: Vec<Value> = objects.iter().map(click).collect();
    std::fs::write(bench.path("prompts.json"), json!({ "prompts": all }).to_string()).unwrap();
}

#[test]
fn signals_logits_and_previews_take_the_place_of_nothing_that_track_has_not_made() {
    let bench = Bench::new();
    bench.sequence(2);
    prompts(&bench, &[1]);
    std::fs::write(bench.path("mine.json"), "mine").unwrap();
    std::fs::write(bench.path("mine.mp4"), "mine").unwrap();
    let track = ["track", "shot", "--prompts", "prompts.json", "--format", "rle", "--out", "masks"];
    let with = |more: &[&'static str]| [&track[..], more].concat();
    for flag in ["--signals", "--logits"] {
        bench.refused(2, "read by this command", &with(&[flag, "shot/plate.1002.png"]));
        bench.refused(2, "read by this command", &with(&[flag, "prompts.json"]));
        bench.refused(2, "samovar has not made it", &with(&[flag, "mine.json"]));
        bench.refused(2, "name of a result", &with(&[flag, "masks/1001.json"]));
        bench.refused(2, "name of a result", &with(&[flag, "./masks/.samovar-job.json"]));
        bench.refused(2, "is a folder", &with(&[flag, "shot"]));
    }
    bench.refused(2, "name two files", &with(&["--signals", "one.json", "--logits", "./one.json"]));
    if samovar_testkit::has_ffmpeg() {
        bench.refused(2, "samovar has not made it", &with(&["--preview", "mine.mp4"]));
    }
    // Its own it replaces, as long as nobody has changed it.
    bench.done(&with(&["--signals", "look.json"]));
    bench.done(&with(&["--signals", "look.json"]));
    std::fs::write(bench.path("look.json"), "noted here").unwrap();
    bench.refused(2, "changed since", &with(&["--signals", "look.json"]));
    bench.done(&with(&["--signals", "look.json", "--overwrite"]));
    // The folder of results is made before it is needed.
    let inside = ["track", "shot", "--point", "60,60", "--out", "new", "--signals", "new/look.json"];
    bench.done(&inside);
    bench.done(&inside);
    assert!(bench.json("new/look.json")["signals"].is_array());
    assert!(bench.json("look.json")["signals"].is_array());
}

/// `samovar track` of `prompts.json` into `masks`.
fn track<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["track", "shot", "--prompts", "prompts.json", "--out", "masks"], more].concat()
}

fn told(bench: &Bench, more: &[&str]) -> Value {
    serde_json::from_str(&bench.done(&[&track(more)[..], &["--json"]].concat()).stdout).unwrap()
}

fn bytes(bench: &Bench, name: &str) -> Vec<u8> {
    std::fs::read(bench.path(name)).unwrap()
}

/// Frames from 1001 on by their files, as they are.
fn frames(bench: &Bench, count: i64) -> Vec<Vec<u8>> {
    (1001..1001 + count).map(|frame| bytes(bench, &format!("masks/{frame}.png"))).collect()
}

#[test]
fn results_that_somebody_changed_are_kept_and_said_and_go_aside_where_others_come() {
    let bench = Bench::new();
    bench.sequence(4);
    prompts(&bench, &[1]);
    bench.done(&track(&[]));
    let painted = bytes(&bench, "shot/plate.1001.png");
    std::fs::write(bench.path("masks/1002.png"), &painted).unwrap();
    let again = bench.done(&track(&[]));
    let words = "1 of the results changed since samovar made them; they are kept (1002.png)";
    assert!(again.stderr.contains(words), "{again:?}");
    assert_eq!(bytes(&bench, "masks/1002.png"), painted);
    // Another object: all label maps are others.
    prompts(&bench, &[2]);
    let corrected = bench.done(&track(&[]));
    assert!(corrected.stderr.contains("1002.png.kept-1"), "{corrected:?}");
    assert_eq!(bytes(&bench, "masks/1002.png.kept-1"), painted);
    assert_ne!(bytes(&bench, "masks/1002.png"), painted);
    assert!(!bench.path("masks/1001.png.kept-1").exists(), "nobody has changed that");
    // What somebody put there is as good as changed.
    std::fs::remove_file(bench.path("masks/1003.png")).unwrap();
    std::fs::write(bench.path("masks/1003.png"), "mine").unwrap();
    std::fs::write(bench.path("masks/1004.png"), "mine too").unwrap();
    bench.done(&track(&["--overwrite"]));
    assert_eq!(labels(&bench, "masks/1004.png"), [0, 2], "--overwrite goes ahead");
    std::fs::remove_dir_all(bench.path("masks")).unwrap();
    bench.done(&track(&["--end", "1003"]));
    std::fs::write(bench.path("masks/1004.png"), "mine").unwrap();
    bench.done(&track(&[]));
    assert_eq!(bytes(&bench, "masks/1004.png.kept-1"), b"mine");
}

/// The labels in a map.
fn labels(bench: &Bench, name: &str) -> Vec<u8> {
    let all: std::collections::BTreeSet<u8> = bench.rgba(name).pixels().map(|pixel| pixel[0]).collect();
    all.into_iter().collect()
}

#[test]
fn a_document_of_the_shot_that_somebody_changed_is_kept() {
    let bench = Bench::new();
    bench.sequence(3);
    prompts(&bench, &[1]);
    let coco = ["--format", "coco-video"];
    bench.done(&track(&coco));
    let edited = br#"{"edited": true}"#;
    std::fs::write(bench.path("masks/annotations.json"), edited).unwrap();
    let again = bench.done(&track(&coco));
    assert!(again.stderr.contains("are kept (annotations.json)"), "{again:?}");
    assert_eq!(bytes(&bench, "masks/annotations.json"), edited);
    prompts(&bench, &[1, 2]);
    assert_eq!(told(&bench, &coco)["changed"], json!([]), "object 1 is as it was");
    assert_eq!(bytes(&bench, "masks/annotations.json.kept-1"), edited);
    assert_eq!(bench.json("masks/annotations.json")["annotations"].as_array().unwrap().len(), 2);
    prompts(&bench, &[2]);
    assert_eq!(told(&bench, &coco)["changed"], json!([1001, 1002, 1003]), "object 1 is gone");
    let fewer = told(&bench, &[&coco[..], &["--max-frames", "1"]].concat());
    assert_eq!((&fewer["removed"], &fewer["changed"]), (&json!([1002, 1003]), &json!([])));
}

#[test]
fn what_the_command_does_not_give_any_more_goes_and_comes_again() {
    let bench = Bench::new();
    bench.sequence(6);
    let click = json!({ "prompts": [{ "frame": 1003, "object": 1, "points": [[72, 64, 1]] }] });
    std::fs::write(bench.path("prompts.json"), click.to_string()).unwrap();
    bench.done(&track(&[]));
    let whole = frames(&bench, 6);
    std::fs::write(bench.path("masks/1006.png"), "painted").unwrap();
    let fewer = bench.done(&track(&["--max-frames", "4"]));
    assert!(fewer.stderr.contains("removed: ") && fewer.stderr.contains("frames 1005-1006"), "{fewer:?}");
    assert!(!bench.path("masks/1005.png").exists() && !bench.path("masks/1006.png").exists());
    assert_eq!(bytes(&bench, "masks/1006.png.kept-1"), b"painted");
    let all = told(&bench, &[]);
    assert_eq!((&all["found"], &all["changed"], &all["removed"]), (&json!(0), &json!([]), &json!([])));
    assert_eq!(frames(&bench, 6), whole, "nothing is lost");
    let back = told(&bench, &["--direction", "backward"]);
    assert_eq!(back["removed"], json!([1004, 1005, 1006]));
    assert_eq!(frames(&bench, 3), whole[..3]);
    assert!((1004..=1006).all(|frame| !bench.path(&format!("masks/{frame}.png")).exists()));
    let ahead = told(&bench, &["--direction", "forward"]);
    assert_eq!(ahead["changed"], json!([1001, 1002]), "before the click nothing is known");
    assert_eq!(frames(&bench, 6)[2..], whole[2..]);
}

#[test]
fn an_object_that_is_not_asked_for_any_more_leaves_no_file_in_any_frame() {
    let bench = Bench::new();
    bench.sequence(4);
    prompts(&bench, &[1, 2]);
    let png = ["--format", "png"];
    bench.done(&track(&png));
    std::fs::write(bench.path("masks/2/1002.png"), "painted").unwrap();
    prompts(&bench, &[1]);
    let run = told(&bench, &[&png[..], &["--max-frames", "2"]].concat());
    assert_eq!(run["removed"], json!([1003, 1004]));
    assert_eq!(run["removed_objects"], json!({ "2": [1001, 1002] }));
    let names = |folder: &str| {
        let entries = std::fs::read_dir(bench.path(folder)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names("masks/1"), ["1001.png", "1002.png"]);
    assert_eq!(names("masks/2"), ["1002.png.kept-1"]);
}

#[test]
fn a_frame_that_could_not_be_read_is_told_by_every_run() {
    let bench = Bench::new();
    bench.sequence(5);
    let whole = bytes(&bench, "shot/plate.1003.png");
    std::fs::write(bench.path("shot/plate.1003.png"), &whole[..whole.len() / 2]).unwrap();
    prompts(&bench, &[1]);
    for time in ["first", "second", "third"] {
        let run = bench.run(&track(&["--json"]));
        assert_eq!(run.code, 1, "{time}: {run:?}");
        assert!(run.stderr.contains("1 frame could not be read and has no masks (1003)"), "{time}: {run:?}");
        let unread: Value = serde_json::from_str(&run.stdout).unwrap();
        let unread = unread["unread"].as_object().unwrap().clone();
        assert_eq!(unread.keys().collect::<Vec<_>>(), ["1003"], "{time}");
        assert!(unread["1003"].as_str().unwrap().contains("plate.1003.png"), "{time}: {unread:?}");
        assert!(!bench.path("masks/1003.png").exists() && bench.path("masks/1005.png").exists());
    }
    std::fs::write(bench.path("shot/plate.1003.png"), whole).unwrap();
    assert_eq!(told(&bench, &[])["unread"], json!({}));
    assert_eq!(labels(&bench, "masks/1003.png"), [0, 1]);
}

#[test]
fn a_frame_that_can_be_read_again_and_looks_as_it_did_is_not_written_without_its_objects() {
    let bench = Bench::new();
    bench.sequence(5);
    prompts(&bench, &[1]);
    let (path, whole) = (bench.path("shot/plate.1003.png"), bytes(&bench, "shot/plate.1003.png"));
    let modified = path.metadata().unwrap().modified().unwrap();
    let write = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    };
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 40].fill(0xa5);
    write(&damaged);
    assert_eq!(bench.run(&track(&[])).code, 1);
    write(&whole);
    let run = bench.run(&track(&["--fill-holes", "1"]));
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("failed in an earlier run: frame 1003: "), "{run:?}");
    assert!(!bench.path("masks/1003.png").exists() && bench.path("masks/1004.png").exists());
    std::fs::remove_file(bench.path("masks/.samovar-track")).unwrap();
    bench.done(&track(&["--fill-holes", "1", "--no-overlap"]));
    assert_eq!(labels(&bench, "masks/1003.png"), [0, 1]);
}

#[test]
fn frames_are_told_as_changed_whatever_changed_them_and_objects_are_counted_in_all() {
    let bench = Bench::new();
    bench.sequence(4);
    let twice = json!({ "prompts": [
        { "frame": 1001, "object": 1, "points": [[60, 60, 1]] },
        { "frame": 1002, "object": 2, "box": [42, 38, 90, 86] },
    ] });
    std::fs::write(bench.path("prompts.json"), twice.to_string()).unwrap();
    let png = ["--format", "png"];
    let changed = |more: &[&str]| {
        let run = told(&bench, &[&png[..], more].concat());
        assert_eq!((&run["frames"], &run["objects"][0]["frames"]), (&json!(4), &json!(4)), "{more:?}: {run}");
        run["changed"].clone()
    };
    assert_eq!(changed(&[]), json!([]));
    assert_eq!(changed(&[]), json!([]));
    let apart = changed(&["--no-overlap"]);
    assert_eq!(apart, json!([1001, 1002, 1003, 1004]), "all of them meet");
    assert_eq!(changed(&["--no-overlap"]), json!([]), "told once");
    assert_eq!(changed(&[]), apart, "and back");
    assert_eq!(changed(&["--remove-islands", "100000"]), apart);
    let empty = told(&bench, &[&png[..], &["--remove-islands", "100000"]].concat());
    assert_eq!(empty["objects"][1], json!({ "object": 2, "frames": 4, "visible": 0 }));
    assert_eq!(changed(&["--direction", "forward"]), apart, "of 1001 object 2 is gone");
    let both = bench.done(&track(&png));
    assert!(both.stderr.contains("object 2: seen in 4 of 4 frames"), "{both:?}");
    let again = bench.done(&track(&png));
    assert!(again.stderr.contains("object 2: seen in 4 of 4 frames"), "{again:?}");
}

#[test]
fn a_second_run_in_the_folder_is_refused_as_that_also_before_the_first_result() {
    let bench = Bench::new();
    bench.sequence(2);
    prompts(&bench, &[1]);
    std::fs::create_dir(bench.path("masks")).unwrap();
    for record in [".samovar-track-shown.jsonl", ".samovar-results.jsonl"] {
        let held = std::fs::File::create(bench.path(&format!("masks/{record}"))).unwrap();
        held.lock().unwrap();
        bench.refused(
            1,
            "another run of samovar is at work in this folder of results; wait for its end",
            &track(&[]),
        );
    }
    std::fs::remove_dir_all(bench.path("masks")).unwrap();
    bench.done(&track(&[]));
}

#[cfg(unix)]
#[test]
fn what_a_stopped_correction_changed_is_told_by_the_run_that_ends_it() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};
    let bench = Bench::new();
    bench.sequence(14);
    let click = json!({ "frame": 1001, "object": 1, "points": [[60, 60, 1]] });
    let write = |all: &[Value]| {
        std::fs::write(bench.path("prompts.json"), json!({ "prompts": all }).to_string()).unwrap();
    };
    write(std::slice::from_ref(&click));
    bench.done(&track(&[]));
    let before = frames(&bench, 14);
    write(&[click, json!({ "frame": 1002, "object": 1, "box": [70, 30, 130, 100] })]);
    let mut child = bench.command().args(track(&[])).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while frames(&bench, 4)[2..] == before[2..4] {
        assert!(began.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1), "it was stopped");
    let ended = told(&bench, &[]);
    let after = frames(&bench, 14);
    let differ: Vec<i64> =
        (0..14).filter(|&index| before[index] != after[index]).map(|index| 1001 + index as i64).collect();
    assert!(differ.contains(&1003) && differ.len() > 2, "{differ:?}");
    assert_eq!(ended["changed"], json!(differ));
}
