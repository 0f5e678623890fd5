//! Where the tensors of a file lie in its bytes: what the readers of formats find and a checkpoint hands out.

use std::collections::BTreeMap;
use std::sync::Arc;

use samovar_tensor::{DType, Shape, Tensor, WeightBytes};

/// Table of contents of one file.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) tensors: BTreeMap<String, Entry>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// What is no tensor, since something made it that is not known here: its class.
    pub(crate) foreign: BTreeMap<String, String>,
}

/// Where a tensor lies.
pub(crate) enum Entry {
    /// Values that can be read.
    Readable(Stored),
    /// Values that cannot; the model may well not need them.
    Unreadable(String),
}

/// What the values of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredType {
    /// What tensors can have.
    Same(DType),
    /// f64, which becomes f32.
    F64,
}

impl StoredType {
    fn size_bytes(self) -> usize {
        match self {
            StoredType::Same(dtype) => dtype.size_bytes(),
            StoredType::F64 => size_of::<f64>(),
        }
    }
}

/// A stretch of values; its bounds have been checked.
pub(crate) struct Stored {
    pub(crate) bytes: Arc<dyn WeightBytes>,
    pub(crate) offset_bytes: usize,
    pub(crate) shape: Shape,
    pub(crate) dtype: StoredType,
    /// Distance of neighbours along each dimension in elements, when the values are not contiguous.
    pub(crate) strides: Option<Vec<usize>>,
}

/// The shape a file states, or why no tensor here can have it.
pub(crate) fn shape_of(dims: &[usize]) -> std::result::Result<Shape, String> {
    // Nobody needs tensors without elements, and their other dimensions may be as absurd as one likes.
    if dims.contains(&0) {
        return Err(format!("shape {dims:?} has no elements"));
    }
    Shape::try_new(dims).ok_or_else(|| format!("shape {dims:?} has too many dimensions or elements"))
}

impl Stored {
    /// The values, read from their file where they lie in the order of the shape.
    pub(crate) fn tensor(&self) -> std::result::Result<Tensor, String> {
        let tensor = |bytes: Arc<dyn WeightBytes>, offset_bytes, dtype| {
            Tensor::from_weights(bytes, offset_bytes, self.shape, dtype).map_err(|error| error.to_string())
        };
        match (self.dtype, &self.strides) {
            (StoredType::Same(dtype), None) => tensor(Arc::clone(&self.bytes), self.offset_bytes, dtype),
            (StoredType::Same(dtype), Some(strides)) => tensor(Arc::new(self.gathered(strides)), 0, dtype),
            (StoredType::F64, None) => {
                let len = self.shape.len() * size_of::<f64>();
                let values = rounded(&self.bytes.bytes()[self.offset_bytes..][..len])?;
                self.bytes.release(self.offset_bytes..self.offset_bytes + len);
                tensor(Arc::new(values), 0, DType::F32)
            }
            (StoredType::F64, Some(strides)) => {
                tensor(Arc::new(rounded(&self.gathered(strides))?), 0, DType::F32)
            }
        }
    }

    /// A transposed or sliced view: the values in the order of the shape.
    fn gathered(&self, strides: &[usize]) -> Vec<u8> {
        let size = self.dtype.size_bytes();
        let source = self.bytes.bytes();
        let mut dense = Vec::with_capacity(self.shape.len() * size);
        let mut index = vec![0; self.shape.rank()];
        for _ in 0..self.shape.len() {
            let element: usize = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
            let start = self.offset_bytes + element * size;
            dense.extend_from_slice(&source[start..start + size]);
            for (i, &dim) in index.iter_mut().zip(self.shape.dims()).rev() {
                *i += 1;
                if *i < dim {
                    break;
                }
                *i = 0;
            }
        }
        dense
    }
}

/// f64 as f32, each to the nearest; those that no f32 comes near are refused, not made infinite.
fn rounded(bytes: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let mut values = Vec::with_capacity(bytes.len() / 2);
    for bytes in bytes.as_chunks::<8>().0 {
        let value = f64::from_le_bytes(*bytes);
        let rounded = value as f32;
        if rounded.is_infinite() && value.is_finite() {
            return Err(format!("a value of {value:e}, which is more than f32 can hold"));
        }
        values.extend_from_slice(&rounded.to_le_bytes());
    }
    Ok(values)
}
