//! An image looking at a few tokens that carry its projections, and what follows: one pass over the image.
//!
//! ```text
//! block of rows: x + positions ─ · keys ─ transpose ─ softmax down the columns ─ transpose ─ · values ─ + x ─ norm
//! ```

use std::f32::consts::LOG2_E;

use samovar_tensor::{Activation, Error, FoldedAttention, Result, Tensor};

use crate::attention::turn::Turned;
use crate::gemm::cut::odd_lines;
use crate::gemm::micro::{Ending, micro, panel_columns};
use crate::gemm::output::Output;
use crate::gemm::pack::{copy_panel, pack_panel};
use crate::norm::normalise;
use crate::scratch::{SCRATCH_LEN, Scratch, padded};
use crate::simd::{Simd, put, take};
use crate::softmax::softmax_down;
use crate::threads::Threads;

/// Rows of a task: packing the tokens is shared by so many.
const TASK_ROWS: usize = 512;

/// Strips of rows that pass all steps together, in L2.
const BLOCK_STRIPS: usize = 8;

pub(crate) fn folded_attention<S: Simd>(
    threads: &Threads,
    s: S,
    a: &FoldedAttention,
    out: &mut Tensor,
) -> Result<()> {
    let [x_batch, rows, channels] = a.x.shape().fixed("folded_attention")?;
    let [batch, tokens, _] = a.keys.shape().fixed("folded_attention")?;
    let columns = tokens * a.heads;
    let blocking = FoldedBlocking::new::<S>(rows, channels, columns);
    let needed: usize = blocking.pieces.iter().map(|&len| padded(len)).sum();
    if needed > SCRATCH_LEN {
        let what = format!("{tokens} tokens of {} heads and {channels} channels are more than fit", a.heads);
        return Err(Error::Shape { op: "folded_attention", what });
    }
    let operands = Operands {
        x: a.x.f32()?,
        positions: a.positions.f32()?,
        keys: a.keys.f32()?,
        values: a.values.f32()?,
        gamma: a.norm.gamma().f32()?,
        beta: a.norm.beta().f32()?,
        epsilon: a.norm.epsilon(),
        channels,
        tokens,
        heads: a.heads,
    };
    let out = Output::new(out.f32_mut()?, channels);
    let mut tasks = rows.div_ceil(TASK_ROWS);
    while batch * tasks < 4 * threads.count() && rows / tasks > 2 * BLOCK_STRIPS * S::ROWS {
        tasks += 1;
    }
    let task_rows = rows.div_ceil(tasks).next_multiple_of(S::ROWS);
    let tasks = rows.div_ceil(task_rows);
    let cycles = (batch * rows * (2 * columns + 16) * channels.div_ceil(S::LANES)) as u64;
    threads.run(batch * tasks, cycles, |task, scratch| {
        let (b, first) = (task / tasks, task % tasks * task_rows);
        let end = (first + task_rows).min(rows);
        s.vectorize(
            #[inline(always)]
            || {
                let mut work = Work::new::<S>(&operands, &blocking, scratch);
                work.pack(s, b);
                for row in (first..end).step_by(blocking.rows) {
                    let count = blocking.rows.min(end - row);
                    let x_row = b % x_batch * rows + row;
                    // SAFETY: tasks have their own rows.
                    unsafe { work.rows(s, x_row, row, count, out.from(b * rows + row, 0)) };
                }
            },
        );
    });
    Ok(())
}

struct Operands<'a> {
    x: &'a [f32],
    positions: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
    channels: usize,
    tokens: usize,
    heads: usize,
}

/// Blocks and strides of a task.
struct FoldedBlocking {
    /// Rows of a block.
    rows: usize,
    /// Keys of all heads, token by token.
    columns: usize,
    /// Row strides, odd numbers of cache lines.
    row_stride: usize,
    score_stride: usize,
    /// Whole vectors of rows.
    lane_stride: usize,
    /// Keys, constants, values, rows with positions, scores, the same transposed, sums.
    pieces: [usize; 7],
}

