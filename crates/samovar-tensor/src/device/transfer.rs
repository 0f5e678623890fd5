//! Values in and out: the two ways over the border between the host and a device.

use super::Device;
use crate::memory::Block;
use crate::transfer::Download;
use crate::{Cost, Error, MemoryId, Result, Shape, Tensor};

impl Device {
    /// Whether the host reads and writes this device's tensors where they are.
    fn is_host(&self) -> bool {
        self.pool.memory_id() == Some(MemoryId::HOST)
    }

    /// A tensor of this device with these values.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not as many as the shape says (on the shape-only device they are not looked at),
    /// [`Error::OutOfMemory`], [`Error::Backend`].
    pub fn upload(&self, shape: impl Into<Shape>, values: &[f32]) -> Result<Tensor> {
        let shape = shape.into();
        if !self.shape_only && values.len() != shape.len() {
            return Err(Error::shape("upload", format!("{} values for {shape}", values.len())));
        }
        self.upload_with(shape, |to| to.copy_from_slice(values))
    }

    /// A tensor of this device with values that `fill` writes: where they are to be if the device is in host memory, and
    /// in a copy that is sent there otherwise. Not called on the shape-only device.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Backend`].
    pub fn upload_with(&self, shape: impl Into<Shape>, fill: impl FnOnce(&mut [f32])) -> Result<Tensor> {
        self.try_upload_with(shape, |to| {
            fill(to);
            Ok(())
        })
    }

    /// The same for a `fill` that may fail.
    ///
    /// # Errors
    /// What `fill` answers; [`Error::OutOfMemory`], [`Error::Backend`].
    pub fn try_upload_with<E: From<Error>>(
        &self,
        shape: impl Into<Shape>,
        fill: impl FnOnce(&mut [f32]) -> std::result::Result<(), E>,
    ) -> std::result::Result<Tensor, E> {
        // What is written where it is to be is sent nowhere.
        let op = if self.is_host() { "write" } else { "upload" };
        let shape = shape.into();
        let mut tensor = self.allocate(op, shape)?;
        let start = self.start();
        if self.is_host() {
            fill(tensor.f32_mut()?)?;
        } else if !self.shape_only {
            let mut staged = Tensor::unpooled(shape, tensor.dtype())?;
            fill(staged.f32_mut()?)?;
            self.send(&tensor, &staged)?;
        }
        self.report(op, start, shape, Cost { operations: 0, bytes: tensor.size_bytes() as u64 });
        Ok(tensor)
    }

    fn send(&self, to: &Tensor, from: &Tensor) -> Result<()> {
        let (block, offset_bytes) = self.block(to)?;
        let bytes = from.raw().ok_or(Error::NoValues { shape: *from.shape() })?;
        if let Some(memory) = self.pool.memory() {
            memory.upload(block, offset_bytes, bytes)?;
            self.transfers.uploaded(bytes.len());
        }
        Ok(())
    }

    /// Copies a weight of any float type to this device as f32.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Backend`].
    pub fn load(&self, weight: &Tensor) -> Result<Tensor> {
        let loaded = self.try_upload_with(*weight.shape(), |to| {
            to.copy_from_slice(&weight.to_f32()?);
            Ok::<(), Error>(())
        })?;
        weight.release();
        Ok(loaded)
    }

    /// Starts to bring a tensor of this device to the host. Where the host reads it as it is, nothing is copied.
    ///
    /// # Errors
    /// [`Error::WrongDevice`], [`Error::NoValues`] on the shape-only device, [`Error::OutOfMemory`], [`Error::Backend`].
    pub fn download(&self, tensor: &Tensor) -> Result<Download> {
        const OP: &str = "download";
        self.operands(OP, &[tensor])?;
        let start = self.start();
        let (block, offset_bytes) = self.block(tensor)?;
        let size_bytes = tensor.size_bytes();
        let download = match (block, self.pool.memory()) {
            (Block::Opaque(_), Some(memory)) => {
                let pending = memory.download(block, offset_bytes, size_bytes)?;
                self.transfers.downloaded(size_bytes);
                Download {
                    tensor: Tensor::unpooled(*tensor.shape(), tensor.dtype())?,
                    pending: Some(pending),
                }
            }
            // No work that an instrument should hear of.
            _ => return Ok(Download { tensor: tensor.clone(), pending: None }),
        };
        self.report(OP, start, *tensor.shape(), Cost { operations: 0, bytes: size_bytes as u64 });
        Ok(download)
    }

    /// Where a tensor of this device lies.
    fn block<'a>(&self, tensor: &'a Tensor) -> Result<(&'a Block, usize)> {
        tensor.block().ok_or(Error::NoValues { shape: *tensor.shape() })
    }
}
