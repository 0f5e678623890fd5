//! The backend as samovar-tensor sees it.

use std::sync::Arc;

use samovar_tensor::{
    Activation, Attention, BinaryOp, Conv2d, Conv2dGeometry, DeformableAttention, Epilogue, Fused, Kernels,
    LayerNorm, Linear, Memory, PackRequest, Packed, PackedSize, Pool, ResizeMode, Result, Rows, Tensor,
};
use wgpu::{Adapter, DeviceDescriptor, ExperimentalFeatures, MemoryHints, Trace};

use crate::adapter::{self, AdapterKind, AdapterReport, ready};
use crate::backend::{Backend, SCRATCH_BYTES};
use crate::gpu::Gpu;
use crate::open::{OpenError, WgpuOptions};
use crate::{ops, pack};

/// Share of a card's own memory that is taken by default; the rest is for the screen and other programs.
const OWN_MEMORY_SHARE: f64 = 0.9;

/// Share of memory that a device has together with the host.
const SHARED_MEMORY_SHARE: f64 = 0.5;

/// The operators on a graphics device.
pub struct WgpuKernels {
    backend: Backend,
    report: AdapterReport,
}

impl WgpuKernels {
    /// Opens the device of this number in the list of [`crate::adapters`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(index: usize, options: WgpuOptions) -> std::result::Result<Self, OpenError> {
        let adapters = adapter::enumerate()?;
        let count = adapters.len();
        let adapter = adapters.into_iter().nth(index).ok_or(OpenError::NoSuchAdapter { index, count })?;
        let report = adapter::report(index, &adapter);
        if let Some(why) = report.unusable {
            return Err(OpenError::Unusable { adapter: report.name, why });
        }
        let budget_bytes = options.budget_bytes.unwrap_or_else(|| default_budget_bytes(&report));
        let refused = |why: String| OpenError::Refused { adapter: report.name.clone(), why };
        let (device, queue) = request(&adapter).map_err(refused)?;
        let name = format!("wgpu {} on {}", report.backend, report.name);
        let gpu = Gpu::new(name, device, queue, budget_bytes, options.bounds_checks);
        let backend = Backend::new(gpu).ok_or_else(|| refused("it has no memory left".to_owned()))?;
        Ok(Self { backend, report })
    }

    /// What the driver says of the device.
    pub fn adapter(&self) -> &AdapterReport {
        &self.report
    }

    /// Most bytes taken on the device.
    pub fn budget_bytes(&self) -> u64 {
        self.backend.gpu().budget_bytes()
    }

    /// Bytes that are taken on the device now.
    pub fn taken_bytes(&self) -> u64 {
        self.backend.gpu().taken_bytes()
    }
}

fn default_budget_bytes(report: &AdapterReport) -> u64 {
    let share = match report.kind {
        AdapterKind::Discrete | AdapterKind::Virtual => OWN_MEMORY_SHARE,
        AdapterKind::Integrated | AdapterKind::Software | AdapterKind::Unknown => SHARED_MEMORY_SHARE,
    };
    report.memory_bytes.map_or(report.max_block_bytes, |bytes| (bytes as f64 * share) as u64)
}

fn request(adapter: &Adapter) -> std::result::Result<(wgpu::Device, wgpu::Queue), String> {
    let descriptor = DeviceDescriptor {
        label: None,
        required_features: adapter::REQUIRED,
        required_limits: adapter.limits(),
        experimental_features: ExperimentalFeatures::disabled(),
        memory_hints: MemoryHints::MemoryUsage,
        trace: Trace::Off,
    };
    match ready(adapter.request_device(&descriptor)) {
        Some(Ok(opened)) => Ok(opened),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("it does not answer".to_owned()),
    }
}

impl Kernels for WgpuKernels {
    fn name(&self) -> String {
        self.backend.gpu().name().to_owned()
    }

    fn scratch_bytes(&self) -> usize {
        SCRATCH_BYTES as usize
    }

    fn reserve(&self) -> Result<()> {
        self.backend.scratch().map(drop)
    }

