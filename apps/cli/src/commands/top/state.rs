//! What `samovar top` shows.

use std::collections::HashMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use samovar::memory::{Memory, MemoryLevel, MemoryThresholds, bytes};
use samovar::resources::live::{Snapshot, running};

use crate::say::one_line;

/// What there is at one moment.
pub(super) struct State {
    /// Of the machine.
    pub(super) memory: Memory,
    /// How full that is.
    pub(super) level: MemoryLevel,
    /// Each samovar, the longest running first.
    pub(super) processes: Vec<Process>,
}

/// A process, and what it does between two looks.
pub(super) struct Process {
    /// What it tells.
    pub(super) snapshot: Snapshot,
    /// Share of one core, 0 for none; `None` at the first look.
    pub(super) processor_share: Option<f64>,
    /// How long ago it told that, in seconds.
    pub(super) age_s: f64,
}

/// A process tells of itself once a second; one that is silent for longer does not run.
const SILENT_S: f64 = 4.0;

impl Process {
    /// What is said of one that has not told anything for long: it is stopped, or the machine does not get round to it.
    pub(super) fn silence(&self) -> Option<String> {
        (self.age_s >= SILENT_S).then(|| format!("not heard of for {}", time(self.age_s)))
    }
}

/// Looks, and remembers the look before.
#[derive(Default)]
pub(super) struct Watcher {
    before: HashMap<u32, (f64, f64)>,
}

impl Watcher {
    /// All there is now.
    pub(super) fn look(&mut self, folder: &Path) -> State {
        let memory = Memory::now();
        let share = memory.used_bytes() as f64 / memory.total_bytes.max(1) as f64;
        let level = MemoryThresholds::default().level_at(share);
        let snapshots = running(folder);
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let mut now = HashMap::new();
        let processes = snapshots.into_iter().map(|snapshot| {
            let figures = (snapshot.written_s, snapshot.processor_s);
            let before = self.before.get(&snapshot.process_id);
            // What was not written anew says nothing new.
            let share = before.filter(|(written_s, _)| figures.0 > *written_s);
            let processor_share = share.map(|(written_s, processor_s)| {
                ((figures.1 - processor_s) / (figures.0 - written_s)).max(0.0)
            });
            now.insert(snapshot.process_id, figures);
            let age_s = (now_s - snapshot.written_s).max(0.0);
            Process { snapshot, processor_share, age_s }
        });
        let processes = processes.collect();
        self.before = now;
        State { memory, level, processes }
    }
}

/// Its queue and its time, in two lines or one.
pub(super) fn queue_lines(process: &Process) -> Vec<String> {
    let (snapshot, work) = (&process.snapshot, &process.snapshot.work);
    let unit = one_line(&work.unit);
    let so_far = time(snapshot.running_s);
    if work.all == 0 {
        return vec![format!("{} for {so_far} so far", one_line(&work.current))];
    }
    let (through, all) = (work.through, work.all);
    let queue = format!("{through} of {all} {unit}, {} failed, {} done before", work.failed, work.skipped);
    // Of one that is silent nobody knows.
    let left_s = work.left_s.filter(|_| process.silence().is_none());
    let left = left_s.map(|left_s| format!(", {} left at {:.2} {unit}/s", time(left_s), work.per_s));
    vec![queue, format!("{so_far} so far{}", left.unwrap_or_default())]
}

/// What there is to say of a process, a line each, of which none but those with names is longer than 78 characters.
pub(super) fn lines(process: &Process) -> Vec<String> {
    let (snapshot, work) = (&process.snapshot, &process.snapshot.work);
    let mut lines = queue_lines(process);
    if work.p99_ms > 0.0 {
        lines
            .push(format!("P50 {:.0} ms, P95 {:.0} ms, P99 {:.0} ms", work.p50_ms, work.p95_ms, work.p99_ms));
    }
    let memory = &snapshot.memory;
    let (resident, peak) = (bytes(memory.resident_bytes), bytes(memory.peak_resident_bytes));
    lines.push(format!("memory {resident}, at most {peak}"));
    for device in &snapshot.devices {
        let budget = match device.budget_bytes {
            usize::MAX => String::new(),
            budget => format!(" of {}", bytes(budget)),
        };
        lines.push(format!(
            "{}: {} used{budget}, {} reserved, peak {}",
            one_line(&device.name),
            bytes(device.used_bytes),
            bytes(device.reserved_bytes),
            bytes(device.peak_bytes),
        ));
    }
    for cache in &snapshot.caches {
        let stats = &cache.stats;
        let budget = match stats.budget_bytes {
            usize::MAX => String::new(),
            budget => format!(" of {}", bytes(budget)),
        };
        lines.push(format!(
            "{}: {} entries, {}{budget}; {} hits, {} misses, {:.0} %",
            one_line(&cache.name),
            stats.entries,
            bytes(stats.memory_bytes),
            stats.hits(),
            stats.misses,
            100.0 * stats.hit_rate()
        ));
    }
    if work.all > 0 && !work.current.is_empty() {
        lines.push(one_line(&work.current));
    }
    lines
}

/// `1:02:03`, `4:05`, `6 s`.
pub(super) fn time(seconds: f64) -> String {
    // What is longer than a century is no time that anybody waits.
    let all = seconds.clamp(0.0, 3e9) as u64;
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}
