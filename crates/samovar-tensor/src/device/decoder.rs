//! The two fused operators of SAM's mask decoder, whose intermediate results would be many times their operands.

use super::Device;
use crate::{Activation, DType, Error, FoldedAttention, LayerNorm, MaskHead, Packed, Result, Shape, Tensor};

impl Device {
    /// Attention of an image to a few tokens with everything around it; see [`FoldedAttention`]. The result has the
    /// shape of `x`, for every prompt.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn folded_attention(&self, a: &FoldedAttention) -> Result<Tensor> {
        const OP: &str = "folded_attention";
        let [x_batch, rows, channels] = a.x.shape().fixed(OP)?;
        let [batch, tokens, key_columns] = a.keys.shape().fixed(OP)?;
        let fits = (x_batch == batch || x_batch == 1)
            && a.heads > 0
            && tokens > 0
            && a.positions.dims() == [1, rows, channels]
            && key_columns == a.heads * (channels + 1)
            && a.values.dims() == [batch, tokens, a.heads * channels]
            && a.norm.gamma.dims() == [channels];
        if !fits {
            let (x, positions, keys, values) =
                (a.x.shape(), a.positions.shape(), a.keys.shape(), a.values.shape());
            let what =
                format!("x {x}, positions {positions}, keys {keys}, values {values}, {} heads", a.heads);
            return Err(Error::shape(OP, what));
        }
        let shape = Shape::new(&[batch, rows, channels]);
        let weights = (batch * rows * tokens * a.heads) as u64;
        let operations = 4 * weights * channels as u64 + 5 * weights + 9 * shape.len() as u64;
        let operands = super::bytes_of(&[a.x, a.positions, a.keys, a.values]);
        self.run(OP, shape, operations, operands, |kernels, out| kernels.folded_attention(a, out))
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
        let weights = match &self.kernels {
            Some(kernels) => {
                let [first, second] = [by_tap(first.0)?, by_tap(second.0)?];
                kernels.pack_mask_head(&self.pool, &first, &second)?
            }
            None => {
                let len = first.0.shape().len() + second.0.shape().len();
                let counted = Tensor::allocate(&self.pool, Shape::new(&[len]), DType::F32)?;
                let size_bytes = counted.size_bytes();
                Packed::new(counted, size_bytes)
            }
        };
        let biases = [self.load(first.1)?, self.load(second.1)?];
        Ok(MaskHead { inputs, channels, factors, weights, biases, norm, activation })
    }

    /// Image tokens `[P, h, w, inputs]` and mask vectors `[P, M, channels]` to logits
    /// `[P, M, factor · h, factor · w]`; see [`MaskHead`].
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn mask_logits(&self, x: &Tensor, head: &MaskHead, vectors: &Tensor) -> Result<Tensor> {
        const OP: &str = "mask_logits";
        let [batch, height, width, inputs] = x.shape().fixed(OP)?;
        let [vector_batch, masks, channels] = vectors.shape().fixed(OP)?;
        let [middle, outputs] = head.channels;
        if vector_batch != batch || inputs != head.inputs || channels != outputs {
            let what =
                format!("{} and vectors {} in a head of {inputs} and {outputs}", x.shape(), vectors.shape());
            return Err(Error::shape(OP, what));
        }
        let [first, second] = head.factors.map(|factor| factor * factor);
        let factor = head.factors[0] * head.factors[1];
        let shape = Shape::new(&[batch, masks, height * factor, width * factor]);
        let pixel =
            2 * first * (inputs * middle + second * (middle * outputs + masks * outputs)) + 8 * middle;
        let operations = (batch * height * width * pixel) as u64;
        let bytes = super::bytes_of(&[x, vectors]) + head.weights.size_bytes() as u64;
        self.run(OP, shape, operations, bytes, |kernels, out| kernels.mask_logits(x, head, vectors, out))
    }
}

/// A transposed convolution as a matrix `[factor · factor · outputs, inputs]`.
fn by_tap(weight: &Tensor) -> Result<Tensor> {
    let [inputs, outputs, factor, _] = weight.shape().fixed("mask head")?;
    let taps = factor * factor;
    let source = weight.to_f32_vec()?;
    let mut matrix = Vec::with_capacity(source.len());
    for tap in 0..taps {
        for output in 0..outputs {
            matrix.extend((0..inputs).map(|input| source[(input * outputs + output) * taps + tap]));
        }
    }
    Ok(Tensor::from_values([taps * outputs, inputs], &matrix))
}
