//! Where a model takes its weights from: the one trait its loading code sees.

use std::collections::BTreeMap;

use samovar_tensor::{DType, Shape, Tensor};

use crate::{Error, Result};

/// Named tensors.
pub trait WeightSource {
    /// The tensor `name`, which must have this shape.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::ShapeMismatch`] or [`Error::Unsupported`].
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor>;

    /// Shape of the tensor `name`, or `None` when there is none.
    fn shape(&self, name: &str) -> Option<Shape>;

    /// All names, sorted. Empty for a source that has any tensor one asks for.
    fn names(&self) -> Vec<String>;

    /// The value of a key of the file's own metadata (safetensors has such).
    fn metadata(&self, _key: &str) -> Option<String> {
        None
    }

    /// All of the file's own metadata.
    fn all_metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// What to call this source in messages: the file.
    fn origin(&self) -> String;

    /// Whether there is a tensor of this name.
    fn contains(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// Whether this source has any tensor one asks for (see [`ShapeSource`]).
    fn is_open(&self) -> bool {
        false
    }
}

/// The source of the dry run: has every tensor in every shape, and no values.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShapeSource;

impl WeightSource for ShapeSource {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let shape = Shape::try_new(shape)
            .ok_or_else(|| Error::unsupported("shapes", name, format!("no such shape: {shape:?}")))?;
        Ok(Tensor::shape_only(shape, DType::F32))
    }

    fn shape(&self, _name: &str) -> Option<Shape> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn origin(&self) -> String {
        "shapes".into()
    }

    fn contains(&self, _name: &str) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        true
    }
}
