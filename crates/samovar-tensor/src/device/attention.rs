//! Attention at the door: its checks, its cost, and what a backend may leave to others.

use super::Device;
use crate::{Attention, AttentionBias, Error, Fused, Result, Rows, Tensor, TokenLayout};

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
        let shape = a.q.tensor.shape().result_with_channels(OP, a.heads.saturating_mul(a.value_channels))?;
        let (queries, keys_per_query) = check_attention(a)?;
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

    /// Attention with positions that are added to the keys before.
    fn attention_with_placed_keys(&self, a: &Attention, positions: &Tensor) -> Result<Tensor> {
        check_attention(a)?;
        let columns = a.heads * a.head_channels;
        let whole = a.k.first_column == 0 && a.k.stride() == columns;
        let axis = a.k.tensor.shape().rank().saturating_sub(1);
        let sliced = (!whole).then(|| self.slice(a.k.tensor, axis, a.k.first_column, columns)).transpose()?;
        let placed = self.add(sliced.as_ref().unwrap_or(a.k.tensor), positions)?;
        self.attention(&Attention { k: Rows::whole(&placed), bias: AttentionBias::None, ..*a })
    }
}

/// Checks all operands; returns the number of queries and of keys that each of them sees.
fn check_attention(a: &Attention) -> Result<(usize, usize)> {
    let fits = |rows: &Rows, count: usize, channels: usize| {
        let last = a.heads.checked_mul(channels).and_then(|columns| columns.checked_add(rows.first_column));
        rows.tensor.shape().rows() == count && last.is_some_and(|last| last <= rows.stride())
    };
    let (queries, key_rows, keys_per_query, softmax_queries) = match a.layout {
        TokenLayout::Sequence { batch, key_batch, queries, keys } => {
            if keys == 0 && batch * queries > 0 {
                return Err(Error::shape(OP, "no keys to attend to"));
            }
            if !(key_batch == batch || key_batch == 1) {
                return Err(Error::shape(OP, format!("{key_batch} key batches for {batch} query batches")));
            }
            (batch * queries, key_batch * keys, keys, queries)
        }
        TokenLayout::Windows { batch, grid: [height, width], window, padding } => {
            if window == 0 {
                return Err(Error::shape(OP, "a window of 0 tokens"));
            }
            let divides = height.is_multiple_of(window) && width.is_multiple_of(window);
            let stride = a.k.stride();
            match padding {
                None if !divides => {
                    let what = format!("windows of {window} over {height}x{width} need a padding row");
                    return Err(Error::shape(OP, what));
                }
                Some(row) if row.shape().len() != stride || a.v.stride() != stride => {
                    let what = format!("padding row {} beside keys of {stride} columns", row.shape());
                    return Err(Error::shape(OP, what));
                }
                _ => {}
            }
            (batch * height * width, batch * height * width, window * window, window * window)
        }
    };
    let q_fits = fits(&a.q, queries, a.head_channels);
    if !q_fits || !fits(&a.k, key_rows, a.head_channels) || !fits(&a.v, key_rows, a.value_channels) {
        let (q, k, v) = (a.q.tensor.shape(), a.k.tensor.shape(), a.v.tensor.shape());
        let what = format!("q {q}, k {k}, v {v} with {} heads in {:?}", a.heads, a.layout);
        return Err(Error::shape(OP, what));
    }
    match a.bias {
        AttentionBias::None => {}
        AttentionBias::Table(table) => {
            if table.dims() != [a.heads, softmax_queries, keys_per_query] {
                return Err(Error::shape(OP, format!("bias table {}", table.shape())));
            }
        }
        AttentionBias::KeyPositions(positions) => {
            if matches!(a.layout, TokenLayout::Windows { .. }) {
                return Err(Error::shape(OP, "positions of keys in windows; add them to the keys before"));
            }
            if positions.dims() != [keys_per_query, a.heads * a.head_channels] {
                return Err(Error::shape(OP, format!("positions {} of the keys", positions.shape())));
            }
        }
        AttentionBias::RelativePosition { rows, columns, grid: [height, width] } => {
            let tables_fit = rows.dims() == [2 * height - 1, a.head_channels]
                && columns.dims() == [2 * width - 1, a.head_channels];
            if !tables_fit || height * width != softmax_queries || softmax_queries != keys_per_query {
                let what = format!("tables {} and {} for {height}x{width}", rows.shape(), columns.shape());
                return Err(Error::shape(OP, what));
            }
        }
    }
    Ok((queries, keys_per_query))
}
