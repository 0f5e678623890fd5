//! The operator set of samovar-tensor, fast on CPUs: SIMD chosen at run time, threads, no global state.
//!
//! | module | what |
//! |---|---|
//! | `level`, `simd` | which instructions, and the small trait that every algorithm is written against |
//! | `threads`, `scratch` | the team of one [`CpuKernels`], and its bounded scratch memory |
//! | `rehearsal` | the tasks of operators with their times, for a simulation of more threads |
//! | `gemm` | matrix products: packed weights in f32, 16 and 8 bits, micro-kernels, epilogues |
//! | `linear`, `convolution`, `depthwise`, `attention`, `norm`, `elementwise`, `layout`, `resize` | the operators |
//! | `peak` | the machine's limit, measured |
//! | `math` | exp, erf, sin and cos of vectors, with stated errors |

mod attention;
mod convolution;
mod depthwise;
mod elementwise;
mod gemm;
mod layout;
mod level;
mod linear;
mod mask_head;
mod math;
mod norm;
mod peak;
mod rehearsal;
mod resize;
mod scratch;
mod simd;
mod threads;

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use samovar_tensor::{
    Activation, Attention, BinaryOp, Conv2d, Conv2dGeometry, Epilogue, FoldedAttention, Kernels, LayerNorm,
    Linear, MaskHead, Packed, Pool, ResizeMode, Result, Tensor,
};

pub use level::{CpuError, Int8Level, Products, SimdLevel};
#[doc(hidden)]
pub use rehearsal::Rehearsed;

use crate::gemm::pack::PackedMatrix;
use crate::gemm::pack_int8::PackedInt8;
use crate::scratch::SCRATCH_LEN;
use crate::simd::dot::with_dot;
#[cfg(target_arch = "x86_64")]
use crate::simd::product::avx512_bf16::Avx512Bf16;
use crate::simd::with_simd;
use crate::threads::Threads;

/// Most threads one [`CpuKernels`] may have. Beyond that, handing work over takes longer than the work.
pub const MAX_THREADS: usize = 1024;

/// How to make a [`CpuKernels`].
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuOptions {
    /// Threads an operator uses, the calling one included, [`MAX_THREADS`] at most; 0 for one per processor.
    pub threads: usize,
    /// Instructions to use, or `None` for the best the machine has.
    pub level: Option<SimdLevel>,
    /// How large products are computed, or `None` for what is fastest with these instructions.
    pub products: Option<Products>,
}

/// The operators on this machine's processors.
///
/// Threads and scratch memory belong to the instance; two instances share nothing. Calls from several threads take
/// turns.
pub struct CpuKernels {
    level: SimdLevel,
    int8: Int8Level,
    /// Whether it multiplies bfloat16 numbers beside its level.
    #[cfg(target_arch = "x86_64")]
    has_bf16: bool,
    products: Products,
    threads: Threads,
}

