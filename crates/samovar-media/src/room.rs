//! Memory whose size an image decides: refused with an error where the system has none, never by an abort.

use std::alloc::{Layout, alloc_zeroed};
use std::io;

use crate::error::{MediaError, MediaErrorKind, Result};

/// Numbers for which all bits zero is a value.
pub(crate) trait Zero: Copy {}

impl Zero for u8 {}
impl Zero for u16 {}
impl Zero for f32 {}
impl Zero for u64 {}

fn none_for<T>(len: usize) -> MediaError {
    let bytes = len.saturating_mul(size_of::<T>());
    MediaError::new(MediaErrorKind::OutOfMemory, format!("the system has no memory for {bytes} bytes more"))
}

/// An empty vector with room for `len` values.
pub(crate) fn room<T>(len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| none_for::<T>(len))?;
    Ok(values)
}

/// `len` zeros, as `vec![0; len]`: pages that nobody writes to are never made.
#[allow(unsafe_code, reason = "a vector of zeroed pages has no constructor that fails")]
pub(crate) fn zeros<T: Zero>(len: usize) -> Result<Vec<T>> {
    let layout = Layout::array::<T>(len).map_err(|_| none_for::<T>(len))?;
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the layout is not empty.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return Err(none_for::<T>(len));
    }
    // SAFETY: allocated for `len` values just now, by the allocator that vectors have, and zeros are values of the type.
    Ok(unsafe { Vec::from_raw_parts(start.cast(), len, len) })
}

/// All values of an iterator of `len`.
pub(crate) fn collected<T>(len: usize, values: impl Iterator<Item = T>) -> Result<Vec<T>> {
    let mut collected = room(len)?;
    collected.extend(values.take(len));
    Ok(collected)
}

/// One value more, as `push`.
pub(crate) fn one_more<T>(values: &mut Vec<T>, value: T) -> Result<()> {
    values.try_reserve(1).map_err(|_| none_for::<T>(values.len() + 1))?;
    values.push(value);
    Ok(())
}

/// Bytes that a library writes one after the other.
pub(crate) struct Growing(pub(crate) Vec<u8>);

impl io::Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_reserve(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
