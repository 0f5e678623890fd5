//! How far the generator is, and how many masks each step kept.

/// How many masks each step kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Masks that were scored: three per point.
    pub candidates: usize,
    /// Those over the predicted IoU.
    pub predicted_iou: usize,
    /// Those of them that are stable.
    pub stability: usize,
    /// Those of them not cut off by a crop's edge.
    pub crop_edge: usize,
    /// Those of them that no better one of their crop covers.
    pub suppression: usize,
}

/// How far [`generate`](super::generate) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The crop under way, from 0; `crops` once all are done.
    pub crop: usize,
    /// Number of crops, the whole image included.
    pub crops: usize,
    /// Points that have been asked, in all crops.
    pub points_done: usize,
    /// Points of all crops.
    pub points: usize,
    /// Masks so far.
    pub stages: Stages,
}
