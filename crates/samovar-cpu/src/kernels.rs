//! The backend: options, and the way of every operator from its call to its kernel.

use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use samovar_tensor::{
    Activation, Attention, AxialAttention, BinaryOp, Conv2d, Conv2dGeometry, DType, DeformableAttention,
    Epilogue, Error, FoldedAttention, Fused, Kernels, LayerNorm, Linear, MaskHead, PackRequest, Packed,
    PackedSize, Pool, Precision, ResizeMode, Result, Rows, Shape, Tensor, checks,
};

#[cfg(target_arch = "x86_64")]
use crate::attention::in_lanes::{self, blocking::LaneBlocking};
use crate::attention::shape::AttentionShape;
use crate::attention::tokens::Tokens;
use crate::attention::{axial, deformable, few_keys, folded, in_rows};
use crate::dispatch::{with_dot, with_simd};
use crate::gemm::pack::PackedMatrix;
use crate::gemm::pack_int8::PackedInt8;
use crate::level::{CpuError, Int8Level, Products, SimdLevel};
use crate::limits::MAX_THREADS;
use crate::peak::Ceilings;
use crate::rehearsal::{Rehearsal, Rehearsed};
use crate::routes::call::{DepthwiseCall, Machine, ProductCall, TransposedCall};
use crate::routes::choice::{AttentionRoute, ProductRoute};
use crate::routes::record::{Recorder, RouteUse};
use crate::routes::table::{self, Entry, Route};
use crate::scratch::SCRATCH_LEN;
#[cfg(target_arch = "x86_64")]
use crate::simd::product::avx512_bf16::Avx512Bf16;
use crate::threads::Threads;
use crate::{
    convolution, depthwise, elementwise, layout, linear, mask_head, norm, peak, pooling, resize, rotation,
    selection,
};

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

/// How often nothing is handed over to see how long it takes.
const HAND_OVERS: u32 = 200;

