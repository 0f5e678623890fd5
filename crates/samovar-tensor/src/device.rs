//! The one door: every operator call checks its operands, takes its output from the pool, runs, and is reported.

mod attention;
mod axial;
mod decoder;
mod load;
mod operators;
mod transfer;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::packed::{Packed, PackedCounter};
use crate::transfer::TransferCounter;
use crate::{
    Cost, CrossAttention, CrossAttentionRoute, DType, Epilogue, Error, Fused, Instrument, Kernels, MemoryId,
    Plan, Pool, Precision, Reference, Result, SetAside, Shape, ShapeOnly, Span, Stop, Tensor, Transfers,
};

/// Where a model runs: a backend, its memory, and whoever watches. Cheap to clone.
#[derive(Clone)]
pub struct Device {
    kernels: Arc<dyn Kernels>,
    /// What the backend's weights are packed in.
    layout: Arc<str>,
    pool: Arc<Pool>,
    /// Whether tensors have shapes and no values, and the backend is only asked for sizes.
    shape_only: bool,
    instrument: Option<Arc<dyn Instrument>>,
    stop: Option<Arc<Stop>>,
    transfers: Arc<TransferCounter>,
    packed: Arc<PackedCounter>,
    /// The backend's scratch memory, counted against the budget once it is taken.
    scratch: Arc<OnceLock<SetAside>>,
    stage: &'static str,
    precision: Precision,
}

/// Something that was built on shapes alone, and on which work is planned.
pub struct DryRun<M> {
    device: Device,
    recorder: Arc<ShapeOnly>,
    model: M,
    packed_bytes: [(Precision, usize); 4],
    load_bytes: usize,
    scratch_bytes: usize,
}

impl<M> DryRun<M> {
    /// What was built.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Bytes of what was built, and of results that are held.
    pub fn in_use_bytes(&self) -> usize {
        self.device.pool.stats().in_use_bytes
    }

    /// Most that the device's pool held so far, blocks that it kept for the next request included.
    pub fn peak_reserved_bytes(&self) -> usize {
        self.device.pool.stats().peak_reserved_bytes
    }

    /// What some work takes beside what is there already: what was built, and what earlier work left with its results.
    ///
    /// # Errors
    /// Whatever `work` answers.
    pub fn plan<T, E>(
        &mut self,
        work: impl FnOnce(&Device, &M) -> std::result::Result<T, E>,
    ) -> std::result::Result<(T, Plan), E> {
        let weight_bytes = self.device.pool.stats().in_use_bytes;
        self.device.pool.reset_peak();
        self.recorder.take();
        let result = work(&self.device, &self.model)?;
        let activation_bytes = self.device.pool.stats().peak_bytes - weight_bytes;
        let plan = Plan {
            weight_bytes,
            packed_bytes: self.packed_bytes,
            load_bytes: self.load_bytes,
            activation_bytes,
            scratch_bytes: self.scratch_bytes,
            operators: self.recorder.take(),
        };
        Ok((result, plan))
    }
}

impl Device {
    /// A device on a backend, with all its tensor memory in `pool`, which must be one of [`Kernels::memory`]. Devices on
    /// one pool share their tensors, and their weights where the layouts are the same.
    pub fn new(kernels: Arc<dyn Kernels>, pool: Arc<Pool>) -> Self {
        Self {
            layout: kernels.weight_layout().into(),
            kernels,
            pool,
            shape_only: false,
            instrument: None,
            stop: None,
            transfers: Arc::default(),
            packed: Arc::default(),
            scratch: Arc::default(),
            stage: "",
            precision: Precision::F32,
        }
    }

    /// A device of the scalar reference in host memory without a budget: for dry runs that ask for no backend's sizes, and
    /// tests.
    pub fn reference() -> Self {
        Self::new(Arc::new(Reference), Pool::new(usize::MAX))
    }

    /// The device of the dry run: tensors have shapes and no values, operators are counted by `recorder`, and sizes are
    /// those of this device's backend.
    pub fn shape_only(&self, recorder: Arc<ShapeOnly>) -> Self {
        Self {
            pool: Pool::counting(usize::MAX),
            shape_only: true,
            instrument: Some(recorder),
            stop: None,
            transfers: Arc::default(),
            packed: Arc::default(),
            scratch: Arc::default(),
            ..self.clone()
        }
    }

    /// The same device, reporting every call to `instrument`.
    pub fn with_instrument(&self, instrument: Arc<dyn Instrument>) -> Self {
        Self { instrument: Some(instrument), ..self.clone() }
    }

