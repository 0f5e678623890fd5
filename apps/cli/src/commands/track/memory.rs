//! What a shot takes of memory, before any of it is decoded.

use anyhow::Result;
use samovar::forecast::{PROCESS_BYTES, job_bytes};
use samovar::media::video::{Direction, FrameSource, VideoOptions};
use samovar::memory::bytes;
use samovar::tracking::{ShotNeeds, TrackForecast};
use samovar::{Engine, Error, PictureUse};

use crate::planned::Planned;

/// Most bytes of frames that are held at once on the way back through a video.
pub fn block_bytes(engine: &Engine) -> u64 {
    /// Share of the budget.
    const SHARE: u64 = 8;
    VideoOptions::default().backward_bytes.min(engine.budget_bytes() as u64 / SHARE)
}

/// What the program has beside the engine's work and the shot.
pub fn program_bytes(engine: &Engine) -> usize {
    if engine.device().pool().is_host() { PROCESS_BYTES + job_bytes(0) } else { 0 }
}

/// Of so many objects through frames.
pub fn forecast(
    engine: &Engine,
    model: &Planned,
    frames: &dyn FrameSource,
    directions: &[Direction],
    objects: usize,
    made: PictureUse,
) -> Result<TrackForecast> {
    let Planned { config, precision, plan, .. } = model;
    let needs = ShotNeeds::of(frames, directions, objects, config.can_track(), made);
    let (program, budget) = (program_bytes(engine), engine.budget_bytes());
    let precision = *precision;
    Ok(TrackForecast::of(engine.device(), (config, precision), plan, (needs, objects), program, budget)?)
}

/// Refuses a shot that does not fit, before the model is loaded.
pub fn check(engine: &Engine, forecast: &TrackForecast, frames: &dyn FrameSource) -> Result<()> {
    let TrackForecast { needs, memory_bytes, least_bytes, .. } = *forecast;
    if least_bytes <= engine.budget_bytes() || !engine.device().pool().is_host() {
        return Ok(());
    }
    let beside = needs.object_bytes.saturating_add(memory_bytes);
    let known = needs.peak_bytes().saturating_add(memory_bytes);
    Err(Error::DoesNotFit {
        what: format!("following objects through frames of {}", frames.size()),
        needed_bytes: least_bytes,
        budget_bytes: engine.budget_bytes(),
        breakdown: format!(
            "{} of frames, {} of masks and results, {} of what is kept of objects, {} of the model and the program",
            bytes(needs.frame_bytes.saturating_add(needs.flow_bytes)),
            bytes(needs.result_bytes),
            bytes(beside),
            bytes(least_bytes.saturating_sub(known)),
        ),
    }
    .into())
}
