//! Tensors: contiguous, immutable once made, cheap to clone.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};

use crate::memory::{Block, HostBlock};
use crate::pool::{Buffer, Pool};
use crate::{DType, Error, Result, Shape};

/// Bytes of a weight file that tensors can point into (a memory map, or a vector in tests).
pub trait WeightBytes: Send + Sync {
    /// All bytes. Must return the same slice at every call.
    fn bytes(&self) -> &[u8];

    /// These bytes have been read and will hardly be read again: a map may give up the memory they take. Reading them
    /// stays possible.
    fn release(&self, _range: Range<usize>) {}
}

impl WeightBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// A contiguous block of numbers with a shape, in the memory of one device, in a weight file, or in host memory that
/// belongs to no device.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    dtype: DType,
    storage: Storage,
    offset_bytes: usize,
    /// Of 8-bit weights: a factor for every entry of the outermost dimension.
    scales: Option<Arc<[f32]>>,
}

#[derive(Clone)]
enum Storage {
    /// Memory of a device's pool (on the shape-only device none), or host memory beside all pools.
    Buffer(Arc<Buffer>),
    /// A stretch of a weight file.
    File(Arc<dyn WeightBytes>),
    /// Neither memory nor accounting: weights of the shape-only device.
    Nothing,
}

impl Tensor {
    /// A tensor from the pool with unspecified (but initialised) values, for a backend to fill.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the pool's budget does not hold it.
    pub fn allocate(pool: &Arc<Pool>, shape: Shape, dtype: DType) -> Result<Self> {
        Ok(Self::on_buffer(pool.allocate(shape.len() * dtype.size_bytes())?, shape, dtype))
    }

    fn on_buffer(buffer: Buffer, shape: Shape, dtype: DType) -> Self {
        Self { shape, dtype, storage: Storage::Buffer(Arc::new(buffer)), offset_bytes: 0, scales: None }
    }

    /// A tensor in host memory that a backend brings along, beside all pools: how a backend that runs on the host, or
    /// wraps another, shows its own blocks to kernels.
    ///
    /// # Errors
    /// [`Error::Shape`] when the block is too small.
    pub fn on_host_block(block: HostBlock, shape: Shape, dtype: DType) -> Result<Self> {
        let len_bytes = block.len_bytes();
        if shape.len() * dtype.size_bytes() > len_bytes {
            return Err(Error::shape("host block", format!("{dtype} {shape} in {len_bytes} bytes")));
        }
        Ok(Self::on_buffer(Buffer::of_block(Block::Host(block), len_bytes), shape, dtype))
    }

    /// A tensor without values, standing for a weight in a dry run.
    pub fn shape_only(shape: Shape, dtype: DType) -> Self {
        Self { shape, dtype, storage: Storage::Nothing, offset_bytes: 0, scales: None }
    }

    /// A tensor in the bytes of a weight file, starting at `offset_bytes`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the stretch does not lie inside the bytes.
    pub fn from_weights(
        bytes: Arc<dyn WeightBytes>,
        offset_bytes: usize,
        shape: Shape,
        dtype: DType,
    ) -> Result<Self> {
        let size_bytes = shape.len() * dtype.size_bytes();
        let inside = offset_bytes.checked_add(size_bytes).is_some_and(|end| end <= bytes.bytes().len());
        if !inside {
            let have = bytes.bytes().len();
            return Err(Error::shape(
                "weights",
                format!("{dtype} {shape} at byte {offset_bytes} does not fit into {have} bytes"),
            ));
        }
        Ok(Self { shape, dtype, storage: Storage::File(bytes), offset_bytes, scales: None })
    }

    /// A tensor that owns `values`, in host memory beside all pools: weights made at load time, and tests. To compute with
    /// it, [`crate::Device::upload`] it.
    ///
    /// # Panics
    /// When the number of values is not that of the shape, or the system has no memory; see [`Tensor::try_from_values`].
    pub fn from_values(shape: impl Into<Shape>, values: &[f32]) -> Self {
        let shape = shape.into();
        assert_eq!(values.len(), shape.len(), "{} values for shape {shape}", values.len());
        Self::try_from_values(shape, values).expect("a small tensor fits")
    }

    /// The same, with errors.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of values is not that of the shape, [`Error::OutOfMemory`].
    pub fn try_from_values(shape: impl Into<Shape>, values: &[f32]) -> Result<Self> {
        let shape = shape.into();
        if values.len() != shape.len() {
            return Err(Error::shape("values", format!("{} for shape {shape}", values.len())));
        }
        let mut tensor = Self::unpooled(shape, DType::F32)?;
        tensor.f32_mut()?.copy_from_slice(values);
        Ok(tensor)
    }

