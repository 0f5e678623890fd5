//! No circle of files: of two files of a crate, at most one needs the other, straight or through others.
//!
//! A file needs another when its code names something the other defines, by whatever way: `use crate::mask::Bits`,
//! `super::Bits`, or `crate::Bits` where another file re-exports it. `mod bits;` alone is no need, so a parent may use
//! its children, or they may use it, but not both. Methods are not seen, for which one would have to know types; a type
//! whose methods are called was named somewhere. Tests may name what they like.

mod graph;

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Finding;
use super::repository::Repository;
use super::syntax::{Crate, Edges, Naming, edges};

const CHECK: &str = "circles";

pub(super) fn check(repository: &Repository) -> Vec<Finding> {
    repository.crates.iter().flat_map(circles).collect()
}

fn circles(of: &Crate) -> Vec<Finding> {
    let edges = edges(of);
    let pairs: Vec<(usize, usize)> = edges.keys().copied().collect();
    // What a cut costs: the names that have to go.
    let cost = |naming: &Naming| naming.iter().map(|(_, name)| name).collect::<BTreeSet<_>>().len();
    let weighted: Vec<_> = edges.iter().map(|(&(from, to), naming)| (from, to, cost(naming))).collect();
    let circles = graph::circles(of.files.len(), &pairs);
    circles.iter().map(|circle| finding(of, circle, &edges, &graph::cut(circle, &weighted))).collect()
}

fn finding(of: &Crate, circle: &[usize], edges: &Edges, cut: &[(usize, usize)]) -> Finding {
    let root = &of.files[0];
    let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
    let short = |file: usize| {
        let file = of.files[file].as_str();
        file.strip_prefix(folder).map_or(file, |file| file.trim_start_matches('/'))
    };
    let line = |&(from, to): &(usize, usize)| {
        let mut lines: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (line, name) in edges.get(&(from, to)).into_iter().flatten() {
            lines.entry(*line).or_default().push(name);
        }
        let lines: Vec<String> =
            lines.iter().map(|(line, names)| format!("line {line} ({})", names.join(", "))).collect();
        format!("\n  {} names {}: {}", short(from), short(to), lines.join(", "))
    };
    let inside = edges.keys().filter(|(from, to)| circle.contains(from) && circle.contains(to));
    let what = format!("a circle of {} files:{}", circle.len(), inside.map(line).collect::<String>());
    let next_step = format!(
        "cut first:{}\n  Move what both files need into one that neither builds on, or hand the value in.",
        cut.iter().map(line).collect::<String>()
    );
    Finding::new(CHECK, root, what, next_step)
}

#[cfg(test)]
mod tests;
