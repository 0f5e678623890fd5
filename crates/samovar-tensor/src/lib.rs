//! Shapes, tensors, the operator set, its exact scalar reference, the memory pool and the dry run.
//!
//! The way an operator call takes:
//!
//! ```text
//! model code ── Device::linear(..) ── shape check ── Pool::allocate ── Kernels::linear ── Tensor
//!                     │                                   │
//!                Instrument (spans)                budget, peak bytes
//! ```
//!
//! - [`Tensor`]: a contiguous block of numbers with a [`Shape`]; cheap to clone, never written after it is made.
//!   Image maps are channels-last (`[batch, height, width, channels]`), token lists `[batch, tokens, channels]`.
//! - [`Kernels`]: the operator set a backend implements. [`Reference`] is the formula, slow and exact;
//!   `samovar-cpu` is the same set, fast.
//! - [`Device`]: the one door. Every operator call passes it: it checks shapes, takes the output from the [`Pool`],
//!   calls the backend and tells the [`Instrument`].
//! - [`Precision`]: in what a device holds weights. Operators and models do not change with it.
//! - [`Device::shape_only`]: runs the same model code on shapes alone, so bytes and operations are known before any
//!   work ([`Plan`]).

mod axial_attention;
pub mod checks;
mod conv2d_geometry;
mod cost;
mod cross_attention;
mod decoder_ops;
mod deformable_attention;
mod device;
mod dtype;
mod error;
mod fixed;
mod instrument;
mod kernels;
mod memory;
mod ops;
mod packed;
mod plan;
mod pool;
mod precision;
mod reference;
mod shape;
mod stop;
mod tensor;
mod transfer;
mod weight;

pub use axial_attention::AxialAttention;
pub use conv2d_geometry::Conv2dGeometry;
pub use cost::Cost;
pub use cross_attention::{CrossAttention, CrossAttentionDirection, CrossAttentionRoute};
pub use decoder_ops::{FoldedAttention, MaskHead};
pub use deformable_attention::{DeformableAttention, SampledMap};
pub use device::{Device, DryRun};
pub use dtype::DType;
pub use error::{Error, Result};
pub use instrument::{Instrument, Span};
pub use kernels::{Fused, Kernels};
pub use memory::{Block, HostBlock, Memory, MemoryId, PendingCopy, host_memory};
pub use ops::{
    Activation, Attention, AttentionBias, BinaryOp, Conv2d, ConvTranspose2d, Epilogue, LayerNorm, Linear,
    Residual, ResizeMode, Rows, TokenLayout,
};
pub use packed::{PackRequest, Packed, PackedSize};
pub use plan::{OpTotal, Plan, ShapeOnly};
pub use pool::{Pool, PoolStats, SetAside};
pub use precision::{Precision, RowScale, UnknownPrecision};
pub use reference::Reference;
pub use shape::{MAX_RANK, Shape};
pub use stop::Stop;
pub use tensor::{Tensor, WeightBytes};
pub use transfer::{Download, Transfers};
