//! Products with 8-bit weights: rows are rounded to 8 bits as they are copied, sums are integers, and the way back to f32
//! is part of the kernel.
//!
//! ```text
//!   rows of f32 ── range ── RowScale ── strips of 8 bits ─┐
//!                                                         ├─ integer sums ── · row scale · column scale ── finish
//!   panels: groups of depth, column by column ────────────┘
//! ```
//!
//! A task takes whole rows and, if there are rows enough, all columns: rounding is then done once. There are no depth
//! steps: a quarter of the bytes fits where f32 did not.

use std::marker::PhantomData;
use std::ops::Range;

use samovar_tensor::RowScale;

use crate::gemm::cut::{WHOLE, balanced};
use crate::gemm::finish::Finish;
use crate::gemm::micro::{STRIP_ROWS, panel_columns};
use crate::gemm::output::Output;
use crate::gemm::pack_int8::Int8Panels;
use crate::gemm::rows::RowSource;
use crate::math::activation_cycles;
use crate::scratch::Scratch;
use crate::simd::dot::Dot;
use crate::simd::{Simd, take};
use crate::threads::Threads;

/// Bytes of rounded rows of a task: they stay in L2, with a panel beside them.
const BLOCK_BYTES: usize = 384 << 10;

/// Most rows of a task.
const BLOCK_ROWS: usize = 224;

/// Panels a task should have for the rounding of its rows not to count.
const PANELS_WORTH_ROUNDING: usize = 8;

/// `out[r] = finish(rows[r] · weights)` for `rows` rows, in 8 bits.
pub(crate) fn product<D: Dot, A: RowSource>(
    threads: &Threads,
    d: D,
    source: &A,
    rows: usize,
    weights: &Int8Panels,
    finish: &Finish,
    out: Output,
) {
    let grid = Grid::new::<D>(threads.count(), rows, weights);
    let products = rows * weights.columns.div_ceil(D::S::LANES) * weights.depth.div_ceil(D::GROUP);
    let vectors = rows * weights.columns.div_ceil(D::S::LANES);
    let cycles = products as u64 + vectors as u64 * (4 + activation_cycles(finish.activation));
    threads.run(grid.tasks(rows, weights), cycles, |task, scratch| {
        let (rows, panels) = grid.task(task, rows, weights);
        d.vectorize(
            #[inline(always)]
            || {
                // SAFETY: the ranges lie inside the result; tasks do not overlap.
                unsafe { block(d, source, rows, weights, panels, finish, out, scratch) }
            },
        );
    });
}

/// How a product is cut into tasks.
struct Grid {
    rows_per_task: usize,
    panels_per_task: usize,
}

impl Grid {
    fn new<D: Dot>(threads: usize, rows: usize, weights: &Int8Panels) -> Self {
        let strips = rows.div_ceil(D::ROWS);
        let most_rows = (BLOCK_BYTES / strip_bytes::<D>(weights.depth)).min(BLOCK_ROWS);
        let mut strips_per_task = balanced(strips, (most_rows / D::ROWS).max(1));
        let mut panels_per_task = weights.panels().max(1);
        let tasks = |strips_per_task, panels_per_task| {
            strips.div_ceil(strips_per_task) * weights.panels().div_ceil(panels_per_task)
        };
        let wanted = 4 * threads;
        while threads > 1 && strips_per_task > 4 && tasks(strips_per_task, panels_per_task) < wanted {
            strips_per_task = strips_per_task.div_ceil(2);
        }
        while threads > 1
            && panels_per_task > PANELS_WORTH_ROUNDING
            && tasks(strips_per_task, panels_per_task) < wanted
        {
            panels_per_task = panels_per_task.div_ceil(2);
        }
        Self { rows_per_task: strips_per_task * D::ROWS, panels_per_task }
    }

    fn tasks(&self, rows: usize, weights: &Int8Panels) -> usize {
        rows.div_ceil(self.rows_per_task) * weights.panels().div_ceil(self.panels_per_task)
    }

    /// Rows and panels of a task.
    fn task(&self, index: usize, rows: usize, weights: &Int8Panels) -> (Range<usize>, Range<usize>) {
        let column_blocks = weights.panels().div_ceil(self.panels_per_task);
        let row = index / column_blocks * self.rows_per_task;
        let panel = index % column_blocks * self.panels_per_task;
        (
            row..(row + self.rows_per_task).min(rows),
            panel..(panel + self.panels_per_task).min(weights.panels()),
        )
    }
}

/// Bytes from one rounded row to the next: an odd number of cache lines, so that rows of a strip never share L1 sets.
fn strip_bytes<D: Dot>(depth: usize) -> usize {
    // Whole vectors are stored.
    ((depth.next_multiple_of(D::S::LANES) * size_of::<D::A>()).div_ceil(64) | 1) * 64
}

