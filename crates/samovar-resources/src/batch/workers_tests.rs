use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};

use super::*;

const TWO: WorkerOptions = WorkerOptions { workers: 2, computing: 1 };

#[derive(Debug, PartialEq)]
enum Failure {
    Memory,
    Item,
}

fn retry(error: &Failure) -> Retry {
    if *error == Failure::Memory { Retry::Halved } else { Retry::Never }
}

/// Results by number, and the report.
fn run(
    workers: &Workers,
    count: usize,
    work: impl Fn(&Worker, usize) -> Result<usize, Failure> + Sync,
) -> (Vec<Option<Result<usize, Failure>>>, WorkersReport) {
    let items: Vec<usize> = (0..count).collect();
    let mut results: Vec<_> = (0..count).map(|_| None).collect();
    let report = workers.run(
        &items,
        || true,
        retry,
        |worker, &item| work(worker, item),
        |events| {
            for event in events {
                if let ItemEvent::Ended(number, _, result) = event {
                    assert!(results[number].replace(result).is_none(), "{number} ended twice");
                }
            }
            ControlFlow::Continue(())
        },
    );
    (results, report)
}

#[test]
fn workers_overlap_and_one_computes_at_a_time() {
    let (both, computing) = (Barrier::new(2), AtomicUsize::new(0));
    let (results, report) = run(&Workers::new(TWO), 20, |worker, item| {
        // Two are here at once, or this waits for ever.
        worker.stage("read", || both.wait());
        worker.compute("compute", || {
            assert_eq!(computing.fetch_add(1, Ordering::SeqCst), 0);
            thread::sleep(Duration::from_millis(1));
            computing.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(item * item)
    });
    assert!(results.into_iter().enumerate().all(|(item, result)| result == Some(Ok(item * item))));
    let stages: Vec<_> = report.stages.iter().map(|stage| (stage.name, stage.times)).collect();
    assert_eq!((stages, report.left, report.halved), (vec![("read", 20), ("compute", 20)], 0, 0));
}

#[test]
fn an_item_that_runs_out_of_memory_beside_others_is_done_again_alone() {
    let under_way = AtomicUsize::new(0);
    let workers = Workers::new(WorkerOptions { workers: 8, computing: 8 });
    let (results, report) = run(&workers, 40, |_, item| {
        let beside = under_way.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(2));
        under_way.fetch_sub(1, Ordering::SeqCst);
        match item {
            7 => Err(Failure::Item),
            21 => Err(Failure::Memory),
            _ if beside >= 3 => Err(Failure::Memory),
            _ => Ok(item),
        }
    });
    for (item, result) in results.into_iter().enumerate() {
        let expected = match item {
            7 => Err(Failure::Item),
            // Not even alone.
            21 => Err(Failure::Memory),
            _ => Ok(item),
        };
        assert_eq!(result, Some(expected), "{item}");
    }
    assert!(report.halved >= 2 && report.left == 0, "{report:?}");
}

#[test]
fn a_stop_finishes_what_is_under_way() {
    let (begun, may_begin) = (AtomicUsize::new(0), AtomicBool::new(true));
    let items: Vec<usize> = (0..100).collect();
    let mut ended = 0;
    let report = Workers::new(TWO).run(
        &items,
        || may_begin.load(Ordering::SeqCst),
        retry,
        |_, &item| {
            begun.fetch_add(1, Ordering::SeqCst);
            Ok(item)
        },
        |events| {
            ended += events.iter().filter(|event| matches!(event, ItemEvent::Ended(..))).count();
            if ended >= 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    );
    assert_eq!((begun.load(Ordering::SeqCst), report.left), (ended, 100 - ended));
    assert!(ended >= 5);
    may_begin.store(false, Ordering::SeqCst);
    let none = Workers::new(TWO).run(
        &items,
        || may_begin.load(Ordering::SeqCst),
        retry,
        |_, &item| Ok(item),
        |_| ControlFlow::Continue(()),
    );
    assert_eq!(none.left, 100);
}

#[test]
fn what_every_item_would_fail_by_ends_the_work_at_once() {
    let items: Vec<usize> = (0..100).collect();
    let one = Workers::new(WorkerOptions { workers: 1, computing: 1 });
    let work = |_: &Worker, &item: &usize| if item == 3 { Err(Failure::Item) } else { Ok(item) };
    let report = one.run(&items, || true, |_| Retry::Stop, work, |_| ControlFlow::Continue(()));
    assert_eq!(report.left, 96);
}

#[test]
fn fewer_are_under_way_while_memory_is_scarce() {
    use crate::memory::{Memory, MemoryOptions, ProcessMemory};
    let full = || {
        let system = Memory { total_bytes: 100, available_bytes: 2, ..Memory::default() };
        (system, ProcessMemory::default())
    };
    let memory = Arc::new(MemoryManager::with_probe(MemoryOptions::default(), full).unwrap());
    let (told, lines) = mpsc::channel();
    let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let workers = Workers::new(WorkerOptions { workers: 4, computing: 4 }).with_memory(&memory);
    let (results, _) = run(&workers, 20, |_, item| {
        most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(1));
        under_way.fetch_sub(1, Ordering::SeqCst);
        told.send(item).unwrap();
        Ok(item)
    });
    assert!(results.iter().all(Option::is_some));
    assert_eq!((most.into_inner(), lines.try_iter().count()), (1, 20));
}
