//! One crop: encode, score all points, draw what the scores let through, measure, and suppress repetitions.

use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use samovar_geometry::{Image, Point};
use samovar_media::{RgbImage, Rle, Upscaler};
use samovar_models::{MaskChoice, MaskOutput, PromptBatch};
use samovar_tensor::{SetAside, Tensor};

use super::candidate::Candidate;
use super::grid::Crop;
use super::options::AutomaticOptions;
use super::progress::Stages;
use super::suppress::best_of_overlapping;
use crate::engine::retry_midway;
use crate::error::{Error, Result};
use crate::model::{Embedding, Model};
use crate::segmentation::{MASK_THRESHOLD, tell_of_masks};

/// All that a crop's work needs.
pub(super) struct CropRun<'a> {
    pub(super) model: &'a Model,
    pub(super) image: &'a RgbImage,
    pub(super) options: &'a AutomaticOptions,
    pub(super) crop: Crop,
    /// Bytes of the masks of crops before.
    pub(super) held_bytes: usize,
    /// Bytes that masks may take without being counted.
    pub(super) room_bytes: usize,
}

/// What masks that were found are, in messages.
pub(super) const MASKS_FOUND: &str = "the masks found so far";

/// A mask whose predicted IoU suffices, and its logits, on the host.
struct Drawn {
    logits: Tensor,
    predicted_iou: f32,
    point: Point<Image>,
}

/// What became of a [`Drawn`].
enum Measured {
    Unstable,
    CutOff,
    Kept(Candidate),
}

