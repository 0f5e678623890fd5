//! Waiting that can be stopped: for time to pass, and for what a server makes others wait for.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::error::Result;

/// How often a wait asks whether to go on.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Asked during a wait; an error ends it.
pub(super) type Ask<'a> = dyn FnMut() -> Result<()> + 'a;

/// Lets time pass.
pub(super) fn pause(duration: Duration, ask: &mut Ask<'_>) -> Result<()> {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        ask()?;
        thread::sleep(POLL_INTERVAL.min(duration));
    }
    Ok(())
}

/// The next thing from another thread; `None` when it has ended.
pub(super) fn receive<T>(from: &Receiver<T>, ask: &mut Ask<'_>) -> Result<Option<T>> {
    loop {
        match from.recv_timeout(POLL_INTERVAL) {
            Ok(thing) => return Ok(Some(thing)),
            Err(RecvTimeoutError::Timeout) => ask()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// Runs what may block for long on a thread of its own. A wait that is ended leaves it to its own limits of time.
pub(super) fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    ask: &mut Ask<'_>,
) -> Result<Option<T>> {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(work()));
    receive(&receiver, ask)
}
