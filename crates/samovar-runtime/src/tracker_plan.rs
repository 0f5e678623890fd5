//! What following objects takes, before any of it is done: a tracker on shapes alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use samovar_models::{
    ImageFeatures, MemoryPlace, Model as Network, ModelConfig, ObjectPast, Parts, TrackedImage,
};
use samovar_tensor::{Device, DryRun, PoolStats, Precision, Tensor};
use samovar_weights::ShapeSource;

use crate::error::Result;
use crate::forecast::{Job, unbounded_pool_bytes};
use crate::planning::{ModelPlan, check_fits};
use crate::tracking::ShotNeeds;

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
fn follow(
    device: &Device,
    network: &Network,
    image: &mut TrackedImage,
    memories: usize,
) -> samovar_models::Result<Tensor> {
    let (tracker, segmenter) = (network.tracker()?, network.promptable_segmenter()?);
    let rule = *tracker.rule();
    let shape = [rule.cells[0] * rule.cells[1], rule.memory_channels];
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

/// What the process takes to follow objects, before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackForecast {
    /// Frames, masks and results.
    pub needs: ShotNeeds,
    /// What is remembered of the objects, of models that remember.
    pub memory_bytes: usize,
    /// The least budget that objects can be followed with.
    pub least_bytes: usize,
    /// What the process will have at its peak, with blocks that are kept for the next frame as far as the budget allows.
    pub peak_bytes: usize,
}

impl TrackForecast {
    /// Of so many objects, prompted on a frame or two; `plan` is that of the same model, `process_bytes` what the process has beside the
    /// engine's work.
    ///
    /// # Errors
    /// As [`crate::planning::Planner::new`].
    pub fn of(
        device: &Device,
        (config, precision): (&ModelConfig, Precision),
        plan: &ModelPlan,
        (needs, objects): (ShotNeeds, usize),
        process_bytes: usize,
        budget_bytes: usize,
    ) -> Result<Self> {
        let [least, peak, memory_bytes] = match config.can_track() {
            true => with_memory(device, config, precision, plan, objects)?,
            false => {
                let job = Job::Segment { prompts: 1 };
                [plan.peak_bytes(), unbounded_pool_bytes(device, config, precision, job)?, 0]
            }
        };
        let beside_bytes = process_bytes.saturating_add(needs.peak_bytes()).saturating_add(memory_bytes);
        let least_bytes = beside_bytes.saturating_add(least);
        let peak_bytes = beside_bytes.saturating_add(peak).min(budget_bytes.max(least_bytes));
        Ok(Self { needs, memory_bytes, least_bytes, peak_bytes })
    }
}

/// Of a model that remembers: the least that its pool needs, what the pool has where it may keep blocks, and what is kept of the objects
/// beside tensors.
fn with_memory(
    device: &Device,
    config: &ModelConfig,
    precision: Precision,
    plan: &ModelPlan,
    objects: usize,
) -> Result<[usize; 3]> {
    let device = device.with_weight_precision(precision);
    let mut dry = device.dry_run(|device| Network::load_parts(device, config, &ShapeSource, Parts::ALL))?;
    let rule = *dry.model().tracker()?.rule();
    let memories = rule.recent + 1;
    let (mut weight_bytes, mut step_bytes) = (0, 0);
    // The second frame finds blocks of the first.
    for _ in 0..2 {
        let (features, _) = dry.plan(|device, network| {
            let encoder = network.image_encoder()?;
            let pixels = device.upload(encoder.preprocessing().pixels_shape(1), &[])?;
            encoder.encode(device, &pixels)
        })?;
        let (_, step) = dry.plan(|device, network| {
            let mut image = TrackedImage::new(features.clone())?;
            (0..objects.min(2)).try_for_each(|_| follow(device, network, &mut image, memories).map(drop))
        })?;
        (weight_bytes, step_bytes) = (step.weight_bytes, step.activation_bytes);
    }
    let work_bytes = plan.encode.activation_bytes.max(plan.embedding_bytes + step_bytes);
    let least_bytes = plan.peak_bytes().max(weight_bytes + work_bytes + plan.encode.scratch_bytes);
    // One more frame is made room for before it is there.
    let of_frame = rule.cells[0] * rule.cells[1] * rule.memory_channels * size_of::<u16>()
        + 2 * rule.pointer_channels * size_of::<f32>();
    let of_object = of_frame * (memories + 1) + rule.pointers * rule.pointer_channels * size_of::<f32>();
    Ok([least_bytes, dry.peak_reserved_bytes() + device.scratch_bytes(), of_object * objects])
}
