//! `samovar everything` in every format, and label maps of `samovar segment`.

mod common;

use common::{Bench, iou};
use samovar::media::write::CocoDataset;
use samovar::{BitMask, Rle, Size};
use serde_json::Value;

const DISC: (f64, f64, f64) = (60.0, 60.0, 26.0);
const OTHER: (f64, f64, f64) = (150.0, 60.0, 34.0);
const SIZE: (u32, u32) = (220, 120);

fn bench() -> Bench {
    let bench = Bench::new();
    bench.picture("photo.png", SIZE.0, SIZE.1, &[DISC, OTHER]);
    bench
}

fn everything(bench: &Bench, more: &[&str]) -> common::Run {
    bench.done(&[&["everything", "photo.png", "--points-per-side", "6"], more].concat())
}

/// The masks of the default document, in its order.
fn masks(bench: &Bench, name: &str) -> Vec<BitMask> {
    let dataset: CocoDataset = serde_json::from_value(bench.json(name)).unwrap();
    let size = Size::new(SIZE.0, SIZE.1);
    dataset.annotations.iter().map(|found| found.segmentation.to_mask(size).unwrap()).collect()
}

/// The pixels of a picture that `is_on`.
fn drawn(bench: &Bench, name: &str, is_on: impl Fn([u8; 4]) -> bool) -> BitMask {
    let picture = bench.rgba(name);
    BitMask::from_fn(Size::new(picture.width(), picture.height()), |x, y| is_on(picture.get_pixel(x, y).0))
}

#[test]
fn everything_knew_one_format_only() {
    let bench = bench();
    everything(&bench, &[]);
    let masks = masks(&bench, "photo.json");
    assert!(masks.len() >= 2);

    let run = everything(&bench, &["--format", "png"]);
    assert!(run.stderr.contains("photo.masks/  "), "{run:?}");
    everything(&bench, &["--format", "cutout"]);
    for (index, mask) in masks.iter().enumerate() {
        let number = index + 1;
        assert_eq!(&drawn(&bench, &format!("photo.masks/{number}.png"), |pixel| pixel[0] > 127), mask);
        let cut = format!("photo.cutouts/{number}.png");
        assert_eq!(&drawn(&bench, &cut, |pixel| pixel[3] > 127), mask, "{cut}");
        assert!(bench.rgba(&cut).pixels().any(|pixel| (1..=254).contains(&pixel[3])), "soft edges");
    }
    let beyond = masks.len() + 1;
    assert!(!bench.path(&format!("photo.masks/{beyond}.png")).exists());
    let index: CocoDataset = serde_json::from_value(bench.json("photo.masks/masks.json")).unwrap();
    let plain: CocoDataset = serde_json::from_value(bench.json("photo.json")).unwrap();
    assert_eq!(index.annotations, plain.annotations, "annotation 1 is 1.png, and so on");

    everything(&bench, &["--format", "rle"]);
    let rles: Vec<Value> = serde_json::from_value(bench.json("photo.rle.json")).unwrap();
    let read = |rle: &Value| {
        Rle::from_coco_string(Size::new(SIZE.0, SIZE.1), rle["counts"].as_str().unwrap())
            .unwrap()
            .to_mask()
            .unwrap()
    };
    assert_eq!(rles.iter().map(read).collect::<Vec<_>>(), masks);

    everything(&bench, &["--format", "polygon", "--tolerance", "0"]);
    let outlines = bench.json("photo.polygon.json");
    assert_eq!(outlines.as_array().unwrap().len(), masks.len());
    assert!(outlines[0]["polygons"][0]["outer"].as_array().unwrap().len() > 3);
    everything(&bench, &["--format", "polygon", "--separate"]);
    assert_eq!(bench.json("photo.polygons/1.json")["width"], SIZE.0);

    let command = ["everything", "photo.png", "--points-per-side", "6", "--format", "rle", "--out", "-"];
    let piped = bench.command().args(command).output().unwrap();
    assert_eq!(piped.stdout, std::fs::read(bench.path("photo.rle.json")).unwrap());
    everything(&bench, &["--format", "overlay"]);
    assert_ne!(bench.rgba("photo.overlay.png"), bench.rgba("photo.png"));

    everything(&bench, &["--outlines", "--tolerance", "0", "--out", "outlines.json"]);
    let outlined: CocoDataset = serde_json::from_value(bench.json("outlines.json")).unwrap();
    let size = Size::new(SIZE.0, SIZE.1);
    for (annotation, mask) in outlined.annotations.iter().zip(&masks) {
        assert_eq!(&annotation.segmentation.to_mask(size).unwrap(), mask);
    }
}

