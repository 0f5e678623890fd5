//! A task of attention with queries in rows: its scratch memory, and what plain products and products in pairs share.

use crate::attention::operands::{Bias, Operands, Place};
use crate::attention::query_rows::QueryRows;
use crate::attention::row_blocking::RowBlocking;
use crate::attention::shape::AttentionShape;
use crate::gemm::micro::panel_columns;
use crate::gemm::output::Output;
use crate::gemm::pack::{copy_panel, pack_panel};
use crate::math::exp2_of_negative;
use crate::scratch::Scratch;
use crate::simd::{Simd, put, take};

/// One task.
pub(crate) struct RowTask<'a> {
    pub(crate) blocking: &'a RowBlocking,
    pub(crate) queries: QueryRows<'a>,
    pub(crate) keys: &'a mut [f32],
    pub(crate) values: &'a mut [f32],
    /// Of the panels of keys, then of those of values, where products are made in pairs.
    pub(crate) numbers: &'a mut [f32],
    pub(crate) scores: &'a mut [f32],
    pub(crate) out: &'a mut [f32],
    largest: &'a mut [f32],
    sums: &'a mut [f32],
    /// Of every query, where products are made in pairs.
    pub(crate) query_numbers: &'a mut [f32],
}

impl<'a> RowTask<'a> {
    /// Queries `first..first + count` of a head.
    pub(crate) fn new<S: Simd>(
        operands: &'a Operands<'a>,
        shape: &AttentionShape,
        blocking: &'a RowBlocking,
        Place { group, index }: Place,
        first: usize,
        count: usize,
        scratch: &'a mut Scratch,
    ) -> Self {
        let [a, b, c, d, e] = blocking.fixed_pieces(shape, panel_columns::<S>());
        let queries = blocking.queries.next_multiple_of(blocking.strip);
        let [f, g, h, i, j, k] = blocking.pieces_of_a_query().map(|len| len * queries);
        let [keys, values, numbers, scores, tables, q, out, terms, largest, sums, query_numbers] =
            scratch.split([a, b, c, d, e, f, g, h, i, j, k]);
        let strides = blocking.strides;
        let queries = QueryRows { operands, strides, index, group, first, count, q, terms, tables };
        Self { blocking, queries, keys, values, numbers, scores, out, largest, sums, query_numbers }
    }

    /// Packs a block of keys (transposed) and values.
    #[inline(always)]
    pub(crate) fn pack_keys<S: Simd>(&mut self, s: S, first: usize, count: usize) {
        let width = panel_columns::<S>();
        let (operands, place) = (self.queries.operands, self.queries.place());
        let [line_keys, line_columns] = self.blocking.line;
        let all_columns = self.blocking.columns_of(count);
        for start in (0..all_columns).step_by(width) {
            let panel_rows = self.blocking.panel_rows(operands.channels);
            let to = self.keys[start * panel_rows..][..width * panel_rows].as_mut_ptr();
            // Columns behind the keys, or a line's keys, repeat the last one; their scores do not count.
            let columns = width.min((all_columns - start).next_multiple_of(S::LANES));
            let key = |j: usize| {
                let key = match line_columns {
                    1 => (start + j).min(count - 1),
                    n => (start + j) / n * line_keys + ((start + j) % n).min(line_keys - 1),
                };
                operands.key_row(operands.k, place, operands.channels, first + key)
            };
            let Bias::KeyPositions(positions) = operands.bias else {
                // SAFETY: rows of as many channels, into a panel's size.
                unsafe { pack_panel(s, columns, operands.channels, key, to) };
                continue;
            };
            let placed = self.queries.tables.as_mut_ptr();
            let stride = self.blocking.strides.query;
            for j in 0..columns {
                let position = (first + (start + j).min(count - 1)) * positions.stride
                    + self.queries.index * operands.channels;
                let position = positions.values[position..][..operands.channels].as_ptr();
                for c in (0..operands.channels).step_by(S::LANES) {
                    let n = S::LANES.min(operands.channels - c);
                    // SAFETY: `n` numbers are left of both rows, and the piece has a panel of rows.
                    unsafe {
                        let sum = s.add(take(s, key(j).add(c), n), take(s, position.add(c), n));
                        put(s, placed.add(j * stride + c), sum, n);
                    }
                }
            }
            // SAFETY: as above.
            unsafe { pack_panel(s, columns, operands.channels, |j| placed.add(j * stride), to) };
        }
        let channels = if self.blocking.values_in_place { 0 } else { operands.value_channels };
        let panel_rows = self.blocking.panel_rows(self.blocking.keys);
        for channel in (0..channels).step_by(width) {
            let to = self.values[channel * panel_rows..][..width * count].as_mut_ptr();
            let value = |i| {
                operands.key_row(operands.v, place, operands.value_channels, first + i).wrapping_add(channel)
            };
            // SAFETY: rows of as many channels, into a panel's size.
            unsafe { copy_panel(s, width.min(operands.value_channels - channel), count, value, to) };
        }
    }

