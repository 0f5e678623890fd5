//! `samovar track` on videos and plates as they come: bad input, previews, linear light.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Bench, disc_at, iou};
use samovar_testkit::has_ffmpeg;

/// IoU of a label map of frame `index` with the disc there.
fn followed(bench: &Bench, file: &str, index: usize) -> f64 {
    iou(&bench.rgba(file), &[disc_at(index)], |pixel| pixel[0] == 1)
}

/// What ffprobe says of the packets' times of a video, in order.
fn times(path: &Path) -> Vec<f64> {
    let probe = ["-v", "error", "-show_entries", "frame=pts_time", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(probe).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| line.trim_matches(',')).filter(|line| !line.is_empty());
    lines.map(|line| line.parse().unwrap()).collect()
}

const CLICK: [&str; 2] = ["--point", "60,60"];

#[test]
fn a_preview_has_the_frames_in_order_at_their_times_whichever_way_they_were_followed() {
    if !has_ffmpeg() {
        return;
    }
    let bench = Bench::new();
    bench.clip("clip.mkv", 6);
    let back = ["--point", "90,70", "--frame", "5", "--direction", "backward", "--out", "back"];
    for (name, arguments) in [("ahead.mp4", &["--point", "60,60", "--out", "ahead"][..]), ("back.mp4", &back)]
    {
        let run = bench.done(&[&["track", "clip.mkv", "--preview", name], arguments].concat());
        assert!(run.stderr.contains(name), "{run:?}");
        let found = times(&bench.path(name));
        assert_eq!(found.len(), 6, "{found:?}");
        for (index, time) in found.iter().enumerate() {
            assert!((time - index as f64 / 25.0).abs() < 2e-3, "{name}: {found:?}");
        }
        bench
            .ffmpeg("last.png", &format!("-i {name} -vf select=eq(n\\,5) -fps_mode passthrough -frames:v 1"));
        let (shown, plate) = (bench.rgba("last.png"), bench.rgba("shot/plate.1006.png"));
        let (x, y, _) = disc_at(5);
        let [inside, before] = [&shown, &plate].map(|picture| *picture.get_pixel(x as u32, y as u32));
        assert!(
            inside.0.iter().zip(before.0).any(|(a, b)| a.abs_diff(b) > 20),
            "{name}: the last frame is drawn on"
        );
        let corner = |picture: &image::RgbaImage| picture.get_pixel(195, 5).0;
        assert!(corner(&shown).iter().zip(corner(&plate)).all(|(a, b)| a.abs_diff(b) < 16), "colours stay");
    }
    // Again, from what is known; and what somebody else made stays.
    let again = bench
        .done(&[&["track", "clip.mkv", "--preview", "ahead.mp4", "--out", "ahead"], &CLICK[..]].concat());
    assert!(again.stderr.contains(" 0 with new masks"), "{again:?}");
    std::fs::write(bench.path("mine.mp4"), "mine").unwrap();
    bench.refused(
        2,
        "mine.mp4",
        &[&["track", "clip.mkv", "--preview", "mine.mp4", "--out", "x"], &CLICK[..]].concat(),
    );
    bench.refused(
        2,
        ".mp4",
        &[&["track", "clip.mkv", "--preview", "a.avi", "--out", "x"], &CLICK[..]].concat(),
    );
}

