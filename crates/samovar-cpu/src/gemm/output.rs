//! Where results go.

/// Where results go: rows of `stride` numbers. Tasks write disjoint rows or columns.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    start: *mut f32,
    pub(crate) stride: usize,
}

// SAFETY: tasks write disjoint parts.
unsafe impl Sync for Output {}

impl Output {
    pub(crate) fn new(values: &mut [f32], stride: usize) -> Self {
        Self { start: values.as_mut_ptr(), stride }
    }

    /// Address of a number. In bounds if row and column are; only writing there takes care.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, column: usize) -> *mut f32 {
        self.start.wrapping_add(row * self.stride + column)
    }

    /// The result from a number on.
    pub(crate) fn from(&self, row: usize, column: usize) -> Self {
        Self { start: self.at(row, column), ..*self }
    }
}