impl FoldedBlocking {
    fn new<S: Simd>(all_rows: usize, channels: usize, columns: usize) -> Self {
        let width = panel_columns::<S>();
        let rows = (BLOCK_STRIPS * S::ROWS).min(all_rows);
        let lane_stride = rows.next_multiple_of(S::LANES);
        let (row_stride, score_stride) =
            (odd_lines(channels.next_multiple_of(width)), odd_lines(columns.next_multiple_of(width)));
        let pieces = [
            columns.next_multiple_of(width) * channels,
            columns.next_multiple_of(width),
            columns * channels.next_multiple_of(width),
            rows * row_stride,
            lane_stride * score_stride,
            columns.next_multiple_of(S::LANES) * lane_stride,
            rows * row_stride,
        ];
        Self { rows, columns, row_stride, score_stride, lane_stride, pieces }
    }
}

/// One task.
struct Work<'a> {
    a: &'a Operands<'a>,
    blocking: &'a FoldedBlocking,
    keys: &'a mut [f32],
    constants: &'a mut [f32],
    values: &'a mut [f32],
    placed: &'a mut [f32],
    scores: &'a mut [f32],
    transposed: &'a mut [f32],
    sums: &'a mut [f32],
}

impl<'a> Work<'a> {
    fn new<S: Simd>(a: &'a Operands<'a>, blocking: &'a FoldedBlocking, scratch: &'a mut Scratch) -> Self {
        let [keys, constants, values, placed, scores, transposed, sums] = scratch.split(blocking.pieces);
        Self { a, blocking, keys, constants, values, placed, scores, transposed, sums }
    }

