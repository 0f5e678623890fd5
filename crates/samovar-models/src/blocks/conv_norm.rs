//! A convolution with the batch norm behind it folded in, and what follows: an activation, and HGNetV2's learnable affine block.

use samovar_tensor::{Activation, BinaryOp, Conv2d, Conv2dGeometry, Device, Epilogue, Linear, Tensor};

use super::loader::{FOLDED_COPIES, Loader};
use crate::error::Result;

/// Dimensions of a [`ConvNorm`], and what its parts are called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvNormConfig {
    /// Names of convolution and norm.
    pub(crate) names: [&'static str; 2],
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// 2 x 2 kernels look to the right and down, with zeros beyond the map.
    pub(crate) geometry: Conv2dGeometry,
    pub(crate) activation: Activation,
    /// Whether a factor and a shift, one number each, follow the activation (`lab`).
    pub(crate) affine: bool,
}

pub(crate) struct ConvNorm {
    layer: Layer,
    activation: Activation,
    affine: Option<Affine>,
}

enum Layer {
    Pointwise(Linear),
    Spatial(Conv2d),
}

/// `factor · y + shift`, of which the factor's size is folded into the layer: both activations here let positive factors pass.
struct Affine {
    /// `[channels]`
    shift: Tensor,
    /// Minus ones, `[channels]`, where the factor is negative.
    sign: Option<Tensor>,
}

impl ConvNorm {
    pub(crate) fn load(loader: &Loader, name: &str, config: ConvNormConfig) -> Result<Self> {
        let ConvNormConfig { names, inputs, outputs, geometry, activation, affine } = config;
        debug_assert!(!affine || matches!(activation, Activation::Identity | Activation::Relu));
        let len = outputs * inputs / geometry.groups * geometry.kernel.max(3).pow(2);
        let _copies = loader.copies(FOLDED_COPIES + 2, len)?;
        let (mut weight, mut bias) = loader.conv_bn(name, names, inputs, outputs, geometry)?;
        let affine = match affine {
            true => {
                let (affine, factor) = Affine::load(&loader.at(name).at("lab"), outputs)?;
                if !loader.device.is_shape_only() {
                    let factors = vec![f64::from(factor.abs()); outputs];
                    (weight, bias) = (weight.scale_rows(&factors)?, bias.scale_rows(&factors)?);
                }
                Some(affine)
            }
            false => None,
        };
        let device = loader.device;
        let layer = match geometry {
            Conv2dGeometry { kernel: 1, stride: 1, groups: 1, .. } => {
                Layer::Pointwise(device.load_linear(&weight.reshape([outputs, inputs])?, Some(&bias))?)
            }
            Conv2dGeometry { kernel: 2, .. } => {
                // The same taps in a kernel of 3 x 3 whose first row and column are zero.
                let weight = in_larger_kernel(loader, &weight, 3, 1)?;
                Layer::Spatial(device.load_conv2d(&weight, Some(&bias), Conv2dGeometry::same(3))?)
            }
            geometry => Layer::Spatial(device.load_conv2d(&weight, Some(&bias), geometry)?),
        };
        Ok(Self { layer, activation, affine })
    }

    /// A convolution of 3 x 3 and one of 1 x 1 on the same input, each with a norm, whose sum is activated (RepVGG): they are one
    /// convolution.
    pub(crate) fn load_pair(
        loader: &Loader,
        pair: [&str; 2],
        names: [&str; 2],
        channels: usize,
        activation: Activation,
    ) -> Result<Self> {
        let geometry = Conv2dGeometry::same(3);
        let _copies = loader.copies(2 * FOLDED_COPIES, channels * channels * 9)?;
        let (wide, wide_bias) = loader.conv_bn(pair[0], names, channels, channels, geometry)?;
        let point = Conv2dGeometry::patches(1);
        let (narrow, narrow_bias) = loader.conv_bn(pair[1], names, channels, channels, point)?;
        let narrow = in_larger_kernel(loader, &narrow, 3, 1)?;
        let sum = |a: &Tensor, b: &Tensor| {
            loader.derived(a.dims(), || {
                Ok(a.to_f32_vec()?.iter().zip(b.to_f32_vec()?).map(|(a, b)| a + b).collect())
            })
        };
        let (weight, bias) = (sum(&wide, &narrow)?, sum(&wide_bias, &narrow_bias)?);
        let layer = Layer::Spatial(loader.device.load_conv2d(&weight, Some(&bias), geometry)?);
        Ok(Self { layer, activation, affine: None })
    }

    /// `[B, h, w, inputs]` to `[B, h', w', outputs]`.
    pub(crate) fn forward(&self, device: &Device, x: &Tensor) -> Result<Tensor> {
        self.forward_then_add(device, x, None)
    }

    /// The same with something of the size of the result added to it.
    pub(crate) fn forward_then_add(
        &self,
        device: &Device,
        x: &Tensor,
        added: Option<&Tensor>,
    ) -> Result<Tensor> {
        let run = |epilogue: &Epilogue| match &self.layer {
            Layer::Pointwise(layer) => device.linear(x, layer, epilogue),
            Layer::Spatial(layer) => device.conv2d(x, layer, epilogue),
        };
        let then = |tensor| Epilogue::act_then_add(self.activation, tensor);
        let y = match (&self.affine, added) {
            (None, None) => return Ok(run(&Epilogue::act(self.activation))?),
            (None, Some(added)) => return Ok(run(&then(added))?),
            (Some(Affine { shift, sign: None }), _) => run(&then(shift))?,
            (Some(Affine { shift, sign: Some(sign) }), _) => {
                let y = run(&Epilogue::act(self.activation))?;
                device.add(&device.binary(BinaryOp::Multiply, &y, sign, Activation::Identity)?, shift)?
            }
        };
        match added {
            Some(added) => Ok(device.add(&y, added)?),
            None => Ok(y),
        }
    }
}

impl Affine {
    /// It, and its factor.
    fn load(loader: &Loader, channels: usize) -> Result<(Self, f32)> {
        let [factor, shift] = ["scale", "bias"].map(|leaf| loader.raw(leaf, &[1]));
        let (factor, shift) = (factor?, shift?);
        // Weights without values are those of a model nobody has: planned as if no factor were negative.
        let first = |tensor: &Tensor| -> Result<Option<f32>> {
            Ok(if tensor.has_values() { tensor.to_f32_vec()?.first().copied() } else { None })
        };
        let (factor, shift) = (first(&factor)?.unwrap_or(1.0), first(&shift)?.unwrap_or(0.0));
        let of = |value: f32| loader.constant(&[channels], || Ok(vec![value; channels]));
        let sign = (factor < 0.0).then(|| of(-1.0)).transpose()?;
        Ok((Self { shift: of(shift)?, sign }, factor))
    }
}

/// A weight `[outputs, inputs, kernel, kernel]` among zeros, its first tap at row and column `first` of a kernel of `side`.
fn in_larger_kernel(loader: &Loader, weight: &Tensor, side: usize, first: usize) -> Result<Tensor> {
    let [outputs, inputs, kernel, _] = weight.shape().fixed("convolution")?;
    loader.derived(&[outputs, inputs, side, side], || {
        let mut larger = vec![0.0; outputs * inputs * side * side];
        let filters = weight.to_f32_vec()?;
        for (to, from) in larger.chunks_exact_mut(side * side).zip(filters.chunks_exact(kernel * kernel)) {
            for (row, from) in from.chunks_exact(kernel).enumerate() {
                to[(first + row) * side + first..][..kernel].copy_from_slice(from);
            }
        }
        Ok(larger)
    })
}
