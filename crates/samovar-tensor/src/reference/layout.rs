//! Operators that only move values.

use crate::{Result, Tensor};

pub(super) fn concat(parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()> {
    let out_dims = out.dims().to_vec();
    let inner: usize = out_dims[axis + 1..].iter().product();
    let outer: usize = out_dims[..axis].iter().product();
    let out_stride = out_dims[axis] * inner;
    let y_values = out.f32_mut()?;
    let mut start = 0;
    for part in parts {
        let stride = part.dims()[axis] * inner;
        let values = part.f32()?;
        for o in 0..outer {
            // A part of batch 1 has fewer outer entries than the result, and repeats.
            let source = (o * stride) % values.len().max(1);
            y_values[o * out_stride + start..][..stride].copy_from_slice(&values[source..source + stride]);
        }
        start += stride;
    }
    Ok(())
}

pub(super) fn slice(x: &Tensor, axis: usize, start: usize, out: &mut Tensor) -> Result<()> {
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let stride = x.dims()[axis] * inner;
    let len = out.dims()[axis] * inner;
    if len == 0 {
        return Ok(());
    }
    let values = x.f32()?;
    for (o, chunk) in out.f32_mut()?.chunks_exact_mut(len).enumerate() {
        chunk.copy_from_slice(&values[o * stride + start * inner..][..len]);
    }
    Ok(())
}

pub(super) fn transpose(x: &Tensor, out: &mut Tensor) -> Result<()> {
    let channels = x.shape().channels();
    let batch = x.dims()[0];
    let rows = x.shape().rows() / batch.max(1);
    let values = x.f32()?;
    let y_values = out.f32_mut()?;
    for b in 0..batch {
        for row in 0..rows {
            for c in 0..channels {
                y_values[(b * channels + c) * rows + row] = values[(b * rows + row) * channels + c];
            }
        }
    }
    Ok(())
}
