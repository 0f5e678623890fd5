//! How images are shared out among the threads of an engine.
//!
//! Operators of a small model are too short to be worth sharing: each thread takes an image of its own, and all that is done
//! with a picture beside the model is shared out with it. A large model has all threads compute one image, while the next is
//! read and the last is written: two at once would take twice the memory and no less time.

use crate::error::Result;
use crate::model::Model;
use crate::planning::PROMPTS_AT_ONCE;

/// Operations of encoding up to which a model is small: between `nano` (7.5 GFLOP) and MobileSAM on one side, and ViT-B
/// (700 GFLOP) on the other; see `docs/performance.md`.
const SMALL_OPERATIONS: u64 = 50_000_000_000;
/// Images under way where one computes at a time: one that is read, one that is written.
const BESIDE_ONE: usize = 3;

/// How many images are under way, how many of them compute, and on what.
pub struct Sharing {
    at_once: usize,
    computing: usize,
    /// One that all share, or one for each.
    models: Vec<Model>,
}

/// The model on workers of one thread each, `most` and as many as there are threads at most, and as many as the budget has
/// room for beside what `picture_bytes` each. None where not even one worker fits, and without optimizations.
///
/// # Errors
/// What planning may give.
pub(crate) fn one_per_thread(model: &Model, most: usize, picture_bytes: usize) -> Result<Vec<Model>> {
    let mut models: Vec<Model> = Vec::new();
    if !model.engine().optimizes() {
        return Ok(models);
    }
    // A worker has scratch memory of its own, and each takes what an image takes.
    let one_bytes = model.planner().work_bytes(PROMPTS_AT_ONCE)?.saturating_add(picture_bytes);
    while models.len() < most.min(model.engine().threads()) {
        let Ok(worker) = model.engine().worker() else { break };
        let now = worker.device().pool().stats();
        let room_bytes = now.budget_bytes.saturating_sub(now.in_use_bytes);
        if room_bytes < one_bytes.saturating_mul(models.len() + 1) {
            break;
        }
        models.push(model.on(&worker));
    }
    Ok(models)
}

/// How many images are under way where nobody says, and how many of them compute, of a model whose encoder takes so many
/// operations.
pub fn usual(encode_operations: u64, threads: usize) -> (usize, usize) {
    match encode_operations <= SMALL_OPERATIONS {
        true => (threads, threads),
        false => (BESIDE_ONE, 1),
    }
}

impl Sharing {
    /// Shares out so many images, `at_once` of them under way if somebody says so, and fewer where the memory budget does not hold
    /// them. `picture_bytes` is what a usual one takes beside the model: [`PictureBytes::peak_bytes`](crate::PictureBytes).
    ///
    /// An engine without optimizations has one image under way.
    ///
    /// # Errors
    /// What planning may give.
    pub fn of(model: &Model, images: usize, at_once: Option<usize>, picture_bytes: usize) -> Result<Self> {
        if !model.engine().optimizes() {
            return Ok(Self::one_by_one(model));
        }
        let threads = model.engine().threads();
        let (usual, computing) = usual(model.planner().encode_operations(), threads);
        let is_small = computing > 1;
        let wanted = at_once.unwrap_or(usual);
        let wanted = wanted.clamp(1, images.max(1));
        let in_turns = Self { at_once: wanted, computing: 1, models: vec![model.clone()] };
        if !is_small || wanted == 1 || threads == 1 {
            return Ok(in_turns);
        }
        let models = one_per_thread(model, wanted, picture_bytes)?;
        if models.len() < 2 {
            return Ok(in_turns);
        }
        let computing = models.len();
        let under_way = if at_once.is_some() { wanted } else { computing };
        Ok(Self { at_once: under_way, computing, models })
    }

    /// One image at a time on all threads, for those that fit no other way.
    pub fn one_by_one(model: &Model) -> Self {
        Self { at_once: 1, computing: 1, models: vec![model.clone()] }
    }

    /// Images under way at once.
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// How many of them compute at once.
    pub fn computing(&self) -> usize {
        self.computing
    }

    /// The model for one of them.
    pub fn model(&self, worker: usize) -> &Model {
        &self.models[worker % self.models.len()]
    }
}
