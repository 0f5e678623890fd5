//! Untrusted bytes to named tensors: safetensors, PyTorch zip files, name maps.
//!
//! ```text
//! model.safetensors ─┐                                   ┌─ Renamed (NameMap: original names to ours)
//! …index.json        ├─ Checkpoint ── WeightSource ◄─────┤
//! sam_vit_b.pth ─────┘   (mapped, checked, never run)    └─ ShapeSource (the dry run: any name, no values)
//! ```
//!
//! [`quantise`] goes the other way: it writes a file of weights that are rounded already.
//!
//! Files come from anywhere, so everything in them is checked before it is used: a reader of this crate returns a
//! [`Checkpoint`] or an [`Error`] that says which file, which tensor and what to do; it does not panic, does not run
//! code from the file and does not allocate more than the file's own size calls for.
//!
//! ```no_run
//! use samovar_weights::{Checkpoint, WeightSource};
//!
//! let checkpoint = Checkpoint::open("sam_vit_b_01ec64.pth")?;
//! let positions = checkpoint.tensor("image_encoder.pos_embed", &[1, 64, 64, 768])?;
//! # Ok::<(), samovar_weights::Error>(())
//! ```
//!
//! Tensors are views into the memory-mapped file: opening a checkpoint of gigabytes reads its table of contents.

mod checkpoint;
mod error;
mod looks_like;
mod quantise;
mod rename;
mod safetensors_file;
mod source;
mod stored;
mod torch_file;
mod writer;

pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use looks_like::looks_like;
pub use quantise::{QuantiseReport, quantise, stored_precision};
pub use rename::{NameMap, Renamed, Rule};
pub use source::{ShapeSource, WeightSource};
pub use writer::{WriteTensor, write_safetensors};
