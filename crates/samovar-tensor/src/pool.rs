//! One pool per device, with a budget: all tensor memory comes from here.
//!
//! A buffer goes back to the pool when the last tensor on it is dropped, and the next request of about its size takes
//! it again, so a warm second run allocates nothing. Over budget is an error, never an abort.
//!
//! What the dry run counts is enough: sizes are rounded alike with and without memory behind them, and what a reused
//! block has beyond its request is given back to the system before a request is refused.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::memory::{
    ALIGNMENT_BYTES, Block, HostBlock, LARGE_BYTES, Memory, MemoryId, PAGE_BYTES, host_memory, shrink_pages,
};
use crate::{Error, Result};

/// A free block whose end can be cut off may serve a request down to this fraction (1/N) of its size; all others serve
/// requests of exactly their size.
const REUSE_FRACTION: usize = 2;

/// Memory figures of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes of live tensors, and bytes that are set aside (see [`Pool::set_aside`]).
    pub in_use_bytes: usize,
    /// Bytes that blocks in use have beyond what was asked for.
    pub surplus_bytes: usize,
    /// Bytes kept for the next request.
    pub idle_bytes: usize,
    /// Largest `in_use_bytes` so far.
    pub peak_bytes: usize,
    /// Most the pool held so far: live, surplus and idle together.
    pub peak_reserved_bytes: usize,
    /// Most the pool may hold: live, surplus and idle together.
    pub budget_bytes: usize,
    /// Allocations that went to the system (the others reused a buffer).
    pub system_allocations: u64,
}

impl PoolStats {
    /// Bytes the pool holds.
    pub fn reserved_bytes(&self) -> usize {
        self.in_use_bytes.saturating_add(self.surplus_bytes).saturating_add(self.idle_bytes)
    }
}

/// The memory of one device.
pub struct Pool {
    state: Mutex<State>,
    /// Where blocks come from; `None` where bytes are counted and none are taken.
    memory: Option<Arc<dyn Memory>>,
    /// Whether what comes back is kept for the next request.
    reuses: bool,
}

#[derive(Default)]
struct State {
    /// By size.
    idle: BTreeMap<usize, Vec<Block>>,
    /// How many blocks of a size would lie idle, in a pool that counts.
    counted_idle: BTreeMap<usize, usize>,
    /// Blocks in use that are larger than what was asked for, by address.
    oversize: BTreeMap<usize, Oversize>,
    stats: PoolStats,
}

/// A block of pages in use.
struct Oversize {
    wanted_bytes: usize,
    /// Its size now.
    block_bytes: usize,
}

impl Pool {
    /// A pool of host memory that holds at most `budget_bytes`.
    pub fn new(budget_bytes: usize) -> Arc<Self> {
        Self::of(Some(host_memory()), budget_bytes, true)
    }

    /// A pool of some backend's memory (see [`crate::Kernels::memory`]).
    pub fn on(memory: Arc<dyn Memory>, budget_bytes: usize) -> Arc<Self> {
        Self::of(Some(memory), budget_bytes, true)
    }

    /// The same, giving every block back to the system at once: what reuse saves is told by comparison.
    pub fn without_reuse(memory: Arc<dyn Memory>, budget_bytes: usize) -> Arc<Self> {
        Self::of(Some(memory), budget_bytes, false)
    }

    /// A pool that counts and never allocates, for the dry run.
    pub fn counting(budget_bytes: usize) -> Arc<Self> {
        Self::of(None, budget_bytes, true)
    }

