//! From pixels to masks with the embedded model, and `forward` against upstream's outputs.

use std::path::{Path, PathBuf};

use samovar_geometry::Size;
use samovar_media::{BitMask, RgbImage};
use samovar_runtime::forward::forward_file;
use samovar_runtime::{Engine, Error, ErrorKind, Model, Options, Prompt};
use samovar_weights::{Checkpoint, WeightSource};

/// A red disc on blue, its centre at (90, 70), radius 30.
fn disc() -> (RgbImage, BitMask) {
    let inside = |x: u32, y: u32| (x as f64 + 0.5 - 90.0).hypot(y as f64 + 0.5 - 70.0) < 30.0;
    let size = Size::new(200, 120);
    let image = RgbImage::from_fn(size, |x, y| if inside(x, y) { [210, 40, 30] } else { [30, 60, 160] });
    (image, BitMask::from_fn(size, inside))
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/sam1").join(name)
}

#[test]
fn nano_cuts_out_a_disc_by_point_box_and_mask() {
    let (image, truth) = disc();
    let embedding = Model::load("nano").unwrap().embed_pixels(&image).unwrap();
    let prompts = [
        Prompt::default().point(90.0, 70.0),
        Prompt::default().within(60.0, 40.0, 120.0, 100.0),
        Prompt::default().point(90.0, 70.0).refine(truth.clone()),
    ];
    for prompt in &prompts {
        let iou = embedding.segment(prompt).unwrap().best().mask().unwrap().iou(&truth).unwrap();
        assert!(iou > 0.95, "{prompt:?}: IoU {iou}");
    }
}

/// A cut-out was drawn and cleaned up twice, once for its mask and once for its soft edges.
#[test]
fn soft_edges_of_a_mask_at_hand_are_those_of_one_that_is_not() {
    // Two discs and a pinhole, so that one click leaves something to clean up.
    let (one, _) = disc();
    let image = RgbImage::from_fn(one.size(), |x, y| {
        match (f64::from(x) - 150.0).hypot(f64::from(y) - 60.0) < 12.0 {
            true => [210, 40, 30],
            false => one.pixel(x, y),
        }
    });
    for model in [Model::load("nano").unwrap(), Model::load("nano").unwrap().with_cleanup(false)] {
        let embedding = model.embed_pixels(&image).unwrap();
        let answer = embedding.segment(&Prompt::default().point(90.0, 70.0)).unwrap();
        let mask = answer.best().mask().unwrap();
        let alpha = answer.best().alpha_of(&mask).unwrap();
        assert_eq!(alpha, answer.best().alpha().unwrap());
        let over_half = BitMask::from_values(mask.size(), alpha.values(), |alpha| alpha > 127).unwrap();
        assert_eq!(over_half, mask);
    }
}

/// Decoding prompts together must not change their answers.
#[test]
fn many_prompts_are_as_each_alone() {
    let (image, _) = disc();
    let embedding = Model::load("nano").unwrap().embed_pixels(&image).unwrap();
    let clicks: Vec<Prompt> =
        (0..19).map(|i| Prompt::default().point(10.0 * f64::from(i), 6.0 * f64::from(i))).collect();
    let together = embedding.segment_many(&clicks).unwrap();
    for (prompt, answer) in clicks.iter().zip(together) {
        let alone = embedding.segment(prompt).unwrap();
        let (a, b) = (alone.best().logits().unwrap(), answer.best().logits().unwrap());
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{prompt:?}: {worst}");
        assert!((alone.best().iou_score - answer.best().iou_score).abs() < 1e-4);
    }
}

