//! Rotary positions of the cells of a map: half of a token's pairs of channels turn with the column, half with the row.
//! (RoFormer, <https://arxiv.org/abs/2104.09864>, along two axes; `compute_axial_cis` in `sam2/modeling/position_encoding.py` upstream.)
//!
//! Upstream's pairs are neighbours. Here the two numbers of a pair lie half a row apart, which is what [`Device::rotate`] turns in
//! whole vectors; queries and keys come out of their layers in that order, and a product of two tokens is the same in any order.
//!
//! [`Device::rotate`]: samovar_tensor::Device::rotate

use samovar_tensor::Tensor;

use crate::error::Result;

/// Cosines and sines of the cells of a map, `[rows · columns, channels]`: a table for `Device::rotate`.
pub(crate) fn of_cells([rows, columns]: [usize; 2], channels: usize, theta: f32) -> Vec<f32> {
    let quarter = channels / 4;
    let frequencies: Vec<f32> =
        (0..quarter).map(|i| 1.0 / theta.powf((4 * i) as f32 / channels as f32)).collect();
    let mut table = Vec::with_capacity(rows * columns * channels);
    for cell in 0..rows * columns {
        let (x, y) = ((cell % columns) as f32, (cell / columns) as f32);
        let angles =
            [x, y].into_iter().flat_map(|place| frequencies.iter().map(move |f| f64::from(place * f)));
        table.extend(angles.clone().map(|angle| angle.cos() as f32));
        table.extend(angles.map(|angle| angle.sin() as f32));
    }
    table
}

/// The rows of a weight `[channels, ..]` or bias `[channels]` with the first numbers of all pairs before the second ones.
pub(crate) fn pairs_apart(weight: &Tensor) -> Result<Tensor> {
    let channels = weight.dims().first().copied().unwrap_or(0);
    let order = (0..channels).step_by(2).chain((1..channels).step_by(2));
    let rows = order.map(|row| weight.narrow(row, 1)).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::stack_rows(&rows)?)
}
