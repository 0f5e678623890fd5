//! [`WithReserve`]: an allocator with something put by for the moment when the system has nothing left.
#![allow(unsafe_code, reason = "an allocator is written with pointers")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes put by. Their pages are made when they are first written to, which most programs never do.
const RESERVE_BYTES: usize = 8 << 20;

/// What is larger is asked for by callers that can be told no. Libraries' tables (a histogram has 288 KiB) are not.
const LARGEST_SMALL: usize = 512 << 10;

/// An allocator whose small requests, which Rust's collections cannot be refused without ending the process, come from a reserve
/// when the system has no memory left. A job at its limit so lives on until its next large request, which is refused with an error
/// that it tells. What was taken from the reserve is not put back; once it is used up, requests fail as they would without it.
pub struct WithReserve<A = System> {
    system: A,
    taken_bytes: AtomicUsize,
    reserve: UnsafeCell<Reserve>,
}

#[repr(align(4096))]
struct Reserve(#[expect(dead_code, reason = "read through pointers")] [u8; RESERVE_BYTES]);

// SAFETY: ranges of the reserve are handed out by an atomic counter, each once.
unsafe impl<A: Sync> Sync for WithReserve<A> {}

impl WithReserve {
    /// Over the system's allocator.
    pub const fn new() -> Self {
        Self::over(System)
    }
}

impl Default for WithReserve {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> WithReserve<A> {
    /// Over another.
    pub const fn over(system: A) -> Self {
        Self {
            system,
            taken_bytes: AtomicUsize::new(0),
            reserve: UnsafeCell::new(Reserve([0; RESERVE_BYTES])),
        }
    }

    fn has(&self, place: *mut u8) -> bool {
        (place.addr()).wrapping_sub(self.reserve.get().addr()) < RESERVE_BYTES
    }

    /// Zeros, as nobody had them before.
    #[cold]
    fn take_small(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST_SMALL || layout.align() > align_of::<Reserve>() {
            return null_mut();
        }
        let start_of = |taken: usize| taken.next_multiple_of(layout.align());
        let next = |taken: usize| Some(start_of(taken) + layout.size()).filter(|&end| end <= RESERVE_BYTES);
        match self.taken_bytes.fetch_update(Relaxed, Relaxed, next) {
            // SAFETY: `start_of(taken) + size` is within the reserve.
            Ok(taken) => unsafe { self.reserve.get().cast::<u8>().add(start_of(taken)) },
            Err(_) => null_mut(),
        }
    }
}

// SAFETY: memory is the inner allocator's, or a range of the reserve that is aligned and nobody else's; each goes back where it came from.
unsafe impl<A: GlobalAlloc> GlobalAlloc for WithReserve<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let place = unsafe { self.system.alloc(layout) };
        if place.is_null() { self.take_small(layout) } else { place }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let place = unsafe { self.system.alloc_zeroed(layout) };
        if place.is_null() { self.take_small(layout) } else { place }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        if !self.has(place) {
            // SAFETY: not of the reserve, so the inner allocator's.
            unsafe { self.system.dealloc(place, layout) }
        }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !self.has(place) {
            // SAFETY: not of the reserve, so the inner allocator's.
            let moved = unsafe { self.system.realloc(place, layout, new_size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller promises that the size fits the alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let moved = match self.has(place) {
            // SAFETY: not empty, as the caller promises.
            true => unsafe { self.alloc(wanted) },
            false => self.take_small(wanted),
        };
        if !moved.is_null() {
            // SAFETY: both hold the smaller of the two sizes, and one of them is new.
            unsafe { moved.copy_from_nonoverlapping(place, layout.size().min(new_size)) };
            // SAFETY: as the caller promises.
            unsafe { self.dealloc(place, layout) };
        }
        moved
    }
}

#[cfg(test)]
#[path = "reserve_tests.rs"]
mod tests;
