//! Where work is done: threads, instructions and memory, shared by all models that are loaded on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use samovar_cpu::{CpuKernels, CpuOptions, Products, SimdLevel};
use samovar_media::DecodeLimits;
use samovar_models::Model as Network;
use samovar_tensor::{Device, Instrument, Pool, Precision};

use crate::error::Result;
use crate::memory::Memory;
use crate::model::Model;
use crate::planning::ModelPlan;
use crate::source::ModelSource;

/// Share of the free memory that the default budget leaves to others.
const LEFT_TO_OTHERS: f64 = 0.1;

/// How to make an [`Engine`]. The defaults use the whole machine.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Threads, [`MAX_THREADS`](crate::MAX_THREADS) at most; 0 for one per processor.
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

/// A device with its memory, ready to load models. Cheap to clone; clones share threads and budget.
#[derive(Clone)]
pub struct Engine {
    device: Device,
    kernels: Arc<CpuKernels>,
    budget_bytes: usize,
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
        let budget_bytes = options.memory_budget_bytes.unwrap_or_else(|| {
            let free = Memory::now().available_bytes as f64;
            // Where the system does not tell, its own limits have to do.
            if free > 0.0 { (free * (1.0 - LEFT_TO_OTHERS)) as usize } else { usize::MAX }
        });
        let device = Device::new(Arc::clone(&kernels) as _, Pool::new(budget_bytes));
        let Options { precision, decode_limits, hub_cache, .. } = options;
        let hub_cache = hub_cache.map(Arc::from);
        Ok(Self { device, kernels, budget_bytes, precision, decode_limits, hub_cache })
    }

    /// The same engine, reporting every operator call to `instrument`.
    pub fn with_instrument(&self, instrument: Arc<dyn Instrument>) -> Self {
        Self { device: self.device.with_instrument(instrument), ..self.clone() }
    }

    /// One thread of its own on the same memory and with the same instructions, to run loaded models on: work that is
    /// cut up by images shares nothing else. Reports to no instrument.
    pub(crate) fn worker(&self) -> Result<Self> {
        let options =
            CpuOptions { threads: 1, level: Some(self.simd()), products: Some(self.kernels.products()) };
        let kernels = Arc::new(CpuKernels::new(options)?);
        kernels.reserve()?;
        let device = Device::new(Arc::clone(&kernels) as _, Arc::clone(self.device.pool()));
        Ok(Self { device, kernels, ..self.clone() })
    }

    /// The same engine for models whose weights are held in this precision.
    pub fn with_precision(&self, precision: Precision) -> Self {
        Self { precision: Some(precision), ..self.clone() }
    }

    /// Loads a model by name (see [`ModelSource::resolve`]); those of the hub from [`Options::hub_cache`].
    ///
    /// # Errors
    /// [`crate::Error::UnknownModel`], [`crate::Error::DoesNotFit`] before anything is read, [`crate::Error::Model`] when the file is not
    /// what it should be.
    pub fn load(&self, name: &str) -> Result<Model> {
        self.load_from(&ModelSource::resolve(name, self.hub_cache.as_deref())?)
    }

    /// Loads a model from where it lies.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn load_from(&self, source: &ModelSource) -> Result<Model> {
        let opened = source.open()?;
        let precision = match self.precision {
            Some(precision) => precision,
            None => opened.stored_precision()?,
        };
        let plan = ModelPlan::in_precision(&opened.config, precision, self.device.scratch_bytes())?;
        plan.admit(source.name(), self.budget_bytes)?;
        self.kernels.reserve()?;
        let device = self.device.stage("load").with_weight_precision(precision);
        let network = Network::load(&device, &opened.config, &opened.weights)?;
        Model::new(self.clone(), network, source.name(), precision)
    }

    /// Threads that operators use.
    pub fn threads(&self) -> usize {
        self.kernels.threads()
    }

    /// Instructions that operators use.
    pub fn simd(&self) -> SimdLevel {
        self.kernels.level()
    }

    /// Bytes that all tensors together may take.
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// The device, for those who run operators themselves.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The processor's operators.
    pub fn kernels(&self) -> &CpuKernels {
        &self.kernels
    }

    /// Largest images that are decoded.
    pub fn decode_limits(&self) -> &DecodeLimits {
        &self.decode_limits
    }
}
