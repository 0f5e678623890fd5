//! Resizing and pooling of channels-last maps.

use crate::{ResizeMode, Result, Rows, Tensor};

pub(super) fn resize(x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()> {
    let [batch, height, width, channels] = x.shape().fixed("resize")?;
    let [_, out_height, out_width, _] = out.shape().fixed("resize")?;
    let values = x.f32()?;
    let y_values = out.f32_mut()?;
    for b in 0..batch {
        for oy in 0..out_height {
            let (y0, y1, fy) = taps(oy, out_height, height, mode);
            for ox in 0..out_width {
                let (x0, x1, fx) = taps(ox, out_width, width, mode);
                for c in 0..channels {
                    let at = |y: usize, x: usize| values[((b * height + y) * width + x) * channels + c];
                    let upper = at(y0, x0) * (1.0 - fx) + at(y0, x1) * fx;
                    let lower = at(y1, x0) * (1.0 - fx) + at(y1, x1) * fx;
                    let index = ((b * out_height + oy) * out_width + ox) * channels + c;
                    y_values[index] = upper * (1.0 - fy) + lower * fy;
                }
            }
        }
    }
    Ok(())
}

pub(super) fn max_pool2d(x: &Rows, factor: usize, out: &mut Tensor) -> Result<()> {
    let [_, height, width, columns] = x.tensor.shape().fixed("max_pool2d")?;
    let [batch, out_height, out_width, channels] = out.shape().fixed("max_pool2d")?;
    let values = x.tensor.f32()?;
    let y_values = out.f32_mut()?;
    for b in 0..batch {
        for oy in 0..out_height {
            for ox in 0..out_width {
                for c in 0..channels {
                    let cells =
                        (0..factor * factor).map(|i| (factor * oy + i / factor, factor * ox + i % factor));
                    let of_square = cells.map(|(y, x_)| {
                        values[((b * height + y) * width + x_) * columns + x.first_column + c]
                    });
                    y_values[((b * out_height + oy) * out_width + ox) * channels + c] =
                        of_square.fold(f32::NEG_INFINITY, f32::max);
                }
            }
        }
    }
    Ok(())
}

/// The two input cells around an output cell, and the weight of the second.
fn taps(output: usize, out_side: usize, side: usize, mode: ResizeMode) -> (usize, usize, f32) {
    let scale = side as f32 / out_side as f32;
    match mode {
        ResizeMode::Nearest => {
            let index = ((output as f32 * scale) as usize).min(side - 1);
            (index, index, 0.0)
        }
        ResizeMode::Bilinear => {
            let position = ((output as f32 + 0.5) * scale - 0.5).max(0.0);
            let first = (position as usize).min(side - 1);
            (first, (first + 1).min(side - 1), position - first as f32)
        }
    }
}
