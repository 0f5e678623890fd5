//! Libraries read no environment: what they need to know is handed in, and the program alone asks its surroundings.
//!
//! Build scripts, tests, examples and benches may read it.

use super::finding::Finding;
use super::repository::Repository;
use super::syntax::{Crate, written_out};

/// Where libraries lie.
const LIBRARIES: &str = "crates/";
/// What reads the surroundings of a process, or the machine that builds; a module means everything in it.
const READS: &[&str] = &["std::env", "libc::getenv", "libc::secure_getenv", "option_env!"];
/// What only looks like it: facts about the target, known to the compiler.
const READS_NOTHING: &[&str] = &["std::env::consts"];

const CHECK: &str = "environment";

pub(super) fn check(repository: &Repository) -> Vec<Finding> {
    repository.crates.iter().filter(|of| of.files[0].starts_with(LIBRARIES)).flat_map(check_crate).collect()
}

fn check_crate(of: &Crate) -> Vec<Finding> {
    let mut findings = Vec::new();
    for mention in &of.mentions {
        let path = written_out(of, mention).join("::");
        let is_in = |list: &[&str]| {
            list.iter().any(|entry| match path.strip_prefix(entry) {
                // `use std::env;` alone is a way to something.
                Some("") => entry.ends_with('!') || mention.is_glob || !entry.ends_with("::env"),
                Some(rest) => rest.starts_with("::"),
                None => false,
            })
        };
        if is_in(READS) && !is_in(READS_NOTHING) {
            let place = format!("{}:{}", of.files[of.modules[mention.module].file], mention.line);
            let next_step = "take the value as an option; the command line reads variables in one table, \
                             apps/cli/src/environment.rs";
            findings.push(Finding::new(CHECK, place, format!("a library uses {path}"), next_step));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
