//! `samovar everything` on the frames of videos and sequences.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Bench, disc_at, is_inside};
use samovar_testkit::has_ffmpeg;
use serde_json::Value;

const FEW: [&str; 4] = ["--points-per-side", "5", "--pred-iou-thresh", "0.4"];

fn annotations(document: &Value) -> Vec<(Value, Value)> {
    let all = document["annotations"].as_array().unwrap();
    all.iter().map(|one| (one["segmentation"].clone(), one["bbox"].clone())).collect()
}

/// IoU of the mask that fits a disc best.
fn best_iou(document: &Value, disc: (f64, f64, f64)) -> f64 {
    let size = samovar::Size::new(200, 120);
    let truth = samovar::BitMask::from_fn(size, |x, y| is_inside(&disc, x, y));
    let mask = |(segmentation, _): &(Value, Value)| {
        samovar::Rle::from_coco_string(size, segmentation["counts"].as_str().unwrap())
            .unwrap()
            .to_mask()
            .unwrap()
    };
    annotations(document).iter().map(|one| mask(one).iou(&truth).unwrap()).fold(0.0, f64::max)
}

#[test]
fn frames_of_a_video_have_the_masks_of_its_pictures_by_their_numbers() {
    if !has_ffmpeg() {
        return;
    }
    let bench = Bench::new();
    bench.clip("clip.mkv", 7);
    let everything = |arguments: &[&str]| bench.done(&[&["everything"], arguments, &FEW].concat());
    let run = everything(&["clip.mkv", "--out", "video"]);
    assert!(run.stderr.contains("7 done"), "{run:?}");
    everything(&["shot", "--out", "pictures"]);
    for index in 0..7 {
        let frame = bench.json(&format!("video/{index:05}.json"));
        let picture = bench.json(&format!("pictures/plate.{}.json", 1001 + index));
        assert_eq!(annotations(&frame), annotations(&picture), "frame {index}");
        assert!(best_iou(&frame, disc_at(index)) > 0.8, "frame {index}");
        assert_eq!(frame["images"][0]["file_name"], format!("{index:05}"));
    }
    assert_eq!(bench.json("video/annotations.json")["images"].as_array().unwrap().len(), 7);
    // The same command does nothing anew, another format is another folder, and a part is a part.
    let again = everything(&["clip.mkv", "--out", "video"]);
    assert!(again.stderr.contains("0 done with 0 masks, 7 done before"), "{again:?}");
    let part =
        ["clip.mkv", "--out", "part", "--start", "1", "--end", "6", "--every-nth", "2", "--max-frames", "2"];
    everything(&[&part[..], &["--format", "labels"]].concat());
    let mut names: Vec<String> = std::fs::read_dir(bench.path("part"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "samovar.json")
        .collect();
    names.sort();
    assert_eq!(
        names.iter().filter(|name| name.ends_with(".png")).collect::<Vec<_>>(),
        ["00001.png", "00003.png"]
    );
}

#[test]
fn a_pattern_and_a_folder_with_a_range_are_sequences() {
    let bench = Bench::new();
    bench.sequence(5);
    let fast = ["--fast-mode", "--pred-iou-thresh", "0.4", "--out"];
    bench.done(
        &[&["everything", "shot/plate.####.png", "--start", "1002", "--max-frames", "2"], &fast[..], &["a"]]
            .concat(),
    );
    bench.done(&[&["everything", "shot", "--every-nth", "4"], &fast[..], &["b"]].concat());
    for name in ["a/1002.json", "a/1003.json", "b/1001.json", "b/1005.json"] {
        let document = bench.json(name);
        assert_eq!(document["info"]["parameters"]["points_per_side"], 8, "half of nano's own");
        assert_eq!(document["images"][0]["file_name"], format!("plate.{}.png", &name[2..6]));
    }
    assert!(!bench.path("a/1001.json").exists() && !bench.path("b/1002.json").exists());
    bench.done(&[
        "everything",
        "shot/plate.1001.png",
        "--fast-mode",
        "--points-per-side",
        "5",
        "--out",
        "c.json",
    ]);
    assert_eq!(bench.json("c.json")["info"]["parameters"]["points_per_side"], 5, "what is given counts");
    bench.refused(2, "is a video, which stands alone", &["everything", "a.mp4", "b.mp4", "--out", "x"]);
    bench.refused(2, "--every-nth", &["everything", "shot/plate.1001.png", "--every-nth", "2", "--out", "x"]);
    bench.refused(2, "folder for their results", &["everything", "shot/plate.####.png"]);
}

#[test]
fn a_damaged_frame_fails_and_the_others_are_done() {
    let bench = Bench::new();
    bench.sequence(5);
    let whole = std::fs::read(bench.path("shot/plate.1003.png")).unwrap();
    std::fs::write(bench.path("shot/plate.1003.png"), &whole[..whole.len() / 2]).unwrap();
    let arguments = [&["everything", "shot/plate.####.png", "--out", "out"], &FEW[..]].concat();
    let run = bench.run(&arguments);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("1 of 5 frames failed; the others are done"), "{run:?}");
    assert!(run.stderr.contains("plate.1003.png"), "{run:?}");
    for frame in [1001, 1002, 1004, 1005] {
        assert!(bench.path(&format!("out/{frame}.json")).is_file(), "{frame}");
    }
    std::fs::write(bench.path("shot/plate.1003.png"), whole).unwrap();
    let mended = bench.done(&arguments);
    assert!(mended.stderr.contains("1 done") && mended.stderr.contains("4 done before"), "{mended:?}");
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    if !has_ffmpeg() {
        return;
    }
    let bench = Bench::new();
    bench.clip("clip.mkv", 12);
    let arguments =
        ["everything", "clip.mkv", "--out", "out", "--points-per-side", "12", "--images-at-once", "1"];
    let mut kills = 0;
    for pause_ms in [150, 300, 600] {
        let mut child = bench.command().args(arguments).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause_ms));
        kills += i32::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(kills > 0, "every run was over before it was killed");
    bench.done(&arguments);
    let all = bench.json("out/annotations.json");
    bench.done(&["everything", "clip.mkv", "--out", "whole", "--points-per-side", "12"]);
    assert_eq!(annotations(&all), annotations(&bench.json("whole/annotations.json")));
}

