//! Attention at the door: its cost, and what a backend may leave to others.

use super::Device;
use crate::checks::{self, AttentionSizes};
use crate::{Attention, AttentionBias, DeformableAttention, Fused, Result, Rows, Tensor, TokenLayout};

const OP: &str = "attention";

impl Device {
    /// Multi-head attention. The result has the rows of `q` and `heads · value_channels` columns, in the shape of
    /// `q`'s tensor.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn attention(&self, attention: &Attention) -> Result<Tensor> {
        if let (AttentionBias::KeyPositions(positions), false) =
            (attention.bias, self.fuses(Fused::KeyPositions))
        {
            return self.attention_with_placed_keys(attention, positions);
        }
        let a = attention;
        let AttentionSizes { shape, queries, keys_per_query } = checks::attention(a)?;
        self.operands(OP, &[a.q.tensor, a.k.tensor, a.v.tensor])?;
        let (first, second) = match a.bias {
            AttentionBias::None => (None, None),
            AttentionBias::Table(table) => (Some(table), None),
            AttentionBias::KeyPositions(positions) => (Some(positions), None),
            AttentionBias::RelativePosition { rows, columns, .. } => (Some(rows), Some(columns)),
        };
        for tensor in first.into_iter().chain(second) {
            self.operands(OP, &[tensor])?;
        }
        if let TokenLayout::Windows { padding: Some(row), .. } = a.layout {
            self.operands(OP, &[row])?;
        }
        let logits = (a.heads * queries * keys_per_query) as u64;
        // Decomposed relative positions are one product per query and row, and one per query and column.
        let distances = match a.bias {
            AttentionBias::RelativePosition { grid: [height, width], .. } => height + width,
            _ => 0,
        };
        let positions = 2 * (a.heads * queries * distances * a.head_channels) as u64;
        let products = 2 * logits * (a.head_channels + a.value_channels) as u64;
        let operations = products + positions + 5 * logits;
        let columns = (a.heads * (2 * a.head_channels + a.value_channels)) as u64;
        let bytes = 4 * columns * a.k.tensor.shape().rows().max(queries) as u64;
        self.run(OP, shape, operations, bytes, |kernels, out| kernels.attention(a, out))
    }

    /// Attention to places of maps: `[batch, queries, heads · channels]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn deformable_attention(&self, a: &DeformableAttention) -> Result<Tensor> {
        const OP: &str = "deformable_attention";
        let shape = checks::deformable_attention(a)?;
        self.operands(OP, &[a.values, a.offsets.tensor, a.logits.tensor, a.boxes])?;
        let points = a.maps.iter().map(|map| map.points as u64).sum::<u64>();
        // Of every number of a place four cells are read, or fewer.
        let read = 4 * points.saturating_mul(shape.len() as u64);
        let weights = 16 * points.saturating_mul((shape.rows() * a.heads) as u64);
        self.run(OP, shape, (2 * read).saturating_add(weights), 4 * read, |kernels, out| {
            kernels.deformable_attention(a, out)
        })
    }

    /// Attention with positions that are added to the keys before.
    fn attention_with_placed_keys(&self, a: &Attention, positions: &Tensor) -> Result<Tensor> {
        checks::attention(a)?;
        let columns = a.heads * a.head_channels;
        let whole = a.k.first_column == 0 && a.k.stride() == columns;
        let axis = a.k.tensor.shape().rank().saturating_sub(1);
        let sliced = (!whole).then(|| self.slice(a.k.tensor, axis, a.k.first_column, columns)).transpose()?;
        let placed = self.add(sliced.as_ref().unwrap_or(a.k.tensor), positions)?;
        self.attention(&Attention { k: Rows::whole(&placed), bias: AttentionBias::None, ..*a })
    }
}
