//! Depthwise convolutions: one filter per channel, vectors along the channels.
//!
//! What takes time is to bring the image near: neighbours in memory are channels, so pixels lie as far apart as L1 is
//! wide, and what was loaded for one output is rarely there for the next. So outputs are made in blocks of two lines by
//! several pixels, whose sums stay in registers, and every number under the block is loaded once.

use std::ops::Range;
use std::sync::Arc;

use samovar_tensor::{Conv2d, Conv2dGeometry, DType, Epilogue, Error, Packed, Pool, Result, Shape, Tensor};

use crate::gemm::cut::WHOLE;
use crate::gemm::finish::Finish;
use crate::gemm::output::Output;
use crate::routes::choice::DepthwiseRoute;
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

/// Lines of a block.
const DOWN: usize = 2;

/// Most pixels of a line of a block.
const ACROSS: usize = 8;

/// Most pixels of a line under a block.
const MOST_ACROSS: usize = 10;

/// Channels done at once.
const CHUNK: usize = 64;

/// Lines of a task.
const LINES: usize = 16;

/// Numbers of a line of a task: so few that the lines under a block, those asked for and the result stay in L2. All channels
/// of a pixel belong to it, so that memory is read as it lies.
const LINE_LEN: usize = 1 << 13;

/// Whether every channel has a filter of its own.
pub(crate) fn is_depthwise(geometry: &Conv2dGeometry) -> bool {
    geometry.groups > 1
}

/// Weights as [`Packed`] holds them: `[kernel · kernel, channels]`.
struct Taps(Tensor);

/// Bytes of packed filters.
pub(crate) fn packed_bytes(channels: usize, kernel: usize) -> usize {
    kernel * kernel * channels * size_of::<f32>()
}

/// Orders `[channels, 1, kernel, kernel]` for [`conv2d`].
pub(crate) fn pack(pool: &Arc<Pool>, weight: &[f32], channels: usize, kernel: usize) -> Result<Packed> {
    let taps = kernel * kernel;
    let mut values = Tensor::allocate(pool, Shape::new(&[taps, channels]), DType::F32)?;
    for (tap, row) in values.f32_mut()?.chunks_exact_mut(channels.max(1)).enumerate() {
        row.iter_mut().enumerate().for_each(|(c, to)| *to = weight[c * taps + tap]);
    }
    let size_bytes = values.size_bytes();
    Ok(Packed::new(Taps(values), size_bytes))
}

pub(crate) fn conv2d<S: Simd>(
    threads: &Threads,
    s: S,
    route: DepthwiseRoute,
    x: &Tensor,
    layer: &Conv2d,
    epilogue: &Epilogue,
    out: &mut Tensor,
) -> Result<()> {
    let [batch, height, width, channels] = x.shape().fixed("conv2d")?;
    let [_, out_height, out_width, _] = out.shape().fixed("conv2d")?;
    let g = layer.geometry();
    let finish = Finish::new(layer.bias(), epilogue)?;
    let Taps(taps) = layer.weight().get("weights", "cpu")?;
    if taps.dims() != [g.kernel * g.kernel, channels] {
        let what = format!("filters {} for {channels} channels with {g:?}", taps.shape());
        return Err(Error::Shape { op: "conv2d", what });
    }
    let line = Line {
        values: x.f32()?,
        weights: taps.f32()?,
        bias: finish.bias,
        width,
        channels,
        kernel: g.kernel,
        stride: g.stride,
        padding: g.padding,
        dilation: g.dilation,
    };
    let vectors = out.shape().rows() * channels.div_ceil(S::LANES);
    let out = Output::new(out.f32_mut()?, channels);
    let cycles = (vectors * (g.kernel * g.kernel + 4)) as u64;
    let line_blocks = out_height.div_ceil(LINES);
    let across = (LINE_LEN / (channels * g.stride).max(1)).max(1).next_multiple_of(ACROSS);
    let tiles = out_width.div_ceil(across);
    threads.run(batch * line_blocks * tiles, cycles, |task, scratch| {
        let [sums] = scratch.split([DOWN * ACROSS * CHUNK]);
        let (block, tile) = (task / tiles, task % tiles * across);
        let (b, first_line) = (block / line_blocks, block % line_blocks * LINES);
        let task = Task {
            line: &line,
            finish: &finish,
            height,
            out_height,
            out_width,
            b,
            lines: first_line..out_height.min(first_line + LINES),
            pixels: tile..out_width.min(tile + across),
            out,
        };
        s.vectorize(
            #[inline(always)]
            || match route {
                DepthwiseRoute::BlocksOfStride1 => task.blocks::<S, 1, 8>(s, sums),
                DepthwiseRoute::BlocksOfStride2 => task.blocks::<S, 2, 4>(s, sums),
                DepthwiseRoute::Pixels => task.runs(s, sums),
            },
        );
    });
    Ok(())
}

