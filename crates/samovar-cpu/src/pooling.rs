//! Largest numbers of squares of cells.

use samovar_tensor::{Result, Rows, Tensor};

use crate::gemm::output::Output;
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

/// Numbers of the result that a task takes, about.
const TASK_LEN: usize = 16 << 10;

pub(crate) fn max_pool2d<S: Simd>(
    threads: &Threads,
    s: S,
    x: &Rows,
    factor: usize,
    out: &mut Tensor,
) -> Result<()> {
    let [_, height, width, columns] = x.tensor.shape().fixed("max_pool2d")?;
    let [batch, out_height, out_width, channels] = out.shape().fixed("max_pool2d")?;
    let (values, first) = (x.tensor.f32()?, x.first_column);
    let lines = batch * out_height;
    let line_len = out_width * channels;
    let task_lines = (TASK_LEN / line_len.max(1)).max(1);
    let cycles = (lines * out_width * channels.div_ceil(S::LANES) * (factor * factor + 1)) as u64;
    let out = Output::new(out.f32_mut()?, line_len);
    threads.run(lines.div_ceil(task_lines), cycles, |task, _| {
        for line in task * task_lines..lines.min((task + 1) * task_lines) {
            let row = line / out_height * height + factor * (line % out_height);
            // SAFETY: every task writes its own lines of the result.
            let to = unsafe { std::slice::from_raw_parts_mut(out.at(line, 0), line_len) };
            s.vectorize(
                #[inline(always)]
                || {
                    for (cell, to) in to.chunks_exact_mut(channels.max(1)).enumerate() {
                        let of = |i: usize| {
                            let (y, x) = (row + i / factor, factor * cell + i % factor);
                            &values[(y * width + x) * columns + first..][..channels]
                        };
                        for c in (0..channels).step_by(S::LANES) {
                            let n = S::LANES.min(channels - c);
                            // SAFETY: `n` numbers are left of all rows.
                            unsafe {
                                let mut largest = take(s, of(0).as_ptr().add(c), n);
                                for i in 1..factor * factor {
                                    largest = s.max(largest, take(s, of(i).as_ptr().add(c), n));
                                }
                                put(s, to.as_mut_ptr().add(c), largest, n);
                            }
                        }
                    }
                },
            );
        }
    });
    Ok(())
}
