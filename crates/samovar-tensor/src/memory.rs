//! Where blocks of memory come from: the border between a backend's memory and the host's.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::Result;

/// Alignment of every block of host memory: a cache line, and the widest SIMD register.
pub(crate) const ALIGNMENT_BYTES: usize = 64;

/// Blocks from this size on have pages of their own, so that what a request does not need of one can be given back.
pub(crate) const LARGE_BYTES: usize = 256 << 10;

/// Blocks from this size on are worth huge pages: the size of one on most machines.
#[cfg(target_os = "linux")]
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Bytes of a page, to which the end of a large block can be cut.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Which memory a block belongs to. Backends with the same id read each other's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemoryId(u64);

impl MemoryId {
    /// The host's memory, which all backends on the host's processors share.
    pub const HOST: MemoryId = MemoryId(0);

    /// An id that nobody else has.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The memory of a backend: blocks, and the two ways over its border.
///
/// Work on a block, uploads and downloads included, happens in the order in which it was asked for; whether a call
/// returns before that is the backend's choice. A block that was dropped may be handed out again while earlier work on it
/// is still to come.
pub trait Memory: Send + Sync {
    /// Name for reports and errors: `host memory`.
    fn name(&self) -> String;

    /// Which memory this is.
    fn id(&self) -> MemoryId;

    /// A block of `bytes` initialised bytes (a multiple of 64, never 0), or `None` when there are no more.
    fn allocate(&self, bytes: usize) -> Option<Block>;

    /// Copies bytes of the host to a block, from `offset_bytes` on. The bytes have been read when this returns.
    ///
    /// # Errors
    /// [`crate::Error::Backend`].
    fn upload(&self, block: &Block, offset_bytes: usize, bytes: &[u8]) -> Result<()>;

    /// Starts a copy of `len_bytes` bytes of a block to the host.
    ///
    /// # Errors
    /// [`crate::Error::Backend`].
    fn download(&self, block: &Block, offset_bytes: usize, len_bytes: usize) -> Result<Box<dyn PendingCopy>>;

    /// Waits until everything that was asked for is done.
    ///
    /// # Errors
    /// [`crate::Error::Backend`] with the first failure since the last call of this; after that the memory works again.
    fn synchronise(&self) -> Result<()>;
}

/// A copy to the host that is under way.
pub trait PendingCopy: Send {
    /// Waits for the bytes and writes them to `to`, which has the length that was asked for.
    ///
    /// # Errors
    /// [`crate::Error::Backend`] when the copy, or work before it, failed.
    fn wait(self: Box<Self>, to: &mut [u8]) -> Result<()>;
}

/// A block of some memory. Only the backend it belongs to can look inside, but for the host's.
pub enum Block {
    /// Memory of the host.
    Host(HostBlock),
    /// What a backend made of it.
    Opaque(Arc<dyn Any + Send + Sync>),
}

impl Block {
    /// The backend's representation of a block, if it is of this type.
    pub fn opaque<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        match self {
            Block::Opaque(block) => Arc::clone(block).downcast().ok(),
            Block::Host(_) => None,
        }
    }
}

/// One allocation of the host.
pub struct HostBlock {
    start: NonNull<u8>,
    bytes: usize,
    origin: Origin,
}

enum Origin {
    /// The global allocator, with this layout.
    Allocator(Layout),
    /// Pages of its own.
    Pages,
    /// Somebody else's, who frees it when this is dropped.
    Foreign { _owner: Box<dyn Any + Send + Sync> },
}

// SAFETY: a block is plain memory owned by whoever holds the value.
unsafe impl Send for HostBlock {}
// SAFETY: shared references only read the pointer.
unsafe impl Sync for HostBlock {}

impl HostBlock {
    /// Zeroed memory, or `None` when there is no more; `bytes` must not be 0.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        if bytes >= LARGE_BYTES {
            let start = pages::allocate(bytes.checked_next_multiple_of(PAGE_BYTES)?)?;
            return Some(Self { start, bytes, origin: Origin::Pages });
        }
        let layout = Layout::from_size_align(bytes.max(1), ALIGNMENT_BYTES).ok()?;
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { start, bytes, origin: Origin::Allocator(layout) })
    }

    /// Memory that somebody else allocated, as a backend that runs on the host has it; `owner` is dropped with the
    /// block.
    ///
    /// # Safety
    /// `bytes` bytes from `start` must be initialised and aligned to 4 bytes, and nobody else may use them, while the block
    /// or a tensor in it is used.
    pub unsafe fn foreign(start: NonNull<u8>, bytes: usize, owner: impl Any + Send + Sync) -> Self {
        Self { start, bytes, origin: Origin::Foreign { _owner: Box::new(owner) } }
    }

    /// First byte.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes there are.
    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the end of the block can be given back without moving it.
    pub(crate) fn can_shrink(&self) -> bool {
        cfg!(unix) && matches!(self.origin, Origin::Pages)
    }
}

