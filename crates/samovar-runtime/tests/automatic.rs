//! The generator against upstream's own code, on the same weights and picture.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use samovar_geometry::Size;
use samovar_media::{LazyImage, RgbImage, Rle};
use samovar_runtime::automatic::{AutomaticMask, AutomaticOptions, Progress, Stages, generate};
use samovar_runtime::{Engine, Error, Model, Options};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    settings: AutomaticOptions,
    masks: Vec<Record>,
}

/// A model and what upstream's code makes of the picture with it.
const SAM: &str = "automatic/sam.pth";
const SAM_HQ: &str = "sam_hq/automatic.pth";

#[derive(Deserialize)]
struct Record {
    segmentation: Segmentation,
    area: u64,
    bbox: [f64; 4],
    predicted_iou: f32,
    point_coords: [[f64; 2]; 1],
    stability_score: f32,
    crop_box: [f64; 4],
}

#[derive(Deserialize)]
struct Segmentation {
    size: [u32; 2],
    counts: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens")
}

fn read<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

fn tiny_sam(threads: usize) -> Model {
    tiny(SAM, threads)
}

fn tiny(file: &str, threads: usize) -> Model {
    let engine = Engine::new(Options { threads, ..Options::default() }).unwrap();
    engine.load(folder().join(file).to_str().unwrap()).unwrap()
}

fn shapes() -> std::sync::Arc<RgbImage> {
    LazyImage::open(folder().join("automatic/shapes.png")).pixels().unwrap()
}

fn run(model: &Model, image: &RgbImage, options: &AutomaticOptions) -> (Vec<AutomaticMask>, Stages) {
    let mut stages = Stages::default();
    let mut watch = |progress: &Progress| {
        stages = progress.stages;
        ControlFlow::Continue(())
    };
    let masks = generate(model, image, options, &mut watch).unwrap();
    (masks.to_vec(), stages)
}

fn is_close(found: [f64; 4], expected: [f64; 4], tolerance: f64) -> bool {
    found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance)
}

/// Same number, same order, same masks.
fn compare(name: &str, model: &Model) -> Stages {
    let golden: Golden = read(name);
    let (found, stages) = run(model, &shapes(), &golden.settings);
    assert_eq!(found.len(), golden.masks.len(), "{name}");
    let mut used = vec![false; found.len()];
    let mut in_place = 0;
    for (index, expected) in golden.masks.iter().enumerate() {
        let Segmentation { size: [height, width], counts } = &expected.segmentation;
        let mask = Rle::from_coco_string(Size::new(*width, *height), counts).unwrap().to_mask().unwrap();
        let iou = |other: &AutomaticMask| other.mask.to_mask().unwrap().iou(&mask).unwrap();
        let partner = (0..found.len())
            .filter(|&other| !used[other])
            .max_by(|&a, &b| iou(&found[a]).total_cmp(&iou(&found[b])))
            .unwrap();
        used[partner] = true;
        in_place += usize::from(partner == index);
        let ours = &found[partner];
        assert!(iou(ours) >= 0.99, "{name} {index}: IoU {}", iou(ours));
        assert!((ours.predicted_iou - expected.predicted_iou).abs() < 1e-4, "{name} {index}");
        assert!((ours.stability_score - expected.stability_score).abs() < 2e-3, "{name} {index}");
        assert!(ours.area.abs_diff(expected.area) as f64 <= 0.01 * expected.area as f64, "{name} {index}");
        let [x, y] = expected.point_coords[0];
        assert!((ours.point_coords.x - x).abs() + (ours.point_coords.y - y).abs() < 1e-9, "{name} {index}");
        for (ours, theirs, tolerance) in
            [(ours.bbox, expected.bbox, 1.0), (ours.crop_box, expected.crop_box, 0.0)]
        {
            let ours = [ours.x0, ours.y0, ours.width(), ours.height()];
            assert!(is_close(ours, theirs, tolerance), "{name} {index}: {ours:?}, expected {theirs:?}");
        }
    }
    assert_eq!(in_place, found.len(), "{name}: the order differs");
    stages
}

#[test]
fn masks_are_the_same_without_optimisations() {
    let masks = |enable_optimizations| {
        let engine = Engine::new(Options { enable_optimizations, threads: 2, ..Options::default() }).unwrap();
        let model = engine.load("nano").unwrap();
        let options = AutomaticOptions { points_per_side: 6, ..AutomaticOptions::for_model(&model) };
        run(&model, &shapes(), &options).0.into_iter().map(|mask| (mask.mask, mask.area)).collect::<Vec<_>>()
    };
    let with = masks(true);
    assert!(!with.is_empty());
    assert_eq!(with, masks(false));
}