impl CropRun<'_> {
    /// `points` are shares of the crop's sides. `aside` counts the masks; `report` is told about points done and adds to `stages`.
    pub(super) fn run(
        &self,
        points: &[[f64; 2]],
        mut stages: Stages,
        aside: &mut SetAside,
        report: &mut dyn FnMut(usize, Stages) -> Result<()>,
    ) -> Result<Vec<Candidate>> {
        report(0, stages)?;
        let Crop { x0, y0, size, .. } = self.crop;
        let embedding = match self.crop.layer {
            0 => self.model.embed_pixels(self.image)?,
            _ => self.model.embed_pixels(&self.image.crop(x0, y0, x0 + size.width, y0 + size.height)?)?,
        };
        let mut found = Vec::new();
        let mut held_bytes = self.held_bytes;
        let mut done = 0;
        let engine = self.model.engine();
        let batches = engine.batches(engine.at_once(self.options.points_per_batch));
        batches.for_each_batch(points, None, retry_midway, |batch| {
            // What memory ran out on is done again, so it counts only when all of the batch is done.
            let (mut some, mut of_some) = (Vec::new(), stages);
            let mut rest = batch;
            while !rest.is_empty() {
                engine.tend();
                let planner = self.model.planner();
                let most = engine.at_once(rest.len());
                let (at_once, promise) = engine.enter(|memory| planner.admit_clicks(most, memory))?;
                let (now, later) = rest.split_at(at_once);
                let in_crop =
                    |&[x, y]: &[f64; 2]| Point::new(x * f64::from(size.width), y * f64::from(size.height));
                let clicks: Vec<Point<Image>> = now.iter().map(in_crop).collect();
                let drawn = self.draw(&embedding, &clicks, &mut of_some)?;
                let (drawn_masks, pixels) = (drawn.len(), size.area() as usize);
                let measured = self.postprocess(
                    "measure_masks",
                    [drawn_masks, pixels],
                    drawn_masks * pixels / 8,
                    || self.measure(embedding.upscaler(), &drawn),
                )?;
                for measured in measured {
                    of_some.stability += usize::from(!matches!(measured, Measured::Unstable));
                    if let Measured::Kept(candidate) = measured {
                        of_some.crop_edge += 1;
                        some.push(candidate);
                    }
                }
                drop((drawn, promise));
                let more_bytes: usize = some.iter().map(Candidate::size_bytes).sum();
                // Masks are not tensors, but they count towards the same budget.
                let counted_bytes = (held_bytes + more_bytes).saturating_sub(self.room_bytes);
                engine.set_aside_more(aside, MASKS_FOUND, counted_bytes)?;
                rest = later;
                report(done + batch.len() - rest.len(), of_some)?;
            }
            held_bytes += some.iter().map(Candidate::size_bytes).sum::<usize>();
            found.append(&mut some);
            (done, stages) = (done + batch.len(), of_some);
            Ok::<_, Error>(ControlFlow::Continue(()))
        })?;
        drop(embedding);
        let (boxes, threshold) = (found.len(), self.options.box_nms_thresh);
        let found = self.postprocess("suppress", [boxes, 4], boxes * size_of::<[f64; 4]>(), || {
            best_of_overlapping(found, |mask| mask.predicted_iou, threshold)
        });
        stages.suppression += found.len();
        report(points.len(), stages)?;
        found.into_iter().map(|candidate| candidate.placed(self.image)).collect()
    }

    /// Work of the host after the model's.
    fn postprocess<T>(
        &self,
        op: &'static str,
        made: [usize; 2],
        bytes: usize,
        work: impl FnOnce() -> T,
    ) -> T {
        self.model.device().stage("postprocess").host_work(op, made, bytes, work)
    }

    /// Scores points and draws the masks that pass.
    fn draw(
        &self,
        embedding: &Embedding,
        points: &[Point<Image>],
        stages: &mut Stages,
    ) -> Result<Vec<Drawn>> {
        let (segmenter, device) = (self.model.segmenter(), &self.model.device().stage("decoder"));
        let features = embedding.features();
        let scored = segmenter.score(device, features, &self.prompts(points))?;
        let scores = device.download(&scored.iou_scores)?.wait()?.to_f32_vec()?;
        self.model.check_finite(&scores)?;
        let masks_per_point = scores.len() / points.len();
        let threshold = self.options.pred_iou_thresh;
        let passes = |score: f32| threshold <= 0.0 || score > threshold;
        let of_point = |(point, scores): (usize, &[f32])| {
            let masks = match self.model.recommendations().best_first {
                // Of equal scores the first wins, as torch's max.
                true => {
                    let best = MaskChoice::BestOfMultimask.choose(scores, &[]);
                    best..best + 1
                }
                false => 0..masks_per_point,
            };
            masks.map(move |mask| (point, mask))
        };
        let candidates: Vec<(usize, usize)> =
            scores.chunks_exact(masks_per_point).enumerate().flat_map(of_point).collect();
        stages.candidates += candidates.len();

        let score_of = |&(point, mask): &(usize, usize)| scores[point * masks_per_point + mask];
        let chosen: Vec<(usize, usize)> =
            candidates.into_iter().filter(|candidate| passes(score_of(candidate))).collect();
        stages.predicted_iou += chosen.len();
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let logits = segmenter.draw_chosen(device, features, &scored, &chosen)?;
        let logits = device.download(&logits)?.wait()?;
        tell_of_masks(self.model.engine().events(), device, chosen.len());
        let drawn = chosen.iter().enumerate().map(|(index, candidate)| {
            let (predicted_iou, point) = (score_of(candidate), points[candidate.0]);
            Ok(Drawn { logits: logits.narrow(index, 1)?, predicted_iou, point })
        });
        drawn.collect()
    }

    fn prompts(&self, points: &[Point<Image>]) -> PromptBatch {
        let input_from_crop = self.model.resize_rule().input_from_image(self.crop.size);
        PromptBatch {
            prompts: points.len(),
            points: points.iter().map(|&point| input_from_crop * point).collect(),
            labels: vec![1; points.len()],
            output: MaskOutput::Multimask,
            ..PromptBatch::default()
        }
    }

    /// Measures masks, several at a time: one mask is too little work for all threads.
    fn measure(&self, upscaler: &Upscaler, drawn: &[Drawn]) -> Result<Vec<Measured>> {
        let threads = self.model.engine().threads().min(drawn.len());
        if threads <= 1 {
            return drawn.iter().map(|drawn| self.measure_one(upscaler, drawn)).collect();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                match drawn.get(index) {
                    Some(mask) => done.push((index, self.measure_one(upscaler, mask))),
                    None => return done,
                }
            }
        };
        let mut all = thread::scope(|scope| {
            // What threads the system does not give leave undone, this one does.
            let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
            let workers: Vec<_> = (1..threads).filter_map(spawn).collect();
            let mut all = work();
            for worker in workers {
                all.extend(worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            all
        });
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, measured)| measured).collect()
    }

    fn measure_one(&self, upscaler: &Upscaler, drawn: &Drawn) -> Result<Measured> {
        let options = self.options;
        let logits = drawn.logits.f32()?;
        self.model.check_finite(logits)?;
        let measured = upscaler.measured_mask(logits, MASK_THRESHOLD, options.stability_score_offset, 1)?;
        let stability_score = measured.stability_score();
        let is_stable = stability_score >= options.stability_score_thresh; // never if NaN
        if options.stability_score_thresh > 0.0 && !is_stable {
            return Ok(Measured::Unstable);
        }
        let bounds = measured.tight_box.unwrap_or_default();
        if self.crop.cuts(self.crop.box_in_image(bounds), self.image.size()) {
            return Ok(Measured::CutOff);
        }
        Ok(Measured::Kept(Candidate {
            rle: Rle::from_mask(&measured.mask)?,
            bounds,
            predicted_iou: drawn.predicted_iou,
            stability_score,
            point: drawn.point,
            crop: self.crop,
        }))
    }
}
