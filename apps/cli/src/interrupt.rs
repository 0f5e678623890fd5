//! Signals that ask for an end: work over many images keeps what is finished, and benches leave neither processes nor folders
//! behind.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

static ASKED: AtomicBool = AtomicBool::new(false);

/// What must not outlive this process.
static OURS: Mutex<Ours> = Mutex::new(Ours { child: None, folders: Vec::new() });

struct Ours {
    child: Option<u32>,
    folders: Vec<PathBuf>,
}

fn ours() -> MutexGuard<'static, Ours> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Catches Ctrl-C, and the system's requests to end, from now on; commands over many images call this before work that is worth
/// finishing. The first asks the work to stop, the second ends the program.
pub fn catch() {
    catch_saying("stopping after the image at hand");
}

/// The same for other work: `what` the first Ctrl-C does.
pub fn catch_saying(what: &'static str) {
    // Without a handler the work simply ends at once; what was written is whole either way.
    let ask = move |again: &str| {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(1);
        }
        say!("\n{what}; {again} to stop at once");
    };
    if ctrlc::set_handler(move || ask("press Ctrl-C again")).is_ok() {
        on_request_to_end(move |_| ask("ask again"));
    }
}

/// A file that grows over what this process may write (`ulimit -f`) is an error of that file, not the end of the process.
pub fn outlive_limits_of_files() {
    #[cfg(unix)]
    {
        // Without it the process ends at once; what was written is whole either way.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Default::default());
    }
}

/// Catches Ctrl-C and the system's requests to end, for work with a [`Child`] and a [`Folder`]: both are gone when it ends.
pub fn catch_all() {
    let end = || {
        let is_first = !ASKED.swap(true, Ordering::SeqCst);
        let ours = ours();
        if let Some(child) = ours.child {
            kill(child);
        }
        // The work sees that it was asked, and its folders go with it; the second time nobody waits for that.
        if !is_first {
            for folder in &ours.folders {
                let _ = std::fs::remove_dir_all(folder);
            }
            std::process::exit(1);
        }
    };
    let _ = ctrlc::set_handler(end);
    on_request_to_end(move |_| end());
}

/// Calls `end` with the number of each signal that asks this process to end, and that it would not survive otherwise: SIGTERM, and
/// SIGHUP, when a terminal is closed, unless whoever started it said that it shall live on (`nohup`). Ctrl-C is not among them.
pub fn on_request_to_end(end: impl Fn(i32) + Send + 'static) {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGTERM};
        let signals = if is_ignored(SIGHUP) { vec![SIGTERM] } else { vec![SIGTERM, SIGHUP] };
        // Without it the process ends at once.
        let Ok(mut iterator) = signal_hook::iterator::Signals::new(&signals) else { return };
        if std::thread::Builder::new().spawn(move || iterator.forever().for_each(end)).is_err() {
            // No thread to tidy up on.
            for signal in signals {
                let at_once = Arc::new(AtomicBool::new(true));
                let _ = signal_hook::flag::register_conditional_shutdown(signal, 1, at_once);
            }
        }
    }
    #[cfg(not(unix))]
    drop(end);
}

/// Whether a signal was set to be ignored when this process began, where the system tells.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(unix)]
fn kill(child: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(child) = i32::try_from(child).ok().and_then(Pid::from_raw) {
        let _ = kill_process(child, Signal::KILL);
    }
}

/// Consoles end all their processes.
#[cfg(not(unix))]
fn kill(_: u32) {}

/// Whether an end was asked for.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// An error once it was.
pub fn check() -> Result<()> {
    if asked() { Err(anyhow!("stopped")) } else { Ok(()) }
}

/// A process that is killed when an end is asked for, while this lives; one at a time.
pub struct Child;

impl Child {
    /// The process of this number.
    pub fn watch(process_id: u32) -> Self {
        let mut ours = ours();
        ours.child = Some(process_id);
        // Between its start and now.
        if asked() {
            kill(process_id);
        }
        Self
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        ours().child = None;
    }
}

/// A folder of temporary files, which goes with this value, and with the process however often it is asked to end.
pub struct Folder(TempDir);

impl Folder {
    /// A new one in `parent`.
    pub fn new_in(parent: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("samovar-bench-").tempdir_in(parent);
        let folder = folder.with_context(|| format!("a temporary folder in \"{}\"", parent.display()))?;
        ours().folders.push(folder.path().to_owned());
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Removed first: until then an end that is asked for again removes what is left.
        let _ = std::fs::remove_dir_all(self.0.path());
        ours().folders.retain(|folder| folder != self.0.path());
    }
}
