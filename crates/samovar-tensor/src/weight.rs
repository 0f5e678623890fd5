//! Weights on their way from a file to a device: rounded to a precision, with scales beside 8-bit values.

use std::sync::Arc;

use half::{bf16, f16};

use crate::precision::quantise_weights;
use crate::{DType, Error, Precision, Result, Tensor};

impl Tensor {
    /// 8-bit values (−127..=127) as weights: entry `o` of the outermost dimension is multiplied by `scales[o]`.
    ///
    /// # Errors
    /// [`Error::DType`] for another type; [`Error::Shape`] when the scales are not one finite number per entry, or a
    /// value is −128, which has no opposite and would overflow some instructions.
    pub fn with_scales(&self, scales: Vec<f32>) -> Result<Self> {
        const OP: &str = "int8 weights";
        let values = self.i8()?;
        let entries = self.dims().first().copied().unwrap_or(0);
        if scales.len() != entries {
            let what = format!("{} scales for {entries} outputs of {}", scales.len(), self.shape());
            return Err(Error::shape(OP, what));
        }
        if let Some(output) = scales.iter().position(|scale| !scale.is_finite()) {
            return Err(Error::shape(OP, format!("the scale of output {output} is {}", scales[output])));
        }
        if values.contains(&i8::MIN) {
            return Err(Error::shape(OP, "a value of -128; they go from -127 to 127"));
        }
        Ok(self.attach_scales(scales.into()))
    }

    /// The values of an `I8` tensor.
    ///
    /// # Errors
    /// [`Error::DType`] for another type, [`Error::NoValues`] on the shape-only device.
    pub fn i8(&self) -> Result<&[i8]> {
        if self.dtype() != DType::I8 {
            return Err(Error::DType { expected: DType::I8, found: self.dtype(), shape: *self.shape() });
        }
        let bytes = self.raw().ok_or(Error::NoValues { shape: *self.shape() })?;
        // SAFETY: the same memory; every byte is an i8.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
    }

    /// This weight `[outputs, ..]` in another precision, outside any pool. Without values (in a dry run) only the type
    /// changes.
    ///
    /// # Errors
    /// [`Error::Shape`] for [`Precision::Int8`] when a weight is not finite, for [`Precision::F16`] when one is too large.
    pub fn to_precision(&self, precision: Precision) -> Result<Self> {
        let dtype = precision.dtype();
        if !self.has_values() {
            return Ok(Tensor::shape_only(*self.shape(), dtype));
        }
        if self.dtype() == dtype && (dtype == DType::I8) == self.scales().is_some() {
            return Ok(self.clone());
        }
        let values = self.to_f32()?;
        let bytes = match precision {
            Precision::F32 => return Tensor::try_from_values(*self.shape(), &values),
            Precision::F16 => {
                if let Some(w) = values.iter().find(|w| w.is_finite() && !f16::from_f32(**w).is_finite()) {
                    let what = format!("{w} is beyond half precision; use f32 or int8");
                    return Err(Error::shape("f16 weights", what));
                }
                values.iter().flat_map(|&w| f16::from_f32(w).to_le_bytes()).collect()
            }
            Precision::Bf16 => values.iter().flat_map(|&w| bf16::from_f32(w).to_le_bytes()).collect(),
            Precision::Int8 => return self.quantised(&values),
        };
        let bytes: Vec<u8> = bytes;
        Tensor::from_weights(Arc::new(bytes), 0, *self.shape(), dtype)
    }

    fn quantised(&self, values: &[f32]) -> Result<Self> {
        let depth = self.dims().iter().skip(1).product::<usize>().max(1);
        let mut quantised = vec![0i8; values.len()];
        let mut scales = Vec::with_capacity(values.len() / depth);
        for (row, to) in values.chunks_exact(depth).zip(quantised.chunks_exact_mut(depth)) {
            let scale = quantise_weights(row, to).ok_or_else(|| {
                Error::shape(
                    "int8 weights",
                    format!("output {} has a weight that is not finite", scales.len()),
                )
            })?;
            scales.push(scale);
        }
        let bytes: Vec<u8> = quantised.into_iter().map(|q| q as u8).collect();
        let tensor = Tensor::from_weights(Arc::new(bytes), 0, *self.shape(), DType::I8)?;
        Ok(tensor.attach_scales(scales.into()))
    }