/// Gives the end of a block of pages back to the system.
///
/// # Safety
/// The block must be one that [`HostBlock::can_shrink`]; nobody may use its bytes from `to_bytes` on, now or later, and
/// its `bytes` must be set to `to_bytes` before it is dropped.
pub(crate) unsafe fn shrink_pages(start: NonNull<u8>, from_bytes: usize, to_bytes: usize) {
    let (from, to) = (from_bytes.next_multiple_of(PAGE_BYTES), to_bytes.next_multiple_of(PAGE_BYTES));
    if to < from {
        // SAFETY: the caller's promise; both ends lie on pages of the mapping.
        unsafe { pages::free(start.add(to), from - to) };
    }
}

impl HostBlock {
    /// Says that the block ends earlier; see [`shrink_pages`].
    pub(crate) fn set_len(&mut self, bytes: usize) {
        self.bytes = bytes;
    }
}

impl Drop for HostBlock {
    fn drop(&mut self) {
        match self.origin {
            // SAFETY: allocated with this layout.
            Origin::Allocator(layout) => unsafe { dealloc(self.start.as_ptr(), layout) },
            // SAFETY: these pages were mapped by `new`, or are what is left of them.
            Origin::Pages => unsafe { pages::free(self.start, self.bytes.next_multiple_of(PAGE_BYTES)) },
            Origin::Foreign { .. } => {}
        }
    }
}

/// The host's memory. Work on it is done when a call returns.
struct HostMemory;

/// The host's memory, for backends on the host's processors.
pub fn host_memory() -> Arc<dyn Memory> {
    static HOST: OnceLock<Arc<dyn Memory>> = OnceLock::new();
    Arc::clone(HOST.get_or_init(|| Arc::new(HostMemory)))
}

impl Memory for HostMemory {
    fn name(&self) -> String {
        "host memory".into()
    }

    fn id(&self) -> MemoryId {
        MemoryId::HOST
    }

    fn allocate(&self, bytes: usize) -> Option<Block> {
        HostBlock::new(bytes).map(Block::Host)
    }

    fn upload(&self, _: &Block, _: usize, _: &[u8]) -> Result<()> {
        Err(no_border())
    }

    fn download(&self, _: &Block, _: usize, _: usize) -> Result<Box<dyn PendingCopy>> {
        Err(no_border())
    }

    fn synchronise(&self) -> Result<()> {
        Ok(())
    }
}

/// Tensors in host memory are read and written where they are.
fn no_border() -> crate::Error {
    crate::Error::Backend { device: "host memory".into(), what: "a copy from the host to the host".into() }
}

/// Large blocks are pages of their own, and the largest are asked to be huge ones: a model touches hundreds of megabytes, and with small pages finding and first filling them takes a noticeable share of the time.
#[cfg(unix)]
mod pages {
    use std::ptr::{NonNull, null_mut};

    /// Zeroed pages.
    pub(super) fn allocate(bytes: usize) -> Option<NonNull<u8>> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, wherever the system likes.
        let start = unsafe { libc::mmap(null_mut(), bytes, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        // A wish; where it is not granted the memory is as good, only slower.
        #[cfg(target_os = "linux")]
        if bytes >= super::HUGE_PAGE_BYTES {
            // SAFETY: the mapping just made.
            unsafe {
                libc::madvise(start, bytes, libc::MADV_HUGEPAGE);
            }
        }
        NonNull::new(start.cast())
    }

    /// # Safety
    /// The pages must be a whole number of those that [`allocate`] made, and not be used any more.
    pub(super) unsafe fn free(start: NonNull<u8>, bytes: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    }
}

/// Elsewhere large blocks are like any other.
#[cfg(not(unix))]
mod pages {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    use super::PAGE_BYTES;

    pub(super) fn allocate(bytes: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).ok()?;
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    }

    /// # Safety
    /// The block must come from [`allocate`] with this length.
    pub(super) unsafe fn free(start: NonNull<u8>, bytes: usize) {
        if let Ok(layout) = Layout::from_size_align(bytes, PAGE_BYTES) {
            // SAFETY: the caller's promise.
            unsafe { dealloc(start.as_ptr(), layout) }
        }
    }
}
