//! `samovar pipeline` in a temporary folder: the tiny D-FINE of the goldens in front of nano.

mod common;

use std::path::{Path, PathBuf};

use common::Bench;
use serde_json::Value;

/// The folder of the tiny detector, whose picture has eight detections over 0.5.
fn golden(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/dfine/s").join(name);
    path.display().to_string()
}

const FOUND: usize = 8;

fn bench(pictures: &[&str]) -> Bench {
    let bench = Bench::new();
    for name in pictures {
        std::fs::create_dir_all(bench.path(name).parent().unwrap()).unwrap();
        std::fs::copy(golden("picture.png"), bench.path(name)).unwrap();
    }
    bench
}

fn annotations(document: &Value) -> &Vec<Value> {
    document["annotations"].as_array().unwrap()
}

#[test]
fn a_picture_becomes_coco_with_the_detectors_classes() {
    let bench = bench(&["photo.png"]);
    let detector = golden("");
    let run = bench.done(&[
        "pipeline",
        "photo.png",
        "--detector",
        &detector,
        "--out",
        "out",
        "--overlay",
        "--json",
    ]);
    let said: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&said["objects"], &said["done"]), (&FOUND.into(), &1.into()), "{said}");
    let objects = said["images"][0]["objects"].as_array().unwrap();
    assert_eq!(objects.len(), FOUND);
    assert!(said["images"][0]["seconds"]["detect"].as_f64().unwrap() > 0.0);
    let document = bench.json("out/photo.json");
    assert_eq!(document["info"]["threshold"], 0.5);
    let categories: Vec<&str> =
        document["categories"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(categories, ["person", "bicycle", "car", "cat", "dog", "traffic light", "toothbrush"]);
    let scores: Vec<f64> = annotations(&document).iter().map(|one| one["score"].as_f64().unwrap()).collect();
    assert!(scores.len() == FOUND && scores.iter().all(|&score| score > 0.5));
    assert!(scores.is_sorted_by(|a, b| a >= b), "the best first");
    for (one, object) in annotations(&document).iter().zip(objects) {
        let name = categories[one["category_id"].as_u64().unwrap() as usize - 1];
        assert_eq!(object["label"], name);
        let corner = |index: usize| object["box"][index].as_f64().unwrap();
        let expected = [corner(0), corner(1), corner(2) - corner(0), corner(3) - corner(1)];
        for (found, expected) in one["detection_box"].as_array().unwrap().iter().zip(expected) {
            assert!((found.as_f64().unwrap() - expected).abs() < 1e-9);
        }
        assert!(one["predicted_iou"].as_f64().is_some() && one["area"].as_f64().is_some());
    }
    assert!(bench.path("out/photo.overlay.png").is_file());
    assert_eq!(annotations(&bench.json("out/annotations.json")).len(), FOUND);
}

#[test]
fn labels_and_threshold_choose() {
    let bench = bench(&["photo.png"]);
    let detector = golden("");
    let counted = |arguments: &[&str], out: &str| {
        let all = [&["pipeline", "photo.png", "--detector", detector.as_str(), "--out", out][..], arguments]
            .concat();
        bench.done(&all);
        let document = bench.json(&format!("{out}/photo.json"));
        let categories = document["categories"].as_array().unwrap().len();
        (annotations(&document).len(), categories)
    };
    let document = {
        counted(&[], "all");
        bench.json("all/photo.json")
    };
    let of_class = |id: u64| annotations(&document).iter().filter(|one| one["category_id"] == id).count();
    let some: Vec<u64> = (1..=7).filter(|&id| of_class(id) > 0).collect();
    let name = |id: u64| document["categories"][id as usize - 1]["name"].as_str().unwrap().to_owned();
    let first = name(some[0]);
    assert_eq!(counted(&["--labels", &first], "one"), (of_class(some[0]), 1));
    let middle = annotations(&document)[FOUND / 2]["score"].as_f64().unwrap().to_string();
    let (few, classes) = counted(&["--threshold", &middle], "few");
    assert!((1..FOUND).contains(&few) && classes == 7, "{few}");
    bench.refused(
        2,
        "knows no `moon`; its classes are person, bicycle",
        &["pipeline", "photo.png", "--detector", &detector, "--labels", "moon", "--out", "none"],
    );
    bench.refused(
        2,
        "a threshold of 7",
        &["pipeline", "photo.png", "--detector", &detector, "--threshold", "7", "--out", "none"],
    );
}