    /// Entries of the outermost dimension in another order, outside any pool, in the precision they have.
    ///
    /// # Errors
    /// [`Error::Shape`] for an entry that does not exist or another number of entries.
    pub fn gather_rows(&self, order: &[usize]) -> Result<Self> {
        let entries = self.dims().first().copied().unwrap_or(0);
        if order.len() != entries || order.iter().any(|&row| row >= entries) {
            return Err(Error::shape("gather_rows", format!("{} rows out of {}", order.len(), self.shape())));
        }
        let Some(bytes) = self.raw() else { return Ok(self.clone()) };
        let row_bytes = self.size_bytes() / entries.max(1);
        let mut moved = Vec::with_capacity(bytes.len());
        for &row in order {
            moved.extend_from_slice(&bytes[row * row_bytes..][..row_bytes]);
        }
        let tensor = Tensor::from_weights(Arc::new(moved), 0, *self.shape(), self.dtype())?;
        Ok(match self.scales() {
            None => tensor,
            Some(scales) => tensor.attach_scales(order.iter().map(|&row| scales[row]).collect()),
        })
    }

    /// Every entry of the outermost dimension times a number, outside any pool: 8-bit weights keep their values and get
    /// other scales, all others become f32.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of factors, or when a scale of 8-bit weights would not be finite.
    pub fn scale_rows(&self, factors: &[f64]) -> Result<Self> {
        let entries = self.dims().first().copied().unwrap_or(0);
        if factors.len() != entries {
            return Err(Error::shape(
                "scale_rows",
                format!("{} factors for {}", factors.len(), self.shape()),
            ));
        }
        if !self.has_values() {
            return Ok(self.clone());
        }
        if let Some(scales) = self.scales() {
            let product = |(&scale, &factor): (&f32, &f64)| (f64::from(scale) * factor) as f32;
            return self.with_scales(scales.iter().zip(factors).map(product).collect());
        }
        let mut values = self.to_f32_vec()?;
        let row_len = values.len() / entries.max(1);
        for (row, &factor) in values.chunks_exact_mut(row_len.max(1)).zip(factors) {
            row.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
        }
        Tensor::try_from_values(*self.shape(), &values)
    }

    /// Several weights below each other, outside any pool: 8-bit ones stay as they are, others become f32.
    ///
    /// # Errors
    /// [`Error::Shape`] for none, or for entries of different shapes.
    pub fn stack_rows(parts: &[Tensor]) -> Result<Self> {
        const OP: &str = "stack_rows";
        let first = parts.first().ok_or_else(|| Error::shape(OP, "nothing to stack"))?;
        let mut dims = first.dims().to_vec();
        if dims.is_empty() || parts.iter().any(|part| part.dims().get(1..) != Some(&dims[1..])) {
            return Err(Error::shape(OP, "weights of different shapes"));
        }
        dims[0] = parts.iter().map(|part| part.dims()[0]).sum();
        let shape = crate::Shape::new(&dims);
        if parts.iter().any(|part| !part.has_values()) {
            return Ok(Tensor::shape_only(shape, first.dtype()));
        }
        let scales: Option<Vec<&[f32]>> = parts.iter().map(Tensor::scales).collect();
        if let Some(scales) = scales {
            let bytes: Vec<u8> = parts.iter().flat_map(|part| part.raw().unwrap_or(&[])).copied().collect();
            let stacked = Tensor::from_weights(Arc::new(bytes), 0, shape, DType::I8)?;
            return Ok(stacked.attach_scales(scales.concat().into()));
        }
        let values = parts.iter().map(Tensor::to_f32_vec).collect::<Result<Vec<_>>>()?;
        Tensor::try_from_values(shape, &values.concat())
    }
}
