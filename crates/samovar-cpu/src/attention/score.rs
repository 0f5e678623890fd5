//! The scores of a strip of queries: products, with the bias and the largest of every row on the way out.

use std::f32::consts::LOG2_E;
use std::marker::PhantomData;

use crate::gemm::micro::STRIP_ROWS;
use crate::simd::Simd;

/// Vectors of keys in a panel.
const PANEL_VECTORS: usize = 2;

/// What is added to the products of a panel.
#[derive(Clone, Copy)]
pub(crate) enum Addend {
    /// 0.
    Nothing,
    /// A number for every key, a natural logarithm; the panel's begin so far behind the start of a row.
    Row { first: usize },
    /// A number for every line of a grid plus one for every column, logarithms to base 2. So far behind the start of a row
    /// stands a vector's number, and so far behind it the vector of its columns.
    Sum { numbers: [usize; PANEL_VECTORS], columns: [usize; PANEL_VECTORS] },
}

/// The same, with where each query's numbers stand.
pub(crate) struct Addends {
    pub(crate) addend: Addend,
    pub(crate) rows: [*const f32; STRIP_ROWS],
    /// Columns of the panel that are keys; what is behind them scores −∞, unless the sums say so themselves.
    pub(crate) keys: usize,
}

/// `scores[r] = bias[r] + Σ q[r][i] · keys[i]` for the rows and vectors of keys the kernel was chosen for; and one vector
/// for every row whose largest number is that of the row.
///
/// Arguments: instructions, depth, queries and their row stride, a panel of keys, the bias, scores and their row stride,
/// largest scores so far.
///
/// Safety: all of this must be readable and, beginning with the scores, writable, in whole vectors.
pub(crate) type Score<S> =
    unsafe fn(S, usize, *const f32, usize, *const f32, &Addends, *mut f32, usize, *mut f32);

/// The kernel for `rows` rows (1 to `S::ROWS`) and `vectors` vectors of keys.
#[inline(always)]
pub(crate) fn score<S: Simd>(rows: usize, vectors: usize) -> Score<S> {
    Kernels::<S>::ALL[vectors - 1][rows - 1]
}

struct Kernels<S>(PhantomData<S>);

macro_rules! for_all_rows {
    ($vectors:literal) => {
        [
            entry::<S, 1, $vectors>,
            entry::<S, 2, $vectors>,
            entry::<S, 3, $vectors>,
            entry::<S, 4, $vectors>,
            entry::<S, 5, $vectors>,
            entry::<S, 6, $vectors>,
            entry::<S, 7, $vectors>,
            entry::<S, 8, $vectors>,
            entry::<S, 9, $vectors>,
            entry::<S, 10, $vectors>,
            entry::<S, 11, $vectors>,
            entry::<S, 12, $vectors>,
            entry::<S, 13, $vectors>,
            entry::<S, 14, $vectors>,
        ]
    };
}

impl<S: Simd> Kernels<S> {
    const ALL: [[Score<S>; STRIP_ROWS]; PANEL_VECTORS] = [for_all_rows!(1), for_all_rows!(2)];
}

/// Nothing for keys, and −∞ for what is none: `MOST_LANES − n` numbers on, it is so for a vector with `n` keys.
static TAIL: [f32; 2 * MOST_LANES] = {
    let mut tail = [0.0; 2 * MOST_LANES];
    let mut i = MOST_LANES;
    while i < tail.len() {
        tail[i] = f32::NEG_INFINITY;
        i += 1;
    }
    tail
};

/// Over all instruction sets.
pub(crate) const MOST_LANES: usize = 16;

/// # Safety
/// See [`Score`].
unsafe fn entry<S: Simd, const ROWS: usize, const VECTORS: usize>(
    s: S,
    depth: usize,
    q: *const f32,
    q_stride: usize,
    keys: *const f32,
    addends: &Addends,
    scores: *mut f32,
    score_stride: usize,
    largest: *mut f32,
) {
    // Instruction sets with few registers have fewer kernels; the others need not be compiled.
    if ROWS > S::ROWS {
        unreachable!("{ROWS} rows on an instruction set with {}", S::ROWS);
    }
    s.vectorize(
        #[inline(always)]
        || {
            // SAFETY: the caller's promise.
            unsafe {
                let mut sums = [[s.splat(0.0); VECTORS]; ROWS];
                for i in 0..depth {
                    let keys = keys.add(i * PANEL_VECTORS * S::LANES);
                    let columns: [S::V; VECTORS] = std::array::from_fn(
                        #[inline(always)]
                        |v| s.load(keys.add(v * S::LANES)),
                    );
                    for r in 0..ROWS {
                        let x = s.splat(*q.add(r * q_stride + i));
                        for v in 0..VECTORS {
                            sums[r][v] = s.fma(x, columns[v], sums[r][v]);
                        }
                    }
                }
                store(s, sums, addends, scores, score_stride, largest);
            }
        },
    );
}

/// Adds the bias, and stores scores and largest scores.
///
/// # Safety
/// See [`Score`].
#[inline(always)]
pub(crate) unsafe fn store<S: Simd, const ROWS: usize, const VECTORS: usize>(
    s: S,
    mut sums: [[S::V; VECTORS]; ROWS],
    addends: &Addends,
    scores: *mut f32,
    score_stride: usize,
    largest: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let keys: [usize; VECTORS] = std::array::from_fn(
            #[inline(always)]
            |v| addends.keys.saturating_sub(v * S::LANES).min(S::LANES),
        );
        let tails: [S::V; VECTORS] = std::array::from_fn(
            #[inline(always)]
            |v| s.load(TAIL.as_ptr().add(MOST_LANES - keys[v])),
        );
        match addends.addend {
            Addend::Nothing => {
                for r in 0..ROWS {
                    for v in 0..VECTORS {
                        sums[r][v] = s.add(sums[r][v], tails[v]);
                    }
                }
            }
            Addend::Row { first } if addends.keys >= VECTORS * S::LANES => {
                for r in 0..ROWS {
                    for v in 0..VECTORS {
                        let bias = s.load(addends.rows[r].add(first + v * S::LANES));
                        sums[r][v] = s.fma(bias, s.splat(LOG2_E), sums[r][v]);
                    }
                }
            }
            Addend::Row { first } => {
                for r in 0..ROWS {
                    for v in 0..VECTORS {
                        let row = addends.rows[r].wrapping_add(first + v * S::LANES);
                        let bias = s.fma(s.load_part(row, keys[v]), s.splat(LOG2_E), tails[v]);
                        sums[r][v] = s.add(sums[r][v], bias);
                    }
                }
            }
            Addend::Sum { numbers, columns } => {
                for r in 0..ROWS {
                    for v in 0..VECTORS {
                        let row = addends.rows[r];
                        sums[r][v] = s.add(sums[r][v], s.splat(*row.add(numbers[v])));
                        sums[r][v] = s.add(sums[r][v], s.load(row.add(columns[v])));
                    }
                }
            }
        }
        for r in 0..ROWS {
            let largest = largest.add(r * S::LANES);
            let mut top = s.load(largest);
            for v in 0..VECTORS {
                top = s.max(top, sums[r][v]);
                s.store(scores.add(r * score_stride + v * S::LANES), sums[r][v]);
            }
            s.store(largest, top);
        }
    }
}
