use super::*;

#[test]
fn every_task_runs_once() {
    for threads in 1..=4 {
        let pool = Threads::new(threads);
        for tasks in [0, 1, 2, 3, 100] {
            let runs: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, u64::MAX, |i, _| {
                runs[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(runs.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{tasks} on {threads}");
        }
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_stays_usable() {
    let pool = Threads::new(3);
    for bad in [0, 50, 99] {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(100, u64::MAX, |i, _| assert_ne!(i, bad, "this task fails"));
        }));
        assert!(outcome.is_err());
    }
    let count = AtomicUsize::new(0);
    pool.run(10, u64::MAX, |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(count.into_inner(), 10);
}

#[test]
fn callers_on_several_threads_take_turns() {
    let pool = Threads::new(2);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let sum = AtomicUsize::new(0);
                    pool.run(10, u64::MAX, |i, _| {
                        sum.fetch_add(i, Ordering::Relaxed);
                    });
                    assert_eq!(sum.into_inner(), 45);
                }
            });
        }
    });
}

#[test]
fn nothing_is_started_before_there_is_work() {
    let pool = Threads::new(1024);
    assert!(pool.workers.get().is_none() && lock(&pool.scratch[1023]).is_empty());
    let pool = Threads::new(3);
    pool.reserve().unwrap();
    assert_eq!(pool.workers.get().unwrap().len(), 2);
    assert!(pool.scratch.iter().all(|scratch| !lock(scratch).is_empty()));
    pool.reserve().unwrap();
}