#[test]
fn varying_rates_odd_sides_turned_phones_and_10_bits_are_followed_and_previewed() {
    if !has_ffmpeg() {
        return;
    }
    let bench = Bench::new();
    bench.sequence(6);
    let source = "-framerate 25 -start_number 1001 -i shot/plate.%04d.png";
    // The fourth frame comes half a second late.
    bench.ffmpeg("vfr.mkv", &format!("{source} -vf setpts=PTS+gte(N\\,3)*0.48/TB -fps_mode vfr -enc_time_base -1 -c:v ffv1 -pix_fmt bgr0"));
    bench.ffmpeg("odd.mkv", &format!("{source} -vf crop=199:119:0:0 -c:v ffv1 -pix_fmt bgr0"));
    bench.ffmpeg("ten.mkv", &format!("{source} -c:v ffv1 -pix_fmt yuv444p10le"));
    bench.ffmpeg("flat.mp4", &format!("{source} -vf transpose=1 -c:v mpeg4 -q:v 2"));
    bench.ffmpeg("phone.mp4", "-i flat.mp4 -c copy -metadata:s:v:0 rotate=90");
    for name in ["vfr.mkv", "odd.mkv", "ten.mkv", "phone.mp4"] {
        let out = format!("out-{name}");
        let preview = format!("preview-{name}.mp4");
        let run = bench.done(&[&["track", name, "--out", &out, "--preview", &preview], &CLICK[..]].concat());
        assert_eq!(run.stderr.contains("note: the preview is 200x120: "), name == "odd.mkv", "{run:?}");
        let (width, height) = bench.rgba(&format!("{out}/00005.png")).dimensions();
        assert_eq!((width, height), if name == "odd.mkv" { (199, 119) } else { (200, 120) }, "{name}");
        let found = times(&bench.path(&preview));
        assert_eq!(found.len(), 6, "{name}");
        if name == "vfr.mkv" {
            assert!((found[3] - found[2] - 0.52).abs() < 3e-3, "{found:?}");
        }
        if name == "odd.mkv" {
            continue;
        }
        for index in [0, 5] {
            let iou = followed(&bench, &format!("{out}/{index:05}.png"), index);
            assert!(iou > 0.75, "{name}, frame {index}: {iou}");
        }
    }
}

#[test]
fn a_damaged_frame_of_a_sequence_has_no_masks_and_the_others_do() {
    let bench = Bench::new();
    bench.sequence(8);
    let path = bench.path("shot/plate.1004.png");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let track = ["track", "shot", "--point", "60,60", "--frame", "1001", "--out", "masks"];
    let run = bench.run(&track);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("plate.1004.png\": frame 1004: "), "{run:?}");
    assert!(
        run.stderr.contains("1 frame could not be read and has no masks (1004); the others are done"),
        "{run:?}"
    );
    assert!(!bench.path("masks/1004.png").exists());
    for index in [0, 2, 4, 7] {
        assert!(followed(&bench, &format!("masks/{}.png", 1001 + index), index) > 0.75, "frame {index}");
    }
    // Both ways go on behind it, too; a prompt cannot be on it.
    let back =
        bench.run(&["track", "shot", "--point", "90,70", "--frame", "1006", "--out", "back", "--json"]);
    assert_eq!(back.code, 1, "{back:?}");
    let document: serde_json::Value = serde_json::from_str(&back.stdout).unwrap();
    assert!(document["unread"]["1004"].is_string() && document["frames"] == 7, "{document}");
    assert!(followed(&bench, "back/1001.png", 0) > 0.75);
    let on_it = bench.run(&["track", "shot", "--point", "60,60", "--frame", "1004", "--out", "on"]);
    assert!(on_it.code == 1 && on_it.stderr.contains("frame 1004"), "{on_it:?}");
    std::fs::write(&path, whole).unwrap();
    bench.done(&[&track[..], &["--overwrite"]].concat());
    assert!(bench.path("masks/1004.png").exists());
}

#[test]
fn a_video_that_is_damaged_in_the_middle_goes_on_behind_the_damage() {
    if !has_ffmpeg() {
        return;
    }
    let bench = Bench::new();
    bench.sequence(12);
    bench.ffmpeg(
        "clip.avi",
        "-framerate 25 -start_number 1001 -i shot/plate.%04d.png -c:v png -pix_fmt rgb24",
    );
    let mut bytes = std::fs::read(bench.path("clip.avi")).unwrap();
    // The sixth picture's data, behind its header.
    let starts: Vec<usize> = (0..bytes.len() - 8).filter(|&at| bytes[at..].starts_with(b"IDAT")).collect();
    let at = starts[5] + 4;
    bytes[at..at + 60].fill(0x55);
    std::fs::write(bench.path("clip.avi"), bytes).unwrap();
    let run = bench.run(&[&["track", "clip.avi", "--out", "masks"], &CLICK[..]].concat());
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr.contains("frame 5 (0.20 s) of the video is not good")
            && run.stderr.contains("the others are done"),
        "{run:?}"
    );
    let done = std::fs::read_dir(bench.path("masks"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".png"));
    // The data before the damaged one may be damaged at its end.
    assert!(done.count() >= 10 && !bench.path("masks/00005.png").exists(), "{run:?}");
    for number in [3, 6] {
        assert!(followed(&bench, &format!("masks/{number:05}.png"), number) > 0.75, "{run:?}");
    }
}

