//! Attention of queries to a few places of maps, which they choose themselves.

use crate::{Rows, Tensor};

/// A map among those that a [`DeformableAttention`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampledMap {
    /// Of the map.
    pub rows: usize,
    /// Of the map.
    pub columns: usize,
    /// Places that every head of a query reads here.
    pub points: usize,
}

/// Multi-scale deformable attention (Deformable DETR, <https://arxiv.org/abs/2010.04159>) around boxes: with `P` the places of a
/// head in all maps together,
///
/// ```text
/// y[head] = Σ_p softmax_p(logits[head]) · map_p(centre + offsets[head, p] · size)[head]
/// ```
///
/// where `(centre, size)` is the query's box and `map_p(x, y)` what lies there in the map of point `p`, as `torch`'s `grid_sample`
/// finds it (bilinear, zero outside, `align_corners = false`): between the centres of cells, the map reaching from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct DeformableAttention<'a> {
    /// `[batch, cells, heads · channels]`: the cells of all maps, one map behind the other, each row by row.
    pub values: &'a Tensor,
    /// `heads · P · 2` columns of `[batch, queries, ..]`: x and y of every place, in widths and heights of the box.
    pub offsets: Rows<'a>,
    /// `heads · P` columns of `[batch, queries, ..]`.
    pub logits: Rows<'a>,
    /// `[batch, queries, 4]`: centre x, centre y, width, height, as shares of the maps.
    pub boxes: &'a Tensor,
    /// Number of heads.
    pub heads: usize,
    /// The maps; a head's places are in this order.
    pub maps: &'a [SampledMap],
}