#[test]
fn a_label_map_has_the_smallest_mask_of_every_pixel() {
    let bench = bench();
    everything(&bench, &["--out", "all.json"]);
    everything(&bench, &["--format", "labels", "--overlay"]);
    assert!(bench.path("photo.overlay.png").is_file());
    let (masks, map) = (masks(&bench, "all.json"), image::open(bench.path("photo.labels.png")).unwrap());
    let map = map.as_luma8().expect("greyscale, a number per pixel");
    for (x, y, label) in map.enumerate_pixels() {
        let there = masks.iter().enumerate().filter(|(_, mask)| mask.get(x, y));
        let smallest = there
            .map(|(index, mask)| (mask.area(), index))
            .min_by_key(|&(area, index)| (area, usize::MAX - index));
        assert_eq!(usize::from(label[0]), smallest.map_or(0, |(_, index)| index + 1), "{x},{y}");
    }
    let boxes = ["--box", "34,34,86,86", "--box", "116,26,184,94"];
    bench.done(&[&["segment", "photo.png", "--format", "labels"], &boxes[..]].concat());
    let of = |label: u8| {
        iou(&bench.rgba("photo.labels.png"), &[if label == 1 { DISC } else { OTHER }], |pixel| {
            pixel[0] == label
        })
    };
    assert!(of(1) > 0.9 && of(2) > 0.9, "{} {}", of(1), of(2));
}

#[test]
fn earlier_masks_were_taken_for_those_of_this_run() {
    let bench = bench();
    everything(&bench, &["--format", "png"]);
    let before = masks(&bench, "photo.masks/masks.json").len();
    std::fs::write(bench.path("photo.masks/mine.png"), b"mine").unwrap();
    bench.done(&[
        "everything",
        "photo.png",
        "--points-per-side",
        "1",
        "--pred-iou-thresh",
        "0.99",
        "--format",
        "png",
    ]);
    let after = masks(&bench, "photo.masks/masks.json").len();
    assert!(after < before);
    let numbered = bench
        .files()
        .iter()
        .filter(|file| {
            file.parent() == Some(&bench.path("photo.masks"))
                && file.extension().is_some_and(|ending| ending == "png")
        })
        .count();
    assert_eq!(numbered, after + 1, "those of this run and mine.png");

    // A mask that somebody drew.
    std::fs::write(bench.path("photo.masks/1.png"), b"drawn").unwrap();
    bench.refused(2, "samovar has not made it", &["everything", "photo.png", "--format", "png"]);
    std::fs::write(bench.path("photo.cutouts"), b"a file").unwrap();
    bench.refused(2, "photo.cutouts\" is a file", &["everything", "photo.png", "--format", "cutout"]);
    bench.refused(
        2,
        "written as .png",
        &["everything", "photo.png", "--format", "labels", "--out", "x.json"],
    );
    bench.refused(2, "--tolerance is -1", &["everything", "photo.png", "--tolerance=-1"]);
}

#[test]
fn a_folder_of_numbered_masks_goes_on_where_it_stopped() {
    let bench = Bench::new();
    for name in ["in/a.png", "in/b.png"] {
        bench.picture(name, SIZE.0, SIZE.1, &[DISC, OTHER]);
    }
    let command =
        ["everything", "in", "--format", "cutout", "--overlay", "--out", "out", "--points-per-side", "4"];
    let run = bench.done(&command);
    assert!(run.stderr.contains("2 done") && run.stderr.contains("results in out"), "{run:?}");
    assert!(bench.path("out/a.cutouts/1.png").is_file() && bench.path("out/b.overlay.png").is_file());
    assert!(!bench.path("out/annotations.json").exists());
    assert!(bench.done(&command).stderr.contains("2 done before"));
    std::fs::remove_file(bench.path("out/a.cutouts/1.png")).unwrap();
    let run = bench.done(&command);
    assert!(run.stderr.contains("1 done") && run.stderr.contains("1 done before"), "{run:?}");
    assert!(bench.path("out/a.cutouts/1.png").is_file());
    bench.refused(2, "other parameters", &["everything", "in", "--out", "out", "--points-per-side", "4"]);
    // One image and a folder that is not there yet.
    bench.done(&["everything", "in/a.png", "--format", "png", "--out", "new", "--points-per-side", "4"]);
    assert!(bench.path("new/a.masks/1.png").is_file());
}
