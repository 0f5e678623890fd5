//! Detectors: boxes of the things a model knows, each with a class and a score.
//!
//! [`Detector`] is what whoever uses boxes asks for; [`DetectorModel`] is a network of the catalogue behind it (D-FINE), and other
//! programs fit their own.

use std::sync::Arc;

use samovar_geometry::{Box2, Image, Input, Size};
use samovar_media::RgbImage;
use samovar_models::{Detections, Detector as Network, Model, ModelConfig, Preprocessing};
use samovar_tensor::{Device, Plan, PoolStats, Precision};
use samovar_weights::WeightSource;

use crate::admission::Promise;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::preprocess;
use crate::planning::check_fits;
use crate::segmentation::check_finite;

/// Least score of a detection, unless somebody says otherwise: transformers'.
pub const DEFAULT_THRESHOLD: f32 = 0.5;

/// A thing that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// Around it, in pixels of the image as it is shown; it may reach a little beyond.
    pub box_in_image: Box2<Image>,
    /// Its place in [`Detector::classes`].
    pub class: usize,
    /// The name of its class.
    pub label: Arc<str>,
    /// 0 to 1.
    pub score: f32,
}

/// Finds the things it knows in images.
pub trait Detector: Send + Sync {
    /// What it is called.
    fn name(&self) -> &str;

    /// Names of the things it knows.
    fn classes(&self) -> &[String];

    /// The things in an image, the best score first.
    ///
    /// # Errors
    /// Whatever keeps it from looking; [`Error::DoesNotFit`] before it begins.
    fn detect(&self, image: &RgbImage) -> Result<Vec<Detection>>;
}

impl<D: Detector + ?Sized> Detector for Arc<D> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn classes(&self) -> &[String] {
        (**self).classes()
    }

    fn detect(&self, image: &RgbImage) -> Result<Vec<Detection>> {
        (**self).detect(image)
    }
}

/// What a detector takes, known before any of it is read.
#[derive(Debug, Clone)]
pub struct DetectorPlan {
    detect: Plan,
}

impl DetectorPlan {
    /// Runs a detector on shapes alone, with weights in this precision.
    ///
    /// # Errors
    /// [`Error::Model`] for a model that is no detector, and for weights that are not its own.
    pub fn of(
        device: &Device,
        config: &ModelConfig,
        weights: &dyn WeightSource,
        precision: Precision,
    ) -> Result<Self> {
        let device = device.with_weight_precision(precision);
        let load = |device: &Device| Model::load(device, config, weights);
        let detect = device.plan(load, |device, model| {
            let detector = model.detector()?;
            let pixels = device.upload(detector.preprocessing().pixels_shape(1), &[])?;
            detector.detect(device, &pixels).map(drop)
        });
        Ok(Self { detect: detect? })
    }

    /// Looking at one image, from pixels on the host to boxes and scores.
    pub fn detect(&self) -> &Plan {
        &self.detect
    }

    /// Bytes beside the weights that looking at one image takes.
    pub fn detect_bytes(&self) -> usize {
        self.detect.activation_bytes
    }

    /// Bytes of tensors and scratch memory at the worst moment of loading it and of looking at an image.
    pub fn peak_bytes(&self) -> usize {
        self.detect.peak_bytes()
    }
}

/// A loaded detector. Cheap to clone; clones share the weights.
#[derive(Clone)]
pub struct DetectorModel {
    engine: Engine,
    network: Arc<dyn Network>,
    plan: Arc<DetectorPlan>,
    name: Arc<str>,
    labels: Arc<[Arc<str>]>,
    precision: Precision,
    threshold: f32,
    notes: Arc<[String]>,
}

impl DetectorModel {
    pub(crate) fn new(
        engine: Engine,
        network: Arc<dyn Network>,
        plan: DetectorPlan,
        name: String,
        precision: Precision,
    ) -> Self {
        let labels = network.classes().iter().map(|label| Arc::from(label.as_str())).collect();
        let (plan, name, threshold) = (Arc::new(plan), name.into(), DEFAULT_THRESHOLD);
        Self { engine, network, plan, name, labels, precision, threshold, notes: Arc::from([]) }
    }

    pub(crate) fn with_notes(self, notes: &[String]) -> Self {
        Self { notes: notes.into(), ..self }
    }

