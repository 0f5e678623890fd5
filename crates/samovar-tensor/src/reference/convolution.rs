//! Convolutions.

use super::elementwise::finish;
use super::matrix::{Matrix, quantised_product};
use crate::{Conv2d, Epilogue, Result, Tensor};

pub(super) fn conv2d(x: &Tensor, layer: &Conv2d, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
    let [batch, height, width, inputs] = x.shape().fixed("conv2d")?;
    let [_, out_height, out_width, outputs] = out.shape().fixed("conv2d")?;
    let g = layer.geometry;
    let (inputs_per_group, outputs_per_group) = (inputs / g.groups, outputs / g.groups);
    let weight: &Matrix = layer.weight.get("conv2d", "reference")?;
    if let Some(scales) = &weight.scales {
        return quantised(x, layer, [&weight.values, scales], epilogue, out);
    }
    let weight = weight.values.f32()?;
    let bias = layer.bias.as_ref().map(Tensor::f32).transpose()?;
    let x_values = x.f32()?;
    let y_values = out.f32_mut()?;
    // Input index of an output and a tap, or `None` in the padding.
    let source = |output: usize, tap: usize, side: usize| {
        (output * g.stride + tap * g.dilation).checked_sub(g.padding).filter(|&i| i < side)
    };
    for b in 0..batch {
        for oy in 0..out_height {
            for ox in 0..out_width {
                for o in 0..outputs {
                    let mut sum = 0.0f64;
                    for ky in 0..g.kernel {
                        for kx in 0..g.kernel {
                            let (Some(iy), Some(ix)) = (source(oy, ky, height), source(ox, kx, width)) else {
                                continue;
                            };
                            for i in 0..inputs_per_group {
                                let channel = o / outputs_per_group * inputs_per_group + i;
                                let pixel = x_values[((b * height + iy) * width + ix) * inputs + channel];
                                let tap = ((o * inputs_per_group + i) * g.kernel + ky) * g.kernel + kx;
                                sum += f64::from(pixel) * f64::from(weight[tap]);
                            }
                        }
                    }
                    let index = ((b * out_height + oy) * out_width + ox) * outputs + o;
                    y_values[index] = sum as f32 + bias.map_or(0.0, |bias| bias[o]);
                }
            }
        }
    }
    finish(epilogue, out)
}

/// A dense convolution with 8-bit weights: what lies under the kernel is one row, padding included, in the order of the
/// weights.
fn quantised(
    x: &Tensor,
    layer: &Conv2d,
    [weight, scales]: [&Tensor; 2],
    epilogue: &Epilogue,
    out: &mut Tensor,
) -> Result<()> {
    let [batch, height, width, inputs] = x.shape().fixed("conv2d")?;
    let [_, out_height, out_width, outputs] = out.shape().fixed("conv2d")?;
    let g = layer.geometry;
    let bias = layer.bias.as_ref().map(Tensor::f32).transpose()?;
    let x_values = x.f32()?;
    let y_values = out.f32_mut()?;
    let source = |output: usize, tap: usize, side: usize| {
        (output * g.stride + tap * g.dilation).checked_sub(g.padding).filter(|&i| i < side)
    };
    let mut row = Vec::with_capacity(inputs * g.kernel * g.kernel);
    for (index, y_row) in y_values.chunks_exact_mut(outputs).enumerate().take(batch * out_height * out_width)
    {
        let (line, ox) = (index / out_width, index % out_width);
        let (b, oy) = (line / out_height, line % out_height);
        row.clear();
        for i in 0..inputs {
            for ky in 0..g.kernel {
                for kx in 0..g.kernel {
                    let place = source(oy, ky, height).zip(source(ox, kx, width));
                    let pixel = |(iy, ix)| x_values[((b * height + iy) * width + ix) * inputs + i];
                    row.push(place.map_or(0.0, pixel));
                }
            }
        }
        quantised_product(&row, weight, scales, y_row)?;
        y_row.iter_mut().enumerate().for_each(|(o, y)| *y += bias.map_or(0.0, |bias| bias[o]));
    }
    finish(epilogue, out)
}

pub(super) fn depth_to_space(x: &Tensor, factor: usize, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
    let [batch, height, width, _] = x.shape().fixed("depth_to_space")?;
    let channels = out.shape().channels();
    let x_values = x.f32()?;
    let y_values = out.f32_mut()?;
    for b in 0..batch {
        for y in 0..factor * height {
            for x in 0..factor * width {
                let tap = y % factor * factor + x % factor;
                let from =
                    (((b * height + y / factor) * width + x / factor) * factor * factor + tap) * channels;
                let to = ((b * factor * height + y) * factor * width + x) * channels;
                y_values[to..to + channels].copy_from_slice(&x_values[from..from + channels]);
            }
        }
    }
    finish(epilogue, out)
}
