//! What all tables of `samovar bench` take.

use std::path::PathBuf;

use crate::model_args::ModelArgs;

/// What all tables take.
#[derive(clap::Args, Debug, Clone)]
pub struct TableArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Runs of everything in the table; the table has medians [default: 3, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: Option<u32>,
    /// Another samovar, for a column of its own: the same work, as far as it can be asked for it
    #[arg(long, value_name = "BINARY")]
    pub baseline: Option<PathBuf>,
    /// Keep the run as JSON, for `samovar bench compare`
    #[arg(long, value_name = "FILE.json")]
    pub save: Option<PathBuf>,
    /// Write over a file that samovar has not made or that was changed since
    #[arg(long)]
    pub overwrite: bool,
    /// A small version, in seconds: shows that it works, not how fast
    #[arg(long)]
    pub quick: bool,
    /// Print the run as one JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

impl TableArgs {
    /// Runs of everything.
    pub fn repeat(&self) -> u32 {
        self.repeat.unwrap_or(if self.quick { 1 } else { 3 })
    }
}
