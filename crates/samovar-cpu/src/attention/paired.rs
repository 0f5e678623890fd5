//! Attention with its products in pairs: see [`crate::simd::paired`].
//!
//! Queries and keys are brought to a common size, as are the rows and columns of other products. Weights are at most 1 and
//! often far less, so values are made an eighth to a quarter on average: with the errors that adding them costs, a mean of
//! many keys and the value of a single one are about as exact.

use crate::attention::row_blocking::{NUMBER_ROWS, PAIRED_SCORE_ROW};
use crate::attention::row_blocks::RowTask;
use crate::attention::score::{self, MOST_LANES};
use crate::gemm::micro::panel_columns;
use crate::gemm::pairing::{Prepare, factor, negated, prepare_panel, row_correction};
use crate::simd::Simd;
use crate::simd::paired::{PERIOD, ROWS, Sums, VECTORS};

impl RowTask<'_> {
    /// Brings all queries to a common size. Of each, its numbers: the inverse factor, and the correction of its products,
    /// negative and in the size of scores.
    #[inline(always)]
    pub(crate) fn balance_queries<S: Simd>(&mut self, s: S) {
        let (channels, stride) = (self.queries.operands.channels, self.blocking.strides.query);
        for query in 0..self.queries.count {
            let row = &mut self.queries.q[query * stride..][..stride];
            row[channels..].fill(0.0);
            let mut sizes = s.splat(0.0);
            for chunk in row.chunks_exact(S::LANES) {
                // SAFETY: a whole vector.
                sizes = s.add(sizes, s.abs(unsafe { s.load(chunk.as_ptr()) }));
            }
            let [up, down] = factor(s.sum(sizes) / channels as f32);
            for chunk in row.chunks_exact_mut(S::LANES) {
                // SAFETY: a whole vector.
                unsafe { s.store(chunk.as_mut_ptr(), s.mul(s.load(chunk.as_ptr()), s.splat(up))) };
            }
            // SAFETY: the row has so many.
            let correction = unsafe { row_correction(s, row.as_ptr(), stride) };
            self.query_numbers[2 * query..][..2].copy_from_slice(&[down, -correction]);
        }
    }

    /// Brings the panels of a block to common sizes: so many columns of keys, and the values of so many keys.
    #[inline(always)]
    pub(crate) fn prepare_panels<S: Simd>(&mut self, s: S, columns: usize, keys: usize) {
        let width = panel_columns::<S>();
        let (channels, value_channels) =
            (self.queries.operands.channels, self.queries.operands.value_channels);
        let rows = self.blocking.panel_rows(channels);
        for start in (0..columns).step_by(width) {
            let panel = &mut self.keys[start * rows..][..width * rows];
            if columns - start <= S::LANES {
                // The second vector of columns is left over from another block.
                for row in panel.chunks_exact_mut(width) {
                    row[S::LANES..].fill(0.0);
                }
            }
            panel[channels * width..].fill(0.0);
            let how = Prepare { size: 1.0, together: true, now: true };
            let numbers = &mut self.numbers[start * NUMBER_ROWS..][..NUMBER_ROWS * width];
            // SAFETY: a panel and its numbers.
            unsafe { prepare_panel(s, panel.as_mut_ptr(), channels, how, numbers) };
        }
        let (rows, first) = (self.blocking.panel_rows(self.blocking.keys), self.blocking.columns);
        for channel in (0..value_channels).step_by(width) {
            let panel = &mut self.values[channel * rows..][..width * rows];
            panel[keys * width..].fill(0.0);
            let how = Prepare { size: 0.125, together: false, now: true };
            let numbers = &mut self.numbers[(first + channel) * NUMBER_ROWS..][..NUMBER_ROWS * width];
            // SAFETY: a panel and its numbers.
            unsafe { prepare_panel(s, panel.as_mut_ptr(), keys, how, numbers) };
        }
    }

    /// [`RowTask::score`]
    #[inline(always)]
    pub(crate) fn score_in_pairs<S: Simd>(
        &mut self,
        s: S,
        strip: usize,
        rows: usize,
        first_key: usize,
        count: usize,
        tops: &mut [f32],
    ) {
        let count = self.blocking.columns_of(count);
        let width = panel_columns::<S>();
        let (channels, stride) = (self.queries.operands.channels, self.blocking.strides.query);
        let panel_rows = self.blocking.panel_rows(channels);
        let mut addends = self.queries.addends(strip, rows);
        // All rows of a tile are computed.
        for r in rows..ROWS {
            addends.rows[r] = addends.rows[rows - 1];
        }
        tops.fill(f32::NEG_INFINITY);
        let query_numbers = &self.query_numbers[2 * strip..][..2 * ROWS];
        for start in (0..count).step_by(width) {
            addends.addend = self.queries.addend_of_panel::<S>(first_key, start, self.blocking.line[0]);
            addends.keys = count - start;
            let numbers = &self.numbers[start * NUMBER_ROWS..][..NUMBER_ROWS * width];
            let down = numbers[width];
            let q = self.queries.q[strip * stride..].as_ptr();
            let keys = self.keys[start * panel_rows..].as_ptr();
            let (scores, tops) = (self.scores[start..].as_mut_ptr(), tops.as_mut_ptr());
            // SAFETY: strips and panels lie inside their pieces, strips are whole, as many tops are there, and rows go on for
            // the keys of the panel or for a line and all of its columns.
            unsafe {
                let (from, periods) = (negated(s, &numbers[2 * width..]), channels.div_ceil(PERIOD));
                let mut sums = match stride {
                    48 => s.paired_sums::<48>(from, periods, q, keys, keys),
                    80 => s.paired_sums::<80>(from, periods, q, keys, keys),
                    _ => s.paired_sums::<112>(from, periods, q, keys, keys),
                };
                for (r, sums) in sums.iter_mut().enumerate() {
                    let (factor, correction) = (query_numbers[2 * r] * down, query_numbers[2 * r + 1]);
                    let (factor, correction) = (s.splat(factor), s.splat(correction * factor));
                    for sum in sums {
                        *sum = s.fma(*sum, factor, correction);
                    }
                }
                if addends.keys > S::LANES {
                    score::store(s, sums, &addends, scores, PAIRED_SCORE_ROW, tops);
                } else {
                    let sums = sums.map(
                        #[inline(always)]
                        |[first, _]| [first],
                    );
                    score::store(s, sums, &addends, scores, PAIRED_SCORE_ROW, tops);
                }
            }
        }
    }

    /// [`RowTask::accumulate`]
    #[inline(always)]
    pub(crate) fn accumulate_in_pairs<S: Simd>(
        &mut self,
        s: S,
        strip: usize,
        rows: usize,
        first_key: usize,
        count: usize,
    ) {
        let width = panel_columns::<S>();
        let (channels, stride) = (self.queries.operands.value_channels, self.blocking.out_stride);
        let panel_rows = self.blocking.panel_rows(self.blocking.keys);
        let mut correction = [0.0; ROWS];
        for (r, correction) in correction.iter_mut().enumerate().take(rows) {
            let row = &mut self.scores[r * PAIRED_SCORE_ROW..][..PAIRED_SCORE_ROW];
            row[count..count + MOST_LANES].fill(0.0);
            // SAFETY: rows go on for a vector behind the weights.
            *correction = unsafe { row_correction(s, row.as_ptr(), count) };
        }
        for channel in (0..channels).step_by(width) {
            let numbers = (self.blocking.columns + channel) * NUMBER_ROWS;
            let numbers = &self.numbers[numbers..][..NUMBER_ROWS * width];
            let values = self.values[channel * panel_rows..].as_ptr();
            let to = self.out[strip * stride + channel..].as_mut_ptr();
            let vectors = (channels - channel).min(width).div_ceil(S::LANES);
            // SAFETY: strips and panels lie inside their pieces.
            unsafe {
                let from = negated(s, &numbers[2 * width..]);
                let sums: Sums<S::V> = s.paired_sums::<PAIRED_SCORE_ROW>(
                    from,
                    count.div_ceil(PERIOD),
                    self.scores.as_ptr(),
                    values,
                    values,
                );
                for v in 0..VECTORS.min(vectors) {
                    let down = s.load(numbers[width + v * S::LANES..].as_ptr());
                    for r in 0..ROWS {
                        let to = to.add(r * stride + v * S::LANES);
                        let before = if first_key > 0 { s.load(to) } else { s.splat(0.0) };
                        s.store(to, s.fma(s.sub(sums[r][v], s.splat(correction[r])), down, before));
                    }
                }
            }
        }
    }
}
