//! What a call takes: memory, by an allocator that counts per thread, and time of the processor.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

static PROCESS_BYTES: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, counting. Make it the global allocator of a binary that asks for [`peak_bytes`] or
/// [`process_bytes`].
pub struct MeteredAllocator;

/// Bytes that `f` had allocated at its peak, on this thread; zero without [`MeteredAllocator`]. May be nested.
pub fn peak_bytes<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let (before, outer_peak) = (LIVE_BYTES.get(), PEAK_BYTES.get());
    PEAK_BYTES.set(before);
    let result = f();
    let peak = PEAK_BYTES.get();
    PEAK_BYTES.set(peak.max(outer_peak));
    (result, usize::try_from(peak - before).unwrap_or(0))
}

/// Bytes that all threads of the process hold; zero without [`MeteredAllocator`]. Unlike what the system calls resident, it does not
/// depend on how an allocator cuts up its pages.
pub fn process_bytes() -> usize {
    usize::try_from(PROCESS_BYTES.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Time that the processor spent on `f`, on this thread: other programs on the machine do not count.
pub fn cpu_time<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let start = thread_time();
    let result = f();
    (result, thread_time().saturating_sub(start))
}

#[cfg(unix)]
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to the structure it is given and nowhere else.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(not(unix))]
fn thread_time() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

fn count(bytes: isize) {
    PROCESS_BYTES.fetch_add(bytes, Ordering::Relaxed);
    // During a thread's last moments the counters are gone; what happens then is not the target's.
    let _ = LIVE_BYTES.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK_BYTES.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged. The counters are plain cells without destructors, so
// touching them allocates nothing.
unsafe impl GlobalAlloc for MeteredAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the one `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
