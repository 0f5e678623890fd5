//! Scratch memory: one fixed block per thread, so that a hot operator allocates nothing.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use crate::level::CpuError;

/// f32 numbers in the scratch memory of one thread. Attention is the largest user; it sizes its blocks to fit.
pub(crate) const SCRATCH_LEN: usize = 1 << 19;

/// Bytes of a cache line, to which every piece is aligned.
const LINE_BYTES: usize = 64;
const LINE: usize = LINE_BYTES / size_of::<f32>();

/// A block of [`SCRATCH_LEN`] numbers, allocated when it is first used or reserved. The system commits its pages when
/// they are first written.
#[derive(Default)]
pub(crate) struct Scratch {
    block: Option<NonNull<f32>>,
}

// SAFETY: plain memory, owned.
unsafe impl Send for Scratch {}

impl Scratch {
    /// Two lines more than are used, to start on one: the allocator has zeroed pages only for alignments below a line, and
    /// would write every page of the others.
    const LAYOUT: Layout = match Layout::array::<f32>(SCRATCH_LEN + 2 * LINE) {
        Ok(layout) => layout,
        Err(_) => panic!("a constant layout"),
    };

    /// Allocates the block now, where a refusal can still be reported.
    pub(crate) fn reserve(&mut self) -> Result<(), CpuError> {
        if self.block.is_none() {
            // SAFETY: the layout is not empty.
            let block = unsafe { alloc_zeroed(Self::LAYOUT) };
            self.block = Some(NonNull::new(block.cast()).ok_or(CpuError::OutOfMemory)?);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.block.is_none()
    }

    /// Disjoint pieces of the given lengths, each on a cache line of its own. Their content is left over.
    ///
    /// # Panics
    /// When they do not fit: operators choose their block sizes so that they do. When there is no memory and nothing was
    /// reserved.
    pub(crate) fn split<const N: usize>(&mut self, lengths: [usize; N]) -> [&mut [f32]; N] {
        if let Err(error) = self.reserve() {
            panic!("{error}");
        }
        let block = self.block.expect("reserved above").as_ptr();
        // Two lines, as some processors fetch them in pairs.
        let skipped = block.align_offset(2 * LINE_BYTES);
        assert!(skipped <= 2 * LINE, "numbers are aligned to numbers");
        // SAFETY: the block is initialised, borrowed mutably, and longer than this by what was skipped.
        let mut rest = unsafe { std::slice::from_raw_parts_mut(block.add(skipped), SCRATCH_LEN) };
        lengths.map(|len| {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(padded(len));
            rest = after;
            &mut piece[..len]
        })
    }
}

/// Numbers a piece of `len` takes.
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(LINE)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(block) = self.block {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(block.as_ptr().cast(), Self::LAYOUT) }
        }
    }
}
