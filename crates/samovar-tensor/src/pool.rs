//! One pool per device, with a budget: all tensor memory comes from here.
//!
//! A buffer goes back to the pool when the last tensor on it is dropped, and the next request of about its size takes
//! it again, so a warm second run allocates nothing. Over budget is an error, never an abort.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// Alignment of every buffer: a cache line, and the widest SIMD register.
pub(crate) const ALIGNMENT_BYTES: usize = 64;

/// Blocks from this size on are worth pages of their own: the size of a huge page on most machines.
const LARGE_BYTES: usize = 2 << 20;

/// A free buffer may serve a request down to this fraction (1/N) of its size; smaller requests get their own.
const REUSE_FRACTION: usize = 2;

/// Memory figures of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes of live tensors.
    pub in_use_bytes: usize,
    /// Bytes kept for the next request.
    pub idle_bytes: usize,
    /// Largest `in_use_bytes` so far.
    pub peak_bytes: usize,
    /// Most the pool may hold, live and idle together.
    pub budget_bytes: usize,
    /// Allocations that went to the system (the others reused a buffer).
    pub system_allocations: u64,
}

/// The memory of one device.
pub struct Pool {
    state: Mutex<State>,
    /// `false` on the shape-only device: bytes are counted, none are taken.
    backed: bool,
}

#[derive(Default)]
struct State {
    idle: BTreeMap<usize, Vec<Block>>,
    stats: PoolStats,
}

impl Pool {
    /// A pool that holds at most `budget_bytes`.
    pub fn new(budget_bytes: usize) -> Arc<Self> {
        Self::with_backing(budget_bytes, true)
    }

    /// A pool that counts and never allocates, for the dry run.
    pub fn counting(budget_bytes: usize) -> Arc<Self> {
        Self::with_backing(budget_bytes, false)
    }

    fn with_backing(budget_bytes: usize, backed: bool) -> Arc<Self> {
        let stats = PoolStats { budget_bytes, ..PoolStats::default() };
        Arc::new(Self { state: Mutex::new(State { stats, ..State::default() }), backed })
    }

    /// Current figures.
    pub fn stats(&self) -> PoolStats {
        self.lock().stats
    }

    /// Sets the peak back to what is in use now.
    pub fn reset_peak(&self) {
        let mut state = self.lock();
        state.stats.peak_bytes = state.stats.in_use_bytes;
    }

    /// Gives idle buffers back to the system and returns how many bytes that were.
    pub fn trim(&self) -> usize {
        let mut state = self.lock();
        state.idle.clear();
        std::mem::take(&mut state.stats.idle_bytes)
    }

    /// Whether buffers have memory behind them.
    pub(crate) fn is_backed(&self) -> bool {
        self.backed
    }

