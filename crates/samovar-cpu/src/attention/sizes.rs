//! How an attention is cut into tasks and blocks.

use samovar_tensor::{Error, Result};

use super::{Bias, Head, bias, paired};
use crate::attention::tokens::Tokens;
use crate::gemm::micro::{STRIP_ROWS, panel_columns};
use crate::gemm::{balanced, odd_lines};
use crate::level::Products;
use crate::scratch::{SCRATCH_LEN, padded};
use crate::simd::{self, Simd};

/// Most keys of a block: its keys, values and a strip of scores stay in L2 and L1.
const BLOCK_KEYS: usize = 256;

/// Most queries of a task: packing a block of keys is shared by so many.
const BLOCK_QUERIES: usize = 840;

/// Blocks and strides, chosen so that a task fits the scratch memory.
pub(super) struct Sizes {
    /// Queries of a task.
    pub(super) queries: usize,
    /// Keys of a block.
    pub(super) keys: usize,
    /// Columns of scores they take: lines of a grid begin with a vector, so that the terms of its columns stay in
    /// registers. The rest of a line is no key.
    pub(super) columns: usize,
    /// Keys of a line and the columns it takes; one key where there is no grid.
    pub(super) line: [usize; 2],
    /// Row strides. Odd numbers of cache lines, so that the rows of a strip do not share L1 sets.
    pub(super) q_stride: usize,
    pub(super) score_stride: usize,
    /// Whole vectors, as the kernels write them.
    pub(super) out_stride: usize,
    /// Row strides of the two tables of relative positions, transposed.
    pub(super) tables: [usize; 2],
    /// Terms of relative positions of a query, by line and by column, in whole vectors.
    pub(super) terms: [usize; 2],
    /// Queries that are multiplied at once.
    pub(super) strip: usize,
    /// Products are made in pairs; see [`super::paired`].
    pub(super) paired: bool,
    /// Values are read where they are: packing them does not pay for a few queries.
    pub(super) values_in_place: bool,
    /// Lines and columns of the grid a query has terms for.
    pub(super) grid: [usize; 2],
}

impl Sizes {
    pub(super) fn new<S: Simd>(
        threads: usize,
        products: Products,
        head: &Head,
        tokens: &Tokens,
    ) -> Result<Self> {
        let width = panel_columns::<S>();
        let (grid, terms) = match head.bias {
            Bias::Relative { grid, .. } => (grid, grid.map(|side| side.next_multiple_of(S::LANES))),
            _ => ([0, 0], [0, 0]),
        };
        let line = if terms[1] > 0 { [grid[1], terms[1]] } else { [1, 1] };
        // Lines of a block: all of a window's, if that does not take much more than usual.
        let all = tokens.keys.div_ceil(line[0]);
        let mut lines = balanced(all, (BLOCK_KEYS / line[1]).max(1));
        let mut sizes = Self {
            queries: 0,
            keys: 0,
            columns: 0,
            line,
            q_stride: odd_lines(head.channels),
            score_stride: 0,
            out_stride: head.value_channels.next_multiple_of(S::LANES),
            tables: [0, 1].map(|i| bias::table_stride::<S>(grid[i])),
            terms,
            strip: S::ROWS,
            paired: false,
            values_in_place: tokens.is_sequence()
                && tokens.most_queries <= 2 * S::ROWS
                && head.value_channels.is_multiple_of(S::LANES),
            grid,
        };
        loop {
            sizes.keys = lines * line[0];
            sizes.columns = (lines * line[1]).next_multiple_of(width);
            sizes.score_stride = odd_lines(sizes.columns);
            sizes.paired = products == Products::Paired && paired::suits(head, tokens, &sizes);
            if sizes.paired {
                (sizes.strip, sizes.score_stride) = (simd::paired::ROWS, paired::SCORE_ROW);
                sizes.q_stride = paired::query_row(head.channels);
            }
            let strip = sizes.strip;
            let fixed: usize = sizes.fixed_pieces(head, width).map(padded).iter().sum();
            let per_query: usize = sizes.pieces_of_a_query().iter().sum();
            // Each piece may round up by a cache line.
            // Strips are whole, even the last.
            let queries =
                (SCRATCH_LEN.saturating_sub(fixed + 10 * padded(1)) / per_query).saturating_sub(strip - 1);
            if queries >= strip.min(tokens.most_queries) {
                sizes.queries = queries.min(BLOCK_QUERIES).min(tokens.most_queries.max(1));
                break;
            }
            if lines == 1 || sizes.columns <= width {
                return Err(Error::Shape {
                    op: "attention",
                    what: format!("{} channels in one head are more than fit", head.channels),
                });
            }
            lines = lines.div_ceil(2);
        }
        // Enough tasks for all threads, and whole strips.
        let strip = sizes.strip;
        let tasks = tokens.groups * tokens.heads;
        while threads > 1
            && sizes.queries > 4 * strip
            && tasks * tokens.most_queries.div_ceil(sizes.queries) < 4 * threads
        {
            sizes.queries = sizes.queries.div_ceil(2);
        }
        // A single long line of keys is worth packing twice.
        while sizes.queries > 2 * strip && tasks * tokens.most_queries.div_ceil(sizes.queries) < threads {
            sizes.queries = sizes.queries.div_ceil(2);
        }
        if (strip + 1..tokens.most_queries).contains(&sizes.queries) {
            let blocks = tokens.most_queries.div_ceil(sizes.queries);
            let even = tokens.most_queries.div_ceil(blocks).next_multiple_of(strip);
            sizes.queries = even.min(sizes.queries / strip * strip);
        }
        Ok(sizes)
    }

    /// Rows that a panel of keys (as many as channels) or of values (as many as keys) takes.
    pub(super) fn panel_rows(&self, depth: usize) -> usize {
        if self.paired { crate::gemm::paired::panel_rows(depth) } else { depth }
    }

    /// Packed keys, packed values, numbers of both, a strip of scores, transposed tables.
    pub(super) fn fixed_pieces(&self, head: &Head, width: usize) -> [usize; 5] {
        let value_columns = head.value_channels.next_multiple_of(width);
        [
            self.columns * self.panel_rows(head.channels),
            self.panel_rows(self.keys) * value_columns,
            if self.paired { paired::NUMBER_ROWS * (self.columns + value_columns) } else { 0 },
            STRIP_ROWS * self.score_stride,
            match head.bias {
                // A panel of keys with their positions.
                Bias::KeyPositions(_) => width * self.q_stride,
                _ => (self.tables[0] + self.tables[1]) * head.channels,
            },
        ]
    }

    /// Query, result, terms of relative positions, maximum, sum, numbers for pairs.
    pub(super) fn pieces_of_a_query(&self) -> [usize; 6] {
        [self.q_stride, self.out_stride, self.terms[0] + self.terms[1], 1, 1, if self.paired { 2 } else { 0 }]
    }
}
