//! Weights as shaders read them: rows filled up to whole groups of four numbers, in the precision they have.

use std::sync::Arc;

use samovar_tensor::{
    Conv2dGeometry, DType, Error, Memory, PackRequest, Packed, PackedSize, Pool, Precision, Result, Shape,
    Tensor,
};

use crate::backend::Backend;

/// How [`pack`] orders weights.
pub(crate) const LAYOUT: &str = "wgpu: rows of fours, convolutions by tap";

/// Numbers of a group.
const GROUP: usize = 4;

/// Weights on the device.
pub(crate) struct WgpuPacked {
    /// `[outputs, row]`, or `[taps, channels]` of depthwise convolutions; `None` for none.
    pub(crate) weights: Option<Tensor>,
    /// Of 8-bit weights, one per output.
    pub(crate) scales: Option<Tensor>,
    /// Numbers of a row, with what it is filled up by.
    pub(crate) row: usize,
    pub(crate) precision: Precision,
}

fn is_depthwise(geometry: &Conv2dGeometry) -> bool {
    geometry.groups > 1
}

/// What packing takes.
pub(crate) fn packed_size(request: &PackRequest) -> PackedSize {
    let matrix = |outputs: usize, inputs: usize, precision: Precision| {
        let numbers = outputs * inputs.next_multiple_of(GROUP);
        let scales = if precision == Precision::Int8 { outputs * DType::F32.size_bytes() } else { 0 };
        [numbers * precision.dtype().size_bytes(), scales]
    };
    let kept_bytes = match *request {
        PackRequest::Linear { outputs, inputs, precision } => matrix(outputs, inputs, precision),
        PackRequest::Conv2d { outputs, geometry, .. } if is_depthwise(&geometry) => {
            [outputs * geometry.kernel * geometry.kernel * DType::F32.size_bytes(), 0]
        }
        PackRequest::Conv2d { outputs, inputs, geometry, precision } => {
            matrix(outputs, inputs * geometry.kernel * geometry.kernel, precision)
        }
        // Composed from convolutions.
        PackRequest::MaskHead { .. } => [0, 0],
    };
    PackedSize { kept_bytes, temporary_bytes: kept_bytes[0] }
}

/// A matrix `[outputs, inputs]`.
pub(crate) fn linear(backend: &Backend, pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
    let [_, inputs] = weight.shape().fixed("linear weight")?;
    pack(backend, pool, weight, inputs, |number| number)
}

/// A convolution `[outputs, inputs / groups, kernel, kernel]`: rows go by tap, then by channel.
pub(crate) fn conv2d(
    backend: &Backend,
    pool: &Arc<Pool>,
    weight: &Tensor,
    geometry: &Conv2dGeometry,
) -> Result<Packed> {
    let [outputs, inputs, kernel, _] = weight.shape().fixed("conv2d weight")?;
    let taps = kernel * kernel;
    if !is_depthwise(geometry) {
        return pack(backend, pool, weight, inputs * taps, |number| {
            let (tap, input) = (number / inputs, number % inputs);
            input * taps + tap
        });
    }
    let source = weight.to_f32()?;
    let by_tap: Vec<f32> =
        (0..taps * outputs).map(|number| source[number % outputs * taps + number / outputs]).collect();
    let weights = keep(backend, pool, bytemuck::cast_slice(&by_tap))?;
    let size_bytes = by_tap.len() * DType::F32.size_bytes();
    let packed = WgpuPacked { weights, scales: None, row: outputs, precision: Precision::F32 };
    Ok(Packed::new(packed, size_bytes))
}

/// Rows of `inputs` numbers, of which number `i` comes from `source(i)` of the weight's row.
fn pack(
    backend: &Backend,
    pool: &Arc<Pool>,
    weight: &Tensor,
    inputs: usize,
    source: impl Fn(usize) -> usize,
) -> Result<Packed> {
    let (outputs, row) = (weight.dims()[0], inputs.next_multiple_of(GROUP));
    let precision = Precision::of_dtype(weight.dtype());
    let as_f32;
    let (from, size_bytes) = if precision == Precision::F32 {
        // Other types, and numbers that lie where no f32 may.
        as_f32 = weight.to_f32()?;
        (bytemuck::cast_slice::<f32, u8>(&as_f32), DType::F32.size_bytes())
    } else {
        let bytes = weight.raw().ok_or(Error::NoValues { shape: *weight.shape() })?;
        (bytes, precision.dtype().size_bytes())
    };
    let mut to = vec![0u8; outputs * row * size_bytes];
    if inputs > 0 {
        for (from, to) in from.chunks_exact(inputs * size_bytes).zip(to.chunks_exact_mut(row * size_bytes)) {
            for (i, to) in to.chunks_exact_mut(size_bytes).take(inputs).enumerate() {
                to.copy_from_slice(&from[source(i) * size_bytes..][..size_bytes]);
            }
        }
    }
    let weights = keep(backend, pool, &to)?;
    let scales = match (precision, weight.scales()) {
        (Precision::Int8, Some(scales)) => keep(backend, pool, bytemuck::cast_slice(scales))?,
        (Precision::Int8, None) => {
            return Err(backend.gpu().failure("8-bit weights without scales"));
        }
        _ => None,
    };
    let size_bytes = [&weights, &scales].into_iter().flatten().map(Tensor::size_bytes).sum();
    Ok(Packed::new(WgpuPacked { weights, scales, row, precision }, size_bytes))
}

/// Bytes in memory of the pool.
fn keep(backend: &Backend, pool: &Arc<Pool>, bytes: &[u8]) -> Result<Option<Tensor>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let tensor = Tensor::allocate(pool, Shape::new(&[bytes.len()]), DType::U8)?;
    let (block, offset_bytes) = tensor.block().ok_or(Error::NoValues { shape: *tensor.shape() })?;
    backend.memory.upload(block, offset_bytes, bytes)?;
    Ok(Some(tensor))
}
