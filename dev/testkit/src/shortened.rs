//! A backend that is first called past the door with too little memory, every time: for the result, for each operand, and
//! with weights of a smaller layer.

use std::sync::Arc;

use samovar_tensor::{
    Activation, Attention, AttentionBias, AxialAttention, BinaryOp, Conv2d, Conv2dGeometry, CrossAttention,
    CrossAttentionRoute, DType, DeformableAttention, Epilogue, Error, FoldedAttention, Fused, Kernels,
    LayerNorm, Linear, MaskHead, Memory, PackRequest, Packed, PackedSize, Pool, Residual, ResizeMode, Result,
    Rows, Shape, Tensor, TokenLayout,
};

/// What results are filled with before a call that must not write there.
const UNTOUCHED: f32 = 7.0;

/// The kernels of a backend in host memory. A call that accepts too little is an error, which says so.
pub struct Shortened(pub Arc<dyn Kernels>);

/// The start of a tensor, as a list that lacks the last element.
fn one_less(tensor: &Tensor) -> Result<Tensor> {
    let mut shorter = Tensor::unpooled(Shape::new(&[tensor.shape().len() - 1]), DType::F32)?;
    let len = shorter.shape().len();
    shorter.f32_mut()?.copy_from_slice(&tensor.f32()?[..len]);
    Ok(shorter)
}

/// A tensor of other dimensions.
fn filled(dims: &[usize]) -> Result<Tensor> {
    let mut tensor = Tensor::unpooled(Shape::new(dims), DType::F32)?;
    tensor.f32_mut()?.fill(UNTOUCHED);
    Ok(tensor)
}

/// The rows of a tensor but the last.
fn one_row_less(rows: &Rows) -> Result<Tensor> {
    filled(&[rows.tensor.shape().rows() - 1, rows.stride()])
}

impl Shortened {
    fn accepted(&self, what: String) -> Error {
        Error::Backend { device: self.name(), what: format!("accepted {what}") }
    }

    /// Calls with results that lack the last element, and one entry of each dimension.
    fn results(&self, out: &Tensor, call: impl Fn(&mut Tensor) -> Result<()>) -> Result<()> {
        let dims = out.dims();
        let less = |axis: usize| {
            let mut less = dims.to_vec();
            less[axis] -= 1;
            less
        };
        let all = (0..dims.len()).filter(|&axis| dims[axis] > 0).map(less);
        let last = (!out.shape().is_empty()).then(|| vec![out.shape().len() - 1]);
        for dims in all.chain(last) {
            let mut short = filled(&dims)?;
            match call(&mut short) {
                Err(Error::Shape { op, .. }) if !op.is_empty() => {}
                Err(error) => return Err(error),
                Ok(()) => return Err(self.accepted(format!("{dims:?} for a result {}", out.shape()))),
            }
            if short.f32()?.iter().any(|&value| value != UNTOUCHED) {
                return Err(self.accepted(format!("{dims:?} before it refused it")));
            }
        }
        Ok(())
    }