/// One task.
///
/// # Safety
/// The rows and the columns of the panels must be writable in `out`, and nobody else may touch them.
#[inline(always)]
unsafe fn block<D: Dot, A: RowSource>(
    d: D,
    source: &A,
    rows: Range<usize>,
    weights: &Int8Panels,
    panels: Range<usize>,
    finish: &Finish,
    out: Output,
    scratch: &mut Scratch,
) {
    let s = d.simd();
    let width = panel_columns::<D::S>();
    let (depth, row_bytes) = (weights.depth, strip_bytes::<D>(weights.depth));
    let strip_rows = rows.len().next_multiple_of(D::ROWS);
    let row_len = depth.next_multiple_of(D::S::LANES);
    let [strips, staged, scales, zeros, tile, bias] = scratch.split([
        strip_rows * row_bytes / size_of::<f32>(),
        row_len,
        strip_rows,
        strip_rows,
        STRIP_ROWS * width,
        width,
    ]);
    let strips: *mut u8 = strips.as_mut_ptr().cast();
    let zeros: *mut i32 = zeros.as_mut_ptr().cast();
    for (r, row) in rows.clone().enumerate() {
        // SAFETY: the pieces have room for all rows.
        unsafe {
            let from = match source.in_place(row, 0..depth) {
                Some((from, _)) => from,
                None => {
                    source.copy(s, row..row + 1, 0..depth, staged.as_mut_ptr(), row_len);
                    staged.as_ptr()
                }
            };
            let rounding = round_row(d, from, depth, strips.add(r * row_bytes).cast());
            scales[r] = rounding.scale;
            *zeros.add(r) = D::OFFSET - rounding.zero;
        }
    }
    let limits = finish.only_limits(WHOLE);
    for panel in panels {
        let column = panel * width;
        let columns = column..weights.columns.min(column + width);
        match finish.bias {
            None => bias.fill(0.0),
            Some(values) => Finish::pad_bias(values, columns.clone(), bias),
        }
        let in_kernel = limits.filter(|_| columns.len().is_multiple_of(D::S::LANES));
        for first in (0..rows.len()).step_by(D::ROWS) {
            let row = rows.start + first;
            let tile_rows = row..rows.end.min(row + D::ROWS);
            finish.prefetch_tile(s, out, WHOLE, tile_rows.clone(), columns.clone(), 0);
            // SAFETY: the caller's promise; the tile has room for all rows.
            unsafe {
                let kernel = micro::<D>(tile_rows.len(), columns.len().div_ceil(D::S::LANES));
                let mut operands = Operands {
                    groups: depth.div_ceil(D::GROUP),
                    strip: strips.add(first * row_bytes),
                    row_bytes,
                    panel: weights.panel(panel),
                    scales: scales[first..].as_ptr(),
                    zeros: zeros.add(first),
                    sums: weights.sums(panel),
                    column_scales: weights.scales(panel),
                    bias: bias.as_ptr(),
                    clamp: None,
                    to: tile.as_mut_ptr(),
                    stride: width,
                };
                if let Some(clamp) = in_kernel {
                    operands = Operands { clamp, to: out.at(row, column), stride: out.stride, ..operands };
                    kernel(d, &operands);
                } else {
                    kernel(d, &operands);
                    finish.tile(s, tile.as_ptr(), width, tile_rows, columns.clone(), WHOLE, out);
                }
            }
        }
    }
}

/// Rounds a row of `depth` numbers by its own range.
///
/// # Safety
/// The row must be readable, and `to` writable for whole vectors.
#[inline(always)]
unsafe fn round_row<D: Dot>(d: D, from: *const f32, depth: usize, to: *mut D::A) -> RowScale {
    let s = d.simd();
    let lanes = D::S::LANES;
    let whole = depth / lanes * lanes;
    // SAFETY: the caller's promise.
    unsafe {
        let zero = s.splat(0.0);
        let mut range = [zero; 2];
        // Zero times a number that is not finite is NaN, and stays so.
        let mut spoilt = zero;
        let mut look = |x: <D::S as Simd>::V| {
            range = [s.min(range[0], x), s.max(range[1], x)];
            spoilt = s.fma(x, zero, spoilt);
        };
        for i in (0..whole).step_by(lanes) {
            look(s.load(from.add(i)));
        }
        if whole < depth {
            look(take(s, from.add(whole), depth - whole));
        }
        let low = -s.largest(s.sub(zero, range[0]));
        let finite = s.sum(spoilt) == 0.0;
        let rounding = match finite {
            true => RowScale::of_range(low, s.largest(range[1])),
            false => RowScale::of_range(f32::NAN, f32::NAN),
        };
        let inverse = s.splat(rounding.inverse);
        for i in (0..whole).step_by(lanes) {
            d.round(s.load(from.add(i)), inverse, rounding.zero, to.add(i));
        }
        if whole < depth {
            d.round(take(s, from.add(whole), depth - whole), inverse, rounding.zero, to.add(whole));
        }
        rounding
    }
}

