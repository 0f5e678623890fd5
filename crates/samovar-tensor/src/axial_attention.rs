//! Attention to maps whose keys depend on the column and the row of their cells.

use crate::Tensor;

/// Attention with one head to the cells of maps, whose keys are projected by a matrix of their column and one of their row:
///
/// ```text
/// key_j = [columns[x_j]ᵀ, rows[y_j]ᵀ] · [keys_j, 1]      y_i = Σ_j softmax_j(scale · q_i · key_j) values_j
/// ```
///
/// Rotary positions along two axes are of this kind, the matrices being those of a layer with its outputs turned. Where `keys` are
/// narrower than queries, and several maps have a cell at each place, the matrices are better multiplied with the queries: `q ·
/// key_j = (columns[x] q + rows[y] q) · [keys_j, 1]`, where the sum serves the cells of all maps at a place. That is exact but
/// for rounding.
#[derive(Debug, Clone, Copy)]
pub struct AxialAttention<'a> {
    /// `[.., C]`, in quarters: the first and the third meet the matrices of columns, the others those of rows. It is the order that
    /// [`crate::Device::rotate`] leaves, where half of the pairs turn with the column.
    pub q: &'a Tensor,
    /// `[maps · rows · columns, K]`
    pub keys: &'a Tensor,
    /// `[P, K]`, keys that have no cell; theirs are the matrices of the first column and row.
    pub beside: Option<&'a Tensor>,
    /// `[maps · rows · columns + P, V]`
    pub values: &'a Tensor,
    /// `[columns, K + 1, C / 2]`
    pub columns: &'a Tensor,
    /// `[rows, K + 1, C / 2]`
    pub rows: &'a Tensor,
    /// Factor on the products.
    pub scale: f32,
}
