//! The innermost loops: a strip of keys (or of channels of the values) times a tile of queries, sums in registers.

use std::marker::PhantomData;

use crate::gemm::micro::STRIP_ROWS;
use crate::simd::Simd;
use crate::simd::product::Product;

/// Vectors of queries in a tile.
const TILE_VECTORS: usize = 2;

/// Queries of a tile.
pub(crate) const fn tile<S: Simd>() -> usize {
    TILE_VECTORS * S::LANES
}

/// Keys of a strip: whole groups, so that strips do not share a row of weights.
pub(crate) const fn strip<P: Product>() -> usize {
    P::S::ROWS / P::GROUP * P::GROUP
}

/// Where two numbers stand for every query of a tile; the scores of a key start from their sum.
pub(crate) type Start = [*const f32; 2];

/// Weights `2^(start + k q)` of a strip of keys for a tile of queries, group by group; and the largest exponents.
///
/// Arguments: instructions, depth in lanes, keys and their row stride, queries (a tile per lane of depth), where to start for every key,
/// weights, largest exponents so far of every query.
///
/// Safety: all of this must be readable and, the last two, writable.
pub(crate) type Score<P> =
    unsafe fn(P, usize, *const f32, usize, *const f32, &[Start; STRIP_ROWS], *mut f32, *mut f32);

/// `sums (+)= values · weights` for a strip of channels and a tile of queries.
///
/// Arguments: instructions, depth in lanes, values and their row stride, weights, sums (a tile per channel), whether there
/// are any yet.
///
/// Safety: all of this must be readable and the sums writable.
pub(crate) type Accumulate<P> = unsafe fn(P, usize, *const f32, usize, *const f32, *mut f32, bool);

pub(crate) struct Kernels<P>(PhantomData<P>);

macro_rules! for_all_rows {
    ($kernel:ident) => {
        [
            $kernel::<P, 1>,
            $kernel::<P, 2>,
            $kernel::<P, 3>,
            $kernel::<P, 4>,
            $kernel::<P, 5>,
            $kernel::<P, 6>,
            $kernel::<P, 7>,
            $kernel::<P, 8>,
            $kernel::<P, 9>,
            $kernel::<P, 10>,
            $kernel::<P, 11>,
            $kernel::<P, 12>,
            $kernel::<P, 13>,
            $kernel::<P, 14>,
        ]
    };
}

impl<P: Product> Kernels<P> {
    const SCORE: [Score<P>; STRIP_ROWS] = for_all_rows!(score);
    const ACCUMULATE: [Accumulate<P>; STRIP_ROWS] = for_all_rows!(accumulate);

    /// For strips of `rows` keys, up to `S::ROWS`.
    #[inline(always)]
    pub(crate) fn score(rows: usize) -> Score<P> {
        Self::SCORE[rows - 1]
    }

    /// For strips of `rows` channels, up to `S::ROWS`.
    #[inline(always)]
    pub(crate) fn accumulate(rows: usize) -> Accumulate<P> {
        Self::ACCUMULATE[rows - 1]
    }
}

/// # Safety
/// See [`Score`].
unsafe fn score<P: Product, const ROWS: usize>(
    p: P,
    depth: usize,
    keys: *const f32,
    stride: usize,
    queries: *const f32,
    starts: &[Start; STRIP_ROWS],
    weights: *mut f32,
    largest: *mut f32,
) {
    // Instruction sets with few registers have fewer kernels; the others need not be compiled.
    if ROWS > P::S::ROWS {
        unreachable!("{ROWS} rows on an instruction set with {}", P::S::ROWS);
    }
    p.vectorize(
        #[inline(always)]
        || {
            let (s, lanes) = (p.simd(), P::S::LANES);
            let mut sums = [[s.splat(0.0); TILE_VECTORS]; ROWS];
            // SAFETY: the caller's promise.
            unsafe {
                for r in 0..ROWS {
                    let [line, column] = starts[r];
                    for v in 0..TILE_VECTORS {
                        sums[r][v] = s.add(s.load(line.add(v * lanes)), s.load(column.add(v * lanes)));
                    }
                }
                for i in 0..depth {
                    let queries = queries.add(i * tile::<P::S>());
                    let columns = [s.load(queries), s.load(queries.add(lanes))];
                    for r in 0..ROWS {
                        let key = s.splat(*keys.add(r * stride + i));
                        for v in 0..TILE_VECTORS {
                            sums[r][v] = p.dot(sums[r][v], key, columns[v]);
                        }
                    }
                }
                finish::<P, ROWS, 0>(p, &sums, weights, largest);
                finish::<P, ROWS, 1>(p, &sums, weights, largest);
            }
        },
    );
}

/// What follows the product, for one vector of queries. Which one is known at compile time: sums that are found by a variable
/// index would leave the registers.
///
/// # Safety
/// See [`Score`].
#[inline(always)]
unsafe fn finish<P: Product, const ROWS: usize, const VECTOR: usize>(
    p: P,
    sums: &[[<P::S as Simd>::V; TILE_VECTORS]; ROWS],
    weights: *mut f32,
    largest: *mut f32,
) {
    let (s, first_lane) = (p.simd(), VECTOR * P::S::LANES);
    // SAFETY: the caller's promise.
    unsafe {
        let largest = largest.add(first_lane);
        let mut top = s.load(largest);
        for sums in sums {
            top = s.max(sums[VECTOR], top);
        }
        s.store(largest, top);
        for r in (0..ROWS).step_by(P::GROUP) {
            let first = p.exp2(sums[r][VECTOR]);
            let is_whole = P::GROUP > 1 && r + 1 < ROWS;
            let second = if is_whole { p.exp2(sums[r + 1][VECTOR]) } else { s.splat(0.0) };
            s.store(weights.add(r / P::GROUP * tile::<P::S>() + first_lane), p.join([first, second]));
        }
    }
}

/// # Safety
/// See [`Accumulate`].
unsafe fn accumulate<P: Product, const ROWS: usize>(
    p: P,
    depth: usize,
    values: *const f32,
    stride: usize,
    weights: *const f32,
    to: *mut f32,
    add: bool,
) {
    if ROWS > P::S::ROWS {
        unreachable!("{ROWS} rows on an instruction set with {}", P::S::ROWS);
    }
    p.vectorize(
        #[inline(always)]
        || {
            let (s, lanes) = (p.simd(), P::S::LANES);
            let mut sums = [[s.splat(0.0); TILE_VECTORS]; ROWS];
            let at = |r: usize, v: usize| to.wrapping_add(r * tile::<P::S>() + v * lanes);
            // SAFETY: the caller's promise.
            unsafe {
                if add {
                    for r in 0..ROWS {
                        for v in 0..TILE_VECTORS {
                            sums[r][v] = s.load(at(r, v));
                        }
                    }
                }
                for i in 0..depth {
                    let weights = weights.add(i * tile::<P::S>());
                    let columns = [s.load(weights), s.load(weights.add(lanes))];
                    for r in 0..ROWS {
                        let value = s.splat(*values.add(i * stride + r));
                        for v in 0..TILE_VECTORS {
                            sums[r][v] = p.dot(sums[r][v], value, columns[v]);
                        }
                    }
                }
                for r in 0..ROWS {
                    for v in 0..TILE_VECTORS {
                        s.store(at(r, v), sums[r][v]);
                    }
                }
            }
        },
    );
}