/// Some lines and pixels of the result.
struct Task<'a> {
    line: &'a Line<'a>,
    finish: &'a Finish<'a>,
    height: usize,
    out_height: usize,
    out_width: usize,
    /// Which image of the batch.
    b: usize,
    lines: Range<usize>,
    pixels: Range<usize>,
    out: Output,
}

impl Task<'_> {
    fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        let channels = self.line.channels;
        (0..channels).step_by(CHUNK).map(move |first| first..channels.min(first + CHUNK))
    }

    /// The result's row of a pixel.
    fn row(&self, oy: usize, ox: usize) -> usize {
        (self.b * self.out_height + oy) * self.out_width + ox
    }

    /// Stores the sums of `count` pixels.
    #[inline(always)]
    fn store<S: Simd>(&self, s: S, sums: &[f32], oy: usize, ox: usize, count: usize, chunk: Range<usize>) {
        let row = self.row(oy, ox);
        // SAFETY: every task writes its own lines and pixels of the result.
        unsafe { self.finish.tile(s, sums.as_ptr(), CHUNK, row..row + count, chunk, WHOLE, self.out) };
    }

    /// Kernels of 3, block by block.
    #[inline(always)]
    fn blocks<S: Simd, const STRIDE: usize, const PIXELS: usize>(&self, s: S, sums: &mut [f32]) {
        const { assert!(PIXELS <= ACROSS) };
        let Line { values, width, channels, padding, .. } = *self.line;
        for oy in self.lines.clone().step_by(DOWN) {
            for ox in self.pixels.clone().step_by(PIXELS) {
                let count = PIXELS.min(self.pixels.end - ox);
                let corner = Corner {
                    top: (oy * STRIDE) as isize - padding as isize,
                    left: (ox * STRIDE) as isize - padding as isize,
                    first_line: self.b * self.height,
                    height: self.height,
                };
                for chunk in self.chunks() {
                    // Nobody else fetches ahead the next input lines, and the next block of the result.
                    for line in 0..DOWN * STRIDE {
                        let below = (corner.top.max(0) as usize + DOWN * STRIDE + 3 - STRIDE + line)
                            .min(self.height.saturating_sub(1));
                        let below =
                            (corner.first_line + below) * width + (ox * STRIDE).min(width.saturating_sub(1));
                        for i in 0..PIXELS * STRIDE {
                            for c in chunk.clone().step_by(16) {
                                s.prefetch_to_read(values.as_ptr().wrapping_add((below + i) * channels + c));
                            }
                        }
                    }
                    for line in 0..DOWN {
                        let row = self.row(oy + line, ox + PIXELS);
                        for i in 0..PIXELS {
                            for c in chunk.clone().step_by(16) {
                                s.prefetch_to_write(self.out.at(row + i, c));
                            }
                        }
                    }
                    for c in chunk.clone().step_by(S::LANES) {
                        let n = S::LANES.min(chunk.end - c);
                        let sums = &mut sums[c - chunk.start..];
                        // SAFETY: these channels exist, and there is room for all sums.
                        unsafe {
                            if n == S::LANES && corner.is_inside::<STRIDE, PIXELS>(width) {
                                self.line.block::<S, STRIDE, PIXELS, true>(s, corner, c, n, sums);
                            } else {
                                self.line.block::<S, STRIDE, PIXELS, false>(s, corner, c, n, sums);
                            }
                        }
                    }
                    for line in 0..DOWN.min(self.lines.end - oy) {
                        let sums = &sums[line * PIXELS * CHUNK..];
                        self.store(s, sums, oy + line, ox, count, chunk.clone());
                    }
                }
            }
        }
    }

    /// Any kernel, pixel by pixel.
    #[inline(always)]
    fn runs<S: Simd>(&self, s: S, sums: &mut [f32]) {
        for oy in self.lines.clone() {
            for ox in self.pixels.clone() {
                for chunk in self.chunks() {
                    for c in chunk.clone().step_by(S::LANES) {
                        let n = S::LANES.min(chunk.end - c);
                        // SAFETY: these channels exist, and there is room for them.
                        unsafe {
                            self.line.pixel(
                                s,
                                self.b * self.height,
                                self.height,
                                [oy, ox],
                                c,
                                n,
                                &mut sums[c - chunk.start..],
                            );
                        }
                    }
                    self.store(s, sums, oy, ox, 1, chunk);
                }
            }
        }
    }
}

/// The first tap of a block's first output, which may lie outside; the lines of its image.
#[derive(Clone, Copy)]
struct Corner {
    top: isize,
    left: isize,
    first_line: usize,
    height: usize,
}

impl Corner {
    /// Whether all taps of a block lie inside.
    #[inline(always)]
    fn is_inside<const STRIDE: usize, const PIXELS: usize>(&self, width: usize) -> bool {
        let [lines, pixels] = [DOWN, PIXELS].map(|outputs| ((outputs - 1) * STRIDE + 3) as isize);
        self.top >= 0
            && self.left >= 0
            && self.top + lines <= self.height as isize
            && self.left + pixels <= width as isize
    }
}

