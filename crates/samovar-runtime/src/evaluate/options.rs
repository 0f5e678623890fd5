//! What an evaluation measures, and within which bounds.

/// Smallest share of its picture that a mask must cover to count.
pub const LEAST_SHARE: f64 = 0.001;

/// Most clicks per mask.
pub const MAX_CLICKS: usize = 50;

/// What is measured, and on how much of a pack.
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// Only the first so many pictures of each source; `None` for all.
    pub pictures_per_source: Option<usize>,
    /// Only so many masks of each picture, drawn by name; `None` for all.
    pub masks_per_picture: Option<usize>,
    /// Clicks per mask, 1 to [`MAX_CLICKS`].
    pub clicks: usize,
    /// Worst answers to keep, per source and kind of prompt.
    pub worst_per_source: usize,
}

impl Default for EvaluateOptions {
    /// The whole pack, ten clicks, no worst answers kept.
    fn default() -> Self {
        Self { pictures_per_source: None, masks_per_picture: None, clicks: 10, worst_per_source: 0 }
    }
}
