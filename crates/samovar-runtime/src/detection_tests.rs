//! What counts of a detector's numbers, against transformers' own post-processing; and a detector from its folder to boxes.

use std::path::{Path, PathBuf};

use samovar_geometry::ResizeRule;
use samovar_weights::Checkpoint;

use super::*;
use crate::engine::Options;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/goldens/dfine").join(name)
}

fn manifest(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(golden(name).join("manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn engine() -> Engine {
    Engine::new(Options { threads: 2, ..Options::default() }).unwrap()
}

/// The picture of a golden whose bytes are its pixels.
fn picture(name: &str, index: usize) -> RgbImage {
    let (manifest, tensors) =
        (manifest(name), Checkpoint::open(golden(name).join("tensors.safetensors")).unwrap());
    let repeat = manifest["repeat"].as_u64().unwrap() as usize;
    let pixels = tensors.any_tensor("pixel_values").unwrap().narrow(index, 1).unwrap();
    let [_, _, cells, _] = pixels.shape().fixed("pixels").unwrap();
    let values = pixels.to_f32_vec().unwrap();
    let side = (cells * repeat) as u32;
    RgbImage::from_fn(Size::new(side, side), |x, y| {
        let cell = y as usize / repeat * cells + x as usize / repeat;
        [0, 1, 2].map(|colour: usize| (255.0 * values[colour * cells * cells + cell]).round() as u8)
    })
}

/// Detections against `post.{index}.*`, whose boxes are for another size of the same picture.
fn assert_as_transformers(found: &[Detection], image: Size<Image>, name: &str, index: usize, tolerance: f64) {
    let tensors = Checkpoint::open(golden(name).join("tensors.safetensors")).unwrap();
    let values = |leaf: &str| {
        let tensor = tensors.any_tensor(&format!("post.{index}.{leaf}")).unwrap();
        tensor.to_f32_vec().unwrap()
    };
    let [scores, labels, boxes] = ["scores", "labels", "boxes"].map(values);
    assert_eq!(found.len(), scores.len(), "{name} {index}");
    assert!(!found.is_empty());
    let size: Vec<f64> = manifest(name)["sizes"][index]
        .as_array()
        .unwrap()
        .iter()
        .map(|side| side.as_f64().unwrap())
        .collect();
    let (down, across) = (size[0] / f64::from(image.height), size[1] / f64::from(image.width));
    for (i, one) in found.iter().enumerate() {
        assert!((f64::from(one.score) - f64::from(scores[i])).abs() < tolerance, "{name}: score {i}");
        assert_eq!(one.class, labels[i] as usize);
        let b = one.box_in_image;
        for (mine, theirs) in
            [b.x0 * across, b.y0 * down, b.x1 * across, b.y1 * down].iter().zip(&boxes[4 * i..])
        {
            assert!((mine - f64::from(*theirs)).abs() < 640.0 * tolerance, "{name}: box {i}: {b:?}");
        }
    }
}

#[test]
fn what_counts_is_what_counts_in_transformers() {
    for name in ["s", "n", "x"] {
        let tensors = Checkpoint::open(golden(name).join("tensors.safetensors")).unwrap();
        let labels: Vec<Arc<str>> = manifest(name)["classes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c.as_str().unwrap().into())
            .collect();
        let image = Size::new(300, 200);
        let resize = ResizeRule::Exact { width: 96, height: 96 };
        let preprocessing = Preprocessing { resize, mean: [0.0; 3], std: [1.0; 3] };
        for index in 0..2 {
            let of = |name: &str| {
                tensors.any_tensor(name).unwrap().narrow(index, 1).unwrap().to_f32_vec().unwrap()
            };
            let found = detections(
                &of("logits"),
                &of("pred_boxes"),
                &labels,
                DEFAULT_THRESHOLD,
                &preprocessing,
                image,
            );
            assert_as_transformers(&found, image, name, index, 1e-6);
            assert!(found.iter().all(|one| *one.label == *labels[one.class]));
            let none =
                detections(&of("logits"), &of("pred_boxes"), &labels, 0.999_999, &preprocessing, image);
            assert!(none.is_empty());
        }
    }
}

#[test]
fn a_folder_and_an_original_file_find_what_transformers_finds() {
    for name in ["s", "n", "x"] {
        let detector = engine().load_detector(golden(name).to_str().unwrap()).unwrap();
        for index in 0..2 {
            let picture = picture(name, index);
            let found = detector.detect(&picture).unwrap();
            assert_as_transformers(&found, picture.size(), name, index, 2e-4);
        }
    }
}

#[test]
fn a_detector_is_admitted_before_it_is_read_and_before_it_looks() {
    let name = golden("s");
    let name = name.to_str().unwrap();
    let detector = engine().load_detector(name).unwrap();
    assert!(detector.plan().detect_bytes() > 0);
    let with_budget = |bytes: usize| {
        let options = Options { threads: 1, memory_budget_bytes: Some(bytes), ..Options::default() };
        Engine::new(options).unwrap().load_detector(name)
    };
    let engine = Engine::new(Options { threads: 1, ..Options::default() }).unwrap();
    let enough = engine.load_detector(name).unwrap().plan().peak_bytes();
    let refused = with_budget(enough - 1).err().unwrap();
    assert!(matches!(refused, Error::DoesNotFit { .. }), "{refused}");
    let picture = picture("s", 0);
    let fits = with_budget(enough).unwrap();
    assert_eq!(fits.detect(&picture).unwrap().len(), detector.detect(&picture).unwrap().len());
    // What others take meanwhile is taken.
    let others = fits.engine().set_aside("a test", fits.plan().detect_bytes() / 2).unwrap();
    let refused = fits.detect(&picture).unwrap_err();
    assert!(refused.to_string().contains("detecting what is in an image needs"), "{refused}");
    drop(others);
    assert!(fits.detect(&picture).is_ok());
}

#[test]
fn what_is_no_detector_says_so() {
    let refused = engine().load_detector("nano").err().unwrap();
    assert!(refused.to_string().contains("nano: a model of the family nano has no detector"), "{refused}");
    assert!(refused.to_string().contains("dfine-small-coco"), "{refused}");
    let name = golden("s");
    let refused = engine().load(name.to_str().unwrap()).err().unwrap();
    assert!(refused.to_string().contains("has no image encoder"), "{refused}");
    let detector = engine().load_detector(name.to_str().unwrap()).unwrap();
    for threshold in [-0.1, 1.0, f32::NAN] {
        assert!(detector.with_threshold(threshold).is_err());
    }
    let picture = picture("s", 0);
    let few = detector.with_threshold(0.9).unwrap().detect(&picture).unwrap();
    assert!(few.len() < detector.detect(&picture).unwrap().len());
}
