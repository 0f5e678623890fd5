#![allow(unsafe_code, reason = "an allocator is tried with pointers")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::{LARGEST_SMALL, RESERVE_BYTES, WithReserve};

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

#[test]
fn small_requests_live_on_when_the_system_has_nothing_and_large_ones_are_refused() {
    let allocator = Box::new(WithReserve::over(Emptied::default()));
    // SAFETY: every place is used within its size, and goes back once with its layout.
    unsafe {
        let before = allocator.alloc(bytes(100));
        before.write_bytes(7, 100);
        allocator.system.is_empty.store(true, Relaxed);
        assert!(allocator.alloc(bytes(LARGEST_SMALL + 1)).is_null());
        let grown = allocator.realloc(before, bytes(100), 1000);
        assert!(allocator.has(grown) && (0..100).all(|at| *grown.add(at) == 7));
        assert_eq!(allocator.system.out.load(Relaxed), 0, "what was grown out of went back");
        let zeros = allocator.alloc_zeroed(bytes(300));
        assert!(allocator.has(zeros) && (0..300).all(|at| *zeros.add(at) == 0));
        allocator.dealloc(zeros, bytes(300));
        assert!(allocator.realloc(grown, bytes(1000), LARGEST_SMALL + 1).is_null());
        assert!((0..100).all(|at| *grown.add(at) == 7), "a refusal leaves it as it was");
        allocator.system.is_empty.store(false, Relaxed);
        let back = allocator.realloc(grown, bytes(1000), LARGEST_SMALL + 1);
        assert!(!allocator.has(back) && (0..100).all(|at| *back.add(at) == 7));
        allocator.dealloc(back, bytes(LARGEST_SMALL + 1));
        assert_eq!(allocator.system.out.load(Relaxed), 0);
    }
}

#[test]
fn the_reserve_ends_and_no_range_is_given_twice() {
    let allocator = Box::new(WithReserve::over(Emptied::default()));
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
    assert_eq!(places.len(), RESERVE_BYTES / 1008);
}
