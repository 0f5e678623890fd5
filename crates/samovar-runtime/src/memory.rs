//! What this process and this machine have.

use std::fmt;

/// Memory of this process and this machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Memory of the machine, or of the container if that has less.
    pub total_bytes: usize,
    /// What is left of it for new work.
    pub available_bytes: usize,
}

impl Memory {
    /// The state of things now.
    pub fn now() -> Self {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let machine = Self {
            total_bytes: clamp(system.total_memory()),
            available_bytes: clamp(system.available_memory()),
        };
        match system.cgroup_limits() {
            Some(container) if clamp(container.total_memory) < machine.total_bytes => Self {
                total_bytes: clamp(container.total_memory),
                available_bytes: clamp(container.free_memory).min(machine.available_bytes),
            },
            _ => machine,
        }
    }
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

/// A number of bytes for people: `12.3 MB`, in powers of 1000.
pub fn bytes(count: usize) -> impl fmt::Display {
    struct Bytes(usize);
    impl fmt::Display for Bytes {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut value = self.0 as f64;
            for unit in ["B", "kB", "MB", "GB"] {
                if value < 999.5 {
                    let digits = if unit == "B" || value >= 100.0 { 0 } else { 1 };
                    return write!(f, "{value:.digits$} {unit}");
                }
                value /= 1000.0;
            }
            write!(f, "{value:.1} TB")
        }
    }
    Bytes(count)
}

/// Reads a number of bytes: `1500000`, `512MB`, `8GiB`, `8G`. Units: k, M, G, T with `B` or nothing for powers of
/// 1000, with `iB` for powers of 1024.
pub fn parse_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let value: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_ascii_lowercase();
    let (letter, base) = match unit.strip_suffix("ib") {
        Some(letter) => (letter, 1024f64),
        None => (unit.strip_suffix('b').unwrap_or(&unit), 1000f64),
    };
    let power = ["", "k", "m", "g", "t"].iter().position(|&known| known == letter)?;
    let count = value * base.powi(power as i32);
    (count.is_finite() && count < usize::MAX as f64).then_some(count as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_as_written() {
        assert_eq!(bytes(0).to_string(), "0 B");
        assert_eq!(bytes(999_600).to_string(), "1.0 MB");
        assert_eq!(bytes(123_456_789).to_string(), "123 MB");
        assert_eq!(parse_bytes("1500"), Some(1500));
        assert_eq!(parse_bytes("1.5 GB"), Some(1_500_000_000));
        assert_eq!(parse_bytes("2GiB"), Some(2 << 30));
        assert_eq!(parse_bytes("2g"), Some(2_000_000_000));
        for bad in ["", "x", "1 XB", "-1", "1e99999GB", "B"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = Memory::now();
        assert!(memory.total_bytes > 1 << 20 && memory.available_bytes <= memory.total_bytes, "{memory:?}");
        if cfg!(target_os = "linux") {
            assert!(peak_resident_bytes() > 1 << 20);
        }
    }
}
