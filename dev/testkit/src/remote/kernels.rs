//! The operators: operands become views for as long as the device's thread works on them.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use samovar_tensor::{
    Activation, Attention, AttentionBias, AxialAttention, BinaryOp, Conv2d, Conv2dGeometry, CrossAttention,
    CrossAttentionRoute, DType, DeformableAttention, Epilogue, FoldedAttention, Fused, Kernels, LayerNorm,
    Linear, MaskHead, Memory, PackRequest, Packed, PackedSize, Pool, Precision, Residual, ResizeMode, Result,
    Rows, SetAside, Shape, Tensor, TokenLayout,
};

use super::Remote;
use super::memory::{Open, RemoteBlock, WeightMemory};
use super::queue::failure;

/// A tensor of the device, without a claim on its pool: as on a device with a queue of its own, a block may be handed out
/// again while work on it is still to come.
#[derive(Clone)]
struct Handle {
    block: Arc<RemoteBlock>,
    offset_bytes: usize,
    shape: Shape,
    dtype: DType,
}

impl Handle {
    fn of(tensor: &Tensor) -> Result<Self> {
        let found = tensor.block().and_then(|(block, offset)| Some((block.opaque::<RemoteBlock>()?, offset)));
        let (block, offset_bytes) = found.ok_or_else(|| failure("an operand that is not on it"))?;
        Ok(Self { block, offset_bytes, shape: *tensor.shape(), dtype: tensor.dtype() })
    }

    /// As the kernels of the host see it, while it lives.
    fn view(&self) -> Result<Tensor> {
        let block = Open::new(Arc::clone(&self.block)).into_host_block(self.offset_bytes);
        Tensor::on_host_block(block, self.shape, self.dtype)
    }
}

fn views(handles: &[Handle]) -> Result<Vec<Tensor>> {
    handles.iter().map(Handle::view).collect()
}

/// Packed weights in the device's memory.
struct RemotePacked {
    inner: Packed,
    blocks: Vec<Arc<RemoteBlock>>,
    _counted: SetAside,
}

/// What a piece of work needs of packed weights.
#[derive(Clone)]
struct PackedHandle {
    inner: Packed,
    blocks: Vec<Arc<RemoteBlock>>,
}

impl PackedHandle {
    fn of(packed: &Packed) -> Result<Self> {
        let packed: &RemotePacked = packed.get("test device", "the test device")?;
        Ok(Self { inner: packed.inner.clone(), blocks: packed.blocks.clone() })
    }

    /// The weights, which can be read while the other value lives.
    fn open(&self) -> (Packed, Vec<Open>) {
        (self.inner.clone(), self.blocks.iter().cloned().map(Open::new).collect())
    }
}

/// What a piece of work needs of a layer's weights.
struct LayerHandle {
    packed: PackedHandle,
    bias: Option<Handle>,
}

impl LayerHandle {
    fn of(weight: &Packed, bias: Option<&Tensor>) -> Result<Self> {
        Ok(Self { packed: PackedHandle::of(weight)?, bias: bias.map(Handle::of).transpose()? })
    }

    /// The weights and the bias; the weights can be read while the third value lives.
    fn open(&self) -> Result<(Packed, Option<Tensor>, Vec<Open>)> {
        let (weight, open) = self.packed.open();
        Ok((weight, self.bias.as_ref().map(Handle::view).transpose()?, open))
    }
}

/// An epilogue, with its residual as a handle.
struct Ending {
    activation: Activation,
    residual: Option<(Handle, bool)>,
}

impl Ending {
    fn of(epilogue: &Epilogue) -> Result<Self> {
        let residual = epilogue.residual.map(|r| Ok((Handle::of(r.tensor)?, r.before_activation)));
        Ok(Self { activation: epilogue.activation, residual: residual.transpose()? })
    }

    fn with<T>(&self, call: impl FnOnce(&Epilogue) -> Result<T>) -> Result<T> {
        let Some((handle, before_activation)) = &self.residual else {
            return call(&Epilogue::act(self.activation));
        };
        let (tensor, before_activation) = (handle.view()?, *before_activation);
        let residual = Some(Residual { tensor: &tensor, before_activation });
        call(&Epilogue { activation: self.activation, residual })
    }
}

/// A norm, with its numbers as handles.
struct Norm {
    layer: LayerNorm,
    numbers: [Handle; 2],
}

impl Norm {
    fn of(norm: &LayerNorm) -> Result<Self> {
        Ok(Self { layer: norm.clone(), numbers: [Handle::of(norm.gamma())?, Handle::of(norm.beta())?] })
    }

    fn open(&self) -> Result<LayerNorm> {
        Ok(self.layer.rehoused(self.numbers[0].view()?, self.numbers[1].view()?))
    }
}

