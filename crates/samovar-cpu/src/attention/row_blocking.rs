//! How an attention with queries in rows is cut into tasks and blocks.

use samovar_tensor::{Error, Result};

use crate::attention::query_rows::RowStrides;
use crate::attention::shape::{AttentionShape, BiasShape};
use crate::gemm::cut::{balanced, odd_lines};
use crate::gemm::micro::{STRIP_ROWS, panel_columns};
use crate::gemm::pairing::panel_rows;
use crate::routes::choice::RowAttention;
use crate::scratch::{SCRATCH_LEN, padded};
use crate::simd::{self, Simd};

/// Most keys of a block: its keys, values and a strip of scores stay in L2 and L1.
const BLOCK_KEYS: usize = 256;

/// Most queries of a task: packing a block of keys is shared by so many.
const BLOCK_QUERIES: usize = 840;

/// Numbers from a row of scores to the next where products are made in pairs: the most columns of a block, and what makes it
/// an odd number of lines.
pub(crate) const PAIRED_SCORE_ROW: usize = 272;

/// Rows of numbers of a panel of keys or values in pairs: see [`crate::gemm::pairing::prepare_panel`].
pub(crate) const NUMBER_ROWS: usize = 3;

/// Numbers from a query of so many channels to the next where products are made in pairs.
pub(crate) fn paired_query_row(channels: usize) -> usize {
    odd_lines(panel_rows(channels))
}

/// Blocks and strides, chosen so that a task fits the scratch memory.
pub(crate) struct RowBlocking {
    /// Queries of a task.
    pub(crate) queries: usize,
    /// Keys of a block.
    pub(crate) keys: usize,
    /// Columns of scores they take: lines of a grid begin with a vector, so that the terms of its columns stay in
    /// registers. The rest of a line is no key.
    pub(crate) columns: usize,
    /// Keys of a line and the columns it takes; one key where there is no grid.
    pub(crate) line: [usize; 2],
    /// Of queries and their terms. Odd numbers of cache lines, so that the rows of a strip do not share L1 sets; so for scores.
    pub(crate) strides: RowStrides,
    pub(crate) score_stride: usize,
    /// Whole vectors, as the kernels write them.
    pub(crate) out_stride: usize,
    /// Queries that are multiplied at once.
    pub(crate) strip: usize,
    /// Products are made in pairs.
    pub(crate) paired: bool,
    /// Values are read where they are: packing them does not pay for a few queries.
    pub(crate) values_in_place: bool,
}

impl RowBlocking {
    pub(crate) fn new<S: Simd>(threads: usize, route: RowAttention, shape: &AttentionShape) -> Result<Self> {
        let width = panel_columns::<S>();
        let paired = route == RowAttention::Paired;
        let query = if paired { paired_query_row(shape.channels) } else { odd_lines(shape.channels) };
        let strides = RowStrides::new::<S>(shape, query);
        let line = line::<S>(shape);
        // Lines of a block: all of a window's, if that does not take much more than usual.
        let all = shape.keys.div_ceil(line[0]);
        let mut lines = balanced(all, (BLOCK_KEYS / line[1]).max(1));
        let mut blocking = Self {
            queries: 0,
            keys: 0,
            columns: 0,
            line,
            strides,
            score_stride: 0,
            out_stride: shape.value_channels.next_multiple_of(S::LANES),
            strip: if paired { simd::paired::ROWS } else { S::ROWS },
            paired,
            values_in_place: route == RowAttention::FewQueries,
        };
        loop {
            blocking.keys = lines * line[0];
            blocking.columns = (lines * line[1]).next_multiple_of(width);
            blocking.score_stride = if paired { PAIRED_SCORE_ROW } else { odd_lines(blocking.columns) };
            let strip = blocking.strip;
            let fixed: usize = blocking.fixed_pieces(shape, width).map(padded).iter().sum();
            let per_query: usize = blocking.pieces_of_a_query().iter().sum();
            // Each piece may round up by a cache line.
            // Strips are whole, even the last.
            let queries =
                (SCRATCH_LEN.saturating_sub(fixed + 10 * padded(1)) / per_query).saturating_sub(strip - 1);
            if queries >= strip.min(shape.most_queries) {
                blocking.queries = queries.min(BLOCK_QUERIES).min(shape.most_queries.max(1));
                break;
            }
            if lines == 1 || blocking.columns <= width {
                return Err(Error::Shape {
                    op: "attention",
                    what: format!("{} channels in one head are more than fit", shape.channels),
                });
            }
            lines = lines.div_ceil(2);
        }
        // Enough tasks for all threads, and whole strips.
        let strip = blocking.strip;
        let tasks = shape.groups * shape.heads;
        while threads > 1
            && blocking.queries > 4 * strip
            && tasks * shape.most_queries.div_ceil(blocking.queries) < 4 * threads
        {
            blocking.queries = blocking.queries.div_ceil(2);
        }
        // A single long line of keys is worth packing twice.
        while blocking.queries > 2 * strip && tasks * shape.most_queries.div_ceil(blocking.queries) < threads
        {
            blocking.queries = blocking.queries.div_ceil(2);
        }
        if (strip + 1..shape.most_queries).contains(&blocking.queries) {
            let blocks = shape.most_queries.div_ceil(blocking.queries);
            let even = shape.most_queries.div_ceil(blocks).next_multiple_of(strip);
            blocking.queries = even.min(blocking.queries / strip * strip);
        }
        Ok(blocking)
    }

    /// Rows that a panel of keys (as many as channels) or of values (as many as keys) takes.
    pub(crate) fn panel_rows(&self, depth: usize) -> usize {
        if self.paired { panel_rows(depth) } else { depth }
    }

    /// Packed keys, packed values, numbers of both, a strip of scores, transposed tables.
    pub(crate) fn fixed_pieces(&self, shape: &AttentionShape, width: usize) -> [usize; 5] {
        let value_columns = shape.value_channels.next_multiple_of(width);
        [
            self.columns * self.panel_rows(shape.channels),
            self.panel_rows(self.keys) * value_columns,
            if self.paired { NUMBER_ROWS * (self.columns + value_columns) } else { 0 },
            STRIP_ROWS * self.score_stride,
            match shape.bias {
                // A panel of keys with their positions.
                BiasShape::KeyPositions => width * self.strides.query,
                _ => self.strides.table_len(shape.channels),
            },
        ]
    }

    /// Query, result, terms of relative positions, maximum, sum, numbers for pairs.
    pub(crate) fn pieces_of_a_query(&self) -> [usize; 6] {
        [self.strides.query, self.out_stride, self.strides.all_terms(), 1, 1, if self.paired { 2 } else { 0 }]
    }

    /// Columns of scores that so many keys take.
    #[inline(always)]
    pub(crate) fn columns_of(&self, keys: usize) -> usize {
        match self.line {
            [_, 1] => keys,
            [line_keys, line_columns] => keys / line_keys * line_columns,
        }
    }
}

/// Keys of a line of the grid and the columns of scores it takes; one key where there is no grid.
fn line<S: Simd>(shape: &AttentionShape) -> [usize; 2] {
    match shape.grid()[1] {
        0 => [1, 1],
        side => [side, side.next_multiple_of(S::LANES)],
    }
}
