//! Matrix products: rows of activations times packed weights, with whatever follows done before a tile leaves cache.
//!
//! ```text
//!            weights packed once: panels of two vectors of columns, depth-major
//!            ┌────┬────┬────┐
//!            │    │    │    │  one panel at a time
//!            └────┴────┴────┘
//!   block    ▭▭▭ → tile in registers → bias, activation, residual → result
//!   of rows  ▭▭▭   strip by strip
//! ```
//!
//! A task is a block of rows times a block of columns. It walks the depth in steps; in each step it copies the rows to
//! a fixed stride (power-of-two row lengths would evict each other from L1) where they stay in L2, and multiplies them
//! with one panel after the other. Where the rows come from is the business of a [`RowSource`]: a matrix, or the
//! pixels of a convolution.

pub(crate) mod finish;
pub(crate) mod int8;
pub(crate) mod micro;
pub(crate) mod pack;
pub(crate) mod pack_int8;
pub(crate) mod paired;
mod strassen;

use std::ops::Range;

use crate::gemm::finish::{Finish, Part};
use crate::gemm::micro::{Ending, STRIP_ROWS, micro, panel_columns};
use crate::gemm::pack::{PanelNumbers, Panels, Storage};
use crate::level::Products;
use crate::scratch::Scratch;
use crate::simd::{self, Simd, put, take};
use crate::threads::Threads;

/// Most depth one step takes: a strip of it fits L1.
const DEPTH: usize = 512;

/// The row stride for rows of `len` numbers: an odd number of cache lines, so that the rows of a strip never share L1
/// sets.
pub(crate) const fn odd_lines(len: usize) -> usize {
    (len.div_ceil(16) | 1) * 16
}

/// Most rows of a task. One depth step of them takes about half of L2; the panels stream past.
pub(crate) const BLOCK_ROWS: usize = 224;

/// Most columns of a task: enough that copying the rows does not count, few enough for the tasks to be even.
const BLOCK_COLUMNS: usize = 768;

/// Tasks per thread below which their number is a multiple of the threads'.
const EVEN_ROUNDS: usize = 32;

/// Depth below which a product is limited by the memory of its results.
const SHALLOW: usize = 96;

/// Rows that are multiplied with the weights.
pub(crate) trait RowSource: Sync {
    /// Copies columns `depth` of `rows` to `to`, one row every `stride` numbers.
    ///
    /// # Safety
    /// As many rows must be writable there.
    unsafe fn copy<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        depth: Range<usize>,
        to: *mut f32,
        stride: usize,
    );

    /// Where columns from `depth` on of the rows from `row` on lie, and the distance of rows, if they do.
    #[inline(always)]
    fn in_place(&self, _row: usize, _depth: Range<usize>) -> Option<(*const f32, usize)> {
        None
    }
}

/// A matrix in memory.
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    /// Numbers from one row to the next.
    pub(crate) stride: usize,
}

impl RowSource for Matrix<'_> {
    #[inline(always)]
    fn in_place(&self, row: usize, depth: Range<usize>) -> Option<(*const f32, usize)> {
        Some((self.values[row * self.stride + depth.start..].as_ptr(), self.stride))
    }

    #[inline(always)]
    unsafe fn copy<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        depth: Range<usize>,
        to: *mut f32,
        stride: usize,
    ) {
        for (r, row) in rows.enumerate() {
            let from = &self.values[row * self.stride..][depth.clone()];
            // SAFETY: the caller's promise.
            unsafe { copy_row(s, from, to.add(r * stride)) };
        }
    }
}

/// Copies a row; shorter than a call to the library for the lengths that occur.
///
/// # Safety
/// `from.len()` numbers must be writable at `to`.
#[inline(always)]
pub(crate) unsafe fn copy_row<S: Simd>(s: S, from: &[f32], to: *mut f32) {
    let whole = from.len() / S::LANES * S::LANES;
    // SAFETY: the caller's promise; `whole` and the rest make up the length.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            s.store(to.add(i), s.load(from.as_ptr().add(i)));
        }
        let rest = from.len() - whole;
        if rest > 0 {
            put(s, to.add(whole), take(s, from.as_ptr().add(whole), rest), rest);
        }
    }
}

/// Where results go: rows of `stride` numbers. Tasks write disjoint rows or columns.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    start: *mut f32,
    stride: usize,
}

// SAFETY: tasks write disjoint parts.
unsafe impl Sync for Output {}

impl Output {
    pub(crate) fn new(values: &mut [f32], stride: usize) -> Self {
        Self { start: values.as_mut_ptr(), stride }
    }

    /// Address of a number. In bounds if row and column are; only writing there takes care.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, column: usize) -> *mut f32 {
        self.start.wrapping_add(row * self.stride + column)
    }

    /// The result from a number on.
    pub(crate) fn from(&self, row: usize, column: usize) -> Self {
        Self { start: self.at(row, column), ..*self }
    }
}

