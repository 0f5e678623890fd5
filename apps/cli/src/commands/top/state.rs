//! What `samovar top` shows.

use std::collections::HashMap;
use std::path::Path;

use samovar::memory::{Memory, MemoryLevel, MemoryThresholds, bytes};
use samovar::resources::live::{Snapshot, running};

use crate::say::printable;

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
            Process { snapshot, processor_share }
        });
        let processes = processes.collect();
        self.before = now;
        State { memory, level, processes }
    }
}

/// What there is to say of a process, a line each.
pub(super) fn lines(snapshot: &Snapshot) -> Vec<String> {
    let work = &snapshot.work;
    let mut lines = Vec::new();
    let unit = printable(&work.unit);
    let mut queue = match work.all {
        0 => format!("{} for", printable(&work.current)),
        all => {
            format!("{} of {all} {unit}, {} failed, {} done before;", work.through, work.failed, work.skipped)
        }
    };
    queue.push_str(&format!(" {} so far", time(snapshot.running_s)));
    if let Some(left_s) = work.left_s {
        queue.push_str(&format!(", {} left at {:.2} {unit}/s", time(left_s), work.per_s));
    }
    lines.push(queue);
    if work.p99_ms > 0.0 {
        lines
            .push(format!("P50 {:.0} ms, P95 {:.0} ms, P99 {:.0} ms", work.p50_ms, work.p95_ms, work.p99_ms));
    }
    let process = &snapshot.memory;
    let (resident, peak) = (bytes(process.resident_bytes), bytes(process.peak_resident_bytes));
    lines.push(format!("memory {resident}, at most {peak}"));
    for device in &snapshot.devices {
        let budget = match device.budget_bytes {
            usize::MAX => String::new(),
            budget => format!(" of {}", bytes(budget)),
        };
        lines.push(format!(
            "{}: {} used, {} reserved{budget}, {} at the peak",
            printable(&device.name),
            bytes(device.used_bytes),
            bytes(device.reserved_bytes),
            bytes(device.peak_bytes),
        ));
    }
    lines.extend(snapshot.caches.iter().map(|cache| format!("{}: {}", printable(&cache.name), cache.stats)));
    if work.all > 0 && !work.current.is_empty() {
        lines.push(printable(&work.current));
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
