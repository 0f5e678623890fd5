//! Arguments that choose model and engine, shared by all commands that run one.

use anyhow::Result;
use clap::Args;
use samovar::certificate::Store;
use samovar::memory::parse_bytes;
use samovar::source::ModelSource;
use samovar::{
    DecodeLimits, Engine, LazyImage, MAX_THREADS, Model, Options, PictureUse, Precision, Reservation,
};

use crate::cache_args::Cache;
use crate::environment;
use crate::failure::usage;

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
    #[arg(long, requires = "dtype")]
    pub force_dtype: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Engine alone.
#[derive(Args, Debug, Clone)]
pub struct EngineArgs {
    /// Threads to use, 1024 at most [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_THREADS as i64))]
    pub threads: Option<u16>,
    /// Memory that the model and its work may take, as 8GB [default: nine tenths of what is free]
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
    parse_bytes(text).ok_or_else(|| "expected a number of bytes, as 8GB or 512MiB".into())
}

fn pixels(text: &str) -> Result<u64, String> {
    let plain = Some(text).filter(|text| !text.contains(['b', 'B', 'i']));
    let count = plain.and_then(parse_bytes).map(|count| count as u64).filter(|&count| count > 0);
    count.ok_or_else(|| "expected a number of pixels, as 300000000 or 300M".into())
}

impl EngineArgs {
    /// What the arguments say, on top of what the environment says.
    pub fn options(&self) -> samovar::Result<Options> {
        let mut options = environment::engine_options()?;
        options.enable_optimizations &= !self.no_optimizations;
        if let Some(threads) = self.threads {
            options.threads = usize::from(threads);
        }
        options.memory_budget_bytes = self.memory.or(options.memory_budget_bytes);
        options.decode_limits = self.max_pixels.map_or(options.decode_limits, DecodeLimits::of_pixels);
        Ok(options)
    }
}

impl ModelArgs {
    /// The engine.
    pub fn engine(&self) -> Result<Engine> {
        let options = Options { precision: self.dtype, ..self.engine.options()? };
        Ok(Engine::new(options)?)
    }

    /// Room for a picture beside the model, before either is read.
    pub fn reserve_picture(
        &self,
        engine: &Engine,
        image: &LazyImage,
        made: PictureUse,
    ) -> Result<Reservation> {
        Ok(engine.reserve_picture(&resolve(&self.model)?, image, made)?)
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
        self.check_certificate(&source, engine)?;
        let model = match cache.filter(|_| engine.optimizes()) {
            Some(cache) => cache.load(engine, &source)?,
            None => engine.load_from(&source)?,
        };
        for note in model.notes() {
            say!("note: {note}");
        }
        Ok(model)
    }

    /// Refuses a precision that was measured on this machine and fell short, unless forced.
    fn check_certificate(&self, source: &ModelSource, engine: &Engine) -> Result<()> {
        let Some(precision) = self.dtype.filter(|&precision| precision != Precision::F32) else {
            return Ok(());
        };
        let store = environment::cache_folder().map(|folder| Store::of(source, engine, &folder));
        let certificates = store.map(|store| store.read()).unwrap_or_default();
        let certificate = certificates.into_iter().find(|one| one.dtype == precision.to_string());
        match certificate {
            Some(one) if !one.refused.is_empty() && !self.force_dtype => Err(usage(format!(
                "{precision} is refused for {} on this machine: {}; measure again with `samovar doctor --model {}`, or \
                 use --force-dtype",
                source.name(),
                one.refused.join(", "),
                self.model
            ))),
            _ => Ok(()),
        }
    }
}
