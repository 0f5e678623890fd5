use proptest::prelude::*;

use super::*;
use crate::memory::{Memory, MemoryOptions, ProcessMemory};

fn options(default_batch_size: usize) -> BatchOptions {
    BatchOptions { default_batch_size, max_batch_size: 64, ..BatchOptions::default() }
}

fn memory(total_bytes: usize, available_bytes: usize) -> Arc<MemoryManager> {
    let system = Memory { total_bytes, available_bytes, is_container: false };
    let probe = move || (system, ProcessMemory::default());
    Arc::new(MemoryManager::with_probe(MemoryOptions::default(), probe).unwrap())
}

#[test]
fn sizes_follow_the_memory_that_is_left() {
    let size = |available, per_item| {
        let processor = BatchProcessor::new(options(8)).with_memory(&memory(1000, available));
        processor.get_optimal_batch_size(per_item)
    };
    assert_eq!(size(1000, 10), 64, "the largest");
    assert_eq!(size(550, 10), 40);
    assert_eq!(size(140, 10), 3, "half at warning");
    assert_eq!(size(40, 10), 1, "one at critical");
    assert_eq!(size(1000, 100_000), 1);
    assert_eq!(BatchProcessor::new(options(8)).get_optimal_batch_size(10), 8, "nothing known");
}

#[test]
fn a_batch_that_does_not_fit_is_halved_and_grows_again() {
    let processor = BatchProcessor::new(options(16));
    let items: Vec<usize> = (0..200).collect();
    let (mut done, mut limit) = (Vec::new(), 5);
    let report = processor
        .for_each_batch(
            &items,
            None,
            |_: &()| Retry::Halved,
            |batch| {
                if batch.len() > limit {
                    return Err(());
                }
                done.extend_from_slice(batch);
                if done.len() > 60 {
                    limit = 100;
                }
                Ok(ControlFlow::Continue(()))
            },
        )
        .unwrap();
    assert_eq!(done, items);
    assert!(
        report.halved >= 2 && report.batch_sizes.contains(&4) && report.batch_sizes.contains(&16),
        "{report:?}"
    );
}

#[test]
fn one_item_that_does_not_fit_is_an_error_and_so_is_another_fault() {
    let processor = BatchProcessor::new(options(4));
    let failing = |retry| {
        processor.process_in_batches(
            &[1, 2, 3],
            None,
            move |_: &&str| retry,
            |batch| if batch.contains(&3) { Err("three") } else { Ok(batch.to_vec()) },
            |_, _| (),
        )
    };
    assert_eq!(failing(Retry::Halved), Err("three"));
    assert_eq!(failing(Retry::Never), Err("three"));
}

#[test]
fn a_break_leaves_the_rest() {
    let processor = BatchProcessor::new(options(4));
    let report = processor
        .for_each_batch(&[0; 10], None, |_: &()| Retry::Never, |_| Ok(ControlFlow::Break(())))
        .unwrap();
    assert_eq!((report.batch_sizes, report.left), (vec![4], 6));
}

proptest! {
    #[test]
    fn no_item_is_lost_or_done_twice(count in 0usize..300, size in 1usize..70, limits in prop::collection::vec(1usize..40, 1..20)) {
        let processor = BatchProcessor::new(options(8));
        let items: Vec<usize> = (0..count).collect();
        let (mut calls, mut heard) = (0, 0);
        let answers = processor.process_in_batches(
            &items,
            Some(size),
            |_: &()| Retry::Halved,
            |batch| {
                calls += 1;
                if batch.len() > limits[calls % limits.len()] { Err(()) } else { Ok(batch.to_vec()) }
            },
            |done, _| heard = done,
        );
        prop_assert_eq!(answers, Ok(items));
        prop_assert_eq!(heard, count);
    }
}