/// `out[r] = finish(rows[r] · weights)` for `rows` rows.
pub(crate) fn gemm<S: Simd, A: RowSource>(
    threads: &Threads,
    s: S,
    products: Products,
    source: &A,
    rows: usize,
    weights: &Panels,
    finish: &Finish,
    out: Output,
) {
    let (columns, depth) = (weights.columns, weights.depth);
    let width = panel_columns::<S>();
    let paired = paired::pays(rows, weights);
    let strassen = products == Products::Strassen && !paired && strassen::pays(rows, columns, depth);
    let (unit, most) = match (strassen, paired) {
        (true, _) => (
            [2 * S::ROWS, 2 * width],
            [strassen::most_rows::<S>(depth, weights.storage), strassen::BLOCK_COLUMNS],
        ),
        (_, true) => ([simd::paired::ROWS, width], [paired::BLOCK_ROWS, paired::BLOCK_COLUMNS]),
        _ => ([S::ROWS, width], [BLOCK_ROWS, BLOCK_COLUMNS]),
    };
    let grid = Grid::new::<S>(threads.count(), rows, columns, depth, unit, most);
    threads.run(grid.tasks(), grid.cycles::<S>(finish), |task, scratch| {
        let (rows, panels) = grid.task(task);
        let pairs_end = if strassen { strassen::pairs_end::<S>(&rows, &panels, columns) } else { [0, 0] };
        let [row, panel] = [pairs_end[0].max(rows.start), pairs_end[1].max(panels.start)];
        s.vectorize(
            #[inline(always)]
            || {
                // SAFETY: the ranges lie inside the result; tasks do not overlap.
                unsafe {
                    if paired {
                        paired::block(s, source, rows, weights, panels, finish, out, scratch);
                        return;
                    }
                    if rows.start < row && panels.start < panel {
                        let (rows, panels) = (rows.start..row, panels.start..panel);
                        strassen::block(s, source, rows, weights, panels, finish, out, scratch);
                    }
                    // What is left beside the pairs and below them, or all.
                    for (rows, panels) in [(rows.start..row, panel..panels.end), (row..rows.end, panels)] {
                        if !rows.is_empty() && !panels.is_empty() {
                            block(s, source, rows, weights, panels, finish, out, scratch);
                        }
                    }
                }
            },
        );
    });
}

/// How a product is cut into tasks: blocks of rows times blocks of columns, alike but for a unit.
struct Grid {
    rows: usize,
    columns: usize,
    depth: usize,
    /// Rows of a unit, units, and blocks of them.
    height: usize,
    strips: usize,
    row_blocks: usize,
    /// Panels of a unit, panels, units, and blocks of them.
    together: usize,
    panels: usize,
    units: usize,
    column_blocks: usize,
}

impl Grid {
    /// Tasks of at most so many rows and columns, multiples of `unit`.
    fn new<S: Simd>(
        threads: usize,
        rows: usize,
        columns: usize,
        depth: usize,
        [height, width]: [usize; 2],
        [most_rows, most_columns]: [usize; 2],
    ) -> Self {
        let (strips, units) = (rows.div_ceil(height), columns.div_ceil(width));
        let mut units_per_task = balanced(units, most_columns / width);
        let mut strips_per_task = balanced(strips, (most_rows / height).max(1));
        // Enough tasks that threads finish together: first fewer rows, and for a few rows fewer columns.
        let wanted = 4 * threads;
        let tasks = |strips_per_task, units_per_task| {
            strips.div_ceil(strips_per_task) * units.div_ceil(units_per_task)
        };
        while threads > 1 && strips_per_task > 4 && tasks(strips_per_task, units_per_task) < wanted {
            strips_per_task = strips_per_task.div_ceil(2);
        }
        while threads > 1 && units_per_task > 1 && tasks(strips_per_task, units_per_task) < wanted {
            units_per_task = units_per_task.div_ceil(2);
        }
        let (mut row_blocks, column_blocks) =
            (strips.div_ceil(strips_per_task), units.div_ceil(units_per_task));
        if row_blocks * column_blocks < EVEN_ROUNDS * threads {
            // None is left over when all others are done.
            row_blocks = row_blocks.next_multiple_of(threads).min(strips);
        }
        let together = width / panel_columns::<S>();
        let panels = columns.div_ceil(panel_columns::<S>());
        Self { rows, columns, depth, height, strips, row_blocks, together, panels, units, column_blocks }
    }

    fn tasks(&self) -> usize {
        self.row_blocks * self.column_blocks
    }

