//! 8-bit weights in panels: two vectors of columns, and for each of them a few neighbours in depth side by side, as the
//! instructions multiply them.

use std::sync::Arc;

use samovar_tensor::{DType, Error, Packed, Pool, Result, Shape, Tensor};

use crate::gemm::micro::panel_columns;
use crate::simd::dot::Dot;
use crate::threads::Threads;

/// 8-bit weights of a layer, as [`Packed`] holds them.
pub(crate) struct PackedInt8 {
    /// `[panels, groups of depth, columns of a panel, group]`; columns and depth beyond the last are 0.
    values: Tensor,
    /// `[panels, 2, columns of a panel]`: sums of the weights of every column (whole numbers), then their steps.
    columns_of: Tensor,
    depth: usize,
    columns: usize,
    width: usize,
    group: usize,
}

impl PackedInt8 {
    /// Packs a matrix stored as `scales.len()` rows of `depth` numbers (`[outputs, inputs]`), in memory of the pool.
    pub(crate) fn pack<D: Dot>(
        threads: &Threads,
        _: D,
        pool: &Arc<Pool>,
        matrix: &[i8],
        scales: &[f32],
        depth: usize,
    ) -> Result<Packed> {
        let (width, columns) = (panel_columns::<D::S>(), scales.len());
        let (panels, groups) = (columns.div_ceil(width), depth.div_ceil(D::GROUP));
        assert_eq!(matrix.len(), depth * columns);
        let mut values = Tensor::allocate(pool, Shape::new(&[panels, groups, width * D::GROUP]), DType::I8)?;
        let mut columns_of = Tensor::allocate(pool, Shape::new(&[panels, 2, width]), DType::F32)?;
        let to = values.raw_mut()?.chunks_exact_mut((groups * width * D::GROUP).max(1));
        let of = columns_of.f32_mut()?.chunks_exact_mut(2 * width);
        threads.run_each(to.zip(of), matrix.len() as u64, |panel, (to, of)| {
            to.fill(0);
            of.fill(0.0);
            for (j, column) in (panel * width..columns.min((panel + 1) * width)).enumerate() {
                let row = &matrix[column * depth..][..depth];
                let groups = to[j * D::GROUP..].chunks_mut(width * D::GROUP);
                for (to, weights) in groups.zip(row.chunks(D::GROUP)) {
                    to.iter_mut().zip(weights).for_each(|(to, &w)| *to = w as u8);
                }
                let sum: i32 = row.iter().map(|&w| i32::from(w)).sum();
                of[j] = f32::from_bits(sum as u32);
                of[width + j] = scales[column];
            }
        });
        let size_bytes = values.size_bytes() + columns_of.size_bytes();
        let group = D::GROUP;
        Ok(Packed::new(Self { values, columns_of, depth, columns, width, group }, size_bytes))
    }

    /// Rows of the matrix: inputs of the layer, or channels times taps.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the matrix: outputs of the layer.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of both tensors of a matrix of `columns` columns.
    pub(crate) fn size_bytes<D: Dot>(_: D, depth: usize, columns: usize) -> [usize; 2] {
        let columns = columns.next_multiple_of(panel_columns::<D::S>());
        [columns * depth.next_multiple_of(D::GROUP), 2 * columns * size_of::<f32>()]
    }

    /// What the kernels read.
    ///
    /// # Errors
    /// [`Error::ForeignWeights`] when it was packed for other instructions.
    pub(crate) fn panels<D: Dot>(&self, _: D) -> Result<Int8Panels<'_>> {
        if (self.width, self.group) != (panel_columns::<D::S>(), D::GROUP) {
            let packed_for = format!("panels of {} by {}", self.width, self.group);
            let device = "these instructions".into();
            return Err(Error::ForeignWeights { op: "int8 product", packed_for, device });
        }
        Ok(Int8Panels {
            values: self.values.i8()?,
            columns_of: self.columns_of.f32()?,
            depth: self.depth,
            columns: self.columns,
            width: self.width,
        })
    }
}

/// A packed matrix of `depth` rows and `columns` columns (a layer's inputs and outputs).
#[derive(Clone, Copy)]
pub(crate) struct Int8Panels<'a> {
    values: &'a [i8],
    columns_of: &'a [f32],
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    width: usize,
}

impl Int8Panels<'_> {
    pub(crate) fn panels(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// The weights of a panel.
    #[inline(always)]
    pub(crate) fn panel(&self, index: usize) -> *const i8 {
        let len = self.values.len() / self.panels().max(1);
        self.values[index * len..][..len].as_ptr()
    }

    /// Sums of the weights of a panel's columns.
    #[inline(always)]
    pub(crate) fn sums(&self, index: usize) -> *const i32 {
        self.columns_of[index * 2 * self.width..][..self.width].as_ptr().cast()
    }

    /// Steps of the weights of a panel's columns.
    #[inline(always)]
    pub(crate) fn scales(&self, index: usize) -> *const f32 {
        self.columns_of[(index * 2 + 1) * self.width..][..self.width].as_ptr()
    }
}
