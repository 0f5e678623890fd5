//! Large products in pairs of steps: see [`crate::simd::paired`] for the algorithm, and for whom it is faster.
//!
//! What the products of a column are too much by is known when weights are packed, that of a row when a task copies its
//! rows. Rows and columns are brought to the same size on the way, by powers of 2, which are exact: where a number and a
//! weight are added, the smaller one would lose its last digits. So errors are one and a half times those of plain order,
//! unless two large numbers of a row make a pair: then they are relative to the product of these. Where that is too much for
//! one row of a strip, the strip is multiplied in plain order. An infinite number may make its row no numbers at all.

use std::ops::Range;

use crate::gemm::finish::{Finish, Part};
use crate::gemm::micro::{Ending, micro, panel_columns};
use crate::gemm::pack::{Panels, Storage};
use crate::gemm::{Output, RowSource, ask_for_tile, cut};
use crate::scratch::Scratch;
use crate::simd::paired::{CHUNK, PERIOD, ROWS, SIGNS, VECTORS};
use crate::simd::{Simd, paired::Sums};

/// Most depth of a step; a tile is stored once in each. Its rows and its panel come from L2.
const DEPTH: usize = 768;

/// Most rows of a task: its copied rows fill half of L2, and the more there are, the less the panels count.
pub(crate) const BLOCK_ROWS: usize = 168;

/// Most columns of a task.
pub(crate) const BLOCK_COLUMNS: usize = 3072;

/// Rows, columns and depth from which a product is done so. Only pixels are meant, not tokens of prompts: those keep the
/// plain order, in which what comes of a prompt does not depend on how many there are.
const LEAST: [usize; 3] = [1024, 64, 48];

/// Largest product of a pair in a row whose mean size is 1 to 2. Activations hardly reach it; errors stay below 1e-4 of the
/// root mean square of the results.
const MOST_PRODUCT: f32 = 1024.0;

/// Weights from which it pays: with 64 x 128 copying the rows takes longer than is gained, with 64 x 256 not.
const LEAST_WEIGHTS: usize = 1 << 14;

/// Whether weights of this size are packed for it.
pub(crate) fn suits(columns: usize, depth: usize) -> bool {
    columns >= LEAST[1] && depth >= LEAST[2] && columns * depth >= LEAST_WEIGHTS
}

/// Whether a product with such weights is done so. Does not depend on threads, nor may it: results would.
pub(crate) fn pays(rows: usize, weights: &Panels) -> bool {
    !weights.numbers.is_empty() && rows >= LEAST[0]
}

/// The depth steps.
fn steps(depth: usize) -> impl Iterator<Item = (Range<usize>, Part)> {
    cut(depth, DEPTH, CHUNK)
}

/// Rows of a packed panel: whole periods.
pub(crate) const fn panel_rows(depth: usize) -> usize {
    depth.next_multiple_of(PERIOD)
}

/// Rows of [`crate::gemm::pack::PanelNumbers`] of a panel.
pub(crate) fn number_rows(depth: usize) -> usize {
    2 + steps(depth).count()
}

