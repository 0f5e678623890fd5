//! Resizing of channels-last maps.

use samovar_tensor::{ResizeMode, Result, Tensor};

use crate::gemm::Output;
use crate::scratch::SCRATCH_LEN;
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

pub(crate) fn resize<S: Simd>(
    threads: &Threads,
    s: S,
    x: &Tensor,
    mode: ResizeMode,
    out: &mut Tensor,
) -> Result<()> {
    let [batch, height, width, channels] = x.shape().fixed("resize")?;
    let [_, out_height, out_width, _] = out.shape().fixed("resize")?;
    let values = x.f32()?;
    let cycles = (out.shape().len() * 2) as u64;
    let line_len = width * channels;
    let out = Output::new(out.f32_mut()?, out_width * channels);
    threads.run(batch * out_height, cycles, |task, scratch| {
        let (b, oy) = (task / out_height, task % out_height);
        let rows = taps(oy, out_height, height, mode);
        let line = |y: usize| &values[(b * height + y) * line_len..][..line_len];
        // SAFETY: every task writes its own line of the result.
        let to = unsafe { std::slice::from_raw_parts_mut(out.at(task, 0), out.stride()) };
        let columns = |ox| taps(ox, out_width, width, mode);
        s.vectorize(
            #[inline(always)]
            || {
                if rows.weight == 0.0 {
                    stretch(s, line(rows.first), channels, columns, to);
                } else if line_len <= SCRATCH_LEN {
                    // Between the two lines first: that is contiguous, and done once for all columns.
                    let [between] = scratch.split([line_len]);
                    blend(s, line(rows.first), line(rows.second), rows.weight, between);
                    stretch(s, between, channels, columns, to);
                } else {
                    let (upper, lower) = (line(rows.first), line(rows.second));
                    for (ox, pixel) in to.chunks_exact_mut(channels.max(1)).enumerate() {
                        let x = columns(ox);
                        for (c, y) in pixel.iter_mut().enumerate() {
                            let at = |line: &[f32]| {
                                mix(line[x.first * channels + c], line[x.second * channels + c], x.weight)
                            };
                            *y = mix(at(upper), at(lower), rows.weight);
                        }
                    }
                }
            },
        );
    });
    Ok(())
}

/// One line to another width.
#[inline(always)]
fn stretch<S: Simd>(s: S, line: &[f32], channels: usize, taps: impl Fn(usize) -> Taps, to: &mut [f32]) {
    if channels == 1 {
        for (ox, y) in to.iter_mut().enumerate() {
            let x = taps(ox);
            *y = mix(line[x.first], line[x.second], x.weight);
        }
        return;
    }
    for (ox, pixel) in to.chunks_exact_mut(channels.max(1)).enumerate() {
        let x = taps(ox);
        let pixel_at = |x: usize| &line[x * channels..][..channels];
        blend(s, pixel_at(x.first), pixel_at(x.second), x.weight, pixel);
    }
}

#[inline(always)]
fn mix(a: f32, b: f32, weight: f32) -> f32 {
    a * (1.0 - weight) + b * weight
}

#[inline(always)]
fn blend<S: Simd>(s: S, a: &[f32], b: &[f32], weight: f32, to: &mut [f32]) {
    let (first, second) = (s.splat(1.0 - weight), s.splat(weight));
    let (a, b) = (&a[..to.len()], &b[..to.len()]);
    for i in (0..to.len()).step_by(S::LANES) {
        let n = S::LANES.min(to.len() - i);
        // SAFETY: `n` numbers are left of the slices of equal length.
        unsafe {
            let a = s.mul(take(s, a.as_ptr().add(i), n), first);
            let value = s.fma(take(s, b.as_ptr().add(i), n), second, a);
            put(s, to.as_mut_ptr().add(i), value, n);
        }
    }
}

/// The two cells around a position, and the weight of the second.
struct Taps {
    first: usize,
    second: usize,
    weight: f32,
}

#[inline(always)]
fn taps(output: usize, out_side: usize, side: usize, mode: ResizeMode) -> Taps {
    let scale = side as f32 / out_side as f32;
    match mode {
        ResizeMode::Nearest => {
            let index = ((output as f32 * scale) as usize).min(side - 1);
            Taps { first: index, second: index, weight: 0.0 }
        }
        ResizeMode::Bilinear => {
            let position = ((output as f32 + 0.5) * scale - 0.5).max(0.0);
            let first = (position as usize).min(side - 1);
            Taps { first, second: (first + 1).min(side - 1), weight: position - first as f32 }
        }
    }
}