#[cfg(unix)]
#[test]
fn ctrl_c_on_a_video_keeps_the_frames_that_are_finished_and_the_next_run_goes_on() {
    if !has_ffmpeg() {
        return;
    }
    let bench = Bench::new();
    bench.clip("clip.mkv", 10);
    let points = ["--points-per-side", "10", "--images-at-once", "1"];
    let arguments = [&["everything", "clip.mkv", "--out", "out"], &points[..]].concat();
    let done = || (0..10).filter(|frame| bench.path(&format!("out/{frame:05}.json")).is_file()).count();
    let child = bench.command().args(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while done() == 0 && start.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    let run = common::Run::from(child.wait_with_output().unwrap());
    let finished = done();
    assert!(run.code == 1 && (1..10).contains(&finished), "{finished} finished: {run:?}");
    let words = format!("stopped with {} of 10 frames left; run the same command again", 10 - finished);
    assert!(run.stderr.contains(&words), "{run:?}");
    assert!(bench.files().iter().all(|file| file.extension().is_none_or(|ending| ending != "tmp")));
    assert_eq!(bench.json("out/annotations.json")["images"].as_array().unwrap().len(), finished);
    let on = bench.done(&arguments);
    let words = [format!("{} done with", 10 - finished), format!("{finished} done before")];
    assert!(words.iter().all(|words| on.stderr.contains(words)), "{on:?}");
    bench.done(&[&["everything", "clip.mkv", "--out", "whole"], &points[..]].concat());
    let [stopped, whole] =
        ["out", "whole"].map(|folder| annotations(&bench.json(&format!("{folder}/annotations.json"))));
    assert_eq!(stopped, whole);
}

#[test]
fn a_gap_in_a_sequence_is_named_and_frames_keep_their_numbers() {
    let bench = Bench::new();
    bench.sequence(8);
    for number in [1003, 1004, 1007] {
        std::fs::remove_file(bench.path(&format!("shot/plate.{number}.png"))).unwrap();
    }
    let there = [1001, 1002, 1005, 1006, 1008];
    let gap = "3 frames are missing between 1001 and 1008: 1003 to 1004, 1007";
    let is_as_named = |folder: &str, ending: &str| {
        for number in 1001..=1008 {
            let result = bench.path(&format!("{folder}/{number}.{ending}"));
            assert_eq!(result.is_file(), there.contains(&number), "{}", result.display());
        }
    };
    let track = ["track", "shot/plate.####.png", "--frame", "1001", "--point", "60,60", "--out", "masks"];
    let run = bench.done(&track);
    assert!(run.stderr.contains(gap), "{run:?}");
    is_as_named("masks", "png");
    for number in there {
        let labels = image::open(bench.path(&format!("masks/{number}.png"))).unwrap().to_luma8();
        let (x, y, _) = disc_at(number - 1001);
        assert!(labels.get_pixel(x as u32, y as u32).0[0] > 0, "the disc of frame {number} is where it was");
    }
    let missing =
        bench.run(&[&track[..2], &["--frame", "1004", "--point", "60,60", "--out", "other"]].concat());
    assert!(missing.code != 0 && missing.stderr.contains("1004"), "{missing:?}");
    let run = bench
        .done(&[&["everything", "shot/plate.####.png", "--out", "all", "--fast-mode"], &FEW[2..]].concat());
    assert!(run.stderr.contains(gap), "{run:?}");
    is_as_named("all", "json");
    let every_second = ["everything", "shot", "--every-nth", "2", "--fast-mode", "--out", "second"];
    bench.done(&[&every_second, &FEW[2..]].concat());
    let second = bench.json("second/annotations.json");
    let names: Vec<&str> = second["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["file_name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["plate.1001.png", "plate.1005.png", "plate.1008.png"], "of those there are");
}

#[test]
fn a_file_of_sound_is_called_that() {
    let bench = Bench::new();
    let starts: [(&str, &[u8]); 3] =
        [("a.m4a", b"\0\0\0\x1cftypM4A "), ("a.mp3", b"ID3\x04\0"), ("a.wav", b"RIFF\x24\0\0\0WAVE")];
    for (name, start) in starts {
        std::fs::write(bench.path(name), [start, &[0; 64][..]].concat()).unwrap();
        let words = "this is sound, without pictures; name an image, or a video with pictures in it";
        bench.refused(1, words, &["everything", name, "--out", "e.json"]);
    }
}
