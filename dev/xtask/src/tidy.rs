//! All checks over one snapshot of the repository.

mod arrows;
mod circles;
mod code_map;
mod environment;
mod finding;
mod licences;
mod links;
mod panel_sizes;
mod paths;
mod repository;
mod sources;
mod syntax;

use std::path::{Path, PathBuf};

pub use finding::Finding;
use repository::Repository;

/// The folder of the workspace this crate was built in.
pub fn repository_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Everything that is wrong with the repository at `root`.
pub fn tidy(root: &Path) -> Vec<Finding> {
    let repository = match Repository::read(root) {
        Ok(repository) => repository,
        Err(finding) => return vec![finding],
    };
    let checks = [
        arrows::check,
        circles::check,
        environment::check,
        panel_sizes::check,
        code_map::check,
        sources::check,
        paths::check,
        links::check,
        licences::check,
    ];
    checks.iter().flat_map(|check| check(&repository)).collect()
}
