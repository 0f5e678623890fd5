//! What needs the whole of a row: layer normalisation, softmax.

use samovar_tensor::{Activation, LayerNorm, Result, Tensor};

use crate::gemm::output::Output;
use crate::math::{activate, activation_cycles, exp};
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

/// Numbers of a task, roughly.
const TASK_LEN: usize = 16 << 10;

pub(crate) fn layer_norm<S: Simd>(
    threads: &Threads,
    s: S,
    x: &Tensor,
    norm: &LayerNorm,
    activation: Activation,
    out: &mut Tensor,
) -> Result<()> {
    let channels = x.shape().channels();
    let rows = x.shape().rows();
    let (gamma, beta) = (norm.gamma().f32()?, norm.beta().f32()?);
    let values = x.f32()?;
    let out = Output::new(out.f32_mut()?, channels);
    let rows_per_task = (TASK_LEN / channels.max(1)).max(1);
    let cycles = (rows * channels.div_ceil(S::LANES)) as u64 * (8 + activation_cycles(activation));
    threads.run(rows.div_ceil(rows_per_task), cycles, |task, _| {
        let rows = task * rows_per_task..((task + 1) * rows_per_task).min(rows);
        s.vectorize(
            #[inline(always)]
            || {
                for row in rows {
                    let x = &values[row * channels..][..channels];
                    // SAFETY: tasks have disjoint rows.
                    unsafe {
                        normalise(s, x.as_ptr(), gamma, beta, norm.epsilon(), activation, out.at(row, 0))
                    };
                }
            },
        );
    });
    Ok(())
}

/// One row. The variance is taken about the mean, in a second pass: the row is in L1 by then, and the short formula
/// loses everything when the mean is large.
///
/// # Safety
/// As many numbers as there are in `gamma` must be readable at `x` and writable at `y`, which may be the same.
#[inline(always)]
pub(crate) unsafe fn normalise<S: Simd>(
    s: S,
    x: *const f32,
    gamma: &[f32],
    beta: &[f32],
    epsilon: f32,
    activation: Activation,
    y: *mut f32,
) {
    let channels = gamma.len();
    let beta = &beta[..channels];
    let whole = channels / S::LANES * S::LANES;
    let rest = channels - whole;
    let mut sum = s.splat(0.0);
    for c in (0..whole).step_by(S::LANES) {
        // SAFETY (this block and the others): `whole` and the rest stay below `channels`.
        sum = s.add(sum, unsafe { s.load(x.add(c)) });
    }
    // SAFETY: as above.
    let ends = || (whole..whole + rest).map(|c| unsafe { *x.add(c) });
    let mean = (s.sum(sum) + ends().sum::<f32>()) / channels as f32;
    let means = s.splat(mean);
    let mut squares = s.splat(0.0);
    for c in (0..whole).step_by(S::LANES) {
        let distance = s.sub(unsafe { s.load(x.add(c)) }, means);
        squares = s.fma(distance, distance, squares);
    }
    let variance = s.sum(squares) + ends().map(|x| (x - mean) * (x - mean)).sum::<f32>();
    let scale = s.splat(1.0 / (variance / channels as f32 + epsilon).sqrt());
    for c in (0..channels).step_by(S::LANES) {
        let n = S::LANES.min(channels - c);
        unsafe {
            let distance = s.sub(take(s, x.add(c), n), means);
            let (gamma, beta) = (take(s, gamma.as_ptr().add(c), n), take(s, beta.as_ptr().add(c), n));
            let value = activate(s, activation, s.fma(s.mul(distance, scale), gamma, beta));
            put(s, y.add(c), value, n);
        }
    }
}

pub(crate) fn softmax<S: Simd>(threads: &Threads, s: S, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let (rows, columns) = (x.shape().rows(), x.shape().channels());
    let values = x.f32()?;
    let out = Output::new(out.f32_mut()?, columns);
    let rows_per_task = (TASK_LEN / columns.max(1)).max(1);
    let cycles = (rows * columns.div_ceil(S::LANES)) as u64 * 24;
    threads.run(rows.div_ceil(rows_per_task), cycles, |task, _| {
        s.vectorize(
            #[inline(always)]
            || {
                for row in task * rows_per_task..rows.min((task + 1) * rows_per_task) {
                    let x = &values[row * columns..][..columns];
                    let largest = s.splat(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                    let mut sum = 0.0;
                    for c in (0..columns).step_by(S::LANES) {
                        let n = S::LANES.min(columns - c);
                        // SAFETY: `n` numbers are left of the row; tasks have disjoint rows.
                        unsafe {
                            let weight = exp(s, s.sub(take(s, x.as_ptr().add(c), n), largest));
                            put(s, out.at(row, c), weight, n);
                            sum += match n == S::LANES {
                                true => s.sum(weight),
                                false => (c..c + n).map(|c| *out.at(row, c)).sum::<f32>(),
                            };
                        }
                    }
                    let share = s.splat(1.0 / sum);
                    for c in (0..columns).step_by(S::LANES) {
                        let n = S::LANES.min(columns - c);
                        // SAFETY: as above.
                        unsafe { put(s, out.at(row, c), s.mul(take(s, out.at(row, c), n), share), n) };
                    }
                }
            },
        );
    });
    Ok(())
}
