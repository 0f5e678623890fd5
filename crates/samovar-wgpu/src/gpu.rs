//! An open device: its queue, the work that is recorded for it, and the bytes taken of its memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use samovar_tensor::{Error, Result};
use wgpu::{
    Buffer, BufferDescriptor, BufferUsages, CommandEncoder, ComputePass, Device, ErrorFilter, Limits,
    PollType, Queue, SubmissionIndex,
};

use crate::adapter::ready;
use crate::failures::Failures;

/// Launches that are recorded before the driver gets them: handing over costs as much as several of them.
const LAUNCHES_PER_SUBMIT: u32 = 32;

/// Operations after which the driver gets them earlier: some systems end a device whose piece of work takes seconds.
const OPERATIONS_PER_SUBMIT: u64 = 100_000_000_000;

/// Bytes on their way to the device for which the host keeps copies at most.
const STAGED_BYTES: u64 = 64 << 20;

/// An open device.
pub(crate) struct Gpu {
    pub(crate) device: Device,
    pub(crate) queue: Queue,
    pub(crate) limits: Limits,
    pub(crate) bounds_checks: bool,
    name: String,
    budget_bytes: u64,
    taken_bytes: Arc<AtomicU64>,
    failures: Arc<Failures>,
    recorder: Mutex<Recorder>,
}

/// Work that the driver has not got yet.
#[derive(Default)]
struct Recorder {
    /// Before the encoder, which must outlive it.
    pass: Option<ComputePass<'static>>,
    encoder: Option<CommandEncoder>,
    launches: u32,
    operations: u64,
    staged_bytes: u64,
}

/// A buffer that is counted while it lives.
pub(crate) struct Counted {
    pub(crate) buffer: Buffer,
    pub(crate) bytes: u64,
    taken_bytes: Arc<AtomicU64>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.taken_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

impl Gpu {
    pub(crate) fn new(
        name: String,
        device: Device,
        queue: Queue,
        budget_bytes: u64,
        bounds_checks: bool,
    ) -> Self {
        let failures = Arc::new(Failures::default());
        let theirs = Arc::clone(&failures);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| theirs.add(error.to_string())));
        let theirs = Arc::clone(&failures);
        device.set_device_lost_callback(move |reason, message| {
            // Dropping the last handle is no loss.
            if reason != wgpu::DeviceLostReason::Destroyed {
                theirs.lose(message);
            }
        });
        let limits = device.limits();
        let (taken_bytes, recorder) = (Arc::default(), Mutex::default());
        Self { device, queue, limits, bounds_checks, name, budget_bytes, taken_bytes, failures, recorder }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    pub(crate) fn failure(&self, what: impl Into<String>) -> Error {
        Error::Backend { device: self.name.clone(), what: what.into() }
    }

    /// The first failure of earlier work that nobody has been told by waiting.
    pub(crate) fn report(&self) -> Result<()> {
        self.failures.report(&self.name)
    }

    /// A buffer, or `None` where the budget or the driver have no more.
    pub(crate) fn buffer(&self, bytes: u64, usage: BufferUsages) -> Option<Counted> {
        if bytes > self.limits.max_buffer_size {
            return None;
        }
        if !self.take(bytes) {
            return None;
        }
        // Counted from here on, and given back when it is dropped.
        let mut buffer = self.try_buffer(bytes, usage);
        if buffer.is_none() {
            // What was dropped is free when the work on it is done.
            self.flush();
            let _ = self.device.poll(PollType::wait_indefinitely());
            buffer = self.try_buffer(bytes, usage);
        }
        let taken_bytes = Arc::clone(&self.taken_bytes);
        match buffer {
            Some(buffer) => Some(Counted { buffer, bytes, taken_bytes }),
            None => {
                taken_bytes.fetch_sub(bytes, Ordering::SeqCst);
                None
            }
        }
    }

    fn take(&self, bytes: u64) -> bool {
        let more = |taken: u64| taken.checked_add(bytes).filter(|&sum| sum <= self.budget_bytes);
        self.taken_bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Bytes of all buffers now.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.taken_bytes.load(Ordering::SeqCst)
    }