impl CpuKernels {
    /// A backend with its own threads, which start with the first work that is worth sharing, or with
    /// [`CpuKernels::reserve`].
    ///
    /// # Errors
    /// [`CpuError::UnavailableLevel`] or [`CpuError::TooManyThreads`].
    pub fn new(options: CpuOptions) -> std::result::Result<Self, CpuError> {
        let best = SimdLevel::detect();
        let level = options.level.unwrap_or(best);
        if !level.is_available() {
            return Err(CpuError::UnavailableLevel { wanted: level, best });
        }
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS),
            threads if threads > MAX_THREADS => return Err(CpuError::TooManyThreads(threads)),
            threads => threads,
        };
        Ok(Self {
            level,
            int8: Int8Level::detect(level),
            #[cfg(target_arch = "x86_64")]
            has_bf16: level.has_bf16(),
            products: options.products.unwrap_or_else(|| Products::detect(level)),
            threads: Threads::new(threads),
        })
    }

    /// Starts all threads and allocates their scratch memory now. Without this, operators do so when they need them, and
    /// panic when there is no memory.
    ///
    /// # Errors
    /// [`CpuError::OutOfMemory`], or [`CpuError::Thread`] when the system refuses a thread.
    pub fn reserve(&self) -> std::result::Result<(), CpuError> {
        self.threads.reserve()
    }

    /// The instructions in use.
    pub fn level(&self) -> SimdLevel {
        self.level
    }

    /// The same backend with these instructions on 8-bit numbers, instead of the best beside its level. Weights that are
    /// packed already must not meet it.
    ///
    /// # Errors
    /// [`CpuError::UnavailableInt8`].
    pub fn with_int8_level(self, int8: Int8Level) -> std::result::Result<Self, CpuError> {
        if !int8.is_available(self.level) {
            return Err(CpuError::UnavailableInt8 { level: self.level });
        }
        Ok(Self { int8, ..self })
    }

    /// How 8-bit numbers are multiplied.
    pub fn int8_level(&self) -> Int8Level {
        self.int8
    }

    /// How large products are computed.
    pub fn products(&self) -> Products {
        self.products
    }

    /// Multiply-adds (two operations each) in registers that all threads together do per second, measured for about
    /// `limit`. No operator can be faster.
    pub fn measure_peak(&self, limit: Duration) -> f64 {
        let start = Instant::now();
        self.measure_peak_by(limit, || start.elapsed().as_secs_f64())
    }

    /// The same by another clock, in seconds: that of a thread's own time, on a machine that is shared.
    pub fn measure_peak_by(&self, limit: Duration, clock: impl Fn() -> f64) -> f64 {
        with_simd!(self.level, s => peak::peak(&self.threads, s, limit, clock))
    }

    /// Runs all tasks on the calling thread from now on, cut as for all threads, and keeps the time of each.
    #[doc(hidden)]
    pub fn rehearsing(mut self, clock: fn() -> f64) -> Self {
        self.threads.rehearsal = Some(rehearsal::Rehearsal::new(clock));
        self
    }

    /// The operators since the last call, while rehearsing.
    #[doc(hidden)]
    pub fn take_rehearsed(&self) -> Vec<Rehearsed> {
        self.threads.rehearsal.as_ref().map_or_else(Vec::new, rehearsal::Rehearsal::take)
    }

    /// Hands nothing over to all threads, to see how long that takes.
    #[doc(hidden)]
    pub fn hand_over(&self) {
        self.threads.run(self.threads(), u64::MAX, |_, _| {});
    }

    /// Threads an operator uses.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }
}

impl fmt::Debug for CpuKernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuKernels").field("level", &self.level).field("threads", &self.threads()).finish()
    }
}

impl Kernels for CpuKernels {
    fn name(&self) -> String {
        let threads = self.threads();
        format!("cpu {}, {threads} thread{}", self.level, if threads == 1 { "" } else { "s" })
    }

    fn scratch_bytes(&self) -> usize {
        self.threads() * SCRATCH_LEN * size_of::<f32>()
    }

    fn pack_linear(&self, pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
        let [outputs, inputs] = weight.shape().fixed("linear weight")?;
        if let Some(scales) = weight.scales() {
            let matrix = weight.i8()?;
            return with_dot!(self.level, self.int8, d => PackedInt8::pack(&self.threads, d, pool, matrix, scales, inputs));
        }
        let (matrix, dtype) = (weight.to_f32()?, weight.dtype());
        with_simd!(self.level, s => PackedMatrix::pack(&self.threads, s, pool, &matrix, dtype, inputs, outputs, self.products))
    }

    fn pack_conv2d(&self, pool: &Arc<Pool>, weight: &Tensor, geometry: &Conv2dGeometry) -> Result<Packed> {
        let [outputs, inputs, kernel, _] = weight.shape().fixed("conv2d weight")?;
        if geometry.groups > 1 {
            return depthwise::pack(pool, &weight.to_f32()?, outputs, kernel);
        }
        let depth = inputs * kernel * kernel;
        if let Some(scales) = weight.scales() {
            let matrix = convolution::by_tap(weight.i8()?, outputs, inputs, kernel);
            return with_dot!(self.level, self.int8, d => PackedInt8::pack(&self.threads, d, pool, &matrix, scales, depth));
        }
        let matrix = convolution::by_tap(&weight.to_f32()?, outputs, inputs, kernel);
        let dtype = weight.dtype();
        with_simd!(self.level, s => PackedMatrix::pack(&self.threads, s, pool, &matrix, dtype, depth, outputs, self.products))
    }

