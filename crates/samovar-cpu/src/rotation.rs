//! Pairs of numbers turned by angles of a table, as rotary position embeddings do.

use samovar_tensor::{Result, Rows, Tensor};

use crate::gemm::output::Output;
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

/// Numbers of the result that a task takes, about.
const TASK_LEN: usize = 32 << 10;

pub(crate) fn rotate<S: Simd>(
    threads: &Threads,
    s: S,
    x: &Rows,
    table: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let (channels, rows, table_rows) = (out.shape().channels(), out.shape().rows(), table.shape().rows());
    let (values, angles, half) = (x.tensor.f32()?, table.f32()?, channels / 2);
    let task_rows = (TASK_LEN / channels).max(1);
    let cycles = (rows * half.div_ceil(S::LANES)) as u64 * 8;
    let out = Output::new(out.f32_mut()?, channels);
    threads.run(rows.div_ceil(task_rows), cycles, |task, _| {
        s.vectorize(
            #[inline(always)]
            || {
                for row in task * task_rows..rows.min((task + 1) * task_rows) {
                    let (a, b) = values[row * x.stride() + x.first_column..][..channels].split_at(half);
                    let (cos, sin) = angles[row % table_rows * channels..][..channels].split_at(half);
                    for i in (0..half).step_by(S::LANES) {
                        let n = S::LANES.min(half - i);
                        let of = |part: &[f32]| {
                            // SAFETY: `n` numbers are left of all halves.
                            unsafe { take(s, part.as_ptr().add(i), n) }
                        };
                        let (a, b, cos, sin) = (of(a), of(b), of(cos), of(sin));
                        // SAFETY: every task writes its own rows of the result, of which `n` numbers are left.
                        unsafe {
                            put(s, out.at(row, i), s.sub(s.mul(a, cos), s.mul(b, sin)), n);
                            put(s, out.at(row, half + i), s.add(s.mul(a, sin), s.mul(b, cos)), n);
                        }
                    }
                }
            },
        );
    });
    Ok(())
}