/// The operators on this machine's processors.
///
/// Threads and scratch memory belong to the instance; two instances share nothing. Calls from several threads take
/// turns.
pub struct CpuKernels {
    machine: Machine,
    threads: Threads,
    recorder: Recorder,
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
            machine: Machine {
                level,
                int8: Int8Level::detect(level),
                products: options.products.unwrap_or_else(|| Products::detect(level)),
                #[cfg(target_arch = "x86_64")]
                has_bf16: level.has_bf16(),
                #[cfg(not(target_arch = "x86_64"))]
                has_bf16: false,
            },
            threads: Threads::new(threads),
            recorder: Recorder::default(),
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
        self.machine.level
    }

    /// The same backend with these instructions on 8-bit numbers, instead of the best beside its level. Weights that are
    /// packed already must not meet it.
    ///
    /// # Errors
    /// [`CpuError::UnavailableInt8`].
    pub fn with_int8_level(self, int8: Int8Level) -> std::result::Result<Self, CpuError> {
        let level = self.machine.level;
        if !int8.is_available(level) {
            return Err(CpuError::UnavailableInt8 { level });
        }
        Ok(Self { machine: Machine { int8, ..self.machine }, ..self })
    }

    /// How 8-bit numbers are multiplied.
    pub fn int8_level(&self) -> Int8Level {
        self.machine.int8
    }

    /// How large products are computed.
    pub fn products(&self) -> Products {
        self.machine.products
    }

    /// Multiply-adds (two operations each) in registers that all threads together do per second, measured for about
    /// `limit`. No operator can be faster.
    pub fn measure_peak(&self, limit: Duration) -> f64 {
        let start = Instant::now();
        self.measure_peak_by(limit, || start.elapsed().as_secs_f64())
    }

    /// The same by another clock, in seconds: that of a thread's own time, on a machine that is shared.
    pub fn measure_peak_by(&self, limit: Duration, clock: impl Fn() -> f64) -> f64 {
        with_simd!(self.machine.level, s => peak::peak(&self.threads, s, limit, clock))
    }

    /// What no operator can exceed, of every kind, each measured for about `limit`: 128 MiB of memory are copied for it.
    ///
    /// # Errors
    /// [`CpuError::NoMemoryToMeasure`], and those of [`CpuKernels::reserve`].
    pub fn measure_ceilings(&self, limit: Duration) -> std::result::Result<Ceilings, CpuError> {
        self.reserve()?;
        let start = Instant::now();
        let clock = || start.elapsed().as_secs_f64();
        #[cfg(target_arch = "x86_64")]
        let bf16_per_s = self.machine.has_bf16.then(|| {
            // SAFETY: the machine has the instructions.
            peak::narrow_peak(&self.threads, unsafe { Avx512Bf16::assume_available() }, limit, clock)
        });
        #[cfg(not(target_arch = "x86_64"))]
        let bf16_per_s = None;
        let int8_per_s = with_dot!(self.machine.level, self.machine.int8, d => {
            peak::int8_peak(&self.threads, d, limit, clock)
        });
        let bytes_per_s = peak::bandwidth(&self.threads, limit, clock).ok_or(CpuError::NoMemoryToMeasure)?;
        // The quickest: a machine that is shared has slow ones, too.
        let hand_over = |_| {
            let began = clock();
            self.hand_over();
            clock() - began
        };
        let hand_over_s = (0..HAND_OVERS).map(hand_over).fold(f64::INFINITY, f64::min);
        let f32_per_s = self.measure_peak(limit);
        Ok(Ceilings { f32_per_s, bf16_per_s, int8_per_s, bytes_per_s, hand_over_s })
    }

    /// Runs all tasks on the calling thread from now on, cut as for all threads, and keeps the time of each.
    #[doc(hidden)]
    pub fn rehearsing(mut self, clock: fn() -> f64) -> Self {
        self.threads.rehearsal = Some(Rehearsal::new(clock));
        self
    }

    /// The operators since the last call, while rehearsing.
    #[doc(hidden)]
    pub fn take_rehearsed(&self) -> Vec<Rehearsed> {
        self.threads.rehearsal.as_ref().map_or_else(Vec::new, Rehearsal::take)
    }

    /// Hands nothing over to all threads, to see how long that takes.
    #[doc(hidden)]
    pub fn hand_over(&self) {
        self.threads.run(self.threads(), u64::MAX, |_, _| {});
    }

    /// The table of routes: which kernel runs for which shape, as far as these instructions and options have them.
    pub fn routes(&self) -> Vec<&'static Route> {
        table::routes(Some(&self.machine))
    }

    /// Counts from now on which routes the operators take for which shapes.
    pub fn record_routes(&self) {
        self.recorder.start();
    }

    /// Stops counting, and says what was counted since [`CpuKernels::record_routes`].
    pub fn take_routes(&self) -> Vec<RouteUse> {
        self.recorder.finish()
    }

    /// Threads an operator uses.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }
}

impl fmt::Debug for CpuKernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuKernels")
            .field("level", &self.machine.level)
            .field("threads", &self.threads())
            .finish()
    }
}

impl CpuKernels {
    /// The route of a call, which the recorder is told.
    fn route<Call: std::fmt::Display, Choice: Copy>(
        &self,
        operator: &'static str,
        table: &'static [Entry<Call, Choice>],
        call: &Call,
    ) -> Choice {
        let (choice, route) = Entry::pick(table, &self.machine, call);
        self.recorder.note(operator, route, call);
        choice
    }

    /// The route of a product of rows with a packed matrix, which must be `[columns, depth]`.
    fn product_route(
        &self,
        operator: &'static str,
        rows: usize,
        weight: &Packed,
        matrix: [usize; 2],
    ) -> Result<ProductRoute> {
        let call = ProductCall::new(rows, weight)?;
        let packed = [call.columns, call.depth];
        if packed != matrix {
            return Err(shape_error(operator, format!("weights of {packed:?} for a layer of {matrix:?}")));
        }
        Ok(self.route(operator, &table::PRODUCTS, &call))
    }

    /// Tells the recorder of an operator with one kernel.
    fn note(&self, operator: &'static str, out: &Shape) {
        if self.recorder.is_on() {
            self.recorder.note(operator, table::only_route(operator), out);
        }
    }

