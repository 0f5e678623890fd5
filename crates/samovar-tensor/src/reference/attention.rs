//! Multi-head attention, one query at a time.

use super::linear::dot;
use crate::{Attention, AttentionBias, Result, Tensor, TokenLayout};

pub(super) fn attention(a: &Attention, out: &mut Tensor) -> Result<()> {
    let (q, k, v) = (a.q.tensor.f32()?, a.k.tensor.f32()?, a.v.tensor.f32()?);
    let bias = Bias::new(a)?;
    let padding = match a.layout {
        TokenLayout::Windows { padding: Some(row), .. } => Some(row.f32()?),
        _ => None,
    };
    let out_columns = a.heads * a.value_channels;
    let y_values = out.f32_mut()?;
    for group in groups(&a.layout) {
        for (query, &query_row) in group.query_rows.iter().enumerate() {
            let Some(query_row) = query_row else { continue };
            for head in 0..a.heads {
                let q_start = query_row * a.q.stride() + a.q.first_column + head * a.head_channels;
                let q_head = &q[q_start..][..a.head_channels];
                let k_first = a.k.first_column + head * a.head_channels;
                let mut logits = Vec::with_capacity(group.key_rows.len());
                for (key, &key_row) in group.key_rows.iter().enumerate() {
                    let k_head = &row(k, a.k.stride(), key_row, padding)[k_first..][..a.head_channels];
                    logits.push(a.scale * dot(q_head, k_head) + bias.at(head, q_head, query, key));
                }
                let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weights: Vec<f64> =
                    logits.iter().map(|&logit| f64::from(logit - largest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for c in 0..a.value_channels {
                    let column = a.v.first_column + head * a.value_channels + c;
                    let weighted = weights.iter().zip(&group.key_rows).map(|(weight, &key_row)| {
                        weight * f64::from(row(v, a.v.stride(), key_row, padding)[column])
                    });
                    y_values[query_row * out_columns + head * a.value_channels + c] =
                        (weighted.sum::<f64>() / sum) as f32;
                }
            }
        }
    }
    Ok(())
}

/// A row of keys or values; `None` is a padding token.
fn row<'a>(values: &'a [f32], stride: usize, row: Option<usize>, padding: Option<&'a [f32]>) -> &'a [f32] {
    match row {
        Some(row) => &values[row * stride..][..stride],
        None => padding.expect("checked: windows over the edge come with a padding row"),
    }
}

/// Tokens that share a softmax. `None` is a padding token.
struct Group {
    query_rows: Vec<Option<usize>>,
    key_rows: Vec<Option<usize>>,
}

fn groups(layout: &TokenLayout) -> Vec<Group> {
    match *layout {
        TokenLayout::Sequence { batch, key_batch, queries, keys } => (0..batch)
            .map(|b| Group {
                query_rows: (0..queries).map(|i| Some(b * queries + i)).collect(),
                key_rows: (0..keys).map(|i| Some(b % key_batch * keys + i)).collect(),
            })
            .collect(),
        TokenLayout::Windows { batch, grid, window, query_stride, .. } => {
            let [height, width] = grid;
            let mut groups = Vec::new();
            for b in 0..batch {
                for top in (0..height).step_by(window) {
                    for left in (0..width).step_by(window) {
                        // Rows of a window of a grid that is `stride` times smaller.
                        let rows = |stride: usize| -> Vec<_> {
                            let [height, width] = grid.map(|side| side / stride);
                            let window = window / stride;
                            (0..window * window)
                                .map(|i| (top / stride + i / window, left / stride + i % window))
                                .map(|(y, x)| (y < height && x < width).then(|| (b * height + y) * width + x))
                                .collect()
                        };
                        groups.push(Group { query_rows: rows(query_stride), key_rows: rows(1) });
                    }
                }
            }
            groups
        }
    }
}

enum Bias<'a> {
    None,
    Relative { rows: &'a [f32], columns: &'a [f32], grid: [usize; 2] },
    Table { values: &'a [f32], queries: usize, keys: usize },
    KeyPositions { values: &'a [f32], stride: usize, scale: f32 },
}

impl<'a> Bias<'a> {
    fn new(a: &Attention<'a>) -> Result<Self> {
        Ok(match a.bias {
            AttentionBias::None => Bias::None,
            AttentionBias::RelativePosition { rows, columns, grid } => {
                Bias::Relative { rows: rows.f32()?, columns: columns.f32()?, grid }
            }
            AttentionBias::Table(table) => {
                let [_, queries, keys] = table.shape().fixed("attention")?;
                Bias::Table { values: table.f32()?, queries, keys }
            }
            AttentionBias::KeyPositions(positions) => Bias::KeyPositions {
                values: positions.f32()?,
                stride: positions.shape().channels(),
                scale: a.scale,
            },
        })
    }

    fn at(&self, head: usize, q: &[f32], query: usize, key: usize) -> f32 {
        match *self {
            Bias::None => 0.0,
            Bias::Table { values, queries, keys } => values[(head * queries + query) * keys + key],
            Bias::KeyPositions { values, stride, scale } => {
                scale * dot(q, &values[key * stride + head * q.len()..][..q.len()])
            }
            Bias::Relative { rows, columns, grid: [height, width] } => {
                let row = query / width + height - 1 - key / width;
                let column = query % width + width - 1 - key % width;
                dot(q, &rows[row * q.len()..][..q.len()]) + dot(q, &columns[column * q.len()..][..q.len()])
            }
        }
    }
}
