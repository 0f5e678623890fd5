//! What is done to a tile before it is stored: earlier depth steps, bias, activation, residual.

use std::ops::Range;

use samovar_tensor::{Activation, Epilogue, Result, Tensor};

use crate::gemm::Output;
use crate::math::{gelu, sigmoid};
use crate::simd::Simd;

/// The epilogue of a product, with its operands as slices.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// One number per column.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<Rest<'a>>,
}

/// A residual: rows like those of the result, that repeat.
#[derive(Clone, Copy)]
pub(crate) struct Rest<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) columns: usize,
    pub(crate) before_activation: bool,
}

impl Rest<'_> {
    /// Where the residual of a number of the result lies, for a column that exists.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, column: usize) -> *const f32 {
        // Rows rarely repeat, and a division is slow.
        let start = row * self.columns;
        let start = if start < self.values.len() { start } else { start % self.values.len() };
        self.values.as_ptr().wrapping_add(start + column)
    }
}

/// Which of the depth steps a tile comes from.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) first: bool,
    pub(crate) last: bool,
}

/// A product in one step, and operators that have none.
pub(crate) const WHOLE: Part = Part { first: true, last: true };

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
                Some(residual) => Some(Rest {
                    values: residual.tensor.f32()?,
                    columns: residual.tensor.shape().channels(),
                    before_activation: residual.before_activation,
                }),
            },
        })
    }

    /// Limits of the result, if that is all there is to do after the bias; kernels do it by themselves.
    #[inline(always)]
    pub(crate) fn only_limits(&self) -> Option<Option<(f32, f32)>> {
        match (self.activation, self.residual.is_some()) {
            (Activation::Identity, false) => Some(None),
            (Activation::Relu, false) => Some(Some((0.0, f32::INFINITY))),
            (Activation::Relu6, false) => Some(Some((0.0, 6.0))),
            _ => None,
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
        let rest = self.finish.residual.as_ref().filter(|_| self.part.last);
        // SAFETY: the caller's promise.
        unsafe {
            match rest {
                None => self.rows(
                    s,
                    None,
                    #[inline(always)]
                    |y, _| activate(y),
                ),
                Some(rest) if rest.before_activation => self.rows(
                    s,
                    Some(rest),
                    #[inline(always)]
                    |y, rest| activate(s.add(y, rest)),
                ),
                Some(rest) => self.rows(
                    s,
                    Some(rest),
                    #[inline(always)]
                    |y, rest| s.add(activate(y), rest),
                ),
            }
        }
    }

    /// # Safety
    /// See [`Finish::tile`].
    #[inline(always)]
    unsafe fn rows<S: Simd>(&self, s: S, rest: Option<&Rest>, f: impl Fn(S::V, S::V) -> S::V) {
        let len = self.columns.len();
        let whole = len / S::LANES * S::LANES;
        for (r, row) in self.rows.clone().enumerate() {
            // Without a residual its place is taken by something readable that nobody looks at.
            let values = self.values.wrapping_add(r * self.stride);
            let rest = match rest {
                None => values,
                Some(rest) => rest.at(row, self.columns.start),
            };
            let to = self.out.at(row, self.columns.start);
            // SAFETY: the caller's promise; the residual has as many numbers as there are columns.
            unsafe {
                if self.part.first {
                    for i in (0..whole).step_by(S::LANES) {
                        s.store(to.add(i), f(s.load(values.add(i)), s.load(rest.add(i))));
                    }
                } else {
                    for i in (0..whole).step_by(S::LANES) {
                        let y = s.add(s.load(values.add(i)), s.load(to.add(i)));
                        s.store(to.add(i), f(y, s.load(rest.add(i))));
                    }
                }
                let n = len - whole;
                if n > 0 {
                    let (to, mut y) = (to.add(whole), s.load_part(values.add(whole), n));
                    if !self.part.first {
                        y = s.add(y, s.load_part(to, n));
                    }
                    s.store_part(to, f(y, s.load_part(rest.add(whole), n)), n);
                }
            }
        }
    }
}
