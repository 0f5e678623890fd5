//! The largest numbers of rows, and rows by their places.

use samovar_tensor::{Result, Rows, Tensor};

use crate::gemm::output::Output;
use crate::threads::Threads;

/// Numbers of a task.
const TASK_LEN: usize = 16 << 10;

pub(crate) fn top_k(threads: &Threads, x: &Tensor, k: usize, out: &mut Tensor) -> Result<()> {
    let (rows, columns) = (x.shape().rows(), x.shape().channels());
    let values = x.f32()?;
    let rows_per_task = (TASK_LEN / columns).max(1);
    // Most numbers are only compared with the smallest that is kept.
    let cycles = (rows * (2 * columns + k * k)) as u64;
    let out = Output::new(out.f32_mut()?, 2 * k);
    threads.run(rows.div_ceil(rows_per_task), cycles, |task, _| {
        for row in task * rows_per_task..rows.min((task + 1) * rows_per_task) {
            // SAFETY: every task writes its own rows of the result.
            let to = unsafe { std::slice::from_raw_parts_mut(out.at(row, 0), 2 * k) };
            let (largest, places) = to.split_at_mut(k);
            keep_largest(&values[row * columns..][..columns], largest, places);
        }
    });
    Ok(())
}

/// What is not a number is taken for the smallest.
fn rank(x: f32) -> f32 {
    if x.is_nan() { f32::NEG_INFINITY } else { x }
}

/// Keeps the largest numbers seen so far in order, the largest first. As many as are wanted are there, or more.
fn keep_largest(row: &[f32], largest: &mut [f32], places: &mut [f32]) {
    let k = largest.len();
    let mut least = f32::NEG_INFINITY;
    for (place, &x) in row.iter().enumerate() {
        let own = rank(x);
        let kept = place.min(k);
        // Of equal numbers the first is kept.
        if kept == k && own <= least {
            continue;
        }
        let at = largest[..kept].partition_point(|&other| rank(other) >= own);
        let end = kept.min(k - 1);
        largest.copy_within(at..end, at + 1);
        places.copy_within(at..end, at + 1);
        largest[at] = x;
        places[at] = place as f32;
        least = rank(largest[end]);
    }
}

pub(crate) fn gather_rows(threads: &Threads, x: &Tensor, places: &Rows, out: &mut Tensor) -> Result<()> {
    let [batch, count, channels] = out.shape().fixed("gather_rows")?;
    let [x_batch, rows, _] = x.shape().fixed("gather_rows")?;
    let (values, all_places) = (x.f32()?, places.tensor.f32()?);
    let rows_per_task = (TASK_LEN / channels.max(1)).max(1);
    let cycles = (batch * count * channels) as u64;
    let out = Output::new(out.f32_mut()?, channels);
    threads.run((batch * count).div_ceil(rows_per_task), cycles, |task, _| {
        for row in task * rows_per_task..(batch * count).min((task + 1) * rows_per_task) {
            let (b, i) = (row / count, row % count);
            let place = all_places[b * places.stride() + places.first_column + i] as usize;
            let from = &values[(b % x_batch * rows + place.min(rows - 1)) * channels..][..channels];
            // SAFETY: every task writes its own rows of the result.
            unsafe { std::slice::from_raw_parts_mut(out.at(row, 0), channels) }.copy_from_slice(from);
        }
    });
    Ok(())
}
