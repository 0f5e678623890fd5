//! Every dependency comes under a licence that `deny.toml` allows; `cargo deny` reads the same list.

use super::finding::Finding;
use super::repository::Repository;

const ALLOWED_IN: &str = "deny.toml";

const CHECK: &str = "licences";

pub(super) fn check(repository: &Repository) -> Vec<Finding> {
    let deny = repository.text(ALLOWED_IN);
    let allowed = allowed(&deny);
    if allowed.is_empty() {
        let next_step = "give it a [licenses] section with `allow = [...]`";
        return vec![Finding::new(CHECK, ALLOWED_IN, "no list of allowed licences", next_step)];
    }
    let refused = repository.packages().iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or_default();
        (!is_allowed(licence, &allowed)).then(|| {
            let name = package["name"].as_str().unwrap_or_default();
            let version = package["version"].as_str().unwrap_or_default();
            let next_step = format!(
                "use another crate, or, where the licence asks nothing that MIT does not, add it to {ALLOWED_IN} \
                 (allowed: {})",
                allowed.join(", ")
            );
            Finding::new(CHECK, format!("{name} {version}"), format!("its licence is \"{licence}\""), next_step)
        })
    });
    refused.collect()
}

/// The strings of `allow = [...]` under `[licenses]`.
fn allowed(deny: &str) -> Vec<&str> {
    let section = deny.split("[licenses]").nth(1).unwrap_or_default();
    let list = section.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or_default();
    let strings = list
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().split('"').skip(1).step_by(2));
    strings.collect()
}

/// Whether an SPDX expression can be satisfied by the allowed licences.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    // `MIT/Apache-2.0` is the old way to write OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words, allowed) == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &[&str]) -> Option<bool> {
    let mut result = all_of(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        result |= all_of(words, allowed)?;
    }
    Some(result)
}

fn all_of(words: &mut Words<'_>, allowed: &[&str]) -> Option<bool> {
    let mut result = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        result &= one(words, allowed)?;
    }
    Some(result)
}

fn one(words: &mut Words<'_>, allowed: &[&str]) -> Option<bool> {
    if words.next_if_eq(&"(").is_some() {
        let result = any_of(words, allowed)?;
        return words.next_if_eq(&")").map(|_| result);
    }
    let mut licence = words.next()?.to_string();
    if words.next_if_eq(&"WITH").is_some() {
        licence = format!("{licence} WITH {}", words.next()?);
    }
    Some(allowed.contains(&licence.as_str()))
}

#[cfg(test)]
mod tests;
