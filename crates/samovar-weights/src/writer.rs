//! Writing tensors: safetensors, whole or not at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::Path;

use safetensors::{Dtype, View, serialize_to_file};

use crate::{Error, Result};

/// A named tensor to write.
#[derive(Debug, Clone)]
pub struct WriteTensor<'a> {
    /// Name in the file.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The values, in the order of the shape.
    pub values: &'a [f32],
}

/// Writes tensors to a safetensors file. The file appears complete or not at all: it is written beside its place and
/// then moved there.
///
/// # Errors
/// [`Error::Io`], or [`Error::Malformed`] when a shape does not fit its values or a name occurs twice.
pub fn write_safetensors(
    path: impl AsRef<Path>,
    tensors: &[WriteTensor],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let origin = path.display().to_string();
    let mut names = BTreeSet::new();
    for tensor in tensors {
        let elements = tensor.shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
        if elements != Some(tensor.values.len()) {
            let (name, shape, len) = (&tensor.name, &tensor.shape, tensor.values.len());
            return Err(Error::malformed(
                &origin,
                format!("tensor `{name}`: {len} values for shape {shape:?}"),
            ));
        }
        if !names.insert(&tensor.name) {
            return Err(Error::malformed(&origin, format!("two tensors `{}`", tensor.name)));
        }
    }
    let views = tensors.iter().map(|tensor| (tensor.name.clone(), Values(tensor))).collect();
    write_views(path, views, metadata, || Ok(()))
}

/// Writes views one after the other; `check` may still refuse the file when all of them have been read.
pub(crate) fn write_views<V: View>(
    path: &Path,
    views: Vec<(String, V)>,
    metadata: &BTreeMap<String, String>,
    check: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let origin = path.display().to_string();
    // The rename would replace a link, or a device, as readily as a file.
    let followed = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = followed.as_path();
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::malformed(
            &origin,
            "this is there, but no file; name a file to write or to replace",
        ));
    }
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let file_name = file_name.ok_or_else(|| Error::malformed(&origin, "not the name of a file"))?;
    // The process id keeps two writers of the same file apart.
    let partial = path.with_file_name(format!(".{file_name}.{}.partial", std::process::id()));
    let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
    let metadata = (!metadata.is_empty()).then_some(metadata);
    let failed = |error| Error::write(&origin, error);
    // The serialiser makes files for their owner alone; the umask says who may read this one.
    let written = File::create(&partial)
        .and_then(|usual| usual.metadata())
        .map_err(failed)
        .and_then(|usual| {
            serialize_to_file(views, metadata, &partial).map_err(|error| match error {
                safetensors::SafeTensorError::IoError(error) => failed(error),
                other => Error::malformed(&origin, other.to_string()),
            })?;
            fs::set_permissions(&partial, usual.permissions()).map_err(failed)
        })
        .and_then(|()| check())
        .and_then(|()| fs::rename(&partial, path).map_err(failed));
    if written.is_err() {
        // Nothing is left behind; that the partial file may never have existed is no second error.
        let _ = fs::remove_file(&partial);
    }
    written
}

struct Values<'a>(&'a WriteTensor<'a>);

impl View for Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.0.values)
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
