//! Work in the order it was asked for, on one thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use samovar_tensor::{Error, Result};

type Work = Box<dyn FnOnce() -> Result<()> + Send>;

pub(super) struct Queue {
    /// `None` while it is dropped.
    sender: Option<Sender<Work>>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    done: AtomicU64,
    /// Counts down to the piece that fails; 0: none.
    failing: AtomicU64,
    /// The first failure; all calls report it until somebody waits.
    failed: Mutex<Option<Error>>,
}

impl Queue {
    pub(super) fn start() -> Self {
        let (sender, receiver) = channel();
        let state = Arc::new(State::default());
        let theirs = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("test device".into());
        let thread = thread.spawn(move || run(&receiver, &theirs)).expect("a thread");
        Self { sender: Some(sender), state, thread: Some(thread) }
    }

    /// Asks for work; reports a failure of work before it.
    pub(super) fn enqueue(&self, work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
        self.report()?;
        self.send(Box::new(work))
    }

    /// Waits for everything that was asked for, but no longer than `most`; leaves failures to be told.
    pub(super) fn rest_for(&self, most: Duration) {
        if let Ok(receiver) = self.mark() {
            let _ = receiver.recv_timeout(most);
        }
    }

    /// Tells when everything that was asked for before is done.
    fn mark(&self) -> Result<Receiver<()>> {
        let (sender, receiver) = channel();
        self.send(Box::new(move || {
            let _ = sender.send(());
            Ok(())
        }))?;
        Ok(receiver)
    }

    /// Waits for everything that was asked for.
    pub(super) fn wait(&self) -> Result<()> {
        self.mark()?.recv().map_err(|_| failure("the thread is gone"))?;
        match self.failed().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn failed(&self) -> MutexGuard<'_, Option<Error>> {
        self.state.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, work: Work) -> Result<()> {
        let sent = self.sender.as_ref().and_then(|sender| sender.send(work).ok());
        sent.ok_or_else(|| failure("the thread is gone"))
    }

    /// The first failure that [`Queue::wait`] has not told yet.
    pub(super) fn report(&self) -> Result<()> {
        match &*self.failed() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    pub(super) fn fail_after(&self, count: u64) {
        self.state.failing.store(count + 1, Ordering::SeqCst);
    }

    pub(super) fn done(&self) -> u64 {
        self.state.done.load(Ordering::SeqCst)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(receiver: &Receiver<Work>, state: &State) {
    while let Ok(work) = receiver.recv() {
        let result = if counts_down(&state.failing) {
            Err(failure("a failure on demand"))
        } else {
            catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(failure("its kernels panicked")))
        };
        state.done.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = result {
            let mut failed = state.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(error);
        }
    }
}

/// Whether a count has just come to its end.
fn counts_down(count: &AtomicU64) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1)
}

pub(super) fn failure(what: &str) -> Error {
    Error::Backend { device: "test device".into(), what: what.into() }
}
