//! Where work is done: a backend, threads and memory, shared by all models that are loaded on it.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use samovar_cpu::{CpuKernels, CpuOptions, MAX_THREADS, Products, SimdLevel};
use samovar_media::DecodeLimits;
use samovar_resources::batch::{BatchOptions, BatchProcessor, Retry};
use samovar_resources::instruments::Events;
use samovar_resources::memory::{Memory, MemoryLevel, MemoryManager, MemoryThresholds};
use samovar_tensor::{Device, Instrument, Kernels, MemoryId, Pool, PoolStats, Precision, SetAside, Stop};

use crate::admission::{Gate, Promise, Reservation};
use crate::error::{Error, ErrorKind, Result};
use crate::memory_watch::MemoryWatch;
use crate::planning::does_not_fit;

/// How long an encoder may lie idle that can be loaded again. Loading takes a second or two of the largest.
pub const UNLOAD_AFTER: Duration = Duration::from_secs(300);

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
    /// Bytes that weights, activations, scratch memory, pictures and [`Options::process_bytes`] may take together; `None`
    /// for nine tenths of what is free when the engine is made, and no more than the critical level leaves.
    pub memory_budget_bytes: Option<usize>,
    /// What the process has beside that (code, stacks, whatever the program holds), counted against the budget; 0 where the
    /// budget is for the engine's work alone. [`crate::forecast::PROCESS_BYTES`] is that of the command line.
    pub process_bytes: usize,
    /// From which shares of the machine's memory on something is done about it; see [`Engine::memory`].
    pub memory_thresholds: MemoryThresholds,
    /// How long a model that was loaded with [`Engine::load_when_needed`] may lie idle before its encoder goes; it comes back
    /// from its file when it is needed. `None` for [`UNLOAD_AFTER`].
    pub unload_after: Option<Duration>,
    /// Who hears what is given back when memory gets scarce, and of halved batches.
    pub events: Events,
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
            process_bytes: 0,
            memory_thresholds: MemoryThresholds::default(),
            unload_after: None,
            events: Events::default(),
            simd: None,
            products: None,
            precision: None,
            decode_limits: DecodeLimits::default(),
            hub_cache: None,
        }
    }
}

/// What ran out of memory midway is done again with less; what was refused before it began is not.
pub(crate) fn retry_midway(error: &Error) -> Retry {
    if error.is_out_of_memory_midway() { Retry::Halved } else { Retry::Never }
}

/// A device with its memory, ready to load models. Cheap to clone; clones share threads and budget.
#[derive(Clone)]
pub struct Engine {
    device: Device,
    /// The processor's operators, if that is the device.
    cpu: Option<Arc<CpuKernels>>,
    optimizes: bool,
    watch: Arc<MemoryWatch>,
    unload_after: Duration,
    events: Events,
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
    /// [`crate::Error::Cpu`] when the processor lacks the instructions asked for, or for too many threads;
    /// [`crate::Error::Usage`] for thresholds of memory that make no sense.
    pub fn new(options: Options) -> Result<Self> {
        let Options { threads, simd: level, products, .. } = options;
        let kernels = Arc::new(CpuKernels::new(CpuOptions { threads, level, products })?);
        let threads = kernels.threads();
        let engine = Self::of(Arc::clone(&kernels) as _, threads, options)?;
        Ok(Self { cpu: Some(kernels), ..engine })
    }

