//! A backend whose results start as NaN, so that a number it forgets to write is found out.

use std::sync::Arc;

use samovar_tensor::{
    Activation, Attention, AxialAttention, BinaryOp, Conv2d, Conv2dGeometry, CrossAttention,
    CrossAttentionRoute, DeformableAttention, Epilogue, Error, FoldedAttention, Fused, Kernels, LayerNorm,
    Linear, MaskHead, Memory, PackRequest, Packed, PackedSize, Pool, ResizeMode, Result, Rows, Tensor,
};

/// The kernels of a backend.
pub struct Poisoned(pub Arc<dyn Kernels>);

impl Poisoned {
    fn spoil<'a>(&self, out: &'a mut Tensor) -> Result<&'a mut Tensor> {
        match out.f32_mut() {
            Ok(values) => values.fill(f32::NAN),
            // A device fills its own memory.
            Err(Error::NotOnHost { .. }) => self.0.fill(f32::NAN, out)?,
            Err(error) => return Err(error),
        }
        Ok(out)
    }
}

impl Kernels for Poisoned {
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
        self.0.linear(x, layer, epilogue, self.spoil(out)?)
    }

    fn conv2d(&self, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        self.0.conv2d(x, layer, epilogue, self.spoil(out)?)
    }

    fn depth_to_space(&self, x: &Tensor, factor: usize, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        self.0.depth_to_space(x, factor, epilogue, self.spoil(out)?)
    }

    fn layer_norm(&self, x: &Tensor, norm: &LayerNorm, act: Activation, out: &mut Tensor) -> Result<()> {
        self.0.layer_norm(x, norm, act, self.spoil(out)?)
    }

    fn attention(&self, attention: &Attention, out: &mut Tensor) -> Result<()> {
        self.0.attention(attention, self.spoil(out)?)
    }

    fn deformable_attention(&self, attention: &DeformableAttention, out: &mut Tensor) -> Result<()> {
        self.0.deformable_attention(attention, self.spoil(out)?)
    }

    fn folded_attention(&self, attention: &FoldedAttention, out: &mut Tensor) -> Result<()> {
        self.0.folded_attention(attention, self.spoil(out)?)
    }

    fn axial_attention(&self, attention: &AxialAttention, out: &mut Tensor) -> Result<()> {
        self.0.axial_attention(attention, self.spoil(out)?)
    }

    fn pack_mask_head(&self, pool: &Arc<Pool>, first: &Tensor, second: &Tensor) -> Result<Packed> {
        self.0.pack_mask_head(pool, first, second)
    }

    fn mask_logits(&self, x: &Tensor, head: &MaskHead, vectors: &Tensor, out: &mut Tensor) -> Result<()> {
        self.0.mask_logits(x, head, vectors, self.spoil(out)?)
    }

    fn matmul_transposed(&self, a: &Tensor, c: &Tensor, out: &mut Tensor) -> Result<()> {
        self.0.matmul_transposed(a, c, self.spoil(out)?)
    }

    fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, act: Activation, out: &mut Tensor) -> Result<()> {
        self.0.binary(op, a, b, act, self.spoil(out)?)
    }

    fn activation(&self, x: &Tensor, activation: Activation, out: &mut Tensor) -> Result<()> {
        self.0.activation(x, activation, self.spoil(out)?)
    }

    fn softmax(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        self.0.softmax(x, self.spoil(out)?)
    }

    fn resize(&self, x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()> {
        self.0.resize(x, mode, self.spoil(out)?)
    }

    fn max_pool2d(&self, x: &Rows, factor: usize, out: &mut Tensor) -> Result<()> {
        self.0.max_pool2d(x, factor, self.spoil(out)?)
    }

    fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()> {
        self.0.fourier_features(x, gaussian, self.spoil(out)?)
    }

    fn rotate(&self, x: &Rows, table: &Tensor, out: &mut Tensor) -> Result<()> {
        self.0.rotate(x, table, self.spoil(out)?)
    }

    fn top_k(&self, x: &Tensor, k: usize, out: &mut Tensor) -> Result<()> {
        self.0.top_k(x, k, self.spoil(out)?)
    }

    fn gather_rows(&self, x: &Tensor, places: &Rows, out: &mut Tensor) -> Result<()> {
        self.0.gather_rows(x, places, self.spoil(out)?)
    }

    fn concat(&self, parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()> {
        self.0.concat(parts, axis, self.spoil(out)?)
    }

    fn slice(&self, x: &Tensor, axis: usize, start: usize, out: &mut Tensor) -> Result<()> {
        self.0.slice(x, axis, start, self.spoil(out)?)
    }

    fn transpose(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        self.0.transpose(x, self.spoil(out)?)
    }

    fn fill(&self, value: f32, out: &mut Tensor) -> Result<()> {
        self.0.fill(value, self.spoil(out)?)
    }
}
