//! What an evaluation measures, and within which bounds.

/// Smallest share of its picture that a mask must cover to count.
pub const LEAST_SHARE: f64 = 0.001;

/// Most clicks per mask.
pub const MAX_CLICKS: usize = 50;

/// How far apart, in pixels of the picture, boundaries may be to count as matched in boundary F.
pub const BOUNDARY_REACH: u32 = 2;

/// What is measured, and on how much of a pack.
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// Only so many pictures of each source, drawn by name and [`Self::seed`]; `None` for all. Pictures that a pack gains
    /// change the draw of others only by taking the place of those that drew the largest numbers.
    pub pictures_per_source: Option<usize>,
    /// Only so many masks of each picture, drawn by name and [`Self::seed`]; `None` for all.
    pub masks_per_picture: Option<usize>,
    /// Which samples are drawn. Prompts do not depend on it.
    pub seed: u64,
    /// Clicks per mask, 1 to [`MAX_CLICKS`].
    pub clicks: usize,
    /// Worst answers to keep, per source and kind of prompt; each takes the memory of two masks as run lengths.
    pub worst_per_source: usize,
}

impl Default for EvaluateOptions {
    /// The whole pack, ten clicks, no worst answers kept.
    fn default() -> Self {
        Self { pictures_per_source: None, masks_per_picture: None, seed: 0, clicks: 10, worst_per_source: 0 }
    }
}
