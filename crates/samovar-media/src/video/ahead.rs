//! A thread that works ahead of its reader, by a few frames and no more.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use crate::error::{MediaError, MediaErrorKind, Result};

/// Frames that are decoded before they are asked for: so many wait, one of them in the hands of the thread.
pub(super) const FRAMES_AHEAD: usize = 4;

/// What a thread makes, in order. Dropping it ends the thread, which may first finish what it is at.
#[derive(Debug)]
pub(super) struct Ahead<T> {
    made: Option<Receiver<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Ahead<T> {
    /// Calls `make` again and again until it gives `None`, or nobody wants more.
    pub(super) fn new(mut make: impl FnMut() -> Option<T> + Send + 'static) -> Result<Self> {
        let (sender, made) = sync_channel(FRAMES_AHEAD - 1);
        let work = move || while make().is_some_and(|value| sender.send(value).is_ok()) {};
        let thread = thread::Builder::new().name("samovar-frames".into()).spawn(work).map_err(|error| {
            let what = format!("the system gives no thread for decoding: {error}");
            MediaError::new(MediaErrorKind::OutOfMemory, what).caused_by(error)
        })?;
        Ok(Self { made: Some(made), thread: Some(thread) })
    }

    /// The next thing made, or `None` behind the last.
    pub(super) fn next(&mut self) -> Option<T> {
        self.made.as_ref()?.recv().ok()
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        drop(self.made.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was told of by the hook already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_than_a_few_are_made_ahead_and_none_after_the_end() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&begun);
        let mut ahead = Ahead::new(move || Some(counter.fetch_add(1, Ordering::SeqCst))).unwrap();
        assert_eq!((ahead.next(), ahead.next()), (Some(0), Some(1)));
        thread::sleep(Duration::from_millis(100));
        assert!(begun.load(Ordering::SeqCst) <= 2 + FRAMES_AHEAD, "{begun:?}");
        drop(ahead);
        let ended_at = begun.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
        assert_eq!(begun.load(Ordering::SeqCst), ended_at);
    }

    #[test]
    fn what_was_made_before_the_end_is_given() {
        let mut left = 9;
        let mut ahead = Ahead::new(move || {
            left -= 1;
            (left > 0).then_some(left)
        })
        .unwrap();
        let given: Vec<i32> = std::iter::from_fn(|| ahead.next()).collect();
        assert_eq!(given, [8, 7, 6, 5, 4, 3, 2, 1]);
    }
}
