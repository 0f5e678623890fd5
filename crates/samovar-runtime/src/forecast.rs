//! How far a memory budget carries a queue of pictures, from headers and the dry run alone (document 002's memory prediction).
//!
//! Two figures are told apart. What work *needs* is the least budget it is admitted with. What a process *will have* at its peak is
//! more where there is room: the pool keeps blocks for the next request, up to the budget.

use samovar_models::{Model as Network, ModelConfig};
use samovar_tensor::{Device, Plan, Precision};
use samovar_weights::ShapeSource;

use crate::error::Result;
use crate::picture_bytes::PictureBytes;
use crate::planning::{ModelPlan, PROMPTS_AT_ONCE, PromptShape, encode_dry, score_and_draw};

/// What the process of the command line has beside the engine's budgeted work: measured, within 2 MB on x86-64 Linux over nano
/// and ViT-B, single images and folders. Its code and that of the system's libraries, as far as they are touched (17 MB), the
/// embedded model's file (6 MB; other files are read in parts), and the heap of arguments, tables and names; stacks of threads
/// are hardly touched.
pub const PROCESS_BYTES: usize = 41 << 19;

/// What a job over so many images has beside [`PROCESS_BYTES`]: lists of them, the journal of what is done, and what the allocator
/// loses among many pictures; measured as above.
pub fn job_bytes(images: usize) -> usize {
    (4 << 20) + images.saturating_mul(1 << 10)
}

/// What is asked of each picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// So many prompts, a click or a box each.
    Segment {
        /// The prompts of one picture.
        prompts: usize,
    },
    /// All that is in it, by so many clicks at once.
    Everything {
        /// [`crate::automatic::AutomaticOptions::points_per_batch`].
        clicks: usize,
    },
}

/// What a model's pool will have at its peak where nothing keeps it from keeping blocks: weights, activations, scratch memory,
/// and blocks kept for the next request. Exact for memory of the host.
///
/// # Errors
/// As [`crate::planning::Planner::new`].
pub fn unbounded_pool_bytes(
    device: &Device,
    config: &ModelConfig,
    precision: Precision,
    job: Job,
) -> Result<usize> {
    let device = device.with_weight_precision(precision);
    let mut dry = device.dry_run(|device| Network::load(device, config, &ShapeSource))?;
    // The second picture finds blocks of the first.
    for _ in 0..2 {
        let ((features, _), _) = dry.plan(encode_dry)?;
        match job {
            Job::Segment { prompts } => {
                let at_once = prompts.clamp(1, PROMPTS_AT_ONCE);
                dry.plan(|device, network| {
                    let segmenter = network.promptable_segmenter()?;
                    let batch = PromptShape::CLICK.batch(at_once, segmenter.grid_size());
                    segmenter.decode(device, &features, &batch)
                })?;
            }
            Job::Everything { clicks } => {
                dry.plan(|device, network| score_and_draw(device, network, &features, clicks))?;
            }
        }
    }
    Ok(dry.peak_reserved_bytes().saturating_add(device.scratch_bytes()))
}

/// A picture of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Its name, for the report.
    pub name: String,
    /// What it and its results take.
    pub needs: PictureBytes,
}

/// A picture with the budget it needs, which is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The picture.
    pub name: String,
    /// The least budget it is admitted with.
    pub needed_bytes: usize,
}

/// What there is beside pictures and what is made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beside {
    /// [`unbounded_pool_bytes`] of the job.
    pub pool_bytes: usize,
    /// Features that a cache will keep, if all pictures differ.
    pub cached_bytes: usize,
    /// What the process has beside the engine's work, where the budget counts it.
    pub process_bytes: usize,
}

/// How far a budget carries a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// The budget.
    pub budget_bytes: usize,
    /// Pictures in the queue.
    pub pictures: usize,
    /// Those that would be refused.
    pub refused: Vec<Refused>,
    /// The picture that takes most, and the least budget that admits it, and with it the whole queue one by one.
    pub largest: Option<Refused>,
    /// How many of the largest pictures that fit are in memory together, as many as were asked for at most; 0 where none fits.
    pub at_once: usize,
    /// How many prompts are answered together at least, beside the largest picture that fits.
    pub prompts_at_once: usize,
    /// What the process will have at its peak, with photographs; of several at once, as they usually meet.
    pub peak_bytes: usize,
}

