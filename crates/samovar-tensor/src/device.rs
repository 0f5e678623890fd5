//! The one door: every operator call checks shapes, takes its output from the pool, runs, and is reported.

mod decoder;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{
    Activation, Attention, AttentionBias, BinaryOp, Conv2d, Conv2dGeometry, ConvTranspose2d, Cost, DType,
    Epilogue, Error, Instrument, Kernels, LayerNorm, Linear, Packed, Plan, Pool, Precision, ResizeMode,
    Result, Rows, Shape, ShapeOnly, Span, Tensor, TokenLayout,
};

/// Where a model runs: a backend, its memory, and whoever watches. Cheap to clone.
#[derive(Clone)]
pub struct Device {
    /// `None`: the shape-only device.
    kernels: Option<Arc<dyn Kernels>>,
    pool: Arc<Pool>,
    instrument: Option<Arc<dyn Instrument>>,
    stage: &'static str,
    precision: Precision,
}

impl Device {
    /// A device on a backend, with all its tensor memory in `pool`.
    pub fn new(kernels: Arc<dyn Kernels>, pool: Arc<Pool>) -> Self {
        Self { kernels: Some(kernels), pool, instrument: None, stage: "", precision: Precision::F32 }
    }

    /// The device of the dry run: tensors have shapes and no values, operators are counted by `recorder`.
    pub fn shape_only(recorder: Arc<ShapeOnly>) -> Self {
        Self {
            kernels: None,
            pool: Pool::counting(usize::MAX),
            instrument: Some(recorder),
            stage: "",
            precision: Precision::F32,
        }
    }

    /// The same device, reporting every call to `instrument`.
    pub fn with_instrument(&self, instrument: Arc<dyn Instrument>) -> Self {
        Self { instrument: Some(instrument), ..self.clone() }
    }

    /// The same device, reporting calls under the name of a stage.
    pub fn stage(&self, stage: &'static str) -> Self {
        Self { stage, ..self.clone() }
    }

    /// The same device, holding the weights it loads from now on in this precision. Layers that are loaded already stay
    /// as they are, and run on either.
    pub fn with_weight_precision(&self, precision: Precision) -> Self {
        Self { precision, ..self.clone() }
    }

    /// In which precision this device holds weights.
    pub fn weight_precision(&self) -> Precision {
        self.precision
    }

    /// The device's memory.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Whether this is the device of the dry run.
    pub fn is_shape_only(&self) -> bool {
        self.kernels.is_none()
    }

    /// Name for reports.
    pub fn name(&self) -> String {
        self.kernels.as_ref().map_or_else(|| "shapes".into(), |kernels| kernels.name())
    }

    /// Dry run: builds something on the shape-only device, uses it, and tells what that takes.
    ///
    /// `scratch_bytes` is that of the backend the work is planned for.
    ///
    /// # Errors
    /// Whatever `build` or `work` answer.
    pub fn plan<M, E>(
        scratch_bytes: usize,
        build: impl FnOnce(&Device) -> std::result::Result<M, E>,
        work: impl FnOnce(&Device, &M) -> std::result::Result<(), E>,
    ) -> std::result::Result<Plan, E> {
        let recorder = ShapeOnly::new();
        let device = Device::shape_only(Arc::clone(&recorder));
        let model = build(&device)?;
        let weight_bytes = device.pool.stats().in_use_bytes;
        device.pool.reset_peak();
        recorder.take();
        work(&device, &model)?;
        let activation_bytes = device.pool.stats().peak_bytes - weight_bytes;
        Ok(Plan { weight_bytes, activation_bytes, scratch_bytes, operators: recorder.take() })
    }

    /// Most bytes the backend uses beside tensors.
    pub fn scratch_bytes(&self) -> usize {
        self.kernels.as_ref().map_or(0, |kernels| kernels.scratch_bytes())
    }

    // ---- values in -------------------------------------------------------------------------------------------------

