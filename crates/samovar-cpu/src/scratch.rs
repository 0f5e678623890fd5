//! Scratch memory: one fixed block per thread, so that a hot operator allocates nothing.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// f32 numbers in the scratch memory of one thread. Attention is the largest user; it sizes its blocks to fit.
pub(crate) const SCRATCH_LEN: usize = 1 << 19;

/// Bytes of a cache line, to which every piece is aligned.
const LINE_BYTES: usize = 64;
const LINE: usize = LINE_BYTES / size_of::<f32>();

/// A block of [`SCRATCH_LEN`] numbers. The system commits its pages when they are first used.
pub(crate) struct Scratch {
    start: NonNull<f32>,
}

// SAFETY: plain memory, owned.
unsafe impl Send for Scratch {}

impl Scratch {
    const LAYOUT: Layout = match Layout::from_size_align(SCRATCH_LEN * size_of::<f32>(), 2 * LINE_BYTES) {
        Ok(layout) => layout,
        Err(_) => panic!("a constant layout"),
    };

    pub(crate) fn new() -> Self {
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(Self::LAYOUT) };
        match NonNull::new(start.cast()) {
            Some(start) => Self { start },
            None => handle_alloc_error(Self::LAYOUT),
        }
    }

    /// Disjoint pieces of the given lengths, each on a cache line of its own. Their content is left over.
    ///
    /// # Panics
    /// When they do not fit: operators choose their block sizes so that they do.
    pub(crate) fn split<const N: usize>(&mut self, lengths: [usize; N]) -> [&mut [f32]; N] {
        // SAFETY: the block is initialised and borrowed mutably.
        let mut rest = unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), SCRATCH_LEN) };
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
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.start.as_ptr().cast(), Self::LAYOUT) }
    }
}
