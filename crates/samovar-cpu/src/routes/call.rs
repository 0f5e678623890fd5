//! What the choice of a route depends on: the machine, and the shape of a call.

use std::fmt;

use samovar_tensor::{Conv2dGeometry, Packed, Result};

use crate::attention::shape::{AttentionShape, BiasShape};
use crate::dispatch::with_simd;
use crate::gemm::pack::{PackedMatrix, Storage};
use crate::gemm::pack_int8::PackedInt8;
use crate::level::{Int8Level, Products, SimdLevel};
use crate::simd::Simd;

/// What a backend chose when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) level: SimdLevel,
    pub(crate) int8: Int8Level,
    pub(crate) products: Products,
    /// It multiplies bfloat16 numbers beside its level.
    pub(crate) has_bf16: bool,
}

impl Machine {
    /// Numbers in a vector.
    pub(crate) fn lanes(&self) -> usize {
        fn of<S: Simd>(_: S) -> usize {
            S::LANES
        }
        with_simd!(self.level, s => of(s))
    }

    /// Rows of a kernel's tile.
    pub(crate) fn tile_rows(&self) -> usize {
        fn of<S: Simd>(_: S) -> usize {
            S::ROWS
        }
        with_simd!(self.level, s => of(s))
    }
}

/// What the weights of a product are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weights {
    F32,
    /// f16 or bf16.
    Bits16,
    Int8,
}

/// A product with packed weights: a linear layer or a dense convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProductCall {
    pub(crate) rows: usize,
    /// Inputs of the layer, or channels times taps.
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    pub(crate) weights: Weights,
    /// The weights were packed for products in pairs.
    pub(crate) for_pairs: bool,
}

impl ProductCall {
    pub(crate) fn new(rows: usize, weight: &Packed) -> Result<Self> {
        if let Some(packed) = weight.try_get::<PackedInt8>() {
            let (depth, columns) = (packed.depth(), packed.columns());
            return Ok(Self { rows, depth, columns, weights: Weights::Int8, for_pairs: false });
        }
        let packed: &PackedMatrix = weight.get("product", "cpu")?;
        Ok(Self {
            rows,
            depth: packed.depth(),
            columns: packed.columns(),
            weights: if packed.storage() == Storage::F32 { Weights::F32 } else { Weights::Bits16 },
            for_pairs: packed.is_for_pairs(),
        })
    }
}

impl fmt::Display for ProductCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = match self.weights {
            Weights::F32 => "",
            Weights::Bits16 => ", 16 bits",
            Weights::Int8 => ", 8 bits",
        };
        write!(f, "{} x {} to {}{bits}", self.rows, self.depth, self.columns)
    }
}

/// A product of two activations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransposedCall {
    pub(crate) batch: usize,
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
}

impl fmt::Display for TransposedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} x {} to {}", self.batch, self.rows, self.depth, self.columns)
    }
}

/// A depthwise convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DepthwiseCall {
    pub(crate) geometry: Conv2dGeometry,
    /// Pixels of the result, and its channels.
    pub(crate) rows: usize,
    pub(crate) channels: usize,
}

impl fmt::Display for DepthwiseCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conv2dGeometry { kernel, stride, dilation, .. } = self.geometry;
        write!(f, "{} x {}, kernel {kernel}, stride {stride}", self.rows, self.channels)?;
        if dilation > 1 { write!(f, ", dilation {dilation}") } else { Ok(()) }
    }
}

impl fmt::Display for AttentionShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = if self.is_sequence { "entries" } else { "windows" };
        let Self { groups: count, heads, channels, most_queries, keys, .. } = self;
        write!(f, "{count} {groups} of {most_queries} over {keys}, {heads} heads of {channels}")?;
        match self.bias {
            BiasShape::None => {}
            BiasShape::Relative { grid: [lines, columns] } => {
                write!(f, ", positions of {lines} x {columns}")?
            }
            BiasShape::Table => write!(f, ", bias table")?,
            BiasShape::KeyPositions => write!(f, ", positions of keys")?,
        }
        if self.is_reduced { write!(f, ", reduced") } else { Ok(()) }
    }
}
