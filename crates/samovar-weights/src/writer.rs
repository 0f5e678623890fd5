//! Writing tensors: safetensors, whole or not at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use samovar_files::write_atomically;

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
/// [`Error::Write`], or [`Error::Malformed`] when a shape does not fit its values or a name occurs twice.
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
    write_views(path, views, metadata)
}

/// A tensor to write whose values are made when their turn comes.
pub(crate) trait WriteView {
    fn dtype(&self) -> Dtype;
    fn shape(&self) -> &[usize];
    /// Bytes of the values.
    fn data_len(&self) -> usize;
    /// The values, little endian, in the order of the shape: [`WriteView::data_len`] bytes.
    fn data(&self) -> Result<Cow<'_, [u8]>>;
}

/// Writes views one after the other; an error of any of them leaves no file.
pub(crate) fn write_views<V: WriteView>(
    path: &Path,
    mut views: Vec<(String, V)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    // The order of the `safetensors` crate: large elements first, so that all are aligned.
    views.sort_by(|(left_name, left), (right_name, right)| {
        right.dtype().cmp(&left.dtype()).then(left_name.cmp(right_name))
    });
    let mut end = 0;
    let infos = views.iter().map(|(name, view)| {
        let start = end;
        end += view.data_len();
        let shape = view.shape().to_vec();
        (name.clone(), TensorInfo { dtype: view.dtype(), shape, data_offsets: (start, end) })
    });
    let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
    let metadata = (!metadata.is_empty()).then_some(metadata);
    let malformed = |what: String| Error::malformed(&path.display().to_string(), what);
    let header = Metadata::new(metadata, infos.collect()).map_err(|error| malformed(error.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|error| malformed(error.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    // Files of weights are large, and so is what a killed run may have left of one.
    samovar_files::sweep_beside(path);
    write_atomically(path, |file| {
        let failed = |error| samovar_files::Error::io(path, error);
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        for (name, view) in &views {
            let data = view.data()?;
            if data.len() != view.data_len() {
                let (found, expected) = (data.len(), view.data_len());
                return Err(malformed(format!("tensor `{name}`: {found} bytes where {expected} belong")));
            }
            file.write_all(&data).map_err(failed)?;
        }
        Ok(())
    })
}

struct Values<'a>(&'a WriteTensor<'a>);

impl WriteView for Values<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Result<Cow<'_, [u8]>> {
        Ok(self.0.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into())
    }

    fn data_len(&self) -> usize {
        size_of_val(self.0.values)
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