/// Scratch memory of a task.
struct Pieces<'a> {
    /// Rows, strip by strip, and in strips chunk by chunk.
    strips: &'a mut [f32],
    /// What the products of a row are too much by, and its factor, in the strips' order.
    too_much: &'a mut [f32],
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
    let [strips, too_much, factors, products, panel, bias, tile] = scratch.split(lengths);
    let pieces = Pieces { strips, too_much, factors, products, panel, bias, tile };
    for (step, (depth, part)) in steps(weights.depth).enumerate() {
        let strip_len = depth.len().next_multiple_of(CHUNK) * ROWS;
        let strips = || rows.clone().step_by(ROWS).map(|row| row..rows.end.min(row + ROWS)).enumerate();
        for (strip, strip_rows) in strips() {
            let to = pieces.strips[strip * strip_len..][..strip_len].as_mut_ptr();
            let numbers = strip * ROWS..(strip + 1) * ROWS;
            let (too_much, factors) = (&mut pieces.too_much[numbers.clone()], &mut pieces.factors[numbers]);
            // SAFETY: a strip has room for all rows.
            unsafe {
                pieces.products[strip] =
                    copy_strip(s, source, strip_rows, depth.clone(), to, too_much, factors);
            }
        }
        let lines = (depth.len() * width * weights.storage.size_bytes()).div_ceil(64 * strips().len());
        for panel in panels.clone() {
            let first = panel * width;
            let columns_of_panel = first..weights.columns.min(first + width);
            let [up, down] = [0, 1].map(|row| weights.numbers.row(panel, row));
            let numbers = ColumnNumbers { factors: down, too_much: weights.numbers.row(panel, 2 + step) };
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
            pieces.bias.fill(0.0);
            if let Some(bias) = finish.bias.filter(|_| part.first) {
                pieces.bias[..columns_of_panel.len()].copy_from_slice(&bias[columns_of_panel.clone()]);
            }
            let next = if panel + 1 < panels.end { panel + 1 } else { panels.start };
            let next = weights.step(next, depth.start);
            for (strip, rows) in strips() {
                // The next panel comes from L3 or memory, a share with every strip.
                let next = next.wrapping_add(64 * lines * strip).cast();
                let (a, first) = (strip * strip_len, strip * ROWS);
                ask_for_tile(s, out, finish, part, rows.clone(), columns_of_panel.clone(), 0);
                // SAFETY: the strip, its numbers and the panel are there; the caller's promise.
                unsafe {
                    let a = pieces.strips.as_ptr().add(a);
                    let sums = if pieces.products[strip] > MOST_PRODUCT {
                        plain_sums(s, panel_rows(depth.len()), a, b, pieces.tile)
                    } else {
                        let periods = depth.len().div_ceil(PERIOD);
                        s.paired_sums::<CHUNK>(numbers.start(s), periods, a, b, next)
                    };
                    let too_much = &pieces.too_much[first..][..ROWS];
                    let factors = &pieces.factors[first..][..ROWS];
                    let sums = correct(s, sums, numbers, too_much, factors, pieces.bias.as_ptr());
                    store(s, sums, rows, columns_of_panel.clone(), finish, part, out, pieces.tile);
                }
            }
        }
    }
}

/// The power of 2 that brings numbers of this mean size to 1..2, and its inverse. Of sizes that f32 hardly has, the
/// nearest common one; whatever is no number gets 1.
#[inline(always)]
pub(crate) fn factor(mean: f32) -> [f32; 2] {
    let exponent = (mean.to_bits() >> 23) as i32 - 127;
    // A sum of finite numbers may be infinite.
    let exponent = if mean > 0.0 { exponent.clamp(-120, 120) } else { 0 };
    [-exponent, exponent].map(|n| f32::from_bits(((n + 127) as u32) << 23))
}

/// The sums in plain order, without anything that is too much.
///
/// # Safety
/// A strip, a panel and a tile.
#[inline(always)]
unsafe fn plain_sums<S: Simd>(s: S, depth: usize, a: *const f32, b: *const f32, tile: &mut [f32]) -> Sums<S> {
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
/// nothing will be too much.
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
    too_much: &mut [f32],
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
            (too_much[r], factors[r]) = (sum_of_all(s, &sums), down);
        }
    }
    let largest = s.largest(largest);
    if largest > MOST_PRODUCT {
        too_much.fill(0.0);
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

/// How the columns of a panel are prepared.
#[derive(Clone, Copy)]
pub(crate) struct Prepare {
    /// The mean size of a column will lie between this and twice this, a power of 2.
    pub(crate) size: f32,
    /// All columns have the same factor.
    pub(crate) together: bool,
    /// The panel is multiplied with the factors; or will be when it is used.
    pub(crate) now: bool,
}

/// Makes a packed panel ready: its columns are brought to common sizes, and `numbers` get, row by row, the factors that do
/// so, their inverses, and what the products of each depth step are too much by.
///
/// # Safety
/// The panel must have [`panel_rows`], and the numbers [`number_rows`].
#[inline(always)]
pub(crate) unsafe fn prepare_panel<S: Simd>(
    s: S,
    panel: *mut f32,
    depth: usize,
    how: Prepare,
    numbers: &mut [f32],
) {
    let width = panel_columns::<S>();
    // SAFETY: the caller's promise.
    unsafe {
        let mut sizes = [0.0; VECTORS * CHUNK];
        for first in (0..width).step_by(S::LANES) {
            // Several sums at once: additions take longer than loads.
            let mut sums = [s.splat(0.0); PERIOD];
            for i in (0..panel_rows(depth)).step_by(PERIOD) {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = s.add(*sum, s.abs(s.load(panel.add((i + j) * width + first))));
                }
            }
            let sum = sums.into_iter().fold(
                s.splat(0.0),
                #[inline(always)]
                |all, sum| s.add(all, sum),
            );
            s.store(sizes[first..].as_mut_ptr(), sum);
        }
        if how.together {
            let mean = sizes[..width].iter().sum::<f32>() / width as f32;
            sizes[..width].fill(mean);
        }
        for (i, sum) in sizes.into_iter().enumerate().take(width) {
            let [up, down] = factor(sum / depth as f32);
            (numbers[i], numbers[width + i]) = (up * how.size, down / how.size);
        }
        for first in (0..width).step_by(S::LANES) {
            let up = s.load(numbers[first..].as_ptr());
            for (step, (depth, _)) in steps(depth).enumerate() {
                let mut sum = s.splat(0.0);
                for i in (depth.start..panel_rows(depth.end)).step_by(PERIOD) {
                    let mut y = [s.splat(0.0); PERIOD];
                    for (j, y) in y.iter_mut().enumerate() {
                        let at = panel.add((i + j) * width + first);
                        *y = s.mul(s.load(at), up);
                        if how.now {
                            s.store(at, *y);
                        }
                    }
                    sum = s.fma(y[0], y[1], sum);
                    sum = s.sub(sum, s.mul(y[2], y[3]));
                }
                s.store(numbers[(2 + step) * width + first..].as_mut_ptr(), sum);
            }
        }
    }
}

