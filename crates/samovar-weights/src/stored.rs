//! Where the tensors of a file lie in its bytes: what the readers of formats find and a checkpoint hands out.

use std::collections::BTreeMap;
use std::sync::Arc;

use samovar_tensor::{DType, Shape, Tensor, WeightBytes};

/// Table of contents of one file.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) tensors: BTreeMap<String, Entry>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Where a tensor lies.
pub(crate) enum Entry {
    /// Values that can be read.
    Readable(Stored),
    /// Values that cannot; the model may well not need them.
    Unreadable(String),
}

/// A stretch of values; its bounds have been checked.
pub(crate) struct Stored {
    pub(crate) bytes: Arc<dyn WeightBytes>,
    pub(crate) offset_bytes: usize,
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
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
        let Some(strides) = &self.strides else {
            let bytes = Arc::clone(&self.bytes);
            return Tensor::from_weights(bytes, self.offset_bytes, self.shape, self.dtype)
                .map_err(|error| error.to_string());
        };
        // A transposed or sliced view: the values are gathered in the order of the shape.
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
        Tensor::from_weights(Arc::new(dense), 0, self.shape, self.dtype).map_err(|error| error.to_string())
    }
}
