//! Which masks stay when several show the same: within a crop, across crops, and after small regions were removed.

use samovar_geometry::{Box2, Image};
use samovar_media::{Rle, SmallRegions, nms, remove_small_regions};

use super::candidate::Candidate;
use crate::error::Result;

/// The best of masks whose boxes overlap, best first; equal scores keep their order.
pub(super) fn best_of_overlapping(
    candidates: Vec<Candidate>,
    score: impl Fn(&Candidate) -> f32,
    iou_threshold: f64,
) -> Vec<Candidate> {
    let boxes: Vec<Box2<Image>> = candidates.iter().map(|candidate| candidate.bounds).collect();
    let scores: Vec<f32> = candidates.iter().map(score).collect();
    taken(candidates, &nms(&boxes, &scores, just_below(iou_threshold)))
}

/// Of the same mask in several crops, that of the smallest.
pub(super) fn across_crops(candidates: Vec<Candidate>, iou_threshold: f64) -> Vec<Candidate> {
    best_of_overlapping(candidates, |mask| 1.0 / mask.crop.size.area() as f32, iou_threshold)
}

/// Upstream's `postprocess_small_regions`: fills holes and drops islands of fewer than `min_area` pixels, then suppresses
/// again, masks that needed no change being better. Boxes of unchanged masks stay as they were.
pub(super) fn without_small_regions(
    candidates: Vec<Candidate>,
    min_area: u32,
    iou_threshold: f64,
) -> Result<Vec<Candidate>> {
    let mut boxes = Vec::with_capacity(candidates.len());
    let mut scores = Vec::with_capacity(candidates.len());
    let mut cleaned = Vec::with_capacity(candidates.len());
    for mut candidate in candidates {
        let mut mask = candidate.rle.to_mask()?;
        let filled = remove_small_regions(&mut mask, f64::from(min_area), SmallRegions::Holes)?;
        let dropped = remove_small_regions(&mut mask, f64::from(min_area), SmallRegions::Islands)?;
        let changed = filled || dropped;
        let bounds = mask.tight_box().unwrap_or_default();
        if changed {
            candidate.rle = Rle::from_mask(&mask)?;
            candidate.bounds = bounds;
        }
        boxes.push(bounds);
        scores.push(if changed { 0.0 } else { 1.0 });
        cleaned.push(candidate);
    }
    Ok(taken(cleaned, &nms(&boxes, &scores, just_below(iou_threshold))))
}

/// `candidates[order[0]], candidates[order[1]], ...`
fn taken(candidates: Vec<Candidate>, order: &[usize]) -> Vec<Candidate> {
    let mut candidates: Vec<Option<Candidate>> = candidates.into_iter().map(Some).collect();
    order.iter().filter_map(|&index| candidates[index].take()).collect()
}

/// The largest f32 that is not over `threshold`. torchvision compares IoUs in f32 with a threshold in f64; an IoU of four
/// fifths is over 0.8 there, because the nearest f32 is.
pub(super) fn just_below(threshold: f64) -> f32 {
    let nearest = threshold as f32;
    if f64::from(nearest) > threshold { nearest.next_down() } else { nearest }
}