    fn of(memory: Option<Arc<dyn Memory>>, budget_bytes: usize, reuses: bool) -> Arc<Self> {
        let stats = PoolStats { budget_bytes, ..PoolStats::default() };
        Arc::new(Self { state: Mutex::new(State { stats, ..State::default() }), memory, reuses })
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

    /// Gives idle buffers, and what buffers in use have too much, back to the system; returns how many bytes that were.
    pub fn trim(&self) -> usize {
        let mut state = self.lock();
        state.idle.clear();
        state.counted_idle.clear();
        std::mem::take(&mut state.stats.idle_bytes) + state.shrink_oversize()
    }

    /// Counts bytes that are taken elsewhere on the device's behalf (scratch memory, copies while loading) against the
    /// budget, until the value is dropped.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn set_aside(self: &Arc<Self>, bytes: usize) -> Result<SetAside> {
        self.lock().admit(bytes)?;
        Ok(SetAside { pool: Arc::clone(self), bytes })
    }

    /// The same for bytes that are taken already, which no budget can refuse: where they are more than all of it, whatever comes after
    /// is.
    pub fn count_taken(self: &Arc<Self>, bytes: usize) -> SetAside {
        let mut state = self.lock();
        if state.admit(bytes).is_err() {
            state.count_in(bytes);
        }
        SetAside { pool: Arc::clone(self), bytes }
    }

    /// Where blocks come from; `None` for a pool that counts.
    pub fn memory(&self) -> Option<&Arc<dyn Memory>> {
        self.memory.as_ref()
    }

    /// Whether its blocks are the host's memory.
    pub fn is_host(&self) -> bool {
        self.memory_id() == Some(MemoryId::HOST)
    }

    /// Which memory this is a pool of; `None` for a pool that counts.
    pub(crate) fn memory_id(&self) -> Option<MemoryId> {
        self.memory.as_ref().map(|memory| memory.id())
    }

