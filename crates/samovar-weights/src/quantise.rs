//! Files of rounded weights: what a device would hold after rounding, rounded once and kept.
//!
//! A tensor in int8 is two of the file: `NAME` (I8, −127..=127) and `NAME_scale` (F32, one number per output). f16 and
//! bf16 tensors are such. Everything else is as it was. Tensors are read, rounded and written one after the other, so a
//! model of any size takes the memory of its largest tensor.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::Dtype;
use samovar_tensor::{DType, Precision, Tensor};

use crate::checkpoint::SCALES_SUFFIX;
use crate::writer::{WriteView, write_views};
use crate::{Error, Result, WeightSource};

/// The key of a file's metadata that tells the precision of its large weights.
const PRECISION_KEY: &str = "samovar.precision";

/// What [`quantise`] wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuantiseReport {
    /// Tensors that were rounded.
    pub rounded: usize,
    /// Tensors that stayed as they were.
    pub kept: usize,
    /// Bytes of all values, scales included.
    pub bytes: u64,
    /// Tensors that are not in the new file, since their values cannot be read.
    pub left_out: Vec<String>,
}

/// The precision in which a file says that its large weights are; f32 when it says nothing.
///
/// # Errors
/// [`Error::Malformed`] when it says something else.
pub fn stored_precision(source: &dyn WeightSource) -> Result<Precision> {
    match source.metadata(PRECISION_KEY) {
        None => Ok(Precision::F32),
        Some(word) => word.parse().map_err(|error| {
            Error::malformed(&source.origin(), format!("metadata `{PRECISION_KEY}`: {error}"))
        }),
    }
}

/// Writes the tensors of `source` to a safetensors file, those named in `precisions` rounded. The file appears complete
/// or not at all. A model loaded from it onto a device of the same precision is the same, bit for bit, as one loaded
/// from `source`.
///
/// `precisions` is the model's business (`samovar_models::Model::weight_precisions`); `precision` is what the file is
/// called, see [`stored_precision`]. The metadata of the source stays.
///
/// # Errors
/// [`Error::Write`]; [`Error::Unsupported`] for weights that cannot be rounded; whatever `source` answers.
pub fn quantise(
    source: &dyn WeightSource,
    precision: Precision,
    precisions: &BTreeMap<String, Precision>,
    path: impl AsRef<Path>,
) -> Result<QuantiseReport> {
    let mut report = QuantiseReport::default();
    let mut views = Vec::new();
    let mut scales_of_source = BTreeSet::new();
    for name in source.names() {
        let Some(shape) = source.shape(&name) else {
            report.left_out.push(name);
            continue;
        };
        let tensor = source.tensor(&name, shape.dims())?;
        // f32 is what the file has, unless that is int8.
        let wanted = precisions.get(&name).copied();
        let wanted = wanted.filter(|&wanted| wanted != Precision::F32 || tensor.scales().is_some());
        if tensor.scales().is_some() {
            scales_of_source.insert(format!("{name}{SCALES_SUFFIX}"));
        }
        let dtype = wanted.map_or(tensor.dtype(), Precision::dtype);
        let has_scales = wanted.map_or(tensor.scales().is_some(), |wanted| wanted == Precision::Int8);
        if dtype == tensor.dtype() {
            report.kept += 1
        } else {
            report.rounded += 1
        }
        let dims = shape.dims().to_vec();
        let rounded = Rounded { source, dims, wanted, name };
        if has_scales {
            let outputs = rounded.dims.first().copied().unwrap_or(0);
            let view = Part { of: rounded.clone(), dtype: DType::F32, shape: vec![outputs], scales: true };
            views.push((format!("{}{SCALES_SUFFIX}", rounded.name), view));
        }
        let view = Part { dtype, shape: rounded.dims.clone(), scales: false, of: rounded };
        views.push((view.of.name.clone(), view));
    }
    // Scales the source has are written with their values, or gone with them.
    let written_anew: BTreeSet<String> =
        views.iter().filter(|(_, view)| view.scales).map(|(name, _)| name.clone()).collect();
    views.retain(|(name, view)| view.scales || !scales_of_source.contains(name));
    if let Some((name, _)) = views.iter().find(|(name, view)| !view.scales && written_anew.contains(name)) {
        return Err(Error::unsupported(
            &source.origin(),
            name,
            "has the name of the scales of another tensor",
        ));
    }
    report.bytes = views.iter().map(|(_, view)| view.data_len() as u64).sum();
    let mut metadata = source.all_metadata();
    metadata.insert(PRECISION_KEY.to_owned(), precision.to_string());
    write_views(path.as_ref(), views, &metadata)?;
    Ok(report)
}

/// A tensor on its way into the file.
#[derive(Clone)]
struct Rounded<'a> {
    source: &'a dyn WeightSource,
    name: String,
    dims: Vec<usize>,
    /// `None`: as it is.
    wanted: Option<Precision>,
}

impl Rounded<'_> {
    fn tensor(&self) -> Result<Tensor> {
        let tensor = self.source.tensor(&self.name, &self.dims)?;
        let Some(wanted) = self.wanted else { return Ok(tensor) };
        let unsupported = |error: samovar_tensor::Error| {
            Error::unsupported(&self.source.origin(), &self.name, error.to_string())
        };
        tensor.to_precision(wanted).map_err(unsupported)
    }
}

/// The values of a tensor, or its scales.
struct Part<'a> {
    of: Rounded<'a>,
    dtype: DType,
    shape: Vec<usize>,
    scales: bool,
}

impl WriteView for Part<'_> {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::I8 => Dtype::I8,
            DType::U8 => Dtype::U8,
            DType::I32 => Dtype::I32,
            DType::I64 => Dtype::I64,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Result<Cow<'_, [u8]>> {
        let tensor = self.of.tensor()?;
        Ok(match tensor.scales().filter(|_| self.scales) {
            Some(scales) => scales.iter().flat_map(|scale| scale.to_le_bytes()).collect::<Vec<u8>>(),
            None => tensor.raw().unwrap_or(&[]).to_vec(),
        }
        .into())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size_bytes()
    }
}

#[cfg(test)]
#[path = "quantise_tests.rs"]
mod tests;
