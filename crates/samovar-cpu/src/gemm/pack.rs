//! Weights in panels: two vectors of columns, depth-major, so that a kernel reads them as one stream.

use std::sync::Arc;

use half::{bf16, f16};
use samovar_tensor::{DType, Error, Packed, Pool, Result, Shape, Tensor};

use crate::gemm::micro::panel_columns;
use crate::gemm::pairing::{self, Prepare};
use crate::simd::Simd;
use crate::threads::Threads;

/// How the numbers of packed weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    F32,
    F16,
    Bf16,
}

impl Storage {
    fn of(dtype: DType) -> Self {
        match dtype {
            DType::F16 => Storage::F16,
            DType::BF16 => Storage::Bf16,
            _ => Storage::F32,
        }
    }

    fn dtype(self) -> DType {
        match self {
            Storage::F32 => DType::F32,
            Storage::F16 => DType::F16,
            Storage::Bf16 => DType::BF16,
        }
    }

    /// Bytes of a number.
    pub(crate) fn size_bytes(self) -> usize {
        self.dtype().size_bytes()
    }

    /// Widens 16-bit numbers to `to`, whose length is a multiple of a vector.
    ///
    /// # Safety
    /// As many must be readable.
    #[inline(always)]
    pub(crate) unsafe fn widen<S: Simd>(self, s: S, from: *const u16, to: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            for i in (0..to.len()).step_by(S::LANES) {
                let from = from.add(i);
                let v = if self == Storage::Bf16 { s.load_bf16(from) } else { s.load_f16(from) };
                s.store(to[i..].as_mut_ptr(), v);
            }
        }
    }
}

/// The weights of a layer, as [`Packed`] holds them.
pub(crate) struct PackedMatrix {
    values: Tensor,
    /// What pairs need to know, if it is packed for them.
    numbers: Option<Tensor>,
    storage: Storage,
    depth: usize,
    columns: usize,
}

impl PackedMatrix {
    /// Packs a matrix stored as `columns` rows of `depth` numbers (`[outputs, inputs]`), in memory of the pool. Its
    /// numbers must be exact in the type they are to be stored in. `for_pairs` where large products with it are made in
    /// pairs.
    pub(crate) fn pack<S: Simd>(
        threads: &Threads,
        s: S,
        pool: &Arc<Pool>,
        matrix: &[f32],
        dtype: DType,
        depth: usize,
        columns: usize,
        for_pairs: bool,
    ) -> Result<Packed> {
        let width = panel_columns::<S>();
        let storage = Storage::of(dtype);
        let rows = if for_pairs { pairing::panel_rows(depth) } else { depth };
        let shape = Shape::new(&[columns.div_ceil(width), rows, width]);
        let mut values = Tensor::allocate(pool, shape, storage.dtype())?;
        let mut numbers = None;
        if for_pairs {
            let shape = Shape::new(&[columns.div_ceil(width), pairing::number_rows(depth), width]);
            numbers = Some(Tensor::allocate(pool, shape, DType::F32)?);
        }
        let of_columns = numbers.as_mut().map(Tensor::f32_mut).transpose()?;
        let pack =
            |to: &mut [f32]| pack_matrix(threads, s, matrix, storage, [depth, columns], rows, to, of_columns);
        if storage == Storage::F32 {
            pack(values.f32_mut()?);
        } else {
            let mut wide = Tensor::unpooled(shape, DType::F32)?;
            pack(wide.f32_mut()?);
            for (to, &w) in values.raw_mut()?.as_chunks_mut::<2>().0.iter_mut().zip(wide.f32()?) {
                *to = match storage {
                    Storage::F16 => f16::from_f32(w).to_le_bytes(),
                    _ => bf16::from_f32(w).to_le_bytes(),
                };
            }
        }
        let size_bytes = values.size_bytes() + numbers.as_ref().map_or(0, Tensor::size_bytes);
        Ok(Packed::new(Self { values, numbers, storage, depth, columns }, size_bytes))
    }

    /// Bytes of both tensors of a matrix of `columns` columns.
    pub(crate) fn size_bytes<S: Simd>(
        _: S,
        dtype: DType,
        depth: usize,
        columns: usize,
        for_pairs: bool,
    ) -> [usize; 2] {
        let columns = columns.next_multiple_of(panel_columns::<S>());
        let rows = if for_pairs { pairing::panel_rows(depth) } else { depth };
        let number_rows = if for_pairs { pairing::number_rows(depth) } else { 0 };
        [columns * rows * dtype.size_bytes(), columns * number_rows * size_of::<f32>()]
    }

    /// Rows of the matrix: inputs of the layer, or channels times taps.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the matrix: outputs of the layer.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn storage(&self) -> Storage {
        self.storage
    }

    /// Whether it was packed for products in pairs.
    pub(crate) fn is_for_pairs(&self) -> bool {
        self.numbers.is_some()
    }

    /// What the kernels read.
    ///
    /// # Errors
    /// [`Error::ForeignWeights`] when it was packed for other instructions.
    pub(crate) fn panels<S: Simd>(&self) -> Result<Panels<'_>> {
        let values = self.values.raw().ok_or(Error::NoValues { shape: *self.values.shape() })?;
        let [panels, rows, width] = self.values.shape().fixed("packed matrix")?;
        if width != panel_columns::<S>() {
            let (packed_for, device) = (format!("panels of {width}"), "these instructions".into());
            return Err(Error::ForeignWeights { op: "product", packed_for, device });
        }
        let numbers = self.numbers.as_ref().map(Tensor::f32).transpose()?.unwrap_or_default();
        Ok(Panels {
            values,
            numbers: PanelNumbers { values: numbers, len: numbers.len() / panels.max(1), width },
            storage: self.storage,
            depth: self.depth,
            columns: self.columns,
            rows,
            width,
        })
    }
}