    /// The same detector with another least score, [`DEFAULT_THRESHOLD`] at first. Detections score more.
    ///
    /// # Errors
    /// [`Error::Usage`] for one that is not between 0 and 1.
    pub fn with_threshold(&self, threshold: f32) -> Result<Self> {
        match (0.0..1.0).contains(&threshold) {
            true => Ok(Self { threshold, ..self.clone() }),
            false => Err(Error::usage(format!("a threshold of {threshold}; expected 0 to 1, without 1"))),
        }
    }

    /// The same detector and weights on another engine of the same memory.
    #[must_use]
    pub fn on(&self, engine: &Engine) -> Self {
        Self { engine: engine.clone(), ..self.clone() }
    }

    /// The engine it runs on.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// In which precision its weights are held.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What it takes.
    pub fn plan(&self) -> &DetectorPlan {
        &self.plan
    }

    /// What a user should know about the choice of weights, in a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How pixels become its input.
    pub fn preprocessing(&self) -> &Preprocessing {
        self.network.preprocessing()
    }

    /// The network itself.
    pub(crate) fn network(&self) -> &dyn Network {
        &*self.network
    }

    /// Lets looking at an image begin, or refuses it.
    pub(crate) fn admit(&self) -> Result<Promise> {
        let what = "detecting what is in an image";
        self.engine.begin(what)?;
        let needed_bytes = self.plan.detect_bytes();
        let admit = |memory: &PoolStats| {
            check_fits(what, needed_bytes, memory)?;
            Ok(((), needed_bytes))
        };
        Ok(self.engine.enter(admit)?.1)
    }

    /// What the network says of an image, on the device.
    fn look(&self, image: &RgbImage) -> Result<Detections> {
        let pixels = preprocess(&self.engine, self.network.preprocessing(), image)?;
        Ok(self.network.detect(self.engine.device(), &pixels)?)
    }

    /// Scores and boxes come to the host here: which of them count is decided there.
    fn read(&self, found: &Detections, image: Size<Image>) -> Result<Vec<Detection>> {
        let device = self.engine.device().stage("detections");
        let (logits, boxes) = (device.download(&found.class_logits)?, device.download(&found.boxes)?);
        let (logits, boxes) = (logits.wait()?, boxes.wait()?);
        let (logits, boxes) = (logits.f32()?, boxes.f32()?);
        check_finite(&self.name, logits)?;
        check_finite(&self.name, boxes)?;
        Ok(detections(logits, boxes, &self.labels, self.threshold, self.network.preprocessing(), image))
    }
}

impl Detector for DetectorModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn classes(&self) -> &[String] {
        self.network.classes()
    }

    fn detect(&self, image: &RgbImage) -> Result<Vec<Detection>> {
        let _promise = self.admit()?;
        self.engine.with_room(|| self.read(&self.look(image)?, image.size()))
    }
}

/// What counts of the logits `[Q, K]` and boxes `[Q, 4]` of an image: of all queries and classes those that score more than
/// `threshold`, the best first, and no more than there are queries. (transformers' `RTDetrImageProcessor`; none is suppressed by
/// another.)
fn detections(
    logits: &[f32],
    boxes: &[f32],
    labels: &[Arc<str>],
    threshold: f32,
    preprocessing: &Preprocessing,
    image: Size<Image>,
) -> Vec<Detection> {
    let (boxes, classes) = (boxes.as_chunks::<4>().0, labels.len().max(1));
    let score = |logit: f32| (1.0 / (1.0 + (-f64::from(logit)).exp())) as f32;
    let mut scored: Vec<(f32, usize)> =
        logits.iter().enumerate().map(|(index, &logit)| (score(logit), index)).collect();
    scored.retain(|&(score, _)| score > threshold);
    // Of equal scores the first comes first.
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    scored.truncate(boxes.len());
    let canvas = preprocessing.canvas();
    let Some(image_from_input) = preprocessing.resize.input_from_image(image).inverse() else {
        return Vec::new();
    };
    let of = |(score, index): (f32, usize)| {
        let box_in_input: Box2<Input> = Detections::box_in_input(&boxes[index / classes], canvas);
        let (box_in_image, class) = (image_from_input.apply_box(box_in_input), index % classes);
        Detection { box_in_image, class, label: Arc::clone(&labels[class]), score }
    };
    scored.into_iter().map(of).collect()
}

#[cfg(test)]
#[path = "detection_tests.rs"]
mod tests;
