//! Depthwise convolutions: one filter per channel, vectors along the channels.

use std::sync::Arc;

use samovar_tensor::{Conv2d, DType, Epilogue, Packed, Pool, Result, Shape, Tensor};

use crate::gemm::Output;
use crate::gemm::finish::Finish;
use crate::simd::{Simd, put, take};
use crate::threads::Threads;

/// Weights as [`Packed`] holds them: `[kernel · kernel, channels]`.
struct Taps(Tensor);

/// Orders `[channels, 1, kernel, kernel]` for [`conv2d`].
pub(crate) fn pack(pool: &Arc<Pool>, weight: &[f32], channels: usize, kernel: usize) -> Result<Packed> {
    let taps = kernel * kernel;
    let mut values = Tensor::allocate(pool, Shape::new(&[taps, channels]), DType::F32)?;
    for (tap, row) in values.f32_mut()?.chunks_exact_mut(channels.max(1)).enumerate() {
        row.iter_mut().enumerate().for_each(|(c, to)| *to = weight[c * taps + tap]);
    }
    let size_bytes = values.size_bytes();
    Ok(Packed::new(Taps(values), size_bytes))
}

pub(crate) fn conv2d<S: Simd>(
    threads: &Threads,
    s: S,
    x: &Tensor,
    layer: &Conv2d,
    epilogue: &Epilogue,
    out: &mut Tensor,
) -> Result<()> {
    let [batch, height, width, channels] = x.shape().fixed("conv2d")?;
    let [_, out_height, out_width, _] = out.shape().fixed("conv2d")?;
    let g = layer.geometry;
    let weights = layer.weight.get::<Taps>().0.f32()?;
    let finish = Finish::new(layer.bias.as_ref(), epilogue)?;
    let values = x.f32()?;
    let vectors = out.shape().rows() * channels.div_ceil(S::LANES);
    let out = Output::new(out.f32_mut()?, channels);
    let cycles = (vectors * (2 * g.kernel * g.kernel + 6)) as u64;
    // Taps that lie inside the image, for an output line or column.
    let inside = move |output: usize, side: usize| {
        let start = (output * g.stride) as isize - g.padding as isize;
        let first = (-start).max(0) as usize;
        let first = first.div_ceil(g.dilation).min(g.kernel);
        let end = (side as isize - start).max(0) as usize;
        (start, first..end.div_ceil(g.dilation).clamp(first, g.kernel))
    };
    threads.run(batch * out_height, cycles, |line, scratch| {
        let [sums] = scratch.split([channels]);
        let (b, oy) = (line / out_height, line % out_height);
        let (y, rows) = inside(oy, height);
        s.vectorize(
            #[inline(always)]
            || {
                for ox in 0..out_width {
                    let (x, columns) = inside(ox, width);
                    for c in (0..channels).step_by(S::LANES) {
                        let n = S::LANES.min(channels - c);
                        // SAFETY: `n` numbers are left of the channels.
                        let mut sum = match finish.bias {
                            Some(bias) => unsafe { take(s, bias[c..].as_ptr(), n) },
                            None => s.splat(0.0),
                        };
                        for ky in rows.clone() {
                            let iy = (y + (ky * g.dilation) as isize) as usize;
                            for kx in columns.clone() {
                                let ix = (x + (kx * g.dilation) as isize) as usize;
                                let pixel = &values[((b * height + iy) * width + ix) * channels + c..][..n];
                                let tap = &weights[(ky * g.kernel + kx) * channels + c..][..n];
                                // SAFETY: slices of `n` numbers.
                                unsafe {
                                    sum = s.fma(take(s, pixel.as_ptr(), n), take(s, tap.as_ptr(), n), sum);
                                }
                            }
                        }
                        // SAFETY: `n` numbers are left of the channels.
                        unsafe { put(s, sums[c..].as_mut_ptr(), sum, n) };
                    }
                    let row = line * out_width + ox;
                    // SAFETY: every task writes its own line of the result.
                    unsafe {
                        finish.row(s, sums.as_ptr(), row, out);
                    }
                }
            },
        );
    });
    Ok(())
}
