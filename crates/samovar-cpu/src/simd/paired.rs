//! Sums of products in pairs, for processors that add and multiply at the same time.
//!
//! S. Winograd, "A New Algorithm for Inner Product", IEEE Transactions on Computers C-17 (1968): with one product
//! where there were two,
//!
//! ```text
//! (b₁ + a₀) · (b₀ + a₁) = a₀b₀ + a₁b₁ + a₀a₁ + b₀b₁
//! (b₁ − a₀) · (b₀ − a₁) = a₀a₁ + b₀b₁ − a₀b₀ − a₁b₁
//! ```
//!
//! and the correction, what is there beside the product, depends on a row or on a column alone. Two additions more for one product less is no gain where
//! both take turns. But there are processors with units for additions alone, which idle during products (AMD from Zen
//! on). There both kinds of units are kept busy by a *period* of six steps of depth: a pair of the first form, a pair of
//! the second, and two plain steps; four products and four additions where there were six products. The two forms take
//! turns because so corrections have either sign, and do not grow along the depth.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;

/// Rows of a tile: two vectors of sums each, beside four vectors of weights and four of intermediate results.
pub(crate) const ROWS: usize = 12;

/// Vectors of columns of a tile.
pub(crate) const VECTORS: usize = 2;

/// Steps of depth that make a period.
pub(crate) const PERIOD: usize = 6;

/// Long rows are stored in pieces of so many steps, those of all rows one after the other: whole periods, and whole vectors
/// on every instruction set.
pub(crate) const CHUNK: usize = 48;

/// Sums of the products of one tile in vectors `V`, corrections not yet subtracted.
pub(crate) type Sums<V> = [[V; VECTORS]; ROWS];

/// The correction of a period, for a row: at even steps, the sign of the product with the next number.
pub(crate) static SIGNS: [f32; CHUNK] = {
    let mut signs = [0.0; CHUNK];
    let mut start = 0;
    while start < CHUNK {
        signs[start] = 1.0;
        signs[start + 2] = -1.0;
        start += PERIOD;
    }
    signs
};
