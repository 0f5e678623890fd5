//! Attention with queries in rows: its products in plain order.

use crate::attention::row_blocks::RowTask;
use crate::attention::score::score;
use crate::gemm::micro::{Ending, micro, panel_columns};
use crate::simd::Simd;

impl RowTask<'_> {
    /// `scores = bias + q kᵀ` for a strip of queries, and a vector for each whose largest number is the largest score.
    #[inline(always)]
    pub(crate) fn score<S: Simd>(
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
        let mut addends = self.queries.addends(strip, rows);
        tops.fill(f32::NEG_INFINITY);
        for start in (0..count).step_by(width) {
            addends.addend = self.queries.addend_of_panel::<S>(first_key, start, self.blocking.line[0]);
            addends.keys = count - start;
            let kernel = score::<S>(rows, addends.keys.min(width).div_ceil(S::LANES));
            let (stride, score_stride) = (self.blocking.strides.query, self.blocking.score_stride);
            let q = self.queries.q[strip * stride..].as_ptr();
            let keys = self.keys[start * self.queries.operands.channels..].as_ptr();
            let (to, tops) = (self.scores[start..].as_mut_ptr(), tops.as_mut_ptr());
            // SAFETY: strips and panels lie inside their pieces, as many tops are there, and rows go on for the keys of
            // the panel or for a line and all of its columns.
            unsafe {
                kernel(s, self.queries.operands.channels, q, stride, keys, &addends, to, score_stride, tops);
            }
        }
    }

    /// `out += weights · values` for a strip of queries.
    #[inline(always)]
    pub(crate) fn accumulate<S: Simd>(
        &mut self,
        s: S,
        strip: usize,
        rows: usize,
        first_key: usize,
        count: usize,
    ) {
        let width = panel_columns::<S>();
        let channels = self.queries.operands.value_channels;
        for channel in (0..channels).step_by(width) {
            let kernel = micro::<S>(rows, (channels - channel).min(width).div_ceil(S::LANES));
            let (values, values_stride) = match self.blocking.values_in_place {
                true => {
                    let v = self.queries.operands.v;
                    let start = v.first + self.queries.index * channels + channel;
                    (v.values[self.queries.group.keys.row(first_key) * v.stride + start..].as_ptr(), v.stride)
                }
                false => {
                    (self.values[channel * self.blocking.panel_rows(self.blocking.keys)..].as_ptr(), width)
                }
            };
            let to = self.out[strip * self.blocking.out_stride + channel..].as_mut_ptr();
            // SAFETY: strips and panels lie inside their pieces.
            unsafe {
                let scores = self.scores.as_ptr();
                let ending = Ending { add: first_key > 0, ..Ending::NONE };
                let stride = self.blocking.score_stride;
                kernel(
                    s,
                    count,
                    scores,
                    stride,
                    values,
                    values_stride,
                    to,
                    self.blocking.out_stride,
                    &ending,
                );
            }
        }
    }
}
