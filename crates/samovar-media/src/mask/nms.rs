//! Non-maximum suppression: of boxes that overlap too much, the best stays. torchvision's semantics, but for boxes
//! without area: there the IoU is 0 / 0, and torchvision keeps any number of the same box, as of a picture of one pixel.

use std::cmp::Ordering;

use samovar_geometry::{Box2, Frame};

/// Indices of the boxes to keep, best score first. A box goes if its IoU with a better one that stays is *over* the
/// threshold; equal scores keep their order. Arithmetic in f32, as torchvision's kernel; NaN scores come first, as
/// there. Only as many boxes as both slices have are looked at.
pub fn nms<F: Frame>(boxes: &[Box2<F>], scores: &[f32], iou_threshold: f32) -> Vec<usize> {
    keep(boxes, scores, |_, _| true, iou_threshold)
}

/// [`nms`] within each category on its own; boxes of different categories do not touch each other.
pub fn batched_nms<F: Frame>(
    boxes: &[Box2<F>],
    scores: &[f32],
    categories: &[usize],
    iou_threshold: f32,
) -> Vec<usize> {
    let count = boxes.len().min(categories.len());
    keep(&boxes[..count], scores, |a, b| categories[a] == categories[b], iou_threshold)
}

fn keep<F: Frame>(
    boxes: &[Box2<F>],
    scores: &[f32],
    rivals: impl Fn(usize, usize) -> bool,
    iou_threshold: f32,
) -> Vec<usize> {
    let corners: Vec<[f32; 4]> =
        boxes.iter().map(|b| [b.x0 as f32, b.y0 as f32, b.x1 as f32, b.y1 as f32]).collect();
    let areas: Vec<f32> = corners.iter().map(|[x0, y0, x1, y1]| (x1 - x0) * (y1 - y0)).collect();
    let mut order: Vec<usize> = (0..boxes.len().min(scores.len())).collect();
    order.sort_by(|&a, &b| descending(scores[a], scores[b]));
    let mut kept: Vec<usize> = Vec::new();
    for candidate in order {
        let suppressed = kept.iter().any(|&better| {
            rivals(better, candidate) && {
                let (a, b) = (corners[better], corners[candidate]);
                let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
                let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
                let common = width * height;
                a == b && areas[candidate] == 0.0
                    || common / (areas[better] + areas[candidate] - common) > iou_threshold
            }
        });
        if !suppressed {
            kept.push(candidate);
        }
    }
    kept
}

/// Larger first, NaN before all.
fn descending(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

#[cfg(test)]
mod tests;
