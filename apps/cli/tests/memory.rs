//! Memory from outside: what the plan says and what the process takes, and budgets kept.
#![cfg(target_os = "linux")]

mod common;

use std::io::Write;
use std::process::Stdio;

use common::{Bench, is_inside};
use samovar_testkit::has_ffmpeg;
use serde_json::Value;
use wait4::Wait4;

/// How a run ended, and the most memory that it had resident.
struct Measured {
    code: i32,
    peak_bytes: u64,
    stderr: String,
}

/// Runs the program and asks the system for its peak.
fn measured(bench: &Bench, arguments: &[&str]) -> Measured {
    let errors = bench.path("stderr.txt");
    let mut command = bench.command();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(std::fs::File::create(&errors).unwrap());
    let end = command.spawn().unwrap().wait4().unwrap();
    let stderr = std::fs::read_to_string(&errors).unwrap();
    std::fs::remove_file(&errors).unwrap();
    Measured { code: end.status.code().unwrap_or(-1), peak_bytes: end.rusage.maxrss, stderr }
}

/// The same of what is decoded by ffmpeg, whose memory the system counts with that of whoever waits for it: asked again and again of the program alone.
fn measured_alone(bench: &Bench, arguments: &[&str]) -> Measured {
    let mut command = bench.command();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_bytes = 0;
    while child.try_wait().unwrap().is_none() {
        let most = std::fs::read_to_string(&status).unwrap_or_default();
        let most = most.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak_bytes =
            most.and_then(|most| most.trim().parse::<u64>().ok()).map_or(peak_bytes, |most| most << 10);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let end = common::Run::from(child.wait_with_output().unwrap());
    Measured { code: end.code, peak_bytes, stderr: end.stderr }
}

fn plan(bench: &Bench, arguments: &[&str]) -> Value {
    let arguments = [&["plan", "--json", "--threads", "2"], arguments].concat();
    serde_json::from_str(&bench.done(&arguments).stdout).unwrap()
}

/// Photographs of several sizes in `photos`, with something to find at 80, 60. They are written row by row: the system counts the
/// most that this process ever had among what those take that it starts.
fn photos(bench: &Bench) {
    std::fs::create_dir_all(bench.path("photos")).unwrap();
    for (name, width, height) in [("a", 320, 240), ("b", 1600, 1200), ("c", 2400, 1800)] {
        let file = std::fs::File::create(bench.path(&format!("photos/{name}.png"))).unwrap();
        let mut encoder = png::Encoder::new(std::io::BufWriter::new(file), width, height);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        let mut rows = writer.stream_writer().unwrap();
        for y in 0..height {
            let pixel = |x| if is_inside(&(80.0, 60.0, 40.0), x, y) { [210, 40, 30] } else { [30, 60, 160] };
            rows.write_all(&(0..width).flat_map(pixel).collect::<Vec<u8>>()).unwrap();
        }
        rows.finish().unwrap();
    }
}

/// The photographs as a pack, each with the disc as its mask.
fn pack(bench: &Bench) {
    let mut pack = std::fs::File::create(bench.path("pictures.segpack")).unwrap();
    pack.write_all(b"SEGPACK1").unwrap();
    let block = |pack: &mut std::fs::File, bytes: &[u8]| {
        pack.write_all(&(bytes.len() as u32).to_le_bytes()).unwrap();
        pack.write_all(bytes).unwrap();
    };
    for (name, width, height) in [("a", 320, 240), ("b", 1600, 1200)] {
        let mut labels = Vec::new();
        let mut encoder = png::Encoder::new(&mut labels, width, height);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header().unwrap();
        let mut rows = writer.stream_writer().unwrap();
        for y in 0..height {
            let label = |x| u8::from(is_inside(&(80.0, 60.0, 40.0), x, y));
            rows.write_all(&(0..width).map(label).collect::<Vec<u8>>()).unwrap();
        }
        rows.finish().unwrap();
        drop(writer);
        let header = format!(
            r#"{{"id":"{name}","src":"discs","w":{width},"h":{height},"layers":[{{"kind":"instances"}}]}}"#
        );
        let picture = std::fs::read(bench.path(&format!("photos/{name}.png"))).unwrap();
        block(&mut pack, header.as_bytes());
        block(&mut pack, &picture);
        pack.write_all(&[1]).unwrap();
        block(&mut pack, &labels);
    }
}

const SEGMENT: [&str; 6] = ["segment", "--point", "80,60", "--format", "png", "--threads"];

#[test]
fn track_takes_what_the_plan_of_a_shot_says_and_refuses_less() {
    let bench = Bench::new();
    photos(&bench);
    std::fs::create_dir(bench.path("shot")).unwrap();
    for number in 0..12 {
        std::fs::copy(bench.path("photos/c.png"), bench.path(&format!("shot/f.{number:04}.png"))).unwrap();
    }
    let shot = "shot/f.####.png";
    let track = |out, memory| {
        let limit = format!("--memory={memory}");
        measured(&bench, &["track", shot, "--point", "80,60", "--threads", "2", "--out", out, &limit])
    };
    let foreseen =
        |memory: &str| plan(&bench, &[shot, memory])["video"]["for"]["label maps, cut-outs"].clone();
    let free = foreseen("--memory=1GB");
    let run = track("free", 1_000_000_000);
    let expected = free["forward_peak_bytes"].as_u64().unwrap();
    let share = run.peak_bytes as f64 / expected as f64;
    // Frames of PNG come slowly, so not all that may be ahead are.
    assert!(run.code == 0 && (0.85..1.0).contains(&share), "{share}: {}", run.stderr);
    let least = free["least_bytes"].as_u64().unwrap();
    let run = track("least", least);
    assert!(run.code == 0 && run.peak_bytes <= least, "{} of {least}: {}", run.peak_bytes, run.stderr);
    let run = track("less", least - 1);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("following objects through frames of 2400x1800 needs"), "{}", run.stderr);
    std::fs::write(bench.path("kept.toml"), "cache = \"on\"\n").unwrap();
    let kept = plan(&bench, &[shot, "--memory=1GB", "--preset", "kept.toml"]);
    let features = 11 * kept["embedding_bytes"].as_u64().unwrap();
    let of_use = &kept["video"]["for"]["label maps, cut-outs"];
    assert_eq!(
        of_use["forward_peak_bytes"].as_u64().unwrap(),
        expected + features,
        "of frames but the first"
    );
    assert_eq!(of_use["least_bytes"].as_u64().unwrap(), least, "features make room");
}

