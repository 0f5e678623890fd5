//! The queries of a task in rows, and what they add to the scores: what attention with queries in rows and with queries in
//! lanes have in common.

use std::f32::consts::LOG2_E;

use crate::attention::operands::{Columns, Operands, Place};
use crate::attention::shape::{AttentionShape, BiasShape};
use crate::attention::tokens::Group;
use crate::gemm::cut::odd_lines;
use crate::simd::{Simd, put, take};

/// Distances of rows of queries, of their terms of relative positions and of the tables these are made with.
#[derive(Clone, Copy)]
pub(crate) struct RowStrides {
    /// From a query to the next.
    pub(crate) query: usize,
    /// Row strides of the two tables of relative positions, transposed.
    pub(crate) tables: [usize; 2],
    /// Terms of relative positions of a query, by line and by column, in whole vectors.
    pub(crate) terms: [usize; 2],
    /// Lines and columns of the grid a query has terms for.
    pub(crate) grid: [usize; 2],
}

impl RowStrides {
    pub(crate) fn new<S: Simd>(shape: &AttentionShape, query: usize) -> Self {
        let grid = shape.grid();
        let terms = match shape.bias {
            BiasShape::Relative { grid } => grid.map(|side| side.next_multiple_of(S::LANES)),
            _ => [0, 0],
        };
        Self { query, tables: grid.map(table_stride::<S>), terms, grid }
    }

    /// Numbers from the terms of a query to those of the next.
    #[inline(always)]
    pub(crate) fn all_terms(&self) -> usize {
        self.terms[0] + self.terms[1]
    }

    /// Numbers of both tables.
    pub(crate) fn table_len(&self, channels: usize) -> usize {
        (self.tables[0] + self.tables[1]) * channels
    }
}

/// Row stride of a transposed table: room for whole tiles, and for whole vectors from any piece's start on.
fn table_stride<S: Simd>(side: usize) -> usize {
    match side {
        0 => 0,
        _ => {
            let tiles = (2 * side - 1).next_multiple_of(S::LANES);
            odd_lines(tiles.max(side - 1 + side.next_multiple_of(S::LANES)))
        }
    }
}

/// The queries of a task, of one head.
pub(crate) struct QueryRows<'a> {
    pub(crate) operands: &'a Operands<'a>,
    pub(crate) strides: RowStrides,
    /// Which head.
    pub(crate) index: usize,
    pub(crate) group: Group,
    /// First query of the task, and how many.
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) q: &'a mut [f32],
    /// Terms of relative positions.
    pub(crate) terms: &'a mut [f32],
    /// Transposed tables of relative positions; or room for a panel of keys with their positions.
    pub(crate) tables: &'a mut [f32],
}

impl<'a> QueryRows<'a> {
    /// The head of the group that this is about.
    #[inline(always)]
    pub(crate) fn place(&self) -> Place {
        Place { group: self.group, index: self.index }
    }

    /// Copies the task's queries, scaled only to powers of 2: `e^x = 2^(x log₂ e)`, and powers of 2 are cheaper.
    #[inline(always)]
    pub(crate) fn take_queries<S: Simd>(&mut self, s: S) {
        let (q, channels) = (self.operands.q, self.operands.channels);
        for i in 0..self.count {
            let row = self.group.queries.row(self.first + i);
            let from = q.head(row, self.index, channels);
            let to = &mut self.q[i * self.strides.query..][..channels];
            for c in (0..channels).step_by(S::LANES) {
                let n = S::LANES.min(channels - c);
                // SAFETY: `n` numbers are left of both.
                unsafe {
                    let q = s.mul(take(s, from.as_ptr().add(c), n), s.splat(LOG2_E));
                    put(s, to.as_mut_ptr().add(c), q, n);
                }
            }
        }
    }

    #[inline(always)]
    pub(crate) fn scale_queries<S: Simd>(&mut self, s: S) {
        let scale = s.splat(self.operands.scale);
        // The stride is whole vectors; what lies behind the channels does not matter.
        for chunk in self.q[..self.count * self.strides.query].chunks_exact_mut(S::LANES) {
            // SAFETY: a whole vector.
            unsafe { s.store(chunk.as_mut_ptr(), s.mul(s.load(chunk.as_ptr()), scale)) };
        }
    }

    /// Asks for the rows of some keys and their values.
    #[inline(always)]
    pub(crate) fn prefetch_keys<S: Simd>(&self, s: S, first: usize, count: usize) {
        let operands = self.operands;
        for key in first..first + count {
            let Some(row) = self.group.keys.row_or_padding(key) else { continue };
            for (part, channels) in [(operands.k, operands.channels), (operands.v, operands.value_channels)] {
                let start = row * part.stride + part.first + self.index * channels;
                for i in (0..channels).step_by(16) {
                    s.prefetch_to_read(part.values.as_ptr().wrapping_add(start + i));
                }
            }
        }
    }

    /// A query's share of the next head's rows, in tasks of so many queries and blocks of so many keys: all of them are
    /// asked for while this head is worked on. Few at a time, since a core has few requests under way, and more of them do
    /// not help.
    #[inline(always)]
    pub(crate) fn prefetch_next<S: Simd>(
        &self,
        s: S,
        query: usize,
        next: &Place,
        [block_queries, block_keys]: [usize; 2],
    ) {
        let operands = self.operands;
        // Its first block of keys; it asks for the others itself.
        let keys = next.group.keys.count().min(block_keys);
        let share = keys.div_ceil(self.count);
        let of_query = |all: usize| (query * share).min(all)..((query + 1) * share).min(all);
        let ask = |row: usize, columns: Columns<'a>, channels: usize| {
            let start = row * columns.stride + columns.first + next.index * channels;
            for i in (0..channels).step_by(16) {
                s.prefetch_to_read(columns.values.as_ptr().wrapping_add(start + i));
            }
        };
        let queries = next.group.queries;
        for i in of_query(queries.count().min(block_queries)) {
            ask(queries.row(self.first + i), operands.q, operands.channels);
        }
        for key in of_query(keys) {
            if let Some(row) = next.group.keys.row_or_padding(key) {
                ask(row, operands.k, operands.channels);
                ask(row, operands.v, operands.value_channels);
            }
        }
    }
}
