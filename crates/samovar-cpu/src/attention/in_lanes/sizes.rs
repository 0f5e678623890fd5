//! How an attention with queries in lanes is cut into tasks and blocks.

use samovar_tensor::Result;

use super::kernels::{strip, tile};
use crate::attention::sizes::Sizes as RowSizes;
use crate::attention::tokens::Tokens;
use crate::attention::{Bias, Head};
use crate::gemm::balanced;
use crate::level::Products;
use crate::scratch::{SCRATCH_LEN, padded};
use crate::simd::Simd;
use crate::simd::product::Product;

/// Most keys of a block: the weights of a tile for them stay in L1.
const BLOCK_KEYS: usize = 280;

/// Most queries of a task: packing a block of keys is shared by so many.
const BLOCK_QUERIES: usize = 512;

/// Blocks and strides, chosen so that a task fits the scratch memory.
pub(super) struct Sizes {
    /// Of queries in rows, for what both ways have in common.
    pub(super) rows: RowSizes,
    /// Queries of a task, whole tiles.
    pub(super) queries: usize,
    /// Keys of a block, whole strips.
    pub(super) keys: usize,
    /// Lanes of a query or key, and how many of them hold channels.
    pub(super) stride: usize,
    pub(super) depth: usize,
    /// Lanes of a group of values: the channels and a 1, whose sum is that of the weights.
    pub(super) value_stride: usize,
    /// Lines of a grid that a block of keys touches.
    pub(super) lines: usize,
}

impl Sizes {
    /// `None` where this way does not pay or does not fit.
    pub(super) fn new<P: Product>(threads: usize, head: &Head, tokens: &Tokens) -> Result<Option<Self>> {
        let tile = tile::<P::S>();
        let is_small = tokens.most_queries < tile || tokens.keys < tile;
        if is_small || matches!(head.bias, Bias::KeyPositions(_) | Bias::Table { .. }) {
            return Ok(None);
        }
        let rows = RowSizes::new::<P::S>(threads, Products::Plain, head, tokens)?;
        let depth = head.channels.div_ceil(P::GROUP);
        let all_queries = tokens.most_queries.next_multiple_of(tile);
        let line_len = rows.grid[1];
        let mut sizes = Self {
            queries: 0,
            keys: balanced(tokens.keys, BLOCK_KEYS).next_multiple_of(strip::<P>()),
            stride: depth.next_multiple_of(P::S::LANES),
            depth,
            value_stride: (head.value_channels + 1).next_multiple_of(P::S::LANES),
            lines: 0,
            rows,
        };
        loop {
            sizes.lines = (sizes.keys - 1).checked_div(line_len).map_or(1, |lines| lines + 2);
            let fixed: usize = sizes.fixed_pieces::<P>(head).map(padded).iter().sum();
            let per_query: usize = sizes.pieces_of_a_query(head).iter().sum();
            // Each piece may round up by a cache line.
            let queries = SCRATCH_LEN.saturating_sub(fixed + 8 * padded(1)) / per_query / tile * tile;
            sizes.queries = queries.min(BLOCK_QUERIES).min(all_queries);
            if sizes.queries >= tile {
                break;
            }
            if sizes.keys <= strip::<P>() {
                return Ok(None);
            }
            sizes.keys = sizes.keys.div_ceil(2).next_multiple_of(strip::<P>());
        }
        // Enough tasks for all threads, and whole tiles.
        let tasks = tokens.groups * tokens.heads;
        let wanted = if threads > 1 { 4 * threads } else { 1 };
        while sizes.queries > 2 * tile && tasks * tokens.most_queries.div_ceil(sizes.queries) < wanted {
            sizes.queries = sizes.queries.div_ceil(2).next_multiple_of(tile);
        }
        let blocks = tokens.most_queries.div_ceil(sizes.queries);
        sizes.queries = tokens.most_queries.div_ceil(blocks).next_multiple_of(tile);
        Ok(Some(sizes))
    }

    /// Packed keys, packed values, weights of a tile, transposed tables of relative positions, lines less the shift,
    /// rows on their way to lanes and back.
    pub(super) fn fixed_pieces<P: Product>(&self, head: &Head) -> [usize; 6] {
        let tile = tile::<P::S>();
        let groups = self.keys.div_ceil(P::GROUP);
        [
            self.keys * self.stride,
            groups * self.value_stride,
            groups * tile,
            (self.rows.tables[0] + self.rows.tables[1]) * head.channels,
            (self.lines + 1) * tile,
            P::S::LANES * self.stride.max(P::S::LANES),
        ]
    }

    /// Query as a row and in a lane, result, terms of relative positions in a row and in a lane, shift, largest exponent.
    pub(super) fn pieces_of_a_query(&self, head: &Head) -> [usize; 7] {
        let terms = self.rows.terms[0] + self.rows.terms[1];
        [self.rows.q_stride, self.stride, head.value_channels + 1, terms, terms, 1, 1]
    }
}