#[test]
fn a_folder_goes_on_where_it_was_stopped() {
    let bench = bench(&["in/a.png", "in/b.png"]);
    std::fs::write(bench.path("in/broken.png"), b"\x89PNG\r\n\x1a\nnot really").unwrap();
    let detector = golden("");
    let arguments = ["pipeline", "in", "--detector", &detector, "--out", "out"];
    let run = bench.run(&arguments);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("broken.png") && run.stderr.contains("16 things"), "{}", run.stderr);
    assert_eq!(annotations(&bench.json("out/annotations.json")).len(), 2 * FOUND);
    std::fs::remove_file(bench.path("in/broken.png")).unwrap();
    let run = bench.done(&[&arguments[..], &["--json"]].concat());
    let said: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&said["done"], &said["skipped"]), (&0.into(), &2.into()), "{said}");
    bench.refused(2, "other parameters", &[&arguments[..], &["--threshold", "0.7"]].concat());
    // Another detector of the same name is another maker.
    let own = bench.path("own");
    std::fs::create_dir(&own).unwrap();
    for file in ["config.json", "model.safetensors", "preprocessor_config.json"] {
        std::fs::copy(golden(file), own.join(file)).unwrap();
    }
    let of_own = ["pipeline", "in", "--detector", "own", "--out", "second", "--json"];
    bench.done(&of_own);
    let config = std::fs::read_to_string(own.join("config.json")).unwrap();
    std::fs::write(own.join("config.json"), config.replace("traffic light", "lantern")).unwrap();
    let said: Value = serde_json::from_str(&bench.done(&of_own).stdout).unwrap();
    assert_eq!((&said["done"], &said["skipped"]), (&2.into(), &0.into()), "{said}");
}

#[test]
fn every_format_and_a_sequence() {
    let bench = bench(&["photo.png", "shot/f.0001.png", "shot/f.0002.png", "shot/f.0003.png"]);
    let detector = golden("");
    for (format, file) in [
        ("cutout", "photo.cutouts/1.png"),
        ("png", "photo.masks/masks.json"),
        ("labels", "photo.png"),
        ("overlay", "photo.png"),
        ("rle", "photo.json"),
        ("polygon", "photo.json"),
    ] {
        bench.done(&["pipeline", "photo.png", "--detector", &detector, "--format", format, "--out", format]);
        assert!(bench.path(format).join(file).is_file(), "{format}");
    }
    let range = ["--start", "2"];
    let run = bench.done(
        &[&["pipeline", "shot/f.####.png", "--detector", &detector, "--out", "shots"][..], &range].concat(),
    );
    assert!(run.stderr.contains("2 done with 16 things"), "{}", run.stderr);
    assert_eq!(annotations(&bench.json("shots/annotations.json")).len(), 2 * FOUND);
}

#[test]
fn what_cannot_be_is_said() {
    let bench = bench(&["photo.png"]);
    let detector = golden("");
    bench.refused(2, "has no detector", &["pipeline", "photo.png", "--detector", "nano", "--out", "out"]);
    bench.refused(
        2,
        "has no image encoder",
        &["pipeline", "photo.png", "--detector", &detector, "--model", &detector, "--out", "out"],
    );
    bench.refused(
        2,
        "--out takes a folder",
        &["pipeline", "photo.png", "--detector", &detector, "--out", "-"],
    );
    bench.refused(
        1,
        "the memory budget is",
        &["pipeline", "photo.png", "--detector", &detector, "--out", "out", "--memory", "40MB"],
    );
}
