//! Which crate may use which: the direction of the dependencies between the workspace's own crates.

use serde_json::Value;

use super::finding::Finding;
use super::repository::Repository;
use super::syntax::{Crate, written_out};

/// Normal and build dependencies on crates of this workspace. Crates under `dev/` are not listed: they may use
/// anything, and only dev-dependencies may point at them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("samovar-files", &[]),
    ("samovar-geometry", &[]),
    ("samovar-tensor", &[]),
    ("samovar-cpu", &["samovar-tensor"]),
    ("samovar-cuda", &["samovar-tensor"]),
    ("samovar-wgpu", &["samovar-tensor"]),
    ("samovar-weights", &["samovar-files", "samovar-tensor"]),
    ("samovar-media", &["samovar-files", "samovar-geometry"]),
    ("samovar-resources", &["samovar-files"]),
    ("samovar-models", &["samovar-geometry", "samovar-tensor", "samovar-weights"]),
    (
        "samovar-runtime",
        &[
            "samovar-files",
            "samovar-geometry",
            "samovar-tensor",
            "samovar-cpu",
            "samovar-cuda",
            "samovar-wgpu",
            "samovar-weights",
            "samovar-media",
            "samovar-models",
            "samovar-resources",
        ],
    ),
    ("samovar", &["samovar-runtime"]),
    ("samovar-cli", &["samovar"]),
    ("samovar-server", &["samovar"]),
    ("samovar-python", &["samovar"]),
];

/// Models are pure: what would give them files, a clock or threads does not occur in their code.
const NOT_IN_MODELS: &[&str] =
    &["std::fs", "std::net", "std::process", "std::env", "std::thread", "std::time", "rayon", "samovar_cpu"];

/// Where models lie.
const MODELS: &str = "crates/samovar-models/";

const CHECK: &str = "arrows";

pub(super) fn check(repository: &Repository) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        own_packages(repository).flat_map(|package| check_package(package, &repository.root)).collect();
    let models = repository.crates.iter().filter(|of| of.files[0].starts_with(MODELS));
    findings.extend(models.flat_map(check_purity));
    findings
}

fn own_packages(repository: &Repository) -> impl Iterator<Item = &Value> {
    repository.packages().iter().filter(|package| package["source"].is_null())
}

fn check_package(package: &Value, root: &std::path::Path) -> Vec<Finding> {
    let name = package["name"].as_str().unwrap_or_default();
    let dev_folder = root.join("dev");
    let is_dev_path =
        |path: &Value| path.as_str().is_some_and(|path| std::path::Path::new(path).starts_with(&dev_folder));
    if is_dev_path(&package["manifest_path"]) {
        return Vec::new();
    }
    let Some((_, allowed)) = MAY_USE.iter().find(|(row, _)| *row == name) else {
        let next_step = "add a row to MAY_USE in dev/xtask/src/tidy/arrows.rs, and one to ARCHITECTURE.md";
        return vec![Finding::new(CHECK, name, "no row says which crates this one may use", next_step)];
    };
    let used = package["dependencies"].as_array().into_iter().flatten();
    used.filter(|dependency| dependency["kind"].as_str() != Some("dev") && !dependency["path"].is_null())
        .filter_map(|dependency| {
            let used = dependency["name"].as_str().unwrap_or_default();
            if is_dev_path(&dependency["path"]) {
                let next_step = "make it a dev-dependency: nothing shipped may depend on dev/";
                return Some(Finding::new(CHECK, name, format!("depends on {used}"), next_step));
            }
            let allowed_list = if allowed.is_empty() { "nothing of ours".to_string() } else { allowed.join(", ") };
            let next_step = format!(
                "{name} may use: {allowed_list}. Move the code to the side of the arrow it belongs to; where the \
                 arrow itself is wrong, change MAY_USE in dev/xtask/src/tidy/arrows.rs and say why in ARCHITECTURE.md"
            );
            (!allowed.contains(&used)).then(|| Finding::new(CHECK, name, format!("depends on {used}"), next_step))
        })
        .collect()
}

fn check_purity(of: &Crate) -> Vec<Finding> {
    let finding = |mention| {
        let path = written_out(of, mention).join("::");
        let is_in = |word: &&&str| {
            path.strip_prefix(**word).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let word = NOT_IN_MODELS.iter().find(is_in)?;
        let place = format!("{}:{}", of.files[of.modules[mention.module].file], mention.line);
        let next_step = "models are pure; hand the value in, or move this to samovar-runtime";
        Some(Finding::new(CHECK, place, format!("uses {word}"), next_step))
    };
    let mut findings: Vec<Finding> = of.mentions.iter().filter_map(finding).collect();
    // A name that is imported is found where it is imported, and where it is used.
    findings.dedup();
    findings
}

#[cfg(test)]
mod tests;