    /// Where the results of a strip go to.
    #[inline(always)]
    pub(crate) fn prefetch_result<S: Simd>(&self, s: S, out: Output, strip: usize, rows: usize) {
        let channels = self.queries.operands.value_channels;
        for i in strip..strip + rows {
            let row = self.queries.group.queries.row(self.queries.first + i);
            for c in (0..channels).step_by(16) {
                s.prefetch_to_write(out.at(row, self.queries.index * channels + c));
            }
        }
    }

    /// Turns scores into weights relative to the largest score so far.
    #[inline(always)]
    pub(crate) fn soften<S: Simd>(
        &mut self,
        s: S,
        strip: usize,
        rows: usize,
        first_key: usize,
        count: usize,
        tops: &[f32],
        next: Option<&Place>,
    ) {
        let columns = self.blocking.columns_of(count);
        let whole = columns.next_multiple_of(S::LANES);
        // Weights lie close together, without the columns that are no keys.
        let [line_keys, line_columns] = match self.blocking.line {
            [_, 1] => [whole, whole],
            line => line,
        };
        for (r, top) in tops.chunks_exact(S::LANES).take(rows).enumerate() {
            let query = strip + r;
            if let Some(next) = next {
                let block = [self.blocking.queries, self.blocking.keys];
                self.queries.prefetch_next(s, query, next, block);
            }
            let scores = &mut self.scores[r * self.blocking.score_stride..][..whole];
            // SAFETY: a whole vector.
            let largest = s.largest(unsafe { s.load(top.as_ptr()) });
            let before = if first_key > 0 { self.largest[query] } else { f32::NEG_INFINITY };
            let now = before.max(largest);
            let (shift, mut sum) = (s.splat(now), s.splat(0.0));
            let (mut from, mut to) = (scores.as_ptr(), scores.as_mut_ptr());
            for _ in 0..whole / line_columns {
                for i in (0..line_columns).step_by(S::LANES) {
                    // SAFETY: whole vectors of the row; results go no further than what has been read. What lies behind
                    // a line's weights is written over by the next.
                    unsafe {
                        let weight = exp2_of_negative(s, s.sub(s.load(from.add(i)), shift));
                        sum = s.add(sum, weight);
                        s.store(to.add(i), weight);
                    }
                }
                (from, to) = (from.wrapping_add(line_columns), to.wrapping_add(line_keys));
            }
            let mut total = s.sum(sum);
            if first_key > 0 {
                if now != before {
                    // The largest score settles after a few blocks, so this is rare.
                    let kept = (before - now).exp2();
                    self.sums[query] *= kept;
                    let kept = s.splat(kept);
                    let stride = self.blocking.out_stride;
                    for chunk in self.out[query * stride..][..stride].chunks_exact_mut(S::LANES) {
                        // SAFETY: a whole vector.
                        unsafe { s.store(chunk.as_mut_ptr(), s.mul(s.load(chunk.as_ptr()), kept)) };
                    }
                }
                total += self.sums[query];
            }
            (self.largest[query], self.sums[query]) = (now, total);
        }
    }

    /// Divides by the sums and stores the rows where they belong.
    #[inline(always)]
    pub(crate) fn store<S: Simd>(&mut self, s: S, out: Output, keys: usize) {
        let channels = self.queries.operands.value_channels;
        for i in 0..self.queries.count {
            let row = self.queries.group.queries.row(self.queries.first + i);
            let from = &self.out[i * self.blocking.out_stride..][..channels];
            // No keys, no result: the reference divides nothing by nothing.
            let factor = if keys == 0 { f32::NAN } else { 1.0 / self.sums[i] };
            for c in (0..channels).step_by(S::LANES) {
                let n = S::LANES.min(channels - c);
                // SAFETY: tasks have their own rows and heads.
                unsafe {
                    let value = s.mul(take(s, from.as_ptr().add(c), n), s.splat(factor));
                    put(s, out.at(row, self.queries.index * channels + c), value, n);
                }
            }
        }
    }
}
