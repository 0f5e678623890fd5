#![allow(unsafe_code, reason = "an allocator is tried with pointers")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::{LARGEST_SMALL, Owner, SLOT_BYTES, SLOTS, SMALL_BYTES, WithReserve};

/// The system's, until it is empty; counts what is out.
#[derive(Default)]
struct Emptied {
    is_empty: AtomicBool,
    out: AtomicUsize,
}

// SAFETY: the system's memory, or none.
unsafe impl GlobalAlloc for Emptied {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.is_empty.load(Relaxed) {
            return null_mut();
        }
        self.out.fetch_add(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        self.out.fetch_sub(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

fn bytes(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap()
}

/// On the heap, as it is too large for a thread's stack.
fn emptied() -> Box<WithReserve<Emptied>> {
    let layout = Layout::new::<WithReserve<Emptied>>();
    // SAFETY: all its bits zero is an allocator of which nothing is taken, over one that is not empty.
    unsafe { Box::from_raw(System.alloc_zeroed(layout).cast()) }
}

fn is_of_reserve(allocator: &WithReserve<Emptied>, place: *mut u8) -> bool {
    !matches!(allocator.owner_of(place), Owner::System)
}

#[test]
fn requests_live_on_when_the_system_has_nothing_and_large_ones_are_refused() {
    let allocator = emptied();
    // SAFETY: every place is used within its size, and goes back once with its layout.
    unsafe {
        let before = allocator.alloc(bytes(100));
        before.write_bytes(7, 100);
        allocator.system.is_empty.store(true, Relaxed);
        assert!(allocator.alloc(bytes(SLOT_BYTES + 1)).is_null());
        let grown = allocator.realloc(before, bytes(100), 1000);
        assert!(is_of_reserve(&allocator, grown) && (0..100).all(|at| *grown.add(at) == 7));
        assert_eq!(allocator.system.out.load(Relaxed), 0, "what was grown out of went back");
        let large = allocator.realloc(grown, bytes(1000), LARGEST_SMALL + 1);
        assert!(
            matches!(allocator.owner_of(large), Owner::Slot(_)) && (0..100).all(|at| *large.add(at) == 7)
        );
        let larger = allocator.realloc(large, bytes(LARGEST_SMALL + 1), SLOT_BYTES);
        assert_eq!(larger, large, "a slot has room");
        assert!(allocator.realloc(larger, bytes(SLOT_BYTES), SLOT_BYTES + 1).is_null());
        assert!((0..100).all(|at| *larger.add(at) == 7), "a refusal leaves it as it was");
        allocator.system.is_empty.store(false, Relaxed);
        let back = allocator.realloc(larger, bytes(SLOT_BYTES), SLOT_BYTES + 1);
        assert!(!is_of_reserve(&allocator, back) && (0..100).all(|at| *back.add(at) == 7));
        allocator.dealloc(back, bytes(SLOT_BYTES + 1));
        assert_eq!(allocator.system.out.load(Relaxed), 0);
    }
}

#[test]
fn slots_are_put_back_and_come_again_as_zeros() {
    let allocator = emptied();
    allocator.system.is_empty.store(true, Relaxed);
    let layout = bytes(100_000);
    // SAFETY: every place is used within its size, and goes back once with its layout.
    unsafe {
        let all: Vec<*mut u8> = (0..SLOTS).map(|_| allocator.alloc(layout)).collect();
        assert!(all.iter().all(|place| is_of_reserve(&allocator, *place)));
        assert!(allocator.alloc(layout).is_null(), "all are taken");
        all[3].write_bytes(7, 100_000);
        allocator.dealloc(all[3], layout);
        let again = allocator.alloc_zeroed(layout);
        assert!(again == all[3] && (0..100_000).all(|at| *again.add(at) == 0));
    }
}

#[test]
fn the_reserve_ends_and_no_range_is_given_twice() {
    let allocator = emptied();
    allocator.system.is_empty.store(true, Relaxed);
    let mut places: Vec<usize> = std::thread::scope(|scope| {
        let taker = || {
            // SAFETY: nothing of it is used.
            let place = || Some(unsafe { allocator.alloc(bytes(1001)) }).filter(|place| !place.is_null());
            std::iter::from_fn(place).map(|place| place.addr()).collect::<Vec<usize>>()
        };
        let takers = [scope.spawn(taker), scope.spawn(taker)];
        takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
    });
    places.sort_unstable();
    assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 1001 && pair[1] % 16 == 0));
    assert_eq!(places.len(), SMALL_BYTES / 1008);
}
