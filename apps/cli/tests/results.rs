//! Results of runs: their names, what is kept of earlier runs, what is not replaced.

mod common;

use common::{Bench, iou};

const DISC: (f64, f64, f64) = (40.0, 50.0, 20.0);
const OTHER: (f64, f64, f64) = (120.0, 50.0, 20.0);

fn pictures(names: &[&str]) -> Bench {
    let bench = Bench::new();
    names.iter().for_each(|name| drop(bench.picture(name, 160, 100, &[DISC, OTHER])));
    bench
}

/// Of the two discs the one that a mask has.
fn holds_left(bench: &Bench, mask: &str) -> bool {
    let mask = bench.rgba(mask);
    let is_on = |pixel: [u8; 4]| pixel[0] > 127;
    let (left, right) = (iou(&mask, &[DISC], is_on), iou(&mask, &[OTHER], is_on));
    assert!(f64::max(left, right) > 0.9, "{left}, {right}");
    left > right
}

#[test]
fn numbered_results_took_the_place_of_those_of_other_images() {
    let bench = pictures(&["imgs/cup.png", "imgs/cup-1.jpg", "imgs/cup-2.png", "imgs/other.png"]);
    std::fs::write(
        bench.path("p.json"),
        r#"{"prompts": [{"image": "cup.png", "box": [20, 30, 60, 70]}, {"image": "cup.png", "box": [100, 30, 140, 70]},
            {"image": "cup-1.jpg", "box": [100, 30, 140, 70]}, {"image": "cup-2.png", "box": [20, 30, 60, 70]},
            {"image": "other.png", "box": [20, 30, 60, 70]}]}"#,
    )
    .unwrap();
    let command = ["segment", "imgs", "--prompts", "p.json", "--separate", "--format", "png", "--out", "out"];
    bench.done(&command);
    let left = ["cup.png-1.png", "cup.png-2.png", "cup-1.jpg.png", "cup-2.png.png", "other.png"]
        .map(|name| holds_left(&bench, &format!("out/{name}")));
    assert_eq!(left, [true, false, false, true, true]);
    assert_eq!(
        std::fs::read_dir(bench.path("out"))
            .unwrap()
            .filter(|file| { !file.as_ref().unwrap().file_name().to_string_lossy().starts_with('.') })
            .count(),
        5
    );
    assert!(bench.done(&command).stderr.contains("4 done before"));
}

#[test]
fn images_of_one_name_have_results_of_their_own() {
    let bench = pictures(&["imgs/a.png", "imgs/a.jpg", "imgs/B.png", "imgs/b.bmp", "x/a.png", "y/a.png"]);
    let point = ["--point", "40,50", "--format", "png", "--out", "out"];
    bench.done(&[&["segment", "imgs"][..], &point].concat());
    for name in ["a.png.png", "a.jpg.png", "B.png.png", "b.bmp.png"] {
        assert!(bench.path(&format!("out/{name}")).is_file(), "{name}");
    }
    let words = "\"x/a.png\" and \"y/a.png\" would both have a result at \"a.png.png\"";
    bench.refused(2, words, &[&["segment", "x", "y"][..], &point[..4], &["--out", "other"]].concat());
    let run = bench.done(&["segment", "x", "y", "--point", "40,50", "--json"]);
    assert!(
        run.stdout.contains("x/a.png") && run.stdout.contains("y/a.png"),
        "nothing is written, nothing clashes"
    );
}

/// The bytes of a result after a run that must succeed.
fn after(bench: &Bench, command: &[&str], result: &str) -> Vec<u8> {
    bench.done(command);
    std::fs::read(bench.path(result)).unwrap()
}