    /// Packs the tokens of a prompt.
    #[inline(always)]
    fn pack<S: Simd>(&mut self, s: S, b: usize) {
        let (a, columns, channels) = (self.a, self.blocking.columns, self.a.channels);
        let width = panel_columns::<S>();
        let key_columns = a.heads * (channels + 1);
        let keys = &a.keys[b * a.tokens * key_columns..][..a.tokens * key_columns];
        for start in (0..columns).step_by(width) {
            let to = self.keys[start * channels..][..width * channels].as_mut_ptr();
            let key = |j: usize| {
                let (token, head) = ((start + j) / a.heads, (start + j) % a.heads);
                keys[token * key_columns + head * channels..][..channels].as_ptr()
            };
            // SAFETY: rows of as many channels, into a panel's size.
            unsafe { pack_panel(s, width.min(columns - start), channels, key, to) };
        }
        self.constants.fill(0.0);
        for (token, to) in self.constants[..columns].chunks_exact_mut(a.heads).enumerate() {
            let from = &keys[token * key_columns + a.heads * channels..][..a.heads];
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * LOG2_E);
        }
        let values = &a.values[b * columns * channels..][..columns * channels];
        for channel in (0..channels).step_by(width) {
            let to = self.values[channel * columns..][..width * columns].as_mut_ptr();
            let value = |j: usize| values[j * channels..][..channels].as_ptr().wrapping_add(channel);
            // SAFETY: rows of as many channels, into a panel's size.
            unsafe { copy_panel(s, width.min(channels - channel), columns, value, to) };
        }
    }

    /// A block of rows, from `x_row` on in `x` and from `row` on in the positions.
    ///
    /// # Safety
    /// So many rows must be writable in `out`, and nobody else may touch them.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&mut self, s: S, x_row: usize, row: usize, count: usize, out: Output) {
        let channels = self.a.channels;
        let x = &self.a.x[x_row * channels..][..count * channels];
        let positions = &self.a.positions[row * channels..][..count * channels];
        let stride = self.blocking.row_stride;
        for r in 0..count {
            let (x, p) = (&x[r * channels..][..channels], &positions[r * channels..][..channels]);
            let to = &mut self.placed[r * stride..][..channels];
            for c in (0..channels).step_by(S::LANES) {
                let n = S::LANES.min(channels - c);
                // SAFETY: `n` numbers are left of all. Logits to base 2, see `exp2_of_negative`.
                unsafe {
                    let sum = s.add(take(s, x.as_ptr().add(c), n), take(s, p.as_ptr().add(c), n));
                    put(s, to.as_mut_ptr().add(c), s.mul(sum, s.splat(LOG2_E)), n);
                }
            }
        }
        self.score(s, count);
        self.soften(s, count);
        self.sum(s, count);
        for r in 0..count {
            let sums = &mut self.sums[r * stride..][..channels];
            let x = &x[r * channels..][..channels];
            for c in (0..channels).step_by(S::LANES) {
                let n = S::LANES.min(channels - c);
                // SAFETY: `n` numbers are left of both.
                unsafe {
                    let sum = s.add(take(s, sums.as_ptr().add(c), n), take(s, x.as_ptr().add(c), n));
                    put(s, sums.as_mut_ptr().add(c), sum, n);
                }
            }
            let (gamma, beta, none) = (self.a.gamma, self.a.beta, Activation::Identity);
            // SAFETY: a row of as many channels; the result is the caller's promise.
            unsafe { normalise(s, sums.as_ptr(), gamma, beta, self.a.epsilon, none, out.at(r, 0)) };
        }
    }

    #[inline(always)]
    fn score<S: Simd>(&mut self, s: S, count: usize) {
        let (columns, channels) = (self.blocking.columns, self.a.channels);
        let width = panel_columns::<S>();
        for start in (0..columns).step_by(width) {
            let vectors = (columns - start).min(width).div_ceil(S::LANES);
            let keys = self.keys[start * channels..].as_ptr();
            let bias = self.constants[start..].as_ptr();
            for strip in (0..count).step_by(S::ROWS) {
                let kernel = micro::<S>(S::ROWS.min(count - strip), vectors);
                let rows = self.placed[strip * self.blocking.row_stride..].as_ptr();
                let to = self.scores[strip * self.blocking.score_stride + start..].as_mut_ptr();
                let ending = Ending { bias, ..Ending::NONE };
                let (row_stride, score_stride) = (self.blocking.row_stride, self.blocking.score_stride);
                // SAFETY: strips and panels lie inside their pieces.
                unsafe { kernel(s, channels, rows, row_stride, keys, width, to, score_stride, &ending) };
            }
        }
    }

    /// Softmax over the tokens of every head: one line per key, one column per row of the image, and back.
    #[inline(always)]
    fn soften<S: Simd>(&mut self, s: S, count: usize) {
        let FoldedBlocking { columns, score_stride, lane_stride, .. } = *self.blocking;
        let (tokens, heads) = (self.a.tokens, self.a.heads);
        // SAFETY: whole tiles of both pieces, and whole vectors of each line.
        unsafe {
            let by_row = Turned { values: self.scores, stride: score_stride };
            by_row.transpose(s, count, columns, self.transposed, lane_stride);
            for head in 0..heads {
                for row in (0..lane_stride).step_by(S::LANES) {
                    let piece = self.transposed.as_mut_ptr();
                    softmax_down(
                        s,
                        tokens,
                        #[inline(always)]
                        |token| piece.wrapping_add((token * heads + head) * lane_stride + row),
                    );
                }
            }
            let by_key = Turned { values: self.transposed, stride: lane_stride };
            by_key.transpose(s, columns, count, self.scores, score_stride);
        }
    }

    #[inline(always)]
    fn sum<S: Simd>(&mut self, s: S, count: usize) {
        let (columns, channels) = (self.blocking.columns, self.a.channels);
        let width = panel_columns::<S>();
        for channel in (0..channels).step_by(width) {
            let vectors = (channels - channel).min(width).div_ceil(S::LANES);
            let values = self.values[channel * columns..].as_ptr();
            for strip in (0..count).step_by(S::ROWS) {
                let kernel = micro::<S>(S::ROWS.min(count - strip), vectors);
                let weights = self.scores[strip * self.blocking.score_stride..].as_ptr();
                let to = self.sums[strip * self.blocking.row_stride + channel..].as_mut_ptr();
                let (row_stride, score_stride) = (self.blocking.row_stride, self.blocking.score_stride);
                let ending = &Ending::NONE;
                // SAFETY: strips and panels lie inside their pieces.
                unsafe { kernel(s, columns, weights, score_stride, values, width, to, row_stride, ending) };
            }
        }
    }
}
