//! Where work is done: a backend, threads and memory, shared by all models that are loaded on it.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use samovar_cpu::{CpuKernels, CpuOptions, MAX_THREADS, Products, SimdLevel};
use samovar_media::DecodeLimits;
use samovar_resources::memory::Memory;
use samovar_tensor::{Device, Instrument, Kernels, MemoryId, Pool, PoolStats, Precision, Stop};

use crate::admission::{Gate, Promise, Reservation};
use crate::error::{Error, Result};

/// Share of the free memory that the default budget leaves to others.
const LEFT_TO_OTHERS: f64 = 0.1;

/// How to make an [`Engine`]. The defaults use the whole machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// On by default. Off is the honest baseline of every table of speed-ups: the same masks from the same kernels and threads,
    /// but nothing is kept of an image (no cache), prompts are answered and points are scored one at a time,
    /// images wait for each other (none beside another, none read ahead), and blocks of memory go back to the system
    /// instead of serving again.
    pub enable_optimizations: bool,
    /// Threads, [`MAX_THREADS`] at most; 0 for one per processor.
    pub threads: usize,
    /// Bytes that weights, activations and scratch memory may take together; `None` for nine tenths of what is free
    /// when the engine is made.
    pub memory_budget_bytes: Option<usize>,
    /// Instructions to use; `None` for the best the processor has.
    pub simd: Option<SimdLevel>,
    /// How large products are computed; `None` for what is fastest with the instructions.
    pub products: Option<Products>,
    /// In which precision weights are held; `None` for f32, or what a file of rounded weights says.
    pub precision: Option<Precision>,
    /// Largest images that are decoded.
    pub decode_limits: DecodeLimits,
    /// The folder in which Hugging Face's tools keep repositories, `~/.cache/huggingface/hub` for most, in which
    /// [`Engine::load`] looks for names of the hub; with `None` it knows none of them.
    pub hub_cache: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enable_optimizations: true,
            threads: 0,
            memory_budget_bytes: None,
            simd: None,
            products: None,
            precision: None,
            decode_limits: DecodeLimits::default(),
            hub_cache: None,
        }
    }
}

/// A device with its memory, ready to load models. Cheap to clone; clones share threads and budget.
#[derive(Clone)]
pub struct Engine {
    device: Device,
    /// The processor's operators, if that is the device.
    cpu: Option<Arc<CpuKernels>>,
    optimizes: bool,
    /// Of all that works on the device's memory.
    gate: Arc<Gate>,
    /// Of the host, beside the device: pictures and masks are made there.
    threads: usize,
    precision: Option<Precision>,
    decode_limits: DecodeLimits,
    hub_cache: Option<Arc<Path>>,
}

impl Engine {
    /// An engine on this machine's processors. Its threads start and take their scratch memory with the first model that
    /// is loaded.
    ///
    /// # Errors
    /// [`crate::Error::Cpu`] when the processor lacks the instructions asked for, or for too many threads.
    pub fn new(options: Options) -> Result<Self> {
        let Options { threads, simd: level, products, .. } = options;
        let kernels = Arc::new(CpuKernels::new(CpuOptions { threads, level, products })?);
        let threads = kernels.threads();
        let engine = Self::of(Arc::clone(&kernels) as _, threads, options);
        Ok(Self { cpu: Some(kernels), ..engine })
    }

