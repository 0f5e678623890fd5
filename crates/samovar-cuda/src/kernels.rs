//! The backend's entrance: every operator of the core.

use std::sync::Arc;

use samovar_tensor::{
    Activation, Attention, BinaryOp, Conv2d, Conv2dGeometry, CrossAttention, CrossAttentionRoute,
    DeformableAttention, Epilogue, Fused, Kernels, LayerNorm, Linear, Memory, PackRequest, Packed,
    PackedSize, Pool, ResizeMode, Result, Rows, Tensor,
};

use crate::driver::{Context, CudaDevice};
use crate::products::Arithmetic;
use crate::weights;
use crate::work::{SCRATCH_BYTES, Work};

/// How to open a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CudaOptions {
    /// Of layers whose weights have 16 bits.
    pub arithmetic: Arithmetic,
}

/// The operators on one card.
pub struct CudaKernels {
    work: Work,
    options: CudaOptions,
}

impl CudaKernels {
    /// Opens the card of this number, as [`crate::devices`] counts. Everything it computes goes through one queue.
    ///
    /// # Errors
    /// [`samovar_tensor::Error::Backend`]: there is no driver, no such card, it is older than Ampere, its driver is older than CUDA
    /// 13.0, or it has no memory for the kernels.
    pub fn open(index: usize, options: CudaOptions) -> Result<Self> {
        Ok(Self { work: Work::new(Arc::new(Context::open(index)?)), options })
    }

    /// The card.
    pub fn card(&self) -> &CudaDevice {
        &self.work.context.device
    }

    /// Free bytes of its memory, whoever uses the rest.
    ///
    /// # Errors
    /// [`samovar_tensor::Error::Backend`].
    pub fn free_bytes(&self) -> Result<usize> {
        Ok(self.work.context.memory_bytes()?.0)
    }
}

impl Kernels for CudaKernels {
    fn name(&self) -> String {
        let (index, name) = (self.card().index, &self.card().name);
        match self.options.arithmetic {
            Arithmetic::Exact => format!("cuda:{index} ({name})"),
            Arithmetic::Rounded => format!("cuda:{index} ({name}), rounding to 16 bits"),
        }
    }

    fn scratch_bytes(&self) -> usize {
        SCRATCH_BYTES
    }

    fn reserve(&self) -> Result<()> {
        self.work.with_scratch(|_| Ok(()))
    }

    fn memory(&self) -> Arc<dyn Memory> {
        Arc::clone(&self.work.memory) as Arc<dyn Memory>
    }

    fn weight_layout(&self) -> String {
        weights::LAYOUT.into()
    }

    fn packed_size(&self, request: &PackRequest) -> PackedSize {
        weights::packed_size(request)
    }

    fn fuses(&self, fused: Fused) -> bool {
        matches!(fused, Fused::Epilogue | Fused::KeyPositions)
    }

    /// Projections are products of many rows, which a card does in no time; few tokens with all the work leave most of it idle.
    fn cross_attention_route(&self, _: &CrossAttention) -> CrossAttentionRoute {
        CrossAttentionRoute::Projected
    }

    fn pack_linear(&self, pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
        weights::pack_linear(pool, weight)
    }

    fn pack_conv2d(&self, pool: &Arc<Pool>, weight: &Tensor, geometry: &Conv2dGeometry) -> Result<Packed> {
        weights::pack_conv2d(pool, weight, geometry)
    }

    fn linear(&self, x: &Tensor, layer: &Linear, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        self.work.linear(self.options.arithmetic, x, layer, epilogue, out)
    }

    fn conv2d(&self, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        self.work.conv2d(self.options.arithmetic, x, layer, epilogue, out)
    }

    fn depth_to_space(&self, x: &Tensor, factor: usize, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        self.work.depth_to_space(x, factor, epilogue, out)
    }

    fn layer_norm(&self, x: &Tensor, norm: &LayerNorm, act: Activation, out: &mut Tensor) -> Result<()> {
        self.work.layer_norm(x, norm, act, out)
    }

    fn attention(&self, attention: &Attention, out: &mut Tensor) -> Result<()> {
        self.work.attention(self.options.arithmetic, attention, out)
    }

    fn deformable_attention(&self, attention: &DeformableAttention, out: &mut Tensor) -> Result<()> {
        self.work.deformable_attention(attention, out)
    }

    fn matmul_transposed(&self, a: &Tensor, c: &Tensor, out: &mut Tensor) -> Result<()> {
        self.work.matmul_transposed(a, c, out)
    }

    fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, act: Activation, out: &mut Tensor) -> Result<()> {
        self.work.binary(op, a, b, act, out)
    }

    fn activation(&self, x: &Tensor, activation: Activation, out: &mut Tensor) -> Result<()> {
        self.work.activation(x, activation, out)
    }

    fn softmax(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        self.work.softmax(x, out)
    }

    fn resize(&self, x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()> {
        self.work.resize(x, mode, out)
    }

    fn max_pool2d(&self, x: &Rows, factor: usize, out: &mut Tensor) -> Result<()> {
        self.work.max_pool2d(x, factor, out)
    }

    fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()> {
        self.work.fourier_features(x, gaussian, out)
    }

    fn rotate(&self, x: &Rows, table: &Tensor, out: &mut Tensor) -> Result<()> {
        self.work.rotate(x, table, out)
    }

    fn top_k(&self, x: &Tensor, k: usize, out: &mut Tensor) -> Result<()> {
        self.work.top_k(x, k, out)
    }

    fn gather_rows(&self, x: &Tensor, places: &Rows, out: &mut Tensor) -> Result<()> {
        self.work.gather_rows(x, places, out)
    }

    fn concat(&self, parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()> {
        self.work.concat(parts, axis, out)
    }

    fn slice(&self, x: &Tensor, axis: usize, start: usize, out: &mut Tensor) -> Result<()> {
        self.work.slice(x, axis, start, out)
    }

    fn transpose(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        self.work.transpose(x, out)
    }

    fn fill(&self, value: f32, out: &mut Tensor) -> Result<()> {
        self.work.fill(value, out)
    }
}
