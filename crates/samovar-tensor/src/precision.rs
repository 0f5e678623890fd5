//! The precision in which a device holds weights, and how numbers become 8-bit ones.

use std::fmt;
use std::str::FromStr;

use crate::DType;

/// Depth (inputs per output) below which weights stay f32: such a product waits for its results, not for its weights,
/// and so few numbers take no memory worth saving.
const LEAST_DEPTH: usize = 96;

/// Depth up to which a sum of products of 8-bit numbers stays far from the limits of 32 bits.
const MOST_DEPTH_INT8: usize = 1 << 15;

/// In which precision a device holds the weights of fully connected layers and dense convolutions.
///
/// Everything else (norms, positions, depthwise filters, biases) is f32, and so are activations between operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Precision {
    /// IEEE single precision.
    #[default]
    F32,
    /// IEEE half precision in memory, f32 arithmetic.
    F16,
    /// bfloat16 in memory, f32 arithmetic.
    Bf16,
    /// 8-bit integers with one scale per output, times activations rounded to 8 bits row by row.
    Int8,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Precision; 4] = [Precision::F32, Precision::F16, Precision::Bf16, Precision::Int8];

    /// Element type of the weights.
    pub const fn dtype(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
            Precision::Bf16 => DType::BF16,
            Precision::Int8 => DType::I8,
        }
    }

    /// The precision of a weight of this type.
    pub const fn of_dtype(dtype: DType) -> Self {
        match dtype {
            DType::F16 => Precision::F16,
            DType::BF16 => Precision::Bf16,
            DType::I8 => Precision::Int8,
            _ => Precision::F32,
        }
    }

    /// The precision of layers that rounding would harm: f32 instead of int8, and instead of bfloat16 half precision,
    /// which takes as much memory and is eight times finer.
    pub const fn exact(self) -> Self {
        match self {
            Precision::F32 | Precision::Int8 => Precision::F32,
            Precision::F16 | Precision::Bf16 => Precision::F16,
        }
    }

    /// The precision that a matrix of `depth` inputs really gets on a device of this precision.
    pub const fn of_depth(self, depth: usize) -> Self {
        if depth < LEAST_DEPTH || (matches!(self, Precision::Int8) && depth > MOST_DEPTH_INT8) {
            return Precision::F32;
        }
        self
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        })
    }
}

/// A word that names no [`Precision`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no precision is called {0:?}; there are f32, f16, bf16 and int8")]
pub struct UnknownPrecision(String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(word: &str) -> Result<Self, UnknownPrecision> {
        let known = Self::ALL.into_iter().find(|precision| precision.to_string() == word);
        known.ok_or_else(|| UnknownPrecision(word.into()))
    }
}

/// How a row of activations becomes 8-bit numbers: `x ≈ scale · (u − zero)` with `u` in 0..=255.
///
/// Made from the row's own range, so that no calibration is needed. Zero is always exact, which padding relies on.
/// Backends must follow these formulas to the bit; then all of them compute the same integers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowScale {
    /// One step; NaN for a row with a number that is not finite.
    pub scale: f32,
    /// By what numbers are multiplied before they are rounded.
    pub inverse: f32,
    /// What stands for zero, in 0..=255.
    pub zero: i32,
}

impl RowScale {
    /// For a row between `low` and `high` (which are NaN if anything in it is not finite).
    #[inline]
    pub fn of_range(low: f32, high: f32) -> Self {
        let range = high.max(0.0) - low.min(0.0);
        // `max` and `min` drop NaN, the sum keeps it.
        let scale = (range + (low + high) * 0.0) / 255.0;
        if !scale.is_finite() {
            return Self { scale: f32::NAN, inverse: 0.0, zero: 0 };
        }
        // Below this the inverse would not be finite; to such numbers nothing is owed.
        if scale < f32::MIN_POSITIVE {
            return Self { scale: 0.0, inverse: 0.0, zero: 0 };
        }
        let inverse = 1.0 / scale;
        Self { scale, inverse, zero: (-low.min(0.0) * inverse).round_ties_even() as i32 }
    }

    /// The 8-bit number for `x`.
    #[inline]
    pub fn quantise(self, x: f32) -> u8 {
        ((x * self.inverse).round_ties_even() as i32 + self.zero).clamp(0, 255) as u8
    }

    /// For all of a row.
    pub fn of_row(row: impl Iterator<Item = f32>) -> Self {
        let mut range = [0.0f32; 2];
        for x in row {
            if !x.is_finite() {
                return Self::of_range(f32::NAN, f32::NAN);
            }
            range = [range[0].min(x), range[1].max(x)];
        }
        Self::of_range(range[0], range[1])
    }
}

/// Rounds the weights of one output to `scale · (−127..=127)`; returns the scale, or `None` when a weight is not finite.
pub(crate) fn quantise_weights(row: &[f32], to: &mut [i8]) -> Option<f32> {
    let largest = row.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
    if !largest.is_finite() || row.iter().any(|w| w.is_nan()) {
        return None;
    }
    let scale = largest / 127.0;
    if scale < f32::MIN_POSITIVE {
        to.fill(0);
        return Some(0.0);
    }
    // Added to a number below 2^22, this leaves no bit behind the point: `round_ties_even` without a call per number.
    const POINT: f32 = (3u32 << 22) as f32;
    for (to, w) in to.iter_mut().zip(row) {
        *to = ((w / scale).clamp(-127.0, 127.0) + POINT - POINT) as i8;
    }
    Some(scale)
}

#[cfg(test)]
#[path = "precision_tests.rs"]
mod tests;
