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
//! - [`Model`]: the weights on a device, and the two calls. It holds no state beside them. Decoding also comes in two
//!   parts, [`Model::score`] and [`Model::draw`], for those who throw most masks away by their scores.
//! - [`CATALOGUE`]: the models samovar knows by name.
//!
//! What a click on an image takes with SAM ViT-B, before any file is there:
//!
//! ```
//! use samovar_models::{Model, ModelConfig, PromptBatch};
//! use samovar_tensor::Device;
//! use samovar_weights::ShapeSource;
//!
//! let config = ModelConfig::from_catalogue("facebook/sam-vit-base").expect("it is in the catalogue");
//! let plan = Device::plan(
//!     0,
//!     |device| Model::load(device, &config, &ShapeSource),
//!     |device, model| {
//!         let side = model.preprocessing().input_size;
//!         let pixels = device.tensor([1, side, side, 3], |_| {})?;
//!         let features = model.encode(device, &pixels)?;
//!         let click = PromptBatch {
//!             prompts: 1,
//!             points: vec![[500.0, 375.0]],
//!             labels: vec![1],
//!             multimask: true,
//!             ..PromptBatch::default()
//!         };
//!         let masks = model.decode(device, &features, &click)?;
//!         assert_eq!(masks.logits.dims(), [1, 3, 256, 256]);
//!         Ok::<(), samovar_models::Error>(())
//!     },
//! )?;
//! assert_eq!(plan.weight_bytes / 1_000_000, 402);
//! assert_eq!(plan.cost().operations / 1_000_000_000, 944);
//! # Ok::<(), samovar_models::Error>(())
//! ```
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

pub use blocks::mask_decoder::ScoredPrompts;
pub use catalogue::{CATALOGUE, CatalogueEntry};
pub use config::{Family, ModelConfig};
pub use error::{Error, Result};
pub use model::{ImageFeatures, MaskChoice, MaskPrediction, MaskRule, Model, Preprocessing, PromptBatch};
