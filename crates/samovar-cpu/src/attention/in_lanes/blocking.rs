//! How an attention with queries in lanes is cut into tasks and blocks.

use crate::attention::in_lanes::kernels::{strip, tile};
use crate::attention::query_rows::RowStrides;
use crate::attention::shape::AttentionShape;
use crate::gemm::cut::{balanced, odd_lines};
use crate::scratch::{SCRATCH_LEN, padded};
use crate::simd::Simd;
use crate::simd::product::Product;

/// Most keys of a block: the weights of a tile for them stay in L1.
const BLOCK_KEYS: usize = 280;

/// Most queries of a task: packing a block of keys is shared by so many.
const BLOCK_QUERIES: usize = 512;

/// Blocks and strides, chosen so that a task fits the scratch memory.
pub(crate) struct LaneBlocking {
    /// Of queries while they are in rows.
    pub(crate) rows: RowStrides,
    /// Queries of a task, whole tiles.
    pub(crate) queries: usize,
    /// Keys of a block, whole strips.
    pub(crate) keys: usize,
    /// Lanes of a query or key, and how many of them hold channels.
    pub(crate) stride: usize,
    pub(crate) depth: usize,
    /// Lanes of a group of values: the channels and a 1, whose sum is that of the weights.
    pub(crate) value_stride: usize,
    /// Lines of a grid that a block of keys touches.
    pub(crate) lines: usize,
}

impl LaneBlocking {
    /// For one thread; `None` where a task does not fit the scratch memory.
    pub(crate) fn fit<P: Product>(shape: &AttentionShape) -> Option<Self> {
        let tile = tile::<P::S>();
        let rows = RowStrides::new::<P::S>(shape, odd_lines(shape.channels));
        let depth = shape.channels.div_ceil(P::GROUP);
        let all_queries = shape.most_queries.next_multiple_of(tile);
        let line_len = rows.grid[1];
        let mut blocking = Self {
            queries: 0,
            keys: balanced(shape.keys, BLOCK_KEYS).next_multiple_of(strip::<P>()),
            stride: depth.next_multiple_of(P::S::LANES),
            depth,
            value_stride: (shape.value_channels + 1).next_multiple_of(P::S::LANES),
            lines: 0,
            rows,
        };
        loop {
            blocking.lines = (blocking.keys - 1).checked_div(line_len).map_or(1, |lines| lines + 2);
            let fixed: usize = blocking.fixed_pieces::<P>(shape).map(padded).iter().sum();
            let per_query: usize = blocking.pieces_of_a_query(shape).iter().sum();
            // Each piece may round up by a cache line.
            let queries = SCRATCH_LEN.saturating_sub(fixed + 8 * padded(1)) / per_query / tile * tile;
            blocking.queries = queries.min(BLOCK_QUERIES).min(all_queries);
            if blocking.queries >= tile {
                break;
            }
            if blocking.keys <= strip::<P>() {
                return None;
            }
            blocking.keys = blocking.keys.div_ceil(2).next_multiple_of(strip::<P>());
        }
        Some(blocking)
    }

    /// Smaller tasks: enough for all threads, and whole tiles.
    pub(crate) fn shared<P: Product>(mut self, threads: usize, shape: &AttentionShape) -> Self {
        let tile = tile::<P::S>();
        let tasks = shape.groups * shape.heads;
        let wanted = if threads > 1 { 4 * threads } else { 1 };
        while self.queries > 2 * tile && tasks * shape.most_queries.div_ceil(self.queries) < wanted {
            self.queries = self.queries.div_ceil(2).next_multiple_of(tile);
        }
        let blocks = shape.most_queries.div_ceil(self.queries);
        self.queries = shape.most_queries.div_ceil(blocks).next_multiple_of(tile);
        self
    }

    /// Packed keys, packed values, weights of a tile, transposed tables of relative positions, lines less the shift,
    /// rows on their way to lanes and back.
    pub(crate) fn fixed_pieces<P: Product>(&self, shape: &AttentionShape) -> [usize; 6] {
        let tile = tile::<P::S>();
        let groups = self.keys.div_ceil(P::GROUP);
        [
            self.keys * self.stride,
            groups * self.value_stride,
            groups * tile,
            self.rows.table_len(shape.channels),
            (self.lines + 1) * tile,
            P::S::LANES * self.stride.max(P::S::LANES),
        ]
    }

    /// Query as a row and in a lane, result, terms of relative positions in a row and in a lane, shift, largest exponent.
    pub(crate) fn pieces_of_a_query(&self, shape: &AttentionShape) -> [usize; 7] {
        let terms = self.rows.all_terms();
        [self.rows.query, self.stride, shape.value_channels + 1, terms, terms, 1, 1]
    }
}
