//! Shared blocks, thin model families, one catalogue. Pure: no files, clock, threads, cache or device names.
//!
//! ```text
//! config.json, tensor shapes or catalogue ── ModelConfig ──┐
//! WeightSource ────────────────────────────────────────────┴─ Model::load ── Model
//!
//! pixels [B, H, W, 3] ── ImageEncoder::encode ── ImageFeatures ── PromptableSegmenter::decode ── MaskPrediction
//!                                                                       ▲
//!                                                                  PromptBatch
//! ```
//!
//! - [`ModelConfig`]: all dimensions of a model, from a Hugging Face `config.json`, from the shapes of an original
//!   checkpoint, or from the catalogue; and from a `preprocessor_config.json` how it wants its pixels.
//! - [`Model`]: the weights on a device, as a set of capabilities ([`ImageEncoder`], [`PromptableSegmenter`],
//!   [`Detector`], [`Embedder`], [`Tracker`]). It holds no state beside them. Decoding also comes in two parts,
//!   [`PromptableSegmenter::score`] and [`PromptableSegmenter::draw`], for those who throw most masks away by their
//!   scores.
//! - [`ModelWeights`]: the weights of a model among all that a file holds, adapters merged.
//! - [`CATALOGUE`]: the models samovar knows by name.
//!
//! Files lie in layers: `error`, `limits`, `interface` and `tracker` below `blocks`, those below `families`, and above them
//! `config` (which family), `catalogue`, `weights` and `model`.
//!
//! What a click on an image takes with SAM ViT-B, before any file is there:
//!
//! ```
//! use samovar_geometry::Point;
//! use samovar_models::{MaskOutput, Model, ModelConfig, PromptBatch};
//! use samovar_tensor::Device;
//! use samovar_weights::ShapeSource;
//!
//! let config = ModelConfig::from_catalogue("facebook/sam-vit-base").expect("it is in the catalogue");
//! let plan = Device::reference().plan(
//!     |device| Model::load(device, &config, &ShapeSource),
//!     |device, model| {
//!         let encoder = model.image_encoder()?;
//!         let pixels = device.upload(encoder.preprocessing().pixels_shape(1), &[])?;
//!         let features = encoder.encode(device, &pixels)?;
//!         let click = PromptBatch {
//!             prompts: 1,
//!             points: vec![Point::new(500.0, 375.0)],
//!             labels: vec![1],
//!             output: MaskOutput::Multimask,
//!             ..PromptBatch::default()
//!         };
//!         let masks = model.promptable_segmenter()?.decode(device, &features, &click)?;
//!         assert_eq!(masks.logits.dims(), [1, 3, 256, 256]);
//!         Ok::<(), samovar_models::Error>(())
//!     },
//! )?;
//! assert_eq!(plan.weight_bytes / 1_000_000, 400);
//! assert_eq!(plan.cost().operations / 1_000_000_000, 944);
//! # Ok::<(), samovar_models::Error>(())
//! ```
//!
//! Everything runs through [`samovar_tensor::Device`], so the same code computes, or tells beforehand what computing
//! takes (see [`samovar_tensor::Device::plan`] and [`samovar_weights::ShapeSource`]). Maps are channels last.

mod blocks;
mod capabilities;
mod catalogue;
mod config;
mod error;
mod families;
mod interface;
mod limits;
mod low_rank;
mod model;
mod names;
mod preprocessor;
#[cfg(test)]
mod test_weights;
mod tracker;
mod unused;
mod weights;

pub use capabilities::Capabilities;
pub use catalogue::{CATALOGUE, CatalogueEntry};
pub use config::{CONFIG_KEY, Family, ModelConfig, PREPROCESSOR_KEY};
pub use error::{Error, Result};
pub use interface::{
    Capability, Detections, Detector, Embedder, EverythingThresholds, ImageEncoder, ImageFeatures,
    MaskChoice, MaskOutput, MaskPrediction, MaskRule, Parts, Preprocessing, PromptBatch, PromptableSegmenter,
    Recommendations, ScoredPrompts,
};
pub use model::Model;
pub use tracker::{
    GivenMask, HIDDEN_LOGIT, MemoryPlace, ObjectPast, TrackedImage, TrackedMask, Tracker, TrackingRule,
};
pub use weights::ModelWeights;
