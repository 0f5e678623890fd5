//! Arguments that choose model and engine, shared by all commands that run one.

use clap::Args;
use samovar::memory::parse_bytes;
use samovar::{Engine, Model, Options};

/// Model and engine.
#[derive(Args, Debug, Clone)]
pub struct ModelArgs {
    /// `nano` (embedded), an id of `samovar models`, a Hugging Face folder, or an original .pth/.pt/.safetensors file
    #[arg(long, short, value_name = "MODEL", default_value = "nano")]
    pub model: String,
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Engine alone.
#[derive(Args, Debug, Clone)]
pub struct EngineArgs {
    /// Threads to use [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Memory that the model and its work may take, as 8GB [default: nine tenths of what is free]
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    pub memory: Option<usize>,
}

fn memory(text: &str) -> Result<usize, String> {
    parse_bytes(text).ok_or_else(|| "expected a number of bytes, as 8GB or 512MiB".into())
}

impl EngineArgs {
    /// What the arguments say, on top of what the environment says.
    pub fn options(&self) -> samovar::Result<Options> {
        let mut options = Options::from_env()?;
        if let Some(threads) = self.threads {
            options.threads = usize::from(threads);
        }
        options.memory_budget_bytes = self.memory.or(options.memory_budget_bytes);
        Ok(options)
    }
}

impl ModelArgs {
    /// The engine.
    pub fn engine(&self) -> samovar::Result<Engine> {
        Engine::new(self.engine.options()?)
    }

    /// The model, loaded.
    pub fn load(&self) -> samovar::Result<Model> {
        self.engine()?.load(&self.model)
    }
}