    fn try_buffer(&self, bytes: u64, usage: BufferUsages) -> Option<Buffer> {
        let made = self.caught(|| {
            self.device.create_buffer(&BufferDescriptor {
                label: None,
                size: bytes,
                usage,
                mapped_at_creation: false,
            })
        });
        made.ok()
    }

    /// Calls the driver; what it complains about is returned instead of kept for later.
    pub(crate) fn caught<T>(&self, call: impl FnOnce() -> T) -> std::result::Result<T, wgpu::Error> {
        let memory = self.device.push_error_scope(ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(ErrorFilter::Validation);
        let internal = self.device.push_error_scope(ErrorFilter::Internal);
        let value = call();
        let complaints = [ready(internal.pop()), ready(validation.pop()), ready(memory.pop())];
        match complaints.into_iter().flatten().flatten().next() {
            None => Ok(value),
            Some(error) => Err(error),
        }
    }

    /// Records a launch of workgroups: `record` sets pipeline, operands and parameters, and dispatches.
    pub(crate) fn launch(&self, operations: u64, record: impl FnOnce(&mut ComputePass)) -> Result<()> {
        self.report()?;
        let mut recorder = self.lock();
        let recorder = &mut *recorder;
        record(recorder.pass(&self.device));
        recorder.launches += 1;
        recorder.operations = recorder.operations.saturating_add(operations);
        if recorder.launches >= LAUNCHES_PER_SUBMIT || recorder.operations >= OPERATIONS_PER_SUBMIT {
            recorder.submit(&self.queue);
            let _ = self.device.poll(PollType::Poll);
        }
        Ok(())
    }

    /// Writes bytes of the host to a buffer, after all that was recorded before.
    pub(crate) fn write(&self, to: &Buffer, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.report()?;
        let mut recorder = self.lock();
        if recorder.encoder.is_some() {
            recorder.submit(&self.queue);
        }
        self.caught(|| self.queue.write_buffer(to, offset_bytes, bytes))
            .map_err(|error| self.failure(error.to_string()))?;
        recorder.staged_bytes += bytes.len() as u64;
        if recorder.staged_bytes > STAGED_BYTES {
            recorder.staged_bytes = 0;
            self.queue.submit([]);
            let _ = self.device.poll(PollType::wait_indefinitely());
        }
        Ok(())
    }

    /// Copies bytes of a buffer to another, and hands everything to the driver.
    pub(crate) fn copy(
        &self,
        from: &Buffer,
        offset_bytes: u64,
        to: &Buffer,
        len_bytes: u64,
    ) -> Result<SubmissionIndex> {
        self.report()?;
        let mut recorder = self.lock();
        recorder.pass = None;
        recorder.encoder(&self.device).copy_buffer_to_buffer(from, offset_bytes, to, 0, len_bytes);
        recorder.submit(&self.queue).ok_or_else(|| self.failure("a copy was lost"))
    }

    /// Hands everything that is recorded to the driver.
    pub(crate) fn flush(&self) {
        self.lock().submit(&self.queue);
    }

    /// Waits for everything, and tells the first failure.
    pub(crate) fn synchronise(&self) -> Result<()> {
        self.flush();
        if let Err(error) = self.device.poll(PollType::wait_indefinitely()) {
            self.failures.add(error.to_string());
        }
        self.failures.take(&self.name)
    }

    fn lock(&self) -> MutexGuard<'_, Recorder> {
        // What is recorded is whole after every statement.
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    fn encoder(&mut self, device: &Device) -> &mut CommandEncoder {
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()))
    }

    fn pass(&mut self, device: &Device) -> &mut ComputePass<'static> {
        let encoder = self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()));
        let begin = || encoder.begin_compute_pass(&Default::default()).forget_lifetime();
        self.pass.get_or_insert_with(begin)
    }

    fn submit(&mut self, queue: &Queue) -> Option<SubmissionIndex> {
        self.pass = None;
        (self.launches, self.operations) = (0, 0);
        Some(queue.submit([self.encoder.take()?.finish()]))
    }
}
