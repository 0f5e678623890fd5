//! The threads of one backend instance, and their scratch memory.
//!
//! An operator is cut into tasks; threads take the next task from a counter until none is left, so an uneven machine
//! or uneven tasks balance themselves. Work is handed over through one mailbox per worker: there is no shared queue
//! and no shared lock on the way, and only as many workers wake as there are tasks.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use crate::level::CpuError;
use crate::rehearsal::Rehearsal;
use crate::scratch::Scratch;

/// Work below this many cycles (roughly) stays on the calling thread: handing it over would take as long.
const WORTH_SHARING_CYCLES: u64 = 60_000;

/// Looks into an empty mailbox before the worker sleeps. Operators follow each other within microseconds; sleeping
/// and waking takes several.
const SPINS: usize = 2_000;

/// Worker threads; the calling thread is one of the team.
pub(crate) struct Threads {
    /// Started when there is work to share: who only plans has no use for them.
    workers: OnceLock<Vec<Worker>>,
    /// One for every thread, the caller's first. Locked once per operator and thread, never contended by workers.
    scratch: Vec<Mutex<Scratch>>,
    /// Held by the caller whose operator the workers run.
    turn: Mutex<()>,
    /// Instead of sharing work.
    pub(crate) rehearsal: Option<Rehearsal>,
}

struct Worker {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
}

/// On its own pair of cache lines, so that workers do not slow each other down.
#[repr(align(128))]
struct Mailbox {
    /// The next job, or null. The sender keeps the job alive until it is done.
    job: AtomicPtr<Job<'static>>,
    stop: AtomicBool,
}

/// One operator, on the stack of the thread that called it.
struct Job<'a> {
    run: &'a (dyn Fn(usize) + Sync),
    /// Who takes part besides the caller.
    helpers: &'a [Worker],
    /// Workers that have not finished.
    pending: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    caller: Thread,
}

impl Threads {
    pub(crate) fn new(threads: usize) -> Self {
        let scratch = (0..threads).map(|_| Mutex::default()).collect();
        Self { workers: OnceLock::new(), scratch, turn: Mutex::new(()), rehearsal: None }
    }

    /// Starts all workers and allocates all scratch memory now, where a refusal can still be reported.
    pub(crate) fn reserve(&self) -> Result<(), CpuError> {
        self.scratch.iter().try_for_each(|scratch| lock(scratch).reserve())?;
        let _turn = lock(&self.turn);
        if self.workers.get().is_none() {
            let mut workers = Vec::new();
            let started = self.start(&mut workers);
            // Dropped workers end.
            started?;
            let _ = self.workers.set(workers);
        }
        Ok(())
    }

    /// Starts one worker after the other, until the system refuses one.
    fn start(&self, workers: &mut Vec<Worker>) -> Result<(), CpuError> {
        for index in 1..self.count() {
            let mailbox = Arc::new(Mailbox { job: AtomicPtr::new(null_mut()), stop: AtomicBool::new(false) });
            let theirs = Arc::clone(&mailbox);
            let builder = thread::Builder::new().name(format!("samovar-cpu-{index}"));
            let thread = Some(builder.spawn(move || work(&theirs, index))?);
            workers.push(Worker { mailbox, thread });
        }
        Ok(())
    }

    /// Threads in the team, the caller included.
    pub(crate) fn count(&self) -> usize {
        self.scratch.len()
    }

    /// Runs `task(0), …, task(tasks - 1)`, each with the scratch memory of the thread it runs on.
    ///
    /// `cycles` is about what all tasks together take on one thread; little work is not shared.
    pub(crate) fn run(&self, tasks: usize, cycles: u64, task: impl Fn(usize, &mut Scratch) + Sync) {
        if let Some(rehearsal) = &self.rehearsal {
            let mut scratch = lock(&self.scratch[0]);
            return rehearsal.run(tasks, cycles >= WORTH_SHARING_CYCLES, |index| task(index, &mut scratch));
        }
        let next = AtomicUsize::new(0);
        let on_thread = |thread: usize| {
            let mut scratch = lock(&self.scratch[thread]);
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= tasks {
                    break;
                }
                task(index, &mut scratch);
            }
        };
        let helpers = if cycles < WORTH_SHARING_CYCLES { 0 } else { tasks.min(self.count()) };
        match helpers.saturating_sub(1) {
            0 => on_thread(0),
            helpers => self.share(helpers, &on_thread),
        }
    }

    /// Gives every task an item of its own, as a part of a result.
    pub(crate) fn run_each<T: Send>(
        &self,
        items: impl Iterator<Item = T>,
        cycles: u64,
        task: impl Fn(usize, T) + Sync,
    ) {
        let items: Vec<Mutex<Option<T>>> = items.map(|item| Mutex::new(Some(item))).collect();
        self.run(items.len(), cycles, |index, _| {
            if let Some(item) = lock(&items[index]).take() {
                task(index, item);
            }
        });
    }

    fn share(&self, helpers: usize, run: &(dyn Fn(usize) + Sync)) {
        let turn = lock(&self.turn);
        // Fewer workers than wanted do the same work; they take the next task until none is left.
        let workers = self.workers.get_or_init(|| {
            let mut workers = Vec::new();
            let _ = self.start(&mut workers);
            workers
        });
        let helpers = helpers.min(workers.len());
        let job = Job {
            run,
            helpers: &workers[..helpers],
            pending: AtomicUsize::new(helpers),
            panic: Mutex::new(None),
            caller: thread::current(),
        };
        job.pass_on(0);
        // Workers hold a pointer into this stack frame: whatever happens here, wait for them.
        let own = catch_unwind(AssertUnwindSafe(|| run(0)));
        let mut spins = 0;
        while job.pending.load(Ordering::Acquire) > 0 {
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                thread::park();
            }
        }
        drop(turn);
        let theirs = lock(&job.panic).take();
        if let Some(panic) = own.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

impl Job<'_> {
    /// Hands the job to two more threads. Waking a sleeper takes longer than a small task, so the woken wake the others.
    fn pass_on(&self, thread: usize) {
        let address = std::ptr::from_ref(self).cast_mut().cast::<Job<'static>>();
        // The caller is thread 0, and worker `i` is thread `i + 1`.
        for worker in self.helpers.iter().skip(2 * thread).take(2) {
            worker.mailbox.job.store(address, Ordering::Release);
            worker.thread.as_ref().expect("workers live as long as the pool").thread().unpark();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.mailbox.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A worker catches the panics of its jobs, so it ends in good order.
            let _ = thread.join();
        }
    }
}

/// The life of a worker.
fn work(mailbox: &Mailbox, index: usize) {
    let mut spins = 0;
    loop {
        let job = mailbox.job.swap(null_mut(), Ordering::Acquire);
        if job.is_null() {
            if mailbox.stop.load(Ordering::Acquire) {
                return;
            }
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                thread::park();
            }
            continue;
        }
        spins = 0;
        // SAFETY: the sender waits until `pending` is 0, and this thread counts down last of all.
        let job = unsafe { &*job };
        job.pass_on(index);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (job.run)(index))) {
            *lock(&job.panic) = Some(panic);
        }
        // After the count the job may be gone, so the handle is taken before.
        let caller = job.caller.clone();
        if job.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            caller.unpark();
        }
    }
}

/// A panicking task leaves scratch memory in no particular state, which is its normal state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "threads_tests.rs"]
mod tests;
