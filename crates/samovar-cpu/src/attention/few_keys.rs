//! Attention of many queries to a few keys (an image looking at the prompt's tokens).
//!
//! Here the roles are swapped: a vector holds one score of many queries, so that the softmax needs no sums across lanes
//! and no lane is empty. All keys fit one block, so the softmax is final at once:
//!
//! ```text
//! k · (panel of q)ᵀ ─ softmax down the columns ─ transpose ─ · v ─ straight into the result
//! ```

use samovar_tensor::{Result, Tensor};

use super::{Bias, Head, LOG2_E};
use crate::attention::tokens::Tokens;
use crate::gemm::micro::{Ending, micro, panel_columns};
use crate::gemm::pack::pack_panel;
use crate::gemm::{Output, odd_lines};
use crate::math::exp2_of_negative;
use crate::simd::Simd;
use crate::threads::Threads;

/// Queries of a task; all heads of them, since their rows are read anyway.
const TASK_QUERIES: usize = 512;

/// Most channels of a head, for the sake of scratch memory.
const MOST_CHANNELS: usize = 512;

/// Whether this way is open, and better.
pub(super) fn suits<S: Simd>(head: &Head, tokens: &Tokens) -> bool {
    let width = panel_columns::<S>();
    tokens.is_sequence()
        && matches!(head.bias, Bias::None)
        && (1..=width).contains(&tokens.keys)
        && tokens.most_queries >= 2 * width
        && head.channels <= MOST_CHANNELS
        && head.value_channels.is_multiple_of(S::LANES)
}

pub(super) fn attention<S: Simd>(
    threads: &Threads,
    s: S,
    head: &Head,
    tokens: &Tokens,
    out: &mut Tensor,
) -> Result<()> {
    let blocks = tokens.most_queries.div_ceil(TASK_QUERIES);
    let stride = tokens.heads * head.value_channels;
    let out = Output::new(out.f32_mut()?, stride);
    let vectors = tokens.groups * tokens.heads * tokens.most_queries.div_ceil(S::LANES) * tokens.keys;
    let cycles = (vectors * (2 * head.channels + head.value_channels + 16)) as u64;
    let width = panel_columns::<S>();
    let key_stride = odd_lines(head.channels);
    let weight_stride = odd_lines(tokens.keys.next_multiple_of(S::LANES));
    threads.run(tokens.groups * blocks, cycles, |task, scratch| {
        let group = tokens.group(task / blocks);
        let first = task % blocks * TASK_QUERIES;
        let end = (first + TASK_QUERIES).min(tokens.most_queries);
        let [keys, queries, scores, weights] = scratch.split([
            tokens.keys * key_stride,
            head.channels * width,
            tokens.keys.next_multiple_of(S::LANES) * width,
            width * weight_stride,
        ]);
        s.vectorize(
            #[inline(always)]
            || {
                for index in 0..tokens.heads {
                    let (q, k, v) = (head.q, head.k, head.v);
                    let channels = head.channels;
                    for (key, to) in keys.chunks_exact_mut(key_stride).enumerate() {
                        let from = &k.values[group.keys.row(key) * k.stride + k.first + index * channels..];
                        for (from, to) in from[..channels].iter().zip(to) {
                            *to = from * head.scale * LOG2_E;
                        }
                    }
                    let first_value = group.keys.row(0) * v.stride + v.first + index * head.value_channels;
                    for panel in (first..end).step_by(width) {
                        let count = width.min(end - panel);
                        let query = |j| {
                            let row = group.queries.row(panel + j);
                            q.values[row * q.stride + q.first + index * channels..][..channels].as_ptr()
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
                            soften(s, tokens.keys, scores);
                            to_rows(s, tokens.keys, scores, weights, weight_stride);
                            // Strips of even height.
                            let strips = count.div_ceil(S::ROWS);
                            let height = count.div_ceil(strips);
                            for row in (0..count).step_by(height) {
                                let rows = height.min(count - row);
                                let a = weights[row * weight_stride..].as_ptr();
                                for channel in (0..head.value_channels).step_by(width) {
                                    let vectors = (head.value_channels - channel).min(width) / S::LANES;
                                    let kernel = micro::<S>(rows, vectors);
                                    let b = v.values[first_value + channel..].as_ptr();
                                    let column = index * head.value_channels + channel;
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

/// Softmax down the columns of `keys` rows; scores are logarithms to base 2. Rows up to the next whole vector become 0.
#[inline(always)]
fn soften<S: Simd>(s: S, keys: usize, scores: &mut [f32]) {
    let width = panel_columns::<S>();
    let (used, rest) = scores.split_at_mut(keys * width);
    rest.fill(0.0);
    for column in (0..width).step_by(S::LANES) {
        let at = |key: usize| used.as_ptr().wrapping_add(key * width + column);
        // SAFETY: a whole vector of each row.
        unsafe {
            let mut largest = s.load(at(0));
            for key in 1..keys {
                largest = s.max(largest, s.load(at(key)));
            }
            let mut sum = s.splat(0.0);
            for key in 0..keys {
                let weight = exp2_of_negative(s, s.sub(s.load(at(key)), largest));
                sum = s.add(sum, weight);
                s.store(at(key).cast_mut(), weight);
            }
            let factor = s.div(s.splat(1.0), sum);
            for key in 0..keys {
                s.store(at(key).cast_mut(), s.mul(s.load(at(key)), factor));
            }
        }
    }
}

/// Transposes the weights to one row per query.
#[inline(always)]
fn to_rows<S: Simd>(s: S, keys: usize, scores: &[f32], weights: &mut [f32], weight_stride: usize) {
    let width = panel_columns::<S>();
    let mut rows = [std::ptr::null(); 16];
    for key in (0..keys).step_by(S::LANES) {
        for column in (0..width).step_by(S::LANES) {
            for (i, row) in rows[..S::LANES].iter_mut().enumerate() {
                *row = scores[(key + i) * width + column..].as_ptr();
            }
            let to = weights[column * weight_stride + key..].as_mut_ptr();
            // SAFETY: whole tiles of scores and weights.
            unsafe { s.transpose(&rows, to, weight_stride) };
        }
    }
}