    /// A tensor of this device, filled by `fill` (not called on the shape-only device).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn tensor(&self, shape: impl Into<Shape>, fill: impl FnOnce(&mut [f32])) -> Result<Tensor> {
        let mut tensor = Tensor::allocate(&self.pool, shape.into(), DType::F32)?;
        if self.pool.is_backed() {
            fill(tensor.f32_mut()?);
        }
        Ok(tensor)
    }

    /// Copies a weight of any float type to this device as f32.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn load(&self, weight: &Tensor) -> Result<Tensor> {
        let values = if self.is_shape_only() { Cow::default() } else { weight.to_f32()? };
        let loaded = self.tensor(*weight.shape(), |out| out.copy_from_slice(&values))?;
        weight.release();
        Ok(loaded)
    }

    /// Prepares a fully connected layer from `weight: [outputs, inputs]` and `bias: [outputs]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OutOfMemory`].
    pub fn load_linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Linear> {
        let [outputs, inputs] = weight.shape().fixed("linear weight")?;
        let packed = match &self.kernels {
            Some(kernels) => kernels.pack_linear(&self.pool, &self.round_weight(weight)?)?,
            None => self.pack_shape(weight)?,
        };
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
        let inputs = inputs_per_group * geometry.groups;
        let depthwise = inputs_per_group == 1 && geometry.groups == outputs;
        if kernel_h != geometry.kernel || kernel_w != geometry.kernel || !(geometry.groups == 1 || depthwise)
        {
            let what = format!("weight {} does not fit {geometry:?}", weight.shape());
            return Err(Error::shape("conv2d weight", what));
        }
        let packed = match &self.kernels {
            Some(kernels) if depthwise => {
                kernels.pack_conv2d(&self.pool, &weight.to_precision(Precision::F32)?, &geometry)?
            }
            Some(kernels) => kernels.pack_conv2d(&self.pool, &self.round_weight(weight)?, &geometry)?,
            None if depthwise => self.count(weight.shape().len() * DType::F32.size_bytes())?,
            None => self.pack_shape(weight)?,
        };
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
        let shape = Shape::new(&[taps * outputs, inputs]);
        let (by_tap, bias_by_tap) = if self.is_shape_only() {
            let bias = bias.map(|_| Tensor::shape_only(Shape::new(&[taps * outputs]), DType::F32));
            (Tensor::shape_only(shape, DType::F32), bias)
        } else {
            let source = weight.to_f32_vec()?;
            let mut by_tap = Vec::with_capacity(source.len());
            for tap in 0..taps {
                for output in 0..outputs {
                    by_tap.extend((0..inputs).map(|input| source[(input * outputs + output) * taps + tap]));
                }
            }
            let bias = bias.map(|bias| bias.to_f32_vec()).transpose()?;
            let bias = bias.map(|bias| Tensor::from_values([taps * outputs], &bias.repeat(taps)));
            (Tensor::from_values(shape, &by_tap), bias)
        };
        let taps = self.load_linear(&by_tap, bias_by_tap.as_ref())?;
        Ok(ConvTranspose2d { inputs, outputs, factor, taps })
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

    fn pack_shape(&self, weight: &Tensor) -> Result<Packed> {
        let outputs = weight.dims().first().copied().unwrap_or(1);
        let depth = weight.shape().len() / outputs.max(1);
        self.count(self.precision_of(weight.shape()).packed_bytes(outputs, depth))
    }

    fn count(&self, size_bytes: usize) -> Result<Packed> {
        let counted = Tensor::allocate(&self.pool, Shape::new(&[size_bytes]), DType::U8)?;
        Ok(Packed::new(counted, size_bytes))
    }

    // ---- operators -------------------------------------------------------------------------------------------------

    /// `epilogue(x Wᵀ + b)`: `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::OutOfMemory`]; so for every operator.
    pub fn linear(&self, x: &Tensor, layer: &Linear, epilogue: &Epilogue) -> Result<Tensor> {
        const OP: &str = "linear";
        let shape = x.shape().with_channels(layer.outputs);
        if x.shape().channels() != layer.inputs {
            return Err(Error::shape(OP, format!("{} into {} inputs", x.shape(), layer.inputs)));
        }
        epilogue.check(OP, &shape)?;
        let operations = 2 * shape.len() as u64 * layer.inputs as u64;
        let bytes = bytes_of(&[x]) + layer.weight.size_bytes() as u64 + epilogue_bytes(epilogue);
        self.run(OP, shape, operations, bytes, |kernels, out| kernels.linear(x, layer, epilogue, out))
    }

    /// Convolution of `[batch, height, width, inputs]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn conv2d(&self, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue) -> Result<Tensor> {
        let depthwise = layer.geometry.groups > 1;
        let op = if depthwise { "depthwise_conv2d" } else { "conv2d" };
        let [batch, height, width, channels] = x.shape().fixed(op)?;
        let sides = (layer.geometry.output_side(height), layer.geometry.output_side(width));
        let (Some(out_height), Some(out_width), true) = (sides.0, sides.1, channels == layer.inputs) else {
            let what = format!("{} into {} channels with {:?}", x.shape(), layer.inputs, layer.geometry);
            return Err(Error::shape(op, what));
        };
        let shape = Shape::new(&[batch, out_height, out_width, layer.outputs]);
        epilogue.check(op, &shape)?;
        let taps = layer.geometry.kernel * layer.geometry.kernel * layer.inputs / layer.geometry.groups;
        let operations = 2 * shape.len() as u64 * taps as u64;
        let bytes = bytes_of(&[x]) + layer.weight.size_bytes() as u64 + epilogue_bytes(epilogue);
        self.run(op, shape, operations, bytes, |kernels, out| kernels.conv2d(x, layer, epilogue, out))
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
        const OP: &str = "conv_transpose2d";
        let [batch, height, width, _] = x.shape().fixed(OP)?;
        let factor = layer.factor;
        let shape = Shape::new(&[batch, height * factor, width * factor, layer.outputs]);
        epilogue.check(OP, &shape)?;
        let taps = self.linear(x, &layer.taps, &Epilogue::NONE)?;
        let bytes = bytes_of(&[&taps]) + epilogue_bytes(epilogue);
        self.run("depth_to_space", shape, shape.len() as u64, bytes, |kernels, out| {
            kernels.depth_to_space(&taps, factor, epilogue, out)
        })
    }

    /// Layer normalisation over the last dimension, then the activation.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn layer_norm(&self, x: &Tensor, norm: &LayerNorm, activation: Activation) -> Result<Tensor> {
        const OP: &str = "layer_norm";
        if norm.gamma.dims() != [x.shape().channels()] {
            return Err(Error::shape(OP, format!("{} with scale {}", x.shape(), norm.gamma.shape())));
        }
        self.run(OP, *x.shape(), 8 * x.shape().len() as u64, bytes_of(&[x]), |kernels, out| {
            kernels.layer_norm(x, norm, activation, out)
        })
    }

    /// Multi-head attention. The result has the rows of `q` and `heads · value_channels` columns, in the shape of
    /// `q`'s tensor.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn attention(&self, attention: &Attention) -> Result<Tensor> {
        let a = attention;
        let shape = a.q.tensor.shape().with_channels(a.heads * a.value_channels);
        let (queries, keys_per_query) = check_attention(a)?;
        let logits = (a.heads * queries * keys_per_query) as u64;
        // Decomposed relative positions are one product per query and row, and one per query and column.
        let distances = match a.bias {
            AttentionBias::RelativePosition { grid: [height, width], .. } => height + width,
            _ => 0,
        };
        let positions = 2 * (a.heads * queries * distances * a.head_channels) as u64;
        let products = 2 * logits * (a.head_channels + a.value_channels) as u64;
        let operations = products + positions + 5 * logits;
        let columns = (a.heads * (2 * a.head_channels + a.value_channels)) as u64;
        let bytes = 4 * columns * a.k.tensor.shape().rows().max(queries) as u64;
        self.run("attention", shape, operations, bytes, |kernels, out| kernels.attention(a, out))
    }

    /// `a[b] c[b]ᵀ`: `[batch, m, k]` and `[batch or 1, n, k]` to `[batch, m, n]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn matmul_transposed(&self, a: &Tensor, c: &Tensor) -> Result<Tensor> {
        const OP: &str = "matmul_transposed";
        let [batch, m, k] = a.shape().fixed(OP)?;
        let [c_batch, n, c_k] = c.shape().fixed(OP)?;
        if k != c_k || !(c_batch == batch || c_batch == 1) {
            return Err(Error::shape(OP, format!("{} with {}", a.shape(), c.shape())));
        }
        let operations = 2 * (batch * m * n * k) as u64;
        self.run(OP, Shape::new(&[batch, m, n]), operations, bytes_of(&[a, c]), |kernels, out| {
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
        Epilogue::add(b).check("binary", a.shape())?;
        self.run("binary", *a.shape(), a.shape().len() as u64, bytes_of(&[a, b]), |kernels, out| {
            kernels.binary(op, a, b, activation, out)
        })
    }

    /// The activation of every element.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn activation(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.run("activation", *x.shape(), x.shape().len() as u64, bytes_of(&[x]), |kernels, out| {
            kernels.activation(x, activation, out)
        })
    }

    /// Resizes `[batch, height, width, channels]` to another height and width.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn resize(&self, x: &Tensor, height: usize, width: usize, mode: ResizeMode) -> Result<Tensor> {
        let [batch, from_height, from_width, channels] = x.shape().fixed("resize")?;
        if from_height * from_width == 0 {
            return Err(Error::shape("resize", format!("nothing to resize in {}", x.shape())));
        }
        let shape = Shape::new(&[batch, height, width, channels]);
        self.run("resize", shape, 6 * shape.len() as u64, bytes_of(&[x]), |kernels, out| {
            kernels.resize(x, mode, out)
        })
    }

    /// Random Fourier features of positions `[.., 2]` in 0..1 (x, y), to `[.., 2 · features]`.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn fourier_features(&self, x: &Tensor, gaussian: &Tensor) -> Result<Tensor> {
        const OP: &str = "fourier_features";
        let [two, features] = gaussian.shape().fixed(OP)?;
        if two != 2 || x.shape().channels() != 2 {
            return Err(Error::shape(OP, format!("{} with {}", x.shape(), gaussian.shape())));
        }
        let shape = x.shape().with_channels(2 * features);
        self.run(OP, shape, 4 * shape.len() as u64, bytes_of(&[x, gaussian]), |kernels, out| {
            kernels.fourier_features(x, gaussian, out)
        })
    }

    /// Concatenates along `axis`. With `axis > 0` a part whose outermost dimension is 1 repeats over the batch.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn concat(&self, parts: &[&Tensor], axis: usize) -> Result<Tensor> {
        const OP: &str = "concat";
        let first = parts.first().ok_or_else(|| Error::shape(OP, "nothing to concatenate"))?;
        let batch = parts.iter().map(|part| part.dims().first().copied().unwrap_or(1)).max().unwrap_or(1);
        let mut dims = first.dims().to_vec();
        if axis >= dims.len() {
            return Err(Error::shape(OP, format!("axis {axis} of {}", first.shape())));
        }
        for part in parts {
            let fits = part.shape().rank() == dims.len()
                && part.dims().iter().enumerate().all(|(i, &dim)| {
                    i == axis || dim == first.dims()[i] || (i == 0 && (dim == 1 || first.dims()[0] == 1))
                })
                && (axis == 0 || part.dims()[0] == batch || part.dims()[0] == 1);
            if !fits {
                return Err(Error::shape(OP, format!("{} beside {}", part.shape(), first.shape())));
            }
        }
        if axis > 0 {
            dims[0] = batch;
        }
        dims[axis] = parts.iter().map(|part| part.dims()[axis]).sum();
        self.run(OP, Shape::new(&dims), 0, bytes_of(parts), |kernels, out| kernels.concat(parts, axis, out))
    }

    /// Entries `start..start + len` of `axis`, copied. For the outermost axis [`Tensor::narrow`] needs no copy.
    ///
    /// # Errors
    /// As [`Device::linear`].
    pub fn slice(&self, x: &Tensor, axis: usize, start: usize, len: usize) -> Result<Tensor> {
        let mut dims = x.dims().to_vec();
        let end = start.checked_add(len);
        if axis >= dims.len() || end.is_none_or(|end| end > dims[axis]) {
            return Err(Error::shape("slice", format!("{start}..+{len} of axis {axis} of {}", x.shape())));
        }
        dims[axis] = len;
        self.run("slice", Shape::new(&dims), 0, 0, |kernels, out| kernels.slice(x, axis, start, out))
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
        self.run("transpose", Shape::new(&moved), 0, bytes_of(&[x]), |kernels, out| kernels.transpose(x, out))
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
        self.run("transpose", Shape::new(&moved), 0, bytes_of(&[x]), |kernels, out| {
            kernels.transpose(&flat, out)
        })
    }

    fn run(
        &self,
        op: &'static str,
        shape: Shape,
        operations: u64,
        operand_bytes: u64,
        call: impl FnOnce(&dyn Kernels, &mut Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut out = Tensor::allocate(&self.pool, shape, DType::F32)?;
        let start = self.instrument.as_ref().map(|_| Instant::now());
        if let Some(kernels) = &self.kernels {
            call(kernels.as_ref(), &mut out)?;
        }
        if let (Some(instrument), Some(start)) = (&self.instrument, start) {
            let duration = if self.kernels.is_some() { start.elapsed() } else { Duration::ZERO };
            let cost = Cost { operations, bytes: operand_bytes + out.size_bytes() as u64 };
            instrument.record(&Span { op, stage: self.stage, output: shape, cost, duration });
        }
        Ok(out)
    }
}