    fn memory(&self) -> Arc<dyn Memory> {
        Arc::clone(&self.backend.memory) as Arc<dyn Memory>
    }

    fn weight_layout(&self) -> String {
        pack::LAYOUT.to_owned()
    }

    fn packed_size(&self, request: &PackRequest) -> PackedSize {
        pack::packed_size(request)
    }

    fn fuses(&self, fused: Fused) -> bool {
        matches!(fused, Fused::Epilogue | Fused::KeyPositions)
    }

    fn pack_linear(&self, pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
        pack::linear(&self.backend, pool, weight)
    }

    fn pack_conv2d(&self, pool: &Arc<Pool>, weight: &Tensor, geometry: &Conv2dGeometry) -> Result<Packed> {
        pack::conv2d(&self.backend, pool, weight, geometry)
    }

    fn linear(&self, x: &Tensor, layer: &Linear, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        ops::linear::linear(&self.backend, x, layer, epilogue, out)
    }

    fn conv2d(&self, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        ops::convolution::conv2d(&self.backend, x, layer, epilogue, out)
    }

    fn depth_to_space(&self, x: &Tensor, factor: usize, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        ops::convolution::depth_to_space(&self.backend, x, factor, epilogue, out)
    }

    fn layer_norm(
        &self,
        x: &Tensor,
        norm: &LayerNorm,
        activation: Activation,
        out: &mut Tensor,
    ) -> Result<()> {
        ops::linear::layer_norm(&self.backend, x, norm, activation, out)
    }

    fn attention(&self, attention: &Attention, out: &mut Tensor) -> Result<()> {
        ops::attention::attention(&self.backend, attention, out)
    }

    fn deformable_attention(&self, attention: &DeformableAttention, out: &mut Tensor) -> Result<()> {
        ops::selection::deformable_attention(&self.backend, attention, out)
    }

    fn matmul_transposed(&self, a: &Tensor, c: &Tensor, out: &mut Tensor) -> Result<()> {
        ops::linear::matmul_transposed(&self.backend, a, c, out)
    }

    fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, act: Activation, out: &mut Tensor) -> Result<()> {
        ops::elementwise::binary(&self.backend, op, a, b, act, out)
    }

    fn activation(&self, x: &Tensor, activation: Activation, out: &mut Tensor) -> Result<()> {
        ops::elementwise::activation(&self.backend, x, activation, out)
    }

    fn softmax(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        ops::selection::softmax(&self.backend, x, out)
    }

    fn resize(&self, x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()> {
        ops::elementwise::resize(&self.backend, x, mode, out)
    }

    fn max_pool2d(&self, x: &Rows, factor: usize, out: &mut Tensor) -> Result<()> {
        ops::elementwise::max_pool2d(&self.backend, x, factor, out)
    }

    fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()> {
        ops::elementwise::fourier_features(&self.backend, x, gaussian, out)
    }

    fn rotate(&self, x: &Rows, table: &Tensor, out: &mut Tensor) -> Result<()> {
        ops::elementwise::rotate(&self.backend, x, table, out)
    }

    fn top_k(&self, x: &Tensor, k: usize, out: &mut Tensor) -> Result<()> {
        ops::selection::top_k(&self.backend, x, k, out)
    }

    fn gather_rows(&self, x: &Tensor, places: &Rows, out: &mut Tensor) -> Result<()> {
        ops::selection::gather_rows(&self.backend, x, places, out)
    }

    fn concat(&self, parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()> {
        ops::movement::concat(&self.backend, parts, axis, out)
    }

    fn slice(&self, x: &Tensor, axis: usize, start: usize, out: &mut Tensor) -> Result<()> {
        ops::movement::slice(&self.backend, x, axis, start, out)
    }

    fn transpose(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        ops::movement::transpose(&self.backend, x, out)
    }

    fn fill(&self, value: f32, out: &mut Tensor) -> Result<()> {
        ops::elementwise::fill(&self.backend, value, out)
    }
}

#[cfg(test)]
#[path = "kernels_tests.rs"]
mod tests;
