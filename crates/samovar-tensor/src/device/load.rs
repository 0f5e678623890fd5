//! Weights in: layers are rounded, packed and counted here.

use std::sync::Arc;

use super::Device;
use crate::packed::{PackRequest, Packed, PackedSize};
use crate::{
    Conv2d, Conv2dGeometry, ConvTranspose2d, DType, Error, LayerNorm, Linear, Pool, Precision, Result,
    SetAside, Shape, Tensor,
};

impl Device {
    /// Prepares a fully connected layer from `weight: [outputs, inputs]` and `bias: [outputs]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OutOfMemory`].
    pub fn load_linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Linear> {
        let [outputs, inputs] = weight.shape().fixed("linear weight")?;
        let precision = self.precision_of(weight.shape());
        let _rounded = self.set_aside_copies(2, weight.shape().len())?;
        let request = PackRequest::Linear { outputs, inputs, precision };
        let packed = self
            .pack(&request, precision, |pool| self.kernels.pack_linear(pool, &self.round_weight(weight)?))?;
        weight.release();
        Ok(Linear { inputs, outputs, weight: packed, bias: self.load_bias(bias, outputs)? })
    }

    /// Prepares a convolution from `weight: [outputs, inputs / groups, kernel, kernel]` and `bias: [outputs]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OutOfMemory`].
    pub fn load_conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        geometry: Conv2dGeometry,
    ) -> Result<Conv2d> {
        let [outputs, inputs_per_group, kernel_h, kernel_w] = weight.shape().fixed("conv2d weight")?;
        geometry.check()?;
        let inputs = inputs_per_group.saturating_mul(geometry.groups);
        let depthwise = inputs_per_group == 1 && geometry.groups == outputs;
        if kernel_h != geometry.kernel || kernel_w != geometry.kernel || !(geometry.groups == 1 || depthwise)
        {
            let what = format!("weight {} does not fit {geometry:?}", weight.shape());
            return Err(Error::shape("conv2d weight", what));
        }
        let precision = if depthwise { Precision::F32 } else { self.precision_of(weight.shape()) };
        let _rounded = self.set_aside_copies(2, weight.shape().len())?;
        let request = PackRequest::Conv2d { outputs, inputs, geometry, precision };
        let packed = self.pack(&request, precision, |pool| {
            self.kernels.pack_conv2d(pool, &weight.to_precision(precision)?, &geometry)
        })?;
        weight.release();
        Ok(Conv2d { inputs, outputs, geometry, weight: packed, bias: self.load_bias(bias, outputs)? })
    }

    /// Prepares a transposed convolution from `weight: [inputs, outputs, factor, factor]` and `bias: [outputs]`, with
    /// stride `factor`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OutOfMemory`].
    pub fn load_conv_transpose2d(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<ConvTranspose2d> {
        let [inputs, outputs, factor, factor_w] = weight.shape().fixed("conv_transpose2d weight")?;
        if factor != factor_w {
            return Err(Error::shape("conv_transpose2d weight", format!("{} is not square", weight.shape())));
        }
        let taps = factor * factor;
        let _by_tap = self.set_aside_copies(2, weight.shape().len())?;
        let (by_tap, bias_by_tap) = if self.shape_only {
            let bias = bias.map(|_| Tensor::shape_only(Shape::new(&[taps * outputs]), DType::F32));
            (Tensor::shape_only(Shape::new(&[taps * outputs, inputs]), DType::F32), bias)
        } else {
            let bias = bias.map(|bias| bias.to_f32_vec()).transpose()?;
            let bias = bias.map(|bias| Tensor::try_from_values([taps * outputs], &bias.repeat(taps)));
            (by_tap(weight)?, bias.transpose()?)
        };
        let taps = self.load_linear(&by_tap, bias_by_tap.as_ref())?;
        weight.release();
        Ok(ConvTranspose2d { outputs, factor, taps })
    }

    /// Prepares a layer normalisation.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OutOfMemory`].
    pub fn load_layer_norm(&self, gamma: &Tensor, beta: &Tensor, epsilon: f32) -> Result<LayerNorm> {
        if gamma.shape().rank() != 1 || gamma.shape() != beta.shape() {
            let what = format!("scale {} and shift {}", gamma.shape(), beta.shape());
            return Err(Error::shape("layer_norm weight", what));
        }
        Ok(LayerNorm { gamma: self.load(gamma)?, beta: self.load(beta)?, epsilon })
    }

    fn load_bias(&self, bias: Option<&Tensor>, outputs: usize) -> Result<Option<Tensor>> {
        let Some(bias) = bias else { return Ok(None) };
        if bias.dims() != [outputs] {
            return Err(Error::shape("bias", format!("expected [{outputs}], found {}", bias.shape())));
        }
        self.load(bias).map(Some)
    }

    /// A weight `[outputs, ..]` of a fully connected layer or a dense convolution, rounded to the precision in which this
    /// device will hold it: what [`Device::load_linear`] does first. Whoever derives weights from others rounds before,
    /// so that a file of rounded weights gives the same model.
    ///
    /// # Errors
    /// [`Error::Shape`] when a weight that is to become int8 is not finite.
    pub fn round_weight(&self, weight: &Tensor) -> Result<Tensor> {
        weight.to_precision(self.precision_of(weight.shape()))
    }

    /// The precision in which this device holds the weight `[outputs, ..]` of a layer; shallow layers stay f32.
    pub fn precision_of(&self, weight: &Shape) -> Precision {
        self.precision.of_depth(weight.dims().iter().skip(1).product())
    }

    /// Counts host memory that loading takes for a while (copies of weights in other orders or precisions) against the
    /// device's budget, if that is the host's memory.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn set_aside_for_load(&self, bytes: usize) -> Result<Option<SetAside>> {
        let is_host = self.kernels.memory().id() == crate::MemoryId::HOST;
        is_host.then(|| self.pool.set_aside(bytes)).transpose()
    }

    /// The same for copies of `len` f32 numbers. Whether a file's weights need them depends on what they are stored in,
    /// which a plan does not know: they are counted always.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn set_aside_copies(&self, copies: usize, len: usize) -> Result<Option<SetAside>> {
        self.set_aside_for_load(copies.saturating_mul(len).saturating_mul(DType::F32.size_bytes()))
    }

    /// Packs weights, or counts what packing takes.
    pub(super) fn pack(
        &self,
        request: &PackRequest,
        precision: Precision,
        pack: impl FnOnce(&Arc<Pool>) -> Result<Packed>,
    ) -> Result<Packed> {
        let PackedSize { kept_bytes, temporary_bytes } = self.kernels.packed_size(request);
        let _temporary = self.set_aside_for_load(temporary_bytes)?;
        let packed = if self.shape_only {
            let kept = kept_bytes.map(|bytes| {
                let counted =
                    (bytes > 0).then(|| Tensor::allocate(&self.pool, Shape::new(&[bytes]), DType::U8));
                counted.transpose()
            });
            let [first, second] = kept;
            Packed::new((first?, second?), kept_bytes.iter().sum())
        } else {
            pack(&self.pool)?
        };
        let (counted, taken) = (kept_bytes.iter().sum::<usize>(), packed.size_bytes());
        if counted != taken {
            // A plan that counts too little would admit work that then runs out of memory.
            let what = format!("{request:?} takes {taken} bytes where {counted} were counted");
            return Err(Error::Backend { device: self.name(), what });
        }
        self.packed.add(precision, taken);
        Ok(packed.housed(&self.pool, &self.layout, *request, precision))
    }
}

/// A transposed convolution `[inputs, outputs, factor, factor]` as a matrix `[factor · factor · outputs, inputs]`.
pub(super) fn by_tap(weight: &Tensor) -> Result<Tensor> {
    let [inputs, outputs, factor, _] = weight.shape().fixed("transposed convolution")?;
    let taps = factor * factor;
    let source = weight.to_f32()?;
    let mut matrix = Tensor::unpooled(Shape::new(&[taps * outputs, inputs]), DType::F32)?;
    for (row, to) in matrix.f32_mut()?.chunks_exact_mut(inputs.max(1)).enumerate() {
        let (tap, output) = (row / outputs, row % outputs);
        for (input, to) in to.iter_mut().enumerate() {
            *to = source[(input * outputs + output) * taps + tap];
        }
    }
    Ok(matrix)
}
