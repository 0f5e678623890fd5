//! Pages that only the device's own thread can touch, and only while it works.

use std::any::Any;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use samovar_tensor::{Block, HostBlock, Memory, MemoryId, PendingCopy, Result};

use super::queue::{Queue, failure};

const PAGE_BYTES: usize = 4096;

/// Allocations that are refused in a row when one is to fail.
pub(super) const REFUSALS: u64 = 2;

/// Bytes that blocks take.
#[derive(Default)]
struct Taken {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// The memory of the test device.
pub(super) struct RemoteMemory {
    id: MemoryId,
    pub(super) queue: Arc<Queue>,
    size_bytes: usize,
    taken: Arc<Taken>,
    /// How often somebody asked for a block.
    requests: AtomicU64,
    /// Counts down to the allocations that fail, the last [`REFUSALS`]; 0: none.
    pub(super) failing: AtomicU64,
}

impl RemoteMemory {
    pub(super) fn new(queue: Arc<Queue>, size_bytes: usize) -> Self {
        Self {
            id: MemoryId::unique(),
            queue,
            size_bytes,
            taken: Arc::default(),
            requests: AtomicU64::new(0),
            failing: AtomicU64::new(0),
        }
    }

    pub(super) fn allocated_bytes(&self) -> usize {
        self.taken.now.load(Ordering::SeqCst)
    }

    pub(super) fn most_allocated_bytes(&self) -> usize {
        self.taken.most.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.size_bytes.saturating_sub(self.allocated_bytes())
    }

    pub(super) fn block(&self, bytes: usize) -> Option<Arc<RemoteBlock>> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let count =
            self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
        if count.is_ok_and(|count| count <= REFUSALS) || !self.has_room(bytes) {
            return None;
        }
        RemoteBlock::new(bytes, Arc::clone(&self.taken)).map(Arc::new)
    }
}

impl Memory for RemoteMemory {
    fn name(&self) -> String {
        "memory of the test device".into()
    }

    fn id(&self) -> MemoryId {
        self.id
    }

    fn allocate(&self, bytes: usize) -> Option<Block> {
        if !self.has_room(bytes) {
            // Work that is still to come may hold what nobody else does; it may also wait for whoever asks.
            self.queue.rest_for(Duration::from_millis(500));
        }
        self.block(bytes).map(|block| Block::Opaque(block as Arc<dyn Any + Send + Sync>))
    }

    fn upload(&self, block: &Block, offset_bytes: usize, bytes: &[u8]) -> Result<()> {
        let block = block.opaque::<RemoteBlock>().ok_or_else(|| failure("a block of another device"))?;
        let bytes = bytes.to_vec();
        self.queue.enqueue(move || {
            let open = Open::new(block);
            open.bytes_mut(offset_bytes, bytes.len())?.copy_from_slice(&bytes);
            Ok(())
        })
    }

    fn download(&self, block: &Block, offset_bytes: usize, len_bytes: usize) -> Result<Box<dyn PendingCopy>> {
        let block = block.opaque::<RemoteBlock>().ok_or_else(|| failure("a block of another device"))?;
        let (sender, receiver) = sync_channel(1);
        self.queue.enqueue(move || {
            let open = Open::new(block);
            let copy = open.bytes_mut(offset_bytes, len_bytes)?.to_vec();
            let _ = sender.send(copy);
            Ok(())
        })?;
        Ok(Box::new(Copy { receiver, queue: Arc::clone(&self.queue) }))
    }

    fn synchronise(&self) -> Result<()> {
        self.queue.wait()
    }
}

/// Bytes on their way to the host.
struct Copy {
    receiver: Receiver<Vec<u8>>,
    queue: Arc<Queue>,
}

impl PendingCopy for Copy {
    fn wait(self: Box<Self>, to: &mut [u8]) -> Result<()> {
        let bytes = self.receiver.recv();
        self.queue.report()?;
        let bytes = bytes.map_err(|_| failure("the copy was lost"))?;
        if bytes.len() != to.len() {
            return Err(failure("a download of another length than it was asked for"));
        }
        to.copy_from_slice(&bytes);
        Ok(())
    }
}

/// Pages without a right to read or write them, but while they are [`Open`].
pub(super) struct RemoteBlock {
    start: NonNull<u8>,
    bytes: usize,
    taken: Arc<Taken>,
    /// How many have it open.
    open: Mutex<usize>,
}

