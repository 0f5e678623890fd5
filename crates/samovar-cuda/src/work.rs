//! What every operator needs: addresses of operands, numbers as kernels take them, the way to the queue.

use std::sync::{Arc, Mutex, PoisonError};

use samovar_tensor::{Epilogue, Error, Result, Tensor};

use crate::args::{Address, Args, EndingArgs, activation_number};
use crate::driver::{Context, failure};
use crate::kernel_names::KernelName;
use crate::memory::{CudaBlock, CudaMemory};

/// Bytes of the memory for rounded rows of products.
pub(crate) const SCRATCH_BYTES: usize = 32 << 20;

/// Blocks of element-wise kernels per processor: enough to fill it, and each goes on to the next numbers.
const BLOCKS_PER_PROCESSOR: u64 = 16;

/// A card, its memory and its queue.
pub(crate) struct Work {
    pub(crate) context: Arc<Context>,
    pub(crate) memory: Arc<CudaMemory>,
    /// Held by whoever queues a kernel that writes to it, and the one that reads it.
    scratch: Mutex<Option<CudaBlock>>,
}

impl Work {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        let memory = Arc::new(CudaMemory::new(Arc::clone(&context)));
        Self { context, memory, scratch: Mutex::new(None) }
    }

    pub(crate) fn failure(&self, what: impl Into<String>) -> Error {
        failure(&self.context.name(), what)
    }

    /// Where a tensor starts.
    pub(crate) fn address(&self, tensor: &Tensor) -> Result<Address> {
        self.memory.address(tensor)
    }

    /// Where a tensor starts that need not be there.
    pub(crate) fn address_of(&self, tensor: Option<&Tensor>) -> Result<Address> {
        tensor.map_or(Ok(0), |tensor| self.address(tensor))
    }

    /// A number as kernels take it.
    pub(crate) fn number(&self, number: usize) -> Result<u32> {
        // Signed in places.
        let fits = u32::try_from(number).ok().filter(|&number| number <= i32::MAX as u32);
        fits.ok_or_else(|| self.failure(format!("{number} is more than its kernels count")))
    }

    /// Several of them.
    pub(crate) fn numbers<const N: usize>(&self, numbers: [usize; N]) -> Result<[u32; N]> {
        let mut all = [0; N];
        for (to, number) in all.iter_mut().zip(numbers) {
            *to = self.number(number)?;
        }
        Ok(all)
    }

    pub(crate) fn ending(&self, epilogue: &Epilogue) -> Result<EndingArgs> {
        let activation = activation_number(epilogue.activation);
        let Some(residual) = epilogue.residual else {
            return Ok(EndingArgs { activation, ..EndingArgs::default() });
        };
        Ok(EndingArgs {
            residual: self.address(residual.tensor)?,
            residual_rows: self.number(residual.tensor.shape().rows())?,
            before_activation: residual.before_activation.into(),
            activation,
            pad: 0,
        })
    }

    /// Queues a kernel that goes over `count` numbers.
    ///
    /// # Safety
    /// As [`Context::launch`].
    pub(crate) unsafe fn each<A: Args>(&self, kernel: KernelName, count: usize, args: &A) -> Result<()> {
        let blocks = (count as u64).div_ceil(kernel.threads().into());
        let most = u64::from(self.context.device.multiprocessors) * BLOCKS_PER_PROCESSOR;
        // SAFETY: the caller's promise.
        unsafe { self.context.launch(kernel, [blocks.min(most), 1, 1], 0, args) }
    }

    /// Hands out scratch memory for a sequence of kernels that nobody else's come between.
    pub(crate) fn with_scratch<T>(&self, work: impl FnOnce(Address) -> Result<T>) -> Result<T> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if scratch.is_none() {
            *scratch = self.memory.block(SCRATCH_BYTES);
        }
        let Some(block) = &*scratch else {
            let what = format!("it has no memory for {SCRATCH_BYTES} bytes of scratch memory");
            return Err(self.failure(what));
        };
        work(self.memory.start(block))
    }
}
