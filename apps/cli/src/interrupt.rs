//! Ctrl-C that keeps what is finished: the first one asks the work to stop, the second ends the program.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Catches Ctrl-C from now on; commands over many images call this before work that is worth finishing.
pub fn catch() {
    catch_saying("stopping after the image at hand");
}

/// The same for other work: `what` the first Ctrl-C does.
pub fn catch_saying(what: &'static str) {
    // Without a handler the work simply ends at once; what was written is whole either way.
    let _ = ctrlc::set_handler(move || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(1);
        }
        say!("\n{what}; press Ctrl-C again to stop at once");
    });
}

/// Whether Ctrl-C was pressed.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
