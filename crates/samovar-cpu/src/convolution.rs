//! Dense convolutions: matrix products whose rows are gathered from the image, strip by strip.

use std::ops::Range;

use samovar_tensor::{Conv2d, Conv2dGeometry, Epilogue, Result, Tensor};

use crate::gemm::finish::Finish;
use crate::gemm::int8;
use crate::gemm::output::Output;
use crate::gemm::pack::PackedMatrix;
use crate::gemm::pack_int8::Int8Panels;
use crate::gemm::product::product;
use crate::gemm::rows::{Matrix, RowSource, copy_row};
use crate::routes::choice::FloatProduct;
use crate::simd::Simd;
use crate::simd::dot::Dot;
use crate::threads::Threads;

/// Weights `[outputs, inputs, kernel, kernel]` in the order rows are gathered: `[outputs, kernel, kernel, inputs]`.
pub(crate) fn by_tap<T: Copy>(weight: &[T], outputs: usize, inputs: usize, kernel: usize) -> Vec<T> {
    let taps = kernel * kernel;
    let mut ordered = Vec::with_capacity(weight.len());
    for output in 0..outputs {
        for tap in 0..taps {
            ordered.extend((0..inputs).map(|input| weight[(output * inputs + input) * taps + tap]));
        }
    }
    ordered
}

pub(crate) fn conv2d<S: Simd>(
    threads: &Threads,
    s: S,
    route: FloatProduct,
    x: &Tensor,
    layer: &Conv2d,
    epilogue: &Epilogue,
    out: &mut Tensor,
) -> Result<()> {
    let weights = layer.weight().get::<PackedMatrix>("weights", "cpu")?.panels::<S>()?;
    let finish = Finish::new(layer.bias(), epilogue)?;
    let pixels = Pixels::new(x, layer, out)?;
    let rows = out.shape().rows();
    let out = Output::new(out.f32_mut()?, layer.outputs());
    match pixels.as_matrix() {
        Some(matrix) => product(threads, s, route, &matrix, rows, &weights, &finish, out),
        None => product(threads, s, route, &pixels, rows, &weights, &finish, out),
    }
    Ok(())
}

/// The same with 8-bit weights.
pub(crate) fn conv2d_int8<D: Dot>(
    threads: &Threads,
    d: D,
    x: &Tensor,
    layer: &Conv2d,
    weights: &Int8Panels,
    epilogue: &Epilogue,
    out: &mut Tensor,
) -> Result<()> {
    let finish = Finish::new(layer.bias(), epilogue)?;
    let pixels = Pixels::new(x, layer, out)?;
    let rows = out.shape().rows();
    let out = Output::new(out.f32_mut()?, layer.outputs());
    match pixels.as_matrix() {
        Some(matrix) => int8::product(threads, d, &matrix, rows, weights, &finish, out),
        None => int8::product(threads, d, &pixels, rows, weights, &finish, out),
    }
    Ok(())
}

/// The pixels under the kernel, one row for every output pixel, ordered kernel row, kernel column, channel.
struct Pixels<'a> {
    values: &'a [f32],
    height: usize,
    width: usize,
    channels: usize,
    out_height: usize,
    out_width: usize,
    geometry: Conv2dGeometry,
}

impl<'a> Pixels<'a> {
    fn new(x: &'a Tensor, layer: &Conv2d, out: &Tensor) -> Result<Self> {
        let [_, height, width, channels] = x.shape().fixed("conv2d")?;
        let [_, out_height, out_width, _] = out.shape().fixed("conv2d")?;
        let geometry = layer.geometry();
        Ok(Self { values: x.f32()?, height, width, channels, out_height, out_width, geometry })
    }

    /// The pixels themselves, when each of them is a row.
    fn as_matrix(&self) -> Option<Matrix<'a>> {
        let g = self.geometry;
        let plain = g.kernel == 1 && g.stride == 1 && g.padding == 0;
        plain.then_some(Matrix { values: self.values, stride: self.channels })
    }
}

impl RowSource for Pixels<'_> {
    #[inline(always)]
    unsafe fn copy<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        depth: Range<usize>,
        to: *mut f32,
        stride: usize,
    ) {
        let g = &self.geometry;
        // Taps that lie side by side in the image are copied as one stretch.
        let taps = if g.dilation == 1 { g.kernel } else { 1 };
        let stretch_len = taps * self.channels;
        for (r, row) in rows.enumerate() {
            let (line, ox) = (row / self.out_width, row % self.out_width);
            let (b, oy) = (line / self.out_height, line % self.out_height);
            let mut position = depth.start;
            while position < depth.end {
                let (stretch, offset) = (position / stretch_len, position % stretch_len);
                let len = (stretch_len - offset).min(depth.end - position);
                let tap = stretch * taps;
                let y = (oy * g.stride + tap / g.kernel * g.dilation) as isize - g.padding as isize;
                let x = (ox * g.stride + tap % g.kernel * g.dilation) as isize - g.padding as isize;
                let inside_y = (0..self.height as isize).contains(&y);
                // Numbers of the stretch that lie in the image.
                let first = (-x).clamp(0, taps as isize) as usize * self.channels;
                let end = (self.width as isize - x).clamp(0, taps as isize) as usize * self.channels;
                let (first, end) =
                    if inside_y && first < end { (first, end) } else { (stretch_len, stretch_len) };
                let first = first.clamp(offset, offset + len);
                let end = end.clamp(first, offset + len);
                // SAFETY: the caller's promise: `depth.len()` numbers of the row are writable.
                unsafe {
                    let to = to.add(r * stride + position - depth.start);
                    std::slice::from_raw_parts_mut(to, first - offset).fill(0.0);
                    if first < end {
                        let line = (b * self.height + y as usize) * self.width;
                        // `x` may lie left of the image; with `first` added the index does not.
                        let start = ((line as isize + x) * self.channels as isize + first as isize) as usize;
                        copy_row(s, &self.values[start..][..end - first], to.add(first - offset));
                    }
                    std::slice::from_raw_parts_mut(to.add(end - offset), offset + len - end).fill(0.0);
                }
                position += len;
            }
        }
    }
}
