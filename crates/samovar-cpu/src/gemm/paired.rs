//! Large products in pairs of steps: see [`crate::simd::paired`] for the algorithm, and for whom it is faster.
//!
//! The correction of a column is known when weights are packed, that of a row when a task copies its
//! rows. Rows and columns are brought to the same size on the way, by powers of 2, which are exact: where a number and a
//! weight are added, the smaller one would lose its last digits. So errors are one and a half times those of plain order,
//! unless two large numbers of a row make a pair: then they are relative to the product of these. Where that is too much for
//! one row of a strip, the strip is multiplied in plain order. An infinite number may make its row no numbers at all.

use std::ops::Range;

use crate::gemm::cut::Part;
use crate::gemm::finish::Finish;
use crate::gemm::micro::{Ending, micro, panel_columns};
use crate::gemm::output::Output;
use crate::gemm::pack::{Panels, Storage};
use crate::gemm::pairing::{DEPTH, factor, negated, panel_rows, steps};
use crate::gemm::rows::RowSource;
use crate::scratch::Scratch;
use crate::simd::Simd;
use crate::simd::paired::{CHUNK, PERIOD, ROWS, SIGNS, Sums, VECTORS};

/// Most rows of a task: its copied rows fill half of L2, and the more there are, the less the panels count.
pub(crate) const BLOCK_ROWS: usize = 168;

/// Most columns of a task.
pub(crate) const BLOCK_COLUMNS: usize = 3072;

/// Largest product of a pair in a row whose mean size is 1 to 2. Activations hardly reach it; errors stay below 1e-4 of the
/// root mean square of the results.
const MOST_PRODUCT: f32 = 1024.0;

/// Scratch memory of a task.
struct Pieces<'a> {
    /// Rows, strip by strip, and in strips chunk by chunk.
    strips: &'a mut [f32],
    /// The correction of a row and its factor, in the strips' order.
    corrections: &'a mut [f32],
    factors: &'a mut [f32],
    /// Of each strip, the largest product of a pair.
    products: &'a mut [f32],
    /// A panel of 16-bit weights, as it is multiplied.
    panel: &'a mut [f32],
    /// Bias of the panel's columns.
    bias: &'a mut [f32],
    /// Results on their way.
    tile: &'a mut [f32],
}

/// One task.
///
/// # Safety
/// The rows and the columns of the panels must be writable in `out`, and nobody else may touch them.
#[inline(always)]
pub(crate) unsafe fn block<S: Simd, A: RowSource>(
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
    let strips = rows.len().div_ceil(ROWS);
    let depth = weights.depth.min(DEPTH).next_multiple_of(CHUNK);
    let panel = if weights.storage == Storage::F32 { 0 } else { depth * width };
    let lengths = [strips * ROWS * depth, strips * ROWS, strips * ROWS, strips, panel, width, ROWS * width];
    let [strips, corrections, factors, products, panel, bias, tile] = scratch.split(lengths);
    let pieces = Pieces { strips, corrections, factors, products, panel, bias, tile };
    for (step, (depth, part)) in steps(weights.depth).enumerate() {
        let strip_len = depth.len().next_multiple_of(CHUNK) * ROWS;
        let strips = || rows.clone().step_by(ROWS).map(|row| row..rows.end.min(row + ROWS)).enumerate();
        for (strip, strip_rows) in strips() {
            let to = pieces.strips[strip * strip_len..][..strip_len].as_mut_ptr();
            let numbers = strip * ROWS..(strip + 1) * ROWS;
            let (corrections, factors) =
                (&mut pieces.corrections[numbers.clone()], &mut pieces.factors[numbers]);
            // SAFETY: a strip has room for all rows.
            unsafe {
                pieces.products[strip] =
                    copy_strip(s, source, strip_rows, depth.clone(), to, corrections, factors);
            }
        }
        let lines = (depth.len() * width * weights.storage.size_bytes()).div_ceil(64 * strips().len());
        for panel in panels.clone() {
            let first = panel * width;
            let columns_of_panel = first..weights.columns.min(first + width);
            let [up, down] = [0, 1].map(|row| weights.numbers.row(panel, row));
            let numbers = ColumnNumbers { factors: down, corrections: weights.numbers.row(panel, 2 + step) };
            let b = weights.step(panel, depth.start);
            let b = match weights.storage {
                Storage::F32 => b.cast::<f32>(),
                storage => {
                    let len = depth.len() * width;
                    let (to, rest) = pieces.panel.split_at_mut(len);
                    rest[..panel_rows(depth.len()) * width - len].fill(0.0);
                    // SAFETY: panels hold all of the depth, and numbers for all of their columns.
                    unsafe {
                        storage.widen(s, b.cast(), to);
                        scale_columns(s, to, up);
                    }
                    pieces.panel.as_ptr()
                }
            };
            match finish.bias.filter(|_| part.first) {
                None => pieces.bias.fill(0.0),
                Some(bias) => Finish::pad_bias(bias, columns_of_panel.clone(), pieces.bias),
            }
            let next = if panel + 1 < panels.end { panel + 1 } else { panels.start };
            let next = weights.step(next, depth.start);
            for (strip, rows) in strips() {
                // The next panel comes from L3 or memory, a share with every strip.
                let next = next.wrapping_add(64 * lines * strip).cast();
                let (a, first) = (strip * strip_len, strip * ROWS);
                finish.prefetch_tile(s, out, part, rows.clone(), columns_of_panel.clone(), 0);
                // SAFETY: the strip, its numbers and the panel are there; the caller's promise.
                unsafe {
                    let a = pieces.strips.as_ptr().add(a);
                    let sums = if pieces.products[strip] > MOST_PRODUCT {
                        plain_sums(s, panel_rows(depth.len()), a, b, pieces.tile)
                    } else {
                        let periods = depth.len().div_ceil(PERIOD);
                        s.paired_sums::<CHUNK>(numbers.start(s), periods, a, b, next)
                    };
                    let corrections = &pieces.corrections[first..][..ROWS];
                    let factors = &pieces.factors[first..][..ROWS];
                    let sums = correct(s, sums, numbers, corrections, factors, pieces.bias.as_ptr());
                    store(s, sums, rows, columns_of_panel.clone(), finish, part, out, pieces.tile);
                }
            }
        }
    }
}

