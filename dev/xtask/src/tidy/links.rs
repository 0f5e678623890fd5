//! Relative links in Markdown lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::finding::Finding;
use super::repository::Repository;

const CHECK: &str = "links";

pub(super) fn check(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in repository.files.iter().filter(|file| file.ends_with(".md")) {
        for (line, target) in targets(&repository.text(file)) {
            let is_there = resolve(file, &target).is_some_and(|path| {
                let in_folder = format!("{path}/");
                repository.files.iter().any(|tracked| *tracked == path || tracked.starts_with(&in_folder))
            });
            if !is_there {
                let what = format!("the link to {target} leads nowhere");
                let next_step = "link to a tracked file or folder, relative to this file";
                findings.push(Finding::new(CHECK, format!("{file}:{line}"), what, next_step));
            }
        }
    }
    findings
}

/// Relative targets of `[text](target)` and `src="target"`, outside code.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_fence = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        }
        if in_fence || line.starts_with("    ") {
            continue;
        }
        // Every second part of a line split at backticks is code.
        for prose in line.split('`').step_by(2) {
            for (opening, closing) in [("](", ')'), ("src=\"", '"')] {
                for rest in prose.split(opening).skip(1) {
                    let target = rest.split([closing, ' ', '#']).next().unwrap_or_default();
                    if !target.is_empty() && !target.contains(':') {
                        found.push((index + 1, target.to_string()));
                    }
                }
            }
        }
    }
    found
}

/// The tracked path that `target` in `file` means. `None` when it leaves the repository.
fn resolve(file: &str, target: &str) -> Option<String> {
    let mut path = PathBuf::from(file);
    path.pop();
    for component in Path::new(target).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => path.pop().then_some(())?,
            _ => return None,
        }
    }
    Some(path.to_str()?.to_string())
}

#[cfg(test)]
mod tests;
