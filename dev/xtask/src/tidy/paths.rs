//! No tracked file knows the machine it was written on, and none is large without a reason.

use super::finding::Finding;
use super::repository::Repository;

/// Folders of developers' and build machines. Split, so that this file does not find itself.
const MACHINE_FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
/// Files that name such a folder on purpose.
const MAY_NAME_FOLDERS: &[&str] = &[];

const MAX_BYTES: u64 = 1_000_000;
/// Files, or folders with a slash at the end, whose content may be larger.
const MAY_BE_LARGE: &[&str] = &[
    // The promptable model inside the binary.
    "crates/samovar-runtime/assets/nano.safetensors",
    // The kernels for NVIDIA's cards, for all architectures, so that building needs no CUDA; a script beside it makes it again.
    "crates/samovar-cuda/kernels/samovar.fatbin",
    // Expected values from upstream; a recipe beside them makes them again.
    "dev/goldens/",
];

const CHECK: &str = "paths";

pub(super) fn check(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &repository.files {
        let bytes = repository.bytes(file);
        findings.extend(check_size(file, bytes.len() as u64));
        if !MAY_NAME_FOLDERS.contains(&file.as_str()) {
            findings.extend(check_content(file, &bytes));
        }
    }
    findings
}

fn check_size(file: &str, bytes: u64) -> Option<Finding> {
    let may_be_large = MAY_BE_LARGE
        .iter()
        .any(|allowed| file == *allowed || (allowed.ends_with('/') && file.starts_with(allowed)));
    let next_step = "keep it out of the repository, make it smaller, or add it to MAY_BE_LARGE in \
                     dev/xtask/src/tidy/paths.rs with the reason";
    let what = || format!("{bytes} bytes, more than {MAX_BYTES}");
    (bytes > MAX_BYTES && !may_be_large).then(|| Finding::new(CHECK, file, what(), next_step))
}

fn check_content(file: &str, bytes: &[u8]) -> Option<Finding> {
    let (at, folder) =
        MACHINE_FOLDERS.iter().find_map(|folder| Some((find_absolute(bytes, folder)?, folder)))?;
    let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let next_step = "write the path relative to the repository, or take it from the environment";
    Some(Finding::new(CHECK, format!("{file}:{line}"), format!("names a path under {folder}"), next_step))
}

/// Where a path that starts with `folder` begins; `net/work/` is none, it goes on to the left.
fn find_absolute(bytes: &[u8], folder: &str) -> Option<usize> {
    bytes.windows(folder.len()).enumerate().position(|(at, window)| {
        window == folder.as_bytes()
            && (at == 0 || !matches!(bytes[at - 1], b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'}'))
    })
}

#[cfg(test)]
mod tests;