#[test]
fn results_were_kept_although_their_mask_had_changed() {
    let bench = pictures(&["imgs/a.png", "imgs/b.png"]);
    let mask = |name: &str, disc: (f64, f64, f64)| {
        let is_in = |x, y| if common::is_inside(&disc, x, y) { 255 } else { 0 };
        image::GrayImage::from_fn(160, 100, |x, y| image::Luma([is_in(x, y)]))
            .save(bench.path(name))
            .unwrap();
    };
    let command = ["segment", "imgs", "--mask", "m.png", "--format", "png", "--out", "out"];
    mask("m.png", DISC);
    let first = after(&bench, &command, "out/a.png");
    assert!(bench.done(&command).stderr.contains("0 done, 2 done before"));
    mask("m.png", OTHER);
    assert_ne!(after(&bench, &command, "out/a.png"), first);
    assert!(!holds_left(&bench, "out/a.png") && !holds_left(&bench, "out/b.png"));
    // The same for a mask that a prompts file names, and only for the image it belongs to.
    let entries =
        r#"{"prompts": [{"image": "a.png", "mask": "m.png"}, {"image": "b.png", "box": [20, 30, 60, 70]}]}"#;
    std::fs::write(bench.path("p.json"), entries).unwrap();
    let command = ["segment", "imgs", "--prompts", "p.json", "--format", "png", "--out", "other"];
    bench.done(&command);
    mask("m.png", DISC);
    let run = bench.done(&command);
    assert!(
        run.stderr.contains("1 image is done anew") && run.stderr.contains("1 done, 1 done before"),
        "{run:?}"
    );
    assert!(holds_left(&bench, "other/a.png"));
}