/// An attention's bias without its tensors.
#[derive(Clone, Copy)]
enum BiasForm {
    None,
    Table,
    KeyPositions,
    RelativePosition([usize; 2]),
}

impl Remote {
    /// Queues an operator on plain tensors.
    fn operate(
        &self,
        operands: &[&Tensor],
        out: &Tensor,
        call: impl FnOnce(&dyn Kernels, &[Tensor], &mut Tensor) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let operands = operands.iter().map(|tensor| Handle::of(tensor)).collect::<Result<Vec<_>>>()?;
        let (out, inner) = (Handle::of(out)?, Arc::clone(&self.inner));
        self.enqueue(move || call(inner.as_ref(), &views(&operands)?, &mut out.view()?))
    }

    /// Packs on the device's thread, in its memory.
    fn pack(
        &self,
        pool: &Arc<Pool>,
        weights: Vec<Tensor>,
        request: PackRequest,
        pack: impl FnOnce(&dyn Kernels, &Arc<Pool>, &[Tensor]) -> Result<Packed> + Send + 'static,
    ) -> Result<Packed> {
        let size_bytes = self.inner.packed_size(&request).kept_bytes.iter().sum();
        let counted = pool.set_aside(size_bytes)?;
        let (inner, memory) = (Arc::clone(&self.inner), WeightMemory::new(Arc::clone(&self.memory)));
        let (sender, receiver) = sync_channel(1);
        self.enqueue(move || {
            let pool = Pool::on(Arc::clone(&memory) as Arc<dyn Memory>, usize::MAX);
            let packed = pack(inner.as_ref(), &pool, &weights);
            let _ = sender.send((packed, memory.close()));
            Ok(())
        })?;
        let answer = receiver.recv();
        self.memory.queue.report()?;
        let (inner, blocks) = answer.map_err(|_| failure("packing was lost"))?;
        Ok(Packed::new(RemotePacked { inner: inner?, blocks, _counted: counted }, size_bytes))
    }
}

impl Kernels for Remote {
    fn name(&self) -> String {
        let what = if self.fuses { "" } else { " (core)" };
        format!("test device{what} with {}", self.inner.name())
    }

    fn scratch_bytes(&self) -> usize {
        self.inner.scratch_bytes()
    }

    fn reserve(&self) -> Result<()> {
        self.inner.reserve()
    }

    fn memory(&self) -> Arc<dyn Memory> {
        Arc::clone(&self.memory) as Arc<dyn Memory>
    }

    fn weight_layout(&self) -> String {
        format!("test device: {}", self.inner.weight_layout())
    }

    fn packed_size(&self, request: &PackRequest) -> PackedSize {
        self.inner.packed_size(request)
    }

    fn fuses(&self, fused: Fused) -> bool {
        self.fuses && self.inner.fuses(fused)
    }

    fn cross_attention_route(&self, attention: &CrossAttention) -> CrossAttentionRoute {
        self.cross_attention.unwrap_or_else(|| self.inner.cross_attention_route(attention))
    }

    fn axial_attention_pays(&self, sizes: &samovar_tensor::checks::AxialSizes) -> bool {
        self.inner.axial_attention_pays(sizes)
    }

    fn pack_linear(&self, pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
        let [outputs, inputs] = weight.shape().fixed("linear weight")?;
        let precision = Precision::of_dtype(weight.dtype());
        let request = PackRequest::Linear { outputs, inputs, precision };
        self.pack(pool, vec![weight.clone()], request, |kernels, pool, weights| {
            kernels.pack_linear(pool, &weights[0])
        })
    }

    fn pack_conv2d(&self, pool: &Arc<Pool>, weight: &Tensor, geometry: &Conv2dGeometry) -> Result<Packed> {
        let [outputs, inputs, ..] = weight.shape().fixed::<4>("conv2d weight")?;
        let (geometry, precision) = (*geometry, Precision::of_dtype(weight.dtype()));
        let request = PackRequest::Conv2d { outputs, inputs: inputs * geometry.groups, geometry, precision };
        self.pack(pool, vec![weight.clone()], request, move |kernels, pool, weights| {
            kernels.pack_conv2d(pool, &weights[0], &geometry)
        })
    }

    fn linear(&self, x: &Tensor, layer: &Linear, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        let (weights, ending) = (LayerHandle::of(layer.weight(), layer.bias())?, Ending::of(epilogue)?);
        let layer = layer.clone();
        self.operate(&[x], out, move |kernels, operands, out| {
            let (weight, bias, _open) = weights.open()?;
            let layer = layer.rehoused(weight, bias);
            ending.with(|epilogue| kernels.linear(&operands[0], &layer, epilogue, out))
        })
    }

