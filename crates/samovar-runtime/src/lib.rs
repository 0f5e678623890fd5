//! All state: devices, sessions, pre- and post-processing, automatic masks, profiling.
//!
//! ```text
//! Options ── Engine ── Model ── embed(image) ── Embedding ── segment(prompt) ── Segmentation ── masks
//! ```
//!
//! State is a value: an [`Embedding`] is something one holds and asks any number of prompts. Nothing here remembers an
//! image behind one's back.
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`devices`] | which device computes: processors and cards, by name or the best |
//! | [`engine`] | [`Options`], [`Engine`]: threads, instructions, memory budget |
//! | [`source`] | what a model's name means: embedded, a folder, a file, a repository in the hub's cache |
//! | [`model`] | [`Model`] and [`Embedding`]: encode once, prompt often |
//! | [`inference_mode`] | a model held ready for a series of answers |
//! | [`prompt`] | [`Prompt`]: points, box, mask, in pixels of the image |
//! | [`prompt_file`] | prompts for many images in a JSON document |
//! | [`segmentation`] | [`Segmentation`], [`PredictedMask`]: logits and what becomes of them |
//! | [`detection`] | boxes of the things a detector knows |
//! | [`pipeline`] | from a frame to its boxes to their masks |
//! | [`automatic`] | masks for everything in an image, without a prompt |
//! | [`feature_cache`] | features of images, kept |
//! | [`forward`] | tensors in, tensors out, named as in transformers |
//! | [`tracking`] | objects through videos and sequences |
//! | [`evaluate`] | masks found against masks known: the table of `samovar eval` |
//! | [`forecast`] | how far a budget carries a queue of pictures |
//! | [`planning`] | bytes and operations before any work |
//! | [`picture_bytes`] | what a picture and its results take of the memory |
//! | [`profile`] | time, operations and bytes per operator |
//! | [`rounding`] | files of weights in f16, bf16 and int8 |
//! | [`certificate`] | what a precision costs and saves on this machine |
//! | [`memory`] | what this process, this machine and its devices have, and what is done when it gets scarce |
//! | [`resources`] | caches, batches, journals and instruments |
//! | [`hub`] | the Hugging Face hub and its cache |

mod admission;
pub mod automatic;
pub mod certificate;
mod cleanup;
pub mod detection;
pub mod devices;
mod encoder_slot;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod feature_cache;
pub mod forecast;
pub mod forward;
pub mod hub;
pub mod inference_mode;
mod loading;
mod memory_watch;
pub mod model;
pub mod picture_bytes;
pub mod pipeline;
pub mod planning;
pub mod profile;
pub mod prompt;
pub mod prompt_file;
pub mod rounding;
pub mod segmentation;
pub mod sharing;
pub mod source;
mod tracker_plan;
mod tracker_slot;
pub mod tracking;

pub use admission::Reservation;
pub use detection::{Detection, Detector, DetectorModel};
pub use engine::{Engine, Options, UNLOAD_AFTER};
pub use error::{Error, ErrorKind, Result};
pub use inference_mode::InferenceMode;
pub use model::{Embedding, Model};
pub use picture_bytes::{PictureBytes, PictureUse, PictureWork};
pub use pipeline::{Pipeline, PipelineOptions, ResultPacket, SegmentedMask, run_segmentation};
pub use prompt::{MaskPrompt, Prompt, PromptPoint};
pub use segmentation::{PredictedMask, Segmentation};

// What the facade shows of the crates below.
pub use samovar_cpu::{MAX_THREADS, Products, SimdLevel};
pub use samovar_files as files;
pub use samovar_geometry as geometry;
pub use samovar_media as media;
pub use samovar_models::{
    CATALOGUE, Capability, CatalogueEntry, EverythingThresholds, Family, MaskChoice, MaskRule, ModelConfig,
    Preprocessing, Recommendations,
};
pub use samovar_resources as resources;
pub use samovar_resources::memory;
pub use samovar_tensor as tensor;
