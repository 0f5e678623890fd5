//! The largest numbers of rows, and rows by their places.

use crate::{Result, Rows, Tensor};

pub(super) fn top_k(x: &Tensor, k: usize, out: &mut Tensor) -> Result<()> {
    let columns = x.shape().channels();
    let values = x.f32()?;
    for (row, to) in values.chunks_exact(columns).zip(out.f32_mut()?.chunks_exact_mut(2 * k)) {
        let rank = |&place: &usize| if row[place].is_nan() { f32::NEG_INFINITY } else { row[place] };
        let mut places: Vec<usize> = (0..columns).collect();
        // Stable: of equal numbers the first comes first.
        places.sort_by(|a, b| rank(b).partial_cmp(&rank(a)).expect("ranks are numbers"));
        for (i, &place) in places[..k].iter().enumerate() {
            to[i] = row[place];
            to[k + i] = place as f32;
        }
    }
    Ok(())
}

pub(super) fn gather_rows(x: &Tensor, places: &Rows, out: &mut Tensor) -> Result<()> {
    let [batch, count, channels] = out.shape().fixed("gather_rows")?;
    let [x_batch, rows, _] = x.shape().fixed("gather_rows")?;
    let (values, all_places) = (x.f32()?, places.tensor.f32()?);
    let y_values = out.f32_mut()?;
    for b in 0..batch {
        for i in 0..count {
            let place = all_places[b * places.stride() + places.first_column + i];
            let row = b % x_batch * rows + (place as usize).min(rows - 1);
            y_values[(b * count + i) * channels..][..channels]
                .copy_from_slice(&values[row * channels..][..channels]);
        }
    }
    Ok(())
}
