//! A device for tests that runs on the host and hides it: memory of its own with a size, explicit transfers, work in
//! order on a thread of its own, failures on demand.
//!
//! Its blocks are pages that nobody can touch but its thread while it works on them, so a read that somebody forgot to
//! turn into a download ends the process instead of giving a number.

mod kernels;
mod memory;
mod queue;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use samovar_tensor::{CrossAttentionRoute, Device, Kernels, Pool, Result, Tensor};

use memory::{REFUSALS, RemoteBlock, RemoteMemory};
use queue::Queue;

/// How to make a [`Remote`].
#[derive(Debug, Clone, Copy)]
pub struct RemoteOptions {
    /// Bytes its memory has.
    pub memory_bytes: usize,
    /// Whether it fuses what its kernels fuse, or has the core alone.
    pub fuses: bool,
    /// Its answer to [`Kernels::cross_attention_route`]; `None` for that of its kernels.
    pub cross_attention: Option<CrossAttentionRoute>,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self { memory_bytes: usize::MAX, fuses: true, cross_attention: None }
    }
}

/// The test device: the kernels of a backend of the host, in memory that the host cannot read.
pub struct Remote {
    inner: Arc<dyn Kernels>,
    memory: Arc<RemoteMemory>,
    fuses: bool,
    cross_attention: Option<CrossAttentionRoute>,
}

impl Remote {
    /// A device that computes with these kernels, which must be of the host.
    pub fn new(inner: Arc<dyn Kernels>, options: RemoteOptions) -> Arc<Self> {
        let queue = Arc::new(Queue::start());
        let memory = Arc::new(RemoteMemory::new(queue, options.memory_bytes));
        let RemoteOptions { fuses, cross_attention, .. } = options;
        Arc::new(Self { inner, memory, fuses, cross_attention })
    }

    /// A device with all its memory for tensors.
    pub fn device(self: &Arc<Self>) -> Device {
        self.device_with_budget(usize::MAX)
    }

    /// A device whose pool holds at most this.
    pub fn device_with_budget(self: &Arc<Self>, budget_bytes: usize) -> Device {
        let pool = Pool::on(self.memory(), budget_bytes);
        Device::new(Arc::clone(self) as Arc<dyn Kernels>, pool)
    }

    /// The request for memory after `count` more ones fails, once: the system refuses it twice, as a pool tries again after
    /// it has given back what lies idle.
    pub fn fail_allocation_after(&self, count: u64) {
        self.memory.failing.store(count + REFUSALS, Ordering::SeqCst);
    }

    /// Takes [`Remote::fail_allocation_after`] back; says whether no request has failed for it.
    pub fn is_failure_to_come(&self) -> bool {
        self.memory.failing.swap(0, Ordering::SeqCst) >= REFUSALS
    }

    /// Requests for memory so far.
    pub fn requests(&self) -> u64 {
        self.memory.requests()
    }

    /// The piece of work after `count` more ones fails, once.
    pub fn fail_work_after(&self, count: u64) {
        self.memory.queue.fail_after(count);
    }

    /// Pieces of work so far.
    pub fn work_done(&self) -> u64 {
        self.memory.queue.done()
    }

    /// Bytes its blocks take now.
    pub fn allocated_bytes(&self) -> usize {
        self.memory.allocated_bytes()
    }

    /// Most bytes its blocks took so far.
    pub fn most_allocated_bytes(&self) -> usize {
        self.memory.most_allocated_bytes()
    }

    /// Where a tensor's values start in the address space of this process; reading there ends it.
    ///
    /// # Panics
    /// When the tensor is not on this device.
    pub fn address_of(&self, tensor: &Tensor) -> *const u8 {
        let (block, offset_bytes) = tensor.block().expect("a tensor with values");
        let block = block.opaque::<RemoteBlock>().expect("a tensor of this device");
        block.start().wrapping_add(offset_bytes)
    }

    /// Queues work for this device.
    fn enqueue(&self, work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
        self.memory.queue.enqueue(work)
    }
}