    fn pack_int8(&self, pool: &Arc<Pool>, matrix: &[i8], scales: &[f32], depth: usize) -> Result<Packed> {
        let Machine { level, int8, .. } = self.machine;
        with_dot!(level, int8, d => PackedInt8::pack(&self.threads, d, pool, matrix, scales, depth))
    }

    fn pack_floats(
        &self,
        pool: &Arc<Pool>,
        matrix: &[f32],
        dtype: DType,
        depth: usize,
        columns: usize,
    ) -> Result<Packed> {
        let for_pairs = table::packs_for_pairs(self.machine.products, columns, depth);
        with_simd!(self.machine.level, s =>
            PackedMatrix::pack(&self.threads, s, pool, matrix, dtype, depth, columns, for_pairs))
    }

    /// Bytes of both tensors of a packed matrix.
    fn matrix_bytes(&self, precision: Precision, depth: usize, columns: usize) -> [usize; 2] {
        let Machine { level, int8, products, .. } = self.machine;
        if precision == Precision::Int8 {
            return with_dot!(level, int8, d => PackedInt8::size_bytes(d, depth, columns));
        }
        let for_pairs = table::packs_for_pairs(products, columns, depth);
        with_simd!(level, s => PackedMatrix::size_bytes(s, precision.dtype(), depth, columns, for_pairs))
    }
}

fn shape_error(op: &'static str, what: String) -> Error {
    Error::Shape { op, what }
}

/// Bytes of 16-bit weights as f32, in their own order and in panels, while they are packed.
fn widened_bytes(precision: Precision, len: usize, [packed_bytes, _]: [usize; 2]) -> usize {
    match precision {
        Precision::F16 | Precision::Bf16 => len * size_of::<f32>() + 2 * packed_bytes,
        Precision::F32 | Precision::Int8 => 0,
    }
}

/// Kernels write through pointers, and whoever holds a backend can call it past [`samovar_tensor::Device`]: every operator
/// checks its shapes by the door's own rules, which takes nothing beside its work.
impl Kernels for CpuKernels {
    fn name(&self) -> String {
        let threads = self.threads();
        format!("cpu {}, {threads} thread{}", self.machine.level, if threads == 1 { "" } else { "s" })
    }

    fn scratch_bytes(&self) -> usize {
        self.threads() * SCRATCH_LEN * size_of::<f32>()
    }

    fn reserve(&self) -> Result<()> {
        let refused = |error: CpuError| Error::Backend { device: self.name(), what: error.to_string() };
        self.threads.reserve().map_err(refused)
    }

    fn weight_layout(&self) -> String {
        let Machine { level, products, int8, .. } = self.machine;
        format!("cpu {level} {products} {}", int8.name(level))
    }

    fn packed_size(&self, request: &PackRequest) -> PackedSize {
        match *request {
            PackRequest::Linear { outputs, inputs, precision } => {
                let kept_bytes = self.matrix_bytes(precision, inputs, outputs);
                PackedSize {
                    kept_bytes,
                    temporary_bytes: widened_bytes(precision, inputs * outputs, kept_bytes),
                }
            }
            PackRequest::Conv2d { outputs, geometry, .. } if depthwise::is_depthwise(&geometry) => {
                let kept_bytes = [depthwise::packed_bytes(outputs, geometry.kernel), 0];
                PackedSize { kept_bytes, temporary_bytes: 0 }
            }
            PackRequest::Conv2d { outputs, inputs, geometry, precision } => {
                let depth = inputs * geometry.kernel * geometry.kernel;
                let kept_bytes = self.matrix_bytes(precision, depth, outputs);
                let ordered_bytes = match precision {
                    Precision::Int8 => depth * outputs,
                    _ => depth * outputs * size_of::<f32>(),
                };
                let temporary_bytes = ordered_bytes + widened_bytes(precision, depth * outputs, kept_bytes);
                PackedSize { kept_bytes, temporary_bytes }
            }
            PackRequest::MaskHead { matrices } => {
                let bytes = |[columns, depth]: [usize; 2]| {
                    with_simd!(self.machine.level, s => PackedMatrix::size_bytes(s, DType::F32, depth, columns, false))
                        [0]
                };
                PackedSize { kept_bytes: matrices.map(bytes), temporary_bytes: 0 }
            }
        }
    }

