//! What is free on the disk of a folder.

use std::path::Path;

/// Bytes that this user may still write where `path` is, or will be; `None` where the system does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find_map(|one| one.canonicalize().ok())?;
    free_of(&there).filter(|&free| free > 0)
}

/// As the file system itself says: no list of disks has all that are mounted.
#[cfg(unix)]
fn free_of(there: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(there).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(not(unix))]
fn free_of(there: &Path) -> Option<u64> {
    use sysinfo::{DiskRefreshKind, Disks};
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage());
    let holding = disks.list().iter().filter(|disk| there.starts_with(disk.mount_point()));
    let nearest = holding.max_by_key(|disk| disk.mount_point().components().count())?;
    Some(nearest.available_space())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_where_it_will_be() {
        let folder = tempfile::tempdir().unwrap();
        let near = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => one.abs_diff(other) < 1 << 32,
            (one, other) => one == other,
        };
        assert!(near(free_bytes(folder.path()), free_bytes(&folder.path().join("not/there/yet"))));
        assert_eq!(free_bytes(Path::new("")), None);
    }

    /// A list of disks leaves out those in memory: their folders were taken for ones of the disk below.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_on_another_mount_is_asked_about_there() {
        let is_mounted =
            std::fs::read_to_string("/proc/mounts").is_ok_and(|all| all.contains(" /dev/shm tmpfs "));
        if is_mounted
            && let (Some(there), Ok(memory)) =
                (free_bytes(Path::new("/dev/shm")), std::fs::read_to_string("/proc/meminfo"))
        {
            let total =
                memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap() * 1024;
            assert!(there <= total, "{there} of {total} that all of memory is");
        }
    }
}