/// A packed matrix of `depth` rows and `columns` columns (a layer's inputs and outputs).
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    /// `panel_columns` numbers for every row of every panel; columns beyond the last are 0.
    values: &'a [u8],
    pub(crate) storage: Storage,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    /// What pairs need to know.
    pub(crate) numbers: PanelNumbers<'a>,
    /// Rows and columns of a panel.
    rows: usize,
    width: usize,
}

/// Rows of numbers that belong to the columns of every panel: factors that its f32 weights are multiplied with, their
/// inverses, and more for products in pairs. Empty for weights that are as they were.
#[derive(Clone, Copy, Default)]
pub(crate) struct PanelNumbers<'a> {
    values: &'a [f32],
    /// Numbers of a panel.
    len: usize,
    /// Columns of a panel.
    width: usize,
}

impl<'a> PanelNumbers<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    #[inline(always)]
    pub(crate) fn row(&self, panel: usize, row: usize) -> &'a [f32] {
        &self.values[panel * self.len + row * self.width..][..self.width]
    }
}

impl Panels<'_> {
    /// Whether columns were multiplied with factors.
    pub(crate) fn are_scaled(&self) -> bool {
        self.storage == Storage::F32 && !self.numbers.is_empty()
    }

    /// Numbers from a panel to the next.
    pub(crate) fn distance(&self) -> usize {
        self.rows * self.width
    }

    /// Where a row of a panel starts.
    #[inline(always)]
    pub(crate) fn step(&self, panel: usize, row: usize) -> *const u8 {
        let size = self.storage.size_bytes();
        self.values[(panel * self.rows + row) * self.width * size..].as_ptr()
    }
}

/// Packs one panel: column `j` of the matrix is the row `column(j)` of `depth` numbers.
///
/// # Safety
/// `column(j)` must be readable for `depth` numbers for `j < columns <= panel_columns`, and `to` writable for
/// `depth` rows of the panel.
#[inline(always)]
pub(crate) unsafe fn pack_panel<S: Simd>(
    s: S,
    columns: usize,
    depth: usize,
    column: impl Fn(usize) -> *const f32,
    to: *mut f32,
) {
    let width = panel_columns::<S>();
    // Columns beyond the last repeat it in whole tiles, and are cleared below.
    let mut rows = [std::ptr::null(); 32];
    for (j, row) in rows[..width].iter_mut().enumerate() {
        *row = column(j.min(columns - 1));
    }
    let whole = depth / S::LANES * S::LANES;
    // SAFETY: the caller's promise.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            for first in (0..width).step_by(S::LANES) {
                if first < columns {
                    s.transpose(&rows[first..], to.add(i * width + first), width);
                }
                rows[first..first + S::LANES].iter_mut().for_each(|row| *row = row.add(S::LANES));
            }
        }
        for i in whole..depth {
            for j in 0..columns {
                *to.add(i * width + j) = *rows[j].add(i - whole);
            }
        }
        if columns < width {
            for i in 0..depth {
                std::slice::from_raw_parts_mut(to.add(i * width + columns), width - columns).fill(0.0);
            }
        }
    }
}

/// Packs one panel whose matrix is stored row by row: row `i` starts at `row(i)` and has `columns` numbers there.
///
/// # Safety
/// `row(i)` must be readable for `columns` numbers for `i < depth`, and `to` writable for `depth` rows of the panel.
#[inline(always)]
pub(crate) unsafe fn copy_panel<S: Simd>(
    s: S,
    columns: usize,
    depth: usize,
    row: impl Fn(usize) -> *const f32,
    to: *mut f32,
) {
    let width = panel_columns::<S>();
    for i in 0..depth {
        let (from, to) = (row(i), to.wrapping_add(i * width));
        for first in (0..width).step_by(S::LANES) {
            let n = columns.saturating_sub(first).min(S::LANES);
            // SAFETY: the caller's promise.
            unsafe { s.store(to.add(first), s.load_part(from.wrapping_add(first), n)) };
        }
    }
}

/// Packs all panels, of `rows` rows each, and their numbers.
fn pack_matrix<S: Simd>(
    threads: &Threads,
    s: S,
    matrix: &[f32],
    storage: Storage,
    [depth, columns]: [usize; 2],
    rows: usize,
    to: &mut [f32],
    numbers: Option<&mut [f32]>,
) {
    let width = panel_columns::<S>();
    assert_eq!(matrix.len(), depth * columns);
    let mut numbers = numbers.map(|numbers| numbers.chunks_exact_mut(pairing::number_rows(depth) * width));
    let panels = to.chunks_exact_mut((rows * width).max(1));
    let panels = panels.map(|panel| (panel, numbers.as_mut().and_then(Iterator::next)));
    threads.run_each(panels, matrix.len() as u64, |panel, (to, numbers)| {
        let first = panel * width;
        let column = |j| matrix[(first + j) * depth..][..depth].as_ptr();
        s.vectorize(
            #[inline(always)]
            || {
                let (packed, rest) = to.split_at_mut(depth * width);
                rest.fill(0.0);
                // SAFETY: slices of `depth` numbers, into a chunk of a panel's size; numbers for it.
                unsafe {
                    pack_panel(s, width.min(columns - first), depth, column, packed.as_mut_ptr());
                    if let Some(numbers) = numbers {
                        let how = Prepare { size: 1.0, together: false, now: storage == Storage::F32 };
                        pairing::prepare_panel(s, to.as_mut_ptr(), depth, how, numbers);
                    }
                }
            },
        );
    });
}
