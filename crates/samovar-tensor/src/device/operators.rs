//! The operators that every backend has, and the endings that a backend may leave to others.

use super::Device;
use crate::checks;
use crate::packed::Packed;
use crate::{
    Activation, BinaryOp, Conv2d, ConvTranspose2d, Epilogue, Error, Fused, Kernels, LayerNorm, Linear,
    ResizeMode, Result, Rows, Shape, Tensor,
};

impl Device {
    /// `epilogue(x Wᵀ + b)`: `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::WrongDevice`], [`Error::ForeignWeights`], [`Error::OutOfMemory`], [`Error::Backend`]; so
    /// for every operator.
    pub fn linear(&self, x: &Tensor, layer: &Linear, epilogue: &Epilogue) -> Result<Tensor> {
        const OP: &str = "linear";
        let shape = checks::linear(x, layer, epilogue)?;
        let bytes = self.operands(OP, &[x])? + self.layer(OP, &layer.weight, &layer.bias)?;
        if !layer.weight.is_linear(layer.outputs, layer.inputs) {
            return Err(Error::shape(OP, "weights of another layer"));
        }
        let operations = 2 * shape.len() as u64 * layer.inputs as u64;
        self.run_with_epilogue(OP, shape, operations, bytes, epilogue, |kernels, epilogue, out| {
            kernels.linear(x, layer, epilogue, out)
        })
    }

