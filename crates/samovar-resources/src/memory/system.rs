//! What the system's allocator is asked for.

/// Has the allocator give free memory at the top of its arenas, and whole free pages within, back to the system. Without
/// this, what a finished job freed stays with the process.
pub fn return_free_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "glibc's function has no safe face")]
    // SAFETY: takes no pointer, and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