    /// A buffer of at least `bytes`. Its content is unspecified but initialised.
    pub(crate) fn allocate(self: &Arc<Self>, bytes: usize) -> Result<Buffer> {
        let wanted_bytes = rounded(bytes);
        let mut state = self.lock();
        let Some(memory) = &self.memory else {
            // What would be kept for the next request is counted as it would be with memory behind it.
            let surplus_bytes = match state.take_counted(wanted_bytes) {
                Some(block_bytes) => {
                    state.stats.idle_bytes -= block_bytes;
                    state.count_in(wanted_bytes);
                    block_bytes - wanted_bytes
                }
                None => {
                    state.admit(wanted_bytes)?;
                    0
                }
            };
            state.stats.surplus_bytes += surplus_bytes;
            let pool = Some(Arc::clone(self));
            return Ok(Buffer { pool, bytes: wanted_bytes, block: None, surplus_bytes });
        };
        if let Some((block, block_bytes)) = state.take_idle(wanted_bytes) {
            state.stats.idle_bytes -= block_bytes;
            state.count_in(wanted_bytes);
            if let (Block::Host(host), true) = (&block, block_bytes > wanted_bytes) {
                state.stats.surplus_bytes += block_bytes - wanted_bytes;
                state.oversize.insert(host.start().as_ptr() as usize, Oversize { wanted_bytes, block_bytes });
            }
            let (pool, block) = (Some(Arc::clone(self)), Some(block));
            return Ok(Buffer { pool, bytes: wanted_bytes, block, surplus_bytes: 0 });
        }
        state.admit(wanted_bytes)?;
        // A memory that gives less than it was asked for would have its neighbours overwritten.
        let allocate = || {
            memory.allocate(wanted_bytes).filter(|block| match block {
                Block::Host(block) => block.len_bytes() >= wanted_bytes,
                Block::Opaque(_) => true,
            })
        };
        let mut block = allocate();
        if block.is_none() {
            // The system has less than the budget says; what lies idle here may be what it lacks.
            state.idle.clear();
            state.stats.idle_bytes = 0;
            state.shrink_oversize();
            block = allocate();
        }
        if block.is_none() {
            state.stats.in_use_bytes -= wanted_bytes;
            return Err(state.out_of_memory(wanted_bytes));
        }
        state.stats.system_allocations += 1;
        drop(state);
        Ok(Buffer { pool: Some(Arc::clone(self)), bytes: wanted_bytes, block, surplus_bytes: 0 })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every statement, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts bytes in, making room for them first, or refuses them.
    fn admit(&mut self, bytes: usize) -> Result<()> {
        let budget_bytes = self.stats.budget_bytes;
        if bytes > budget_bytes.saturating_sub(self.stats.in_use_bytes) {
            return Err(self.out_of_memory(bytes));
        }
        // Idle buffers are ours to give up before the budget is called exhausted; the largest go first.
        while self.stats.reserved_bytes().saturating_add(bytes) > budget_bytes {
            let Some(mut largest) = self.idle.last_entry() else { break };
            let freed = *largest.key();
            largest.get_mut().pop();
            if largest.get().is_empty() {
                largest.remove();
            }
            self.stats.idle_bytes -= freed;
        }
        while self.stats.reserved_bytes().saturating_add(bytes) > budget_bytes {
            let Some(mut largest) = self.counted_idle.last_entry() else { break };
            self.stats.idle_bytes -= *largest.key();
            *largest.get_mut() -= 1;
            if *largest.get() == 0 {
                largest.remove();
            }
        }
        if self.stats.reserved_bytes().saturating_add(bytes) > budget_bytes {
            self.shrink_oversize();
        }
        self.count_in(bytes);
        Ok(())
    }

    fn out_of_memory(&self, needed_bytes: usize) -> Error {
        let PoolStats { budget_bytes, in_use_bytes, .. } = self.stats;
        Error::OutOfMemory {
            needed_bytes,
            available_bytes: budget_bytes.saturating_sub(in_use_bytes),
            budget_bytes,
        }
    }

    fn count_in(&mut self, bytes: usize) {
        self.stats.in_use_bytes += bytes;
        self.stats.peak_bytes = self.stats.peak_bytes.max(self.stats.in_use_bytes);
        self.stats.peak_reserved_bytes = self.stats.peak_reserved_bytes.max(self.stats.reserved_bytes());
    }

    /// [`State::take_idle`] where blocks are only counted; they are taken to be the host's.
    fn take_counted(&mut self, wanted_bytes: usize) -> Option<usize> {
        let most = most_for(wanted_bytes);
        let can_shrink = cfg!(unix) && wanted_bytes >= LARGE_BYTES;
        let (&size, count) = self
            .counted_idle
            .range_mut(wanted_bytes..=most)
            .find(|(size, _)| **size == wanted_bytes || can_shrink)?;
        *count -= 1;
        if *count == 0 {
            self.counted_idle.remove(&size);
        }
        Some(size)
    }

    /// An idle block for a request, and its size.
    fn take_idle(&mut self, wanted_bytes: usize) -> Option<(Block, usize)> {
        let most = most_for(wanted_bytes);
        let fits = |size: usize, blocks: &[Block]| {
            size == wanted_bytes || matches!(blocks.last(), Some(Block::Host(block)) if block.can_shrink())
        };
        let (&size, _) = self.idle.range(wanted_bytes..=most).find(|&(&size, blocks)| fits(size, blocks))?;
        let blocks = self.idle.get_mut(&size)?;
        let block = blocks.pop()?;
        if blocks.is_empty() {
            self.idle.remove(&size);
        }
        Some((block, size))
    }

    /// Cuts off what blocks in use have too much; returns how many bytes that were.
    fn shrink_oversize(&mut self) -> usize {
        for (&address, block) in &mut self.oversize {
            if let Some(start) = NonNull::new(address as *mut u8) {
                // SAFETY: only blocks of pages are oversize; a tensor on one reaches no further than what was asked for, and
                // `Buffer::drop` learns the new size.
                unsafe { shrink_pages(start, block.block_bytes, block.wanted_bytes) };
                block.block_bytes = block.wanted_bytes;
            }
        }
        std::mem::take(&mut self.stats.surplus_bytes)
    }
}

/// Size of the largest block that may serve a request.
fn most_for(wanted_bytes: usize) -> usize {
    if wanted_bytes < LARGE_BYTES { wanted_bytes } else { wanted_bytes.saturating_mul(REUSE_FRACTION) }
}

/// Bytes that a request takes: cache lines, or pages where it gets pages of its own.
pub(crate) fn rounded(bytes: usize) -> usize {
    let unit = if bytes < LARGE_BYTES { ALIGNMENT_BYTES } else { PAGE_BYTES };
    bytes.max(1).checked_next_multiple_of(unit).unwrap_or(usize::MAX)
}

/// Bytes counted against a pool's budget without being tensors.
pub struct SetAside {
    pool: Arc<Pool>,
    bytes: usize,
}

impl SetAside {
    /// How many.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts so many bytes altogether, where that is more than now.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; what was counted stays counted.
    pub fn grow_to(&mut self, bytes: usize) -> Result<()> {
        if bytes > self.bytes {
            self.pool.lock().admit(bytes - self.bytes)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Counts no more than so many bytes from now on.
    pub fn shrink_to(&mut self, bytes: usize) {
        let less_bytes = self.bytes.saturating_sub(bytes);
        self.pool.lock().stats.in_use_bytes -= less_bytes;
        self.bytes -= less_bytes;
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        self.pool.lock().stats.in_use_bytes -= self.bytes;
    }
}

/// Memory on loan from a [`Pool`], which goes back when dropped; or a block of nobody's.
pub(crate) struct Buffer {
    /// `None`: beside all pools.
    pool: Option<Arc<Pool>>,
    /// What was asked for.
    bytes: usize,
    /// `None` on a counting pool.
    block: Option<Block>,
    /// What a counted block has beyond that.
    surplus_bytes: usize,
}

impl Buffer {
    /// Host memory beside all pools.
    pub(crate) fn loose(bytes: usize) -> Result<Self> {
        let bytes = rounded(bytes);
        let refused =
            Error::OutOfMemory { needed_bytes: bytes, available_bytes: 0, budget_bytes: usize::MAX };
        let block = HostBlock::new(bytes).ok_or(refused)?;
        Ok(Self { pool: None, bytes, block: Some(Block::Host(block)), surplus_bytes: 0 })
    }

    /// A block beside all pools.
    pub(crate) fn of_block(block: Block, bytes: usize) -> Self {
        Self { pool: None, bytes, block: Some(block), surplus_bytes: 0 }
    }

    /// First byte, or `None` where the host has none.
    pub(crate) fn host_pointer(&self) -> Option<NonNull<u8>> {
        match &self.block {
            Some(Block::Host(block)) => Some(block.start()),
            _ => None,
        }
    }

    /// The block, or `None` on a counting pool.
    pub(crate) fn block(&self) -> Option<&Block> {
        self.block.as_ref()
    }

    /// The pool it comes from.
    pub(crate) fn pool(&self) -> Option<&Arc<Pool>> {
        self.pool.as_ref()
    }

    /// Bytes there are.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(pool) = &self.pool else { return };
        let mut state = pool.lock();
        state.stats.in_use_bytes -= self.bytes;
        let Some(mut block) = self.block.take() else {
            // A trim may have cut it off meanwhile.
            let surplus_bytes = self.surplus_bytes.min(state.stats.surplus_bytes);
            state.stats.surplus_bytes -= surplus_bytes;
            let block_bytes = self.bytes + surplus_bytes;
            state.stats.idle_bytes = state.stats.idle_bytes.saturating_add(block_bytes);
            *state.counted_idle.entry(block_bytes).or_default() += 1;
            return;
        };
        let mut block_bytes = self.bytes;
        if let Block::Host(host) = &mut block
            && let Some(oversize) = state.oversize.remove(&(host.start().as_ptr() as usize))
        {
            block_bytes = oversize.block_bytes;
            state.stats.surplus_bytes -= block_bytes - oversize.wanted_bytes;
            host.set_len(block_bytes);
        }
        if !pool.reuses {
            return;
        }
        state.stats.idle_bytes += block_bytes;
        state.idle.entry(block_bytes).or_default().push(block);
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
