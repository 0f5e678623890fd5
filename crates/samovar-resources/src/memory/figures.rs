//! What this machine, this process and its devices have.

use std::fmt;

use serde::{Deserialize, Serialize};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

use super::units::bytes;

/// Memory of this machine, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Memory of the machine, or of the container if that has less.
    pub total_bytes: usize,
    /// What is left of it for new work.
    pub available_bytes: usize,
    /// Whether it is a container's limit.
    pub is_container: bool,
}

impl Memory {
    /// The state of things now.
    pub fn now() -> Self {
        let mut system = System::new();
        system.refresh_memory();
        let machine = Self {
            total_bytes: clamp(system.total_memory()),
            available_bytes: clamp(system.available_memory()),
            is_container: false,
        };
        match system.cgroup_limits() {
            Some(container) if clamp(container.total_memory) < machine.total_bytes => Self {
                total_bytes: clamp(container.total_memory),
                available_bytes: clamp(container.free_memory)
                    .saturating_add(file_cache_bytes())
                    .min(clamp(container.total_memory))
                    .min(machine.available_bytes),
                is_container: true,
            },
            _ => machine,
        }
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> usize {
        self.total_bytes.saturating_sub(self.available_bytes)
    }
}

/// Memory of this process, in bytes; zeros where the system does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessMemory {
    /// Resident: what is in the machine's memory (RSS).
    pub resident_bytes: usize,
    /// All addresses, also those that nothing stands behind (VMS).
    pub virtual_bytes: usize,
    /// Most that was resident at once.
    pub peak_resident_bytes: usize,
}

impl ProcessMemory {
    /// The state of things now.
    pub fn now() -> Self {
        let Ok(id) = sysinfo::get_current_pid() else { return Self::default() };
        let mut system = System::new();
        let kind = ProcessRefreshKind::nothing().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), false, kind);
        let (resident, all) = system.process(id).map_or((0, 0), |own| (own.memory(), own.virtual_memory()));
        let (resident_bytes, virtual_bytes) = (clamp(resident), clamp(all));
        let peak_resident_bytes = peak_resident_bytes().max(resident_bytes);
        Self { resident_bytes, virtual_bytes, peak_resident_bytes }
    }
}

/// Memory of one device's pool, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceMemory {
    /// The device's name.
    pub name: String,
    /// Bytes of what lives.
    pub used_bytes: usize,
    /// Bytes taken from the device, those kept for the next request included.
    pub reserved_bytes: usize,
    /// Most that lived at once.
    pub peak_bytes: usize,
    /// Most that may be taken; `usize::MAX` for no bound.
    pub budget_bytes: usize,
}

impl DeviceMemory {
    /// Share of the budget that is in use, 0 to 1; 0 without one. What a pool keeps for the next request it gives up by
    /// itself before it refuses one.
    pub fn share(&self) -> f64 {
        share(self.used_bytes, self.budget_bytes)
    }
}

/// All figures at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Milliseconds since the manager was made.
    pub at_ms: u64,
    /// The machine, or its container.
    pub system: Memory,
    /// This process.
    pub process: ProcessMemory,
    /// The devices that are watched.
    pub devices: Vec<DeviceMemory>,
}

impl MemoryStats {
    /// Share of the machine, or its container, that is in use, 0 to 1.
    pub fn system_share(&self) -> f64 {
        share(self.system.used_bytes(), self.system.total_bytes)
    }

    /// Share of the fullest of machine and devices, 0 to 1.
    pub fn fullest_share(&self) -> f64 {
        self.devices.iter().map(DeviceMemory::share).fold(self.system_share(), f64::max)
    }
}

impl fmt::Display for MemoryStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |used: usize, total: usize| {
            let percent = 100.0 * share(used, total);
            if total == usize::MAX {
                format!("{}", bytes(used))
            } else {
                format!("{} of {} ({percent:.1} %)", bytes(used), bytes(total))
            }
        };
        let Self { system, process, .. } = self;
        let whose = if system.is_container { "container" } else { "machine" };
        writeln!(f, "{whose}: {}", of(system.used_bytes(), system.total_bytes))?;
        write!(
            f,
            "process: RSS {}, at most {} so far, VMS {}",
            bytes(process.resident_bytes),
            bytes(process.peak_resident_bytes),
            bytes(process.virtual_bytes)
        )?;
        for device in &self.devices {
            write!(
                f,
                "\n{}: {} in use, reserved {}, at most {} so far",
                device.name,
                bytes(device.used_bytes),
                of(device.reserved_bytes, device.budget_bytes),
                bytes(device.peak_bytes)
            )?;
        }
        Ok(())
    }
}

/// 0 where the whole is not known, or has no end.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 || whole == usize::MAX { 0.0 } else { part as f64 / whole as f64 }
}

/// What the container's limit counts as taken and the system gives back when it is needed: pages of files. Without them a
/// container that has read many pictures looks full.
fn file_cache_bytes() -> usize {
    // Of control groups of the second version and of the first.
    let groups = [
        ("/sys/fs/cgroup/memory.stat", ["active_file", "inactive_file"]),
        ("/sys/fs/cgroup/memory/memory.stat", ["total_active_file", "total_inactive_file"]),
    ];
    let of_group = |(path, names): (&str, [&str; 2])| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(sum_of(&text, &names))
    };
    groups.into_iter().find_map(of_group).unwrap_or(0)
}

/// Sum of some numbers of a table of names and numbers, one a line.
fn sum_of(table: &str, names: &[&str]) -> usize {
    let numbers = table.lines().filter_map(|line| line.split_once(' '));
    let meant = numbers.filter(|(name, _)| names.contains(name));
    meant.filter_map(|(_, number)| number.trim().parse::<usize>().ok()).fold(0, usize::saturating_add)
}

fn clamp(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Most memory this process had resident at once, from its start; 0 where the system does not say.
pub fn peak_resident_bytes() -> usize {
    // VmHWM starts anew at exec; getrusage's maximum is inherited from whoever started the process.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.map_or(0, |kib: usize| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_files_in_a_container_looked_taken() {
        let table =
            "anon 100\nfile 900\nactive_file 300\ninactive_file 500\ninactive_anon 7\nactive_file_x 9\n";
        assert_eq!(sum_of(table, &["active_file", "inactive_file"]), 800);
        assert_eq!(sum_of("active_file much\n\nactive_file", &["active_file"]), 0);
    }
}