#[test]
fn what_is_no_video_is_said_and_nothing_is_written() {
    let bench = Bench::new();
    bench.sequence(1);
    if has_ffmpeg() {
        bench.ffmpeg("sound.m4a", "-f lavfi -i sine=duration=1");
        std::fs::copy(bench.path("sound.m4a"), bench.path("sound.mp4")).unwrap();
        bench.refused(1, "no video in this file", &["everything", "sound.mp4", "--out", "x"]);
        bench.ffmpeg("none.mkv", "-f lavfi -i color=size=64x48:rate=25 -frames:v 0 -c:v ffv1");
        let none = bench.run(&[&["track", "none.mkv", "--out", "x"], &CLICK[..]].concat());
        assert!(none.code == 1 && !none.stderr.contains("panicked"), "{none:?}");
        std::fs::write(bench.path("cut.mp4"), b"\0\0\0\x18ftypmp42").unwrap();
        bench.refused(
            1,
            "ffmpeg cannot read it",
            &[&["track", "cut.mp4", "--out", "x"], &CLICK[..]].concat(),
        );
    }
    // Without ffmpeg, sequences go on and videos say what is missing.
    std::fs::create_dir(bench.path("empty")).unwrap();
    let without = |arguments: &[&str]| {
        let mut command = bench.command();
        command.args(arguments).env("PATH", bench.path("empty"));
        common::Run::from(command.output().unwrap())
    };
    std::fs::write(bench.path("clip.mp4"), "video").unwrap();
    for arguments in [
        &["track", "clip.mp4", "--point", "60,60", "--out", "x"][..],
        &["everything", "clip.mp4", "--out", "x"],
    ] {
        let run = without(arguments);
        assert!(run.code == 1 && run.stderr.contains("apt install ffmpeg"), "{run:?}");
    }
    let preview = without(&["track", "shot", "--point", "60,60", "--out", "x", "--preview", "a.mp4"]);
    assert!(preview.code == 2 && preview.stderr.contains("apt install ffmpeg"), "{preview:?}");
    assert_eq!(without(&["track", "shot", "--point", "60,60", "--out", "x"]).code, 0);
}

/// Where files can be limited in size, as on a full disk; results that were finished before are whole.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_with_whole_files() {
    if !has_ffmpeg() {
        return;
    }
    let bench = Bench::new();
    bench.clip("clip.mkv", 10);
    let binary = env!("CARGO_BIN_EXE_samovar");
    // Files of more than 16 KiB cannot be written: the record of what was found grows beyond.
    let limited = |blocks: u32, arguments: &str| {
        let script = format!("ulimit -f {blocks}; exec {binary} {arguments}");
        let mut command = Command::new("bash");
        command.current_dir(bench.path("")).env("SAMOVAR_CACHE", bench.path("cache")).arg("-c").arg(script);
        common::Run::from(command.output().unwrap())
    };
    let run = limited(16, "track clip.mkv --point 60,60 --out masks");
    assert_eq!(run.code, 1, "{run:?}");
    assert!(!run.stderr.contains("panicked") && run.stderr.starts_with("error: "), "{run:?}");
    for entry in std::fs::read_dir(bench.path("masks")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "png") {
            image::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
    bench.done(&[&["track", "clip.mkv", "--out", "masks"], &CLICK[..]].concat());
    // The preview alone does not fit: results are there, and no part of it is.
    let run = limited(1, "track clip.mkv --point 60,60 --out masks --preview look.mp4");
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("look.mp4"), "{run:?}");
    assert!(!bench.path("look.mp4").exists());
    assert!(followed(&bench, "masks/00009.png", 9) > 0.7);
}