#[test]
fn everything_on_a_video_takes_what_its_plan_says_and_keeps_to_the_least() {
    if !has_ffmpeg() {
        return;
    }
    let bench = Bench::new();
    let made = "-f lavfi -i testsrc=size=1600x900:rate=25 -frames:v 8 -c:v ffv1 -pix_fmt bgr0";
    bench.ffmpeg("clip.mkv", made);
    let with = |points: &str, out: &str, memory: u64| {
        let many =
            ["--points-per-side", points, "--pred-iou-thresh", "0.1", "--stability-score-thresh", "0.1"];
        let memory = format!("--memory={memory}");
        let arguments = [&["everything", "clip.mkv", "--threads", "2", &memory, "--out", out], &many[..]];
        measured_alone(&bench, &arguments.concat())
    };
    let everything = |out: &str, memory: u64| with("4", out, memory);
    let foreseen = |memory: &str| plan(&bench, &["clip.mkv", memory])["video"]["everything"]["masks"].clone();
    let free = foreseen("--memory=1GB");
    let run = everything("free", 1_000_000_000);
    let expected = free["peak_bytes"].as_u64().unwrap();
    let share = run.peak_bytes as f64 / expected as f64;
    assert!(run.code == 0 && (0.75..1.1).contains(&share), "{share} of {expected}: {}", run.stderr);
    let least = free["least_bytes"].as_u64().unwrap();
    let run = everything("least", least);
    assert!(run.code == 0 && run.peak_bytes <= least, "{} of {least}: {}", run.peak_bytes, run.stderr);
    let found = bench.json("least/annotations.json");
    let count = |of: &str| found[of].as_array().unwrap().len();
    assert!(count("images") == 8 && count("annotations") > 20, "{} masks", count("annotations"));
    // As many points as the plan takes for granted: masks of fewer take less.
    let run = with("16", "less", least / 100 * 99);
    assert!(run.code == 1 && run.stderr.contains("--memory "), "{}", run.stderr);
    assert!(!run.stderr.contains("failed"), "refused once, not frame by frame: {}", run.stderr);
}

