//! One level of Strassen's algorithm, in Winograd's form: large products with seven eighths of the arithmetic.
//!
//! ```text
//!              depth            left right panel
//!            ┌─────┬─────┐     ┌─────┬─────┐        S1 = A21 + A22    T1 = B12 − B11
//!   strip    │ A11 │ A12 │     │ B11 │ B12 │ depth  S2 = S1 − A11     T2 = B22 − T1
//!            ├─────┼─────┤  ·  ├─────┼─────┤        S3 = A11 − A21    T3 = B22 − B12
//!   the next │ A21 │ A22 │     │ B21 │ B22 │        S4 = A12 − S2     T4 = B21 − T2
//!            └─────┴─────┘     └─────┴─────┘
//!
//!   P1 = A11·B11   C11 = P1 + A12·B21   U2 = P1 + S2·T2   U3 = U2 + S3·T3
//!   P5 = S1·T1     C12 = U2 + P5 + S4·B22   C21 = U3 + A22·T4   C22 = U3 + P5
//! ```
//!
//! The quarters are not those of the matrices but of tiles of two strips by two panels, so results are finished while
//! they are near, and the sums of the weights are made anew by every task, for two panels at a time: together they
//! would take as much memory as the weights. Products that are added to others start from them in registers, and
//! no tile is stored more than once.
//!
//! Rows are no longer alone: how the errors of one fall depends on its place and on the row one strip away, and a
//! number that is not finite spoils both. Errors are three times those of plain order, relative to the size of the
//! operands.

use std::ops::Range;

use crate::gemm::cut::{Part, cut, odd_lines};
use crate::gemm::finish::Finish;
use crate::gemm::micro::{Also, Ending, STRIP_ROWS, micro, panel_columns};
use crate::gemm::output::Output;
use crate::gemm::pack::{Panels, Storage};
use crate::gemm::rows::RowSource;
use crate::scratch::{SCRATCH_LEN, Scratch, padded};
use crate::simd::Simd;

/// Most depth of a half: half the inputs of ViT-B. A tile is stored once in so many steps.
const HALF_DEPTH: usize = 384;

/// Most rows of a task. Their strips and sums fill most of a thread's scratch memory; the more there are, the less the
/// sums of the weights count. They come from L3, two bytes a cycle.
const BLOCK_ROWS: usize = 336;

/// Most columns of a task: the more, the less the sums of the rows count.
pub(crate) const BLOCK_COLUMNS: usize = 1536;

/// Strips a pair of strips becomes.
const STRIPS: usize = 7;

/// Panels that have to be made, and that there are in all.
const SUMS: usize = 4;
const PANELS: usize = 7;

/// Tiles of sums on their way, and one to be finished.
const TILES: usize = 4;

/// Most rows of a task: what fits scratch memory.
pub(crate) fn most_rows<S: Simd>(depth: usize, storage: Storage) -> usize {
    let [pair, panels, tiles] = lengths::<S>(2 * S::ROWS, depth, storage).map(padded);
    ((SCRATCH_LEN - panels - tiles) / pair * 2 * S::ROWS).min(BLOCK_ROWS)
}

/// The row and the panel behind the last whole pairs among these; full panels only.
pub(crate) fn pairs_end<S: Simd>(rows: &Range<usize>, panels: &Range<usize>, columns: usize) -> [usize; 2] {
    let full = panels.end.min(columns / panel_columns::<S>()).saturating_sub(panels.start);
    [rows.start + rows.len() / (2 * S::ROWS) * (2 * S::ROWS), panels.start + full / 2 * 2]
}

/// Depth of the first half, and of the second, which may be one less.
#[derive(Clone, Copy)]
struct Halves {
    near: usize,
    far: usize,
}

/// The strips of a pair, in the order they are stored, which is the order they are used in: kernels ask for the strip
/// that follows.
#[derive(Clone, Copy)]
enum A {
    A11,
    A12,
    S2,
    S3,
    S1,
    S4,
    A22,
}

