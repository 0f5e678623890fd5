//! How weights lie in a card's memory: rows of one output each, whose ends are filled up with zeros to whole 16-byte words.

use std::sync::Arc;

use samovar_tensor::{
    Conv2dGeometry, DType, Error, PackRequest, Packed, PackedSize, Pool, Precision, Result, Shape, Tensor,
};

/// The layout's name; whoever changes it changes this.
pub(crate) const LAYOUT: &str = "cuda rows 1";

/// Bytes to whose multiple rows are filled up, so that they can be copied to shared memory.
const WORD_BYTES: usize = 16;

/// A matrix `[outputs, depth]` on the card.
pub(crate) struct CudaWeights {
    /// Rows of `stride` elements; of a depthwise convolution `[taps, channels]`.
    pub(crate) values: Tensor,
    /// Of 8-bit weights: the factor of every output, then the sum of its row.
    pub(crate) scales: Option<Tensor>,
    pub(crate) precision: Precision,
    /// Elements from row to row.
    pub(crate) stride: usize,
}

/// Elements from row to row.
fn stride(depth: usize, precision: Precision) -> usize {
    depth.next_multiple_of(WORD_BYTES / precision.dtype().size_bytes())
}

fn is_depthwise(geometry: &Conv2dGeometry) -> bool {
    geometry.groups > 1
}

/// What packing takes.
pub(crate) fn packed_size(request: &PackRequest) -> PackedSize {
    let matrix = |outputs: usize, depth: usize, precision: Precision| {
        let values = outputs * stride(depth, precision) * precision.dtype().size_bytes();
        let scales = if precision == Precision::Int8 { outputs * 2 * size_of::<f32>() } else { 0 };
        [values, scales]
    };
    let kept_bytes = match *request {
        PackRequest::Linear { outputs, inputs, precision } => matrix(outputs, inputs, precision),
        PackRequest::Conv2d { outputs, inputs, geometry, precision } => {
            let taps = geometry.kernel * geometry.kernel;
            if is_depthwise(&geometry) {
                [taps * outputs * size_of::<f32>(), 0]
            } else {
                matrix(outputs, taps * inputs, precision)
            }
        }
        // Composed of the core.
        PackRequest::MaskHead { .. } => [0, 0],
    };
    PackedSize { kept_bytes, temporary_bytes: kept_bytes.iter().sum() }
}

/// Packs `[outputs, inputs]`.
pub(crate) fn pack_linear(pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
    let [outputs, inputs] = weight.shape().fixed("linear weight")?;
    pack(pool, weight, outputs, inputs, |k| k)
}

/// Packs `[outputs, inputs / groups, kernel, kernel]`, the channels of a tap side by side.
pub(crate) fn pack_conv2d(pool: &Arc<Pool>, weight: &Tensor, geometry: &Conv2dGeometry) -> Result<Packed> {
    let [outputs, inputs, ..] = weight.shape().fixed::<4>("conv2d weight")?;
    let taps = geometry.kernel * geometry.kernel;
    if !is_depthwise(geometry) {
        return pack(pool, weight, outputs, taps * inputs, |k| k % inputs.max(1) * taps + k / inputs.max(1));
    }
    let from = weight.to_f32()?;
    let mut bytes = Vec::with_capacity(4 * from.len());
    for tap in 0..taps {
        bytes.extend((0..outputs).flat_map(|channel| from[channel * taps + tap].to_le_bytes()));
    }
    let values = upload(pool, Shape::new(&[taps, outputs]), DType::F32, &bytes)?;
    let size_bytes = values.size_bytes();
    let (precision, stride) = (Precision::F32, outputs);
    Ok(Packed::new(CudaWeights { values, scales: None, precision, stride }, size_bytes))
}

/// Packs rows of `depth` numbers, of which place `k` holds the one that `source` names.
fn pack(
    pool: &Arc<Pool>,
    weight: &Tensor,
    outputs: usize,
    depth: usize,
    source: impl Fn(usize) -> usize,
) -> Result<Packed> {
    let precision = Precision::of_dtype(weight.dtype());
    let dtype = precision.dtype();
    let (size, stride) = (dtype.size_bytes(), stride(depth, precision));
    // Integers other than 8-bit ones, and 64-bit floats, come as f32.
    let converted;
    let from = if weight.dtype() == dtype {
        weight.raw().ok_or(Error::NoValues { shape: *weight.shape() })?
    } else {
        let values = weight.to_f32_vec()?;
        converted = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        &converted
    };
    let mut bytes = vec![0u8; outputs * stride * size];
    for output in 0..outputs {
        let row = &from[output * depth * size..][..depth * size];
        let to = &mut bytes[output * stride * size..][..depth * size];
        for (k, to) in to.chunks_exact_mut(size).enumerate() {
            to.copy_from_slice(&row[source(k) * size..][..size]);
        }
    }
    let values = upload(pool, Shape::new(&[outputs, stride]), dtype, &bytes)?;
    let scales = match (precision, weight.scales()) {
        (Precision::Int8, Some(scales)) => {
            let sums =
                from.chunks_exact(depth.max(1)).map(|row| row.iter().map(|&w| i32::from(w as i8)).sum());
            let sums = sums.chain(std::iter::repeat(0i32)).take(outputs);
            let both: Vec<u8> =
                scales.iter().flat_map(|s| s.to_le_bytes()).chain(sums.flat_map(i32::to_le_bytes)).collect();
            Some(upload(pool, Shape::new(&[2, outputs]), DType::F32, &both)?)
        }
        (Precision::Int8, None) => {
            return Err(Error::Backend {
                device: "cuda".into(),
                what: "8-bit weights without scales".into(),
            });
        }
        _ => None,
    };
    let size_bytes = values.size_bytes() + scales.as_ref().map_or(0, Tensor::size_bytes);
    Ok(Packed::new(CudaWeights { values, scales, precision, stride }, size_bytes))
}

fn upload(pool: &Arc<Pool>, shape: Shape, dtype: DType, bytes: &[u8]) -> Result<Tensor> {
    let tensor = Tensor::allocate(pool, shape, dtype)?;
    if let (Some((block, offset_bytes)), Some(memory)) = (tensor.block(), pool.memory()) {
        memory.upload(block, offset_bytes, bytes)?;
    }
    Ok(tensor)
}
