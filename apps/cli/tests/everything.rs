//! `samovar everything` in a temporary folder.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Bench, iou, is_inside};
use serde_json::Value;

const DISC: (f64, f64, f64) = (90.0, 70.0, 30.0);

fn golden(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens").join(name);
    path.display().to_string()
}

fn annotations(document: &Value) -> &Vec<Value> {
    document["annotations"].as_array().unwrap()
}

/// The pixels of an uncompressed annotation, as the library reads it.
fn mask(annotation: &Value) -> samovar::BitMask {
    let segmentation = &annotation["segmentation"];
    let side = |index: usize| segmentation["size"][index].as_u64().unwrap() as u32;
    let size = samovar::Size::new(side(1), side(0));
    samovar::Rle::from_coco_string(size, segmentation["counts"].as_str().unwrap()).unwrap().to_mask().unwrap()
}

#[test]
fn one_image_becomes_coco_and_an_overlay() {
    let bench = Bench::new();
    bench.picture("photo.png", 200, 120, &[DISC]);
    let run = bench.done(&["everything", "photo.png", "--overlay"]);
    assert!(run.stderr.contains("photo.json") && run.stderr.contains("photo.overlay.png"), "{run:?}");
    assert_eq!(run.stdout, "");
    let document = bench.json("photo.json");
    assert_eq!(
        (&document["images"][0]["width"], &document["images"][0]["height"]),
        (&200.into(), &120.into())
    );
    assert_eq!(document["images"][0]["file_name"], "photo.png");
    assert_eq!(document["info"]["parameters"]["points_per_side"], 16, "nano's own default");
    let truth = samovar::BitMask::from_fn(samovar::Size::new(200, 120), |x, y| is_inside(&DISC, x, y));
    let best =
        annotations(&document).iter().map(|found| mask(found).iou(&truth).unwrap()).fold(0.0, f64::max);
    assert!(best > 0.9, "IoU {best}");
    for found in annotations(&document) {
        let bits = mask(found);
        assert_eq!(found["area"].as_f64().unwrap() as u64, bits.area());
        let [x0, y0, x1, y1] = bits.pixel_bounds().unwrap().map(f64::from);
        assert_eq!(found["bbox"], serde_json::json!([x0, y0, x1 - x0, y1 - y0]));
        for field in ["predicted_iou", "stability_score", "point_coords", "crop_box"] {
            assert!(!found[field].is_null(), "{field}");
        }
    }
    let (overlay, original) = (bench.rgba("photo.overlay.png"), bench.rgba("photo.png"));
    assert_eq!(overlay.dimensions(), (200, 120));
    assert_ne!(overlay, original);
    assert!(iou(&original, &[DISC], |pixel| pixel[0] > 100) > 0.99);
}