/// The panels of a pair, those that have to be made first.
#[derive(Clone, Copy)]
enum B {
    T1,
    T2,
    T3,
    T4,
    B11,
    B21,
    B22,
}

/// Numbers of scratch memory that a task of so many rows needs: strips, panels, tiles.
fn lengths<S: Simd>(rows: usize, depth: usize, storage: Storage) -> [usize; 3] {
    let width = panel_columns::<S>();
    let half = depth.div_ceil(2).min(HALF_DEPTH);
    let panels = if storage == Storage::F32 { SUMS } else { PANELS };
    let strips = rows / (2 * S::ROWS) * STRIPS * S::ROWS;
    [strips * odd_lines(half), panels * half * width, TILES * STRIP_ROWS * width]
}

/// One task: whole pairs of strips times whole pairs of panels.
///
/// # Safety
/// The rows and the columns of the panels must be writable in `out`, and nobody else may touch them.
#[inline(always)]
pub(crate) unsafe fn block<S: Simd, R: RowSource>(
    s: S,
    source: &R,
    rows: Range<usize>,
    weights: &Panels,
    panels: Range<usize>,
    finish: &Finish,
    out: Output,
    scratch: &mut Scratch,
) {
    let width = panel_columns::<S>();
    let size = if weights.storage == Storage::F32 { size_of::<f32>() } else { size_of::<u16>() };
    let [strips, sums, tiles] = scratch.split(lengths::<S>(rows.len(), weights.depth, weights.storage));
    for (depth, part) in cut(weights.depth, 2 * HALF_DEPTH, 32) {
        let halves = Halves { near: depth.len().div_ceil(2), far: depth.len() / 2 };
        let stride = odd_lines(halves.near);
        let pair_len = STRIPS * S::ROWS * stride;
        let pairs = || rows.clone().step_by(2 * S::ROWS).enumerate();
        for (pair, row) in pairs() {
            let to = strips[pair * pair_len..][..pair_len].as_mut_ptr();
            // SAFETY: the strips of one pair fit.
            unsafe { copy_pair(s, source, row, depth.start, halves, to, stride) };
        }
        for panel in panels.clone().step_by(2) {
            let quarter = |right: usize, below: usize| {
                weights.step(panel + right, depth.start).wrapping_add(below * halves.near * width * size)
            };
            let quarters = [quarter(0, 0), quarter(1, 0), quarter(0, 1), quarter(1, 1)];
            // SAFETY: panels hold all of the depth; the sums have room for the half.
            let b = unsafe { sum_panels(s, quarters, weights.storage, halves, sums.as_mut_ptr()) };
            let bias = finish.bias.filter(|_| part.first);
            let bias = [0, 1].map(|right| {
                bias.map_or(std::ptr::null(), |bias| bias[(panel + right) * width..][..width].as_ptr())
            });
            for (pair, row) in pairs() {
                let a = strips[pair * pair_len..][..pair_len].as_ptr();
                let tile = Tile { a, stride, b, halves, bias, row, column: panel * width, finish, part, out };
                // SAFETY: strips and panels are there; the caller's promise.
                unsafe { tile.multiply(s, tiles.as_mut_ptr()) };
            }
        }
    }
}

