//! Attention to places of maps.

use crate::{DeformableAttention, Result, Tensor};

pub(super) fn deformable_attention(a: &DeformableAttention, out: &mut Tensor) -> Result<()> {
    let [batch, queries, columns] = out.shape().fixed("deformable_attention")?;
    let (heads, channels) = (a.heads, columns / a.heads);
    let cells = a.values.dims()[1];
    let points: usize = a.maps.iter().map(|map| map.points).sum();
    let (values, boxes) = (a.values.f32()?, a.boxes.f32()?);
    let (offsets, logits) = (a.offsets.tensor.f32()?, a.logits.tensor.f32()?);
    let y_values = out.f32_mut()?;
    for row in 0..batch * queries {
        let of_image = row / queries * cells * columns;
        let [x, y, width, height] = [0, 1, 2, 3].map(|i| boxes[4 * row + i]);
        for head in 0..heads {
            let logits = &logits[row * a.logits.stride() + a.logits.first_column + head * points..][..points];
            let offsets = &offsets[row * a.offsets.stride() + a.offsets.first_column + 2 * head * points..];
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for c in 0..channels {
                let (mut total, mut point, mut first) = (0.0, 0, of_image);
                for map in a.maps {
                    for _ in 0..map.points {
                        let place = [x + offsets[2 * point] * width, y + offsets[2 * point + 1] * height];
                        let cell = |r: usize, k: usize| {
                            values[first + (r * map.columns + k) * columns + head * channels + c]
                        };
                        total += weights[point] / sum * sample(place, [map.rows, map.columns], cell);
                        point += 1;
                    }
                    first += map.rows * map.columns * columns;
                }
                y_values[row * columns + head * channels + c] = total as f32;
            }
        }
    }
    Ok(())
}

/// What lies at a place of a map that reaches from 0 to 1, between the centres of its cells; zero outside.
fn sample([x, y]: [f32; 2], [rows, columns]: [usize; 2], cell: impl Fn(usize, usize) -> f32) -> f64 {
    // In f32, as upstream: which cells a place lies between is part of the model.
    let (x, y) = (x * columns as f32 - 0.5, y * rows as f32 - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (right_share, lower_share) = (f64::from(x - left), f64::from(y - top));
    let mut total = 0.0;
    for (row, of_row) in [(top, 1.0 - lower_share), (top + 1.0, lower_share)] {
        for (column, of_column) in [(left, 1.0 - right_share), (left + 1.0, right_share)] {
            let inside = (0.0..rows as f32).contains(&row) && (0.0..columns as f32).contains(&column);
            if inside {
                total += of_row * of_column * f64::from(cell(row as usize, column as usize));
            }
        }
    }
    total
}