#[test]
fn one_pass_is_as_upstream_stage_by_stage() {
    let stages = compare("automatic/plain.json", &tiny_sam(2));
    let expected: serde_json::Value = read("automatic/stages.json");
    let found = [
        ("candidates", stages.candidates),
        ("predicted_iou", stages.predicted_iou),
        ("stability", stages.stability),
        ("suppression", stages.suppression),
    ];
    for (stage, count) in found {
        assert_eq!(expected[stage].as_u64(), Some(count as u64), "{stage}");
    }
}

#[test]
fn crops_and_small_regions_are_as_upstream() {
    compare("automatic/crops.json", &tiny_sam(2));
}

/// Of the masks of a point SAM-HQ's code takes the best alone.
#[test]
fn sam_hq_makes_one_mask_per_point_as_upstream() {
    let model = tiny(SAM_HQ, 2);
    let stages = compare("sam_hq/automatic.json", &model);
    let AutomaticOptions { points_per_side, .. } = read::<Golden>("sam_hq/automatic.json").settings;
    let points = points_per_side * points_per_side + 4 * (points_per_side / 2) * (points_per_side / 2);
    assert_eq!(stages.candidates, points);
    assert_eq!(model.planner().masks_per_click(), 1);
}

#[test]
fn batches_and_threads_change_nothing() {
    let golden: Golden = read("automatic/crops.json");
    let (expected, _) = run(&tiny_sam(1), &shapes(), &golden.settings);
    for (threads, points_per_batch) in [(1, 1), (2, 5), (3, 64)] {
        let options = AutomaticOptions { points_per_batch, ..golden.settings.clone() };
        let (found, _) = run(&tiny_sam(threads), &shapes(), &options);
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert_eq!((a.point_coords, a.crop_box), (b.point_coords, b.crop_box));
            assert!(a.mask.to_mask().unwrap().iou(&b.mask.to_mask().unwrap()).unwrap() > 0.99);
        }
    }
}

#[test]
fn who_watches_can_stop_it() {
    let (model, image) = (tiny_sam(1), shapes());
    for stop_at in [0, 1, 3] {
        let mut calls = 0;
        let mut watch = |_: &Progress| {
            calls += 1;
            if calls > stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let stopped = generate(&model, &image, &AutomaticOptions::default(), &mut watch);
        assert!(matches!(stopped, Err(Error::Stopped)), "{stop_at}");
        assert_eq!(calls, stop_at + 1);
    }
}

/// Crops of an image of one pixel, thresholds that let everything through, thresholds that let nothing through.
#[test]
fn degenerate_images_and_thresholds() {
    let model = tiny_sam(2);
    let everything = AutomaticOptions {
        points_per_side: 2,
        pred_iou_thresh: 0.0,
        stability_score_thresh: 0.0,
        box_nms_thresh: 1.0,
        crop_nms_thresh: 1.0,
        crop_n_layers: 2,
        min_mask_region_area: 3,
        ..AutomaticOptions::default()
    };
    for size in [Size::new(1, 1), Size::new(300, 1), Size::new(1, 77), Size::new(5, 3)] {
        let image = RgbImage::from_fn(size, |x, y| [x as u8, y as u8, 7]);
        let (masks, stages) = run(&model, &image, &everything);
        assert!(stages.candidates >= 12 && stages.candidates == stages.stability, "{size}: {stages:?}");
        assert!(masks.iter().all(|mask| mask.mask.size() == size));
        let document = samovar_runtime::automatic::coco(&masks, "a.png", size);
        let text = serde_json::to_string(&document).unwrap();
        let read: samovar_media::write::CocoDataset = serde_json::from_str(&text).unwrap();
        assert_eq!(read.annotations.len(), masks.len());
        let nothing = AutomaticOptions { pred_iou_thresh: 1.0, ..everything.clone() };
        assert_eq!(run(&model, &image, &nothing).0, []);
    }
}

#[test]
fn nano_finds_the_things_in_a_simple_picture() {
    let model = Model::load("nano").unwrap();
    let size = Size::new(200, 120);
    let on = |x: u32, y: u32| (f64::from(x) + 0.5 - 90.0).hypot(f64::from(y) + 0.5 - 70.0) < 30.0;
    let image = RgbImage::from_fn(size, |x, y| if on(x, y) { [210, 40, 30] } else { [30, 60, 160] });
    let (masks, _) = run(&model, &image, &AutomaticOptions::for_model(&model));
    let truth = samovar_media::BitMask::from_fn(size, on);
    let best = masks.iter().map(|mask| mask.mask.to_mask().unwrap().iou(&truth).unwrap()).fold(0.0, f64::max);
    assert!(best > 0.9, "IoU {best} among {} masks", masks.len());
}
