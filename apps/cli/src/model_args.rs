//! Arguments that choose model and engine, shared by all commands that run one.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use samovar::certificate::{Certificate, Store};
use samovar::devices::{self, DeviceChoice, Opened, Opening};
use samovar::forecast::PROCESS_BYTES;
use samovar::memory::{Memory, MemoryThresholds, bytes, parse_bytes};
use samovar::resources::instruments::Events;
use samovar::source::ModelSource;
use samovar::{
    DecodeLimits, Engine, LazyImage, MAX_THREADS, Model, Options, PictureWork, Precision, Products,
    Reservation, SimdLevel,
};

use crate::cache_args::Cache;
use crate::environment;
use crate::failure::usage;
use crate::settings::{OFF, Settings, Source, parse_pixels};

/// Model and engine.
#[derive(Args, Debug, Clone)]
pub struct ModelArgs {
    /// `nano` (embedded), an id of `samovar models`, a Hugging Face folder, or an original .pth/.pt/.safetensors file
    #[arg(long, short, value_name = "MODEL", default_value = "nano")]
    pub model: String,
    /// Precision of the large weights: f32, f16, bf16 or int8 [default: f32, or the file's own]
    #[arg(long, value_name = "DTYPE")]
    pub dtype: Option<Precision>,
    /// Use a dtype that `samovar doctor` found slower or worse than its bounds on this machine
    #[arg(long)]
    pub force_dtype: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Engine alone.
#[derive(Args, Debug, Clone)]
pub struct EngineArgs {
    /// Settings from a preset of `samovar config list`, or from a TOML file; variables and flags go before it
    #[arg(long, value_name = "NAME|FILE.toml")]
    pub preset: Option<String>,
    /// What computes: auto, cpu, vulkan, metal or dx12; one of several as vulkan:1. `samovar doctor` lists them [default: auto, the best
    /// card that has passed its certificate, else the processors]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// Use the device of --device without a certificate, or with one that speaks against it
    #[arg(long)]
    pub force_device: bool,
    /// Threads to use, 1024 at most [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS as i64))]
    pub threads: Option<u16>,
    /// Memory that the whole program may take, pictures and results included, as 8GB [default: nine tenths of what is free]
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    pub memory: Option<usize>,
    /// Largest picture that is read, in pixels (width times height), as 300M [default: 268435456]
    #[arg(long, value_name = "N", value_parser = pixels)]
    pub max_pixels: Option<u64>,
    /// The baseline to compare with, same masks: nothing is cached, gathered into batches, read ahead or done side by side,
    /// and no memory is used again
    #[arg(long)]
    pub no_optimizations: bool,
}

/// Finds a model by name; repositories of the hub are looked for in the hub's cache.
///
/// # Errors
/// As [`ModelSource::resolve`].
pub fn resolve(name: &str) -> samovar::Result<ModelSource> {
    ModelSource::resolve(name, Some(&environment::hub_cache()))
}

fn memory(text: &str) -> Result<usize, String> {
    let bytes = parse_bytes(text).filter(|&bytes| bytes > 0);
    bytes.ok_or_else(|| "expected a number of bytes over 0, as 8GB or 512MiB".into())
}

fn pixels(text: &str) -> Result<u64, String> {
    parse_pixels(text).ok_or_else(|| "expected a number of pixels, as 300000000 or 300M".into())
}

/// Share of the free memory that a preset may take: as much as an engine takes that is told nothing.
const SHARE_OF_FREE: f64 = 0.9;

impl EngineArgs {
    /// What preset, environment and these arguments say together.
    ///
    /// # Errors
    /// Unknown presets, and values that mean nothing.
    pub fn settings(&self) -> Result<Settings> {
        let settings = Settings::here(self.preset.as_deref())?;
        let settings = settings.with_flag("device", self.device);
        let settings = settings.with_flag("threads", self.threads).with_flag("memory", self.memory);
        let settings = settings.with_flag("max_pixels", self.max_pixels);
        Ok(settings.with_flag("optimizations", self.no_optimizations.then_some(OFF)))
    }

    /// The engine, which tells of what it gives back when memory gets scarce, on the device that was chosen; which one that is is said.
    fn engine_of(&self, settings: &Settings, events: Events) -> Result<Engine> {
        let cache = environment::cache_folder();
        let choice = settings.word::<DeviceChoice>("device").unwrap_or_default();
        let opening = Opening { choice, is_forced: self.force_device, cache: cache.as_deref() };
        let Opened { engine, notes } = devices::open(&opening, Options { events, ..options(settings) })?;
        notes.iter().for_each(|note| say!("note: {note}"));
        Ok(engine)
    }

    /// The options of an engine with these settings.
    pub fn options(&self) -> Result<Options> {
        Ok(options(&self.settings()?))
    }

    /// The engine, for whoever needs no model of these arguments.
    pub fn engine(&self) -> Result<Engine> {
        self.engine_of(&self.settings()?, Events::default())
    }