    /// An engine on any backend. Of the options, those about instructions and products do not matter to it;
    /// [`Options::threads`] are those that make pictures and masks on the host. Without a budget of their own, tensors
    /// may take what the backend's memory has.
    pub fn on(kernels: Arc<dyn Kernels>, options: Options) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = if options.threads == 0 { processors } else { options.threads };
        Self::of(kernels, threads.min(MAX_THREADS), options)
    }

    fn of(kernels: Arc<dyn Kernels>, threads: usize, options: Options) -> Self {
        let memory = kernels.memory();
        let budget_bytes = options.memory_budget_bytes.unwrap_or_else(|| {
            let free = Memory::now().available_bytes as f64;
            // Where the system does not tell, its own limits have to do; and another memory has limits of its own.
            let is_known = free > 0.0 && memory.id() == MemoryId::HOST;
            if is_known { (free * (1.0 - LEFT_TO_OTHERS)) as usize } else { usize::MAX }
        });
        let Options { enable_optimizations: optimizes, precision, decode_limits, hub_cache, .. } = options;
        let pool = if optimizes { Pool::on } else { Pool::without_reuse };
        let device = Device::new(kernels, pool(memory, budget_bytes));
        Self {
            device,
            cpu: None,
            optimizes,
            gate: Arc::default(),
            threads,
            precision,
            decode_limits,
            hub_cache: hub_cache.map(Arc::from),
        }
    }

    /// The same engine, reporting every operator call to `instrument`.
    pub fn with_instrument(&self, instrument: Arc<dyn Instrument>) -> Self {
        Self { device: self.device.with_instrument(instrument), ..self.clone() }
    }

    /// The same engine, whose operators are refused once `stop` is due: what runs on it ends with an error of
    /// [`ErrorKind::Stopped`](crate::ErrorKind::Stopped).
    pub fn stopping(&self, stop: Arc<Stop>) -> Self {
        Self { device: self.device.with_stop(stop), ..self.clone() }
    }

    /// One thread of its own on the same memory and with the same instructions, to run loaded models on: work that is
    /// cut up by images shares nothing else. Reports to no instrument. On other devices than the processors, where images
    /// take turns, the same engine.
    ///
    /// # Errors
    /// [`Error::Model`] when its scratch memory does not fit the budget.
    pub fn worker(&self) -> Result<Self> {
        let Some(cpu) = &self.cpu else { return Ok(self.clone()) };
        let options = CpuOptions { threads: 1, level: Some(cpu.level()), products: Some(cpu.products()) };
        let kernels = Arc::new(CpuKernels::new(options)?);
        let device = Device::new(Arc::clone(&kernels) as _, Arc::clone(self.device.pool()));
        device.reserve()?;
        Ok(Self { device, cpu: Some(kernels), threads: 1, ..self.clone() })
    }

    /// The same engine for models whose weights are held in this precision.
    pub fn with_precision(&self, precision: Precision) -> Self {
        Self { precision: Some(precision), ..self.clone() }
    }

    /// Lets work begin on the memory that is left; see [`Gate::enter`].
    pub(crate) fn enter<T>(&self, admit: impl Fn(&PoolStats) -> Result<(T, usize)>) -> Result<(T, Promise)> {
        self.gate.enter(|| self.device.pool().stats(), admit)
    }

    /// Holds memory of the host for a picture and what is made of it; see [`Gate::hold`]. Other memories than the host's have
    /// budgets of their own, which say nothing about pictures.
    pub(crate) fn hold(
        &self,
        bytes: usize,
        admit: impl Fn(&PoolStats, bool) -> Result<()>,
    ) -> Result<Reservation> {
        let pool = self.device.pool();
        match pool.memory().is_some_and(|memory| memory.id() == MemoryId::HOST) {
            true => self.gate.hold(pool, bytes, admit),
            false => self.gate.hold(pool, 0, |_, _| Ok(())),
        }
    }

    /// Whether work may be kept, gathered and overlapped: [`Options::enable_optimizations`]. Whoever does any of these asks.
    pub fn optimizes(&self) -> bool {
        self.optimizes
    }

    /// How many of `most` pieces of work may be taken together.
    pub fn at_once(&self, most: usize) -> usize {
        if self.optimizes { most } else { most.min(1) }
    }

    /// Threads of the host: those of the operators on its processors, and those that make pictures and masks.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Instructions that operators use, or the device that has its own.
    pub fn instructions(&self) -> String {
        self.cpu.as_ref().map_or_else(|| self.device.name(), |cpu| cpu.level().to_string())
    }

    /// Bytes that all tensors together may take.
    pub fn budget_bytes(&self) -> usize {
        self.device.pool().stats().budget_bytes
    }

    /// In which precision weights are held; `None` for what a file of them says.
    pub(crate) fn precision(&self) -> Option<Precision> {
        self.precision
    }

    /// Where repositories of the hub are looked for.
    pub(crate) fn hub_cache(&self) -> Option<&Path> {
        self.hub_cache.as_deref()
    }

    /// The device, for those who run operators themselves.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The processor's operators.
    ///
    /// # Errors
    /// [`Error::Usage`] when the device is another.
    pub fn cpu(&self) -> Result<&CpuKernels> {
        let other = || Error::usage(format!("{}: only processors can be asked this", self.device.name()));
        self.cpu.as_deref().ok_or_else(other)
    }

    /// Largest images that are decoded.
    pub fn decode_limits(&self) -> &DecodeLimits {
        &self.decode_limits
    }
}
