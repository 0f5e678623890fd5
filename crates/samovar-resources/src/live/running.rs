//! Reads what processes of this machine publish.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::snapshot::Snapshot;

/// Largest file that is read: a snapshot has some kilobytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Most files that are looked at.
const MAX_FILES: usize = 4096;

/// Most devices, caches and seconds of a snapshot that are believed.
const MAX_LIST: usize = 256;

/// Start times of processes are reckoned from the clock, which may be set right by some.
const CLOCK_SLACK_S: u64 = 5;

/// Files of other machines that share the folder are theirs, unless they lie for so long.
const FOREIGN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

const ENDING: &str = ".live.json";

/// What the system knows of a process.
pub(super) struct Known {
    pub(super) process_id: u32,
    pub(super) began_s: u64,
}

impl Known {
    pub(super) fn own() -> Option<Self> {
        let id = sysinfo::get_current_pid().ok()?;
        Some(Self { process_id: id.as_u32(), began_s: began_s(&mut System::new(), id)? })
    }

    /// Processor time of the process so far, in seconds of one core.
    pub(super) fn processor_s(&self) -> f64 {
        let id = Pid::from_u32(self.process_id);
        let mut system = System::new();
        let kind = ProcessRefreshKind::nothing().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), false, kind);
        system.process(id).map_or(0.0, |process| process.accumulated_cpu_time() as f64 * 1e-3)
    }
}

fn began_s(system: &mut System, id: Pid) -> Option<u64> {
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), true, ProcessRefreshKind::nothing());
    let process = system.process(id)?;
    let is_over = matches!(process.status(), sysinfo::ProcessStatus::Zombie | sysinfo::ProcessStatus::Dead);
    (!is_over).then(|| process.start_time())
}

/// The name of the file of a process: machines may share a folder, and number their processes alike.
pub(super) fn file_name(process_id: u32) -> String {
    format!("{}{process_id}{ENDING}", machine())
}

/// The start of names of this machine's files.
fn machine() -> String {
    let name = System::host_name().unwrap_or_default();
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    format!("{plain}.")
}

/// All processes that publish in `folder` and are still there, the longest running first. Files of those that are gone, and what
/// is no such file under such a name, are removed. Takes bounded memory and time, whatever lies there.
pub fn running(folder: &Path) -> Vec<Snapshot> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let machine = machine();
    let mut system = System::new();
    let mut found = Vec::new();
    for entry in entries.flatten().take(MAX_FILES) {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.strip_suffix(ENDING)) else { continue };
        // Others are opened neither: pipes would wait, links may lead anywhere.
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        let Some(id) = process.strip_prefix(&machine).and_then(|id| id.parse::<u32>().ok()) else {
            if is_old(&path) {
                let _ = fs::remove_file(&path);
            }
            continue;
        };
        let snapshot = read(&path);
        // Gone between listing and reading.
        if snapshot.is_none() && !path.exists() {
            continue;
        }
        let is_running = |snapshot: &Snapshot| {
            let began_s = began_s(&mut system, Pid::from_u32(id));
            snapshot.process_id == id
                && began_s.is_some_and(|began| began.abs_diff(snapshot.process_began_s) <= CLOCK_SLACK_S)
        };
        match snapshot.filter(is_running) {
            Some(snapshot) => found.push(snapshot),
            None => {
                let _ = fs::remove_file(&path);
            }
        }
    }
    // What was killed while it wrote.
    samovar_files::sweep(folder);
    found.sort_by(|one, other| other.running_s.total_cmp(&one.running_s));
    found
}

fn is_old(path: &Path) -> bool {
    let age =
        fs::metadata(path).and_then(|found| found.modified()).map(|at| SystemTime::now().duration_since(at));
    matches!(age, Ok(Ok(age)) if age > FOREIGN_FOR)
}

fn read(path: &Path) -> Option<Snapshot> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return None;
    }
    let mut snapshot: Snapshot = serde_json::from_slice(&text).ok()?;
    snapshot.devices.truncate(MAX_LIST);
    snapshot.caches.truncate(MAX_LIST);
    snapshot.work.recent.truncate(MAX_LIST);
    Some(snapshot)
}