    /// Calls with an operand that is too short.
    fn operand(
        &self,
        out: &Tensor,
        short: Tensor,
        call: impl FnOnce(&Tensor, &mut Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut to = filled(out.dims())?;
        match call(&short, &mut to) {
            Err(Error::Shape { op, what }) if !op.is_empty() && what.contains('[') => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(self.accepted(format!("an operand of {}", short.shape()))),
        }
    }

    /// The same for every operand in turn, as a list that lacks the last element.
    fn operands<const N: usize>(
        &self,
        operands: [&Tensor; N],
        out: &Tensor,
        call: impl Fn([&Tensor; N], &mut Tensor) -> Result<()>,
    ) -> Result<()> {
        self.results(out, |out| call(operands, out))?;
        for index in (0..N).filter(|&index| !operands[index].shape().is_empty()) {
            self.operand(out, one_less(operands[index])?, |short, to| {
                let mut operands = operands;
                operands[index] = short;
                call(operands, to)
            })?;
        }
        Ok(())
    }

    /// The same for what an epilogue adds.
    fn residual(
        &self,
        epilogue: &Epilogue,
        out: &Tensor,
        call: impl FnOnce(&Epilogue, &mut Tensor) -> Result<()>,
    ) -> Result<()> {
        let Some(residual) = epilogue.residual else { return Ok(()) };
        // Of a single channel fewer rows may do as well, but no channel does not.
        let is_narrow = residual.tensor.shape().channels() == 1;
        let short = if is_narrow { filled(&[0])? } else { one_less(residual.tensor)? };
        self.operand(out, short, |tensor, to| {
            let residual = Some(Residual { tensor, ..residual });
            call(&Epilogue { residual, ..*epilogue }, to)
        })
    }

    /// Calls with shorter numbers of a norm.
    fn norm(
        &self,
        norm: &LayerNorm,
        out: &Tensor,
        call: impl Fn(&LayerNorm, &mut Tensor) -> Result<()>,
    ) -> Result<()> {
        let (gamma, beta) = (norm.gamma(), norm.beta());
        self.operand(out, one_less(gamma)?, |short, to| {
            call(&norm.rehoused(short.clone(), beta.clone()), to)
        })?;
        self.operand(out, one_less(beta)?, |short, to| call(&norm.rehoused(gamma.clone(), short.clone()), to))
    }

    /// Calls with weights of another layer.
    fn weights(&self, out: &Tensor, call: impl FnOnce(&mut Tensor) -> Result<()>) -> Result<()> {
        match call(&mut filled(out.dims())?) {
            Err(Error::Shape { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(self.accepted("weights of a smaller layer".into())),
        }
    }
}

impl Kernels for Shortened {
    fn name(&self) -> String {
        self.0.name()
    }

    fn scratch_bytes(&self) -> usize {
        self.0.scratch_bytes()
    }

    fn reserve(&self) -> Result<()> {
        self.0.reserve()
    }

    fn memory(&self) -> Arc<dyn Memory> {
        self.0.memory()
    }

    fn weight_layout(&self) -> String {
        self.0.weight_layout()
    }

    fn packed_size(&self, request: &PackRequest) -> PackedSize {
        self.0.packed_size(request)
    }

    fn fuses(&self, fused: Fused) -> bool {
        self.0.fuses(fused)
    }

    fn cross_attention_route(&self, attention: &CrossAttention) -> CrossAttentionRoute {
        self.0.cross_attention_route(attention)
    }

    fn axial_attention_pays(&self, sizes: &samovar_tensor::checks::AxialSizes) -> bool {
        self.0.axial_attention_pays(sizes)
    }

    fn pack_linear(&self, pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
        self.0.pack_linear(pool, weight)
    }

    fn pack_conv2d(&self, pool: &Arc<Pool>, weight: &Tensor, geometry: &Conv2dGeometry) -> Result<Packed> {
        self.0.pack_conv2d(pool, weight, geometry)
    }

    fn linear(&self, x: &Tensor, layer: &Linear, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        self.operands([x], out, |[x], out| self.0.linear(x, layer, epilogue, out))?;
        self.residual(epilogue, out, |epilogue, out| self.0.linear(x, layer, epilogue, out))?;
        if let Some(bias) = layer.bias() {
            self.operand(out, one_less(bias)?, |short, out| {
                let layer = layer.rehoused(layer.weight().clone(), Some(short.clone()));
                self.0.linear(x, &layer, epilogue, out)
            })?;
        }
        let pool = Pool::new(usize::MAX);
        let pack = |pool: &Arc<Pool>, dims: [usize; 2]| self.0.pack_linear(pool, &filled(&dims)?);
        for dims in [[layer.outputs() - 1, layer.inputs()], [layer.outputs(), layer.inputs() - 1]] {
            let packed = pack(&pool, dims)?;
            let layer = layer.rehoused(packed, layer.bias().cloned());
            self.weights(out, |out| self.0.linear(x, &layer, epilogue, out))?;
        }
        self.0.linear(x, layer, epilogue, out)
    }

    fn conv2d(&self, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        self.operands([x], out, |[x], out| self.0.conv2d(x, layer, epilogue, out))?;
        self.residual(epilogue, out, |epilogue, out| self.0.conv2d(x, layer, epilogue, out))?;
        if let Some(bias) = layer.bias() {
            self.operand(out, one_less(bias)?, |short, out| {
                let layer = layer.rehoused(layer.weight().clone(), Some(short.clone()));
                self.0.conv2d(x, &layer, epilogue, out)
            })?;
        }
        let (geometry, pool) = (layer.geometry(), Pool::new(usize::MAX));
        let pack = |pool: &Arc<Pool>, [outputs, inputs]: [usize; 2]| {
            let weight = filled(&[outputs, inputs, geometry.kernel, geometry.kernel])?;
            self.0.pack_conv2d(pool, &weight, &geometry)
        };
        let inputs = layer.inputs() / geometry.groups;
        // Those of a depthwise convolution have no inputs to take away, only filters.
        let smaller = [[layer.outputs() - 1, inputs], [layer.outputs(), inputs - 1]];
        for dims in smaller.into_iter().take(if geometry.groups > 1 { 1 } else { 2 }) {
            let packed = pack(&pool, dims)?;
            let layer = layer.rehoused(packed, layer.bias().cloned());
            self.weights(out, |out| self.0.conv2d(x, &layer, epilogue, out))?;
        }
        self.0.conv2d(x, layer, epilogue, out)
    }

    fn depth_to_space(&self, x: &Tensor, factor: usize, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        self.operands([x], out, |[x], out| self.0.depth_to_space(x, factor, epilogue, out))?;
        self.residual(epilogue, out, |epilogue, out| self.0.depth_to_space(x, factor, epilogue, out))?;
        self.0.depth_to_space(x, factor, epilogue, out)
    }

    fn layer_norm(&self, x: &Tensor, norm: &LayerNorm, act: Activation, out: &mut Tensor) -> Result<()> {
        self.operands([x], out, |[x], out| self.0.layer_norm(x, norm, act, out))?;
        self.norm(norm, out, |norm, out| self.0.layer_norm(x, norm, act, out))?;
        self.0.layer_norm(x, norm, act, out)
    }

    fn attention(&self, a: &Attention, out: &mut Tensor) -> Result<()> {
        self.results(out, |out| self.0.attention(a, out))?;
        self.operand(out, one_row_less(&a.q)?, |t, out| {
            self.0.attention(&Attention { q: Rows::columns(t, a.q.first_column), ..*a }, out)
        })?;
        self.operand(out, one_row_less(&a.k)?, |t, out| {
            self.0.attention(&Attention { k: Rows::columns(t, a.k.first_column), ..*a }, out)
        })?;
        self.operand(out, one_row_less(&a.v)?, |t, out| {
            self.0.attention(&Attention { v: Rows::columns(t, a.v.first_column), ..*a }, out)
        })?;
        let with_bias =
            |bias: AttentionBias, out: &mut Tensor| self.0.attention(&Attention { bias, ..*a }, out);
        match a.bias {
            AttentionBias::None => {}
            AttentionBias::Table(table) => {
                self.operand(out, one_less(table)?, |t, out| with_bias(AttentionBias::Table(t), out))?;
            }
            AttentionBias::KeyPositions(positions) => {
                let short = one_less(positions)?;
                self.operand(out, short, |t, out| with_bias(AttentionBias::KeyPositions(t), out))?;
            }
            AttentionBias::RelativePosition { rows, columns, grid } => {
                self.operand(out, one_less(rows)?, |t, out| {
                    with_bias(AttentionBias::RelativePosition { rows: t, columns, grid }, out)
                })?;
                self.operand(out, one_less(columns)?, |t, out| {
                    with_bias(AttentionBias::RelativePosition { rows, columns: t, grid }, out)
                })?;
            }
        }
        if let TokenLayout::Windows { batch, grid, window, query_stride, padding: Some(row) } = a.layout {
            self.operand(out, one_less(row)?, |t, out| {
                let layout = TokenLayout::Windows { batch, grid, window, query_stride, padding: Some(t) };
                self.0.attention(&Attention { layout, ..*a }, out)
            })?;
        }
        self.0.attention(a, out)
    }

    fn deformable_attention(&self, a: &DeformableAttention, out: &mut Tensor) -> Result<()> {
        self.operands([a.values, a.boxes], out, |[values, boxes], out| {
            self.0.deformable_attention(&DeformableAttention { values, boxes, ..*a }, out)
        })?;
        self.operand(out, one_row_less(&a.offsets)?, |t, out| {
            let offsets = Rows::columns(t, a.offsets.first_column);
            self.0.deformable_attention(&DeformableAttention { offsets, ..*a }, out)
        })?;
        self.operand(out, one_row_less(&a.logits)?, |t, out| {
            let logits = Rows::columns(t, a.logits.first_column);
            self.0.deformable_attention(&DeformableAttention { logits, ..*a }, out)
        })?;
        self.0.deformable_attention(a, out)
    }

    fn folded_attention(&self, a: &FoldedAttention, out: &mut Tensor) -> Result<()> {
        self.operands([a.x, a.positions, a.keys, a.values], out, |[x, positions, keys, values], out| {
            self.0.folded_attention(&FoldedAttention { x, positions, keys, values, ..*a }, out)
        })?;
        self.norm(a.norm, out, |norm, out| self.0.folded_attention(&FoldedAttention { norm, ..*a }, out))?;
        self.0.folded_attention(a, out)
    }

    fn axial_attention(&self, a: &AxialAttention, out: &mut Tensor) -> Result<()> {
        self.operands([a.q, a.keys, a.values], out, |[q, keys, values], out| {
            self.0.axial_attention(&AxialAttention { q, keys, values, ..*a }, out)
        })?;
        self.operands([a.columns, a.rows], out, |[columns, rows], out| {
            self.0.axial_attention(&AxialAttention { columns, rows, ..*a }, out)
        })?;
        if let Some(beside) = a.beside {
            self.operand(out, one_less(beside)?, |beside, out| {
                self.0.axial_attention(&AxialAttention { beside: Some(beside), ..*a }, out)
            })?;
        }
        self.0.axial_attention(a, out)
    }

    fn pack_mask_head(&self, pool: &Arc<Pool>, first: &Tensor, second: &Tensor) -> Result<Packed> {
        self.0.pack_mask_head(pool, first, second)
    }

    fn mask_logits(&self, x: &Tensor, head: &MaskHead, vectors: &Tensor, out: &mut Tensor) -> Result<()> {
        self.operands([x, vectors], out, |[x, vectors], out| self.0.mask_logits(x, head, vectors, out))?;
        let (weights, biases) = head.fused().expect("it says it fuses them");
        self.norm(head.norm(), out, |norm, out| {
            let head = head.rehoused(weights.clone(), biases.clone(), norm.clone());
            self.0.mask_logits(x, &head, vectors, out)
        })?;
        for index in 0..2 {
            let mut biases = biases.clone();
            biases[index] = one_less(&biases[index])?;
            let head = head.rehoused(weights.clone(), biases, head.norm().clone());
            self.weights(out, |out| self.0.mask_logits(x, &head, vectors, out))?;
        }
        let [middle, outputs] = head.channels();
        let rows = [head.factors()[0].pow(2) * middle, head.factors()[1].pow(2) * outputs];
        let pool = Pool::new(usize::MAX);
        // The whole panels of the others would do.
        for (first, second) in [
            ([rows[0], head.inputs() - 1], [rows[1], middle]),
            ([rows[0], head.inputs()], [rows[1], middle - 1]),
            ([rows[0], head.inputs()], [0, middle]),
        ] {
            let packed = self.0.pack_mask_head(&pool, &filled(&first)?, &filled(&second)?)?;
            let head = head.rehoused(packed, biases.clone(), head.norm().clone());
            self.weights(out, |out| self.0.mask_logits(x, &head, vectors, out))?;
        }
        self.0.mask_logits(x, head, vectors, out)
    }

    fn matmul_transposed(&self, a: &Tensor, c: &Tensor, out: &mut Tensor) -> Result<()> {
        self.operands([a, c], out, |[a, c], out| self.0.matmul_transposed(a, c, out))?;
        self.0.matmul_transposed(a, c, out)
    }

    fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, act: Activation, out: &mut Tensor) -> Result<()> {
        self.operands([a, b], out, |[a, b], out| self.0.binary(op, a, b, act, out))?;
        self.0.binary(op, a, b, act, out)
    }

    fn activation(&self, x: &Tensor, activation: Activation, out: &mut Tensor) -> Result<()> {
        self.operands([x], out, |[x], out| self.0.activation(x, activation, out))?;
        self.0.activation(x, activation, out)
    }

    fn softmax(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        self.operands([x], out, |[x], out| self.0.softmax(x, out))?;
        self.0.softmax(x, out)
    }

    fn resize(&self, x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()> {
        // Any height and width can be resized to, so only what is not a map is refused.
        let (batch, channels) = (out.dims()[0], out.shape().channels());
        let [.., height, width, _] = out.shape().fixed::<4>("resize")?;
        for dims in [[batch - 1, height, width, channels], [batch, height, width, channels - 1]] {
            self.weights(out, |_| self.0.resize(x, mode, &mut filled(&dims)?))?;
        }
        self.weights(out, |_| self.0.resize(x, mode, &mut one_less(out)?))?;
        self.operand(out, one_less(x)?, |x, out| self.0.resize(x, mode, out))?;
        self.0.resize(x, mode, out)
    }

    fn max_pool2d(&self, x: &Rows, factor: usize, out: &mut Tensor) -> Result<()> {
        self.weights(out, |_| self.0.max_pool2d(x, factor, &mut one_less(out)?))?;
        self.operand(out, one_less(x.tensor)?, |tensor, out| {
            self.0.max_pool2d(&Rows::columns(tensor, x.first_column), factor, out)
        })?;
        self.0.max_pool2d(x, factor, out)
    }

    fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()> {
        self.operands([x, gaussian], out, |[x, gaussian], out| self.0.fourier_features(x, gaussian, out))?;
        self.0.fourier_features(x, gaussian, out)
    }

    fn rotate(&self, x: &Rows, table: &Tensor, out: &mut Tensor) -> Result<()> {
        let first_column = x.first_column;
        self.operands([x.tensor, table], out, |[tensor, table], out| {
            self.0.rotate(&Rows { tensor, first_column }, table, out)
        })?;
        self.0.rotate(x, table, out)
    }

    fn top_k(&self, x: &Tensor, k: usize, out: &mut Tensor) -> Result<()> {
        self.operands([x], out, |[x], out| self.0.top_k(x, k, out))?;
        self.0.top_k(x, k, out)
    }

    fn gather_rows(&self, x: &Tensor, places: &Rows, out: &mut Tensor) -> Result<()> {
        // Fewer rows are another choice, and as good.
        let [batch, count, channels] = out.shape().fixed("gather_rows")?;
        for dims in [[batch - 1, count, channels], [batch, count, channels - 1]] {
            self.weights(out, |_| self.0.gather_rows(x, places, &mut filled(&dims)?))?;
        }
        if !out.shape().is_empty() {
            self.weights(out, |_| self.0.gather_rows(x, places, &mut one_less(out)?))?;
        }
        self.operand(out, one_less(x)?, |x, out| self.0.gather_rows(x, places, out))?;
        self.operand(out, one_row_less(places)?, |tensor, out| {
            self.0.gather_rows(x, &Rows::columns(tensor, places.first_column), out)
        })?;
        self.0.gather_rows(x, places, out)
    }

    fn concat(&self, parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()> {
        self.results(out, |out| self.0.concat(parts, axis, out))?;
        for index in 0..parts.len() {
            self.operand(out, one_less(parts[index])?, |short, out| {
                let mut parts = parts.to_vec();
                parts[index] = short;
                self.0.concat(&parts, axis, out)
            })?;
        }
        self.0.concat(parts, axis, out)
    }

    fn slice(&self, x: &Tensor, axis: usize, start: usize, out: &mut Tensor) -> Result<()> {
        // Fewer entries of the axis are another slice, and as good.
        let axes = (0..out.shape().rank()).filter(|&other| other != axis && out.dims()[other] > 0);
        for other in axes {
            let mut dims = out.dims().to_vec();
            dims[other] -= 1;
            self.weights(out, |_| self.0.slice(x, axis, start, &mut filled(&dims)?))?;
        }
        let mut dims = x.dims().to_vec();
        dims[axis] = start + out.dims()[axis] - 1;
        self.operand(out, filled(&dims)?, |x, out| self.0.slice(x, axis, start, out))?;
        self.0.slice(x, axis, start, out)
    }

    fn transpose(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        self.operands([x], out, |[x], out| self.0.transpose(x, out))?;
        self.0.transpose(x, out)
    }

    fn fill(&self, value: f32, out: &mut Tensor) -> Result<()> {
        self.0.fill(value, out)
    }
}