    /// An engine on any backend. Of the options, those about instructions and products do not matter to it;
    /// [`Options::threads`] are those that make pictures and masks on the host. Without a budget of their own, tensors
    /// may take what the backend's memory has.
    ///
    /// # Errors
    /// As [`Engine::new`], but for the processor's.
    pub fn on(kernels: Arc<dyn Kernels>, options: Options) -> Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = if options.threads == 0 { processors } else { options.threads };
        Self::of(kernels, threads.min(MAX_THREADS), options)
    }

    fn of(kernels: Arc<dyn Kernels>, threads: usize, options: Options) -> Result<Self> {
        let memory = kernels.memory();
        let budget_bytes = options.memory_budget_bytes.unwrap_or_else(|| {
            let now = Memory::now();
            // Where the system does not tell, its own limits have to do; and another memory has limits of its own.
            if now.available_bytes == 0 || memory.id() != MemoryId::HOST {
                return usize::MAX;
            }
            let most = (now.available_bytes as f64 * (1.0 - LEFT_TO_OTHERS)) as usize;
            let critical = (now.total_bytes as f64 * options.memory_thresholds.critical) as usize;
            // Where others have it at that level already, it is the level that refuses work.
            match critical.saturating_sub(now.used_bytes()) {
                0 => most,
                left => most.min(left),
            }
        });
        let Options { enable_optimizations: optimizes, precision, decode_limits, .. } = options;
        let pool = if optimizes { Pool::on } else { Pool::without_reuse };
        let device = Device::new(kernels, pool(memory, budget_bytes));
        let Options { process_bytes, memory_thresholds, unload_after, events, .. } = options;
        let process_bytes = if device.pool().is_host() { process_bytes } else { 0 };
        let watch =
            MemoryWatch::new(device.name(), device.pool(), process_bytes, memory_thresholds, events.clone())?;
        Ok(Self {
            device,
            cpu: None,
            optimizes,
            watch: Arc::new(watch),
            unload_after: unload_after.unwrap_or(UNLOAD_AFTER),
            events,
            gate: Arc::default(),
            threads,
            precision,
            decode_limits,
            hub_cache: options.hub_cache.map(Arc::from),
        })
    }

    /// The watch on this engine's memory and the machine's: figures, levels, clean-ups. Under pressure (80 % in use) idle blocks
    /// go back to the system, under warning (85 %) caches and batches halve, at the critical level (95 %) caches and idle
    /// models go and new work is refused ([`Error::Scarce`]). [`Options::memory_thresholds`] sets the levels.
    pub fn memory(&self) -> &Arc<MemoryManager> {
        self.watch.manager()
    }

    /// Looks after memory, as all work does at its natural points: for those who wait for work, so that what lies idle goes
    /// while nothing happens.
    pub fn tend(&self) {
        self.watch.manager().tend();
    }

    /// Looks after memory before new work begins.
    pub(crate) fn begin(&self, what: &str) -> Result<()> {
        self.watch.begin_patiently(what)
    }

    /// Work in batches of some size, which halve when memory runs out midway.
    pub(crate) fn batches(&self, size: usize) -> BatchProcessor {
        let options = BatchOptions {
            auto_batch_size: false,
            default_batch_size: size.max(1),
            max_batch_size: size.max(1),
        };
        BatchProcessor::new(options).with_memory(self.memory()).with_events(self.events.clone())
    }

    /// Has some of that given back which lies idle or can be had again, beside the pool's idle blocks, which it gives up by itself; what is
    /// dearest last. Says how many bytes that were.
    fn give_some_back(&self) -> usize {
        let in_use = || self.device.pool().stats().in_use_bytes;
        let before = in_use();
        for level in [MemoryLevel::Warning, MemoryLevel::Critical] {
            self.memory().cleanup_at(level);
            if in_use() < before {
                break;
            }
        }
        before.saturating_sub(in_use())
    }

    /// Does what takes memory; where that does not suffice, again with less and less kept beside it: features of images before, encoders
    /// that lie idle.
    pub(crate) fn with_room<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match work() {
                Err(error) if error.kind() == ErrorKind::OutOfMemory && self.give_some_back() > 0 => {}
                answer => return answer,
            }
        }
    }

    /// How long an encoder may lie idle that can be loaded again.
    pub(crate) fn unload_after(&self) -> Duration {
        self.unload_after
    }

    /// Who hears what happens to memory and batches.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// The same engine, reporting every operator call to `instrument`.
    pub fn with_instrument(&self, instrument: Arc<dyn Instrument>) -> Self {
        Self { device: self.device.with_instrument(instrument), ..self.clone() }
    }

    /// The same engine, whose operators are refused once `stop` is due: what runs on it ends with an error of
    /// [`ErrorKind::Stopped`].
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
        self.with_room(|| self.gate.enter(|| self.device.pool().stats(), &admit))
    }

    /// Holds memory of the host for a picture and what is made of it; see [`Gate::hold`]. Other memories than the host's have
    /// budgets of their own, which say nothing about pictures.
    pub(crate) fn hold(
        &self,
        bytes: usize,
        admit: impl Fn(&PoolStats, bool) -> Result<()>,
    ) -> Result<Reservation> {
        let pool = self.device.pool();
        self.tend();
        match pool.is_host() {
            true => self.with_room(|| self.gate.hold(pool, bytes, &admit)),
            false => self.gate.hold(pool, 0, |_, _| Ok(())),
        }
    }

    /// Sets memory of the host aside for what a program holds beside models and pictures, as long as the value lives; nothing on
    /// other devices, whose budgets are their own.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`], naming `what`.
    pub fn set_aside(&self, what: &str, bytes: usize) -> Result<SetAside> {
        let mut aside = self.device.pool().set_aside(0)?;
        self.set_aside_more(&mut aside, what, bytes)?;
        Ok(aside)
    }

    /// [`Engine::set_aside`] for what grows: `bytes` altogether.
    ///
    /// # Errors
    /// As there; what was set aside before stays so.
    pub(crate) fn set_aside_more(&self, aside: &mut SetAside, what: &str, bytes: usize) -> Result<()> {
        let pool = self.device.pool();
        let bytes = if pool.is_host() { bytes } else { 0 };
        self.with_room(|| {
            let more_bytes = bytes.saturating_sub(aside.bytes());
            aside.grow_to(bytes).map_err(|_| does_not_fit(what.to_owned(), more_bytes, &pool.stats()))
        })
    }

    /// Whether work may be kept, gathered and overlapped: [`Options::enable_optimizations`]. Whoever does any of these asks.
    pub fn optimizes(&self) -> bool {
        self.optimizes
    }

    /// How many of `most` pieces of work may be taken together: fewer where the machine's memory is scarce.
    pub fn at_once(&self, most: usize) -> usize {
        match self.watch.level() {
            _ if !self.optimizes => most.min(1),
            MemoryLevel::Calm | MemoryLevel::Pressure => most,
            MemoryLevel::Warning => most.div_ceil(2),
            MemoryLevel::Critical => most.min(1),
        }
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
