//! Dimensions of one stage of a trunk that halves its map from stage to stage.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) channels: usize,
    /// Blocks.
    pub(crate) depth: usize,
    /// Hidden channels of a block.
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    /// Window side.
    pub(crate) window: usize,
}
