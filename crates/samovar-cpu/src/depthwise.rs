//! Depthwise convolutions: one filter per channel, vectors along the channels.
//!
//! Every number of the result costs one load per tap however it is arranged, unless neighbours share them. So a line is
//! cut into runs of a few pixels whose sums stay in registers: a tap's weights are loaded once for all of them.

use std::ops::Range;
use std::sync::Arc;

use samovar_tensor::{Conv2d, DType, Epilogue, Packed, Pool, Result, Shape, Tensor};

use crate::gemm::Output;
use crate::gemm::finish::{Finish, WHOLE};
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

/// Pixels of a run.
const RUN: usize = 8;

/// Channels of a task: so few that the lines under the kernel stay in L2, so many that a pixel's are worth fetching.
const CHUNK: usize = 64;

/// Lines of a task.
const LINES: usize = 16;

/// Weights as [`Packed`] holds them: `[kernel · kernel, channels]`.
struct Taps(Tensor);

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
    x: &Tensor,
    layer: &Conv2d,
    epilogue: &Epilogue,
    out: &mut Tensor,
) -> Result<()> {
    let [batch, height, width, channels] = x.shape().fixed("conv2d")?;
    let [_, out_height, out_width, _] = out.shape().fixed("conv2d")?;
    let g = layer.geometry;
    let finish = Finish::new(layer.bias.as_ref(), epilogue)?;
    let line = Line {
        values: x.f32()?,
        weights: layer.weight.get::<Taps>().0.f32()?,
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
    let (line_blocks, chunks) = (out_height.div_ceil(LINES), channels.div_ceil(CHUNK));
    threads.run(batch * line_blocks * chunks, cycles, |task, scratch| {
        let [sums] = scratch.split([RUN * CHUNK]);
        let (block, chunk) = (task / chunks, task % chunks * CHUNK);
        let (b, first_line) = (block / line_blocks, block % line_blocks * LINES);
        let chunk = chunk..channels.min(chunk + CHUNK);
        s.vectorize(
            #[inline(always)]
            || {
                for oy in first_line..out_height.min(first_line + LINES) {
                    let (top, rows) = line.inside(oy, height);
                    for ox in (0..out_width).step_by(RUN) {
                        let count = RUN.min(out_width - ox);
                        // In the middle of a line no tap falls outside for any pixel of the run.
                        let (first, end) = (line.inside(ox, width).1, line.inside(ox + count - 1, width).1);
                        let whole = count == RUN && first == (0..g.kernel) && end == (0..g.kernel);
                        // Pixels are far apart in memory, so nobody else fetches them ahead: the next input line, and
                        // the next run of the result.
                        let below = (top.max(0) as usize + g.kernel * g.dilation).min(height - 1);
                        let below = (b * height + below) * width + (ox * g.stride).min(width - 1);
                        let row = (b * out_height + oy) * out_width + ox;
                        for i in 0..RUN * g.stride {
                            for c in chunk.clone().step_by(16) {
                                s.prefetch_to_read(
                                    line.values.as_ptr().wrapping_add((below + i) * channels + c),
                                );
                            }
                        }
                        for i in 0..RUN {
                            for c in chunk.clone().step_by(16) {
                                s.prefetch_to_write(out.at(row + RUN + i, c));
                            }
                        }
                        for c in chunk.clone().step_by(S::LANES) {
                            let n = S::LANES.min(chunk.end - c);
                            let sums = &mut sums[c - chunk.start..];
                            // SAFETY: pieces and taps inside the image.
                            unsafe {
                                if whole {
                                    line.run::<S, RUN>(s, b * height, top, rows.clone(), ox, c, n, sums);
                                } else {
                                    for i in 0..count {
                                        let sums = &mut sums[i * CHUNK..];
                                        line.run::<S, 1>(
                                            s,
                                            b * height,
                                            top,
                                            rows.clone(),
                                            ox + i,
                                            c,
                                            n,
                                            sums,
                                        );
                                    }
                                }
                            }
                        }
                        let rows = row..row + count;
                        // SAFETY: every task writes its own lines and channels of the result.
                        unsafe { finish.tile(s, sums.as_ptr(), CHUNK, rows, chunk.clone(), WHOLE, out) };
                    }
                }
            },
        );
    });
    Ok(())
}

/// What the taps of an output line have in common.
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

    /// Sums of `n` channels (a vector at most) from `channel` on, for `PIXELS` outputs from `ox` on; several only where all taps are inside.
    ///
    /// # Safety
    /// The channels must exist, and `sums` hold as many rows every [`CHUNK`] numbers.
    #[inline(always)]
    unsafe fn run<S: Simd, const PIXELS: usize>(
        &self,
        s: S,
        first_line: usize,
        top: isize,
        rows: Range<usize>,
        ox: usize,
        channel: usize,
        n: usize,
        sums: &mut [f32],
    ) {
        let channels = self.channels;
        let (left, columns) = self.inside(ox, self.width);
        // SAFETY: taps inside the image; the caller's promise.
        unsafe {
            let start = match self.bias {
                Some(bias) => take(s, bias.as_ptr().add(channel), n),
                None => s.splat(0.0),
            };
            let mut totals = [start; PIXELS];
            for ky in rows {
                let line = first_line + (top + (ky * self.dilation) as isize) as usize;
                for kx in columns.clone() {
                    let x = (left + (kx * self.dilation) as isize) as usize;
                    let pixel = self.values.as_ptr().add((line * self.width + x) * channels + channel);
                    let tap =
                        take(s, self.weights.as_ptr().add((ky * self.kernel + kx) * channels + channel), n);
                    for (i, total) in totals.iter_mut().enumerate() {
                        *total = s.fma(take(s, pixel.add(i * self.stride * channels), n), tap, *total);
                    }
                }
            }
            for (i, total) in totals.into_iter().enumerate() {
                put(s, sums.as_mut_ptr().add(i * CHUNK), total, n);
            }
        }
    }
}
