//! Shapes: up to five dimensions, by value, no allocation.

use std::fmt;

/// Most dimensions a [`Shape`] holds.
pub const MAX_RANK: usize = 5;

/// Dimensions of a contiguous tensor, outermost first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// A shape of the given dimensions. `None` when there are more than [`MAX_RANK`] or their product overflows.
    pub fn try_new(dims: &[usize]) -> Option<Self> {
        if dims.len() > MAX_RANK {
            return None;
        }
        // Bytes are counted as well as elements, so leave room for the largest element.
        dims.iter().try_fold(8usize, |product, &dim| product.checked_mul(dim))?;
        let mut padded = [1; MAX_RANK];
        padded[..dims.len()].copy_from_slice(dims);
        Some(Self { dims: padded, rank: dims.len() as u8 })
    }

    /// A shape of the given dimensions.
    ///
    /// # Panics
    /// With more than [`MAX_RANK`] dimensions, or when their product overflows. Sizes that come from outside go
    /// through [`Shape::try_new`].
    pub fn new(dims: &[usize]) -> Self {
        Self::try_new(dims).unwrap_or_else(|| panic!("no such shape: {dims:?}"))
    }

    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims().iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the last dimension: the channels (1 for a scalar).
    pub fn channels(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// Number of rows when the last dimension is the row: the product of all others.
    pub fn rows(&self) -> usize {
        self.dims().split_last().map_or(1, |(_, outer)| outer.iter().product())
    }

    /// The same shape with another last dimension, or `None` when the product of its dimensions overflows.
    pub fn with_channels(&self, channels: usize) -> Option<Self> {
        let mut dims = self.dims;
        let rank = self.rank().max(1);
        dims[rank - 1] = channels;
        Shape::try_new(&dims[..rank])
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.dims()).finish()
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Shape::new(&dims)
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Shape::new(dims)
    }
}
