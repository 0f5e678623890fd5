use super::*;

#[test]
fn a_dropped_buffer_serves_the_next_request_of_its_size() {
    let pool = Pool::new(1 << 20);
    drop(pool.allocate(1000).unwrap());
    let again = pool.allocate(990).unwrap();
    let stats = pool.stats();
    assert_eq!(stats.system_allocations, 1);
    assert_eq!((stats.in_use_bytes, stats.idle_bytes), (1024, 0));
    drop(again);
    assert_eq!(pool.trim(), 1024);
    assert_eq!(pool.stats().idle_bytes, 0);
}

#[test]
fn over_budget_is_an_error_with_the_figures() {
    let pool = Pool::new(4096);
    let _held = pool.allocate(3000).unwrap();
    let error = pool.allocate(2000).err().unwrap();
    assert_eq!(error, Error::OutOfMemory { needed_bytes: 2048, available_bytes: 1088, budget_bytes: 4096 });
}

#[test]
fn idle_buffers_are_given_up_before_the_budget_is_exhausted() {
    let pool = Pool::new(4096);
    drop(pool.allocate(2048).unwrap());
    let _whole = pool.allocate(4096).unwrap();
    assert_eq!(pool.stats().idle_bytes, 0);
}

#[test]
fn an_absurd_request_is_refused_without_touching_the_system() {
    let pool = Pool::new(usize::MAX);
    assert!(matches!(pool.allocate(usize::MAX / 2), Err(Error::OutOfMemory { .. })));
}

#[test]
fn a_counting_pool_takes_no_memory() {
    let pool = Pool::counting(usize::MAX);
    let buffer = pool.allocate(1 << 45).unwrap();
    assert!(buffer.pointer().is_none());
    assert_eq!(pool.stats().peak_bytes, 1 << 45);
}

#[test]
fn large_buffers_are_zeroed_aligned_and_reused() {
    let pool = Pool::new(usize::MAX);
    for _ in 0..2 {
        let buffer = pool.allocate(3 * LARGE_BYTES + 100).unwrap();
        let start = buffer.pointer().unwrap();
        assert_eq!(start.as_ptr() as usize % ALIGNMENT_BYTES, 0);
        // SAFETY: as many bytes were asked for.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), 3 * LARGE_BYTES + 100) };
        assert!(bytes.iter().all(|&byte| byte == 0));
    }
    assert_eq!(pool.stats().system_allocations, 1);
    pool.trim();
}
