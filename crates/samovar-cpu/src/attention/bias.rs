//! What is added to the scores.

use super::{Bias, LOG2_E, Work};
use crate::gemm::micro::{Ending, micro, panel_columns};
use crate::gemm::pack::pack_panel;
use crate::simd::{Simd, put, take};

impl Work<'_> {
    /// What the relative position adds to the scores of each query, for every line and column of the grid.
    ///
    /// A strip of queries is multiplied with all entries of both tables. Packed backwards, entry `2 side − 2 − j` is at
    /// `j`; so what a query of line `y` adds for key line `k` is at `side − 1 − y + k`, and its terms lie side by side.
    #[inline(always)]
    pub(super) fn relative_terms<S: Simd>(&mut self, s: S, rows: &[f32], columns: &[f32]) {
        let width = panel_columns::<S>();
        let channels = self.head.channels;
        let [lines, line_len] = self.sizes.grid;
        let mut first = 0;
        for (table, len) in [(rows, self.sizes.tables[0]), (columns, self.sizes.tables[1])] {
            let entries = table.len() / channels;
            for start in (0..len).step_by(width) {
                let packed = &mut self.tables[(first + start) * channels..][..width * channels];
                let entry = |j| table[(entries - 1 - start - j) * channels..][..channels].as_ptr();
                // SAFETY: entries have as many channels; the piece has a panel's size.
                unsafe { pack_panel(s, width.min(entries - start), channels, entry, packed.as_mut_ptr()) };
            }
            first += len;
        }
        for strip in (0..self.count).step_by(S::ROWS) {
            let rows = S::ROWS.min(self.count - strip);
            let q = self.q[strip * self.sizes.q_stride..].as_ptr();
            for start in (0..first).step_by(width) {
                let packed = self.tables[start * channels..].as_ptr();
                let to = self.products[start..].as_mut_ptr();
                // SAFETY: strips of queries and products lie inside their pieces.
                unsafe {
                    let kernel = micro::<S>(rows, 2);
                    kernel(s, channels, q, self.sizes.q_stride, packed, width, to, first, &Ending::NONE);
                }
            }
            for (r, products) in self.products.chunks_exact(first).take(rows).enumerate() {
                let position = self.group.queries.position(self.first + strip + r);
                let terms = &mut self.terms[(strip + r) * (lines + line_len)..][..lines + line_len];
                let (by_line, by_column) = terms.split_at_mut(lines);
                by_line.copy_from_slice(&products[lines - 1 - position / line_len..][..lines]);
                let products = &products[self.sizes.tables[0] + line_len - 1 - position % line_len..];
                by_column.copy_from_slice(&products[..line_len]);
            }
        }
    }

    /// Adds the bias to a row of scores and returns the largest of them.
    #[inline(always)]
    pub(super) fn add_bias<S: Simd>(
        &mut self,
        s: S,
        r: usize,
        query: usize,
        first_key: usize,
        count: usize,
    ) -> f32 {
        let whole = count.next_multiple_of(S::LANES);
        let scores = &mut self.scores[r * self.sizes.score_stride..][..whole];
        match self.head.bias {
            Bias::None | Bias::KeyPositions(_) => {}
            Bias::Table { values, queries, keys } => {
                let position = self.group.queries.position(self.first + query);
                let row = &values[(self.index * queries + position) * keys + first_key..][..count];
                add_row(s, &mut scores[..count], 0.0, row, LOG2_E);
            }
            Bias::Relative { grid: [height, width], .. }
                if width.is_multiple_of(S::LANES)
                    && first_key.is_multiple_of(width)
                    && count.is_multiple_of(width) =>
            {
                // Whole lines in whole vectors: the common case of global attention, in one pass.
                let terms = &self.terms[query * (height + width)..][..height + width];
                let (by_line, by_column) = terms.split_at(height);
                let mut largest = s.splat(f32::NEG_INFINITY);
                for (line, scores) in scores.chunks_exact_mut(width).enumerate() {
                    let number = s.splat(by_line[first_key / width + line]);
                    for i in (0..width).step_by(S::LANES) {
                        // SAFETY: whole vectors of the line and of the terms.
                        unsafe {
                            let sum = s.add(s.load(scores.as_ptr().add(i)), number);
                            let sum = s.add(sum, s.load(by_column.as_ptr().add(i)));
                            s.store(scores.as_mut_ptr().add(i), sum);
                            largest = s.max(largest, sum);
                        }
                    }
                }
                return s.largest(largest);
            }
            Bias::Relative { grid: [height, width], .. } => {
                let terms = &self.terms[query * (height + width)..][..height + width];
                let (by_line, by_column) = terms.split_at(height);
                let (mut key, mut line, mut column) = (0, first_key / width, first_key % width);
                while key < count {
                    let len = (width - column).min(count - key);
                    add_row(s, &mut scores[key..][..len], by_line[line], &by_column[column..][..len], 1.0);
                    (key, line, column) = (key + len, line + 1, 0);
                }
            }
        }
        let mut largest = s.splat(f32::NEG_INFINITY);
        for i in (0..whole).step_by(S::LANES) {
            // SAFETY: whole vectors of the row.
            largest = s.max(largest, unsafe { s.load(scores.as_ptr().add(i)) });
        }
        s.largest(largest)
    }
}

/// `to += number + row · factor`
#[inline(always)]
fn add_row<S: Simd>(s: S, to: &mut [f32], number: f32, row: &[f32], factor: f32) {
    let (number, factor, row) = (s.splat(number), s.splat(factor), &row[..to.len()]);
    for i in (0..to.len()).step_by(S::LANES) {
        let n = S::LANES.min(to.len() - i);
        // SAFETY: `n` numbers are left of both.
        unsafe {
            let sum = s.add(take(s, to.as_ptr().add(i), n), number);
            let sum = s.fma(take(s, row.as_ptr().add(i), n), factor, sum);
            put(s, to.as_mut_ptr().add(i), sum, n);
        }
    }
}