    fn linear(&self, x: &Tensor, layer: &Linear, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        if let Some(weights) = layer.weight.try_get::<PackedInt8>() {
            let weights = weights.panels()?;
            return with_dot!(self.level, self.int8, d =>
                linear::linear_int8(&self.threads, d, x, layer, &weights, epilogue, out));
        }
        with_simd!(self.level, s => linear::linear(&self.threads, s, self.products, x, layer, epilogue, out))
    }

    fn conv2d(&self, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        if layer.geometry.groups > 1 {
            with_simd!(self.level, s => depthwise::conv2d(&self.threads, s, x, layer, epilogue, out))
        } else if let Some(weights) = layer.weight.try_get::<PackedInt8>() {
            let weights = weights.panels()?;
            with_dot!(self.level, self.int8, d =>
                convolution::conv2d_int8(&self.threads, d, x, layer, &weights, epilogue, out))
        } else {
            with_simd!(self.level, s => convolution::conv2d(&self.threads, s, self.products, x, layer, epilogue, out))
        }
    }

    fn depth_to_space(&self, x: &Tensor, factor: usize, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        with_simd!(self.level, s => elementwise::depth_to_space(&self.threads, s, x, factor, epilogue, out))
    }

    fn layer_norm(
        &self,
        x: &Tensor,
        norm: &LayerNorm,
        activation: Activation,
        out: &mut Tensor,
    ) -> Result<()> {
        with_simd!(self.level, s => norm::layer_norm(&self.threads, s, x, norm, activation, out))
    }

    fn attention(&self, attention: &Attention, out: &mut Tensor) -> Result<()> {
        #[cfg(target_arch = "x86_64")]
        if self.has_bf16 && attention.precision == samovar_tensor::Precision::Int8 {
            // SAFETY: the machine has the instructions, it was asked.
            let p = unsafe { Avx512Bf16::assume_available() };
            if attention::in_lanes::attention(&self.threads, p, attention, out)? {
                return Ok(());
            }
        }
        with_simd!(self.level, s => attention::attention(&self.threads, s, self.products, attention, out))
    }

    fn folded_attention(&self, attention: &FoldedAttention, out: &mut Tensor) -> Result<()> {
        with_simd!(self.level, s => attention::folded::folded_attention(&self.threads, s, attention, out))
    }

    fn pack_mask_head(&self, pool: &Arc<Pool>, first: &Tensor, second: &Tensor) -> Result<Packed> {
        with_simd!(self.level, s => mask_head::pack(s, pool, first, second))
    }

    fn mask_logits(&self, x: &Tensor, head: &MaskHead, vectors: &Tensor, out: &mut Tensor) -> Result<()> {
        with_simd!(self.level, s => mask_head::mask_logits(&self.threads, s, x, head, vectors, out))
    }

    fn matmul_transposed(&self, a: &Tensor, c: &Tensor, out: &mut Tensor) -> Result<()> {
        with_simd!(self.level, s => linear::matmul_transposed(&self.threads, s, a, c, out))
    }

    fn binary(
        &self,
        op: BinaryOp,
        a: &Tensor,
        b: &Tensor,
        activation: Activation,
        out: &mut Tensor,
    ) -> Result<()> {
        with_simd!(self.level, s => elementwise::binary(&self.threads, s, op, a, b, activation, out))
    }

    fn activation(&self, x: &Tensor, activation: Activation, out: &mut Tensor) -> Result<()> {
        with_simd!(self.level, s => elementwise::activation(&self.threads, s, x, activation, out))
    }

    fn resize(&self, x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()> {
        with_simd!(self.level, s => resize::resize(&self.threads, s, x, mode, out))
    }

    fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()> {
        with_simd!(self.level, s => elementwise::fourier_features(&self.threads, s, x, gaussian, out))
    }

    fn concat(&self, parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()> {
        layout::concat(&self.threads, parts, axis, out)
    }

    fn slice(&self, x: &Tensor, axis: usize, start: usize, out: &mut Tensor) -> Result<()> {
        layout::slice(&self.threads, x, axis, start, out)
    }

    fn transpose(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        with_simd!(self.level, s => layout::transpose(&self.threads, s, x, out))
    }
}
