//! Operators on single numbers: activations, sums and products, Fourier features.

use std::ops::Range;

use samovar_tensor::{Activation, BinaryOp, Epilogue, Result, Tensor};

use crate::gemm::cut::WHOLE;
use crate::gemm::finish::Finish;
use crate::gemm::output::Output;
use crate::math::{activate, activation_cycles, sin_cos};
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

/// Numbers of a task.
const TASK_LEN: usize = 32 << 10;

/// Cuts `len` numbers of `out` into tasks; `f` gets a task's range and its part of the result.
fn for_ranges<S: Simd>(
    threads: &Threads,
    cycles_per_vector: u64,
    out: &mut [f32],
    f: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let len = out.len();
    let out = Output::new(out, 0);
    let cycles = (len / S::LANES) as u64 * (4 + cycles_per_vector);
    threads.run(len.div_ceil(TASK_LEN), cycles, |task, _| {
        let range = task * TASK_LEN..((task + 1) * TASK_LEN).min(len);
        // SAFETY: ranges are disjoint and inside the result.
        let part = unsafe { std::slice::from_raw_parts_mut(out.at(0, range.start), range.len()) };
        f(range, part);
    });
}

pub(crate) fn activation<S: Simd>(
    threads: &Threads,
    s: S,
    x: &Tensor,
    activation: Activation,
    out: &mut Tensor,
) -> Result<()> {
    let x = x.f32()?;
    for_ranges::<S>(threads, activation_cycles(activation), out.f32_mut()?, |range, out| {
        let x = &x[range];
        s.vectorize(
            #[inline(always)]
            || {
                for (x, y) in x.chunks(S::LANES).zip(out.chunks_mut(S::LANES)) {
                    // SAFETY: chunks of equal length.
                    unsafe {
                        let value = activate(s, activation, take(s, x.as_ptr(), x.len()));
                        put(s, y.as_mut_ptr(), value, x.len());
                    }
                }
            },
        );
    });
    Ok(())
}

pub(crate) fn binary<S: Simd>(
    threads: &Threads,
    s: S,
    op: BinaryOp,
    a: &Tensor,
    b: &Tensor,
    act: Activation,
    out: &mut Tensor,
) -> Result<()> {
    let (a, b) = (a.f32()?, b.f32()?);
    for_ranges::<S>(threads, activation_cycles(act), out.f32_mut()?, |range, out| {
        s.vectorize(
            #[inline(always)]
            || {
                let mut at = 0;
                while at < out.len() {
                    // Up to where the rows of `b` start again.
                    let from = (range.start + at) % b.len();
                    let len = (b.len() - from).min(out.len() - at);
                    let (a, b) = (&a[range.start + at..][..len], &b[from..][..len]);
                    let y = &mut out[at..][..len];
                    for i in (0..len).step_by(S::LANES) {
                        let n = S::LANES.min(len - i);
                        // SAFETY: `n` numbers are left of the slices of equal length.
                        unsafe {
                            let left = take(s, a.as_ptr().add(i), n);
                            let right = take(s, b.as_ptr().add(i), n);
                            let value = match op {
                                BinaryOp::Add => s.add(left, right),
                                BinaryOp::Multiply => s.mul(left, right),
                                BinaryOp::Maximum => s.max(left, right),
                                BinaryOp::Minimum => s.min(left, right),
                            };
                            put(s, y.as_mut_ptr().add(i), activate(s, act, value), n);
                        }
                    }
                    at += len;
                }
            },
        );
    });
    Ok(())
}

/// Moves pixels to where they belong and finishes them on the way.
pub(crate) fn depth_to_space<S: Simd>(
    threads: &Threads,
    s: S,
    x: &Tensor,
    factor: usize,
    epilogue: &Epilogue,
    out: &mut Tensor,
) -> Result<()> {
    let [batch, height, width, _] = x.shape().fixed("depth_to_space")?;
    let channels = out.shape().channels();
    let values = x.f32()?;
    let mut finish = Finish::new(None, epilogue)?;
    let vectors = out.shape().rows() * channels.div_ceil(S::LANES);
    let cycles = vectors as u64 * (8 + activation_cycles(epilogue.activation));
    // The taps of a kernel row lie side by side on both sides, so they move as one, unless a residual repeats within.
    let mut group = factor;
    if let Some(residual) = &mut finish.residual {
        match residual.values.len().is_multiple_of(factor * channels) {
            true => residual.columns = factor * channels,
            false => group = 1,
        }
    }
    let columns = group * channels;
    let pieces = factor / group;
    let out = Output::new(out.f32_mut()?, columns);
    threads.run(batch * height * factor, cycles, |line, _| {
        let (pixels, tap) = (line / factor * width, line % factor * factor);
        for x in 0..width {
            for piece in 0..pieces {
                let from = ((pixels + x) * factor * factor + tap + piece) * channels;
                let row = (line * width + x) * pieces + piece;
                // Without pieces all pixels of the line are rows of one tile.
                let (rows, distance) = if pieces == 1 { (width, factor * columns) } else { (1, 0) };
                let values = values[from..][..(rows - 1) * distance + columns].as_ptr();
                // SAFETY: every task writes its own line of the result.
                unsafe { finish.tile(s, values, distance, row..row + rows, 0..columns, WHOLE, out) };
            }
            if pieces == 1 {
                break;
            }
        }
    });
    Ok(())
}

pub(crate) fn fourier_features<S: Simd>(
    threads: &Threads,
    s: S,
    x: &Tensor,
    gaussian: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let features = gaussian.shape().channels();
    let (g_x, g_y) = gaussian.f32()?.split_at(features);
    let positions = x.f32()?.as_chunks::<2>().0;
    let out = Output::new(out.f32_mut()?, 2 * features);
    let rows_per_task = (TASK_LEN / features.max(1)).max(1);
    let cycles = (positions.len() * features.div_ceil(S::LANES)) as u64 * 50;
    threads.run(positions.len().div_ceil(rows_per_task), cycles, |task, _| {
        let rows = task * rows_per_task..((task + 1) * rows_per_task).min(positions.len());
        s.vectorize(
            #[inline(always)]
            || {
                for row in rows {
                    let [x, y] = positions[row].map(|p| 2.0 * p - 1.0);
                    for f in (0..features).step_by(S::LANES) {
                        let n = S::LANES.min(features - f);
                        // SAFETY: `n` numbers are left of the features; tasks have disjoint rows.
                        unsafe {
                            let to = out.at(row, f);
                            let (g_x, g_y) =
                                (take(s, g_x.as_ptr().add(f), n), take(s, g_y.as_ptr().add(f), n));
                            // Not fused: the phase is large, so its rounding is part of the model.
                            let phase = s.add(s.mul(s.splat(x), g_x), s.mul(s.splat(y), g_y));
                            let (sin, cos) = sin_cos(s, s.mul(phase, s.splat(std::f32::consts::TAU)));
                            put(s, to, sin, n);
                            put(s, to.add(features), cos, n);
                        }
                    }
                }
            },
        );
    });
    Ok(())
}