/// What is gathered and reused must change no pixel.
#[test]
fn masks_are_the_same_without_optimisations() {
    let (image, _) = disc();
    let clicks: Vec<Prompt> =
        (0..19).map(|i| Prompt::default().point(10.0 * f64::from(i), 6.0 * f64::from(i))).collect();
    let run = |enable_optimizations| {
        let engine = Engine::new(Options { enable_optimizations, threads: 2, ..Options::default() }).unwrap();
        assert_eq!(engine.optimizes(), enable_optimizations);
        let embedding = engine.load("nano").unwrap().embed_pixels(&image).unwrap();
        let answers = embedding.segment_many(&clicks).unwrap();
        let masks: Vec<BitMask> = answers.iter().map(|answer| answer.best().mask().unwrap()).collect();
        (masks, engine.device().pool().stats().idle_bytes)
    };
    let ((with, idle_with), (without, idle_without)) = (run(true), run(false));
    assert_eq!(with, without);
    assert!(idle_with > 0);
    assert_eq!(idle_without, 0);
}

#[test]
fn multimask_answers_with_three() {
    let (image, _) = disc();
    let embedding = Model::load("nano").unwrap().embed_pixels(&image).unwrap();
    let answer = embedding.segment(&Prompt::default().point(90.0, 70.0).multimask()).unwrap();
    assert_eq!(answer.masks().len(), 3);
    let ranked = answer.clone().into_ranked();
    assert!(ranked.windows(2).all(|pair| pair[0].iou_score >= pair[1].iou_score));
    assert_eq!(ranked[0].iou_score, answer.best().iou_score);
}

#[test]
fn budgets_are_kept_before_work_begins() {
    let engine =
        Engine::new(Options { memory_budget_bytes: Some(10_000_000), ..Options::default() }).unwrap();
    let refusal = engine.load("nano").err().unwrap();
    assert!(matches!(refusal, Error::DoesNotFit { .. }), "{refusal}");
    assert_eq!(refusal.kind(), ErrorKind::OutOfMemory);
}

/// The smallest image there is, and ones that resize to a sliver.
#[test]
fn degenerate_images() {
    let model = Model::load("nano").unwrap();
    for size in [Size::new(1, 1), Size::new(3000, 1), Size::new(1, 777)] {
        let image = RgbImage::from_fn(size, |x, y| [x as u8, y as u8, 7]);
        let embedding = model.embed_pixels(&image).unwrap();
        let mask = embedding.segment(&Prompt::default().point(0.5, 0.5)).unwrap().best().mask().unwrap();
        assert_eq!(mask.size(), size);
    }
}

#[test]
fn forward_agrees_with_transformers() {
    agrees_with_transformers(&golden(""));
}

/// The order of the masks is transformers', too.
#[test]
fn forward_of_sam_hq_agrees_with_transformers() {
    agrees_with_transformers(&golden("").join("../sam_hq"));
}

/// Three maps, and scores of objects.
#[test]
fn forward_of_sam_2_agrees_with_transformers() {
    agrees_with_transformers(&golden("").join("../sam2"));
}

fn agrees_with_transformers(golden: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let model = Model::load(golden.to_str().unwrap()).unwrap();
    forward_file(&model, &golden.join("forward_in.safetensors"), &out).unwrap();
    let (found, expected) =
        (Checkpoint::open(&out).unwrap(), Checkpoint::open(golden.join("forward_out.safetensors")).unwrap());
    let names = expected.names();
    assert!(names.iter().any(|name| name == "pred_masks"));
    assert_eq!(found.names(), names);
    for name in &names {
        let (found, expected) = (found.any_tensor(name).unwrap(), expected.any_tensor(name).unwrap());
        assert_eq!(found.dims(), expected.dims(), "{name}");
        let (found, expected) = (found.to_f32_vec().unwrap(), expected.to_f32_vec().unwrap());
        let size = expected.iter().map(|value| value * value).sum::<f32>().sqrt();
        let error = found.iter().zip(&expected).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
        // The score of an object is one number, here near zero: the difference of numbers twenty times as large.
        let allowed = if name == "object_score_logits" { 1e-4 } else { 1e-5 };
        assert!(error <= allowed * size, "{name}: relative error {}", error / size);
    }
}
