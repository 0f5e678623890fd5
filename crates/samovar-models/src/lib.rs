//! Shared blocks, thin model families, one catalogue. Pure: no files, clock, threads, cache or device names.
//!
//! ```text
//! config.json, tensor shapes or catalogue ── ModelConfig ──┐
//! WeightSource ────────────────────────────────────────────┴─ Model::load ── Model
//!
//! pixels [B, S, S, 3] ── Model::encode ── ImageFeatures ── Model::decode ── MaskPrediction
//!                                                              ▲
//!                                                        PromptBatch
//! ```
//!
//! - [`ModelConfig`]: all dimensions of a model, from a Hugging Face `config.json`, from the shapes of an original
//!   checkpoint, or from the catalogue.
//! - [`Model`]: the weights on a device, and the two calls. It holds no state beside them.
//! - [`CATALOGUE`]: the models samovar knows by name.
//!
//! Everything runs through [`samovar_tensor::Device`], so the same code computes, or tells beforehand what computing
//! takes (see [`samovar_tensor::Device::plan`] and [`samovar_weights::ShapeSource`]). Maps are channels last.

mod blocks;
mod catalogue;
mod config;
mod error;
mod families;
mod model;
mod prompt_map;

pub use catalogue::{CATALOGUE, CatalogueEntry};
pub use config::{Family, ModelConfig};
pub use error::{Error, Result};
pub use model::{ImageFeatures, MaskChoice, MaskPrediction, MaskRule, Model, Preprocessing, PromptBatch};
