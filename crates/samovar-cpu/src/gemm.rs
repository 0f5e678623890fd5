//! Matrix products: rows of activations times packed weights, with whatever follows done before a tile leaves cache.
//!
//! ```text
//!            weights packed once: panels of two vectors of columns, depth-major
//!            ┌────┬────┬────┐
//!            │    │    │    │  one panel at a time
//!            └────┴────┴────┘
//!   block    ▭▭▭ → tile in registers → bias, activation, residual → result
//!   of rows  ▭▭▭   strip by strip
//! ```
//!
//! A task is a block of rows times a block of columns. It walks the depth in steps; in each step it copies the rows to
//! a fixed stride (power-of-two row lengths would evict each other from L1) where they stay in L2, and multiplies them
//! with one panel after the other. Where the rows come from is the business of a [`RowSource`]: a matrix, or the
//! pixels of a convolution.

pub(crate) mod cut;
pub(crate) mod finish;
pub(crate) mod int8;
pub(crate) mod micro;
pub(crate) mod output;
pub(crate) mod pack;
pub(crate) mod pack_int8;
pub(crate) mod paired;
pub(crate) mod pairing;
pub(crate) mod plain;
pub(crate) mod product;
pub(crate) mod rows;
pub(crate) mod strassen;

#[cfg(test)]
mod tests;
