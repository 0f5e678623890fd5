//! What is done to a tile before it is stored: earlier depth steps, bias, activation, residual.

use std::ops::Range;

use samovar_tensor::{Activation, Epilogue, Result, Tensor};

use crate::gemm::cut::Part;
use crate::gemm::output::Output;
use crate::math::{gelu, sigmoid, silu};
use crate::simd::Simd;

/// The epilogue of a product, with its operands as slices.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// One number per column.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<ResidualRows<'a>>,
}

/// A residual: rows like those of the result, that repeat.
#[derive(Clone, Copy)]
pub(crate) struct ResidualRows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) columns: usize,
    pub(crate) before_activation: bool,
}

impl ResidualRows<'_> {
    /// Where the residual of a number of the result lies, for a column that exists.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, column: usize) -> *const f32 {
        // Rows rarely repeat, and a division is slow.
        let start = row * self.columns;
        let start = if start < self.values.len() { start } else { start % self.values.len() };
        self.values.as_ptr().wrapping_add(start + column)
    }
}

impl<'a> Finish<'a> {
    /// Nothing but the product.
    pub(crate) const NONE: Finish<'static> =
        Finish { bias: None, activation: Activation::Identity, residual: None };

    pub(crate) fn new(bias: Option<&'a Tensor>, epilogue: &Epilogue<'a>) -> Result<Self> {
        Ok(Self {
            bias: bias.map(Tensor::f32).transpose()?,
            activation: epilogue.activation,
            residual: match epilogue.residual {
                None => None,
                Some(residual) => Some(ResidualRows {
                    values: residual.tensor.f32()?,
                    columns: residual.tensor.shape().channels(),
                    before_activation: residual.before_activation,
                }),
            },
        })
    }

    /// Limits of what a depth step stores, if that is all there is to do after the bias; kernels do it by themselves.
    #[inline(always)]
    pub(crate) fn only_limits(&self, part: Part) -> Option<Option<(f32, f32)>> {
        match (self.activation, self.residual.is_some()) {
            _ if !part.last => Some(None),
            (Activation::Identity, false) => Some(None),
            (Activation::Relu, false) => Some(Some((0.0, f32::INFINITY))),
            (Activation::Relu6, false) => Some(Some((0.0, 6.0))),
            _ => None,
        }
    }

    /// The bias of some columns, and 0 behind them: kernels read whole panels.
    #[inline(always)]
    pub(crate) fn pad_bias(bias: &[f32], columns: Range<usize>, to: &mut [f32]) {
        let (to, behind) = to.split_at_mut(columns.len());
        to.copy_from_slice(&bias[columns]);
        behind.fill(0.0);
    }

    /// Asks for the lines of the result that a tile is stored to, or of those `ahead` rows on, and for its residual's.
    #[inline(always)]
    pub(crate) fn prefetch_tile<S: Simd>(
        &self,
        s: S,
        out: Output,
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
        if let Some(residual) = self.residual.as_ref().filter(|_| part.last) {
            for row in rows {
                for column in columns.clone().step_by(16) {
                    s.prefetch_to_read(residual.at(row, column));
                }
            }
        }
    }

    /// Finishes rows of the result, which lie at `values` every `stride` numbers and hold the bias already, and stores
    /// them.
    ///
    /// # Safety
    /// The values must be readable, and `out` writable for the rows and columns.
    pub(crate) unsafe fn tile<S: Simd>(
        &self,
        s: S,
        values: *const f32,
        stride: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        part: Part,
        out: Output,
    ) {
        let tile = Tile { finish: self, values, stride, rows, columns, part, out };
        s.vectorize(
            #[inline(always)]
            || {
                // SAFETY: the caller's promise.
                unsafe { tile.store(s) }
            },
        );
    }
}

/// A tile to be finished.
struct Tile<'a> {
    finish: &'a Finish<'a>,
    values: *const f32,
    stride: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    part: Part,
    out: Output,
}

impl Tile<'_> {
    /// Chooses the loop: one copy for every activation, so that each stays tight.
    ///
    /// # Safety
    /// See [`Finish::tile`]; so for the others.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, s: S) {
        let (low, high) = match self.finish.activation {
            _ if !self.part.last => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Gelu => {
                // SAFETY: the caller's promise.
                return unsafe {
                    self.store_with(
                        s,
                        #[inline(always)]
                        |y| gelu(s, y),
                    )
                };
            }
            Activation::Sigmoid => {
                // SAFETY: the caller's promise.
                return unsafe {
                    self.store_with(
                        s,
                        #[inline(always)]
                        |y| sigmoid(s, y),
                    )
                };
            }
            Activation::Silu => {
                // SAFETY: the caller's promise.
                return unsafe {
                    self.store_with(
                        s,
                        #[inline(always)]
                        |y| silu(s, y),
                    )
                };
            }
            Activation::Identity => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Relu6 => (0.0, 6.0),
        };
        let (low, high) = (s.splat(low), s.splat(high));
        // SAFETY: the caller's promise.
        unsafe {
            self.store_with(
                s,
                #[inline(always)]
                |y| s.min(high, s.max(low, y)),
            );
        }
    }

    /// # Safety
    /// See [`Finish::tile`].
    #[inline(always)]
    unsafe fn store_with<S: Simd>(&self, s: S, activate: impl Fn(S::V) -> S::V) {
        let residual = self.finish.residual.as_ref().filter(|_| self.part.last);
        // SAFETY: the caller's promise.
        unsafe {
            match residual {
                None => self.rows(
                    s,
                    None,
                    #[inline(always)]
                    |y, _| activate(y),
                ),
                Some(residual) if residual.before_activation => self.rows(
                    s,
                    Some(residual),
                    #[inline(always)]
                    |y, residual| activate(s.add(y, residual)),
                ),
                Some(residual) => self.rows(
                    s,
                    Some(residual),
                    #[inline(always)]
                    |y, residual| s.add(activate(y), residual),
                ),
            }
        }
    }

    /// # Safety
    /// See [`Finish::tile`].
    #[inline(always)]
    unsafe fn rows<S: Simd>(&self, s: S, residual: Option<&ResidualRows>, f: impl Fn(S::V, S::V) -> S::V) {
        let len = self.columns.len();
        let whole = len / S::LANES * S::LANES;
        for (r, row) in self.rows.clone().enumerate() {
            // Without a residual its place is taken by something readable that nobody looks at.
            let values = self.values.wrapping_add(r * self.stride);
            let residual = match residual {
                None => values,
                Some(residual) => residual.at(row, self.columns.start),
            };
            let to = self.out.at(row, self.columns.start);
            // SAFETY: the caller's promise; the residual has as many numbers as there are columns.
            unsafe {
                if self.part.first {
                    for i in (0..whole).step_by(S::LANES) {
                        s.store(to.add(i), f(s.load(values.add(i)), s.load(residual.add(i))));
                    }
                } else {
                    for i in (0..whole).step_by(S::LANES) {
                        let y = s.add(s.load(values.add(i)), s.load(to.add(i)));
                        s.store(to.add(i), f(y, s.load(residual.add(i))));
                    }
                }
                let n = len - whole;
                if n > 0 {
                    let (to, mut y) = (to.add(whole), s.load_part(values.add(whole), n));
                    if !self.part.first {
                        y = s.add(y, s.load_part(to, n));
                    }
                    s.store_part(to, f(y, s.load_part(residual.add(whole), n)), n);
                }
            }
        }
    }
}
