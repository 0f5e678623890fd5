//! Attention of many queries to a few keys (an image looking at the prompt's tokens).
//!
//! Here the roles are swapped: a vector holds one score of many queries, so that the softmax needs no sums across lanes
//! and no lane is empty. All keys fit one block, so the softmax is final at once:
//!
//! ```text
//! k · (panel of q)ᵀ ─ softmax down the columns ─ transpose ─ · v ─ straight into the result
//! ```

use std::f32::consts::LOG2_E;

use samovar_tensor::{Attention, Result, Tensor};

use crate::attention::operands::Operands;
use crate::attention::tokens::Tokens;
use crate::attention::turn::Turned;
use crate::gemm::cut::odd_lines;
use crate::gemm::micro::{Ending, micro, panel_columns};
use crate::gemm::output::Output;
use crate::gemm::pack::pack_panel;
use crate::simd::Simd;
use crate::softmax::softmax_down;
use crate::threads::Threads;

/// Queries of a task; all heads of them, since their rows are read anyway.
const TASK_QUERIES: usize = 512;

pub(crate) fn attention<S: Simd>(
    threads: &Threads,
    s: S,
    a: &Attention,
    tokens: &Tokens,
    out: &mut Tensor,
) -> Result<()> {
    let operands = Operands::new(a)?;
    let blocks = tokens.most_queries.div_ceil(TASK_QUERIES);
    let stride = tokens.heads * operands.value_channels;
    let out = Output::new(out.f32_mut()?, stride);
    let vectors = tokens.groups * tokens.heads * tokens.most_queries.div_ceil(S::LANES) * tokens.keys;
    let cycles = (vectors * (2 * operands.channels + operands.value_channels + 16)) as u64;
    let width = panel_columns::<S>();
    let key_stride = odd_lines(operands.channels);
    let weight_stride = odd_lines(tokens.keys.next_multiple_of(S::LANES));
    threads.run(tokens.groups * blocks, cycles, |task, scratch| {
        let group = tokens.group(task / blocks);
        let first = task % blocks * TASK_QUERIES;
        let end = (first + TASK_QUERIES).min(tokens.most_queries);
        let [keys, queries, scores, weights] = scratch.split([
            tokens.keys * key_stride,
            operands.channels * width,
            tokens.keys.next_multiple_of(S::LANES) * width,
            width * weight_stride,
        ]);
        s.vectorize(
            #[inline(always)]
            || {
                for index in 0..tokens.heads {
                    let (q, k, v) = (operands.q, operands.k, operands.v);
                    let channels = operands.channels;
                    for (key, to) in keys.chunks_exact_mut(key_stride).enumerate() {
                        let from = k.head(group.keys.row(key), index, channels);
                        for (from, to) in from.iter().zip(to) {
                            *to = from * operands.scale * LOG2_E;
                        }
                    }
                    let first_value =
                        group.keys.row(0) * v.stride + v.first + index * operands.value_channels;
                    for panel in (first..end).step_by(width) {
                        let count = width.min(end - panel);
                        let query = |j| {
                            let row = group.queries.row(panel + j);
                            q.head(row, index, channels).as_ptr()
                        };
                        // SAFETY: rows of as many channels, and pieces of the sizes above.
                        unsafe {
                            pack_panel(s, count, channels, query, queries.as_mut_ptr());
                            for key in (0..tokens.keys).step_by(S::ROWS) {
                                let kernel = micro::<S>(S::ROWS.min(tokens.keys - key), 2);
                                let a = keys[key * key_stride..].as_ptr();
                                let to = scores[key * width..].as_mut_ptr();
                                let b = queries.as_ptr();
                                kernel(s, channels, a, key_stride, b, width, to, width, &Ending::NONE);
                            }
                            for column in (0..width).step_by(S::LANES) {
                                let column = scores[column..].as_mut_ptr();
                                softmax_down(
                                    s,
                                    tokens.keys,
                                    #[inline(always)]
                                    |key| column.wrapping_add(key * width),
                                );
                            }
                            // Keys up to the next whole vector have no weight.
                            scores[tokens.keys * width..].fill(0.0);
                            let by_key = Turned { values: scores, stride: width };
                            by_key.transpose(s, tokens.keys, width, weights, weight_stride);
                            // Strips of even height.
                            let strips = count.div_ceil(S::ROWS);
                            let height = count.div_ceil(strips);
                            for row in (0..count).step_by(height) {
                                let rows = height.min(count - row);
                                let a = weights[row * weight_stride..].as_ptr();
                                for channel in (0..operands.value_channels).step_by(width) {
                                    let vectors = (operands.value_channels - channel).min(width) / S::LANES;
                                    let kernel = micro::<S>(rows, vectors);
                                    let b = v.values[first_value + channel..].as_ptr();
                                    let column = index * operands.value_channels + channel;
                                    let to = out.at(group.queries.row(panel + row), column);
                                    let (keys, ending) = (tokens.keys, &Ending::NONE);
                                    kernel(s, keys, a, weight_stride, b, v.stride, to, stride, ending);
                                }
                            }
                        }
                    }
                }
            },
        );
    });
    Ok(())
}
