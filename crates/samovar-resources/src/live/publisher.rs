//! Tells others what this process is doing.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use samovar_files::{AtomicFile, make_folder};

use super::running::{Known, file_name};
use super::snapshot::{CacheFigures, Snapshot, Work};
use crate::instruments::Latencies;
use crate::memory::{DeviceMemory, ProcessMemory};

/// What is over sooner is not told of.
const BEFORE_FIRST: Duration = Duration::from_millis(300);

/// Between two files.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many of the last seconds are told one by one.
const RECENT: usize = 60;

/// Over how many of them the rate is taken.
const RATE_OVER: usize = 30;

/// Longest text of a command or an item, in characters.
const MAX_TEXT: usize = 300;

/// Publishes figures of this process, from a thread of its own, until it is dropped.
pub struct Publisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Where the work stands: items that are through, all items, and what is being done.
type Position = Box<dyn Fn() -> (u64, u64, String) + Send>;
type Devices = Box<dyn Fn() -> Vec<DeviceMemory> + Send>;
type Caches = Box<dyn Fn() -> Vec<CacheFigures> + Send>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    has_ended: bool,
    unit: String,
    skipped: u64,
    failed: u64,
    latencies: Option<Latencies>,
    position: Option<Position>,
    devices: Option<Devices>,
    caches: Option<Caches>,
}

impl Publisher {
    /// Begins to publish in `folder`, which is made. `position` is asked about once a second for the items that are through, all
    /// items, and what is being done; what counts as an item is `unit`.
    pub fn start(
        folder: &Path,
        command: String,
        unit: &str,
        position: impl Fn() -> (u64, u64, String) + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let mut state = shared.lock();
        state.unit = unit.to_owned();
        state.position = Some(Box::new(position));
        drop(state);
        let (folder, for_thread) = (folder.to_owned(), Arc::clone(&shared));
        let publish = move || for_thread.publish(&folder, shortened(command));
        let thread = std::thread::Builder::new().name("samovar live".into()).spawn(publish).ok();
        Self { shared, thread }
    }

    /// Tells of devices too.
    pub fn watch_devices(&self, devices: impl Fn() -> Vec<DeviceMemory> + Send + 'static) {
        self.shared.lock().devices = Some(Box::new(devices));
    }

    /// Tells of caches too.
    pub fn watch_caches(&self, caches: impl Fn() -> Vec<CacheFigures> + Send + 'static) {
        self.shared.lock().caches = Some(Box::new(caches));
    }

    /// Items that were done by an earlier run.
    pub fn skipped(&self, count: u64) {
        self.shared.lock().skipped = count;
    }

    /// An item is through, after so much time.
    pub fn item_ended(&self, took: Duration, has_failed: bool) {
        let mut state = self.shared.lock();
        state.failed += u64::from(has_failed);
        state.latencies.get_or_insert_default().record(took);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.lock().has_ended = true;
        self.shared.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes until the end, and leaves nothing behind.
    fn publish(&self, folder: &Path, command: String) {
        let began = Instant::now();
        let Some(own) = Known::own() else { return };
        let path = folder.join(file_name(own.process_id));
        let mut recent = Recent::default();
        let mut wait = BEFORE_FIRST;
        let mut is_there = false;
        while !self.has_ended_within(wait) {
            let mut snapshot = self.snapshot(&mut recent, wait);
            snapshot.command.clone_from(&command);
            (snapshot.process_id, snapshot.process_began_s) = (own.process_id, own.began_s);
            (snapshot.running_s, snapshot.processor_s) = (began.elapsed().as_secs_f64(), own.processor_s());
            // A folder that cannot be made or written is no reason to stop work, and may be there a second later.
            let _ = make_folder(folder).and_then(|()| write(&path, &snapshot));
            is_there = true;
            wait = INTERVAL;
        }
        if is_there {
            let _ = std::fs::remove_file(&path);
        }
    }

    fn has_ended_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while !state.has_ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn snapshot(&self, recent: &mut Recent, since_last: Duration) -> Snapshot {
        let state = self.lock();
        let (through, all, current) = state.position.as_ref().map_or_else(Default::default, |ask| ask());
        recent.add(through.saturating_sub(state.skipped), since_last);
        let left = all.saturating_sub(through);
        let per_s = recent.per_s();
        let quantiles = state.latencies.as_ref().map(Latencies::quantiles).unwrap_or_default();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let work = Work {
            unit: state.unit.clone(),
            all,
            through,
            skipped: state.skipped,
            failed: state.failed,
            left,
            current: shortened(current),
            per_s,
            left_s: (all > 0 && per_s > 0.0).then(|| left as f64 / per_s),
            recent: recent.counts.iter().map(|(count, _)| *count).collect(),
            p50_ms: milliseconds(quantiles.p50),
            p95_ms: milliseconds(quantiles.p95),
            p99_ms: milliseconds(quantiles.p99),
        };
        let written_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        Snapshot {
            written_s,
            memory: ProcessMemory::now(),
            devices: state.devices.as_ref().map_or_else(Vec::new, |ask| ask()),
            caches: state.caches.as_ref().map_or_else(Vec::new, |ask| ask()),
            work,
            ..Snapshot::default()
        }
    }
}

/// Items of the last seconds.
#[derive(Default)]
struct Recent {
    before: u64,
    counts: VecDeque<(u64, Duration)>,
}

impl Recent {
    fn add(&mut self, through: u64, time: Duration) {
        if self.counts.len() == RECENT {
            self.counts.pop_front();
        }
        // Bars may be set back.
        self.counts.push_back((through.saturating_sub(self.before), time));
        self.before = through;
    }

    fn per_s(&self) -> f64 {
        let last = || self.counts.iter().rev().take(RATE_OVER);
        let time: Duration = last().map(|(_, time)| *time).sum();
        let count: u64 = last().map(|(count, _)| *count).sum();
        if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Whole, but not durable: it is of use for a second.
fn write(path: &PathBuf, snapshot: &Snapshot) -> samovar_files::Result<()> {
    let text = serde_json::to_vec(snapshot).unwrap_or_default();
    let mut file = AtomicFile::create(path)?;
    file.write_all(&text).map_err(|error| samovar_files::Error::io(path, error))?;
    file.commit_unsynced()
}
