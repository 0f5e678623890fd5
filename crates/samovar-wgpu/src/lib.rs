//! The operator set of samovar-tensor on graphics cards of any vendor: WGSL through wgpu.
//!
//! [`adapters`] lists what the drivers of this machine offer; [`WgpuKernels::open`] opens one of them. Everything runs in
//! plain f32 on every card; weights are held in any [`samovar_tensor::Precision`].
//!
//! The way a call takes:
//!
//! ```text
//! Kernels::linear ── operands (blocks, where they begin) ── pipeline of (shader, choices) ── recorder ── queue
//! ```
//!
//! - Work is recorded and handed to the driver many launches at a time; uploads, downloads and launches keep the order in
//!   which they were asked for. What fails on the way is told by the next call, and by every one after it until
//!   [`samovar_tensor::Memory::synchronise`] has told it.
//! - Memory has a budget of its own ([`WgpuOptions::budget_bytes`]): drivers promise more than there is.
//! - A shader is a text in `shaders/` with choices (`source.rs`), compiled when it is first needed.

mod adapter;
mod backend;
mod failures;
mod gpu;
mod kernels;
mod memory;
mod open;
mod operand;
mod ops;
mod pack;
mod pipelines;
mod source;

pub use adapter::{AdapterKind, AdapterReport, NoAdapters, adapters};
pub use kernels::WgpuKernels;
pub use open::{OpenError, WgpuOptions};