/// The sums in plain order, which need no correction.
///
/// # Safety
/// A strip, a panel and a tile.
#[inline(always)]
unsafe fn plain_sums<S: Simd>(
    s: S,
    depth: usize,
    a: *const f32,
    b: *const f32,
    tile: &mut [f32],
) -> Sums<S::V> {
    let width = panel_columns::<S>();
    let tile = tile.as_mut_ptr();
    // SAFETY: the caller's promise.
    unsafe {
        for start in (0..depth).step_by(CHUNK) {
            let ending = Ending { add: start > 0, ..Ending::NONE };
            let (len, b) = (CHUNK.min(depth - start), b.add(start * width));
            for first in (0..ROWS).step_by(S::ROWS) {
                let kernel = micro::<S>(S::ROWS.min(ROWS - first), VECTORS);
                let (a, to) = (a.add(start * ROWS + first * CHUNK), tile.add(first * width));
                kernel(s, len, a, CHUNK, b, width, to, width, &ending);
            }
        }
        let mut sums = [[s.splat(0.0); VECTORS]; ROWS];
        for (i, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
            *sum = s.load(tile.add(i * S::LANES));
        }
        sums
    }
}

/// Copies a strip, and returns the largest product of a pair. Rows that do not exist are 0. Where that product is too large,
/// there is nothing to correct.
///
/// # Safety
/// A strip must be writable at `to`.
#[inline(always)]
unsafe fn copy_strip<S: Simd, A: RowSource>(
    s: S,
    source: &A,
    rows: Range<usize>,
    depth: Range<usize>,
    to: *mut f32,
    corrections: &mut [f32],
    factors: &mut [f32],
) -> f32 {
    let mut largest = s.splat(0.0);
    let chunks = || depth.clone().step_by(CHUNK).enumerate();
    // Several sums at once: additions take longer than loads.
    const MOST_SUMS: usize = CHUNK / 4;
    for r in 0..ROWS {
        let row = rows.start + r;
        let at = |chunk: usize| to.wrapping_add((chunk * ROWS + r) * CHUNK);
        // SAFETY: the caller's promise; a row of a chunk has `CHUNK` numbers.
        unsafe {
            let mut sizes = [s.splat(0.0); MOST_SUMS];
            for (chunk, start) in chunks() {
                let (at, len) = (at(chunk), if row < rows.end { CHUNK.min(depth.end - start) } else { 0 });
                if len > 0 {
                    source.copy(s, row..row + 1, start..start + len, at, CHUNK);
                }
                std::slice::from_raw_parts_mut(at.add(len), CHUNK - len).fill(0.0);
                for (v, sizes) in sizes.iter_mut().enumerate().take(CHUNK / S::LANES) {
                    *sizes = s.add(*sizes, s.abs(s.load(at.add(v * S::LANES))));
                }
            }
            let [up, down] = factor(sum_of_all(s, &sizes) / depth.len() as f32);
            let (up, mut sums) = (s.splat(up), [s.splat(0.0); MOST_SUMS]);
            for (chunk, _) in chunks() {
                for (v, sum) in sums.iter_mut().enumerate().take(CHUNK / S::LANES) {
                    let at = at(chunk).add(v * S::LANES);
                    let x = s.mul(s.load(at), up);
                    s.store(at, x);
                    let signs = s.load(SIGNS.as_ptr().add(v * S::LANES));
                    let product = s.mul(s.mul(x, s.swap_pairs(x)), signs);
                    largest = s.max(s.abs(product), largest);
                    *sum = s.add(product, *sum);
                }
            }
            (corrections[r], factors[r]) = (sum_of_all(s, &sums), down);
        }
    }
    let largest = s.largest(largest);
    if largest > MOST_PRODUCT {
        corrections.fill(0.0);
    }
    largest
}

