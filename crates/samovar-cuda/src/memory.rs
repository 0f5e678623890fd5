//! A card's memory: blocks, and both ways over its border through pinned buffers.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null_mut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys;
use samovar_tensor::{Block, Memory, MemoryId, PendingCopy, Result, Tensor};

use crate::args::Address;
use crate::driver::{Context, failure};

/// Bytes of an upload's buffer; larger uploads go in pieces, the next being written while the last is on its way.
const UPLOAD_BYTES: usize = 4 << 20;

/// How many of them there are at most.
const UPLOAD_BUFFERS: usize = 3;

/// Smallest buffer of a download.
const LEAST_DOWNLOAD_BYTES: usize = 64 << 10;

/// Most bytes of buffers that are kept for the next downloads.
const MOST_KEPT_BYTES: usize = 64 << 20;

/// The memory of a card that was opened.
pub(crate) struct CudaMemory {
    id: MemoryId,
    context: Arc<Context>,
    uploads: Mutex<VecDeque<Sent>>,
    downloads: Arc<Mutex<Vec<Pinned>>>,
}

/// A block of a card's memory.
pub(crate) struct CudaBlock {
    context: Arc<Context>,
    memory: MemoryId,
    address: Address,
    bytes: usize,
}

impl Drop for CudaBlock {
    fn drop(&mut self) {
        // Work on it may be still to come. There is nobody to tell of a failure.
        let _ = self.context.wait();
        // SAFETY: allocated by the driver, and nothing in the queue uses it any more.
        let _ = unsafe { sys::cuMemFree_v2(self.address) };
    }
}

/// Memory of the host that the card's copying units read and write while the host goes on.
struct Pinned {
    context: Arc<Context>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: plain memory, owned by whoever holds the value.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(context: &Arc<Context>, bytes: usize) -> Option<Self> {
        context.enter().ok()?;
        let mut start = null_mut();
        // SAFETY: the driver writes a pointer.
        let outcome = unsafe { sys::cuMemHostAlloc(&mut start, bytes, 0) };
        context.check("pinning", outcome).ok()?;
        Some(Self { context: Arc::clone(context), start: NonNull::new(start.cast())?, bytes })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: allocated by the driver; whoever used it has waited.
            let _ = unsafe { sys::cuMemFreeHost(self.start.as_ptr().cast()) };
        }
    }
}

/// A place in the queue.
struct Mark {
    context: Arc<Context>,
    event: sys::CUevent,
}

// SAFETY: the driver's handles may be used from every thread.
unsafe impl Send for Mark {}

impl Mark {
    fn new(context: &Arc<Context>) -> Result<Self> {
        context.enter()?;
        let mut event = MaybeUninit::uninit();
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: the driver writes a handle.
        let event = unsafe {
            context.check("making a mark", sys::cuEventCreate(event.as_mut_ptr(), flags))?;
            event.assume_init()
        };
        let mark = Self { context: Arc::clone(context), event };
        mark.set()?;
        Ok(mark)
    }

    /// Moves it behind everything that was asked for so far.
    fn set(&self) -> Result<()> {
        // SAFETY: both handles live.
        self.context.check("marking", unsafe { sys::cuEventRecord(self.event, self.context.stream) })
    }

    fn wait(&self) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the handle lives.
        self.context.check("waiting", unsafe { sys::cuEventSynchronize(self.event) })
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: made by `new`.
            let _ = unsafe { sys::cuEventDestroy_v2(self.event) };
        }
    }
}

/// A buffer whose copy to the card ends at a mark.
struct Sent {
    buffer: Pinned,
    mark: Mark,
}

impl CudaMemory {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { id: MemoryId::unique(), context, uploads: Mutex::default(), downloads: Arc::default() }
    }

    pub(crate) fn block(&self, bytes: usize) -> Option<CudaBlock> {
        self.context.enter().ok()?;
        let mut address = 0;
        // SAFETY: the driver writes an address.
        let outcome = unsafe { sys::cuMemAlloc_v2(&mut address, bytes) };
        self.context.check("allocating", outcome).ok()?;
        Some(CudaBlock { context: Arc::clone(&self.context), memory: self.id, address, bytes })
    }

    /// Where a tensor of this memory starts.
    pub(crate) fn address(&self, tensor: &Tensor) -> Result<Address> {
        let found = tensor.block().and_then(|(block, offset)| Some((block.opaque::<CudaBlock>()?, offset)));
        let (block, offset_bytes) = found.ok_or_else(|| self.failure("an operand that is not on it"))?;
        self.within(&block, offset_bytes, tensor.size_bytes())
    }

    /// Where a block starts that is nobody's tensor.
    pub(crate) fn start(&self, block: &CudaBlock) -> Address {
        block.address
    }

    fn within(&self, block: &CudaBlock, offset_bytes: usize, len_bytes: usize) -> Result<Address> {
        if block.memory != self.id || offset_bytes.checked_add(len_bytes).is_none_or(|end| end > block.bytes)
        {
            return Err(self.failure("an operand beyond its memory"));
        }
        Ok(block.address + offset_bytes as u64)
    }

    fn failure(&self, what: &str) -> samovar_tensor::Error {
        failure(&self.context.name(), what)
    }

    /// A buffer for an upload: a new one while there are few, else that whose copy began first.
    fn upload_buffer(&self, uploads: &mut MutexGuard<VecDeque<Sent>>) -> Result<Option<Sent>> {
        if uploads.len() < UPLOAD_BUFFERS
            && let Some(buffer) = Pinned::new(&self.context, UPLOAD_BYTES)
        {
            return Ok(Some(Sent { buffer, mark: Mark::new(&self.context)? }));
        }
        let Some(sent) = uploads.pop_front() else { return Ok(None) };
        sent.mark.wait()?;
        Ok(Some(sent))
    }

    /// A buffer for a download, of `bytes` at least.
    fn download_buffer(&self, bytes: usize) -> Option<Pinned> {
        let bytes = bytes.max(LEAST_DOWNLOAD_BYTES).checked_next_power_of_two()?;
        let mut kept = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = kept.iter().position(|buffer| buffer.bytes == bytes) {
            return Some(kept.swap_remove(place));
        }
        drop(kept);
        Pinned::new(&self.context, bytes)
    }
}

