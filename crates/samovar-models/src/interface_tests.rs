//! Choices among masks, and traits of which the catalogue has one family or none, on small models written here.

use std::sync::Arc;

use samovar_geometry::ResizeRule;
use samovar_tensor::{Pool, Reference};

use super::*;
use crate::capabilities::Capabilities;
use crate::{Family, Model};

const SAM2: MaskChoice = MaskChoice::SingleIfStable { offset: 0.05, threshold: 0.98 };

#[test]
fn the_first_of_equal_scores_is_the_best() {
    assert_eq!(MaskChoice::BestOfMultimask.choose(&[0.5, 0.7, 0.7], &[]), 1);
    assert_eq!(MaskChoice::BestOfAll.choose(&[0.9, 0.7, 0.7, 0.1], &[]), 0);
    assert_eq!(MaskChoice::Single.choose(&[0.9], &[]), 0);
}

/// `_dynamic_multimask_via_stability` of SAM 2.
#[test]
fn an_unstable_single_mask_gives_way_to_the_best_of_the_others() {
    let scores = [0.99, 0.2, 0.6, 0.4];
    let sharp = [9.0, -9.0, 9.0, -9.0];
    assert_eq!(SAM2.choose(&scores, &sharp), 0);
    // One of 100 logits is between the thresholds: 0.99. Three of them: 0.97.
    let between = |count: usize| [vec![0.01; count], vec![3.0; 100 - count], vec![-3.0; 50]].concat();
    assert_eq!(SAM2.choose(&scores, &between(1)), 0);
    assert_eq!(SAM2.choose(&scores, &between(3)), 2);
    // Nothing at both thresholds is stable.
    assert_eq!(SAM2.choose(&scores, &[-1.0; 4]), 0);
    assert_eq!(SAM2.output(), MaskOutput::All);
}

fn preprocessing(width: u32, height: u32) -> Preprocessing {
    Preprocessing { resize: ResizeRule::Exact { width, height }, mean: [0.0; 3], std: [1.0; 3] }
}

/// Finds the bright box in dark pixels: one query, one class.
struct BrightBox {
    preprocessing: Preprocessing,
    classes: Vec<String>,
}

impl Detector for BrightBox {
    fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn detect(&self, device: &Device, pixels: &Tensor) -> Result<Detections> {
        self.preprocessing.check_pixels(pixels)?;
        let [images, height, width, _] = pixels.shape().fixed("detector")?;
        let values = pixels.to_f32_vec()?;
        let mut boxes = Vec::new();
        for image in values.chunks_exact(height * width * 3) {
            let bright: Vec<_> =
                (0..height * width).filter(|i| image[3 * i] > 0.5).map(|i| (i % width, i / width)).collect();
            let range = |of: &dyn Fn(&(usize, usize)) -> usize, cells: usize| {
                let least = bright.iter().map(of).min().unwrap_or(0) as f32 / cells as f32;
                let most = bright.iter().map(of).max().map_or(0, |last| last + 1) as f32 / cells as f32;
                ((least + most) / 2.0, most - least)
            };
            let ((cx, w), (cy, h)) = (range(&|at| at.0, width), range(&|at| at.1, height));
            boxes.extend([cx, cy, w, h]);
        }
        Ok(Detections {
            boxes: device.upload([images, 1, 4], &boxes)?,
            class_logits: device.filled([images, 1, 1], 4.0)?,
        })
    }
}

/// The mean colour, at length 1.
struct MeanColour(Preprocessing);

impl Embedder for MeanColour {
    fn preprocessing(&self) -> &Preprocessing {
        &self.0
    }

    fn channels(&self) -> usize {
        3
    }

