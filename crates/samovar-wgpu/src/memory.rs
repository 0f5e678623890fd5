//! The device's memory as samovar-tensor sees it: blocks are buffers.

use std::any::Any;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use samovar_tensor::{Block, Error, Memory, MemoryId, PendingCopy, Result};
use wgpu::{BufferUsages, MapMode, PollType, SubmissionIndex};

use crate::gpu::{Counted, Gpu};

/// Bytes in which copies are counted.
const COPY_BYTES: usize = 4;

/// How long a copy that is done may take to be told so.
const CALL_BACK_TIMEOUT: Duration = Duration::from_secs(10);

/// The memory of an open device.
pub(crate) struct WgpuMemory {
    id: MemoryId,
    pub(crate) gpu: Arc<Gpu>,
}

/// A block: one buffer.
pub(crate) struct WgpuBlock {
    counted: Counted,
}

impl WgpuBlock {
    pub(crate) fn buffer(&self) -> &wgpu::Buffer {
        &self.counted.buffer
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.counted.bytes
    }
}

impl WgpuMemory {
    pub(crate) fn new(gpu: Arc<Gpu>) -> Self {
        Self { id: MemoryId::unique(), gpu }
    }

    /// A block that is of no pool.
    pub(crate) fn block(&self, bytes: u64) -> Option<WgpuBlock> {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        Some(WgpuBlock { counted: self.gpu.buffer(bytes, usage)? })
    }

    /// The block, if it has these bytes and they can be copied.
    fn stretch(&self, block: &Block, offset_bytes: usize, len_bytes: usize) -> Result<Arc<WgpuBlock>> {
        let block =
            block.opaque::<WgpuBlock>().ok_or_else(|| self.gpu.failure("a block of another device"))?;
        let end = offset_bytes.checked_add(len_bytes);
        if end.is_none_or(|end| end as u64 > block.bytes()) {
            return Err(self.gpu.failure("a copy beyond the end of a block"));
        }
        if !offset_bytes.is_multiple_of(COPY_BYTES) || !len_bytes.is_multiple_of(COPY_BYTES) {
            let what = format!(
                "a copy of {len_bytes} bytes from byte {offset_bytes}, which are not whole numbers of {COPY_BYTES}"
            );
            return Err(self.gpu.failure(what));
        }
        Ok(block)
    }
}

impl Memory for WgpuMemory {
    fn name(&self) -> String {
        format!("memory of {}", self.gpu.name())
    }

    fn id(&self) -> MemoryId {
        self.id
    }

    fn allocate(&self, bytes: usize) -> Option<Block> {
        let block = self.block(bytes as u64)?;
        Some(Block::Opaque(Arc::new(block) as Arc<dyn Any + Send + Sync>))
    }

    fn upload(&self, block: &Block, offset_bytes: usize, bytes: &[u8]) -> Result<()> {
        let block = self.stretch(block, offset_bytes, bytes.len())?;
        if bytes.is_empty() {
            return self.gpu.report();
        }
        self.gpu.write(block.buffer(), offset_bytes as u64, bytes)
    }

    fn download(&self, block: &Block, offset_bytes: usize, len_bytes: usize) -> Result<Box<dyn PendingCopy>> {
        let block = self.stretch(block, offset_bytes, len_bytes)?;
        if len_bytes == 0 {
            self.gpu.report()?;
            return Ok(Box::new(Nothing));
        }
        let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let staged = self.gpu.buffer(len_bytes as u64, usage).ok_or(Error::OutOfMemory {
            needed_bytes: len_bytes,
            available_bytes: self.gpu.budget_bytes().saturating_sub(self.gpu.taken_bytes()) as usize,
            budget_bytes: self.gpu.budget_bytes() as usize,
        })?;
        let submission =
            self.gpu.copy(block.buffer(), offset_bytes as u64, &staged.buffer, len_bytes as u64)?;
        let (sender, mapped) = channel();
        staged.buffer.slice(..).map_async(MapMode::Read, move |result| {
            // Nobody listens any more when the copy was dropped.
            let _ = sender.send(result.map_err(|error| error.to_string()));
        });
        Ok(Box::new(Copy { gpu: Arc::clone(&self.gpu), staged, submission, mapped }))
    }

    fn synchronise(&self) -> Result<()> {
        self.gpu.synchronise()
    }
}

/// A copy of no bytes.
struct Nothing;

impl PendingCopy for Nothing {
    fn wait(self: Box<Self>, _: &mut [u8]) -> Result<()> {
        Ok(())
    }
}

/// Bytes on their way to the host.
struct Copy {
    gpu: Arc<Gpu>,
    staged: Counted,
    submission: SubmissionIndex,
    mapped: Receiver<std::result::Result<(), String>>,
}

impl PendingCopy for Copy {
    fn wait(self: Box<Self>, to: &mut [u8]) -> Result<()> {
        let Self { gpu, staged, submission, mapped } = *self;
        let waited = gpu.device.poll(PollType::Wait { submission_index: Some(submission), timeout: None });
        gpu.report()?;
        waited.map_err(|error| gpu.failure(error.to_string()))?;
        // Another thread's poll may be the one that calls back, a moment later.
        let mapped = mapped.recv_timeout(CALL_BACK_TIMEOUT).map_err(|_| gpu.failure("a copy was lost"))?;
        mapped.map_err(|error| gpu.failure(error))?;
        let bytes =
            staged.buffer.slice(..).get_mapped_range().map_err(|error| gpu.failure(error.to_string()))?;
        if bytes.len() != to.len() {
            return Err(gpu.failure("a download of another length than it was asked for"));
        }
        to.copy_from_slice(&bytes);
        Ok(())
    }
}