#[test]
fn json_is_all_there_is_on_stdout() {
    let bench = Bench::new();
    bench.picture("photo.png", 120, 90, &[(60.0, 40.0, 20.0)]);
    let before = bench.files();
    let run = bench.done(&["everything", "photo.png", "--json", "--points-per-side", "6"]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(!annotations(&document).is_empty());
    assert_eq!(bench.files(), before, "no files without --out");
    bench.done(&["everything", "photo.png", "--json", "--out", "x.json", "--points-per-side", "6"]);
    assert_eq!(annotations(&bench.json("x.json")).len(), annotations(&document).len());
}

/// Same weights and picture as upstream's own run.
#[test]
fn masks_are_upstreams() {
    let bench = Bench::new();
    let (picture, model) = (golden("automatic/shapes.png"), golden("automatic/sam.pth"));
    for name in ["plain", "crops"] {
        let golden: Value =
            serde_json::from_slice(&std::fs::read(golden(&format!("automatic/{name}.json"))).unwrap())
                .unwrap();
        let mut arguments =
            vec!["everything".to_owned(), picture.clone(), "--model".to_owned(), model.clone()];
        for (parameter, value) in golden["settings"].as_object().unwrap() {
            arguments.extend([format!("--{}", parameter.replace('_', "-")), value.to_string()]);
        }
        arguments.extend(["--out".to_owned(), "masks.json".to_owned()]);
        bench.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let (document, expected) = (bench.json("masks.json"), golden["masks"].as_array().unwrap());
        assert_eq!(annotations(&document).len(), expected.len(), "{name}");
        for (ours, theirs) in annotations(&document).iter().zip(expected) {
            assert!(mask(ours).iou(&mask(theirs)).unwrap() > 0.99, "{name}");
            assert_eq!(ours["point_coords"], theirs["point_coords"], "{name}");
        }
    }
}

#[test]
fn a_folder_is_merged_and_resumed() {
    let bench = Bench::new();
    for (index, name) in ["in/a.png", "in/b.png", "in/deep/c.png"].into_iter().enumerate() {
        bench.picture(name, 90 + 10 * index as u32, 80, &[(45.0, 40.0, 20.0)]);
    }
    std::fs::write(bench.path("in/broken.png"), b"\x89PNG\r\n\x1a\nnot really").unwrap();
    let arguments = [
        "everything",
        "in",
        "--recursive",
        "--out",
        "out",
        "--points-per-side",
        "4",
        "--pred-iou-thresh",
        "0.4",
    ];
    let run = bench.run(&arguments);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("broken.png") && run.stderr.contains("1 of 4 images failed"), "{run:?}");
    let merged = bench.json("out/annotations.json");
    let names: Vec<_> =
        merged["images"].as_array().unwrap().iter().map(|image| &image["file_name"]).collect();
    assert_eq!(names, ["a.png", "b.png", "deep/c.png"]);
    let singles =
        ["out/a.json", "out/b.json", "out/deep/c.json"].map(|name| annotations(&bench.json(name)).clone());
    assert_eq!(annotations(&merged).len(), singles.iter().map(Vec::len).sum::<usize>());
    for (index, annotation) in annotations(&merged).iter().enumerate() {
        assert_eq!(annotation["id"], index as u64 + 1, "numbered anew");
    }
    let of_image = |id: u64| annotations(&merged).iter().filter(|found| found["image_id"] == id).count();
    assert_eq!([of_image(1), of_image(2), of_image(3)], singles.each_ref().map(Vec::len));

    // Again: what is there is not done again; what was mended is.
    std::fs::remove_file(bench.path("in/broken.png")).unwrap();
    bench.picture("in/broken.png", 70, 60, &[(35.0, 30.0, 15.0)]);
    let stamp = std::fs::metadata(bench.path("out/a.json")).unwrap().modified().unwrap();
    let run = bench.done(&arguments);
    assert!(run.stderr.contains("1 done") && run.stderr.contains("3 done before"), "{run:?}");
    assert_eq!(std::fs::metadata(bench.path("out/a.json")).unwrap().modified().unwrap(), stamp);
    assert_eq!(bench.json("out/annotations.json")["images"].as_array().unwrap().len(), 4);

    // Other parameters are another run.
    bench.refused(2, "--overwrite", &["everything", "in", "--out", "out", "--points-per-side", "5"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_is_finished() {
    let bench = Bench::new();
    for index in 0..6 {
        bench.picture(&format!("in/{index:02}.png"), 160, 120, &[(80.0, 60.0, 30.0)]);
    }
    let arguments =
        ["everything", "in", "--out", "out", "--points-per-side", "8", "--pred-iou-thresh", "0.2"];
    let done = || (0..6).filter(|index| bench.path(&format!("out/{index:02}.json")).is_file()).count();
    let mut child: Child = bench.command().args(arguments).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while done() == 0 && start.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let finished = done();
    assert!((1..6).contains(&finished), "{finished} finished");
    assert!(
        bench.files().iter().all(|file| !file.display().to_string().ends_with(".tmp")),
        "{:?}",
        bench.files()
    );
    assert_eq!(bench.json("out/annotations.json")["images"].as_array().unwrap().len(), finished);
    bench.done(&arguments);
    assert_eq!(done(), 6);
    assert_eq!(bench.json("out/annotations.json")["images"].as_array().unwrap().len(), 6);
}

#[test]
fn wrong_usage_is_refused_before_any_work() {
    let bench = Bench::new();
    bench.picture("photo.png", 60, 40, &[(30.0, 20.0, 9.0)]);
    bench.picture("in/annotations.png", 60, 40, &[(30.0, 20.0, 9.0)]);
    std::fs::write(bench.path("photo.json"), r#"{"shapes": []}"#).unwrap();
    std::fs::write(bench.path("grids.json"), "[[[0.5, 7]]]").unwrap();
    let cases: [(&str, &[&str]); 10] = [
        ("--overwrite", &["photo.png"]),
        ("pred_iou_thresh", &["photo.png", "--json", "--pred-iou-thresh", "88"]),
        ("points_per_side", &["photo.png", "--json", "--points-per-side", "0"]),
        ("stability_score_offset", &["photo.png", "--json", "--stability-score-offset", "-1"]),
        (
            "leaves no points",
            &["photo.png", "--json", "--crop-n-layers", "2", "--crop-n-points-downscale-factor", "9"],
        ),
        ("point_grids", &["photo.png", "--json", "--point-grids", "grids.json"]),
        ("--point-grids", &["photo.png", "--point-grids", "grids.json", "--points-per-side", "3"]),
        (".json", &["photo.png", "--out", "masks.png"]),
        ("--out DIR", &["in"]),
        ("annotations.json", &["in", "--out", "out"]),
    ];
    for (words, arguments) in cases {
        bench.refused(2, words, &[&["everything"], arguments].concat());
    }
    bench.refused(1, "none.png", &["everything", "none.png"]);
    bench.done(&["everything", "photo.png", "--overwrite", "--points-per-side", "2"]);
    bench.done(&["everything", "photo.png", "--points-per-side", "2"]);
}

#[test]
fn own_points_are_asked() {
    let bench = Bench::new();
    bench.picture("photo.png", 200, 120, &[DISC]);
    std::fs::write(bench.path("grids.json"), "[[[0.45, 0.58]]]").unwrap();
    let run = bench.done(&[
        "everything",
        "photo.png",
        "--json",
        "--point-grids",
        "grids.json",
        "--pred-iou-thresh",
        "0.3",
    ]);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(!annotations(&document).is_empty());
    for found in annotations(&document) {
        assert_eq!(found["point_coords"], serde_json::json!([[90.0, 0.58 * 120.0]]));
    }
}

#[test]
fn help_names_every_parameter() {
    let help = Bench::new().done(&["everything", "--help"]).stdout;
    for parameter in samovar::automatic::PARAMETERS {
        assert!(help.contains(&parameter.name.replace('_', "-")), "{}", parameter.name);
    }
    assert!(help.contains("Example") && help.contains("0.88"), "{help}");
}

#[test]
fn what_is_read_or_foreign_is_not_written() {
    let bench = Bench::new();
    bench.picture("in/a.png", 90, 80, &[(45.0, 40.0, 20.0)]);
    bench.picture("photo.png", 90, 80, &[(45.0, 40.0, 20.0)]);
    let few = ["--points-per-side", "2"];
    let with = |more: &[&'static str]| [&["everything"], more, &few].concat();
    bench.refused(2, "images are taken from", &with(&["in", "--out", "in", "--overlay"]));
    std::fs::copy(bench.path("photo.png"), bench.path("photo.overlay.png")).unwrap();
    bench.refused(2, "photo.overlay.png", &with(&["photo.png", "--overlay"]));
    bench.refused(
        2,
        "is read",
        &with(&["photo.overlay.png", "--overlay", "--overwrite", "--out", "photo.json"]),
    );
    bench.done(&with(&["photo.png", "--overlay", "--overwrite"]));
    for foreign in ["a.json", "annotations.json"] {
        let folder = format!("{foreign}.d");
        std::fs::create_dir(bench.path(&folder)).unwrap();
        std::fs::write(bench.path(&folder).join(foreign), "mine").unwrap();
        bench.refused(2, foreign, &["everything", "in", "--out", &folder]);
        assert_eq!(std::fs::read(bench.path(&folder).join(foreign)).unwrap(), b"mine");
    }
    // A file at the place of a result that could not be made is left out, and left alone.
    std::fs::create_dir(bench.path("out")).unwrap();
    std::fs::write(bench.path("out/broken.json"), "mine").unwrap();
    std::fs::write(bench.path("in/broken.png"), b"\x89PNG\r\n\x1a\nnot really").unwrap();
    let run = bench.run(&with(&["in", "--out", "out", "--overwrite"]));
    assert!(run.code == 1 && run.stderr.contains("1 of 2 images failed"), "{run:?}");
    assert_eq!(bench.json("out/annotations.json")["images"].as_array().unwrap().len(), 1);
    assert_eq!(std::fs::read(bench.path("out/broken.json")).unwrap(), b"mine");
}

#[test]
fn another_precision_is_another_run() {
    let bench = Bench::new();
    bench.picture("in/a.png", 90, 80, &[(45.0, 40.0, 20.0)]);
    let command = ["everything", "in", "--out", "out", "--points-per-side", "2"];
    bench.done(&command);
    bench.refused(2, "other parameters", &[&command[..], &["--dtype", "bf16"]].concat());
    bench.refused(
        2,
        "--point-grids takes",
        &["everything", "in/a.png", "--json", "--point-grids", "none.json"],
    );
}

#[test]
fn a_picture_of_one_pixel_had_13_masks() {
    let bench = Bench::new();
    image::RgbImage::from_pixel(1, 1, image::Rgb([200, 30, 30])).save(bench.path("one.png")).unwrap();
    let run = bench.done(&["everything", "one.png", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(document["annotations"].as_array().unwrap().len() <= 1, "{document}");
}

/// One bit was enough for a folder to be refused for ever, and so was one edited line.
#[test]
fn damaged_records_and_edited_annotations_block_no_folder_and_nothing_is_lost() {
    let bench = Bench::new();
    let add = |name: &str| drop(bench.picture(&format!("in/{name}.png"), 64, 48, &[(30.0, 20.0, 12.0)]));
    ["a", "b", "c"].into_iter().for_each(add);
    let command = ["everything", "in", "--out", "out", "--points-per-side", "2", "--images-at-once", "1"];
    bench.done(&command);
    let whole = bench.json("out/annotations.json");

    // Each line in turn.
    let record = bench.path("out/.samovar-results.jsonl");
    let sound = std::fs::read(&record).unwrap();
    let ends: Vec<usize> = (0..sound.len()).filter(|&at| sound[at] == b'\n').collect();
    let results = || -> Vec<_> { ["a", "b", "c"].map(|name| bench.json(&format!("out/{name}.json"))).into() };
    let before = results();
    for (number, end) in ends.iter().enumerate() {
        let mut damaged = sound.clone();
        damaged[end - 1] ^= 1;
        std::fs::write(&record, damaged).unwrap();
        let said = bench.done(&command).stderr;
        assert!(said.contains(&format!("line {} is damaged", number + 1)), "{said}");
        assert_eq!(results(), before, "line {}", number + 1);
        assert_eq!(bench.json("out/annotations.json"), whole);
        // What nobody knows any more whose it is has another name.
        for kept in bench.files().iter().filter(|file| file.to_string_lossy().contains(".kept-")) {
            assert!(said.contains(&kept.file_name().unwrap().to_string_lossy().into_owned()), "{said}");
            std::fs::remove_file(kept).unwrap();
        }
    }

    std::fs::write(&record, &sound).unwrap();
    bench.done(&command);
    std::fs::write(bench.path("out/annotations.json"), "{\"edited\": true}").unwrap();
    let said = bench.done(&command).stderr;
    assert!(said.contains("they are kept (annotations.json)"), "{said}");
    assert_eq!(bench.json("out/annotations.json")["edited"], true);
    add("d");
    let said = bench.done(&command).stderr;
    assert!(said.contains("annotations.json.kept-1"), "{said}");
    assert_eq!(bench.json("out/annotations.json.kept-1")["edited"], true);
    assert_eq!(bench.json("out/annotations.json")["images"].as_array().unwrap().len(), 4);
    assert!(!bench.done(&command).stderr.contains("kept"));
}
