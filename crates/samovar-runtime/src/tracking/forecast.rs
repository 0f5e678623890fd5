//! How much memory a shot takes, from headers and the dry run alone.

use samovar_models::{Model as Network, ModelConfig, Parts, TrackedImage};
use samovar_tensor::{Device, Precision};
use samovar_weights::ShapeSource;

use super::needs::ShotNeeds;
use crate::error::Result;
use crate::forecast::{Job, unbounded_pool_bytes};
use crate::planning::{ModelPlan, encode_dry};
use crate::tracker_plan::follow;

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

    /// The same with features of frames that a cache keeps in memory, as far as the budget leaves room for them.
    pub fn with_features(mut self, cached_bytes: usize, budget_bytes: usize) -> Self {
        let peak_bytes = self.peak_bytes.saturating_add(cached_bytes);
        self.peak_bytes = peak_bytes.min(budget_bytes.max(self.peak_bytes));
        self
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
    let (mut weight_bytes, mut step_bytes) = (0, 0usize);
    // The second frame finds blocks of the first.
    for _ in 0..2 {
        let ((features, _), _) = dry.plan(encode_dry)?;
        // Of few memories keys may be made, which many do without.
        for memories in 1..=memories {
            let (_, step) = dry.plan(|device, network| {
                let mut image = TrackedImage::new(features.clone())?;
                (0..objects.min(2)).try_for_each(|_| follow(device, network, &mut image, memories).map(drop))
            })?;
            (weight_bytes, step_bytes) = (step.weight_bytes, step_bytes.max(step.activation_bytes));
        }
    }
    let work_bytes = plan.encode.activation_bytes.max(plan.embedding_bytes + step_bytes);
    let least_bytes = plan.peak_bytes().max(weight_bytes + work_bytes + plan.encode.scratch_bytes);
    // One more frame is made room for before it is there.
    let of_frame = rule.memory_tokens * rule.memory_channels * size_of::<u16>()
        + 2 * rule.pointer_channels * size_of::<f32>();
    let of_object = of_frame * (memories + 1) + rule.pointers * rule.pointer_channels * size_of::<f32>();
    Ok([least_bytes, dry.peak_reserved_bytes() + device.scratch_bytes(), of_object * objects])
}
