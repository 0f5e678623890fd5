//! Large products in pairs of steps: see [`crate::simd::paired`] for the algorithm, and for whom it is faster.
//!
//! A task copies its rows and, one after the other, its panels, and takes from each what its products will be too much
//! by. Rows and columns are brought to the same size on the way, by powers of 2, which are exact: where a number and a
//! weight are added, the smaller one would lose its last digits. So errors are those of plain order, unless two large
//! numbers of a row make a pair: then they are relative to the product of these.

use std::ops::Range;

use crate::gemm::finish::{Finish, Part};
use crate::gemm::micro::{Ending, panel_columns};
use crate::gemm::pack::{Panels, Storage};
use crate::gemm::{Output, RowSource, ask_for_tile, cut};
use crate::scratch::Scratch;
use crate::simd::paired::{CHUNK, PERIOD, ROWS, SIGNS, VECTORS};
use crate::simd::{Simd, paired::Sums};

/// Most depth of a step.
const DEPTH: usize = 768;

/// Most rows of a task: its copied rows fill half of L2, and the more there are, the less the panels count.
pub(crate) const BLOCK_ROWS: usize = 252;

/// Most columns of a task.
pub(crate) const BLOCK_COLUMNS: usize = 1536;

/// Rows, columns and depth from which a product is done so. Only pixels are meant, not tokens of prompts: those keep the
/// plain order, in which what comes of a prompt does not depend on how many there are.
const LEAST: [usize; 3] = [1024, 64, 48];

/// Whether a product of this size is done so. Does not depend on threads, nor may it: results would.
pub(crate) fn pays(rows: usize, columns: usize, depth: usize) -> bool {
    [rows, columns, depth].iter().zip(LEAST).all(|(&size, least)| size >= least)
}

/// Scratch memory of a task.
struct Pieces<'a> {
    /// Rows, strip by strip, and in strips chunk by chunk.
    strips: &'a mut [f32],
    /// What the products of a row are too much by, and its factor, in the strips' order.
    too_much: &'a mut [f32],
    factors: &'a mut [f32],
    /// A panel, and as it was.
    panel: &'a mut [f32],
    widened: &'a mut [f32],
    /// Bias of the panel's columns.
    bias: &'a mut [f32],
    /// Results on their way.
    tile: &'a mut [f32],
}

/// What belongs to the columns of a panel.
#[derive(Clone, Copy)]
struct Columns<S: Simd> {
    too_much: [S::V; VECTORS],
    factors: [S::V; VECTORS],
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
    let widened = if weights.storage == Storage::F32 { 0 } else { depth * width };
    let lengths =
        [strips * ROWS * depth, strips * ROWS, strips * ROWS, depth * width, widened, width, ROWS * width];
    let [strips, too_much, factors, panel, widened, bias, tile] = scratch.split(lengths);
    let mut pieces = Pieces { strips, too_much, factors, panel, widened, bias, tile };
    for (depth, part) in cut(weights.depth, DEPTH, CHUNK) {
        let strip_len = depth.len().next_multiple_of(CHUNK) * ROWS;
        let strips = || rows.clone().step_by(ROWS).map(|row| row..rows.end.min(row + ROWS)).enumerate();
        for (strip, strip_rows) in strips() {
            let to = pieces.strips[strip * strip_len..][..strip_len].as_mut_ptr();
            let numbers = strip * ROWS..(strip + 1) * ROWS;
            let (too_much, factors) = (&mut pieces.too_much[numbers.clone()], &mut pieces.factors[numbers]);
            // SAFETY: a strip has room for all rows.
            unsafe { copy_strip(s, source, strip_rows, depth.clone(), to, too_much, factors) };
        }
        for panel in panels.clone() {
            let first = panel * width;
            let columns_of_panel = first..weights.columns.min(first + width);
            // SAFETY: panels hold all of the depth.
            let columns = unsafe { copy_panel(s, weights, panel, depth.clone(), &mut pieces) };
            pieces.bias.fill(0.0);
            if let Some(bias) = finish.bias.filter(|_| part.first) {
                pieces.bias[..columns_of_panel.len()].copy_from_slice(&bias[columns_of_panel.clone()]);
            }
            for (strip, rows) in strips() {
                let (a, numbers) = (strip * strip_len, strip * ROWS);
                ask_for_tile(s, out, finish, part, rows.clone(), columns_of_panel.clone(), 0);
                // SAFETY: the strip, its numbers and the panel are there; the caller's promise.
                unsafe {
                    let sums = s.paired_sums(
                        depth.len().div_ceil(PERIOD),
                        pieces.strips.as_ptr().add(a),
                        pieces.panel.as_ptr(),
                    );
                    let too_much = &pieces.too_much[numbers..][..ROWS];
                    let factors = &pieces.factors[numbers..][..ROWS];
                    let sums = correct(s, sums, &columns, too_much, factors, pieces.bias.as_ptr());
                    store(s, sums, rows, columns_of_panel.clone(), finish, part, out, pieces.tile);
                }
            }
        }
    }
}