    fn fuses(&self, _: Fused) -> bool {
        true
    }

    fn axial_attention_pays(&self, sizes: &checks::AxialSizes) -> bool {
        // Its products reach three quarters of the rate of those of attention, measured with AVX-512 (docs/performance.md).
        let [by_matrices, by_keys] = sizes.multiplications();
        by_matrices.saturating_mul(4) / 3 <= by_keys
    }

    fn pack_linear(&self, pool: &Arc<Pool>, weight: &Tensor) -> Result<Packed> {
        let [outputs, inputs] = weight.shape().fixed("linear weight")?;
        if let Some(scales) = weight.scales() {
            return self.pack_int8(pool, weight.i8()?, scales, inputs);
        }
        self.pack_floats(pool, &weight.to_f32()?, weight.dtype(), inputs, outputs)
    }

    fn pack_conv2d(&self, pool: &Arc<Pool>, weight: &Tensor, geometry: &Conv2dGeometry) -> Result<Packed> {
        let [outputs, inputs, kernel, _] = weight.shape().fixed("conv2d weight")?;
        if depthwise::is_depthwise(geometry) {
            return depthwise::pack(pool, &weight.to_f32()?, outputs, kernel);
        }
        let depth = inputs * kernel * kernel;
        if let Some(scales) = weight.scales() {
            let matrix = convolution::by_tap(weight.i8()?, outputs, inputs, kernel);
            return self.pack_int8(pool, &matrix, scales, depth);
        }
        let matrix = convolution::by_tap(&weight.to_f32()?, outputs, inputs, kernel);
        self.pack_floats(pool, &matrix, weight.dtype(), depth, outputs)
    }

    fn linear(&self, x: &Tensor, layer: &Linear, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        checks::result("linear", out, &checks::linear(x, layer, epilogue)?)?;
        let Machine { level, int8, .. } = self.machine;
        let matrix = [layer.outputs(), layer.inputs()];
        match self.product_route("linear", out.shape().rows(), layer.weight(), matrix)? {
            ProductRoute::Int8 => {
                let weights = layer.weight().get::<PackedInt8>("linear", "cpu")?;
                with_dot!(level, int8, d =>
                    linear::linear_int8(&self.threads, d, x, layer, &weights.panels(d)?, epilogue, out))
            }
            ProductRoute::Float(route) => {
                with_simd!(level, s => linear::linear(&self.threads, s, route, x, layer, epilogue, out))
            }
        }
    }

    fn conv2d(&self, x: &Tensor, layer: &Conv2d, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        checks::result("conv2d", out, &checks::conv2d("conv2d", x, layer, epilogue)?)?;
        let Machine { level, int8, .. } = self.machine;
        let rows = out.shape().rows();
        if depthwise::is_depthwise(&layer.geometry()) {
            let call = DepthwiseCall { geometry: layer.geometry(), rows, channels: layer.outputs() };
            let route = self.route("conv2d", &table::DEPTHWISE, &call);
            return with_simd!(level, s => depthwise::conv2d(&self.threads, s, route, x, layer, epilogue, out));
        }
        let depth = layer.inputs() * layer.geometry().kernel * layer.geometry().kernel;
        match self.product_route("conv2d", rows, layer.weight(), [layer.outputs(), depth])? {
            ProductRoute::Int8 => {
                let weights = layer.weight().get::<PackedInt8>("conv2d", "cpu")?;
                with_dot!(level, int8, d =>
                    convolution::conv2d_int8(&self.threads, d, x, layer, &weights.panels(d)?, epilogue, out))
            }
            ProductRoute::Float(route) => {
                with_simd!(level, s => convolution::conv2d(&self.threads, s, route, x, layer, epilogue, out))
            }
        }
    }

