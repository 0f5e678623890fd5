//! Resizing of channels-last maps.

use samovar_tensor::{ResizeMode, Result, Tensor};

use crate::gemm::output::Output;
use crate::scratch::{SCRATCH_LEN, padded};
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

/// Lines of the result in a task: the columns' taps are worked out once for them.
const LINES: usize = 16;

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
    let cycles = out.shape().len() as u64;
    let line_len = width * channels;
    let out = Output::new(out.f32_mut()?, out_width * channels);
    let lines = batch * out_height;
    // Lines that do not fit the scratch memory are worked on in pieces.
    let chunk = ((SCRATCH_LEN - padded(1)) / (channels + 3) / 2).min(out_width).max(1);
    threads.run(lines.div_ceil(LINES), cycles, |task, scratch| {
        for start in (0..out_width).step_by(chunk) {
            let columns = start..out_width.min(start + chunk);
            let [first, second, weight, rest] = scratch.split([
                columns.len(),
                columns.len(),
                columns.len(),
                line_len.min(SCRATCH_LEN - 3 * padded(columns.len())),
            ]);
            for (i, ox) in columns.clone().enumerate() {
                let taps = taps(ox, out_width, width, mode);
                first[i] = f32::from_bits((taps.first * channels) as u32);
                second[i] = f32::from_bits((taps.second * channels) as u32);
                weight[i] = taps.weight;
            }
            let table = Table { first, second, weight, channels };
            for task_line in task * LINES..lines.min((task + 1) * LINES) {
                let (b, oy) = (task_line / out_height, task_line % out_height);
                let rows = taps(oy, out_height, height, mode);
                let line = |y: usize| &values[(b * height + y) * line_len..][..line_len];
                let (upper, lower) = (line(rows.first), line(rows.second));
                // SAFETY: every task writes its own lines of the result.
                let to = unsafe {
                    let to = out.at(task_line, columns.start * channels);
                    std::slice::from_raw_parts_mut(to, columns.len() * channels)
                };
                s.vectorize(
                    #[inline(always)]
                    || {
                        if rows.weight == 0.0 {
                            table.stretch(s, upper, to);
                        } else if rest.len() == line_len {
                            // Between the two lines first: that is contiguous, and done once for all columns.
                            blend(s, upper, lower, rows.weight, rest);
                            table.stretch(s, rest, to);
                        } else {
                            table.stretch_between(upper, lower, rows.weight, to);
                        }
                    },
                );
            }
        }
    });
    Ok(())
}

/// Where columns of the result come from: two offsets into a line (as bits), and the weight of the second.
struct Table<'a> {
    first: &'a [f32],
    second: &'a [f32],
    weight: &'a [f32],
    channels: usize,
}

impl Table<'_> {
    #[inline(always)]
    fn offsets(&self, column: usize) -> (usize, usize) {
        (self.first[column].to_bits() as usize, self.second[column].to_bits() as usize)
    }

    /// One line to another width.
    #[inline(always)]
    fn stretch<S: Simd>(&self, s: S, line: &[f32], to: &mut [f32]) {
        if self.channels == 1 {
            let (from, columns) = (line.as_ptr(), self.first.iter().zip(self.second).zip(self.weight));
            for (((first, second), &weight), y) in columns.zip(to) {
                // SAFETY: offsets are those of cells of the line. Checking them each time would cost more than all else.
                let (a, b) =
                    unsafe { (*from.add(first.to_bits() as usize), *from.add(second.to_bits() as usize)) };
                *y = mix(a, b, weight);
            }
            return;
        }
        for (i, pixel) in to.chunks_exact_mut(self.channels.max(1)).enumerate() {
            let (first, second) = self.offsets(i);
            blend(s, &line[first..], &line[second..], self.weight[i], pixel);
        }
    }

    /// The same, between two lines that are too long to be blended beforehand.
    fn stretch_between(&self, upper: &[f32], lower: &[f32], weight: f32, to: &mut [f32]) {
        for (i, pixel) in to.chunks_exact_mut(self.channels.max(1)).enumerate() {
            let (first, second) = self.offsets(i);
            for (c, y) in pixel.iter_mut().enumerate() {
                let at = |line: &[f32]| mix(line[first + c], line[second + c], self.weight[i]);
                *y = mix(at(upper), at(lower), weight);
            }
        }
    }
}

#[inline(always)]
fn mix(a: f32, b: f32, weight: f32) -> f32 {
    a * (1.0 - weight) + b * weight
}

/// `to = a · (1 − weight) + b · weight`
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