impl Forecast {
    /// Of a model on a budget. `at_once` images are under way and `computing` of them compute, where that fits
    /// ([`crate::sharing::usual`]).
    pub fn of(
        plan: &ModelPlan,
        beside: Beside,
        budget_bytes: usize,
        queue: &[Queued],
        (at_once, computing): (usize, usize),
    ) -> Self {
        let Beside { pool_bytes, cached_bytes, process_bytes } = beside;
        let beside_bytes = plan.peak_bytes().saturating_add(process_bytes);
        let needed = |queued: &Queued| Refused {
            name: queued.name.clone(),
            needed_bytes: beside_bytes.saturating_add(queued.needs.peak_bytes()),
        };
        let mut by_size: Vec<&Queued> = queue.iter().collect();
        by_size.sort_by_key(|queued| std::cmp::Reverse(queued.needs.peak_bytes()));
        let largest = by_size.first().map(|queued| needed(queued));
        let fits = |bytes: usize| beside_bytes.saturating_add(bytes) <= budget_bytes;
        let fitting: Vec<&PictureBytes> =
            by_size.iter().map(|queued| &queued.needs).filter(|needs| fits(needs.peak_bytes())).collect();
        let (mut held_bytes, mut held) = (0usize, 0);
        for needs in fitting.iter().take(at_once.max(1)) {
            let with_it = held_bytes.saturating_add(needs.peak_bytes());
            if !fits(with_it) {
                break;
            }
            (held_bytes, held) = (with_it, held + 1);
        }
        let single = fitting.first().map_or(0, |needs| needs.peak_bytes());
        let mut prompts_at_once = PROMPTS_AT_ONCE;
        let batch_bytes = plan.batch_peak_bytes().saturating_add(process_bytes).saturating_add(single);
        if batch_bytes > budget_bytes {
            prompts_at_once = 1;
        }
        let least_bytes = beside_bytes.saturating_add(held_bytes);
        // The largest is at its peak. Another one computes meanwhile, on activations and scratch memory of its own and on blocks of
        // which it finds half among the others', or its results are as good as written: measured, more or less as stages meet.
        let Plan { weight_bytes, activation_bytes, scratch_bytes, .. } = plan.encode;
        let kept_bytes = pool_bytes.saturating_sub(weight_bytes + activation_bytes + scratch_bytes);
        let own_bytes = activation_bytes + kept_bytes / 2 + scratch_bytes;
        let beside = |(number, needs): (usize, &&PictureBytes)| {
            let results = needs.usual_result_bytes / 3 * 2;
            let own = if number < computing { own_bytes } else { 0 };
            needs.pixel_bytes.saturating_add(results.max(own))
        };
        let others = fitting.iter().enumerate().take(held).skip(1).map(beside);
        let largest_bytes = fitting.first().filter(|_| held > 0).map_or(0, |needs| needs.usual_peak_bytes());
        let with_kept = others
            .fold(pool_bytes + cached_bytes + process_bytes + largest_bytes, |sum, bytes| {
                sum.saturating_add(bytes)
            });
        Self {
            budget_bytes,
            pictures: queue.len(),
            refused: queue.iter().map(needed).filter(|one| one.needed_bytes > budget_bytes).collect(),
            largest,
            at_once: held,
            prompts_at_once,
            // What is kept for the next request goes before anything is refused.
            peak_bytes: with_kept.min(budget_bytes.max(least_bytes)),
        }
    }

    /// Whether all pictures fit one by one.
    pub fn carries_all(&self) -> bool {
        self.refused.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(bytes: &[usize]) -> Vec<Queued> {
        let needs = |&pixel_bytes| PictureBytes {
            decoding_bytes: 0,
            pixel_bytes,
            result_bytes: 0,
            usual_result_bytes: 0,
        };
        let all = bytes.iter().enumerate();
        all.map(|(index, bytes)| Queued { name: format!("{index}.png"), needs: needs(bytes) }).collect()
    }

    #[test]
    fn a_queue_is_told_what_fits_beside_the_model_and_what_does_not() {
        let config = ModelConfig::from_catalogue("nano").unwrap();
        let device = Device::reference();
        let plan = ModelPlan::of(&device, &config, Precision::F32).unwrap();
        let job = Job::Segment { prompts: 1 };
        let pool = unbounded_pool_bytes(&device, &config, Precision::F32, job).unwrap();
        assert!(pool > plan.peak_bytes(), "blocks are kept");
        let (process, queue) = (1000, queue(&[500, 9_000, 100, 700]));
        let beside = plan.peak_bytes() + process;
        let beside_them = Beside { pool_bytes: pool, cached_bytes: 0, process_bytes: process };
        let of = |budget, at_once| Forecast::of(&plan, beside_them, budget, &queue, (at_once, 1));
        let tight = of(beside + 800, 4);
        let refused = [Refused { name: "1.png".into(), needed_bytes: beside + 9_000 }];
        assert_eq!(
            (&tight.refused[..], &tight.largest, tight.at_once),
            (&refused[..], &Some(refused[0].clone()), 1)
        );
        assert_eq!((tight.peak_bytes, tight.prompts_at_once), (beside + 800, 1), "no room for kept blocks");
        assert_eq!(of(beside + 1200, 4).at_once, 2, "the largest that fit, not the smallest");
        assert_eq!(of(beside + 1300, 4).at_once, 3);
        assert_eq!(of(beside + 1300, 2).at_once, 2, "as many as were asked for");
        let wide = of(usize::MAX, 2);
        assert!(wide.carries_all());
        assert_eq!((wide.at_once, wide.peak_bytes), (2, pool + process + 9_700));
        assert_eq!(wide.prompts_at_once, PROMPTS_AT_ONCE);
        let both = Forecast::of(&plan, beside_them, usize::MAX, &queue, (2, 2));
        let Plan { weight_bytes, activation_bytes, scratch_bytes, .. } = plan.encode;
        let kept = pool - weight_bytes - activation_bytes - scratch_bytes;
        let more = activation_bytes + kept / 2 + scratch_bytes;
        assert_eq!(both.peak_bytes, wide.peak_bytes + more, "both compute");
        let written = PictureBytes { result_bytes: 900, usual_result_bytes: 600, ..queue[0].needs };
        let written =
            [Queued { name: "w".into(), needs: written }, Queued { name: "x".into(), needs: written }];
        let writes = Forecast::of(&plan, beside_them, usize::MAX, &written, (2, 1));
        assert_eq!(
            writes.peak_bytes,
            pool + process + 1100 + 900,
            "one computes, two thirds of the other's results are there"
        );
        let caching = Beside { cached_bytes: 10_000, ..beside_them };
        let caching = |budget| Forecast::of(&plan, caching, budget, &queue, (2, 1));
        assert_eq!(caching(usize::MAX).peak_bytes, wide.peak_bytes + 10_000, "what is kept is there");
        assert_eq!(caching(beside + 1200), of(beside + 1200, 2), "and goes before anything is refused");
        let none = of(beside + 50, 2);
        assert_eq!((none.refused.len(), none.at_once, none.peak_bytes), (4, 0, beside + 50));
    }
}
