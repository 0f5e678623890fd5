//! Products in plain order, step by step along the depth: one panel after the other while the rows stay near, or, where the
//! depth is small, one strip after the other.

use std::ops::Range;

use crate::gemm::cut::{DEPTH, Part, odd_lines, steps};
use crate::gemm::finish::Finish;
use crate::gemm::micro::{Ending, STRIP_ROWS, micro, panel_columns};
use crate::gemm::output::Output;
use crate::gemm::pack::{PanelNumbers, Panels, Storage};
use crate::gemm::rows::RowSource;
use crate::gemm::strassen;
use crate::scratch::Scratch;
use crate::simd::Simd;

/// Most rows of a task. One depth step of them takes about half of L2; the panels stream past.
pub(crate) const BLOCK_ROWS: usize = 224;

/// Most columns of a task: enough that copying the rows does not count, few enough for the tasks to be even.
pub(crate) const BLOCK_COLUMNS: usize = 768;

/// One task, strip by strip where it is shallow.
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
    is_shallow: bool,
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
            run_step(
                s,
                source,
                rows.clone(),
                depth,
                panels,
                columns.clone(),
                finish,
                part,
                out,
                is_shallow,
                &mut pieces,
            );
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
    is_shallow: bool,
    pieces: &mut Pieces,
) {
    let width = panel_columns::<S>();
    // 16-bit weights are widened panel by panel, so these come first.
    debug_assert!(!is_shallow || panels.storage == Storage::F32);
    let (strips, strip_stride) = match source.in_place(rows.start, depth.clone()).filter(|_| is_shallow) {
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
            let padded = &mut pieces.bias[..columns.len().next_multiple_of(width)];
            Finish::pad_bias(bias, columns.clone(), padded);
            if let Some((numbers, first)) = panels.factors {
                // The sums start from it.
                for (panel, bias) in padded.chunks_exact_mut(width).enumerate() {
                    bias.iter_mut().zip(numbers.row(first + panel, 0)).for_each(|(bias, up)| *bias *= up);
                }
            }
            Some(&*padded)
        }
    };
    let only_limits = finish.only_limits(part);
    // Panel by panel, which stays near while all rows pass; or, when all panels are that small, strip by strip, so that
    // the result is written in order.
    let counts = [columns.len().div_ceil(width), rows.len().div_ceil(S::ROWS)];
    let [outer, inner] = if is_shallow { [counts[1], counts[0]] } else { counts };
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
            let (panel, strip) = if is_shallow { (j, i) } else { (i, j) };
            let row = rows.start + strip * S::ROWS;
            let strip_rows = row..rows.end.min(row + S::ROWS);
            let column = columns.start + panel * width;
            let tile_columns = column..columns.end.min(column + width);
            // The result's lines arrive while the kernel runs; while the one before runs, if that is short.
            let ahead = if is_shallow { S::ROWS } else { 0 };
            finish.prefetch_tile(s, out, part, strip_rows.clone(), tile_columns.clone(), ahead);
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