fn bytes_of(tensors: &[&Tensor]) -> u64 {
    tensors.iter().map(|tensor| tensor.size_bytes() as u64).sum()
}

fn epilogue_bytes(epilogue: &Epilogue) -> u64 {
    epilogue.residual.map_or(0, |residual| residual.tensor.size_bytes() as u64)
}

/// Checks all operands; returns the number of queries and of keys that each of them sees.
fn check_attention(a: &Attention) -> Result<(usize, usize)> {
    const OP: &str = "attention";
    let fits = |rows: &Rows, count: usize, channels: usize| {
        rows.tensor.shape().rows() == count && rows.first_column + a.heads * channels <= rows.stride()
    };
    let (queries, key_rows, keys_per_query, softmax_queries) = match a.layout {
        TokenLayout::Sequence { batch, key_batch, queries, keys } => {
            if !(key_batch == batch || key_batch == 1) {
                return Err(Error::shape(OP, format!("{key_batch} key batches for {batch} query batches")));
            }
            (batch * queries, key_batch * keys, keys, queries)
        }
        TokenLayout::Windows { batch, grid: [height, width], window, padding } => {
            if window == 0 {
                return Err(Error::shape(OP, "a window of 0 tokens"));
            }
            let divides = height.is_multiple_of(window) && width.is_multiple_of(window);
            let stride = a.k.stride();
            match padding {
                None if !divides => {
                    let what = format!("windows of {window} over {height}x{width} need a padding row");
                    return Err(Error::shape(OP, what));
                }
                Some(row) if row.shape().len() != stride || a.v.stride() != stride => {
                    let what = format!("padding row {} beside keys of {stride} columns", row.shape());
                    return Err(Error::shape(OP, what));
                }
                _ => {}
            }
            (batch * height * width, batch * height * width, window * window, window * window)
        }
    };
    let q_fits = fits(&a.q, queries, a.head_channels);
    if !q_fits || !fits(&a.k, key_rows, a.head_channels) || !fits(&a.v, key_rows, a.value_channels) {
        let (q, k, v) = (a.q.tensor.shape(), a.k.tensor.shape(), a.v.tensor.shape());
        let what = format!("q {q}, k {k}, v {v} with {} heads in {:?}", a.heads, a.layout);
        return Err(Error::shape(OP, what));
    }
    match a.bias {
        AttentionBias::None => {}
        AttentionBias::Table(table) => {
            if table.dims() != [a.heads, softmax_queries, keys_per_query] {
                return Err(Error::shape(OP, format!("bias table {}", table.shape())));
            }
        }
        AttentionBias::KeyPositions(positions) => {
            if positions.dims() != [keys_per_query, a.heads * a.head_channels] {
                return Err(Error::shape(OP, format!("positions {} of the keys", positions.shape())));
            }
        }
        AttentionBias::RelativePosition { rows, columns, grid: [height, width] } => {
            let tables_fit = rows.dims() == [2 * height - 1, a.head_channels]
                && columns.dims() == [2 * width - 1, a.head_channels];
            if !tables_fit || height * width != softmax_queries || softmax_queries != keys_per_query {
                let what = format!("tables {} and {} for {height}x{width}", rows.shape(), columns.shape());
                return Err(Error::shape(OP, what));
            }
        }
    }
    Ok((queries, keys_per_query))
}
