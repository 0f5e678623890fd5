//! Attention with keys by column and row; composed from the core for backends that have no kernel for it.

use super::Device;
use crate::checks::{self, AxialSizes};
use crate::{Attention, AttentionBias, AxialAttention, Fused, Precision, Result, Rows, Tensor, TokenLayout};

const OP: &str = "axial_attention";

impl Device {
    /// Attention to maps whose keys depend on column and row; see [`AxialAttention`]. The result has the rows of `q` and the columns
    /// of `values`, in the shape of `q`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn axial_attention(&self, a: &AxialAttention) -> Result<Tensor> {
        let sizes = checks::axial_attention(a)?;
        let AxialSizes { shape, queries, maps, grid, beside, .. } = sizes;
        let mut operands = self.operands(OP, &[a.q, a.keys, a.values, a.columns, a.rows])?;
        if let Some(beside) = a.beside {
            operands += self.operands(OP, &[beside])?;
        }
        if !self.fuses(Fused::AxialAttention) {
            return self.composed_axial_attention(a, &sizes);
        }
        // Two operations a multiplication, and a softmax.
        let keys = maps * grid[0] * grid[1] + beside;
        let operations = 2 * sizes.multiplications()[0] + 5 * queries as u64 * keys as u64;
        self.run(OP, shape, operations, operands, |kernels, out| kernels.axial_attention(a, out))
    }

    /// Whether [`Device::axial_attention`] is faster here than attention to keys that are made first, as a layer and turns do it where the
    /// matrices are those of rotary positions.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn axial_attention_pays(&self, a: &AxialAttention) -> Result<bool> {
        let sizes = checks::axial_attention(a)?;
        Ok(self.fuses(Fused::AxialAttention) && self.kernels.axial_attention_pays(&sizes))
    }

    /// The keys of all cells, then attention.
    fn composed_axial_attention(&self, a: &AxialAttention, sizes: &AxialSizes) -> Result<Tensor> {
        let &AxialSizes { maps, grid: [rows, columns], beside, channels, key_channels, .. } = sizes;
        let (half, quarter, width) = (channels / 2, channels / 4, key_channels + 1);
        let with_one = |keys: &Tensor| -> Result<Tensor> {
            self.concat(&[keys, &self.filled([keys.shape().rows(), 1], 1.0)?], 1)
        };
        let keys = with_one(a.keys)?;
        // Of all cells of a column together, then in their own order again.
        let by_column = self.swapped(&keys, [maps * rows, columns, width])?;
        let of_columns = self.matmul_transposed(&by_column, &self.swapped_last(a.columns)?)?;
        let of_columns = self.swapped(&of_columns, [columns, maps * rows, half])?;
        let by_row = self.swapped(&keys, [maps, rows, columns * width])?;
        let by_row = by_row.reshape([rows, maps * columns, width])?;
        let of_rows = self.matmul_transposed(&by_row, &self.swapped_last(a.rows)?)?;
        let of_rows = self.swapped(&of_rows, [rows, maps, columns * half])?;
        let cells = maps * rows * columns;
        let halves = [of_columns.reshape([cells, half])?, of_rows.reshape([cells, half])?];
        let mut keys = self.concat(&[&halves[0], &halves[1]], 1)?;
        if let Some(placeless) = a.beside {
            let placeless = with_one(placeless)?.reshape([1, beside, width])?;
            let first = |matrices: &Tensor| -> Result<Tensor> {
                let first = self.swapped_last(&self.slice(matrices, 0, 0, 1)?)?;
                self.matmul_transposed(&placeless, &first)?.reshape([beside, half])
            };
            let of_both = self.concat(&[&first(a.columns)?, &first(a.rows)?], 1)?;
            keys = self.concat(&[&keys, &of_both], 0)?;
        }
        let axis = a.q.shape().rank() - 1;
        let [q0, q1, q2, q3] = [0, 1, 2, 3].map(|part| self.slice(a.q, axis, part * quarter, quarter));
        let q = self.concat(&[&q0?, &q2?, &q1?, &q3?], axis)?;
        self.attention(&Attention {
            q: Rows::whole(&q),
            k: Rows::whole(&keys),
            v: Rows::whole(a.values),
            heads: 1,
            head_channels: channels,
            value_channels: sizes.value_channels,
            scale: a.scale,
            layout: TokenLayout::Sequence {
                batch: 1,
                key_batch: 1,
                queries: sizes.queries,
                keys: cells + beside,
            },
            bias: AttentionBias::None,
            precision: Precision::F32,
        })
    }

    /// `[first, second, third]` with the first two dimensions exchanged.
    fn swapped(&self, x: &Tensor, [first, second, third]: [usize; 3]) -> Result<Tensor> {
        let turned = self.channels_first(&x.reshape([1, first, 1, second * third])?)?;
        self.swapped_last(&turned.reshape([second, third, first])?)
    }

    /// `[batch, rows, columns]` with the last two dimensions exchanged.
    fn swapped_last(&self, x: &Tensor) -> Result<Tensor> {
        let [batch, rows, columns] = x.shape().fixed(OP)?;
        self.channels_first(&x.reshape([batch, rows, 1, columns])?)?.reshape([batch, columns, rows])
    }
}
