//! How a backend packs numbers is known to that backend alone: no other crate has a name for it.

use super::finding::Finding;
use super::repository::Repository;
use super::syntax::Crate;

/// Where the names must not occur, and the backends in there, where they may.
const FOLDERS: &[&str] = &["crates/", "apps/"];
const BACKENDS: &[&str] = &["crates/samovar-cpu/", "crates/samovar-cuda/", "crates/samovar-wgpu/"];

/// Names of sizes of packed matrices and of tiles.
const NAMES: &[&str] = &["INT8_GROUP", "KR", "MR", "NR", "NUMBER_ROWS", "PERIOD", "STEP_DEPTH"];
/// Words that no name has as one of its parts, in either case: `PANEL_COLUMNS`, `lanes`, `ColumnPanel`.
const WORDS: &[&str] = &["lane", "lanes", "microkernel", "panel", "panels"];

const CHECK: &str = "panel sizes";

pub(super) fn check(repository: &Repository) -> Vec<Finding> {
    repository.crates.iter().flat_map(check_crate).collect()
}

fn check_crate(of: &Crate) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, names) in of.files.iter().zip(&of.names) {
        let is_inside = |folders: &[&str]| folders.iter().any(|folder| file.starts_with(folder));
        if !is_inside(FOLDERS) || is_inside(BACKENDS) {
            continue;
        }
        for (name, line) in names.iter().filter(|(name, _)| is_of_packing(name)) {
            let next_step = "leave it to the backend: ask it for the number of bytes, or hand it the matrix";
            let what = format!("{name} tells how a backend packs numbers");
            findings.push(Finding::new(CHECK, format!("{file}:{line}"), what, next_step));
        }
    }
    findings
}

fn is_of_packing(name: &str) -> bool {
    NAMES.contains(&name) || parts(name).iter().any(|part| WORDS.contains(&part.as_str()))
}

/// `["panel", "columns"]` of `PANEL_COLUMNS`, `panel_columns`, `PanelColumns` and `panel8_columns`.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut after_small = false;
    for letter in name.chars() {
        if !letter.is_alphabetic() || (letter.is_uppercase() && after_small) {
            parts.push(String::new());
        }
        after_small = letter.is_lowercase();
        if let (true, Some(part)) = (letter.is_alphabetic(), parts.last_mut()) {
            part.extend(letter.to_lowercase());
        }
    }
    parts
}

#[cfg(test)]
mod tests;