/// The power of 2 that brings numbers of this mean size to 1..2, and its inverse. Of sizes that f32 hardly has, the
/// nearest common one; whatever is no number gets 1.
#[inline(always)]
fn factor(mean: f32) -> [f32; 2] {
    let exponent = (mean.to_bits() >> 23) as i32 - 127;
    let exponent = if mean.is_finite() && mean > 0.0 { exponent.clamp(-100, 100) } else { 0 };
    [-exponent, exponent].map(|n| f32::from_bits(((n + 127) as u32) << 23))
}

/// Copies a strip. Rows that do not exist are 0.
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
) {
    let chunks = || depth.clone().step_by(CHUNK).enumerate();
    // SAFETY: the caller's promise; a row of a chunk has `CHUNK` numbers.
    unsafe {
        for (chunk, start) in chunks() {
            let (to, len) = (to.add(chunk * CHUNK * ROWS), CHUNK.min(depth.end - start));
            if rows.len() < ROWS {
                std::slice::from_raw_parts_mut(to, CHUNK * ROWS).fill(0.0);
            }
            source.copy(s, rows.clone(), start..start + len, to, CHUNK);
            if len < CHUNK {
                for r in 0..ROWS {
                    std::slice::from_raw_parts_mut(to.add(r * CHUNK + len), CHUNK - len).fill(0.0);
                }
            }
        }
        for r in 0..ROWS {
            let row = |chunk: usize| to.add(chunk * CHUNK * ROWS + r * CHUNK);
            let mut sizes = s.splat(0.0);
            for (chunk, _) in chunks() {
                for i in (0..CHUNK).step_by(S::LANES) {
                    sizes = s.add(sizes, s.abs(s.load(row(chunk).add(i))));
                }
            }
            let [up, down] = factor(s.sum(sizes) / depth.len() as f32);
            let (up, mut sum) = (s.splat(up), s.splat(0.0));
            for (chunk, _) in chunks() {
                for i in (0..CHUNK).step_by(S::LANES) {
                    let at = row(chunk).add(i);
                    let x = s.mul(s.load(at), up);
                    s.store(at, x);
                    sum = s.fma(s.mul(x, s.swap_pairs(x)), s.load(SIGNS.as_ptr().add(i)), sum);
                }
            }
            (too_much[r], factors[r]) = (s.sum(sum), down);
        }
    }
}

/// Copies a depth step of a panel.
///
/// # Safety
/// The panel must be readable.
#[inline(always)]
unsafe fn copy_panel<S: Simd>(
    s: S,
    weights: &Panels,
    panel: usize,
    depth: Range<usize>,
    pieces: &mut Pieces,
) -> Columns<S> {
    let width = panel_columns::<S>();
    let from = weights.step(panel, depth.start);
    let len = depth.len();
    // SAFETY: the caller's promise; the pieces have room for a step.
    unsafe {
        let from = match weights.storage {
            Storage::F32 => from.cast::<f32>(),
            storage => {
                storage.widen(s, from.cast(), &mut pieces.widened[..len * width]);
                pieces.widened.as_ptr()
            }
        };
        let to = pieces.panel.as_mut_ptr();
        let mut columns = Columns { too_much: [s.splat(0.0); VECTORS], factors: [s.splat(1.0); VECTORS] };
        for v in 0..VECTORS {
            let (from, to) = (from.add(v * S::LANES), to.add(v * S::LANES));
            let mut sizes = s.splat(0.0);
            for i in 0..len {
                sizes = s.add(sizes, s.abs(s.load(from.add(i * width))));
            }
            let (mut means, mut downs) = ([0.0; CHUNK], [0.0; CHUNK]);
            s.store(means.as_mut_ptr(), s.mul(sizes, s.splat(1.0 / len as f32)));
            for (mean, down) in means.iter_mut().zip(&mut downs).take(S::LANES) {
                [*mean, *down] = factor(*mean);
            }
            let up = s.load(means.as_ptr());
            let mut sum = s.splat(0.0);
            for i in (0..len).step_by(PERIOD) {
                let mut y = [s.splat(0.0); PERIOD];
                for (j, y) in y.iter_mut().enumerate() {
                    if i + j < len {
                        *y = s.mul(s.load(from.add((i + j) * width)), up);
                    }
                    s.store(to.add((i + j) * width), *y);
                }
                sum = s.fma(y[0], y[1], sum);
                sum = s.sub(sum, s.mul(y[2], y[3]));
            }
            (columns.too_much[v], columns.factors[v]) = (sum, s.load(downs.as_ptr()));
        }
        columns
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
    columns: &Columns<S>,
    too_much: &[f32],
    factors: &[f32],
    bias: *const f32,
) -> Sums<S> {
    // SAFETY: the caller's promise.
    let bias: [S::V; VECTORS] = std::array::from_fn(
        #[inline(always)]
        |v| unsafe { s.load(bias.add(v * S::LANES)) },
    );
    for r in 0..ROWS {
        let (row, factor) = (s.splat(too_much[r]), s.splat(factors[r]));
        for v in 0..VECTORS {
            let sum = s.sub(s.sub(sums[r][v], row), columns.too_much[v]);
            sums[r][v] = s.fma(sum, s.mul(columns.factors[v], factor), bias[v]);
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
