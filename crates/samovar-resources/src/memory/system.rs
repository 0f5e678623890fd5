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

/// Has the allocator keep one heap for all threads, and give blocks of 4 MiB and more back to the system as soon as they are freed. As
/// it comes, each thread has a heap of its own, which keeps the largest buffers it ever held: folders of large photographs took up to a quarter
/// more than they were allowed. To be called before other threads begin, by programs that hold to a budget; it costs
/// no measurable time, because small blocks are cached per thread.
pub fn keep_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "glibc's function has no safe face")]
    // SAFETY: takes no pointer, and may be called at any time from any thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 << 20);
    }
}
