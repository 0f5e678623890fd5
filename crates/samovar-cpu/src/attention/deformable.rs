//! Attention to places of maps: four cells per place, weighted and added up, channel by channel.

use samovar_tensor::{DeformableAttention, Result, SampledMap, Tensor};

use crate::gemm::output::Output;
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

/// Places of a task, about.
const TASK_PLACES: usize = 1 << 10;

pub(crate) fn deformable_attention<S: Simd>(
    threads: &Threads,
    s: S,
    a: &DeformableAttention,
    out: &mut Tensor,
) -> Result<()> {
    let [batch, queries, columns] = out.shape().fixed("deformable_attention")?;
    let (heads, channels) = (a.heads, columns / a.heads);
    let cells = a.values.shape().rows() / batch.max(1);
    let points: usize = a.maps.iter().map(|map| map.points).sum();
    let (values, boxes) = (a.values.f32()?, a.boxes.f32()?);
    let (all_offsets, all_logits) = (a.offsets.tensor.f32()?, a.logits.tensor.f32()?);
    let rows = batch * queries;
    let rows_per_task = (TASK_PLACES / (heads * points)).max(1);
    // Four cells, and what a place and its weight take.
    let cycles = (rows * heads * points) as u64 * (8 * channels.div_ceil(S::LANES) as u64 + 60);
    let out = Output::new(out.f32_mut()?, columns);
    threads.run(rows.div_ceil(rows_per_task), cycles, |task, _| {
        for row in task * rows_per_task..rows.min((task + 1) * rows_per_task) {
            let of_image = Cells {
                values: &values[row / queries * cells * columns..][..cells * columns],
                columns,
                maps: a.maps,
            };
            let around = boxes[4 * row..][..4].try_into().expect("four numbers");
            s.vectorize(
                #[inline(always)]
                || {
                    for head in 0..heads {
                        let first = row * a.logits.stride() + a.logits.first_column + head * points;
                        let logits = &all_logits[first..][..points];
                        let first = row * a.offsets.stride() + a.offsets.first_column + 2 * head * points;
                        let offsets = all_offsets[first..][..2 * points].as_chunks::<2>().0;
                        let column = head * channels;
                        // SAFETY: every task writes its own rows of the result.
                        let to = unsafe { std::slice::from_raw_parts_mut(out.at(row, column), channels) };
                        of_image.add_places(s, column, logits, offsets, around, to);
                    }
                },
            );
        }
    });
    Ok(())
}

/// The cells of all maps of an image, rows of `columns` numbers.
struct Cells<'a> {
    values: &'a [f32],
    columns: usize,
    maps: &'a [SampledMap],
}

impl Cells<'_> {
    /// What one head of one query reads, in the columns from `first` on.
    #[inline(always)]
    fn add_places<S: Simd>(
        &self,
        s: S,
        first: usize,
        logits: &[f32],
        offsets: &[[f32; 2]],
        [x, y, width, height]: [f32; 4],
        to: &mut [f32],
    ) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let share = 1.0 / logits.iter().map(|logit| (logit - largest).exp()).sum::<f32>();
        to.fill(0.0);
        let (mut point, mut map_start) = (0, 0);
        for map in self.maps {
            for _ in 0..map.points {
                let weight = (logits[point] - largest).exp() * share;
                let [dx, dy] = offsets[point];
                point += 1;
                let along_x = between(x + dx * width, map.columns);
                let along_y = between(y + dy * height, map.rows);
                for (row, of_row) in along_y {
                    for (column, of_column) in along_x {
                        let (Some(row), Some(column)) = (row, column) else { continue };
                        let cell = map_start + row * map.columns + column;
                        let from = &self.values[cell * self.columns + first..][..to.len()];
                        add_scaled(s, weight * of_row * of_column, from, to);
                    }
                }
            }
            map_start += map.rows * map.columns;
        }
    }
}

/// The two cells around a place of 0 to 1 along a side, where they exist, and their shares.
#[inline(always)]
fn between(place: f32, side: usize) -> [(Option<usize>, f32); 2] {
    let place = place * side as f32 - 0.5;
    let first = place.floor();
    let share = place - first;
    let cell = |cell: f32| (cell >= 0.0 && cell < side as f32).then_some(cell as usize);
    [(cell(first), 1.0 - share), (cell(first + 1.0), share)]
}

#[inline(always)]
fn add_scaled<S: Simd>(s: S, factor: f32, from: &[f32], to: &mut [f32]) {
    for (from, to) in from.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
        let n = from.len();
        // SAFETY: chunks of equal length.
        unsafe {
            let sum = s.fma(s.splat(factor), take(s, from.as_ptr(), n), take(s, to.as_ptr(), n));
            put(s, to.as_mut_ptr(), sum, n);
        }
    }
}