    /// The largest pictures that are read.
    pub fn decode_limits(&self) -> Result<DecodeLimits> {
        Ok(decode_limits(&self.settings()?))
    }
}

fn decode_limits(settings: &Settings) -> DecodeLimits {
    settings.pixels("max_pixels").map_or_else(DecodeLimits::default, DecodeLimits::of_pixels)
}

fn options(settings: &Settings) -> Options {
    Options {
        threads: settings.count("threads").unwrap_or(0),
        memory_budget_bytes: budget(settings),
        simd: settings.word::<SimdLevel>("simd"),
        products: settings.word::<Products>("products"),
        precision: settings.word::<Precision>("dtype"),
        decode_limits: decode_limits(settings),
        hub_cache: Some(environment::hub_cache()),
        enable_optimizations: settings.is_on("optimizations"),
        process_bytes: PROCESS_BYTES,
        memory_thresholds: thresholds(settings),
        unload_after: Some(settings.seconds("unload_after").unwrap_or(Duration::MAX)),
        ..Options::default()
    }
}

/// The levels of memory; an engine refuses them out of order.
fn thresholds(settings: &Settings) -> MemoryThresholds {
    let default = MemoryThresholds::default();
    MemoryThresholds {
        pressure: settings.share("memory_pressure").unwrap_or(default.pressure),
        warning: settings.share("memory_warning").unwrap_or(default.warning),
        critical: settings.share("memory_critical").unwrap_or(default.critical),
    }
}

/// The budget that was asked for. A preset was written for some machine, not for what is free on this one today: it gets what
/// is there, and that is said.
fn budget(settings: &Settings) -> Option<usize> {
    let asked = settings.bytes("memory")?;
    let source = &settings.value("memory").source;
    let most = (Memory::now().available_bytes as f64 * SHARE_OF_FREE) as usize;
    // Zero where the system does not tell.
    if !matches!(source, Source::Preset { .. }) || most == 0 || asked <= most {
        return Some(asked);
    }
    say!("note: {source} asks for {} of memory, and {} can be had now", bytes(asked), bytes(most));
    Some(most)
}

impl ModelArgs {
    /// What preset, environment and these arguments say together.
    ///
    /// # Errors
    /// As [`EngineArgs::settings`].
    pub fn settings(&self) -> Result<Settings> {
        Ok(self.engine.settings()?.with_flag("dtype", self.dtype))
    }

    /// The precision of the large weights; `None` for the file's own.
    ///
    /// # Errors
    /// As [`EngineArgs::settings`].
    pub fn precision(&self) -> Result<Option<Precision>> {
        Ok(self.settings()?.word("dtype"))
    }

    /// The engine.
    pub fn engine(&self) -> Result<Engine> {
        self.engine_telling(Events::default())
    }

    /// The same, telling of what it gives back when memory gets scarce.
    pub fn engine_telling(&self, events: Events) -> Result<Engine> {
        self.engine.engine_of(&self.settings()?, events)
    }

    /// Room for a picture beside the model, before either is read.
    pub fn reserve_picture(
        &self,
        engine: &Engine,
        image: &LazyImage,
        work: PictureWork,
    ) -> Result<Reservation> {
        Ok(engine.reserve_picture(&resolve(&self.model)?, image, work)?)
    }

    /// The model, loaded.
    pub fn load(&self) -> Result<Model> {
        self.load_on(&self.engine()?)
    }

    /// The model, loaded on an engine of [`ModelArgs::engine`].
    pub fn load_on(&self, engine: &Engine) -> Result<Model> {
        self.load_with(engine, None)
    }

    /// The same, keeping what it finds in images in a cache, if there is one.
    pub fn load_with(&self, engine: &Engine, cache: Option<&Cache>) -> Result<Model> {
        let source = resolve(&self.model)?;
        self.check_certificate(&source, engine, |certificate| certificate.refused)?;
        let model = match cache.filter(|_| engine.optimizes()) {
            Some(cache) => cache.load(engine, &source)?,
            None => engine.load_from(&source)?,
        };
        for note in model.notes() {
            say!("note: {note}");
        }
        Ok(model)
    }

    /// Refuses a precision in which objects that were followed on this machine strayed, unless forced.
    pub fn check_following(&self, engine: &Engine) -> Result<()> {
        let reasons = |certificate: Certificate| certificate.followed.map_or(Vec::new(), |one| one.refused);
        self.check_certificate(&resolve(&self.model)?, engine, reasons)
    }

    /// Refuses a precision that was measured on this machine and fell short for one of these reasons, unless forced.
    fn check_certificate(
        &self,
        source: &ModelSource,
        engine: &Engine,
        reasons: impl Fn(Certificate) -> Vec<String>,
    ) -> Result<()> {
        let settings = self.settings()?;
        let Some(precision) = settings.word::<Precision>("dtype").filter(|&one| one != Precision::F32) else {
            return match self.force_dtype && settings.word::<Precision>("dtype").is_none() {
                true => Err(usage("--force-dtype forces a dtype; give --dtype too")),
                false => Ok(()),
            };
        };
        let store = environment::cache_folder().map(|folder| Store::of(source, engine, &folder));
        let certificates = store.map(|store| store.read()).unwrap_or_default();
        let certificate = certificates.into_iter().find(|one| one.dtype == precision.to_string());
        let refused = certificate.map(reasons).unwrap_or_default();
        match refused.is_empty() || self.force_dtype {
            false => Err(usage(format!(
                "{precision} is refused for {} on this machine: {}; measure again with `samovar doctor --model {}`, or \
                 use --force-dtype{}",
                source.name(),
                refused.join(", "),
                self.model,
                match &settings.value("dtype").source {
                    Source::Flag(_) => String::new(),
                    other => format!(" (set by {other})"),
                }
            ))),
            true => Ok(()),
        }
    }
}
