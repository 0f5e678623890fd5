//! The two products of attention with keys by column and row, of a tile of queries in lanes.

use std::marker::PhantomData;

use crate::gemm::micro::{STRIP_ROWS, panel_columns};
use crate::simd::Simd;

/// Keys that are multiplied at once, of registers for two vectors of sums each: with 32 registers, and with 16.
pub(super) const MOST_KEYS: usize = 8;
const FEWER_KEYS: usize = 6;

/// Rows of a tile from which an instruction set counts as one with 32 registers.
const ROWS_OF_MANY_REGISTERS: usize = 8;

pub(super) fn most_keys<S: Simd>() -> usize {
    if S::ROWS >= ROWS_OF_MANY_REGISTERS { MOST_KEYS } else { FEWER_KEYS }
}

/// Cells whose keys a tile of queries is multiplied with.
pub(super) struct Cells {
    /// Of a key.
    pub(super) numbers: usize,
    pub(super) count: usize,
    /// A tile of queries for each number of a key and one more, for every cell.
    pub(super) by_column: *const f32,
    /// The same, for all of them.
    pub(super) by_row: *const f32,
    /// Those of the first map, one after the other.
    pub(super) keys: *const f32,
    /// Numbers from a map to the next.
    pub(super) stride: usize,
}

/// Scores of a tile of queries with the keys of some cells in the maps that the kernel was chosen for, map by map: `(by_column + by_row)
/// · [key, 1]`.
///
/// Safety: all that the cells name must be readable, and a tile of scores writable for every key.
pub(super) type Score<S> = unsafe fn(S, &Cells, *mut f32);

/// Values of keys that are summed up with their weights.
pub(super) struct Weighed {
    pub(super) maps: usize,
    pub(super) cells: usize,
    /// The first channel of the first key.
    pub(super) values: *const f32,
    /// Numbers from a map to the next, and from a key to the next.
    pub(super) strides: [usize; 2],
    /// A tile for each key, map by map.
    pub(super) weights: *const f32,
    /// Add what is there.
    pub(super) add: bool,
}

/// Sums of as many channels as the kernel was chosen for: a tile for each.
///
/// Safety: all that is named must be readable, so many tiles writable.
pub(super) type Weigh<S> = unsafe fn(S, &Weighed, *mut f32);

pub(super) struct Kernels<S>(PhantomData<S>);

impl<S: Simd> Kernels<S> {
    pub(super) const ALL: [Score<S>; MOST_KEYS] = [
        score::<S, 1>,
        score::<S, 2>,
        score::<S, 3>,
        score::<S, 4>,
        score::<S, 5>,
        score::<S, 6>,
        score::<S, 7>,
        score::<S, 8>,
    ];
    pub(super) const WEIGHED: [Weigh<S>; STRIP_ROWS] = [
        weigh::<S, 1>,
        weigh::<S, 2>,
        weigh::<S, 3>,
        weigh::<S, 4>,
        weigh::<S, 5>,
        weigh::<S, 6>,
        weigh::<S, 7>,
        weigh::<S, 8>,
        weigh::<S, 9>,
        weigh::<S, 10>,
        weigh::<S, 11>,
        weigh::<S, 12>,
        weigh::<S, 13>,
        weigh::<S, 14>,
    ];
}

/// # Safety
/// See [`Weigh`].
unsafe fn weigh<S: Simd, const CHANNELS: usize>(s: S, weighed: &Weighed, to: *mut f32) {
    // Instruction sets with few registers have fewer kernels; the others need not be compiled.
    if CHANNELS > S::ROWS {
        unreachable!("{CHANNELS} rows on an instruction set with {}", S::ROWS);
    }
    s.vectorize(
        #[inline(always)]
        || {
            let &Weighed { maps, cells, values, strides: [of_map, of_key], weights, add } = weighed;
            let width = panel_columns::<S>();
            // SAFETY: the caller's promise.
            unsafe {
                let mut sums = [[s.splat(0.0); 2]; CHANNELS];
                let mut weight = weights;
                for map in 0..maps {
                    let mut key = values.add(map * of_map);
                    for _ in 0..cells {
                        let [first, second] = [s.load(weight), s.load(weight.add(S::LANES))];
                        for (channel, sums) in sums.iter_mut().enumerate() {
                            let value = s.splat(*key.add(channel));
                            sums[0] = s.fma(value, first, sums[0]);
                            sums[1] = s.fma(value, second, sums[1]);
                        }
                        weight = weight.add(width);
                        key = key.wrapping_add(of_key);
                    }
                }
                for (channel, sums) in sums.into_iter().enumerate() {
                    let to = to.add(channel * width);
                    let [mut first, mut second] = sums;
                    if add {
                        first = s.add(first, s.load(to));
                        second = s.add(second, s.load(to.add(S::LANES)));
                    }
                    s.store(to, first);
                    s.store(to.add(S::LANES), second);
                }
            }
        },
    );
}

/// # Safety
/// See [`Score`].
unsafe fn score<S: Simd, const MAPS: usize>(s: S, cells: &Cells, to: *mut f32) {
    s.vectorize(
        #[inline(always)]
        || {
            let &Cells { numbers, count, by_column, by_row, keys, stride } = cells;
            let width = panel_columns::<S>();
            for cell in 0..count {
                // SAFETY: the caller's promise.
                unsafe {
                    let a = by_column.add(cell * (numbers + 1) * width);
                    let keys: [*const f32; MAPS] = std::array::from_fn(
                        #[inline(always)]
                        |map| keys.add(map * stride + cell * numbers),
                    );
                    let mut sums = [sum_at(s, a, by_row, numbers); MAPS];
                    for i in 0..numbers {
                        let [first, second] = sum_at(s, a, by_row, i);
                        for map in 0..MAPS {
                            let number = s.splat(*keys[map].add(i));
                            sums[map][0] = s.fma(number, first, sums[map][0]);
                            sums[map][1] = s.fma(number, second, sums[map][1]);
                        }
                    }
                    for (map, sums) in sums.iter().enumerate() {
                        let to = to.add((map * count + cell) * width);
                        s.store(to, sums[0]);
                        s.store(to.add(S::LANES), sums[1]);
                    }
                }
            }
        },
    );
}

/// Row `i` of two tiles of queries, added.
///
/// # Safety
/// It must be readable.
#[inline(always)]
unsafe fn sum_at<S: Simd>(s: S, a: *const f32, b: *const f32, i: usize) -> [S::V; 2] {
    let first = i * panel_columns::<S>();
    [first, first + S::LANES].map(
        #[inline(always)]
        // SAFETY: the caller's promise.
        |at| unsafe { s.add(s.load(a.add(at)), s.load(b.add(at))) },
    )
}
