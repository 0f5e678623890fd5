//! Operators that only move numbers.

use samovar_tensor::{Result, Tensor};

use crate::gemm::output::Output;
use crate::simd::Simd;
use crate::threads::Threads;

/// Numbers of a task of a copy.
const TASK_LEN: usize = 64 << 10;

/// Rows and columns of a block of a transposition: both sides stay in L1.
const BLOCK: usize = 64;

/// Cycles to copy a number, in terms of memory rather than of instructions.
const CYCLES_PER_NUMBER: u64 = 1;

pub(crate) fn concat(threads: &Threads, parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()> {
    let inner: usize = out.dims()[axis + 1..].iter().product();
    let outer: usize = out.dims()[..axis].iter().product();
    let out_stride = out.dims()[axis] * inner;
    let to = Output::new(out.f32_mut()?, out_stride);
    let mut start = 0;
    for part in parts {
        let len = part.dims()[axis] * inner;
        let values = part.f32()?;
        if len > 0 && outer > 0 {
            // A part of batch 1 has fewer outer entries than the result, and repeats.
            copy_runs(threads, outer, len, |o| &values[o * len % values.len()..][..len], &to, start);
        }
        start += len;
    }
    Ok(())
}

pub(crate) fn slice(
    threads: &Threads,
    x: &Tensor,
    axis: usize,
    start: usize,
    out: &mut Tensor,
) -> Result<()> {
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let outer: usize = x.dims()[..axis].iter().product();
    let stride = x.dims()[axis] * inner;
    let len = out.dims()[axis] * inner;
    let values = x.f32()?;
    let to = Output::new(out.f32_mut()?, len);
    if len > 0 && outer > 0 {
        copy_runs(threads, outer, len, |o| &values[o * stride + start * inner..][..len], &to, 0);
    }
    Ok(())
}

/// Copies `count` runs of `len` numbers, run `o` from `from(o)` to `to.stride · o + first`.
fn copy_runs<'a>(
    threads: &Threads,
    count: usize,
    len: usize,
    from: impl Fn(usize) -> &'a [f32] + Sync,
    to: &Output,
    first: usize,
) {
    // Many short runs are grouped, and long ones cut.
    let runs_per_task = (TASK_LEN / len).max(1);
    let pieces = len.div_ceil(TASK_LEN);
    let piece_len = len.div_ceil(pieces);
    let tasks = count.div_ceil(runs_per_task) * pieces;
    threads.run(tasks, (count * len) as u64 * CYCLES_PER_NUMBER, |task, _| {
        let (group, piece) = (task / pieces, task % pieces);
        let range = (piece * piece_len).min(len)..((piece + 1) * piece_len).min(len);
        for run in group * runs_per_task..((group + 1) * runs_per_task).min(count) {
            let from = &from(run)[range.clone()];
            // SAFETY: runs and pieces are disjoint and inside the result.
            unsafe {
                let to = to.at(run, first + range.start);
                std::slice::from_raw_parts_mut(to, range.len()).copy_from_slice(from);
            }
        }
    });
}

pub(crate) fn transpose<S: Simd>(threads: &Threads, s: S, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let channels = x.shape().channels();
    let batch = x.dims()[0];
    let rows = x.shape().rows() / batch.max(1);
    let values = x.f32()?;
    let to = Output::new(out.f32_mut()?, rows);
    let (row_blocks, channel_blocks) = (rows.div_ceil(BLOCK), channels.div_ceil(BLOCK));
    let cycles = values.len() as u64 * 2 * CYCLES_PER_NUMBER;
    threads.run(batch * row_blocks * channel_blocks, cycles, |task, _| {
        let (b, block) = (task / (row_blocks * channel_blocks), task % (row_blocks * channel_blocks));
        let row = block / channel_blocks * BLOCK;
        let channel = block % channel_blocks * BLOCK;
        let (row_end, channel_end) = ((row + BLOCK).min(rows), (channel + BLOCK).min(channels));
        let from = &values[b * rows * channels..][..rows * channels];
        s.vectorize(
            #[inline(always)]
            || {
                let mut pointers = [std::ptr::null(); 16];
                for r in (row..row_end).step_by(S::LANES) {
                    for c in (channel..channel_end).step_by(S::LANES) {
                        // SAFETY: tiles are disjoint; whole tiles lie inside both matrices.
                        unsafe {
                            let to = to.at(b * channels + c, r);
                            let (height, width) = (S::LANES.min(row_end - r), S::LANES.min(channel_end - c));
                            if height == S::LANES && width == S::LANES {
                                for (i, pointer) in pointers[..S::LANES].iter_mut().enumerate() {
                                    *pointer = from[(r + i) * channels + c..].as_ptr();
                                }
                                s.transpose(&pointers, to, rows);
                                continue;
                            }
                            for i in 0..height {
                                for j in 0..width {
                                    *to.add(j * rows + i) = from[(r + i) * channels + c + j];
                                }
                            }
                        }
                    }
                }
            },
        );
    });
    Ok(())
}