#[test]
fn results_were_kept_although_their_prompts_had_changed() {
    let bench = pictures(&["imgs/a.png", "imgs/b.png"]);
    let prompts = |entries: &str| {
        std::fs::write(bench.path("p.json"), format!(r#"{{"prompts": [{entries}]}}"#)).unwrap()
    };
    let (left, right) = (r#""box": [20, 30, 60, 70]}"#, r#""box": [100, 30, 140, 70]}"#);
    let command = ["segment", "imgs", "--prompts", "p.json", "--separate", "--format", "png", "--out", "out"];
    prompts(&format!(
        r#"{{"image": "a.png", {left}, {{"image": "a.png", {right}, {{"image": "b.png", {left}"#
    ));
    bench.done(&command);
    prompts(&format!(r#"{{"image": "a.png", {right}, {{"image": "b.png", {left}"#));
    let run = bench.done(&command);
    assert!(run.stderr.contains("1 done, 1 done before"), "{run:?}");
    assert!(!holds_left(&bench, "out/a.png"));
    assert!(
        !bench.path("out/a-1.png").exists() && !bench.path("out/a-2.png").exists(),
        "nothing says what they were"
    );
    std::fs::copy(bench.path("p.json"), bench.path("q.json")).unwrap();
    let other = ["segment", "imgs", "--prompts", "q.json", "--separate", "--format", "png", "--out", "out"];
    bench.refused(2, "other parameters (prompts)", &other);
}

#[test]
fn results_were_kept_although_image_or_model_had_changed() {
    let bench = pictures(&["imgs/a.png", "imgs/b.png"]);
    let golden =
        |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens").join(name);
    let model = std::fs::read(golden("automatic/sam.pth")).unwrap();
    std::fs::write(bench.path("m.pth"), &model).unwrap();
    let command =
        ["segment", "imgs", "--point", "40,50", "--model", "m.pth", "--format", "png", "--out", "out"];
    bench.done(&command);
    // Read again, the same: nothing to do. Written again, another: all anew.
    std::fs::write(bench.path("m.pth"), &model).unwrap();
    assert!(bench.done(&command).stderr.contains("0 done, 2 done before"));
    // The end of a zip file is the length of its comment, and the comment.
    let mut other = model.clone();
    let end = other.len() - 2;
    other.splice(end.., [1, 0, b'!']);
    std::fs::write(bench.path("m.pth"), &other).unwrap();
    let run = bench.done(&command);
    assert!(
        run.stderr.contains("2 images are done anew") && run.stderr.contains("2 done, 0 done before"),
        "{run:?}"
    );

    // Another picture of the same size in bytes and time.
    let path = bench.path("imgs/a.png");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - 12;
    assert_eq!(&bytes[end + 4..end + 8], b"IEND");
    let chunk = b"\0\0\0\0teSt\0\0\0\0";
    bytes.splice(end..end, *chunk);
    let write = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    };
    write(&bytes);
    bench.done(&command);
    bytes[end + 11] = 1;
    write(&bytes);
    let run = bench.done(&command);
    assert!(run.stderr.contains("1 done, 1 done before"), "{run:?}");
    // A new time alone is no change.
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    assert!(bench.done(&command).stderr.contains("0 done, 2 done before"));
}

#[test]
fn results_were_kept_although_their_points_had_changed() {
    let bench = pictures(&["imgs/a.png"]);
    let command =
        ["everything", "imgs", "--point-grids", "g.json", "--pred-iou-thresh", "0.1", "--out", "out"];
    std::fs::write(bench.path("g.json"), "[[[0.25, 0.5]]]").unwrap();
    let first = after(&bench, &command, "out/a.json");
    let merged = after(&bench, &command, "out/annotations.json");
    std::fs::write(bench.path("g.json"), "[[[0.75, 0.5]]]").unwrap();
    assert_ne!(after(&bench, &command, "out/a.json"), first);
    assert_ne!(std::fs::read(bench.path("out/annotations.json")).unwrap(), merged);
    // What somebody made of the document of all images is not written over.
    std::fs::write(bench.path("out/annotations.json"), "mine").unwrap();
    assert_eq!(after(&bench, &command, "out/annotations.json"), b"mine");
    bench.done(&[&command[..], &["--overwrite"]].concat());
    assert_ne!(std::fs::read(bench.path("out/annotations.json")).unwrap(), b"mine");
}

#[test]
fn a_result_that_was_changed_by_hand_was_written_over() {
    let bench = pictures(&["imgs/a.png", "imgs/b.png"]);
    let command = ["segment", "imgs", "--point", "40,50", "--format", "png", "--out", "out"];
    bench.done(&command);
    let mine = bench.picture("mine.png", 160, 100, &[(80.0, 50.0, 9.0)]);
    std::fs::copy(&mine, bench.path("out/a.png")).unwrap();
    let mine = std::fs::read(mine).unwrap();
    let run = bench.done(&command);
    assert!(
        run.stderr.contains("1 of the results changed since samovar made them; they are kept (a.png)"),
        "{run:?}"
    );
    assert!(run.stderr.contains("0 done, 2 done before"), "{run:?}");
    bench.picture("imgs/a.png", 160, 100, &[OTHER]);
    bench.refused(2, "out/a.png\" was changed since samovar made it", &command);
    assert_eq!(std::fs::read(bench.path("out/a.png")).unwrap(), mine);
    bench.done(&[&command[..], &["--overwrite"]].concat());
    assert_ne!(std::fs::read(bench.path("out/a.png")).unwrap(), mine);
    // A copy of a folder of results is one as well.
    std::fs::create_dir(bench.path("copy")).unwrap();
    for file in std::fs::read_dir(bench.path("out")).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), bench.path("copy").join(file.file_name())).unwrap();
    }
    let copied = ["segment", "imgs", "--point", "40,50", "--format", "png", "--out", "copy"];
    assert!(bench.done(&copied).stderr.contains("0 done, 2 done before, 0 failed"));
}

#[test]
fn results_of_another_folder_of_images_were_taken_for_those_of_this_one() {
    let bench = pictures(&["x/a.png"]);
    bench.picture("y/a.png", 160, 100, &[OTHER]);
    let command =
        |folder: &'static str| ["segment", folder, "--point", "40,50", "--format", "png", "--out", "out"];
    let first = after(&bench, &command("x"), "out/a.png");
    bench.refused(2, "would take its place; choose another folder", &command("y"));
    assert_eq!(std::fs::read(bench.path("out/a.png")).unwrap(), first);
    // A folder that was moved, with an image that was changed then, is the same one.
    std::fs::rename(bench.path("x"), bench.path("z")).unwrap();
    bench.picture("z/a.png", 160, 100, &[(40.0, 50.0, 30.0)]);
    assert!(bench.done(&command("z")).stderr.contains("1 image is done anew"));
}

/// The second is refused; what a kill of the first leaves is in nobody's way.
#[test]
fn two_runs_at_once_mixed_their_results() {
    let names: Vec<String> = (0..12).map(|number| format!("imgs/{number:02}.png")).collect();
    let bench = pictures(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let command =
        ["segment", "imgs", "--box", "20,30,60,70", "--threads", "1", "--format", "png", "--out", "out"];
    let mut first = bench.command().args(command).stderr(std::process::Stdio::null()).spawn().unwrap();
    let start = std::time::Instant::now();
    while !bench.path("out/02.png").exists() && start.elapsed().as_secs() < 100 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for (more, words) in
        [(&[][..], "another run of samovar is at work"), (&["--overwrite"], "at work in this folder")]
    {
        let run = bench.run(&[&command[..], more].concat());
        assert!(run.code == 1 && run.stderr.contains(words), "{run:?}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let run = bench.done(&command);
    assert!(run.stderr.contains("0 failed") && !run.stderr.contains("12 done, 0 done before"), "{run:?}");
    assert!((0..12).all(|number| holds_left(&bench, &format!("out/{number:02}.png"))));
    let other = ["segment", "imgs", "--box", "100,30,140,70", "--format", "png", "--out", "out"];
    bench.refused(2, "other parameters (prompts)", &other);

    // At the same moment: one folder, two runs, one of them refused.
    let spawn = |bounds: &str| {
        let arguments = ["segment", "imgs", "--box", bounds, "--format", "png", "--out", "race"];
        bench.command().args(arguments).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let runs = [spawn("20,30,60,70"), spawn("100,30,140,70")].map(|run| run.wait_with_output().unwrap());
    let codes = runs.each_ref().map(|run| run.status.code().unwrap());
    assert!(codes.iter().filter(|&&code| code == 0).count() == 1, "{codes:?} {runs:?}");
    let left = codes[0] == 0;
    assert!((0..12).all(|number| holds_left(&bench, &format!("race/{number:02}.png")) == left));
}

#[test]
fn a_single_result_took_the_place_of_somebodys_file() {
    let bench = pictures(&["photo.png", "photo.cutout.png", "m-2.png"]);
    let mine = std::fs::read(bench.path("m-2.png")).unwrap();
    let command = ["segment", "photo.png", "--point", "40,50"];
    let with = |more: &[&'static str]| [&command[..], more].concat();
    let words = "\"photo.cutout.png\" is there, and samovar has not made it";
    bench.refused(2, words, &command);
    assert_eq!(std::fs::read(bench.path("photo.cutout.png")).unwrap(), mine);
    bench.refused(2, "m-2.png\" is there", &with(&["--multimask", "--out", "m.png"]));
    // What it made it replaces, by the same prompt or another one, also under another name.
    bench.done(&with(&["--overwrite"]));
    bench.done(&command);
    bench.done(&["segment", "photo.png", "--point", "120,50"]);
    std::fs::rename(bench.path("photo.cutout.png"), bench.path("moved.png")).unwrap();
    bench.done(&with(&["--out", "moved.png"]));
    // A result of a folder is one as well, and the folder keeps what took its place.
    let many = ["segment", "imgs", "--point", "40,50", "--format", "png", "--out", "out"];
    bench.picture("imgs/a.png", 160, 100, &[DISC, OTHER]);
    bench.done(&many);
    bench.done(&["segment", "imgs/a.png", "--point", "120,50", "--format", "png", "--out", "out/a.png"]);
    assert!(bench.done(&many).stderr.contains("they are kept (a.png)") && !holds_left(&bench, "out/a.png"));
    // Not when somebody changed it.
    std::fs::write(bench.path("moved.png"), &mine).unwrap();
    bench.refused(2, "or it was changed since", &with(&["--out", "moved.png"]));
    for format in ["overlay", "rle", "coco", "polygon"] {
        let out = if format == "overlay" { "x.png" } else { "x.json" };
        let command = with(&["--format", format, "--out", out]);
        bench.done(&command);
        bench.done(&command);
        std::fs::remove_file(bench.path(out)).unwrap();
    }
    // A document of COCO is not samovar's for that.
    std::fs::write(bench.path("photo.json"), r#"{"images": [], "annotations": [], "categories": []}"#)
        .unwrap();
    let command = ["everything", "photo.png", "--points-per-side", "2"];
    bench.refused(2, "photo.json\" is there", &command);
    bench.done(&[&command[..], &["--overwrite"]].concat());
    bench.done(&[&command[..], &["--overlay"]].concat());
    bench.done(&[&command[..], &["--overlay"]].concat());
}

#[test]
fn out_minus_wrote_a_file_called_minus() {
    let bench = pictures(&["photo.png", "imgs/a.png"]);
    let segment = ["segment", "photo.png", "--box", "20,30,60,70", "--box", "100,30,140,70", "--out"];
    for format in ["cutout", "png", "overlay", "rle", "coco", "polygon"] {
        let ending = if ["cutout", "png", "overlay"].contains(&format) { "png" } else { "json" };
        let file = format!("{format}.{ending}");
        bench.done(&[&segment[..], &[file.as_str(), "--format", format]].concat());
        let output = bench.command().args(segment).args(["-", "--format", format]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, std::fs::read(bench.path(&file)).unwrap(), "{format}");
    }
    let default = bench.command().args(segment).arg("-").output().unwrap();
    assert_eq!(default.stdout, std::fs::read(bench.path("cutout.png")).unwrap());
    let everything = ["everything", "photo.png", "--points-per-side", "2", "--out"];
    let document = bench.done(&[&everything[..], &["-"]].concat()).stdout;
    bench.done(&[&everything[..], &["e.json"]].concat());
    assert_eq!(document.as_bytes(), std::fs::read(bench.path("e.json")).unwrap());
    let with = |more: &[&'static str]| [&segment[..], &["-"], more].concat();
    bench.refused(2, "these masks are 2", &with(&["--separate"]));
    bench.refused(2, "--json and --out -", &with(&["--json"]));
    bench.refused(2, "--json and --out -", &[&everything[..], &["-", "--json"]].concat());
    bench.refused(2, "the result of one image", &["segment", "imgs", "--point", "40,50", "--out", "-"]);
    bench.refused(2, "the result of one image", &["everything", "imgs", "--out", "-"]);
    bench.refused(2, "./-", &["quantize", "--model", "nano", "--dtype", "f16", "--out", "-"]);
    assert!(!bench.path("-").exists());
}

/// Whoever reads may go at any time; what was to be done is done, and the exit code tells of it.
#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let bench = pictures(&["photo.png", "imgs/a.png"]);
    std::fs::write(bench.path("imgs/broken.png"), b"none").unwrap();
    let point = ["--point", "40,50"];
    let commands: [(i32, Vec<&str>); 12] = [
        (0, vec!["--help"]),
        (0, vec!["segment", "--help"]),
        (0, vec!["models", "list"]),
        (0, vec!["models", "list", "--json"]),
        (0, vec!["plan"]),
        (0, vec!["plan", "--json"]),
        (0, vec!["profile", "--routes"]),
        (0, [&["segment", "photo.png", "--json"][..], &point].concat()),
        (0, [&["segment", "photo.png", "--out", "-"][..], &point].concat()),
        (0, vec!["everything", "photo.png", "--points-per-side", "2", "--json"]),
        (1, [&["segment", "imgs", "--json", "--out", "out"][..], &point].concat()),
        (2, vec!["segment", "photo.png"]),
    ];
    for (code, command) in commands {
        for closed in ["stdout", "stderr", "both"] {
            let piped = std::process::Stdio::piped;
            let mut child = bench.command().args(&command).stdout(piped()).stderr(piped()).spawn().unwrap();
            if closed != "stderr" {
                drop(child.stdout.take());
            }
            if closed != "stdout" {
                drop(child.stderr.take());
            }
            let output = child.wait_with_output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.code() == Some(code) && !words.contains("panicked"),
                "{command:?} {closed}: {output:?}"
            );
        }
    }
    assert!(bench.path("out/a.png").is_file());
}