impl Memory for CudaMemory {
    fn name(&self) -> String {
        format!("memory of {}", self.context.name())
    }

    fn id(&self) -> MemoryId {
        self.id
    }

    fn allocate(&self, bytes: usize) -> Option<Block> {
        self.block(bytes).map(|block| Block::Opaque(Arc::new(block)))
    }

    fn upload(&self, block: &Block, offset_bytes: usize, bytes: &[u8]) -> Result<()> {
        let block = block.opaque::<CudaBlock>().ok_or_else(|| self.failure("a block of another device"))?;
        let to = self.within(&block, offset_bytes, bytes.len())?;
        self.context.enter()?;
        // The lock is held to the end, so that the pieces of two uploads do not wait for each other's.
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, piece) in bytes.chunks(UPLOAD_BYTES).enumerate() {
            let to = to + (index * UPLOAD_BYTES) as u64;
            let Some(sent) = self.upload_buffer(&mut uploads)? else {
                // The system pins no memory: straight from where it is, and no sooner back than it has been read.
                // SAFETY: inside the block.
                let outcome = unsafe {
                    sys::cuMemcpyHtoDAsync_v2(to, piece.as_ptr().cast(), piece.len(), self.context.stream)
                };
                self.context.check("an upload", outcome)?;
                self.context.wait()?;
                continue;
            };
            // SAFETY: the buffer has as many bytes, nobody else uses it, and the block lives until the queue is done with it.
            let outcome = unsafe {
                let start = sent.buffer.start.as_ptr();
                std::ptr::copy_nonoverlapping(piece.as_ptr(), start, piece.len());
                sys::cuMemcpyHtoDAsync_v2(to, start.cast(), piece.len(), self.context.stream)
            };
            let outcome = self.context.check("an upload", outcome).and_then(|()| sent.mark.set());
            uploads.push_back(sent);
            outcome?;
        }
        Ok(())
    }

    fn download(&self, block: &Block, offset_bytes: usize, len_bytes: usize) -> Result<Box<dyn PendingCopy>> {
        let block = block.opaque::<CudaBlock>().ok_or_else(|| self.failure("a block of another device"))?;
        let from = self.within(&block, offset_bytes, len_bytes)?;
        if len_bytes == 0 {
            return Ok(Box::new(Arrived(Vec::new())));
        }
        let Some(buffer) = self.download_buffer(len_bytes) else {
            let mut bytes = vec![0; len_bytes];
            self.context.enter()?;
            // SAFETY: inside the block; the vector is as long, and is not touched before the wait below.
            let outcome = unsafe {
                sys::cuMemcpyDtoHAsync_v2(bytes.as_mut_ptr().cast(), from, len_bytes, self.context.stream)
            };
            self.context.check("a download", outcome)?;
            self.context.wait()?;
            return Ok(Box::new(Arrived(bytes)));
        };
        self.context.enter()?;
        // SAFETY: inside the block; the buffer is as long, and is not read before the mark.
        let outcome = unsafe {
            let to = buffer.start.as_ptr().cast();
            sys::cuMemcpyDtoHAsync_v2(to, from, len_bytes, self.context.stream)
        };
        self.context.check("a download", outcome)?;
        let mark = Mark::new(&self.context).inspect_err(|_| {
            // The card may still write to the buffer.
            let _ = self.context.wait();
        })?;
        Ok(Box::new(Copy { buffer: Some(buffer), mark, len_bytes, kept: Arc::clone(&self.downloads) }))
    }

    fn synchronise(&self) -> Result<()> {
        self.context.wait()
    }
}

/// Bytes that are on the host already.
struct Arrived(Vec<u8>);

impl PendingCopy for Arrived {
    fn wait(self: Box<Self>, to: &mut [u8]) -> Result<()> {
        if self.0.len() != to.len() {
            return Err(failure("cuda", "a download of another length than it was asked for"));
        }
        to.copy_from_slice(&self.0);
        Ok(())
    }
}

/// Bytes on their way to the host.
struct Copy {
    /// `None` once it is given back.
    buffer: Option<Pinned>,
    mark: Mark,
    len_bytes: usize,
    kept: Arc<Mutex<Vec<Pinned>>>,
}

impl PendingCopy for Copy {
    fn wait(self: Box<Self>, to: &mut [u8]) -> Result<()> {
        self.mark.wait()?;
        match &self.buffer {
            Some(buffer) if self.len_bytes == to.len() => {
                // SAFETY: the copy is done, and the buffer has at least as many bytes.
                let bytes = unsafe { std::slice::from_raw_parts(buffer.start.as_ptr(), self.len_bytes) };
                to.copy_from_slice(bytes);
                Ok(())
            }
            _ => {
                Err(failure(&self.mark.context.name(), "a download of another length than it was asked for"))
            }
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // The card may still write to it.
        let arrived = self.mark.wait().is_ok();
        let Some(buffer) = self.buffer.take() else { return };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: usize = kept.iter().map(|buffer| buffer.bytes).sum();
        if arrived && bytes + buffer.bytes <= MOST_KEPT_BYTES {
            kept.push(buffer);
        }
    }
}
