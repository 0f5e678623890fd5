//! The two fused operators of SAM's mask decoder, whose intermediate results would be many times their operands; composed
//! from the core for backends that have no kernels for them.

use super::Device;
use super::load::by_tap;
use crate::checks;
use crate::decoder_ops::MaskHeadLayers;
use crate::packed::PackRequest;
use crate::{
    Activation, Attention, AttentionBias, Epilogue, Error, FoldedAttention, Fused, LayerNorm, MaskHead,
    Precision, Result, Rows, Tensor, TokenLayout,
};

impl Device {
    /// Attention of an image to a few tokens with everything around it; see [`FoldedAttention`]. The result has the
    /// shape of `x`, for every prompt.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn folded_attention(&self, a: &FoldedAttention) -> Result<Tensor> {
        const OP: &str = "folded_attention";
        let shape = checks::folded_attention(a)?;
        let [batch, rows, channels] = shape.fixed(OP)?;
        let weights = (batch * rows * a.keys.dims()[1] * a.heads) as u64;
        let operations = 4 * weights * channels as u64 + 5 * weights + 9 * shape.len() as u64;
        let operands =
            self.operands(OP, &[a.x, a.positions, a.keys, a.values, &a.norm.gamma, &a.norm.beta])?;
        if !self.fuses(Fused::FoldedAttention) {
            return self.composed_folded_attention(a);
        }
        self.run(OP, shape, operations, operands, |kernels, out| kernels.folded_attention(a, out))
    }

    /// One head after the other. What a head adds to the logits of a token comes in as one more channel of the key, for
    /// which the query has a 1.
    fn composed_folded_attention(&self, a: &FoldedAttention) -> Result<Tensor> {
        let [x_batch, rows, channels] = a.x.shape().fixed("folded_attention")?;
        let [batch, tokens, _] = a.keys.shape().fixed("folded_attention")?;
        let ones = self.filled([x_batch, rows, 1], 1.0)?;
        let mut queries = self.concat(&[&self.add(a.x, a.positions)?, &ones], 2)?;
        drop(ones);
        let mut sum = a.x.clone();
        if x_batch < batch {
            queries = self.concat(&vec![&queries; batch], 0)?;
            sum = self.concat(&vec![a.x; batch], 0)?;
        }
        for head in 0..a.heads {
            let key = self.slice(a.keys, 2, head * channels, channels)?;
            let constant = self.slice(a.keys, 2, a.heads * channels + head, 1)?;
            let key = self.concat(&[&key, &constant], 2)?;
            let attended = self.attention(&Attention {
                q: Rows::whole(&queries),
                k: Rows::whole(&key),
                v: Rows::columns(a.values, head * channels),
                heads: 1,
                head_channels: channels + 1,
                value_channels: channels,
                scale: 1.0,
                layout: TokenLayout::Sequence { batch, key_batch: batch, queries: rows, keys: tokens },
                bias: AttentionBias::None,
                precision: Precision::F32,
            })?;
            sum = self.add(&sum, &attended)?;
        }
        self.layer_norm(&sum, a.norm, Activation::Identity)
    }

    /// Prepares a [`MaskHead`] from two transposed convolutions `[inputs, outputs, factor, factor]` with their biases.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OutOfMemory`].
    pub fn load_mask_head(
        &self,
        [first, second]: [(&Tensor, &Tensor); 2],
        norm: LayerNorm,
        activation: Activation,
    ) -> Result<MaskHead> {
        let [inputs, middle, first_factor, _] = first.0.shape().fixed("mask head")?;
        let [second_inputs, outputs, second_factor, _] = second.0.shape().fixed("mask head")?;
        let (factors, channels) = ([first_factor, second_factor], [middle, outputs]);
        for ((weight, bias), (&factor, &channels)) in
            [first, second].into_iter().zip(factors.iter().zip(&channels))
        {
            if weight.dims()[3] != factor || bias.dims() != [channels] {
                let what = format!("weight {} with bias {}", weight.shape(), bias.shape());
                return Err(Error::shape("mask head", what));
            }
        }
        if second_inputs != middle || norm.gamma.dims() != [middle] {
            let what = format!("{middle} channels into {second_inputs}, norm of {}", norm.gamma.shape());
            return Err(Error::shape("mask head", what));
        }
        let layers = if self.fuses(Fused::MaskLogits) {
            let [rows, columns] = [first_factor * first_factor * middle, inputs];
            let matrices = [[rows, columns], [second_factor * second_factor * outputs, middle]];
            let _by_tap = self.set_aside_copies(2, first.0.shape().len() + second.0.shape().len())?;
            let weights = self.pack(&PackRequest::MaskHead { matrices }, Precision::F32, |pool| {
                self.kernels.pack_mask_head(pool, &by_tap(first.0)?, &by_tap(second.0)?)
            })?;
            let biases = Box::new([self.load(first.1)?, self.load(second.1)?]);
            MaskHeadLayers::Fused { weights, biases }
        } else {
            let exact = self.with_weight_precision(Precision::F32);
            MaskHeadLayers::Composed(Box::new([
                exact.load_conv_transpose2d(first.0, Some(first.1))?,
                exact.load_conv_transpose2d(second.0, Some(second.1))?,
            ]))
        };
        Ok(MaskHead { inputs, channels, factors, layers, norm, activation })
    }

    /// Image tokens `[P, h, w, inputs]` and mask vectors `[P, M, channels]` to logits
    /// `[P, M, factor · h, factor · w]`; see [`MaskHead`].
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn mask_logits(&self, x: &Tensor, head: &MaskHead, vectors: &Tensor) -> Result<Tensor> {
        const OP: &str = "mask_logits";
        let shape = checks::mask_logits(x, head, vectors)?;
        let [batch, height, width, inputs] = x.shape().fixed(OP)?;
        let ([_, masks, _], [middle, outputs]) = (vectors.shape().fixed(OP)?, head.channels);
        let [first, second] = head.factors.map(|factor| factor * factor);
        let pixel =
            2 * first * (inputs * middle + second * (middle * outputs + masks * outputs)) + 8 * middle;
        let operations = (batch * height * width * pixel) as u64;
        let mut bytes = self.operands(OP, &[x, vectors, &head.norm.gamma, &head.norm.beta])?;
        match &head.layers {
            MaskHeadLayers::Fused { weights, biases } => {
                let [first, second] = &**biases;
                let matrices = [
                    [head.factors[0] * head.factors[0] * middle, inputs],
                    [head.factors[1] * head.factors[1] * outputs, middle],
                ];
                if !weights.is_mask_head(matrices) {
                    return Err(Error::shape(OP, "weights of another head"));
                }
                bytes += self.operands(OP, &[first, second])? + self.weights(OP, weights)?;
                self.run(OP, shape, operations, bytes, |kernels, out| {
                    kernels.mask_logits(x, head, vectors, out)
                })
            }
            MaskHeadLayers::Composed(layers) => {
                let [first, second] = &**layers;
                let y = self.conv_transpose2d(x, first, &Epilogue::NONE)?;
                let y = self.layer_norm(&y, &head.norm, Activation::Gelu)?;
                let y = self.conv_transpose2d(&y, second, &Epilogue::act(head.activation))?;
                let [batch, height, width, channels] = y.shape().fixed(OP)?;
                let pixels = y.reshape([batch, height * width, channels])?;
                self.matmul_transposed(vectors, &pixels)?.reshape(shape)
            }
        }
    }
}