    /// A buffer of at least `bytes`. Its content is unspecified but initialised.
    pub(crate) fn allocate(self: &Arc<Self>, bytes: usize) -> Result<Buffer> {
        let wanted = bytes.max(1).next_multiple_of(ALIGNMENT_BYTES);
        let mut state = self.lock();
        if self.backed
            && let Some(block) = take_idle(&mut state.idle, wanted)
        {
            let capacity = block.layout.size();
            state.stats.idle_bytes -= capacity;
            count_in(&mut state.stats, capacity);
            return Ok(Buffer { pool: Arc::clone(self), capacity, block: Some(block) });
        }
        let budget_bytes = state.stats.budget_bytes;
        let available_bytes = budget_bytes.saturating_sub(state.stats.in_use_bytes);
        let out_of_memory = Error::OutOfMemory { needed_bytes: wanted, available_bytes, budget_bytes };
        if wanted > available_bytes {
            return Err(out_of_memory);
        }
        // Idle buffers are ours to give up before the budget is called exhausted; the largest go first.
        while state.stats.in_use_bytes + state.stats.idle_bytes + wanted > budget_bytes {
            let Some(mut largest) = state.idle.last_entry() else { break };
            let freed = *largest.key();
            largest.get_mut().pop();
            if largest.get().is_empty() {
                largest.remove();
            }
            state.stats.idle_bytes -= freed;
        }
        let block = match self.backed {
            true => Some(Block::new(wanted).ok_or(out_of_memory)?),
            false => None,
        };
        state.stats.system_allocations += 1;
        count_in(&mut state.stats, wanted);
        drop(state);
        Ok(Buffer { pool: Arc::clone(self), capacity: wanted, block })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every statement, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count_in(stats: &mut PoolStats, bytes: usize) {
    stats.in_use_bytes += bytes;
    stats.peak_bytes = stats.peak_bytes.max(stats.in_use_bytes);
}

fn take_idle(idle: &mut BTreeMap<usize, Vec<Block>>, wanted: usize) -> Option<Block> {
    let (&size, _) = idle.range(wanted..=wanted.saturating_mul(REUSE_FRACTION)).next()?;
    let blocks = idle.get_mut(&size)?;
    let block = blocks.pop();
    if blocks.is_empty() {
        idle.remove(&size);
    }
    block
}

/// Memory on loan from a [`Pool`]; goes back when dropped.
pub(crate) struct Buffer {
    pool: Arc<Pool>,
    capacity: usize,
    block: Option<Block>,
}

impl Buffer {
    /// First byte, or `None` on a counting pool.
    pub(crate) fn pointer(&self) -> Option<NonNull<u8>> {
        self.block.as_ref().map(|block| block.pointer)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.stats.in_use_bytes -= self.capacity;
        if let Some(block) = self.block.take() {
            state.stats.idle_bytes += self.capacity;
            state.idle.entry(self.capacity).or_default().push(block);
        }
    }
}

/// One allocation of the system.
struct Block {
    pointer: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block is plain memory owned by whoever holds the value.
unsafe impl Send for Block {}
// SAFETY: shared references only read the pointer.
unsafe impl Sync for Block {}

impl Block {
    fn new(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes, ALIGNMENT_BYTES).ok()?;
        // SAFETY: `Pool::allocate` never asks for zero bytes.
        let pointer = unsafe {
            match bytes < LARGE_BYTES {
                true => NonNull::new(alloc_zeroed(layout)),
                false => large::allocate(layout),
            }
        }?;
        Some(Self { pointer, layout })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `pointer` was made by `new`, in the same way.
        unsafe {
            match self.layout.size() < LARGE_BYTES {
                true => dealloc(self.pointer.as_ptr(), self.layout),
                false => large::free(self.pointer, self.layout),
            }
        }
    }
}

/// Large blocks are pages of their own, for which the system is asked to use huge ones: a model touches hundreds of
/// megabytes, and with small pages finding and first filling them takes a noticeable share of the time.
#[cfg(unix)]
mod large {
    use std::alloc::Layout;
    use std::ptr::{NonNull, null_mut};

    /// Zeroed pages.
    ///
    /// # Safety
    /// The layout must not be empty, nor aligned to more than a page.
    pub(super) unsafe fn allocate(layout: Layout) -> Option<NonNull<u8>> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever the system likes.
        let start = unsafe { libc::mmap(null_mut(), layout.size(), protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        // A wish; where it is not granted the memory is as good, only slower.
        #[cfg(target_os = "linux")]
        // SAFETY: the mapping just made.
        unsafe {
            libc::madvise(start, layout.size(), libc::MADV_HUGEPAGE);
        }
        NonNull::new(start.cast())
    }

    /// # Safety
    /// The pages must come from [`allocate`] with this layout.
    pub(super) unsafe fn free(start: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(start.as_ptr().cast(), layout.size()) };
    }
}

/// Elsewhere large blocks are like any other.
#[cfg(not(unix))]
mod large {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    /// # Safety
    /// The layout must not be empty.
    pub(super) unsafe fn allocate(layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the caller's promise.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    }

    /// # Safety
    /// The block must come from [`allocate`] with this layout.
    pub(super) unsafe fn free(start: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { dealloc(start.as_ptr(), layout) }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
