//! Where an operand lies: a window of a buffer, and the number with which it begins there.

use std::num::NonZeroU64;
use std::sync::Arc;

use samovar_tensor::{Result, Tensor};
use wgpu::{BindingResource, BufferBinding};

use crate::gpu::Gpu;
use crate::memory::WgpuBlock;

/// Bytes at which windows may begin, on every card.
const WINDOW_BYTES: u64 = 256;

/// Bytes of a number.
const NUMBER_BYTES: u64 = 4;

/// An operand of a launch.
#[derive(Clone)]
pub(crate) struct Operand {
    block: Arc<WgpuBlock>,
    /// Of the window.
    start_bytes: u64,
    len_bytes: u64,
    /// The operand's first number, counted from the window's start.
    pub(crate) first: u32,
}

impl Operand {
    /// Of a tensor.
    pub(crate) fn of(gpu: &Gpu, tensor: &Tensor) -> Result<Self> {
        let found = tensor.block().and_then(|(block, offset)| Some((block.opaque::<WgpuBlock>()?, offset)));
        let (block, offset_bytes) = found.ok_or_else(|| gpu.failure("an operand that is not on it"))?;
        let most_bytes = gpu.limits.max_storage_buffer_binding_size;
        let (offset_bytes, size_bytes) = (offset_bytes as u64, tensor.size_bytes() as u64);
        if block.bytes() <= most_bytes && block.bytes() / NUMBER_BYTES <= u64::from(u32::MAX) {
            let first = (offset_bytes / NUMBER_BYTES) as u32;
            let (start_bytes, len_bytes) = (0, block.bytes());
            return Ok(Self { block, start_bytes, len_bytes, first });
        }
        // Part of a block that is too large for a shader.
        let start_bytes = offset_bytes - offset_bytes % WINDOW_BYTES;
        let needed_bytes = (offset_bytes - start_bytes + size_bytes).next_multiple_of(16);
        if needed_bytes > most_bytes || needed_bytes / NUMBER_BYTES > u64::from(u32::MAX) {
            let what = format!(
                "a tensor {} takes {size_bytes} bytes, and its driver lets operators see {most_bytes} at most; use smaller \
                 batches or images",
                tensor.shape()
            );
            return Err(gpu.failure(what));
        }
        let first = ((offset_bytes - start_bytes) / NUMBER_BYTES) as u32;
        let len_bytes = needed_bytes.min(block.bytes() - start_bytes);
        Ok(Self { block, start_bytes, len_bytes, first })
    }

    /// All of a block that is of no pool.
    pub(crate) fn whole(block: &Arc<WgpuBlock>) -> Self {
        Self { block: Arc::clone(block), start_bytes: 0, len_bytes: block.bytes(), first: 0 }
    }

    /// Whether groups of four numbers lie where one vector is read.
    pub(crate) fn is_aligned(&self) -> bool {
        self.first.is_multiple_of(4)
    }

    pub(crate) fn binding(&self) -> BindingResource<'_> {
        BindingResource::Buffer(BufferBinding {
            buffer: self.block.buffer(),
            offset: self.start_bytes,
            size: NonZeroU64::new(self.len_bytes),
        })
    }
}
