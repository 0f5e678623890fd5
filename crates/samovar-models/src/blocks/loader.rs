//! Taking weights by name: the shape is stated at the place of use, the file must agree.

use std::cell::RefCell;
use std::collections::BTreeMap;

use samovar_tensor::{
    Conv2d, Conv2dGeometry, ConvTranspose2d, DType, Device, LayerNorm, Linear, Precision, SetAside, Shape,
    Tensor,
};
use samovar_weights::WeightSource;

use crate::error::Result;
use crate::interface::Parts;

/// Batch norms of all models here have PyTorch's default.
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Names of a convolution and of the batch norm behind it, in TinyViT and RepViT.
pub(crate) const CONV_AND_NORM: [&str; 2] = ["c", "bn"];

/// Copies of a weight that a norm is folded into: rounded, widened, and scaled.
pub(crate) const FOLDED_COPIES: usize = 4;

/// Layers by the names of their weights, with the precision each of them has on a device.
pub(crate) type Record = RefCell<BTreeMap<String, Precision>>;

/// Weights below a name prefix, on their way to a device.
#[derive(Clone)]
pub(crate) struct Loader<'a> {
    pub(crate) device: &'a Device,
    /// The same device for layers that 8 bits would harm.
    exact_device: &'a Device,
    source: &'a dyn WeightSource,
    prefix: String,
    record: Option<&'a Record>,
    /// The parts that are wanted.
    pub(crate) parts: Parts,
}

impl<'a> Loader<'a> {
    /// `exact_device` is `device` with [`Precision::exact`] weights.
    pub(crate) fn new(device: &'a Device, exact_device: &'a Device, source: &'a dyn WeightSource) -> Self {
        Self { device, exact_device, source, prefix: String::new(), record: None, parts: Parts::ALL }
    }

    /// The same, writing down which layers get which precision.
    pub(crate) fn recorded(self, record: &'a Record) -> Self {
        Self { record: Some(record), ..self }
    }

    /// The same for some parts of the model.
    pub(crate) fn of_parts(self, parts: Parts) -> Self {
        Self { parts, ..self }
    }

    /// The same weights for layers whose errors reach the result at once, or where int8 gains nothing; see
    /// [`Precision::exact`].
    pub(crate) fn exact(&self) -> Self {
        Self { device: self.exact_device, ..self.clone() }
    }

    /// The weights below `name`.
    pub(crate) fn at(&self, name: impl AsRef<str>) -> Self {
        Self { prefix: self.name(name.as_ref()), ..self.clone() }
    }

