//! Every Rust file says in its first line what it is for, and can be read in one sitting.

use super::finding::Finding;
use super::repository::Repository;

/// Most lines of a file. Tables and tests may be longer than code one has to understand.
const MAX_CODE_LINES: usize = 600;
const MAX_TEST_LINES: usize = 1200;

const CHECK: &str = "sources";

pub(super) fn check(repository: &Repository) -> Vec<Finding> {
    let rust_files = repository.files.iter().filter(|file| file.ends_with(".rs"));
    rust_files.flat_map(|file| check_file(file, &repository.text(file))).collect()
}

/// Whether a file holds tests only: `tests.rs`, `pool_tests.rs`, anything under a folder `tests`.
pub(super) fn is_test(file: &str) -> bool {
    let (folders, name) = file.rsplit_once('/').unwrap_or(("", file));
    name == "tests.rs" || name.ends_with("_tests.rs") || folders.split('/').any(|folder| folder == "tests")
}

fn check_file(file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("//! ") && !is_test(file) {
        let what = "the first line does not say what the file is for";
        findings.push(Finding::new(CHECK, file, what, "start it with `//! ` and its charter"));
    }
    let limit = if is_test(file) { MAX_TEST_LINES } else { MAX_CODE_LINES };
    let lines = text.lines().count();
    if lines > limit {
        let next_step = "move a part that has a name of its own to a submodule, and tests to a sibling file";
        findings.push(Finding::new(
            CHECK,
            file,
            format!("{lines} lines, at most {limit} are one sitting"),
            next_step,
        ));
    }
    findings
}

#[cfg(test)]
mod tests;