    /// A tensor in host memory beside all pools, with unspecified (but initialised) values.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the system has none.
    pub fn unpooled(shape: Shape, dtype: DType) -> Result<Self> {
        Ok(Self::on_buffer(Buffer::loose(shape.len() * dtype.size_bytes())?, shape, dtype))
    }

    /// The block the values lie in and where they start; `None` for those of a file and those without values.
    pub fn block(&self) -> Option<(&Block, usize)> {
        match &self.storage {
            Storage::Buffer(buffer) => Some((buffer.block()?, self.offset_bytes)),
            _ => None,
        }
    }

    /// The pool of the device it lives on; `None` for weights of files and host memory beside all pools.
    pub(crate) fn pool(&self) -> Option<&Arc<Pool>> {
        match &self.storage {
            Storage::Buffer(buffer) => buffer.pool(),
            _ => None,
        }
    }

    /// Where the values lie, for reports.
    fn place(&self) -> String {
        let memory = self.pool().and_then(|pool| pool.memory());
        memory.map_or_else(|| "no memory".into(), |memory| memory.name())
    }

    /// Tells a weight file that this tensor has been read and will hardly be read again (see [`WeightBytes::release`]).
    pub fn release(&self) {
        if let Storage::File(file) = &self.storage {
            file.release(self.offset_bytes..self.offset_bytes + self.size_bytes());
        }
    }

    /// Shape, outermost dimension first.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The factors of 8-bit weights, one per entry of the outermost dimension; `None` for all other tensors.
    pub fn scales(&self) -> Option<&[f32]> {
        self.scales.as_deref()
    }

    pub(crate) fn attach_scales(&self, scales: Arc<[f32]>) -> Self {
        Self { scales: Some(scales), ..self.clone() }
    }

    /// Bytes the values take.
    pub fn size_bytes(&self) -> usize {
        self.shape.len() * self.dtype.size_bytes()
    }

    /// Whether there are values, here or on a device (`false` on the shape-only device).
    pub fn has_values(&self) -> bool {
        match &self.storage {
            Storage::Buffer(buffer) => buffer.block().is_some(),
            Storage::File(_) => true,
            Storage::Nothing => false,
        }
    }

    /// The values of an `F32` tensor.
    ///
    /// # Errors
    /// [`Error::DType`] for another type, [`Error::NoValues`] on the shape-only device, [`Error::NotOnHost`] on a device
    /// with memory of its own (see [`crate::Device::download`]).
    pub fn f32(&self) -> Result<&[f32]> {
        if self.dtype != DType::F32 {
            return Err(Error::DType { expected: DType::F32, found: self.dtype, shape: self.shape });
        }
        let bytes = self.host_bytes()?;
        // SAFETY: every bit pattern is an f32; `align_to` itself checks alignment.
        let (before, values, _) = unsafe { bytes.align_to::<f32>() };
        if !before.is_empty() {
            return Err(Error::shape("weights", "f32 values are not aligned to four bytes"));
        }
        Ok(values)
    }

