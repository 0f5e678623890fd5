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
fn without_reuse_nothing_lies_idle() {
    let pool = Pool::without_reuse(host_memory(), 1 << 20);
    for _ in 0..3 {
        drop(pool.allocate(1000).unwrap());
        let stats = pool.stats();
        assert_eq!((stats.in_use_bytes, stats.idle_bytes, stats.reserved_bytes()), (0, 0, 0));
    }
    assert_eq!(pool.stats().system_allocations, 3);
}

#[test]
fn over_budget_is_an_error_with_the_figures() {
    let pool = Pool::new(4096);
    let _held = pool.allocate(3008).unwrap();
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
    assert!(buffer.host_pointer().is_none());
    assert_eq!(pool.stats().peak_bytes, 1 << 45);
}

#[test]
fn large_buffers_are_zeroed_aligned_and_reused() {
    let pool = Pool::new(usize::MAX);
    for _ in 0..2 {
        let buffer = pool.allocate(3 * LARGE_BYTES + 100).unwrap();
        let start = buffer.host_pointer().unwrap();
        assert_eq!(start.as_ptr() as usize % ALIGNMENT_BYTES, 0);
        // SAFETY: as many bytes were asked for.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), 3 * LARGE_BYTES + 100) };
        assert!(bytes.iter().all(|&byte| byte == 0));
    }
    assert_eq!(pool.stats().system_allocations, 1);
    pool.trim();
}

#[test]
fn what_a_reused_block_has_too_much_is_given_back_before_a_request_is_refused() {
    let (small, large) = (3 * LARGE_BYTES, 5 * LARGE_BYTES);
    let pool = Pool::new(2 * small);
    drop(pool.allocate(large).unwrap());
    let first = pool.allocate(small).unwrap();
    assert_eq!(pool.stats().system_allocations, 1, "the large block serves again");
    assert_eq!((pool.stats().in_use_bytes, pool.stats().surplus_bytes), (small, large - small));
    // What the dry run would count fits, so it must fit here.
    let second = pool.allocate(small).unwrap();
    assert_eq!((pool.stats().in_use_bytes, pool.stats().surplus_bytes), (2 * small, 0));
    // SAFETY: as many bytes were asked for.
    let bytes = unsafe { std::slice::from_raw_parts_mut(first.host_pointer().unwrap().as_ptr(), small) };
    bytes.fill(7);
    drop((first, second));
    assert_eq!(pool.stats().idle_bytes, 2 * small);
    assert_eq!(pool.trim(), 2 * small);
}

/// What a dry run says of memory that is kept for the next request.
#[cfg(unix)]
#[test]
fn a_counting_pool_keeps_what_a_real_one_keeps() {
    for budget_bytes in [usize::MAX, 24 * LARGE_BYTES] {
        let (real, counting) = (Pool::new(budget_bytes), Pool::counting(budget_bytes));
        let mut held: Vec<(Buffer, Buffer)> = Vec::new();
        let mut state = 7u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        let sizes: Vec<usize> = (0..12).map(|_| 1 + random(5 * LARGE_BYTES)).chain([100, 5000]).collect();
        for _ in 0..400 {
            if held.len() > 8 || (random(2) == 0 && !held.is_empty()) {
                held.swap_remove(random(held.len()));
            } else {
                let bytes = sizes[random(sizes.len())];
                match (real.allocate(bytes), counting.allocate(bytes)) {
                    (Ok(one), Ok(other)) => held.push((one, other)),
                    (one, other) => assert!(one.is_err() && other.is_err()),
                }
            }
            let (real, counting) = (real.stats(), counting.stats());
            assert_eq!(real.in_use_bytes, counting.in_use_bytes);
            if budget_bytes == usize::MAX {
                assert_eq!(real.reserved_bytes(), counting.reserved_bytes());
                assert_eq!(real.peak_reserved_bytes, counting.peak_reserved_bytes);
            }
            assert!(counting.reserved_bytes() <= budget_bytes);
        }
    }
}

#[test]
fn bytes_that_are_set_aside_count_against_the_budget() {
    let pool = Pool::new(4096);
    drop(pool.allocate(4096).unwrap());
    let aside = pool.set_aside(1000).unwrap();
    assert_eq!(pool.stats().idle_bytes, 0, "idle blocks make room");
    assert!(pool.allocate(4096).is_err() && pool.set_aside(4000).is_err());
    drop(aside);
    assert!(pool.allocate(4096).is_ok());
}

#[test]
fn memory_that_the_system_refuses_is_an_error_and_leaves_the_figures_as_they_were() {
    struct Refusing;
    impl Memory for Refusing {
        fn name(&self) -> String {
            "nothing".into()
        }
        fn id(&self) -> MemoryId {
            MemoryId::HOST
        }
        fn allocate(&self, _: usize) -> Option<Block> {
            None
        }
        fn upload(&self, _: &Block, _: usize, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn download(&self, _: &Block, _: usize, _: usize) -> Result<Box<dyn crate::PendingCopy>> {
            unreachable!("nothing to copy")
        }
        fn synchronise(&self) -> Result<()> {
            Ok(())
        }
    }
    let pool = Pool::on(Arc::new(Refusing), 1 << 20);
    assert!(matches!(pool.allocate(1000), Err(Error::OutOfMemory { .. })));
    assert_eq!(pool.stats().in_use_bytes, 0);
}
