//! Arithmetic and memory traffic of one operator call.

use std::ops::AddAssign;

/// Operations and bytes. One multiply-add counts as two operations; element-wise functions count as one per element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations.
    pub operations: u64,
    /// Bytes read and written if every operand moves through memory once.
    pub bytes: u64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.bytes += other.bytes;
    }
}