    fn conv2d(&self, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        let (weights, ending) = (LayerHandle::of(layer.weight(), layer.bias())?, Ending::of(epilogue)?);
        let layer = layer.clone();
        self.operate(&[x], out, move |kernels, operands, out| {
            let (weight, bias, _open) = weights.open()?;
            let layer = layer.rehoused(weight, bias);
            ending.with(|epilogue| kernels.conv2d(&operands[0], &layer, epilogue, out))
        })
    }

    fn depth_to_space(&self, x: &Tensor, factor: usize, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        let ending = Ending::of(epilogue)?;
        self.operate(&[x], out, move |kernels, operands, out| {
            ending.with(|epilogue| kernels.depth_to_space(&operands[0], factor, epilogue, out))
        })
    }

    fn layer_norm(&self, x: &Tensor, norm: &LayerNorm, act: Activation, out: &mut Tensor) -> Result<()> {
        let norm = Norm::of(norm)?;
        self.operate(&[x], out, move |kernels, operands, out| {
            kernels.layer_norm(&operands[0], &norm.open()?, act, out)
        })
    }

    fn attention(&self, a: &Attention, out: &mut Tensor) -> Result<()> {
        let mut operands = vec![a.q.tensor, a.k.tensor, a.v.tensor];
        let form = match a.bias {
            AttentionBias::None => BiasForm::None,
            AttentionBias::Table(bias) => {
                operands.push(bias);
                BiasForm::Table
            }
            AttentionBias::KeyPositions(positions) => {
                operands.push(positions);
                BiasForm::KeyPositions
            }
            AttentionBias::RelativePosition { rows, columns, grid } => {
                operands.extend([rows, columns]);
                BiasForm::RelativePosition(grid)
            }
        };
        // The padding row comes last.
        let (layout, has_padding) = match a.layout {
            TokenLayout::Sequence { batch, key_batch, queries, keys } => {
                (TokenLayout::Sequence { batch, key_batch, queries, keys }, false)
            }
            TokenLayout::Windows { batch, grid, window, query_stride, padding } => {
                operands.extend(padding);
                (TokenLayout::Windows { batch, grid, window, query_stride, padding: None }, padding.is_some())
            }
        };
        let columns = [a.q.first_column, a.k.first_column, a.v.first_column];
        let &Attention { heads, head_channels, value_channels, scale, precision, .. } = a;
        self.operate(&operands, out, move |kernels, operands, out| {
            let [q, k, v] = [0, 1, 2].map(|index| Rows::columns(&operands[index], columns[index]));
            let bias = match form {
                BiasForm::None => AttentionBias::None,
                BiasForm::Table => AttentionBias::Table(&operands[3]),
                BiasForm::KeyPositions => AttentionBias::KeyPositions(&operands[3]),
                BiasForm::RelativePosition(grid) => {
                    AttentionBias::RelativePosition { rows: &operands[3], columns: &operands[4], grid }
                }
            };
            let layout = match layout {
                TokenLayout::Windows { batch, grid, window, query_stride, .. } if has_padding => {
                    TokenLayout::Windows { batch, grid, window, query_stride, padding: operands.last() }
                }
                other => other,
            };
            kernels.attention(
                &Attention { q, k, v, heads, head_channels, value_channels, scale, layout, bias, precision },
                out,
            )
        })
    }

    fn deformable_attention(&self, a: &DeformableAttention, out: &mut Tensor) -> Result<()> {
        let (heads, maps) = (a.heads, a.maps.to_vec());
        let columns = [a.offsets.first_column, a.logits.first_column];
        self.operate(
            &[a.values, a.offsets.tensor, a.logits.tensor, a.boxes],
            out,
            move |kernels, operands, out| {
                let [values, offsets, logits, boxes] = [0, 1, 2, 3].map(|index| &operands[index]);
                let offsets = Rows::columns(offsets, columns[0]);
                let logits = Rows::columns(logits, columns[1]);
                let attention = DeformableAttention { values, offsets, logits, boxes, heads, maps: &maps };
                kernels.deformable_attention(&attention, out)
            },
        )
    }

    fn folded_attention(&self, a: &FoldedAttention, out: &mut Tensor) -> Result<()> {
        let (heads, norm) = (a.heads, Norm::of(a.norm)?);
        self.operate(&[a.x, a.positions, a.keys, a.values], out, move |kernels, operands, out| {
            let [x, positions, keys, values] = [0, 1, 2, 3].map(|index| &operands[index]);
            let norm = &norm.open()?;
            kernels.folded_attention(&FoldedAttention { x, positions, keys, values, heads, norm }, out)
        })
    }