    fn embed(&self, device: &Device, pixels: &Tensor) -> Result<Tensor> {
        self.0.check_pixels(pixels)?;
        let [images, height, width, _] = pixels.shape().fixed("embedder")?;
        let values = pixels.to_f32_vec()?;
        let mut vectors = Vec::new();
        for image in values.chunks_exact(height * width * 3) {
            let sum = |channel: usize| image.iter().skip(channel).step_by(3).sum::<f32>();
            let sums = [0, 1, 2].map(sum);
            let length = sums.iter().map(|sum| sum * sum).sum::<f32>().sqrt();
            vectors.extend(sums.map(|sum| sum / length));
        }
        Ok(device.upload([images, 3], &vectors)?)
    }
}

#[test]
fn boxes_come_back_in_the_frame_of_a_canvas_that_is_no_square() {
    let device = Device::new(Arc::new(Reference), Pool::new(1 << 20));
    let detector = BrightBox { preprocessing: preprocessing(20, 10), classes: vec!["lamp".into()] };
    let capabilities = Capabilities { detector: Some(Arc::new(detector)), ..Capabilities::default() };
    let model = Model::of(Family::Nano, capabilities);
    let detector = model.detector().unwrap();
    let canvas = detector.preprocessing().canvas();
    let pixels = device
        .upload_with(detector.preprocessing().pixels_shape(2), |values| {
            for (i, pixel) in values.chunks_exact_mut(3).enumerate() {
                let (x, y) = (i % 20, i / 20 % 10);
                pixel.fill(if (4..9).contains(&x) && (2..8).contains(&y) { 1.0 } else { 0.0 });
            }
        })
        .unwrap();
    let found = detector.detect(&device, &pixels).unwrap();
    assert_eq!((found.boxes.dims(), found.class_logits.dims()), (&[2, 1, 4][..], &[2, 1, 1][..]));
    let boxes = found.boxes.to_f32_vec().unwrap();
    for edges in boxes.as_chunks::<4>().0 {
        let found = Detections::box_in_input(edges, canvas);
        let expected = Box2::new(4.0, 2.0, 9.0, 8.0);
        assert!(found.iou(expected) > 0.9999, "{found}");
    }
    let flipped = device.filled([2, 20, 10, 3], 0.0).unwrap();
    let refusal = detector.detect(&device, &flipped).err().unwrap().to_string();
    assert!(refusal.contains("expected [images, 10, 20, 3]"), "{refusal}");
}

#[test]
fn vectors_have_length_one() {
    let device = Device::new(Arc::new(Reference), Pool::new(1 << 20));
    let capabilities =
        Capabilities { embedder: Some(Arc::new(MeanColour(preprocessing(6, 4)))), ..Capabilities::default() };
    let model = Model::of(Family::Nano, capabilities);
    let embedder = model.embedder().unwrap();
    let pixels = device.upload_with(embedder.preprocessing().pixels_shape(3), |values| {
        values.iter_mut().enumerate().for_each(|(i, value)| *value = 0.1 + (i % 7) as f32);
    });
    let vectors = embedder.embed(&device, &pixels.unwrap()).unwrap();
    assert_eq!(vectors.dims(), [3, embedder.channels()]);
    for vector in vectors.to_f32_vec().unwrap().chunks_exact(3) {
        assert!((vector.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_model_says_what_it_lacks_and_who_has_it() {
    let capabilities =
        Capabilities { embedder: Some(Arc::new(MeanColour(preprocessing(6, 4)))), ..Capabilities::default() };
    let model = Model::of(Family::Nano, capabilities);
    assert_eq!(model.capabilities().list(), [Capability::Embedder]);
    let refusal = model.promptable_segmenter().err().unwrap().to_string();
    assert!(refusal.contains("has no promptable segmenter") && refusal.contains("mobile_sam"), "{refusal}");
    let refusal = model.detector().err().unwrap().to_string();
    assert!(refusal.contains("has no detector") && refusal.contains("dfine-small-coco"), "{refusal}");
    let refusal = Model::of(Family::Nano, Capabilities::default()).embedder().err().unwrap().to_string();
    assert!(refusal.contains("has no embedder; no model of the catalogue has one"), "{refusal}");
}