/// Kills the children of a process that are called so, once there are any.
#[cfg(target_os = "linux")]
fn kill_children(parent: u32, name: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
            let of_parent = rest.split(' ').nth(1) == Some(&parent.to_string());
            if of_parent && head.ends_with(&format!("({name}")) {
                let id = entry.file_name().into_string().unwrap();
                return Command::new("kill").args(["-9", &id]).status().unwrap().success();
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_ffmpeg_is_said_and_finished_frames_are_safe() {
    if !has_ffmpeg() {
        return;
    }
    let bench = Bench::new();
    // Long enough that it is still at work.
    bench.ffmpeg("long.mp4", "-f lavfi -i testsrc=size=1280x720:rate=25 -frames:v 3000 -c:v mpeg4");
    let arguments = ["track", "long.mp4", "--point", "300,300", "--out", "masks", "--direction", "forward"];
    let child =
        bench.command().args(arguments).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !bench.path("masks/00002.png").exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(kill_children(child.id(), "ffmpeg"), "no ffmpeg was found");
    let run = common::Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr.contains("ffmpeg was killed") && run.stderr.contains("frames before it are good"),
        "{run:?}"
    );
    for index in 0..3 {
        image::open(bench.path(&format!("masks/{index:05}.png"))).unwrap();
    }
}

/// The plates of [`Bench::sequence`] as floating point, linear light: OpenEXR by ffmpeg and TIFF.
#[test]
fn linear_plates_are_followed_as_their_pictures_are_and_said() {
    if !has_ffmpeg() {
        return;
    }
    let bench = Bench::new();
    bench.sequence(4);
    for folder in ["exr", "tif"] {
        std::fs::create_dir(bench.path(folder)).unwrap();
    }
    for index in 0..4 {
        let plate = image::open(bench.path(&format!("shot/plate.{}.png", 1001 + index))).unwrap().to_rgb8();
        let linear = |value: u8| {
            let value = f32::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let light =
            image::Rgb32FImage::from_fn(200, 120, |x, y| image::Rgb(plate.get_pixel(x, y).0.map(linear)));
        image::DynamicImage::ImageRgb32F(light)
            .save(bench.path(&format!("tif/plate.{}.tif", 1001 + index)))
            .unwrap();
    }
    bench.ffmpeg(
        "exr/plate.%d.exr",
        "-start_number 1001 -i shot/plate.%d.png -pix_fmt gbrpf32le -start_number 1001",
    );
    let track = |frames: &str, out: &str, space: &[&str]| {
        bench.done(&[&["track", frames, "--out", out], &CLICK[..], space].concat()).stderr
    };
    track("shot", "png", &[]);
    let said = track("tif/plate.####.tif", "linear", &[]);
    assert!(said.contains("frames are linear light, shown as sRGB"), "{said}");
    // ffmpeg writes the values of a screen, so they are no light.
    let said = track("exr/plate.####.exr", "screen", &["--colorspace", "srgb"]);
    assert!(said.contains("frames are taken as sRGB"), "{said}");
    for frame in 1001..=1004 {
        let name = format!("{frame}.png");
        let [png, linear, screen] = ["png", "linear", "screen"]
            .map(|folder| std::fs::read(bench.path(&format!("{folder}/{name}"))).unwrap());
        assert!(png == linear && png == screen, "{name}");
    }
    let said = track("exr/plate.%04d.exr", "log", &["--colorspace", "logc3"]);
    assert!(said.contains("logc3 (ARRI LogC3"), "{said}");
    // A single picture, and the frames of a video in a camera's space.
    for (picture, out) in [("exr/plate.1001.exr", "a.png"), ("shot/plate.1001.png", "b.png")] {
        bench.done(&[
            "segment",
            picture,
            "--point",
            "60,60",
            "--format",
            "png",
            "--colorspace",
            "srgb",
            "--out",
            out,
        ]);
    }
    assert_eq!(std::fs::read(bench.path("a.png")).unwrap(), std::fs::read(bench.path("b.png")).unwrap());
    let note = bench.done(&["segment", "exr/plate.1001.exr", "--point", "60,60", "--out", "c.png"]).stderr;
    assert!(note.contains("its values are linear light: shown as sRGB"), "{note}");
    bench.clip("clip.mkv", 2);
    let everything = [
        "everything",
        "clip.mkv",
        "--fast-mode",
        "--format",
        "overlay",
        "--out",
        "over",
        "--colorspace",
        "slog3",
    ];
    assert!(bench.done(&everything).stderr.contains("slog3 (Sony S-Log3"));
    assert_ne!(
        bench.rgba("over/00000.png").get_pixel(195, 5),
        bench.rgba("shot/plate.1001.png").get_pixel(195, 5)
    );
}
