//! From image tokens to mask logits: two transposed convolutions and a product, without a map in between.
//!
//! A task is a piece of a line of tokens. Everything that becomes of it fits L2:
//!
//! ```text
//! tokens ─ · first ─ norm, GELU ─ for every line of taps: · second ─ activation ─ for every line of logits: · vectors
//! ```

use std::sync::Arc;

use samovar_tensor::{Activation, DType, Error, MaskHead, Packed, Pool, Result, Shape, Tensor};

use crate::gemm::cut::odd_lines;
use crate::gemm::micro::{Ending, STRIP_ROWS, micro, panel_columns};
use crate::gemm::output::Output;
use crate::gemm::pack::pack_panel;
use crate::gemm::rows::copy_row;
use crate::math::{activate, activation_cycles};
use crate::norm::normalise;
use crate::scratch::{SCRATCH_LEN, padded};
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

/// Most tokens of a task.
const TASK_TOKENS: usize = 64;

/// Both matrices in panels.
struct PackedHead([Tensor; 2]);

pub(crate) fn pack<S: Simd>(s: S, pool: &Arc<Pool>, first: &Tensor, second: &Tensor) -> Result<Packed> {
    let pack = |matrix: &Tensor| -> Result<Tensor> {
        let [columns, depth] = matrix.shape().fixed("mask head")?;
        let width = panel_columns::<S>();
        let mut packed =
            Tensor::allocate(pool, Shape::new(&[columns.div_ceil(width), depth, width]), DType::F32)?;
        let (from, to) = (matrix.f32()?, packed.f32_mut()?);
        s.vectorize(
            #[inline(always)]
            || {
                for (panel, to) in to.chunks_exact_mut((depth * width).max(1)).enumerate() {
                    let first = panel * width;
                    let column = |j| from[(first + j) * depth..][..depth].as_ptr();
                    // SAFETY: slices of `depth` numbers, into a chunk of a panel's size.
                    unsafe { pack_panel(s, width.min(columns - first), depth, column, to.as_mut_ptr()) };
                }
            },
        );
        Ok(packed)
    };
    let packed = [pack(first)?, pack(second)?];
    let size_bytes = packed.iter().map(Tensor::size_bytes).sum();
    Ok(Packed::new(PackedHead(packed), size_bytes))
}

pub(crate) fn mask_logits<S: Simd>(
    threads: &Threads,
    s: S,
    x: &Tensor,
    head: &MaskHead,
    vectors: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let [batch, height, width, inputs] = x.shape().fixed("mask_logits")?;
    let [_, masks, _] = vectors.shape().fixed("mask_logits")?;
    let (weights, biases) = head.fused().ok_or_else(|| Error::Shape {
        op: "mask_logits",
        what: "a head that was prepared for composing".into(),
    })?;
    let PackedHead([first, second]) = weights.get::<PackedHead>("mask_logits", "cpu")?;
    if first.dims().last() != Some(&panel_columns::<S>()) {
        return Err(weights.foreign("mask_logits", "these instructions"));
    }
    let blocking = MaskBlocking::new::<S>(head, width)?;
    for (packed, (columns, depth)) in
        [first, second].into_iter().zip(blocking.columns.into_iter().zip([inputs, head.channels()[0]]))
    {
        let panels = [columns.div_ceil(panel_columns::<S>()), depth, panel_columns::<S>()];
        if packed.dims() != panels {
            let what = format!("panels {} for a head of {panels:?}", packed.shape());
            return Err(Error::Shape { op: "mask_logits", what });
        }
    }
    let side = blocking.factor() * width;
    let plane = blocking.factor() * height * side;
    let work = Work {
        x: x.f32()?,
        first: first.f32()?,
        second: second.f32()?,
        biases: [biases[0].f32()?, biases[1].f32()?],
        gamma: head.norm().gamma().f32()?,
        beta: head.norm().beta().f32()?,
        vectors: vectors.f32()?,
        head,
        masks,
        blocking: &blocking,
        width,
        out: Output::new(out.f32_mut()?, plane),
        plane,
        side,
    };
    let pieces = width.div_ceil(blocking.tokens);
    let [middle, outputs] = blocking.columns;
    let taps = head.factors()[0] * head.factors()[0];
    let token = inputs * middle
        + taps * (head.channels()[0] + masks) * outputs
        + (middle * (activation_cycles(Activation::Gelu) as usize + 16))
        + taps * outputs * activation_cycles(head.activation()) as usize;
    let cycles = (batch * height * width * token / S::LANES) as u64;
    threads.run(batch * height * pieces, cycles, |task, scratch| {
        let (line, first) = (task / pieces, task % pieces * blocking.tokens);
        let tokens = blocking.tokens.min(width - first);
        s.vectorize(
            #[inline(always)]
            || {
                let pieces = scratch.split(blocking.pieces);
                // SAFETY: tasks have their own tokens, and with them their own logits.
                unsafe { work.run(s, line / height, line % height, line, first, tokens, pieces) }
            },
        );
    });
    Ok(())
}

