//! What following objects takes, before any of it is done: a tracker on shapes alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use samovar_models::{
    ImageFeatures, MemoryPlace, Model as Network, ModelConfig, ObjectPast, Parts, TrackedImage,
};
use samovar_tensor::{Device, DryRun, PoolStats, Precision, Tensor};
use samovar_weights::ShapeSource;

use crate::error::Result;
use crate::planning::check_fits;

/// A tracker's plan on a device.
pub(crate) struct TrackerPlan {
    dry: Mutex<DryRun<Network>>,
    features: ImageFeatures,
    /// The tracker's weights and what loading them takes beside.
    load_bytes: usize,
    /// By the number of memories.
    steps: Mutex<HashMap<usize, usize>>,
}

impl TrackerPlan {
    /// Of a model that has a tracker.
    ///
    /// # Errors
    /// [`crate::Error::Model`] for a configuration whose tracker cannot be.
    pub(crate) fn new(device: &Device, config: &ModelConfig, precision: Precision) -> Result<Self> {
        let device = device.with_weight_precision(precision);
        let of = |parts: Parts| {
            device.dry_run(move |device| Network::load_parts(device, config, &ShapeSource, parts))
        };
        let tracker = of(Parts::TRACKER)?.plan(|_, _| Ok::<_, samovar_models::Error>(()))?.1;
        let mut dry = of(Parts::ALL)?;
        let (features, _) = dry.plan(|device, network| {
            let encoder = network.image_encoder()?;
            let pixels = device.upload(encoder.preprocessing().pixels_shape(1), &[])?;
            encoder.encode(device, &pixels)
        })?;
        let load_bytes = tracker.weight_bytes + tracker.load_bytes;
        Ok(Self { dry: Mutex::new(dry), features, load_bytes, steps: Mutex::default() })
    }

    /// Lets the tracker be loaded, or refuses it; says what that takes.
    ///
    /// # Errors
    /// [`crate::Error::DoesNotFit`].
    pub(crate) fn admit_loading(&self, memory: &PoolStats) -> Result<usize> {
        check_fits("loading a tracker", self.load_bytes, memory)?;
        Ok(self.load_bytes)
    }

    /// Lets an object be followed to a frame that is shown so many memories, or refuses it; says what that takes beside the
    /// features of the frame.
    ///
    /// # Errors
    /// [`crate::Error::DoesNotFit`].
    pub(crate) fn admit_step(&self, memories: usize, memory: &PoolStats) -> Result<usize> {
        let needed_bytes = self.step_bytes(memories)?;
        check_fits("following an object", needed_bytes, memory)?;
        Ok(needed_bytes)
    }

    fn step_bytes(&self, memories: usize) -> Result<usize> {
        let steps = || self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&known) = steps().get(&memories) {
            return Ok(known);
        }
        let mut dry = self.dry.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, plan) = dry.plan(|device, network| {
            let mut image = TrackedImage::new(self.features.clone())?;
            follow(device, network, &mut image, memories)
        })?;
        steps().insert(memories, plan.activation_bytes);
        Ok(plan.activation_bytes)
    }
}

/// Follows one object to a frame that is shown so many memories.
pub(crate) fn follow(
    device: &Device,
    network: &Network,
    image: &mut TrackedImage,
    memories: usize,
) -> samovar_models::Result<Tensor> {
    let (tracker, segmenter) = (network.tracker()?, network.promptable_segmenter()?);
    let rule = *tracker.rule();
    let shape = [rule.memory_tokens, rule.memory_channels];
    let loaded = (0..memories.max(1)).map(|_| device.upload(shape, &[]));
    let loaded = loaded.collect::<samovar_tensor::Result<Vec<_>>>()?;
    let pointer = vec![0.0; rule.pointer_channels];
    let past = ObjectPast {
        memories: loaded.iter().map(|memory| (memory, MemoryPlace::Conditioning)).collect(),
        pointers: vec![(pointer.as_slice(), 1); rule.pointers.max(memories)],
        pointers_at_most: rule.pointers.max(2),
    };
    let features = tracker.attend(device, image, &past)?;
    drop(past);
    drop(loaded);
    let found = tracker.answer(device, &**segmenter, &features, None)?;
    drop(features);
    tracker.remember(device, image, &found, true)
}