    fn depth_to_space(&self, x: &Tensor, factor: usize, epilogue: &Epilogue, out: &mut Tensor) -> Result<()> {
        checks::result("depth_to_space", out, &checks::depth_to_space(x, factor, epilogue)?)?;
        self.note("depth_to_space", out.shape());
        with_simd!(self.machine.level, s => elementwise::depth_to_space(&self.threads, s, x, factor, epilogue, out))
    }

    fn layer_norm(
        &self,
        x: &Tensor,
        norm: &LayerNorm,
        activation: Activation,
        out: &mut Tensor,
    ) -> Result<()> {
        checks::result("layer_norm", out, &checks::layer_norm(x, norm)?)?;
        self.note("layer_norm", out.shape());
        with_simd!(self.machine.level, s => norm::layer_norm(&self.threads, s, x, norm, activation, out))
    }

    fn attention(&self, attention: &Attention, out: &mut Tensor) -> Result<()> {
        checks::result("attention", out, &checks::attention(attention)?.shape)?;
        let tokens = Tokens::new(attention)?;
        let shape = AttentionShape::new(attention, &tokens);
        let threads = &self.threads;
        match self.route("attention", table::ATTENTION, &shape) {
            #[cfg(target_arch = "x86_64")]
            AttentionRoute::InLanes => {
                let blocking = LaneBlocking::fit::<Avx512Bf16>(&shape).expect("a condition of this route");
                // SAFETY: the machine has the instructions, or the route is not open.
                let p = unsafe { Avx512Bf16::assume_available() };
                in_lanes::attention(threads, p, blocking, attention, &shape, &tokens, out)
            }
            AttentionRoute::FewKeys => {
                with_simd!(self.machine.level, s => few_keys::attention(threads, s, attention, &tokens, out))
            }
            AttentionRoute::Rows(route) => {
                with_simd!(self.machine.level, s =>
                    in_rows::attention(threads, s, route, attention, &shape, &tokens, out))
            }
        }
    }

    fn deformable_attention(&self, attention: &DeformableAttention, out: &mut Tensor) -> Result<()> {
        checks::result("deformable_attention", out, &checks::deformable_attention(attention)?)?;
        self.note("deformable_attention", out.shape());
        with_simd!(self.machine.level, s => deformable::deformable_attention(&self.threads, s, attention, out))
    }

    fn folded_attention(&self, attention: &FoldedAttention, out: &mut Tensor) -> Result<()> {
        checks::result("folded_attention", out, &checks::folded_attention(attention)?)?;
        self.note("folded_attention", out.shape());
        with_simd!(self.machine.level, s => folded::folded_attention(&self.threads, s, attention, out))
    }

    fn axial_attention(&self, attention: &AxialAttention, out: &mut Tensor) -> Result<()> {
        checks::result("axial_attention", out, &checks::axial_attention(attention)?.shape)?;
        self.note("axial_attention", out.shape());
        with_simd!(self.machine.level, s => axial::axial_attention(&self.threads, s, attention, out))
    }

    fn pack_mask_head(&self, pool: &Arc<Pool>, first: &Tensor, second: &Tensor) -> Result<Packed> {
        with_simd!(self.machine.level, s => mask_head::pack(s, pool, first, second))
    }

    fn mask_logits(&self, x: &Tensor, head: &MaskHead, vectors: &Tensor, out: &mut Tensor) -> Result<()> {
        checks::result("mask_logits", out, &checks::mask_logits(x, head, vectors)?)?;
        self.note("mask_logits", out.shape());
        with_simd!(self.machine.level, s => mask_head::mask_logits(&self.threads, s, x, head, vectors, out))
    }

    fn matmul_transposed(&self, a: &Tensor, c: &Tensor, out: &mut Tensor) -> Result<()> {
        checks::result("matmul_transposed", out, &checks::matmul_transposed(a, c)?)?;
        let [batch, rows, depth] = a.shape().fixed("matmul_transposed")?;
        let call = TransposedCall { batch, rows, depth, columns: out.shape().channels() };
        let route = self.route("matmul_transposed", &table::TRANSPOSED, &call);
        with_simd!(self.machine.level, s => linear::matmul_transposed(&self.threads, s, route, a, c, out))
    }

