//! A model by its dimensions alone: no weights are read, and those of the catalogue need not be there.

use anyhow::Result;
use samovar::planning::ModelPlan;
use samovar::{CatalogueEntry, Engine, ModelConfig, Precision};

use crate::model_args::{ModelArgs, resolve};

/// A model, and what it takes.
pub struct Planned {
    /// What it is called.
    pub name: String,
    /// Its dimensions.
    pub config: ModelConfig,
    /// Of its large weights.
    pub precision: Precision,
    /// What it takes by itself.
    pub plan: ModelPlan,
}

impl Planned {
    /// Of the model that was asked for.
    pub fn of(args: &ModelArgs, engine: &Engine) -> Result<Self> {
        let (name, config, stored) = config(&args.model)?;
        let precision = args.precision()?.unwrap_or(stored);
        let plan = ModelPlan::of(engine.device(), &config, precision)?;
        Ok(Self { name, config, precision, plan })
    }
}

/// A model's dimensions; of models of the catalogue also when their weights are elsewhere.
fn config(model: &str) -> Result<(String, ModelConfig, Precision)> {
    match resolve(model) {
        Ok(source) => {
            let opened = source.open()?;
            let stored = opened.stored_precision()?;
            Ok((source.name(), opened.config, stored))
        }
        Err(error) => match CatalogueEntry::find(model).and_then(|entry| {
            Some((entry.id.to_owned(), ModelConfig::from_catalogue(entry.id)?, Precision::F32))
        }) {
            Some(known) => Ok(known),
            None => Err(error.into()),
        },
    }
}