/// Copies a pair of strips from `row` and `depth` on, and adds what has to be added.
///
/// # Safety
/// [`STRIPS`] strips of rows of `stride` must be writable at `to`.
#[inline(always)]
unsafe fn copy_pair<S: Simd, R: RowSource>(
    s: S,
    source: &R,
    row: usize,
    depth: usize,
    halves: Halves,
    to: *mut f32,
    stride: usize,
) {
    let (near, far) = (depth..depth + halves.near, depth + halves.near..depth + halves.near + halves.far);
    for r in 0..S::ROWS {
        let strip = |strip: A| to.wrapping_add((strip as usize * S::ROWS + r) * stride);
        // A21 is needed in sums alone, and makes room for the last of them.
        let (a11, a12, a21, a22) = (strip(A::A11), strip(A::A12), strip(A::S3), strip(A::A22));
        let (upper, lower) = (row + r..row + r + 1, row + S::ROWS + r..row + S::ROWS + r + 1);
        // SAFETY: the caller's promise; a half and the end of its last vector fit the stride.
        unsafe {
            source.copy(s, upper.clone(), near.clone(), a11, stride);
            source.copy(s, upper, far.clone(), a12, stride);
            source.copy(s, lower.clone(), near.clone(), a21, stride);
            source.copy(s, lower, far.clone(), a22, stride);
            if halves.far < halves.near {
                *a12.add(halves.far) = 0.0;
                *a22.add(halves.far) = 0.0;
            }
            for i in (0..halves.near).step_by(S::LANES) {
                let load = |from: *mut f32| s.load(from.add(i));
                let (x11, x12, x21, x22) = (load(a11), load(a12), load(a21), load(a22));
                let s1 = s.add(x21, x22);
                let s2 = s.sub(s1, x11);
                s.store(strip(A::S1).add(i), s1);
                s.store(strip(A::S2).add(i), s2);
                s.store(strip(A::S3).add(i), s.sub(x11, x21));
                s.store(strip(A::S4).add(i), s.sub(x12, s2));
            }
        }
    }
}

/// Makes the panels of a pair, whose quarters (11, 12, 21, 22) are given, and says where all are.
///
/// # Safety
/// The quarters must be readable, and the panels that have to be made writable at `to`.
#[inline(always)]
unsafe fn sum_panels<S: Simd>(
    s: S,
    quarters: [*const u8; 4],
    storage: Storage,
    halves: Halves,
    to: *mut f32,
) -> [*const f32; PANELS] {
    let width = panel_columns::<S>();
    let [near, far] = [halves.near, halves.far].map(|depth| depth * width);
    let panel = |panel: B| to.wrapping_add(panel as usize * near);
    let [b11, b12, b21, b22] = if storage == Storage::F32 {
        quarters.map(<*const u8>::cast::<f32>)
    } else {
        // B12 is needed in sums alone, and makes room for the first of them.
        let places = [B::B11, B::T1, B::B21, B::B22].map(panel);
        for ((from, to), len) in quarters.into_iter().zip(places).zip([near, near, far, far]) {
            // SAFETY: the caller's promise.
            unsafe { storage.widen(s, from.cast(), std::slice::from_raw_parts_mut(to, len)) };
        }
        places.map(<*mut f32>::cast_const)
    };
    for i in (0..near).step_by(S::LANES) {
        // SAFETY: the caller's promise; what the second half lacks is 0.
        unsafe {
            let (x11, x12) = (s.load(b11.add(i)), s.load(b12.add(i)));
            let (x21, x22) =
                if i < far { (s.load(b21.add(i)), s.load(b22.add(i))) } else { (s.splat(0.0), s.splat(0.0)) };
            let t1 = s.sub(x12, x11);
            let t2 = s.sub(x22, t1);
            s.store(panel(B::T1).add(i), t1);
            s.store(panel(B::T2).add(i), t2);
            s.store(panel(B::T3).add(i), s.sub(x22, x12));
            s.store(panel(B::T4).add(i), s.sub(x21, t2));
        }
    }
    let mut all = [std::ptr::null(); PANELS];
    for made in [B::T1, B::T2, B::T3, B::T4] {
        all[made as usize] = panel(made).cast_const();
    }
    (all[B::B11 as usize], all[B::B21 as usize], all[B::B22 as usize]) = (b11, b21, b22);
    all
}

/// Two strips times two panels.
struct Tile<'a> {
    /// Strips in the order of [`A`], rows every `stride`.
    a: *const f32,
    stride: usize,
    /// Panels in the order of [`B`].
    b: [*const f32; PANELS],
    halves: Halves,
    /// Of the left and of the right panel, or null.
    bias: [*const f32; 2],
    /// First of the result.
    row: usize,
    column: usize,
    finish: &'a Finish<'a>,
    part: Part,
    out: Output,
}

