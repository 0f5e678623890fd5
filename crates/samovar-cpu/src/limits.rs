//! Limits of what one backend may be asked for.

/// Most threads one [`crate::CpuKernels`] may have. Beyond that, handing work over takes longer than the work.
pub const MAX_THREADS: usize = 1024;