    /// Rows and panels of a task.
    fn task(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let share = |of: usize, blocks: usize, block: usize, size: usize, end: usize| {
            let border = |block: usize| (block * of / blocks * size).min(end);
            border(block)..border(block + 1)
        };
        (
            share(self.strips, self.row_blocks, index / self.column_blocks, self.height, self.rows),
            share(self.units, self.column_blocks, index % self.column_blocks, self.together, self.panels),
        )
    }

    fn cycles<S: Simd>(&self, finish: &Finish) -> u64 {
        let vectors = (self.rows * self.columns.div_ceil(S::LANES)) as u64;
        vectors * (self.depth as u64 + 4 + crate::math::activation_cycles(finish.activation))
    }
}

/// The largest step up to `most` that cuts `count` into equal parts.
pub(crate) fn balanced(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most).max(1)).max(1)
}

/// One task.
///
/// # Safety
/// The rows and the columns of the panels must be writable in `out`, and nobody else may touch them.
#[inline(always)]
unsafe fn block<S: Simd, A: RowSource>(
    s: S,
    source: &A,
    rows: Range<usize>,
    weights: &Panels,
    panels: Range<usize>,
    finish: &Finish,
    out: Output,
    scratch: &mut Scratch,
) {
    let width = panel_columns::<S>();
    let columns = panels.start * width..(panels.end * width).min(weights.columns);
    let lengths = Pieces::lengths::<S>(rows.len(), weights.depth, weights.storage);
    let mut pieces = Pieces::new(scratch.split(lengths));
    for (depth, part) in steps(weights.depth) {
        let (first, distance) = (weights.step(panels.start, depth.start), weights.distance());
        let factors = Some((weights.numbers, panels.start)).filter(|_| weights.are_scaled());
        // SAFETY: panels follow each other.
        unsafe {
            let panels = StepPanels { first, distance, storage: weights.storage, factors };
            run_step(s, source, rows.clone(), depth, panels, columns.clone(), finish, part, out, &mut pieces);
        }
    }
}

/// Cuts a depth into steps of nearly equal length; at least one, so that a product over nothing is still written.
pub(crate) fn steps(depth: usize) -> impl Iterator<Item = (Range<usize>, Part)> {
    cut(depth, DEPTH, 16)
}

/// The same with steps of at most `most`, all but the last a multiple of `unit`.
fn cut(depth: usize, most: usize, unit: usize) -> impl Iterator<Item = (Range<usize>, Part)> {
    let step = depth.div_ceil(depth.div_ceil(most).max(1)).next_multiple_of(unit);
    let count = depth.div_ceil(step.max(1)).max(1);
    (0..count).map(move |i| {
        let part = Part { first: i == 0, last: i + 1 == count };
        (i * step..((i + 1) * step).min(depth), part)
    })
}

/// Asks for the lines of the result that a tile is stored to, or of those `ahead` rows on, and for its residual's.
#[inline(always)]
fn ask_for_tile<S: Simd>(
    s: S,
    out: Output,
    finish: &Finish,
    part: Part,
    rows: Range<usize>,
    columns: Range<usize>,
    ahead: usize,
) {
    for row in rows.clone() {
        for column in columns.clone().step_by(16) {
            s.prefetch_to_write(out.at(row + ahead, column));
        }
    }
    if let Some(rest) = finish.residual.as_ref().filter(|_| part.last) {
        for row in rows {
            for column in columns.clone().step_by(16) {
                s.prefetch_to_read(rest.at(row, column));
            }
        }
    }
}

/// One depth step of a row of panels.
#[derive(Clone, Copy)]
pub(crate) struct StepPanels<'a> {
    /// The step's first number in the first panel.
    pub(crate) first: *const u8,
    /// Numbers from a panel to the next.
    pub(crate) distance: usize,
    /// What a number is.
    pub(crate) storage: Storage,
    /// What the columns were multiplied with, and the first panel's place there.
    pub(crate) factors: Option<(PanelNumbers<'a>, usize)>,
}

/// Scratch memory of a step.
pub(crate) struct Pieces<'a> {
    /// Rows, copied.
    strips: &'a mut [f32],
    /// Results on their way.
    tile: &'a mut [f32],
    /// Bias, in whole panels.
    bias: &'a mut [f32],
    /// One step of a panel of 16-bit weights, as f32.
    widened: &'a mut [f32],
}

impl<'a> Pieces<'a> {
    /// Numbers that a task of so many rows needs, with [`strassen::BLOCK_COLUMNS`] columns at most.
    pub(crate) const fn lengths<S: Simd>(rows: usize, depth: usize, storage: Storage) -> [usize; 4] {
        let width = panel_columns::<S>();
        let depth = if depth < DEPTH { depth } else { DEPTH };
        let widened = if matches!(storage, Storage::F32) { 0 } else { depth * width };
        [rows * odd_lines(depth), STRIP_ROWS * width, strassen::BLOCK_COLUMNS + width, widened]
    }

