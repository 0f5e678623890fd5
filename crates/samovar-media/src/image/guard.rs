//! Panics of third-party decoders, which are one more kind of damaged file.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{MediaError, Result};

thread_local! {
    static IS_DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a third-party decoder, whose panics become an error. A panic hook asks, so that nobody
/// is shown a stack trace beside that error.
pub fn is_decoding() -> bool {
    IS_DECODING.get()
}

/// Third-party decoders have panicked on hostile files before; here that is an error of the file.
pub(super) fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    let outer = IS_DECODING.replace(true);
    let decoded = catch_unwind(AssertUnwindSafe(decode));
    IS_DECODING.set(outer);
    decoded.unwrap_or_else(|_| Err(MediaError::damaged("the decoder gave up on the file's content")))
}
