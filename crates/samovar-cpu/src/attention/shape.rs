//! An attention without its numbers: what its route and its blocks are chosen by.

use samovar_tensor::{Attention, AttentionBias, Precision, TokenLayout};

use crate::attention::tokens::Tokens;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AttentionShape {
    pub(crate) heads: usize,
    /// Channels of a query and of a key, in one head.
    pub(crate) channels: usize,
    pub(crate) value_channels: usize,
    /// Batch entries or windows.
    pub(crate) groups: usize,
    /// Queries of an entry or a window.
    pub(crate) queries: usize,
    /// Queries of the largest group: entries that share their keys are one.
    pub(crate) most_queries: usize,
    /// Keys of every group.
    pub(crate) keys: usize,
    /// Groups are batch entries, not windows.
    pub(crate) is_sequence: bool,
    pub(crate) bias: BiasShape,
    /// Less than f32 is enough.
    pub(crate) is_reduced: bool,
}

/// What is added to the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BiasShape {
    None,
    /// Relative positions of a grid of tokens.
    Relative {
        grid: [usize; 2],
    },
    Table,
    KeyPositions,
}

impl AttentionShape {
    pub(crate) fn new(a: &Attention, tokens: &Tokens) -> Self {
        Self {
            heads: a.heads,
            channels: a.head_channels,
            value_channels: a.value_channels,
            groups: tokens.groups,
            queries: match a.layout {
                TokenLayout::Sequence { queries, .. } => queries,
                TokenLayout::Windows { window, query_stride, .. } => (window / query_stride).pow(2),
            },
            most_queries: tokens.most_queries,
            keys: tokens.keys,
            is_sequence: tokens.is_sequence(),
            bias: match a.bias {
                AttentionBias::None => BiasShape::None,
                AttentionBias::RelativePosition { grid, .. } => BiasShape::Relative { grid },
                AttentionBias::Table(_) => BiasShape::Table,
                AttentionBias::KeyPositions(_) => BiasShape::KeyPositions,
            },
            is_reduced: a.precision == Precision::Int8,
        }
    }

    /// Lines and columns that a query has terms of relative positions for.
    pub(crate) fn grid(&self) -> [usize; 2] {
        match self.bias {
            BiasShape::Relative { grid } => grid,
            _ => [0, 0],
        }
    }
}