#[inline(always)]
fn sum_of_all<S: Simd>(s: S, sums: &[S::V]) -> f32 {
    let mut all = s.splat(0.0);
    for &sum in &sums[..CHUNK / S::LANES] {
        all = s.add(all, sum);
    }
    s.sum(all)
}

/// Multiplies every row of a panel.
///
/// # Safety
/// `by` must be readable for the columns.
#[inline(always)]
unsafe fn scale_columns<S: Simd>(s: S, panel: &mut [f32], by: &[f32]) {
    // SAFETY: whole vectors.
    unsafe {
        let by: [S::V; VECTORS] = std::array::from_fn(
            #[inline(always)]
            |v| s.load(by.as_ptr().add(v * S::LANES)),
        );
        for row in panel.chunks_exact_mut(panel_columns::<S>()) {
            for (v, by) in by.into_iter().enumerate() {
                let at = row.as_mut_ptr().add(v * S::LANES);
                s.store(at, s.mul(s.load(at), by));
            }
        }
    }
}

/// What belongs to the columns of a panel.
#[derive(Clone, Copy)]
struct ColumnNumbers<'a> {
    factors: &'a [f32],
    corrections: &'a [f32],
}

impl ColumnNumbers<'_> {
    /// What sums start from.
    #[inline(always)]
    fn start<S: Simd>(&self, s: S) -> [S::V; VECTORS] {
        negated(s, self.corrections)
    }
}

/// Subtracts the corrections, and undoes the factors.
///
/// # Safety
/// A panel's bias must be readable.
#[inline(always)]
unsafe fn correct<S: Simd>(
    s: S,
    mut sums: Sums<S::V>,
    columns: ColumnNumbers,
    corrections: &[f32],
    factors: &[f32],
    bias: *const f32,
) -> Sums<S::V> {
    for v in 0..VECTORS {
        // SAFETY: the caller's promise; numbers for all columns.
        let (column_factor, bias) =
            unsafe { (s.load(columns.factors.as_ptr().add(v * S::LANES)), s.load(bias.add(v * S::LANES))) };
        for r in 0..ROWS {
            let sum = s.sub(sums[r][v], s.splat(corrections[r]));
            sums[r][v] = s.fma(s.mul(sum, column_factor), s.splat(factors[r]), bias);
        }
    }
    sums
}

/// Stores a tile.
///
/// # Safety
/// Rows and columns must be writable in `out`, by nobody else.
#[inline(always)]
unsafe fn store<S: Simd>(
    s: S,
    sums: Sums<S::V>,
    rows: Range<usize>,
    columns: Range<usize>,
    finish: &Finish,
    part: Part,
    out: Output,
    tile: &mut [f32],
) {
    let width = panel_columns::<S>();
    let only_limits = finish.only_limits(part);
    let is_whole = rows.len() == ROWS && columns.len() == width;
    // SAFETY: the caller's promise; a tile has room for all rows.
    unsafe {
        if let Some(clamp) = only_limits.filter(|_| is_whole) {
            let ending = Ending { add: !part.first, clamp, ..Ending::NONE };
            ending.store(s, sums, out.at(rows.start, columns.start), out.stride);
        } else {
            Ending::NONE.store(s, sums, tile.as_mut_ptr(), width);
            finish.tile(s, tile.as_ptr(), width, rows, columns, part, out);
        }
    }
}