/// What the taps of an output line have in common.
#[derive(Clone, Copy)]
struct Line<'a> {
    values: &'a [f32],
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    width: usize,
    channels: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
}

impl Line<'_> {
    /// Where the first tap of an output lies, and the taps that lie inside an image of this side.
    #[inline(always)]
    fn inside(&self, output: usize, side: usize) -> (isize, Range<usize>) {
        let start = (output * self.stride) as isize - self.padding as isize;
        if start >= 0 && start as usize + (self.kernel - 1) * self.dilation < side {
            return (start, 0..self.kernel);
        }
        let first = ((-start).max(0) as usize).div_ceil(self.dilation).min(self.kernel);
        let end = ((side as isize - start).max(0) as usize).div_ceil(self.dilation).clamp(first, self.kernel);
        (start, first..end)
    }

    /// Sums of `n` channels (a vector at most) from `channel` on for [`DOWN`] lines of `PIXELS` outputs, line by line; taps of
    /// a kernel of 3 that lie outside count as 0.
    ///
    /// # Safety
    /// The channels must exist, and `sums` hold as many rows every [`CHUNK`] numbers. `INSIDE` only where all taps are.
    #[inline(always)]
    unsafe fn block<S: Simd, const STRIDE: usize, const PIXELS: usize, const INSIDE: bool>(
        &self,
        s: S,
        corner: Corner,
        channel: usize,
        n: usize,
        sums: &mut [f32],
    ) {
        const { assert!((ACROSS - 1) + 3 <= MOST_ACROSS) };
        let Line { values, weights, width, channels, .. } = *self;
        // SAFETY: taps inside the image; the caller's promise.
        unsafe {
            let n = if INSIDE { S::LANES } else { n };
            let start = match self.bias {
                Some(bias) => take(s, bias.as_ptr().add(channel), n),
                None => s.splat(0.0),
            };
            let mut totals = [[start; PIXELS]; DOWN];
            for y in 0..(DOWN - 1) * STRIDE + 3 {
                let line = corner.top + y as isize;
                let is_line = INSIDE || (line >= 0 && line < corner.height as isize);
                let first = (corner.first_line as isize + line) * width as isize + corner.left;
                let first = values.as_ptr().wrapping_offset(first * channels as isize).wrapping_add(channel);
                let mut under = [s.splat(0.0); MOST_ACROSS];
                for (x, under) in under.iter_mut().enumerate().take((PIXELS - 1) * STRIDE + 3) {
                    let column = corner.left + x as isize;
                    if INSIDE || (is_line && column >= 0 && column < width as isize) {
                        *under = take(s, first.wrapping_add(x * channels), n);
                    }
                }
                for (oy, totals) in totals.iter_mut().enumerate() {
                    if y < oy * STRIDE || y >= oy * STRIDE + 3 {
                        continue;
                    }
                    for kx in 0..3 {
                        let tap = (y - oy * STRIDE) * 3 + kx;
                        let tap = take(s, weights.as_ptr().add(tap * channels + channel), n);
                        for (i, total) in totals.iter_mut().enumerate() {
                            *total = s.fma(under[i * STRIDE + kx], tap, *total);
                        }
                    }
                }
            }
            for (i, total) in totals.as_flattened().iter().enumerate() {
                put(s, sums.as_mut_ptr().add(i * CHUNK), *total, n);
            }
        }
    }

    /// Sums of `n` channels (a vector at most) from `channel` on of one output.
    ///
    /// # Safety
    /// The channels must exist, and `sums` hold them.
    #[inline(always)]
    unsafe fn pixel<S: Simd>(
        &self,
        s: S,
        first_line: usize,
        height: usize,
        [oy, ox]: [usize; 2],
        channel: usize,
        n: usize,
        sums: &mut [f32],
    ) {
        let channels = self.channels;
        let ((top, rows), (left, columns)) = (self.inside(oy, height), self.inside(ox, self.width));
        // SAFETY: taps inside the image; the caller's promise.
        unsafe {
            let mut total = match self.bias {
                Some(bias) => take(s, bias.as_ptr().add(channel), n),
                None => s.splat(0.0),
            };
            for ky in rows {
                let line = first_line + (top + (ky * self.dilation) as isize) as usize;
                for kx in columns.clone() {
                    let x = (left + (kx * self.dilation) as isize) as usize;
                    let pixel = self.values.as_ptr().add((line * self.width + x) * channels + channel);
                    let tap = self.weights.as_ptr().add((ky * self.kernel + kx) * channels + channel);
                    total = s.fma(take(s, pixel, n), take(s, tap, n), total);
                }
            }
            put(s, sums.as_mut_ptr(), total, n);
        }
    }
}