#[test]
fn plan_and_forecast_are_within_a_tenth_of_the_measured_peak() {
    let bench = Bench::new();
    photos(&bench);
    let segment = [&SEGMENT[..], &["2", "--images-at-once", "1", "--out"]].concat();
    let everything =
        ["everything", "--points-per-side", "4", "--threads", "2", "--images-at-once", "1", "--out"];
    let mut checks = Vec::new();
    for (what, pictures) in [("one", "photos/a.png"), ("large", "photos/c.png"), ("all", "photos")] {
        for (key, command) in [("segment", &segment[..]), ("everything", &everything[..])] {
            let out = if pictures == "photos" {
                format!("{what}-{key}/")
            } else {
                format!("{what}-{key}.{}", if key == "segment" { "png" } else { "json" })
            };
            let arguments = [command, &[&out, pictures]].concat();
            // With room for blocks that are kept, and with the least that is needed.
            let one_by_one = ["--images-at-once", "1"];
            let foreseen = plan(&bench, &[&one_by_one[..], &[pictures]].concat());
            let of_masks = &foreseen["queue"]["for"]["masks"];
            let expected = of_masks[format!("{key}_peak_bytes")].as_u64().unwrap();
            checks.push((format!("{what} {key}"), expected, measured(&bench, &arguments)));
            let largest = if key == "segment" { "largest" } else { "everything_largest" };
            let least = of_masks[largest]["needed_bytes"].as_u64().unwrap();
            let budget = least.to_string();
            let foreseen = plan(&bench, &[&one_by_one[..], &["--memory", &budget, pictures]].concat());
            let expected = foreseen["queue"]["for"]["masks"][format!("{key}_peak_bytes")].as_u64().unwrap();
            let tight = [&arguments[..], &["--overwrite", "--memory", &budget]].concat();
            let found = measured(&bench, &tight);
            assert!(found.peak_bytes <= least, "{what} {key}: {} of {least}", found.peak_bytes);
            checks.push((format!("{what} {key}, least"), expected, found));
        }
    }
    for (what, expected, Measured { code, peak_bytes, stderr }) in checks {
        assert_eq!(code, 0, "{what}: {stderr}");
        let share = peak_bytes as f64 / expected as f64;
        println!("{what}: {expected} expected, {peak_bytes} found: {share:.3}");
        assert!((0.9..1.1).contains(&share), "{what}: {expected} expected, {peak_bytes} found: {share:.3}");
    }
}

/// Who computes beside another is rarely at his peak when the other is.
#[test]
fn of_several_pictures_at_once_the_forecast_is_the_most_they_take() {
    let bench = Bench::new();
    photos(&bench);
    for name in ["d", "e", "f", "g"] {
        std::fs::copy(bench.path("photos/c.png"), bench.path(&format!("photos/{name}.png"))).unwrap();
    }
    let foreseen = plan(&bench, &["photos"]);
    let of_masks = &foreseen["queue"]["for"]["masks"];
    assert_eq!(of_masks["images_at_once"], 2, "as many as threads, of a small model");
    let expected = of_masks["segment_peak_bytes"].as_u64().unwrap();
    let found = measured(&bench, &[&SEGMENT[..], &["2", "--out", "masks", "photos"]].concat());
    let share = found.peak_bytes as f64 / expected as f64;
    assert!(found.code == 0 && (0.75..1.1).contains(&share), "{expected}, {}: {share}", found.peak_bytes);
}