    pub(crate) fn new([strips, tile, bias, widened]: [&'a mut [f32]; 4]) -> Self {
        Self { strips, tile, bias, widened }
    }
}

/// One depth step of a block: rows times columns (from the start of a panel on).
///
/// # Safety
/// The panels must be readable for the columns; rows and columns writable in `out`, by nobody else. The pieces of
/// scratch must be as [`Pieces::lengths`] says.
#[inline(always)]
pub(crate) unsafe fn run_step<S: Simd, A: RowSource>(
    s: S,
    source: &A,
    rows: Range<usize>,
    depth: Range<usize>,
    panels: StepPanels,
    columns: Range<usize>,
    finish: &Finish,
    part: Part,
    out: Output,
    pieces: &mut Pieces,
) {
    let width = panel_columns::<S>();
    // 16-bit weights are widened panel by panel, so these come first.
    let shallow = depth.len() < SHALLOW && panels.storage == Storage::F32;
    let (strips, strip_stride) = match source.in_place(rows.start, depth.clone()).filter(|_| shallow) {
        Some(in_place) => in_place,
        None => {
            let stride = odd_lines(depth.len());
            // SAFETY: the caller's promise.
            unsafe { source.copy(s, rows.clone(), depth.clone(), pieces.strips.as_mut_ptr(), stride) };
            (pieces.strips.as_ptr(), stride)
        }
    };
    let bias = match finish.bias.filter(|_| part.first) {
        None => None,
        Some(bias) => {
            // Kernels read whole vectors of it.
            let padded = &mut pieces.bias[..columns.len().next_multiple_of(width)];
            let (to, rest) = padded.split_at_mut(columns.len());
            to.copy_from_slice(&bias[columns.clone()]);
            rest.fill(0.0);
            if let Some((numbers, first)) = panels.factors {
                // The sums start from it.
                for (panel, bias) in padded.chunks_exact_mut(width).enumerate() {
                    bias.iter_mut().zip(numbers.row(first + panel, 0)).for_each(|(bias, up)| *bias *= up);
                }
            }
            Some(&*padded)
        }
    };
    let only_limits = if part.last { finish.only_limits() } else { Some(None) };
    // Panel by panel, which stays near while all rows pass; or, when all panels are that small, strip by strip, so that
    // the result is written in order.
    let counts = [columns.len().div_ceil(width), rows.len().div_ceil(S::ROWS)];
    let [outer, inner] = if shallow { [counts[1], counts[0]] } else { counts };
    for i in 0..outer {
        let mut widened = std::ptr::null();
        if panels.storage != Storage::F32 {
            let to = &mut pieces.widened[..depth.len() * width];
            let from = panels.first.wrapping_add(i * panels.distance * size_of::<u16>());
            // SAFETY: the caller's promise.
            unsafe { panels.storage.widen(s, from.cast(), to) };
            widened = to.as_ptr();
        }
        for j in 0..inner {
            let (panel, strip) = if shallow { (j, i) } else { (i, j) };
            let row = rows.start + strip * S::ROWS;
            let strip_rows = row..rows.end.min(row + S::ROWS);
            let column = columns.start + panel * width;
            let tile_columns = column..columns.end.min(column + width);
            // The result's lines arrive while the kernel runs; while the one before runs, if that is short.
            let ahead = if shallow { S::ROWS } else { 0 };
            ask_for_tile(s, out, finish, part, strip_rows.clone(), tile_columns.clone(), ahead);
            let bias: *const f32 = bias.map_or(std::ptr::null(), |bias| bias[panel * width..].as_ptr());
            let factors = panels
                .factors
                .map_or(std::ptr::null(), |(numbers, first)| numbers.row(first + panel, 1).as_ptr());
            let in_kernel = only_limits.filter(|_| tile_columns.len().is_multiple_of(S::LANES));
            // SAFETY: the caller's promise; the tile has room for all rows.
            unsafe {
                let kernel = micro::<S>(strip_rows.len(), tile_columns.len().div_ceil(S::LANES));
                let strip = strips.add(strip * S::ROWS * strip_stride);
                let panel = match panels.storage {
                    Storage::F32 => panels.first.cast::<f32>().add(panel * panels.distance),
                    _ => widened,
                };
                if let Some(clamp) = in_kernel {
                    let ending = Ending { bias, factors, add: !part.first, clamp, ..Ending::NONE };
                    let to = out.at(row, column);
                    kernel(s, depth.len(), strip, strip_stride, panel, width, to, out.stride, &ending);
                } else {
                    let ending = Ending { bias, factors, ..Ending::NONE };
                    let to = pieces.tile.as_mut_ptr();
                    kernel(s, depth.len(), strip, strip_stride, panel, width, to, width, &ending);
                    finish.tile(s, to, width, strip_rows, tile_columns, part, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
