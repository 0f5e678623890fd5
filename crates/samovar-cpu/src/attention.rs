//! Attention without the score matrix.
//!
//! A task is a block of queries of one head of one group (a batch entry or a window). It walks the keys block by
//! block: packs keys and values, and for every strip of queries multiplies, adds the bias, takes a running softmax
//! and accumulates the values, all in cache:
//!
//! ```text
//! strip of q ─ q kᵀ ─ + bias ─ new maximum m' ─ p = exp(s − m') ─ o = o · exp(m − m') + p v     (o / Σp at the end)
//! ```
//!
//! The decomposed relative position costs two small products with pieces of its tables, done once; see [`bias`].

pub(crate) mod axial;
pub(crate) mod bias;
pub(crate) mod deformable;
pub(crate) mod few_keys;
pub(crate) mod folded;
#[cfg(target_arch = "x86_64")]
pub(crate) mod in_lanes;
pub(crate) mod in_rows;
pub(crate) mod operands;
pub(crate) mod paired;
pub(crate) mod plain;
pub(crate) mod query_rows;
pub(crate) mod row_blocking;
pub(crate) mod row_blocks;
pub(crate) mod score;
pub(crate) mod shape;
pub(crate) mod tokens;
pub(crate) mod turn;