    fn axial_attention(&self, a: &AxialAttention, out: &mut Tensor) -> Result<()> {
        let (scale, mut operands) = (a.scale, vec![a.q, a.keys, a.values, a.columns, a.rows]);
        operands.extend(a.beside);
        self.operate(&operands, out, move |kernels, operands, out| {
            let [q, keys, values, columns, rows] = [0, 1, 2, 3, 4].map(|index| &operands[index]);
            let beside = operands.get(5);
            kernels.axial_attention(&AxialAttention { q, keys, beside, values, columns, rows, scale }, out)
        })
    }

    fn pack_mask_head(&self, pool: &Arc<Pool>, first: &Tensor, second: &Tensor) -> Result<Packed> {
        let matrices = [first.shape().fixed("mask head")?, second.shape().fixed("mask head")?];
        let weights = vec![first.clone(), second.clone()];
        self.pack(pool, weights, PackRequest::MaskHead { matrices }, |kernels, pool, weights| {
            kernels.pack_mask_head(pool, &weights[0], &weights[1])
        })
    }

    fn mask_logits(&self, x: &Tensor, head: &MaskHead, vectors: &Tensor, out: &mut Tensor) -> Result<()> {
        let (packed, [first, second]) = head.fused().ok_or_else(|| failure("a head for composing"))?;
        let (packed, norm) = (PackedHandle::of(packed)?, Norm::of(head.norm())?);
        let biases = [Handle::of(first)?, Handle::of(second)?];
        let head = head.clone();
        self.operate(&[x, vectors], out, move |kernels, operands, out| {
            let (weights, _open) = packed.open();
            let biases = [biases[0].view()?, biases[1].view()?];
            let head = head.rehoused(weights, biases, norm.open()?);
            kernels.mask_logits(&operands[0], &head, &operands[1], out)
        })
    }

    fn matmul_transposed(&self, a: &Tensor, c: &Tensor, out: &mut Tensor) -> Result<()> {
        self.operate(&[a, c], out, |kernels, operands, out| {
            kernels.matmul_transposed(&operands[0], &operands[1], out)
        })
    }

    fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, act: Activation, out: &mut Tensor) -> Result<()> {
        self.operate(&[a, b], out, move |kernels, operands, out| {
            kernels.binary(op, &operands[0], &operands[1], act, out)
        })
    }

    fn activation(&self, x: &Tensor, activation: Activation, out: &mut Tensor) -> Result<()> {
        self.operate(&[x], out, move |kernels, operands, out| {
            kernels.activation(&operands[0], activation, out)
        })
    }

    fn softmax(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        self.operate(&[x], out, |kernels, operands, out| kernels.softmax(&operands[0], out))
    }

    fn resize(&self, x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()> {
        self.operate(&[x], out, move |kernels, operands, out| kernels.resize(&operands[0], mode, out))
    }

    fn max_pool2d(&self, x: &Rows, factor: usize, out: &mut Tensor) -> Result<()> {
        let first_column = x.first_column;
        self.operate(&[x.tensor], out, move |kernels, operands, out| {
            kernels.max_pool2d(&Rows::columns(&operands[0], first_column), factor, out)
        })
    }

    fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()> {
        self.operate(&[x, gaussian], out, |kernels, operands, out| {
            kernels.fourier_features(&operands[0], &operands[1], out)
        })
    }

    fn rotate(&self, x: &Rows, table: &Tensor, out: &mut Tensor) -> Result<()> {
        let first_column = x.first_column;
        self.operate(&[x.tensor, table], out, move |kernels, operands, out| {
            kernels.rotate(&Rows::columns(&operands[0], first_column), &operands[1], out)
        })
    }

    fn top_k(&self, x: &Tensor, k: usize, out: &mut Tensor) -> Result<()> {
        self.operate(&[x], out, move |kernels, operands, out| kernels.top_k(&operands[0], k, out))
    }

    fn gather_rows(&self, x: &Tensor, places: &Rows, out: &mut Tensor) -> Result<()> {
        let first_column = places.first_column;
        self.operate(&[x, places.tensor], out, move |kernels, operands, out| {
            kernels.gather_rows(&operands[0], &Rows::columns(&operands[1], first_column), out)
        })
    }

    fn concat(&self, parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()> {
        self.operate(parts, out, move |kernels, operands, out| {
            kernels.concat(&operands.iter().collect::<Vec<_>>(), axis, out)
        })
    }

    fn slice(&self, x: &Tensor, axis: usize, start: usize, out: &mut Tensor) -> Result<()> {
        self.operate(&[x], out, move |kernels, operands, out| kernels.slice(&operands[0], axis, start, out))
    }

    fn transpose(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        self.operate(&[x], out, |kernels, operands, out| kernels.transpose(&operands[0], out))
    }

    fn fill(&self, value: f32, out: &mut Tensor) -> Result<()> {
        self.operate(&[], out, move |kernels, _, out| kernels.fill(value, out))
    }
}