/// Blocks and strides of a task.
struct MaskBlocking {
    /// Tokens of a task.
    tokens: usize,
    factors: [usize; 2],
    /// What a token becomes: channels of all taps.
    columns: [usize; 2],
    /// Row strides of the tokens and of what becomes of them.
    strides: [usize; 3],
    /// Tokens, after the first convolution, after the second (one line of taps of the first), biases, a panel of
    /// pixels, a tile of logits.
    pieces: [usize; 7],
}

impl MaskBlocking {
    fn new<S: Simd>(head: &MaskHead, width: usize) -> Result<Self> {
        let panel = panel_columns::<S>();
        let columns = [0, 1].map(|i| head.factors()[i] * head.factors()[i] * head.channels()[i]);
        let [middle, outputs] = columns.map(|columns| columns.next_multiple_of(panel));
        let strides = [odd_lines(head.inputs()), odd_lines(middle), odd_lines(outputs)];
        let fixed = [middle, outputs, head.channels()[1] * panel, STRIP_ROWS * panel];
        let per_token = [strides[0], strides[1], head.factors()[0] * strides[2]];
        let left = SCRATCH_LEN.saturating_sub(fixed.iter().map(|&len| padded(len)).sum());
        let tokens = (left / per_token.iter().sum::<usize>()).min(TASK_TOKENS).min(width);
        if tokens == 0 && width > 0 {
            let what = format!("{:?} channels after {} are more than fit", head.channels(), head.inputs());
            return Err(Error::Shape { op: "mask_logits", what });
        }
        let [a, b, c] = per_token.map(|len| len * tokens);
        let [d, e, f, g] = fixed;
        Ok(Self {
            tokens: tokens.max(1),
            factors: head.factors(),
            columns,
            strides,
            pieces: [a, b, c, d, e, f, g],
        })
    }

    /// Logits along the side of a token.
    fn factor(&self) -> usize {
        self.factors[0] * self.factors[1]
    }
}

struct Work<'a> {
    x: &'a [f32],
    first: &'a [f32],
    second: &'a [f32],
    biases: [&'a [f32]; 2],
    gamma: &'a [f32],
    beta: &'a [f32],
    vectors: &'a [f32],
    head: &'a MaskHead,
    masks: usize,
    blocking: &'a MaskBlocking,
    /// Tokens of a line.
    width: usize,
    /// One row per mask.
    out: Output,
    plane: usize,
    /// Logits of a line.
    side: usize,
}

