//! The innermost loops: a few rows times one panel of columns, sums in registers.

use std::marker::PhantomData;

use crate::simd::Simd;

/// Most rows a kernel takes, over all instruction sets.
pub(crate) const STRIP_ROWS: usize = 14;

/// Most vectors of columns a kernel takes; panels are always stored that wide.
const PANEL_VECTORS: usize = 2;

/// Columns of a panel.
pub(crate) const fn panel_columns<S: Simd>() -> usize {
    PANEL_VECTORS * S::LANES
}

/// `c[r] = ending(Σ a[r][i] · b[i])` for the rows and vectors of columns the kernel was chosen for.
///
/// Arguments: instructions, depth, `a` and its row stride, `b` (a row for every step of depth; in panels
/// [`panel_columns`] apart) and its row stride, `c` and its row stride, what else to do.
///
/// Safety: `a` must be readable for rows of `depth`, `b` for `depth` rows of whole vectors, `c` writable for whole
/// vectors, the tiles in `Ending` for the rows and vectors of columns.
pub(crate) type Micro<S> =
    unsafe fn(S, usize, *const f32, usize, *const f32, usize, *mut f32, usize, &Ending);

/// What a kernel does beside the product, while the sums are in registers.
#[derive(Clone, Copy)]
pub(crate) struct Ending {
    /// One number per column to start from, for whole vectors; or null for 0.
    pub(crate) bias: *const f32,
    /// A tile to start from beside that, its rows one after the other; or null for 0.
    pub(crate) start: *const f32,
    /// A second result.
    pub(crate) also: Option<Also>,
    /// One number per column to multiply the sums with, for whole vectors; or null.
    pub(crate) factors: *const f32,
    /// Add what `c` holds.
    pub(crate) add: bool,
    /// Smallest and largest result.
    pub(crate) clamp: Option<(f32, f32)>,
}

/// The sums are added to `tile`, then `plus` is added to the sums. Tiles have their rows one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Also {
    pub(crate) tile: *mut f32,
    pub(crate) plus: *const f32,
}

impl Ending {
    pub(crate) const NONE: Ending = Ending {
        bias: std::ptr::null(),
        start: std::ptr::null(),
        also: None,
        factors: std::ptr::null(),
        add: false,
        clamp: None,
    };

    /// Does what comes after the product, and stores the results: bias and start are in the sums.
    ///
    /// # Safety
    /// See [`Micro`].
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        s: S,
        mut sums: [[S::V; VECTORS]; ROWS],
        c: *mut f32,
        c_stride: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(Also { tile, plus }) = self.also {
                for (i, &sum) in sums.as_flattened().iter().enumerate() {
                    let tile = tile.add(i * S::LANES);
                    s.store(tile, s.add(sum, s.load(tile)));
                }
                for (i, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
                    *sum = s.add(*sum, s.load(plus.add(i * S::LANES)));
                }
            }
            if !self.factors.is_null() {
                for v in 0..VECTORS {
                    let factor = s.load(self.factors.add(v * S::LANES));
                    for row in &mut sums {
                        row[v] = s.mul(row[v], factor);
                    }
                }
            }
            if self.add {
                for r in 0..ROWS {
                    for v in 0..VECTORS {
                        sums[r][v] = s.add(sums[r][v], s.load(c.add(r * c_stride + v * S::LANES)));
                    }
                }
            }
            if let Some((low, high)) = self.clamp {
                let (low, high) = (s.splat(low), s.splat(high));
                for sum in sums.as_flattened_mut() {
                    // In this order what is not a number stays visible.
                    *sum = s.min(high, s.max(low, *sum));
                }
            }
            for r in 0..ROWS {
                for v in 0..VECTORS {
                    s.store(c.add(r * c_stride + v * S::LANES), sums[r][v]);
                }
            }
        }
    }
}

/// The kernel for `rows` rows (1 to `S::ROWS`) and `vectors` vectors of columns.
#[inline(always)]
pub(crate) fn micro<S: Simd>(rows: usize, vectors: usize) -> Micro<S> {
    Kernels::<S>::ALL[rows - 1][vectors - 1]
}

struct Kernels<S>(PhantomData<S>);

impl<S: Simd> Kernels<S> {
    const ALL: [[Micro<S>; PANEL_VECTORS]; STRIP_ROWS] = [
        [entry::<S, 1, 1>, entry::<S, 1, 2>],
        [entry::<S, 2, 1>, entry::<S, 2, 2>],
        [entry::<S, 3, 1>, entry::<S, 3, 2>],
        [entry::<S, 4, 1>, entry::<S, 4, 2>],
        [entry::<S, 5, 1>, entry::<S, 5, 2>],
        [entry::<S, 6, 1>, entry::<S, 6, 2>],
        [entry::<S, 7, 1>, entry::<S, 7, 2>],
        [entry::<S, 8, 1>, entry::<S, 8, 2>],
        [entry::<S, 9, 1>, entry::<S, 9, 2>],
        [entry::<S, 10, 1>, entry::<S, 10, 2>],
        [entry::<S, 11, 1>, entry::<S, 11, 2>],
        [entry::<S, 12, 1>, entry::<S, 12, 2>],
        [entry::<S, 13, 1>, entry::<S, 13, 2>],
        [entry::<S, 14, 1>, entry::<S, 14, 2>],
    ];
}

/// # Safety
/// See [`Micro`].
unsafe fn entry<S: Simd, const ROWS: usize, const VECTORS: usize>(
    s: S,
    depth: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
    ending: &Ending,
) {
    // Instruction sets with few registers have fewer kernels; the others need not be compiled.
    if ROWS > S::ROWS {
        unreachable!("{ROWS} rows on an instruction set with {}", S::ROWS);
    }
    s.vectorize(
        #[inline(always)]
        || {
            // SAFETY: the caller's promise.
            unsafe { kernel::<S, ROWS, VECTORS>(s, depth, a, a_stride, b, b_stride, c, c_stride, ending) }
        },
    );
}

/// # Safety
/// See [`Micro`].
#[inline(always)]
unsafe fn kernel<S: Simd, const ROWS: usize, const VECTORS: usize>(
    s: S,
    depth: usize,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
    ending: &Ending,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let start: [S::V; VECTORS] = std::array::from_fn(
            #[inline(always)]
            |v| if ending.bias.is_null() { s.splat(0.0) } else { s.load(ending.bias.add(v * S::LANES)) },
        );
        let mut sums = [start; ROWS];
        if !ending.start.is_null() {
            for (i, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
                *sum = s.add(*sum, s.load(ending.start.add(i * S::LANES)));
            }
        }
        let next = a.wrapping_add(ROWS * a_stride);
        for i in 0..depth {
            // Rows that are copied strip by strip may have gone to L3; in small kernels the time to ask is missed.
            if ROWS == S::ROWS && VECTORS == PANEL_VECTORS {
                s.prefetch_to_read(next.wrapping_add(16 * i));
            }
            let b = b.add(i * b_stride);
            let columns: [S::V; VECTORS] = std::array::from_fn(
                #[inline(always)]
                |v| s.load(b.add(v * S::LANES)),
            );
            for r in 0..ROWS {
                let x = s.splat(*a.add(r * a_stride + i));
                for v in 0..VECTORS {
                    sums[r][v] = s.fma(x, columns[v], sums[r][v]);
                }
            }
        }
        ending.store(s, sums, c, c_stride);
    }
}