/// Two vectors of numbers with the other sign.
#[inline(always)]
pub(crate) fn negated<S: Simd>(s: S, numbers: &[f32]) -> [S::V; VECTORS] {
    let numbers = &numbers[..VECTORS * S::LANES];
    std::array::from_fn(
        #[inline(always)]
        // SAFETY: the slice is that long.
        |v| s.sub(s.splat(0.0), unsafe { s.load(numbers.as_ptr().add(v * S::LANES)) }),
    )
}

/// What the products of a row are too much by, in whole vectors.
///
/// # Safety
/// The row must be readable.
#[inline(always)]
pub(crate) unsafe fn too_much_of_row<S: Simd>(s: S, row: *const f32, len: usize) -> f32 {
    let mut sums = [s.splat(0.0); 2];
    let (mut i, mut sign) = (0, 0);
    while i < len {
        // SAFETY: the caller's promise.
        unsafe {
            let x = s.load(row.add(i));
            let sum = s.fma(s.mul(x, s.swap_pairs(x)), s.load(SIGNS.as_ptr().add(sign)), sums[0]);
            sums = [sums[1], sum];
        }
        i += S::LANES;
        sign = if sign + S::LANES == CHUNK { 0 } else { sign + S::LANES };
    }
    s.sum(s.add(sums[0], sums[1]))
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
    too_much: &'a [f32],
}

impl ColumnNumbers<'_> {
    /// What sums start from.
    #[inline(always)]
    fn start<S: Simd>(&self, s: S) -> [S::V; VECTORS] {
        negated(s, self.too_much)
    }
}

/// Takes away what is too much, and undoes the factors.
///
/// # Safety
/// A panel's bias must be readable.
#[inline(always)]
unsafe fn correct<S: Simd>(
    s: S,
    mut sums: Sums<S>,
    columns: ColumnNumbers,
    too_much: &[f32],
    factors: &[f32],
    bias: *const f32,
) -> Sums<S> {
    for v in 0..VECTORS {
        // SAFETY: the caller's promise; numbers for all columns.
        let (column_factor, bias) =
            unsafe { (s.load(columns.factors.as_ptr().add(v * S::LANES)), s.load(bias.add(v * S::LANES))) };
        for r in 0..ROWS {
            let sum = s.sub(sums[r][v], s.splat(too_much[r]));
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
    sums: Sums<S>,
    rows: Range<usize>,
    columns: Range<usize>,
    finish: &Finish,
    part: Part,
    out: Output,
    tile: &mut [f32],
) {
    let width = panel_columns::<S>();
    let only_limits = if part.last { finish.only_limits() } else { Some(None) };
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
