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
    let frequencies: Vec<f32> = frequencies(channels, theta).collect();
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

/// Matrices that make turned keys of what is remembered, along one axis (0 for columns, 1 for rows): `[places, inputs + 1, channels / 2]`,
/// of a layer `[channels, inputs]` in upstream's order and its bias, which comes last; for [`samovar_tensor::AxialAttention`].
pub(crate) fn turned_along(
    axis: usize,
    places: usize,
    [weight, bias]: [&[f32]; 2],
    inputs: usize,
    theta: f32,
) -> Vec<f32> {
    let channels = bias.len();
    let quarter = channels / 4;
    let mut matrices = Vec::with_capacity(places * (inputs + 1) * 2 * quarter);
    for place in 0..places {
        let turns: Vec<(f64, f64)> =
            frequencies(channels, theta).map(|f| f64::from(place as f32 * f).sin_cos()).collect();
        for input in 0..=inputs {
            let of = |channel: usize| {
                f64::from(if input < inputs { weight[channel * inputs + input] } else { bias[channel] })
            };
            let pairs = turns.iter().enumerate().map(|(i, &(sin, cos))| {
                let first = 2 * (axis * quarter + i);
                [of(first) * cos - of(first + 1) * sin, of(first) * sin + of(first + 1) * cos]
            });
            matrices.extend(pairs.clone().map(|[first, _]| first as f32));
            matrices.extend(pairs.map(|[_, second]| second as f32));
        }
    }
    matrices
}

/// Of the pairs of one axis.
fn frequencies(channels: usize, theta: f32) -> impl Iterator<Item = f32> {
    (0..channels / 4).map(move |i| 1.0 / theta.powf((4 * i) as f32 / channels as f32))
}

/// The rows of a weight `[channels, ..]` or bias `[channels]` with the first numbers of all pairs before the second ones.
pub(crate) fn pairs_apart(weight: &Tensor) -> Result<Tensor> {
    let channels = weight.dims().first().copied().unwrap_or(0);
    let order = (0..channels).step_by(2).chain((1..channels).step_by(2));
    let rows = order.map(|row| weight.narrow(row, 1)).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::stack_rows(&rows)?)
}