impl Work<'_> {
    /// Tokens `start..start + tokens` of a line: that of an image, and counted over all.
    ///
    /// # Safety
    /// Their logits must be writable, and nobody else may touch them.
    #[inline(always)]
    unsafe fn run<S: Simd>(
        &self,
        s: S,
        b: usize,
        image_line: usize,
        line: usize,
        start: usize,
        tokens: usize,
        [x, middle, fine, first_bias, second_bias, panel, tile]: [&mut [f32]; 7],
    ) {
        let MaskBlocking { factors, columns, strides, .. } = *self.blocking;
        let [channels, out_channels] = self.head.channels();
        let inputs = self.head.inputs();
        for (i, to) in x.chunks_exact_mut(strides[0]).take(tokens).enumerate() {
            let from = &self.x[(line * self.width + start + i) * inputs..][..inputs];
            // SAFETY: the stride is no shorter than a row.
            unsafe { copy_row(s, from, to.as_mut_ptr()) };
        }
        repeat(self.biases[0], &mut first_bias[..columns[0]]);
        repeat(self.biases[1], &mut second_bias[..columns[1]]);
        let first = Product { depth: inputs, columns: columns[0], weights: self.first, bias: first_bias };
        // SAFETY: rows of these strides, for so many tokens.
        unsafe { first.run(s, tokens, x.as_ptr(), strides[0], middle.as_mut_ptr(), strides[1]) };
        for token in middle.chunks_exact_mut(strides[1]).take(tokens) {
            for pixel in token[..columns[0]].chunks_exact_mut(channels) {
                let (from, to) = (pixel.as_ptr(), pixel.as_mut_ptr());
                let epsilon = self.head.norm().epsilon();
                // SAFETY: a pixel of as many channels, in place.
                unsafe { normalise(s, from, self.gamma, self.beta, epsilon, Activation::Gelu, to) };
            }
        }
        let second =
            Product { depth: channels, columns: columns[1], weights: self.second, bias: second_bias };
        let piece = tokens * strides[2];
        for tap_line in 0..factors[0] {
            for tap in 0..factors[0] {
                let from = middle[(tap_line * factors[0] + tap) * channels..].as_ptr();
                let to = &mut fine[tap * piece..][..piece];
                // SAFETY: rows of these strides, for so many tokens.
                unsafe { second.run(s, tokens, from, strides[1], to.as_mut_ptr(), strides[2]) };
                for pixel in to.chunks_exact_mut(strides[2]) {
                    activate_all(s, self.head.activation(), &mut pixel[..columns[1]]);
                }
            }
            for sub_line in 0..factors[1] {
                let out_line = (image_line * factors[0] + tap_line) * factors[1] + sub_line;
                let at = out_line * self.side + start * factors[0] * factors[1];
                let pixel = |i: usize| {
                    let (token, within) = (i / (factors[0] * factors[1]), i % (factors[0] * factors[1]));
                    let (tap, sub) = (within / factors[1], within % factors[1]);
                    let column = (sub_line * factors[1] + sub) * out_channels;
                    fine[tap * piece + token * strides[2] + column..][..out_channels].as_ptr()
                };
                // SAFETY: the caller's promise.
                unsafe { self.line(s, b, tokens * factors[0] * factors[1], pixel, at, panel, tile) };
            }
        }
    }

    /// A line of logits of all masks: pixels times vectors.
    ///
    /// # Safety
    /// See [`Work::run`].
    #[inline(always)]
    unsafe fn line<S: Simd>(
        &self,
        s: S,
        b: usize,
        len: usize,
        pixel: impl Fn(usize) -> *const f32,
        at: usize,
        panel: &mut [f32],
        tile: &mut [f32],
    ) {
        let depth = self.head.channels()[1];
        let width = panel_columns::<S>();
        for start in (0..len).step_by(width) {
            let columns = width.min(len - start);
            // SAFETY: pixels have as many channels; the piece has a panel's size; the rest is the caller's promise.
            unsafe {
                pack_panel(s, columns, depth, |j| pixel(start + j), panel.as_mut_ptr());
                for mask in (0..self.masks).step_by(S::ROWS) {
                    let rows = S::ROWS.min(self.masks - mask);
                    let kernel = micro::<S>(rows, columns.div_ceil(S::LANES));
                    let vectors = self.vectors[(b * self.masks + mask) * depth..].as_ptr();
                    let to = self.out.from(b * self.masks + mask, at + start);
                    let (panel, none) = (panel.as_ptr(), &Ending::NONE);
                    if columns.is_multiple_of(S::LANES) {
                        kernel(s, depth, vectors, depth, panel, width, to.at(0, 0), self.plane, none);
                        continue;
                    }
                    kernel(s, depth, vectors, depth, panel, width, tile.as_mut_ptr(), width, none);
                    for row in 0..rows {
                        copy_row(s, &tile[row * width..][..columns], to.at(row, 0));
                    }
                }
            }
        }
    }
}

/// A product with packed weights.
struct Product<'a> {
    depth: usize,
    columns: usize,
    weights: &'a [f32],
    /// In whole panels.
    bias: &'a [f32],
}

impl Product<'_> {
    /// # Safety
    /// Rows of these strides must be readable and, in whole panels, writable.
    #[inline(always)]
    unsafe fn run<S: Simd>(
        &self,
        s: S,
        rows: usize,
        from: *const f32,
        from_stride: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        let width = panel_columns::<S>();
        // Strips of even height.
        let height = rows.div_ceil(rows.div_ceil(S::ROWS));
        for column in (0..self.columns).step_by(width) {
            let vectors = (self.columns - column).min(width).div_ceil(S::LANES);
            let weights = self.weights[column * self.depth..].as_ptr();
            let ending = Ending { bias: self.bias[column..].as_ptr(), ..Ending::NONE };
            for row in (0..rows).step_by(height) {
                let kernel = micro::<S>(height.min(rows - row), vectors);
                // SAFETY: the caller's promise.
                unsafe {
                    let (from, to) = (from.add(row * from_stride), to.add(row * to_stride + column));
                    kernel(s, self.depth, from, from_stride, weights, width, to, to_stride, &ending);
                }
            }
        }
    }
}

#[inline(always)]
fn activate_all<S: Simd>(s: S, activation: Activation, values: &mut [f32]) {
    for chunk in values.chunks_mut(S::LANES) {
        // SAFETY: the chunk's own length.
        unsafe {
            let value = activate(s, activation, take(s, chunk.as_ptr(), chunk.len()));
            put(s, chunk.as_mut_ptr(), value, chunk.len());
        }
    }
}

/// Fills `to` with one number per channel, over and over.
fn repeat(channels: &[f32], to: &mut [f32]) {
    to.chunks_exact_mut(channels.len()).for_each(|to| to.copy_from_slice(channels));
}