    fn binary(
        &self,
        op: BinaryOp,
        a: &Tensor,
        b: &Tensor,
        activation: Activation,
        out: &mut Tensor,
    ) -> Result<()> {
        checks::result("binary", out, &checks::binary(a, b)?)?;
        self.note("binary", out.shape());
        with_simd!(self.machine.level, s => elementwise::binary(&self.threads, s, op, a, b, activation, out))
    }

    fn activation(&self, x: &Tensor, activation: Activation, out: &mut Tensor) -> Result<()> {
        checks::result("activation", out, x.shape())?;
        self.note("activation", out.shape());
        with_simd!(self.machine.level, s => elementwise::activation(&self.threads, s, x, activation, out))
    }

    fn softmax(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        checks::result("softmax", out, x.shape())?;
        self.note("softmax", out.shape());
        with_simd!(self.machine.level, s => norm::softmax(&self.threads, s, x, out))
    }

    fn resize(&self, x: &Tensor, mode: ResizeMode, out: &mut Tensor) -> Result<()> {
        let [_, height, width, _] = out.shape().fixed("resize")?;
        checks::result("resize", out, &checks::resize(x, height, width)?)?;
        self.note("resize", out.shape());
        with_simd!(self.machine.level, s => resize::resize(&self.threads, s, x, mode, out))
    }

    fn max_pool2d(&self, x: &Rows, factor: usize, out: &mut Tensor) -> Result<()> {
        let channels = out.shape().channels();
        checks::result("max_pool2d", out, &checks::max_pool2d(x, channels, factor)?)?;
        self.note("max_pool2d", out.shape());
        with_simd!(self.machine.level, s => pooling::max_pool2d(&self.threads, s, x, factor, out))
    }

    fn fourier_features(&self, x: &Tensor, gaussian: &Tensor, out: &mut Tensor) -> Result<()> {
        checks::result("fourier_features", out, &checks::fourier_features(x, gaussian)?)?;
        self.note("fourier_features", out.shape());
        with_simd!(self.machine.level, s => elementwise::fourier_features(&self.threads, s, x, gaussian, out))
    }

    fn rotate(&self, x: &Rows, table: &Tensor, out: &mut Tensor) -> Result<()> {
        checks::result("rotate", out, &checks::rotate(x, table)?)?;
        self.note("rotate", out.shape());
        with_simd!(self.machine.level, s => rotation::rotate(&self.threads, s, x, table, out))
    }

    fn top_k(&self, x: &Tensor, k: usize, out: &mut Tensor) -> Result<()> {
        checks::result("top_k", out, &checks::top_k(x, k)?)?;
        self.note("top_k", out.shape());
        selection::top_k(&self.threads, x, k, out)
    }

    fn gather_rows(&self, x: &Tensor, places: &Rows, out: &mut Tensor) -> Result<()> {
        let [_, count, _] = out.shape().fixed("gather_rows")?;
        checks::result("gather_rows", out, &checks::gather_rows(x, places, count)?)?;
        self.note("gather_rows", out.shape());
        selection::gather_rows(&self.threads, x, places, out)
    }

    fn concat(&self, parts: &[&Tensor], axis: usize, out: &mut Tensor) -> Result<()> {
        checks::result("concat", out, &checks::concat(parts, axis)?)?;
        self.note("concat", out.shape());
        layout::concat(&self.threads, parts, axis, out)
    }

    fn slice(&self, x: &Tensor, axis: usize, start: usize, out: &mut Tensor) -> Result<()> {
        let len = out.dims().get(axis).copied().unwrap_or(0);
        checks::result("slice", out, &checks::slice(x, axis, start, len)?)?;
        self.note("slice", out.shape());
        layout::slice(&self.threads, x, axis, start, out)
    }

    fn transpose(&self, x: &Tensor, out: &mut Tensor) -> Result<()> {
        checks::transpose(x, out)?;
        self.note("transpose", out.shape());
        with_simd!(self.machine.level, s => layout::transpose(&self.threads, s, x, out))
    }

    fn fill(&self, value: f32, out: &mut Tensor) -> Result<()> {
        self.note("fill", out.shape());
        out.f32_mut()?.fill(value);
        Ok(())
    }
}