    /// The same device, refusing operators with [`Error::Stopped`] once `stop` is due.
    pub fn with_stop(&self, stop: Arc<Stop>) -> Self {
        Self { stop: Some(stop), ..self.clone() }
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

    /// The backend.
    pub fn kernels(&self) -> &Arc<dyn Kernels> {
        &self.kernels
    }

    /// Whether this is the device of the dry run.
    pub fn is_shape_only(&self) -> bool {
        self.shape_only
    }

    /// Name for reports.
    pub fn name(&self) -> String {
        self.kernels.name()
    }

    /// Copies to and from the device so far.
    pub fn transfers(&self) -> Transfers {
        self.transfers.now()
    }

    /// Bytes of weights that were packed on this device so far, by the precision they are held in.
    pub fn packed_bytes(&self) -> [(Precision, usize); 4] {
        self.packed.now()
    }

    /// Work of the host beside operators, reported like one: `work` makes something of this shape, moving `bytes`.
    pub fn host_work<T>(
        &self,
        op: &'static str,
        output: impl Into<Shape>,
        bytes: usize,
        work: impl FnOnce() -> T,
    ) -> T {
        let start = self.start();
        let made = work();
        self.report(op, start, output.into(), Cost { operations: 0, bytes: bytes as u64 });
        made
    }

    /// Dry run: builds something, uses it, and tells what that takes on this device, without doing it.
    ///
    /// # Errors
    /// Whatever `build` or `work` answer.
    pub fn plan<M, E>(
        &self,
        build: impl FnOnce(&Device) -> std::result::Result<M, E>,
        work: impl FnOnce(&Device, &M) -> std::result::Result<(), E>,
    ) -> std::result::Result<Plan, E> {
        Ok(self.dry_run(build)?.plan(work)?.1)
    }

    /// Builds something on shapes alone, to plan any number of uses of it.
    ///
    /// # Errors
    /// Whatever `build` answers.
    pub fn dry_run<M, E>(
        &self,
        build: impl FnOnce(&Device) -> std::result::Result<M, E>,
    ) -> std::result::Result<DryRun<M>, E> {
        let recorder = ShapeOnly::new();
        let device = self.shape_only(Arc::clone(&recorder));
        let model = build(&device)?;
        let built = device.pool.stats();
        let load_bytes = built.peak_bytes - built.in_use_bytes;
        let packed_bytes = device.packed_bytes();
        let scratch_bytes = self.scratch_bytes();
        Ok(DryRun { device, recorder, model, packed_bytes, load_bytes, scratch_bytes })
    }

    /// Most bytes the backend uses beside tensors.
    pub fn scratch_bytes(&self) -> usize {
        self.kernels.scratch_bytes()
    }

    /// Takes the backend's threads and scratch memory now, and counts them against the budget.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or [`Error::Backend`] when the system refuses them.
    pub fn reserve(&self) -> Result<()> {
        if self.scratch.get().is_none() {
            // Whoever comes second gives its own back at once.
            let _ = self.scratch.set(self.pool.set_aside(self.scratch_bytes())?);
        }
        self.kernels.reserve()
    }

    /// Scratch bytes that are counted against the budget already.
    pub fn reserved_bytes(&self) -> usize {
        if self.scratch.get().is_some() { self.scratch_bytes() } else { 0 }
    }

    /// By which route an attention between the tokens of prompts and of an image is faster here.
    pub fn cross_attention_route(&self, attention: &CrossAttention) -> CrossAttentionRoute {
        self.kernels.cross_attention_route(attention)
    }

    /// Waits until everything that was asked for is done.
    ///
    /// # Errors
    /// [`Error::Backend`] when some of it failed.
    pub fn synchronise(&self) -> Result<()> {
        self.pool.memory().map_or(Ok(()), |memory| memory.synchronise())
    }

    fn fuses(&self, fused: Fused) -> bool {
        self.kernels.fuses(fused)
    }

    /// Checks that all operands of an operator are on this device; returns their bytes.
    fn operands(&self, op: &'static str, tensors: &[&Tensor]) -> Result<u64> {
        let mut bytes = 0;
        for tensor in tensors {
            if !tensor.pool().is_some_and(|pool| Arc::ptr_eq(pool, &self.pool)) {
                return Err(Error::WrongDevice { op, shape: *tensor.shape(), device: self.name() });
            }
            bytes += tensor.size_bytes() as u64;
        }
        Ok(bytes)
    }

    /// The same for weights.
    fn weights(&self, op: &'static str, weights: &Packed) -> Result<u64> {
        if weights.is_for(&self.pool, &self.layout) {
            Ok(weights.size_bytes() as u64)
        } else {
            Err(weights.foreign(op, &format!("{}, which reads {}", self.name(), self.layout)))
        }
    }

    /// The same for what an epilogue adds.
    fn epilogue(&self, op: &'static str, epilogue: &Epilogue) -> Result<u64> {
        match epilogue.residual {
            Some(residual) => self.operands(op, &[residual.tensor]),
            None => Ok(0),
        }
    }

    fn run(
        &self,
        op: &'static str,
        shape: Shape,
        operations: u64,
        operand_bytes: u64,
        call: impl FnOnce(&dyn Kernels, &mut Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut out = self.allocate(op, shape)?;
        let start = self.start();
        if !self.shape_only {
            call(self.kernels.as_ref(), &mut out)?;
        }
        self.report(op, start, shape, Cost { operations, bytes: operand_bytes + out.size_bytes() as u64 });
        Ok(out)
    }

    /// A tensor for a result.
    fn allocate(&self, op: &'static str, shape: Shape) -> Result<Tensor> {
        if self.stop.as_ref().is_some_and(|stop| stop.is_due()) {
            return Err(Error::Stopped);
        }
        let wanted: Option<MemoryId> = (!self.shape_only).then(|| self.kernels.memory().id());
        if self.pool.memory_id() != wanted {
            return Err(Error::WrongDevice { op, shape, device: self.name() });
        }
        Tensor::allocate(&self.pool, shape, DType::F32)
    }

    fn start(&self) -> Option<Instant> {
        self.instrument.as_ref().map(|_| Instant::now())
    }

    fn report(&self, op: &'static str, start: Option<Instant>, output: Shape, cost: Cost) {
        if let (Some(instrument), Some(start)) = (&self.instrument, start) {
            let duration = if self.shape_only { Duration::ZERO } else { start.elapsed() };
            instrument.record(&Span { op, stage: self.stage, output, cost, duration });
        }
    }
}
