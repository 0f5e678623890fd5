//! What is free on the disk of a folder.

use std::path::Path;

use sysinfo::{DiskRefreshKind, Disks};

/// Bytes that this user may still write where `path` is, or will be; `None` where the system does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find_map(|one| one.canonicalize().ok())?;
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage());
    let holding = disks.list().iter().filter(|disk| there.starts_with(disk.mount_point()));
    let nearest = holding.max_by_key(|disk| disk.mount_point().components().count())?;
    Some(nearest.available_space()).filter(|&free| free > 0)
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
}