/// What a kernel reads and writes, for the rows and vectors of columns it was chosen for.
#[derive(Clone, Copy)]
struct Operands {
    /// Depth, in groups.
    groups: usize,
    /// Rounded rows and their distance.
    strip: *const u8,
    row_bytes: usize,
    /// Groups of weights, column by column.
    panel: *const i8,
    /// By row: one step, and by what sums of weights are multiplied.
    scales: *const f32,
    zeros: *const i32,
    /// By column: sum of the weights, their step, what is added in the end.
    sums: *const i32,
    column_scales: *const f32,
    bias: *const f32,
    /// Smallest and largest result.
    clamp: Option<(f32, f32)>,
    /// Results and the distance of their rows.
    to: *mut f32,
    stride: usize,
}

/// Safety: all that [`Operands`] names must be readable or writable, for whole vectors.
type Micro<D> = unsafe fn(D, &Operands);

/// The kernel for `rows` rows (1 to `D::ROWS`) and `vectors` vectors of columns.
#[inline(always)]
fn micro<D: Dot>(rows: usize, vectors: usize) -> Micro<D> {
    Kernels::<D>::ALL[rows - 1][vectors - 1]
}

struct Kernels<D>(PhantomData<D>);

impl<D: Dot> Kernels<D> {
    const ALL: [[Micro<D>; 2]; STRIP_ROWS] = [
        [entry::<D, 1, 1>, entry::<D, 1, 2>],
        [entry::<D, 2, 1>, entry::<D, 2, 2>],
        [entry::<D, 3, 1>, entry::<D, 3, 2>],
        [entry::<D, 4, 1>, entry::<D, 4, 2>],
        [entry::<D, 5, 1>, entry::<D, 5, 2>],
        [entry::<D, 6, 1>, entry::<D, 6, 2>],
        [entry::<D, 7, 1>, entry::<D, 7, 2>],
        [entry::<D, 8, 1>, entry::<D, 8, 2>],
        [entry::<D, 9, 1>, entry::<D, 9, 2>],
        [entry::<D, 10, 1>, entry::<D, 10, 2>],
        [entry::<D, 11, 1>, entry::<D, 11, 2>],
        [entry::<D, 12, 1>, entry::<D, 12, 2>],
        [entry::<D, 13, 1>, entry::<D, 13, 2>],
        [entry::<D, 14, 1>, entry::<D, 14, 2>],
    ];
}

/// # Safety
/// See [`Micro`].
unsafe fn entry<D: Dot, const ROWS: usize, const VECTORS: usize>(d: D, operands: &Operands) {
    // Instruction sets with few registers have fewer kernels; the others need not be compiled.
    if ROWS > D::ROWS {
        unreachable!("{ROWS} rows on an instruction set with {}", D::ROWS);
    }
    d.vectorize(
        #[inline(always)]
        || {
            // SAFETY: the caller's promise.
            unsafe { kernel::<D, ROWS, VECTORS>(d, operands) }
        },
    );
}

/// # Safety
/// See [`Micro`].
#[inline(always)]
unsafe fn kernel<D: Dot, const ROWS: usize, const VECTORS: usize>(d: D, o: &Operands) {
    let s = d.simd();
    let lanes = D::S::LANES;
    let panel_stride = panel_columns::<D::S>() * D::GROUP;
    // SAFETY: the caller's promise.
    unsafe {
        // The zero points of activations are taken off in advance: every weight counts as often as zero was stored.
        let mut sums: [[D::Sums; VECTORS]; ROWS] = std::array::from_fn(
            #[inline(always)]
            |r| {
                std::array::from_fn(
                    #[inline(always)]
                    |v| d.multiply(o.sums.add(v * lanes), *o.zeros.add(r)),
                )
            },
        );
        for i in 0..o.groups {
            let panel = o.panel.add(i * panel_stride);
            let columns: [D::Weights; VECTORS] = std::array::from_fn(
                #[inline(always)]
                |v| d.weights(panel.add(v * lanes * D::GROUP)),
            );
            for r in 0..ROWS {
                let row = o.strip.add(r * o.row_bytes).cast::<D::A>();
                let x = d.activations(row.add(i * D::GROUP));
                for v in 0..VECTORS {
                    sums[r][v] = d.dot(sums[r][v], x, columns[v]);
                }
            }
        }
        let columns: [[<D::S as Simd>::V; 2]; VECTORS] = std::array::from_fn(
            #[inline(always)]
            |v| [s.load(o.column_scales.add(v * lanes)), s.load(o.bias.add(v * lanes))],
        );
        for r in 0..ROWS {
            let scale = s.splat(*o.scales.add(r));
            for v in 0..VECTORS {
                let [column_scale, bias] = columns[v];
                let mut y = s.fma(s.mul(d.floats(sums[r][v]), scale), column_scale, bias);
                if let Some((low, high)) = o.clamp {
                    // In this order what is not a number stays visible.
                    y = s.min(s.splat(high), s.max(s.splat(low), y));
                }
                s.store(o.to.add(r * o.stride + v * lanes), y);
            }
        }
    }
}
