//! Numbers of a convolution.

use crate::error::{Error, Result};

/// Most of any number but groups.
const MOST: usize = 1 << 16;

/// Numbers of a convolution. Height and width are treated alike; all SAM models are square there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dGeometry {
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between outputs.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
    /// Step between kernel taps.
    pub dilation: usize,
    /// 1, or the number of channels for a depthwise convolution.
    pub groups: usize,
}

impl Conv2dGeometry {
    /// A dense convolution with stride 1 that keeps the size.
    pub const fn same(kernel: usize) -> Self {
        Self { kernel, stride: 1, padding: kernel / 2, dilation: 1, groups: 1 }
    }

    /// A dense convolution over non-overlapping patches.
    pub const fn patches(kernel: usize) -> Self {
        Self { kernel, stride: kernel, padding: 0, dilation: 1, groups: 1 }
    }

    /// The same with another stride.
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The same, one filter per channel.
    pub const fn depthwise(self, channels: usize) -> Self {
        Self { groups: channels, ..self }
    }

    /// The same with another dilation; the padding grows so that the size is kept.
    pub const fn dilated(self, dilation: usize) -> Self {
        Self { dilation, padding: self.kernel / 2 * dilation, ..self }
    }

    /// Refuses steps of nothing, and numbers so large that sides of images would overflow.
    pub(crate) fn check(&self) -> Result<()> {
        let Self { kernel, stride, padding, dilation, groups } = *self;
        let steps = [kernel, stride, dilation, groups];
        if steps.contains(&0) || [kernel, stride, dilation, padding].iter().any(|&number| number > MOST) {
            return Err(Error::shape("conv2d weight", format!("no convolution has {self:?}")));
        }
        Ok(())
    }

    /// Output side for an input side, or `None` when the kernel does not fit.
    pub fn output_side(&self, side: usize) -> Option<usize> {
        let reach = self.dilation * self.kernel.checked_sub(1)? + 1;
        Some(side.checked_add(2 * self.padding)?.checked_sub(reach)?.checked_div(self.stride)? + 1)
    }
}
