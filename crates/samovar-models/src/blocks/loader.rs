//! Taking weights by name: the shape is stated at the place of use, the file must agree.

use samovar_tensor::{
    Conv2d, Conv2dGeometry, ConvTranspose2d, DType, Device, LayerNorm, Linear, Shape, Tensor,
};
use samovar_weights::WeightSource;

use crate::Result;

/// Batch norms of all models here have PyTorch's default.
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Weights below a name prefix, on their way to a device.
#[derive(Clone)]
pub(crate) struct Loader<'a> {
    pub(crate) device: &'a Device,
    source: &'a dyn WeightSource,
    prefix: String,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(device: &'a Device, source: &'a dyn WeightSource) -> Self {
        Self { device, source, prefix: String::new() }
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
        Ok(Tensor::from_values(shape, &values()?))
    }

    /// `weight` and `bias` of a fully connected layer.
    pub(crate) fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let layer = self.at(name);
        let weight = layer.raw("weight", &[outputs, inputs])?;
        let bias = layer.raw("bias", &[outputs])?;
        Ok(self.device.load_linear(&weight, Some(&bias))?)
    }

    /// Several fully connected layers on the same input as one, their outputs side by side.
    pub(crate) fn stacked_linear(&self, names: &[&str], inputs: usize, outputs: usize) -> Result<Linear> {
        let gather = |leaf: &str, shape: &[usize], stacked: &[usize]| {
            let parts =
                names.iter().map(|name| self.at(name).raw(leaf, shape)).collect::<Result<Vec<_>>>()?;
            self.derived(stacked, || {
                let values = parts.iter().map(Tensor::to_f32_vec).collect::<Result<Vec<_>, _>>()?;
                Ok(values.concat())
            })
        };
        let weight = gather("weight", &[outputs, inputs], &[names.len() * outputs, inputs])?;
        let bias = gather("bias", &[outputs], &[names.len() * outputs])?;
        Ok(self.device.load_linear(&weight, Some(&bias))?)
    }

    /// `weight` and, if `bias`, `bias` of a 1 x 1 convolution, which on channels-last maps is a fully connected layer.
    pub(crate) fn pointwise(&self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        let layer = self.at(name);
        let weight = layer.raw("weight", &[outputs, inputs, 1, 1])?.reshape([outputs, inputs])?;
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
        let weight = layer.raw("weight", &shape)?;
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

    /// A convolution `c` without bias and the batch norm `bn` behind it, folded into weight and bias.
    pub(crate) fn conv_bn(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
        geometry: Conv2dGeometry,
    ) -> Result<(Tensor, Tensor)> {
        let layer = self.at(name);
        let shape = [outputs, inputs / geometry.groups, geometry.kernel, geometry.kernel];
        let weight = layer.raw("c.weight", &shape)?;
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|leaf| layer.at("bn").raw(leaf, &[outputs]));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let scales = || -> Result<Vec<f64>> {
            let (gamma, variance) = (gamma.to_f32_vec()?, variance.to_f32_vec()?);
            let scale = |(&g, &v): (&f32, &f32)| f64::from(g) / (f64::from(v) + BATCH_NORM_EPSILON).sqrt();
            Ok(gamma.iter().zip(&variance).map(scale).collect())
        };
        let folded = self.derived(&shape, || {
            let taps = shape[1..].iter().product::<usize>();
            let scales = scales()?;
            let values = weight.to_f32_vec()?;
            Ok(values.iter().enumerate().map(|(i, &w)| (f64::from(w) * scales[i / taps]) as f32).collect())
        })?;
        let bias = self.derived(&[outputs], || {
            let (beta, mean) = (beta.to_f32_vec()?, mean.to_f32_vec()?);
            let shift = |((&b, &m), s): ((&f32, &f32), f64)| (f64::from(b) - f64::from(m) * s) as f32;
            Ok(beta.iter().zip(&mean).zip(scales()?).map(shift).collect())
        })?;
        Ok((folded, bias))
    }
}
