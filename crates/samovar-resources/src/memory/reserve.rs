//! [`WithReserve`]: an allocator with something put by for the moment when the system has nothing left.
#![allow(unsafe_code, reason = "an allocator is written with pointers")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes for what is small, which are taken one after the other and not put back.
const SMALL_BYTES: usize = 2 << 20;

/// What is larger takes a slot.
const LARGEST_SMALL: usize = 16 << 10;

/// Places for one request each, which are put back: tables of libraries, maps and masks of a frame.
const SLOTS: usize = 8;

/// Of one of them. What is larger is asked for by callers that can be told no.
const SLOT_BYTES: usize = 4 << 20;

/// An allocator that has something of its own for requests that Rust's collections cannot be refused without ending the process, when the
/// system has no memory left. A job at its limit so lives on until its next large request, which is refused with an error that it
/// tells. Once all is taken, requests fail as they would without it. Pages of the reserve are made when they are first written to, which
/// most programs never do.
pub struct WithReserve<A = System> {
    system: A,
    taken_bytes: AtomicUsize,
    is_taken: [AtomicBool; SLOTS],
    small: UnsafeCell<Small>,
    slots: UnsafeCell<Slots>,
}

#[repr(align(4096))]
struct Small(#[expect(dead_code, reason = "read through pointers")] [u8; SMALL_BYTES]);

#[repr(align(4096))]
struct Slots(#[expect(dead_code, reason = "read through pointers")] [[u8; SLOT_BYTES]; SLOTS]);

// SAFETY: ranges of the reserve are handed out by an atomic counter, each once, or by a flag, to one at a time.
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

/// Where memory came from.
enum Owner {
    System,
    Small,
    Slot(usize),
}

impl<A> WithReserve<A> {
    /// Over another.
    pub const fn over(system: A) -> Self {
        Self {
            system,
            taken_bytes: AtomicUsize::new(0),
            is_taken: [const { AtomicBool::new(false) }; SLOTS],
            small: UnsafeCell::new(Small([0; SMALL_BYTES])),
            slots: UnsafeCell::new(Slots([[0; SLOT_BYTES]; SLOTS])),
        }
    }

    fn owner_of(&self, place: *mut u8) -> Owner {
        let from = |start: usize| place.addr().wrapping_sub(start);
        if from(self.small.get().addr()) < SMALL_BYTES {
            return Owner::Small;
        }
        match from(self.slots.get().addr()) / SLOT_BYTES {
            slot if slot < SLOTS => Owner::Slot(slot),
            _ => Owner::System,
        }
    }

    /// What is in it is anybody's who had it before.
    #[cold]
    fn take(&self, layout: Layout) -> *mut u8 {
        if layout.align() > align_of::<Slots>() || layout.size() > SLOT_BYTES {
            return null_mut();
        }
        match layout.size() <= LARGEST_SMALL {
            true => self.take_small(layout),
            false => self.take_slot(),
        }
    }

    fn take_small(&self, layout: Layout) -> *mut u8 {
        let start_of = |taken: usize| taken.next_multiple_of(layout.align());
        let next = |taken: usize| Some(start_of(taken) + layout.size()).filter(|&end| end <= SMALL_BYTES);
        match self.taken_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            // SAFETY: `start_of(taken) + size` is within it.
            Ok(taken) => unsafe { self.small.get().cast::<u8>().add(start_of(taken)) },
            Err(_) => null_mut(),
        }
    }

    fn take_slot(&self) -> *mut u8 {
        // Whoever gets the flag sees all that was written by whoever gave it back.
        let is_free = |slot: &usize| !self.is_taken[*slot].swap(true, Ordering::Acquire);
        match (0..SLOTS).find(is_free) {
            // SAFETY: there are so many slots.
            Some(slot) => unsafe { self.slots.get().cast::<u8>().add(slot * SLOT_BYTES) },
            None => null_mut(),
        }
    }
}

// SAFETY: memory is the inner allocator's, or a range of the reserve that is aligned and nobody else's; each goes back where it came from.
unsafe impl<A: GlobalAlloc> GlobalAlloc for WithReserve<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let place = unsafe { self.system.alloc(layout) };
        if place.is_null() { self.take(layout) } else { place }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let place = unsafe { self.system.alloc_zeroed(layout) };
        if !place.is_null() {
            return place;
        }
        let place = self.take(layout);
        if !place.is_null() {
            // SAFETY: it has that size.
            unsafe { place.write_bytes(0, layout.size()) };
        }
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        match self.owner_of(place) {
            // SAFETY: as the caller promises.
            Owner::System => unsafe { self.system.dealloc(place, layout) },
            Owner::Small => {}
            Owner::Slot(slot) => self.is_taken[slot].store(false, Ordering::Release),
        }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size fits the alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let moved = match self.owner_of(place) {
            Owner::System => {
                // SAFETY: as the caller promises.
                let moved = unsafe { self.system.realloc(place, layout, new_size) };
                if !moved.is_null() {
                    return moved;
                }
                self.take(wanted)
            }
            Owner::Slot(_) if new_size <= SLOT_BYTES => return place,
            // SAFETY: not empty, as the caller promises.
            Owner::Small | Owner::Slot(_) => unsafe { self.alloc(wanted) },
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
