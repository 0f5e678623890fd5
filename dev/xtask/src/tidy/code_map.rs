//! The code map in `ARCHITECTURE.md` lists exactly the folders there are, with the charter each crate gives itself.
//!
//! A row of the map is a table row whose first cell is a folder: ``| `crates/samovar-tensor` | charter | ... |``.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Finding;
use super::repository::Repository;

const MAP: &str = "ARCHITECTURE.md";
/// Every folder directly under these is a row.
const FOLDERS_OF_ROWS: &[&str] = &["crates", "apps", "dev"];
/// These are rows themselves.
const ROWS: &[&str] = &["training"];

const CHECK: &str = "code map";

pub(super) fn check(repository: &Repository) -> Vec<Finding> {
    let rows = rows(&repository.text(MAP));
    let folders = folders(&repository.files);
    let charter_of = |folder: &str| {
        ["src/lib.rs", "src/main.rs"].iter().find_map(|source| {
            let file = format!("{folder}/{source}");
            let text = repository.files.contains(&file).then(|| repository.text(&file))?;
            Some(text.lines().next()?.strip_prefix("//! ")?.to_string())
        })
    };
    compare(&rows, &folders, charter_of)
}

fn folders(files: &[String]) -> BTreeSet<String> {
    let mut folders = BTreeSet::new();
    for file in files {
        let parts: Vec<&str> = file.split('/').collect();
        match parts[..] {
            [top, name, _, ..] if FOLDERS_OF_ROWS.contains(&top) => folders.insert(format!("{top}/{name}")),
            [top, _, ..] if ROWS.contains(&top) => folders.insert(top.to_string()),
            _ => false,
        };
    }
    folders
}

fn rows(map: &str) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for line in map.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [first, charter, ..] = cells[..] else { continue };
        let Some(folder) = first.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) else { continue };
        let top = folder.split('/').next().unwrap_or_default();
        if FOLDERS_OF_ROWS.contains(&top) || ROWS.contains(&folder) {
            rows.insert(folder.to_string(), charter.to_string());
        }
    }
    rows
}

fn compare(
    rows: &BTreeMap<String, String>,
    folders: &BTreeSet<String>,
    charter_of: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in folders.iter().filter(|folder| !rows.contains_key(*folder)) {
        let next_step = format!("add a row for it to the code map of {MAP}, with its charter");
        findings.push(Finding::new(CHECK, folder, "the folder is not in the code map", next_step));
    }
    for (folder, charter) in rows {
        if !folders.contains(folder) {
            let next_step = format!("remove its row from {MAP}");
            findings.push(Finding::new(
                CHECK,
                folder,
                "the code map lists a folder that does not exist",
                next_step,
            ));
            continue;
        }
        let own_charter = charter_of(folder);
        if charter.is_empty() || own_charter.as_ref().is_some_and(|own_charter| own_charter != charter) {
            let own_charter = own_charter.unwrap_or_else(|| "(a sentence)".to_string());
            let what = format!("the code map says \"{charter}\", the crate says \"{own_charter}\"");
            let next_step = format!("make {MAP} and the first line of the crate's root file say the same");
            findings.push(Finding::new(CHECK, folder, what, next_step));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