    /// The values, converted to `f32` from any floating or integer type and any alignment; 8-bit weights with their
    /// scales.
    ///
    /// # Errors
    /// [`Error::NoValues`] on the shape-only device.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>> {
        let bytes = self.host_bytes()?;
        fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Result<Vec<f32>> {
            let chunks = bytes.as_chunks::<N>().0;
            let mut values = reserved(chunks.len())?;
            values.extend(chunks.iter().map(|&chunk| convert(chunk)));
            Ok(values)
        }
        if let (DType::I8, Some(scales)) = (self.dtype, self.scales()) {
            let row_len = bytes.len() / scales.len().max(1);
            let mut values = reserved(bytes.len())?;
            for (row, scale) in bytes.chunks_exact(row_len.max(1)).zip(scales) {
                values.extend(row.iter().map(|&q| f32::from(q as i8) * scale));
            }
            return Ok(values);
        }
        match self.dtype {
            DType::F32 => each(bytes, f32::from_le_bytes),
            DType::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            DType::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            DType::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
            DType::U8 => each(bytes, |[b]| f32::from(b)),
            DType::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            DType::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
        }
    }

    /// The values as f32: read where they are if that is what they are, converted as by [`Tensor::to_f32_vec`] otherwise.
    ///
    /// # Errors
    /// [`Error::NoValues`] on the shape-only device.
    pub fn to_f32(&self) -> Result<Cow<'_, [f32]>> {
        match self.f32() {
            Ok(values) if cfg!(target_endian = "little") => Ok(Cow::Borrowed(values)),
            _ => self.to_f32_vec().map(Cow::Owned),
        }
    }

    /// The raw little-endian bytes, or `None` where the host has none: on the shape-only device, and on devices with
    /// memory of their own.
    pub fn raw(&self) -> Option<&[u8]> {
        self.host_bytes().ok()
    }

    fn host_bytes(&self) -> Result<&[u8]> {
        let size_bytes = self.size_bytes();
        match &self.storage {
            Storage::Buffer(buffer) => {
                let pointer = buffer.host_pointer().ok_or_else(|| self.no_host_bytes())?;
                debug_assert!(self.offset_bytes + size_bytes <= buffer.len_bytes());
                // SAFETY: the buffer has at least offset + size bytes, and they are initialised.
                Ok(unsafe { std::slice::from_raw_parts(pointer.as_ptr().add(self.offset_bytes), size_bytes) })
            }
            Storage::File(bytes) => Ok(&bytes.bytes()[self.offset_bytes..][..size_bytes]),
            Storage::Nothing => Err(self.no_host_bytes()),
        }
    }

    fn no_host_bytes(&self) -> Error {
        if self.has_values() {
            Error::NotOnHost { shape: self.shape, device: self.place() }
        } else {
            Error::NoValues { shape: self.shape }
        }
    }

    /// The values to write, while nobody else holds this tensor: for the operator that fills it.
    ///
    /// # Errors
    /// [`Error::DType`], [`Error::NoValues`], or [`Error::Shape`] when the memory is shared.
    pub fn f32_mut(&mut self) -> Result<&mut [f32]> {
        if self.dtype != DType::F32 {
            return Err(Error::DType { expected: DType::F32, found: self.dtype, shape: self.shape });
        }
        let len = self.shape.len();
        let bytes = self.raw_mut()?;
        // SAFETY: pool buffers are aligned to 64 bytes and offsets are whole elements; every bit pattern is an f32.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), len) })
    }

    /// The bytes to write, while nobody else holds this tensor.
    ///
    /// # Errors
    /// [`Error::NoValues`] or [`Error::NotOnHost`], or [`Error::Shape`] when the memory is shared or a file's.
    pub fn raw_mut(&mut self) -> Result<&mut [u8]> {
        let size_bytes = self.size_bytes();
        let Storage::Buffer(buffer) = &mut self.storage else {
            return Err(Error::shape("write", "weights of a file must not change"));
        };
        let Some(pointer) = buffer.host_pointer() else {
            return Err(self.no_host_bytes());
        };
        if Arc::get_mut(buffer).is_none() {
            return Err(Error::shape("write", "the tensor is shared and must not change"));
        }
        // SAFETY: sole owner, and `allocate` took at least offset + size bytes.
        Ok(unsafe { std::slice::from_raw_parts_mut(pointer.as_ptr().add(self.offset_bytes), size_bytes) })
    }

    /// The same values in another shape.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.len() != self.shape.len() {
            return Err(Error::shape("reshape", format!("{} does not become {shape}", self.shape)));
        }
        if self.scales.is_some() && shape.dims().first() != self.shape.dims().first() {
            return Err(Error::shape("reshape", format!("{} has scales for its outputs", self.shape)));
        }
        Ok(Self { shape, ..self.clone() })
    }

    /// Entries `start..start + len` of the outermost dimension, without a copy.
    ///
    /// # Errors
    /// [`Error::Shape`] when the range lies outside.
    pub fn narrow(&self, start: usize, len: usize) -> Result<Self> {
        let dims = self.dims();
        let outer = dims.first().copied().unwrap_or(0);
        if start.checked_add(len).is_none_or(|end| end > outer) {
            return Err(Error::shape("narrow", format!("{start}..+{len} of {}", self.shape)));
        }
        let mut narrowed = dims.to_vec();
        narrowed[0] = len;
        let entry_bytes = dims[1..].iter().product::<usize>() * self.dtype.size_bytes();
        Ok(Self {
            shape: Shape::new(&narrowed),
            offset_bytes: self.offset_bytes + start * entry_bytes,
            scales: self.scales().map(|scales| scales[start..start + len].into()),
            ..self.clone()
        })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {})", self.dtype, self.shape)
    }
}

/// An empty vector with room for `len` elements, or an error where there is none.
pub(crate) fn reserved<T>(len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let needed_bytes = len.saturating_mul(size_of::<T>());
    let refused = Error::OutOfMemory { needed_bytes, available_bytes: 0, budget_bytes: usize::MAX };
    values.try_reserve_exact(len).map_err(|_| refused)?;
    Ok(values)
}