/// Every command that works on pictures, with budgets from what a model takes at least to what is taken where nobody counts: it does the work within
/// the budget, or refuses it before it begins with the budget that would do.
#[test]
fn a_budget_is_kept_by_every_command() {
    let bench = Bench::new();
    photos(&bench);
    pack(&bench);
    let large = "photos/c.png";
    let commands: &[&[&str]] = &[
        &["segment", large, "--point", "80,60", "--format", "overlay", "--out", "o.png", "--overwrite"],
        &["segment", "photos", "--point", "80,60", "--out", "cut", "--overwrite"],
        &["everything", large, "--points-per-side", "4", "--overlay", "--out", "o.json", "--overwrite"],
        &[
            "everything",
            "photos",
            "--points-per-side",
            "2",
            "--format",
            "labels",
            "--out",
            "e",
            "--overwrite",
        ],
        // All masks, as they come: what they take is in no proportion to what is found.
        &[
            "everything",
            large,
            "--points-per-side",
            "8",
            "--pred-iou-thresh",
            "0",
            "--stability-score-thresh",
            "0",
            "--box-nms-thresh",
            "1",
            "--out",
            "all.json",
            "--overwrite",
        ],
        &[
            "everything",
            large,
            "--points-per-side",
            "4",
            "--crop-n-layers",
            "1",
            "--format",
            "cutout",
            "--out",
            "cuts",
            "--overwrite",
        ],
        &["eval", "pictures.segpack", "--clicks", "2"],
        &["doctor", "--images", "photos", "--dtype", "bf16"],
        &["doctor", "--limit", "2"],
        &["profile", large, "--repeat", "1"],
        &[
            "segment",
            "photos",
            "--point",
            "80,60",
            "--multimask",
            "--format",
            "overlay",
            "--out",
            "m",
            "--overwrite",
        ],
        &["bench", "encode", "--repeat", "1"],
        &["bench", "decode", "--repeat", "1"],
        &["plan", "photos"],
    ];
    let mut kept = 0;
    for command in commands {
        for megabytes in [30, 63, 66, 70, 85, 110, 220] {
            let budget = format!("{megabytes}MB");
            let found = measured(&bench, &[command, &["--memory", &budget, "--threads", "2"][..]].concat());
            let what = format!("{command:?} {budget}: {}", found.stderr);
            match found.code {
                0 => {
                    assert!(found.peak_bytes <= megabytes * 1_000_000, "{what}{} taken", found.peak_bytes);
                    kept += 1;
                }
                1 => assert!(found.stderr.contains("--memory "), "{what}"),
                _ => panic!("{what}"),
            }
        }
    }
    assert!(kept > 18, "{kept}");
}

/// The number that a refusal names does, and it is named before the work: `profile` had three, one after its last round, and
/// `eval` one for the first picture and another when a larger one came.
#[test]
fn what_a_refusal_names_is_enough() {
    let bench = Bench::new();
    photos(&bench);
    pack(&bench);
    let commands: &[&[&str]] = &[
        &["segment", "photos/a.png", "--point", "80,60", "--out", "s.png", "--overwrite"],
        &["eval", "pictures.segpack", "--clicks", "1"],
        &["everything", "photos/c.png", "--crop-n-layers", "1", "--out", "e.json", "--overwrite"],
        &["profile", "photos/a.png", "--everything", "--repeat", "3"],
        &["profile", "photos/b.png", "--repeat", "1"],
    ];
    for command in commands {
        let run = |megabytes: u64| {
            let budget = format!("{megabytes}MB");
            measured(&bench, &[command, &["--memory", &budget, "--threads", "2"][..]].concat())
        };
        // The model alone is refused before a pack is read.
        for megabytes in if command[0] == "eval" { [64, 67] } else { [30, 64] } {
            let refused = run(megabytes);
            if refused.code == 0 {
                continue;
            }
            let named = refused
                .stderr
                .split("--memory ")
                .nth(1)
                .and_then(|rest| rest.split_once("MB"))
                .map(|(number, _)| number);
            let named: u64 =
                named.unwrap_or_else(|| panic!("{command:?}: {}", refused.stderr)).parse().unwrap();
            let found = run(named);
            assert_eq!(found.code, 0, "{command:?} {named} MB: {}", found.stderr);
            assert!(found.peak_bytes <= named * 1_000_000, "{command:?} {named}: {}", found.peak_bytes);
        }
    }
}
