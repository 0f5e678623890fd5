//! A weight file, opened: its table of contents, with the values still in the mapped bytes.

use std::path::Path;

use samovar_tensor::{Shape, Tensor};

use crate::{Error, Result, WeightSource};

/// The tensors of a weight file.
pub struct Checkpoint {
    origin: String,
}

impl Checkpoint {
    /// Opens a weight file: `.safetensors`, `model.safetensors.index.json` with its shards, or a PyTorch zip file.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Err(Error::malformed(&path.as_ref().display().to_string(), "not read yet"))
    }

    /// Reads the bytes of a weight file; `origin` names them in messages.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn from_bytes(origin: &str, _bytes: Vec<u8>) -> Result<Self> {
        Err(Error::malformed(origin, "not read yet"))
    }

    /// Reads the bytes of a weight file that is part of the program.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn from_static(origin: &str, _bytes: &'static [u8]) -> Result<Self> {
        Err(Error::malformed(origin, "not read yet"))
    }
}

impl WeightSource for Checkpoint {
    fn tensor(&self, name: &str, _shape: &[usize]) -> Result<Tensor> {
        Err(Error::unsupported(&self.origin, name, "not read yet"))
    }

    fn shape(&self, _name: &str) -> Option<Shape> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn origin(&self) -> String {
        self.origin.clone()
    }
}