// SAFETY: plain memory, which only those who open it read or write.
unsafe impl Send for RemoteBlock {}
// SAFETY: as above; opening is counted under a lock.
unsafe impl Sync for RemoteBlock {}

impl RemoteBlock {
    fn new(bytes: usize, taken: Arc<Taken>) -> Option<Self> {
        let bytes = bytes.checked_next_multiple_of(PAGE_BYTES)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever the system likes.
        let start = unsafe { libc::mmap(null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let now = taken.now.fetch_add(bytes, Ordering::SeqCst) + bytes;
        taken.most.fetch_max(now, Ordering::SeqCst);
        Some(Self { start: NonNull::new(start.cast())?, bytes, taken, open: Mutex::new(0) })
    }

    pub(super) fn start(&self) -> *const u8 {
        self.start.as_ptr()
    }

    fn protect(&self, protection: i32) {
        // SAFETY: the block's own pages.
        let outcome = unsafe { libc::mprotect(self.start.as_ptr().cast(), self.bytes, protection) };
        assert_eq!(outcome, 0, "the rights of the test device's pages");
    }
}

impl Drop for RemoteBlock {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody holds the block any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
        self.taken.now.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// A block that can be read and written while this lives.
pub(super) struct Open(Arc<RemoteBlock>);

impl Open {
    pub(super) fn new(block: Arc<RemoteBlock>) -> Self {
        let mut open = block.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open += 1;
        if *open == 1 {
            block.protect(libc::PROT_READ | libc::PROT_WRITE);
        }
        drop(open);
        Self(block)
    }

    /// A stretch of the block. Only the device's thread calls this, one piece of work after the other.
    #[allow(clippy::mut_from_ref, reason = "work happens on one thread, in order")]
    fn bytes_mut(&self, offset_bytes: usize, len_bytes: usize) -> Result<&mut [u8]> {
        if offset_bytes.checked_add(len_bytes).is_none_or(|end| end > self.0.bytes) {
            return Err(failure("a copy beyond the end of a block"));
        }
        // SAFETY: inside the block, whose pages are open.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.0.start.as_ptr().add(offset_bytes), len_bytes) })
    }

    /// The block from `offset_bytes` on, as host memory, open as long as that lives.
    pub(super) fn into_host_block(self, offset_bytes: usize) -> HostBlock {
        let len_bytes = self.0.bytes - offset_bytes;
        // SAFETY: inside the block; offsets are whole numbers of elements. Work on blocks happens on one thread, in order.
        let start = unsafe { self.0.start.add(offset_bytes) };
        // SAFETY: the pages are open until the owner, this, is dropped.
        unsafe { HostBlock::foreign(start, len_bytes, self) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open -= 1;
        if *open == 0 {
            self.0.protect(libc::PROT_NONE);
        }
    }
}

/// The device's memory as its own kernels see it, for weights: blocks can be read and written until
/// [`WeightMemory::close`].
pub(super) struct WeightMemory {
    remote: Arc<RemoteMemory>,
    /// What was allocated, open.
    open: Mutex<Vec<Open>>,
    blocks: Mutex<Vec<Arc<RemoteBlock>>>,
}

impl WeightMemory {
    pub(super) fn new(remote: Arc<RemoteMemory>) -> Arc<Self> {
        Arc::new(Self { remote, open: Mutex::default(), blocks: Mutex::default() })
    }

    /// Takes the right to read and write from all blocks, and returns them.
    pub(super) fn close(&self) -> Vec<Arc<RemoteBlock>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
        std::mem::take(&mut self.blocks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Memory for WeightMemory {
    fn name(&self) -> String {
        self.remote.name()
    }

    fn id(&self) -> MemoryId {
        MemoryId::HOST
    }

    fn allocate(&self, bytes: usize) -> Option<Block> {
        let block = self.remote.block(bytes)?;
        let (start, len_bytes) = (block.start, block.bytes);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(Open::new(Arc::clone(&block)));
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&block));
        // SAFETY: the block lives as long as the owner; whoever reads it opens it before.
        Some(Block::Host(unsafe { HostBlock::foreign(start, len_bytes, block) }))
    }

    fn upload(&self, _: &Block, _: usize, _: &[u8]) -> Result<()> {
        Err(failure("weights are packed where they are"))
    }

    fn download(&self, _: &Block, _: usize, _: usize) -> Result<Box<dyn PendingCopy>> {
        Err(failure("weights stay where they are"))
    }

    fn synchronise(&self) -> Result<()> {
        Ok(())
    }
}