    /// Convolution of `[batch, height, width, inputs]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn conv2d(&self, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue) -> Result<Tensor> {
        let depthwise = layer.geometry.groups > 1;
        let op = if depthwise { "depthwise_conv2d" } else { "conv2d" };
        let shape = checks::conv2d(op, x, layer, epilogue)?;
        let bytes = self.operands(op, &[x])? + self.layer(op, &layer.weight, &layer.bias)?;
        if !layer.weight.is_conv2d(layer.outputs, layer.inputs, layer.geometry) {
            return Err(Error::shape(op, "weights of another layer"));
        }
        let taps = layer.geometry.kernel * layer.geometry.kernel * layer.inputs / layer.geometry.groups;
        let operations = 2 * shape.len() as u64 * taps as u64;
        self.run_with_epilogue(op, shape, operations, bytes, epilogue, |kernels, epilogue, out| {
            kernels.conv2d(x, layer, epilogue, out)
        })
    }

    /// Transposed convolution with kernel = stride: `[b, h, w, inputs]` to `[b, factor·h, factor·w, outputs]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn conv_transpose2d(
        &self,
        x: &Tensor,
        layer: &ConvTranspose2d,
        epilogue: &Epilogue,
    ) -> Result<Tensor> {
        let shape = checks::conv_transpose2d(x, layer, epilogue)?;
        let factor = layer.factor;
        let taps = self.linear(x, &layer.taps, &Epilogue::NONE)?;
        let op = "depth_to_space";
        let bytes = self.operands(op, &[&taps])?;
        self.run_with_epilogue(op, shape, shape.len() as u64, bytes, epilogue, |kernels, epilogue, out| {
            kernels.depth_to_space(&taps, factor, epilogue, out)
        })
    }

    /// Layer normalisation over the last dimension, then the activation.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn layer_norm(&self, x: &Tensor, norm: &LayerNorm, activation: Activation) -> Result<Tensor> {
        const OP: &str = "layer_norm";
        let shape = checks::layer_norm(x, norm)?;
        let bytes = self.operands(OP, &[x, &norm.gamma, &norm.beta])?;
        self.run(OP, shape, 8 * shape.len() as u64, bytes, |kernels, out| {
            kernels.layer_norm(x, norm, activation, out)
        })
    }

    /// `a[b] c[b]ᵀ`: `[batch, m, k]` and `[batch or 1, n, k]` to `[batch, m, n]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn matmul_transposed(&self, a: &Tensor, c: &Tensor) -> Result<Tensor> {
        const OP: &str = "matmul_transposed";
        let shape = checks::matmul_transposed(a, c)?;
        let operations = 2 * (shape.len() * a.shape().channels()) as u64;
        self.run(OP, shape, operations, self.operands(OP, &[a, c])?, |kernels, out| {
            kernels.matmul_transposed(a, c, out)
        })
    }

    /// `a + b`; the rows of `b` repeat when it has fewer.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.binary(BinaryOp::Add, a, b, Activation::Identity)
    }

    /// `act(a op b)`; the rows of `b` repeat when it has fewer.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, activation: Activation) -> Result<Tensor> {
        let shape = checks::binary(a, b)?;
        self.run("binary", shape, shape.len() as u64, self.operands("binary", &[a, b])?, |kernels, out| {
            kernels.binary(op, a, b, activation, out)
        })
    }

    /// The activation of every element.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn activation(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.run(
            "activation",
            *x.shape(),
            x.shape().len() as u64,
            self.operands("activation", &[x])?,
            |kernels, out| kernels.activation(x, activation, out),
        )
    }

    /// Softmax of every row.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn softmax(&self, x: &Tensor) -> Result<Tensor> {
        const OP: &str = "softmax";
        let operations = 5 * x.shape().len() as u64;
        self.run(OP, *x.shape(), operations, self.operands(OP, &[x])?, |kernels, out| kernels.softmax(x, out))
    }

    /// Resizes `[batch, height, width, channels]` to another height and width.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn resize(&self, x: &Tensor, height: usize, width: usize, mode: ResizeMode) -> Result<Tensor> {
        let shape = checks::resize(x, height, width)?;
        self.run("resize", shape, 6 * shape.len() as u64, self.operands("resize", &[x])?, |kernels, out| {
            kernels.resize(x, mode, out)
        })
    }

    /// The largest number of every square of `factor` x `factor` cells: `channels` columns of a map
    /// `[batch, height, width, columns]` to `[batch, height / factor, width / factor, channels]`, as `torch`'s
    /// `max_pool2d` with a stride of `factor`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn max_pool2d(&self, x: Rows, channels: usize, factor: usize) -> Result<Tensor> {
        const OP: &str = "max_pool2d";
        let shape = checks::max_pool2d(&x, channels, factor)?;
        let operations = shape.len() as u64 * (factor * factor) as u64;
        self.operands(OP, &[x.tensor])?;
        self.run(OP, shape, operations, 4 * operations, |kernels, out| kernels.max_pool2d(&x, factor, out))
    }

    /// Random Fourier features of positions `[.., 2]` in 0..1 (x, y), to `[.., 2 · features]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn fourier_features(&self, x: &Tensor, gaussian: &Tensor) -> Result<Tensor> {
        const OP: &str = "fourier_features";
        let shape = checks::fourier_features(x, gaussian)?;
        self.run(OP, shape, 4 * shape.len() as u64, self.operands(OP, &[x, gaussian])?, |kernels, out| {
            kernels.fourier_features(x, gaussian, out)
        })
    }

    /// Turns the pairs of numbers in rows of `x` by the angles of `table: [.., channels]`, whose rows repeat: a row is
    /// `[a, b]`, two halves of `channels / 2` numbers, one of the table `[cos, sin]`, and the result
    /// `[a cos − b sin, a sin + b cos]`. Rotary position embeddings (RoFormer, <https://arxiv.org/abs/2104.09864>), with the
    /// two numbers of a pair half a row apart.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn rotate(&self, x: Rows, table: &Tensor) -> Result<Tensor> {
        const OP: &str = "rotate";
        let shape = checks::rotate(&x, table)?;
        self.operands(OP, &[x.tensor, table])?;
        let (operations, bytes) = (3 * shape.len() as u64, 4 * (shape.len() + table.shape().len()) as u64);
        self.run(OP, shape, operations, bytes, |kernels, out| kernels.rotate(&x, table, out))
    }

    /// The `k` largest numbers of every row of `[.., n]`, the largest first, and then their places in it: `[.., 2 k]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn top_k(&self, x: &Tensor, k: usize) -> Result<Tensor> {
        const OP: &str = "top_k";
        let shape = checks::top_k(x, k)?;
        let operations = x.shape().len() as u64;
        self.run(OP, shape, operations, self.operands(OP, &[x])?, |kernels, out| kernels.top_k(x, k, out))
    }

    /// `count` rows of each entry of `x: [batch or 1, n, channels]`, by their places: columns of `places: [batch, ..]`, as
    /// [`Device::top_k`] tells them. `[batch, count, channels]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn gather_rows(&self, x: &Tensor, places: Rows, count: usize) -> Result<Tensor> {
        const OP: &str = "gather_rows";
        let shape = checks::gather_rows(x, &places, count)?;
        self.operands(OP, &[x, places.tensor])?;
        self.run(OP, shape, 0, 4 * shape.len() as u64, |kernels, out| kernels.gather_rows(x, &places, out))
    }

    /// Concatenates along `axis`. With `axis > 0` a part whose outermost dimension is 1 repeats over the batch.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn concat(&self, parts: &[&Tensor], axis: usize) -> Result<Tensor> {
        const OP: &str = "concat";
        let shape = checks::concat(parts, axis)?;
        self.run(OP, shape, 0, self.operands(OP, parts)?, |kernels, out| kernels.concat(parts, axis, out))
    }

    /// Entries `start..start + len` of `axis`, copied. For the outermost axis [`Tensor::narrow`] needs no copy.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn slice(&self, x: &Tensor, axis: usize, start: usize, len: usize) -> Result<Tensor> {
        let shape = checks::slice(x, axis, start, len)?;
        self.run("slice", shape, 0, self.operands("slice", &[x])?, |kernels, out| {
            kernels.slice(x, axis, start, out)
        })
    }

    /// Moves the last dimension behind the first: `[batch, .., channels]` to `[batch, channels, ..]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn channels_first(&self, x: &Tensor) -> Result<Tensor> {
        let dims = x.dims();
        if dims.len() < 3 {
            return Err(Error::shape("transpose", format!("{} has no inner dimensions", x.shape())));
        }
        let mut moved = vec![dims[0], x.shape().channels()];
        moved.extend(&dims[1..dims.len() - 1]);
        self.run(
            "transpose",
            Shape::of_result("transpose", &moved)?,
            0,
            self.operands("transpose", &[x])?,
            |kernels, out| kernels.transpose(x, out),
        )
    }

    /// Moves the second dimension to the end: `[batch, channels, ..]` to `[batch, .., channels]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn channels_last(&self, x: &Tensor) -> Result<Tensor> {
        let dims = x.dims();
        if dims.len() < 3 {
            return Err(Error::shape("transpose", format!("{} has no inner dimensions", x.shape())));
        }
        let mut moved = vec![dims[0]];
        moved.extend(&dims[2..]);
        moved.push(dims[1]);
        let flat = x.reshape([dims[0], dims[1], dims[2..].iter().product()])?;
        self.run(
            "transpose",
            Shape::of_result("transpose", &moved)?,
            0,
            self.operands("transpose", &[x])?,
            |kernels, out| kernels.transpose(&flat, out),
        )
    }

    /// Every element is `value`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn filled(&self, shape: impl Into<Shape>, value: f32) -> Result<Tensor> {
        self.run("fill", shape.into(), 0, 0, |kernels, out| kernels.fill(value, out))
    }

    /// Checks that weights and bias of a layer are on this device; returns the bytes of the weights.
    fn layer(&self, op: &'static str, weight: &Packed, bias: &Option<Tensor>) -> Result<u64> {
        if let Some(bias) = bias {
            self.operands(op, &[bias])?;
        }
        self.weights(op, weight)
    }

    /// Runs an operator with its epilogue, in one go where the backend fuses them and step by step elsewhere.
    fn run_with_epilogue(
        &self,
        op: &'static str,
        shape: Shape,
        operations: u64,
        operand_bytes: u64,
        epilogue: &Epilogue,
        call: impl FnOnce(&dyn Kernels, &Epilogue, &mut Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let bytes = operand_bytes + self.epilogue(op, epilogue)?;
        if self.fuses(Fused::Epilogue) {
            return self.run(op, shape, operations, bytes, |kernels, out| call(kernels, epilogue, out));
        }
        let y = self
            .run(op, shape, operations, operand_bytes, |kernels, out| call(kernels, &Epilogue::NONE, out))?;
        let act = epilogue.activation;
        match epilogue.residual {
            None if act == Activation::Identity => Ok(y),
            None => self.activation(&y, act),
            Some(r) if r.before_activation => self.binary(BinaryOp::Add, &y, r.tensor, act),
            Some(r) if act == Activation::Identity => self.add(&y, r.tensor),
            Some(r) => self.add(&self.activation(&y, act)?, r.tensor),
        }
    }
}