    fn name(&self, name: &str) -> String {
        match (self.prefix.as_str(), name) {
            ("", name) => name.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, name) => format!("{prefix}.{name}"),
        }
    }

    /// Whether there is a weight of this name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.source.contains(&self.name(name))
    }

    /// A weight as the file has it.
    pub(crate) fn raw(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        Ok(self.source.tensor(&self.name(name), shape)?)
    }

    /// The weight of a layer, rounded to the precision in which the device will hold it. All that is derived from it
    /// (folded norms, other orders) comes after, so that a file of rounded weights gives the same model.
    pub(crate) fn weight(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let weight = self.raw(name, shape)?;
        let precision = self.device.precision_of(weight.shape());
        if let Some(record) = self.record {
            record.borrow_mut().insert(self.name(name), precision);
        }
        if self.device.is_shape_only() {
            return Ok(Tensor::shape_only(*weight.shape(), precision.dtype()));
        }
        let rounded = self.device.round_weight(&weight)?;
        if rounded.dtype() != weight.dtype() {
            weight.release();
        }
        Ok(rounded)
    }

    /// The weight of a convolution; depthwise ones are never rounded.
    fn conv_weight(&self, name: &str, shape: &[usize], geometry: Conv2dGeometry) -> Result<Tensor> {
        if geometry.groups > 1 { self.raw(name, shape) } else { self.weight(name, shape) }
    }

    /// A weight on the device, as f32.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        Ok(self.device.load(&self.raw(name, shape)?)?)
    }

    /// Values that are computed from weights when a model is loaded; on the shape-only device, their shape alone.
    pub(crate) fn derived(
        &self,
        shape: &[usize],
        values: impl FnOnce() -> Result<Vec<f32>>,
    ) -> Result<Tensor> {
        if self.device.is_shape_only() {
            return Ok(Tensor::shape_only(Shape::new(shape), DType::F32));
        }
        Ok(Tensor::try_from_values(shape, &values()?)?)
    }

    /// The same on the device.
    pub(crate) fn constant(
        &self,
        shape: &[usize],
        values: impl FnOnce() -> Result<Vec<f32>>,
    ) -> Result<Tensor> {
        Ok(self.device.load(&self.derived(shape, values)?)?)
    }

    /// Counts copies of a weight of `len` numbers, as they are made on its way to the device, against the device's
    /// memory while the value lives.
    pub(crate) fn copies(&self, copies: usize, len: usize) -> Result<Option<SetAside>> {
        Ok(self.device.set_aside_copies(copies, len)?)
    }

    /// `weight` and `bias` of a fully connected layer.
    pub(crate) fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let layer = self.at(name);
        let _copies = self.copies(2, outputs * inputs)?;
        let weight = layer.weight("weight", &[outputs, inputs])?;
        let bias = layer.raw("bias", &[outputs])?;
        Ok(self.device.load_linear(&weight, Some(&bias))?)
    }

    /// Several fully connected layers on the same input as one, their outputs side by side.
    pub(crate) fn stacked_linear(&self, names: &[&str], inputs: usize, outputs: usize) -> Result<Linear> {
        let layers: Vec<Loader> = names.iter().map(|name| self.at(name)).collect();
        // Each rounded, all widened again, and stacked.
        let _copies = self.copies(5, names.len() * outputs * inputs)?;
        let weights = layers.iter().map(|layer| layer.weight("weight", &[outputs, inputs]));
        let weights = weights.collect::<Result<Vec<_>>>()?;
        let weight = Tensor::stack_rows(&weights)?;
        weights.iter().for_each(Tensor::release);
        let biases = layers.iter().map(|layer| layer.raw("bias", &[outputs]));
        let biases = biases.collect::<Result<Vec<_>>>()?;
        let bias = self.derived(&[names.len() * outputs], || {
            Ok(biases.iter().map(Tensor::to_f32_vec).collect::<Result<Vec<_>, _>>()?.concat())
        })?;
        Ok(self.device.load_linear(&weight, Some(&bias))?)
    }

    /// `weight` and, if `bias`, `bias` of a 1 x 1 convolution, which on channels-last maps is a fully connected layer.
    pub(crate) fn pointwise(&self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        let layer = self.at(name);
        let _copies = self.copies(2, outputs * inputs)?;
        let weight = layer.weight("weight", &[outputs, inputs, 1, 1])?.reshape([outputs, inputs])?;
        let bias = bias.then(|| layer.raw("bias", &[outputs])).transpose()?;
        Ok(self.device.load_linear(&weight, bias.as_ref())?)
    }

    /// `weight` and, if `bias`, `bias` of a convolution.
    pub(crate) fn conv2d(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
        geometry: Conv2dGeometry,
        bias: bool,
    ) -> Result<Conv2d> {
        let layer = self.at(name);
        let shape = [outputs, inputs / geometry.groups, geometry.kernel, geometry.kernel];
        let _copies = self.copies(2, shape.iter().product())?;
        let weight = layer.conv_weight("weight", &shape, geometry)?;
        let bias = bias.then(|| layer.raw("bias", &[outputs])).transpose()?;
        Ok(self.device.load_conv2d(&weight, bias.as_ref(), geometry)?)
    }

    /// `weight` and `bias` of a transposed convolution whose stride is its kernel.
    pub(crate) fn conv_transpose2d(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
        factor: usize,
    ) -> Result<ConvTranspose2d> {
        let layer = self.at(name);
        let weight = layer.raw("weight", &[inputs, outputs, factor, factor])?;
        let bias = layer.raw("bias", &[outputs])?;
        Ok(self.device.load_conv_transpose2d(&weight, Some(&bias))?)
    }

    /// `weight` and `bias` of a layer normalisation.
    pub(crate) fn layer_norm(&self, name: &str, channels: usize, epsilon: f32) -> Result<LayerNorm> {
        let layer = self.at(name);
        let gamma = layer.raw("weight", &[channels])?;
        let beta = layer.raw("bias", &[channels])?;
        Ok(self.device.load_layer_norm(&gamma, &beta, epsilon)?)
    }

    /// `weight` of a fully connected layer that has no bias.
    pub(crate) fn linear_without_bias(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let _copies = self.copies(2, outputs * inputs)?;
        let weight = self.at(name).weight("weight", &[outputs, inputs])?;
        Ok(self.device.load_linear(&weight, None)?)
    }

    /// A convolution `c` with the batch norm `bn` behind it, as [`Loader::conv_bn`] folds them.
    pub(crate) fn folded_conv(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
        geometry: Conv2dGeometry,
    ) -> Result<Conv2d> {
        let len = outputs * inputs / geometry.groups * geometry.kernel * geometry.kernel;
        let _copies = self.copies(FOLDED_COPIES, len)?;
        let (weight, bias) = self.conv_bn(name, CONV_AND_NORM, inputs, outputs, geometry)?;
        Ok(self.device.load_conv2d(&weight, Some(&bias), geometry)?)
    }

    /// The same of a 1 x 1 convolution, which on channels-last maps is a fully connected layer.
    pub(crate) fn folded_pointwise(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let _copies = self.copies(FOLDED_COPIES, outputs * inputs)?;
        let (weight, bias) =
            self.conv_bn(name, CONV_AND_NORM, inputs, outputs, Conv2dGeometry::patches(1))?;
        Ok(self.device.load_linear(&weight.reshape([outputs, inputs])?, Some(&bias))?)
    }

    /// A convolution without bias and the batch norm behind it, by their `names`, folded into weight and bias. Makes up to
    /// [`FOLDED_COPIES`] copies of the weight, one of which is the result.
    pub(crate) fn conv_bn(
        &self,
        name: &str,
        [conv, norm]: [&str; 2],
        inputs: usize,
        outputs: usize,
        geometry: Conv2dGeometry,
    ) -> Result<(Tensor, Tensor)> {
        let layer = self.at(name);
        let shape = [outputs, inputs / geometry.groups, geometry.kernel, geometry.kernel];
        let weight = layer.at(conv).conv_weight("weight", &shape, geometry)?;
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|leaf| layer.at(norm).raw(leaf, &[outputs]));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let scales = || -> Result<Vec<f64>> {
            let (gamma, variance) = (gamma.to_f32_vec()?, variance.to_f32_vec()?);
            let scale = |(&g, &v): (&f32, &f32)| f64::from(g) / (f64::from(v) + BATCH_NORM_EPSILON).sqrt();
            Ok(gamma.iter().zip(&variance).map(scale).collect())
        };
        let folded = if self.device.is_shape_only() { weight } else { weight.scale_rows(&scales()?)? };
        let bias = self.derived(&[outputs], || {
            let (beta, mean) = (beta.to_f32_vec()?, mean.to_f32_vec()?);
            let shift = |((&b, &m), s): ((&f32, &f32), f64)| (f64::from(b) - f64::from(m) * s) as f32;
            Ok(beta.iter().zip(&mean).zip(scales()?).map(shift).collect())
        })?;
        Ok((folded, bias))
    }
}
