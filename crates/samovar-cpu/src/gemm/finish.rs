//! What is done to a tile before it is stored: earlier depth steps, bias, activation, residual.

use std::ops::Range;

use samovar_tensor::{Activation, Epilogue, Result, Tensor};

use crate::gemm::Output;
use crate::gemm::micro::panel_columns;
use crate::math::activate;
use crate::simd::{Simd, put, take};

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

/// Which of the depth steps a tile comes from.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) first: bool,
    pub(crate) last: bool,
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
                Some(residual) => Some(Rest {
                    values: residual.tensor.f32()?,
                    columns: residual.tensor.shape().channels(),
                    before_activation: residual.before_activation,
                }),
            },
        })
    }

    /// Finishes `columns` of row `row` of the result, which lie at `values`, and stores them at `out`.
    ///
    /// # Safety
    /// As many numbers as there are columns must be readable at `values` and writable at `out`.
    #[inline(always)]
    pub(crate) unsafe fn row<S: Simd>(
        &self,
        s: S,
        values: *const f32,
        row: usize,
        columns: Range<usize>,
        part: Part,
        out: *mut f32,
    ) {
        let rest = self.residual.map(|rest| {
            let rows = rest.values.len() / rest.columns;
            (&rest.values[row % rows * rest.columns..][columns.clone()], rest.before_activation)
        });
        let bias = self.bias.map(|bias| &bias[columns.clone()]);
        for i in (0..columns.len()).step_by(S::LANES) {
            let n = S::LANES.min(columns.len() - i);
            // SAFETY: the caller's promise, and slices of as many columns.
            unsafe {
                let mut y = take(s, values.add(i), n);
                if !part.first {
                    y = s.add(y, take(s, out.add(i), n));
                }
                if part.last {
                    if let Some(bias) = bias {
                        y = s.add(y, take(s, bias.as_ptr().add(i), n));
                    }
                    if let Some((rest, true)) = rest {
                        y = s.add(y, take(s, rest.as_ptr().add(i), n));
                    }
                    y = activate(s, self.activation, y);
                    if let Some((rest, false)) = rest {
                        y = s.add(y, take(s, rest.as_ptr().add(i), n));
                    }
                }
                put(s, out.add(i), y, n);
            }
        }
    }

    /// Finishes a tile of [`panel_columns`] numbers per row.
    ///
    /// # Safety
    /// The tile must be readable for all rows, and `out` writable for the rows and columns.
    #[inline(always)]
    pub(crate) unsafe fn tile<S: Simd>(
        &self,
        s: S,
        tile: *const f32,
        rows: Range<usize>,
        columns: Range<usize>,
        part: Part,
        out: Output,
    ) {
        for (r, row) in rows.enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let values = tile.add(r * panel_columns::<S>());
                self.row(s, values, row, columns.clone(), part, out.at(row, columns.start));
            }
        }
    }
}