impl Tile<'_> {
    /// # Safety
    /// What the fields say must be readable and writable; [`TILES`] tiles must be at `tiles`.
    #[inline(always)]
    unsafe fn multiply<S: Simd>(&self, s: S, tiles: *mut f32) {
        let Halves { near, far } = self.halves;
        let [first, second, third, result] =
            [0, 1, 2, 3].map(|i| tiles.wrapping_add(i * S::ROWS * panel_columns::<S>()));
        let from = |start: *mut f32| Ending { start, ..Ending::NONE };
        let [left, right] = self.bias;
        // SAFETY: the caller's promise. What the second half lacks is 0 in one of the operands where both halves meet.
        unsafe {
            self.product(s, A::A11, B::B11, near, first, &Ending::NONE);
            let ending = Ending { bias: left, ..from(first) };
            self.result(s, A::A12, B::B21, far, ending, [0, 0], result);
            self.product(s, A::S2, B::T2, near, second, &from(first));
            self.product(s, A::S3, B::T3, near, third, &from(second));
            let also = Some(Also { tile: second, plus: third });
            let ending = Ending { bias: right, also, ..Ending::NONE };
            self.result(s, A::S1, B::T1, near, ending, [1, 1], result);
            self.result(s, A::S4, B::B22, far, from(second), [0, 1], result);
            let ending = Ending { bias: left, ..from(third) };
            self.result(s, A::A22, B::T4, far, ending, [1, 0], result);
        }
    }

    /// One of the products, to a tile.
    ///
    /// # Safety
    /// See [`Tile::multiply`].
    #[inline(always)]
    unsafe fn product<S: Simd>(&self, s: S, a: A, b: B, depth: usize, to: *mut f32, ending: &Ending) {
        let width = panel_columns::<S>();
        // SAFETY: the caller's promise.
        unsafe { self.run(s, a, b, depth, to, width, ending) };
    }

    /// One of the products that complete a quarter of the result: row and column of it are given.
    ///
    /// # Safety
    /// See [`Tile::multiply`].
    #[inline(always)]
    unsafe fn result<S: Simd>(
        &self,
        s: S,
        a: A,
        b: B,
        depth: usize,
        ending: Ending,
        [down, across]: [usize; 2],
        tile: *mut f32,
    ) {
        let width = panel_columns::<S>();
        let (row, column) = (self.row + down * S::ROWS, self.column + across * width);
        let (rows, columns) = (row..row + S::ROWS, column..column + width);
        let (finish, part, out) = (self.finish, self.part, self.out);
        finish.prefetch_tile(s, out, part, rows.clone(), columns.clone(), 0);
        let only_limits = finish.only_limits(part);
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(clamp) = only_limits {
                let ending = Ending { add: !part.first, clamp, ..ending };
                self.run(s, a, b, depth, out.at(row, column), out.stride, &ending);
            } else {
                self.run(s, a, b, depth, tile, width, &ending);
                finish.tile(s, tile, width, rows, columns, part, out);
            }
        }
    }

    /// # Safety
    /// See [`Tile::multiply`].
    #[inline(always)]
    unsafe fn run<S: Simd>(
        &self,
        s: S,
        a: A,
        b: B,
        depth: usize,
        to: *mut f32,
        to_stride: usize,
        ending: &Ending,
    ) {
        let width = panel_columns::<S>();
        let kernel = micro::<S>(S::ROWS, width / S::LANES);
        let (a, b) = (self.a.wrapping_add(a as usize * S::ROWS * self.stride), self.b[b as usize]);
        // SAFETY: the caller's promise.
        unsafe { kernel(s, depth, a, self.stride, b, width, to, to_stride, ending) };
    }
}
