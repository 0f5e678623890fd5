//! The snapshot of the repository that all checks look at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::finding::Finding;
use super::syntax::Crate;

/// What the checks look at.
pub(super) struct Repository {
    pub(super) root: PathBuf,
    /// Tracked files that exist, relative to `root`, with forward slashes.
    pub(super) files: Vec<String>,
    /// `cargo metadata` of the workspace, for this machine's platform.
    metadata: Value,
    /// The syntax of every crate of this workspace.
    pub(super) crates: Vec<Crate>,
}

impl Repository {
    pub(super) fn read(root: &Path) -> Result<Self, Finding> {
        let git = ["-c", "safe.directory=*", "ls-files", "-z"];
        let files = output(root, "git", &git)?
            .split('\0')
            .filter(|file| !file.is_empty() && root.join(file).is_file())
            .map(str::to_string)
            .collect();
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
        let version = output(root, &cargo, &["-vV"])?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        let arguments = ["metadata", "--format-version", "1", "--filter-platform", host];
        let text = output(root, &cargo, &arguments)?;
        let metadata = serde_json::from_str(&text).map_err(|error| {
            Finding::new("tidy", "cargo metadata", error.to_string(), "check the toolchain")
        })?;
        let mut repository = Self { root: root.to_path_buf(), files, metadata, crates: Vec::new() };
        repository.crates = repository.read_crates()?;
        Ok(repository)
    }

    /// Libraries and programs of this workspace; not their tests, examples and benches.
    fn read_crates(&self) -> Result<Vec<Crate>, Finding> {
        let own = self.packages().iter().filter(|package| package["source"].is_null());
        let targets = own.flat_map(|package| package["targets"].as_array().into_iter().flatten());
        let roots: BTreeSet<String> = targets
            .filter(|target| {
                let kinds = target["kind"].as_array().into_iter().flatten();
                kinds.filter_map(Value::as_str).any(|kind| kind == "bin" || kind.contains("lib"))
            })
            .filter_map(|target| {
                let file = Path::new(target["src_path"].as_str()?).strip_prefix(&self.root).ok()?;
                Some(file.to_str()?.replace('\\', "/"))
            })
            .collect();
        let text = |file: &str| std::fs::read_to_string(self.root.join(file)).ok();
        let read = roots.iter().map(|root| {
            Crate::read(root, &text)
                .map_err(|what| Finding::new("tidy", root, what, "make it compile: `cargo check` says more"))
        });
        read.collect()
    }

    /// A tracked file as text, invalid parts replaced.
    pub(super) fn text(&self, file: &str) -> String {
        String::from_utf8_lossy(&self.bytes(file)).into_owned()
    }

    pub(super) fn bytes(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.root.join(file)).unwrap_or_default()
    }

    pub(super) fn packages(&self) -> &[Value] {
        self.metadata["packages"].as_array().map_or(&[], Vec::as_slice)
    }
}

fn output(root: &Path, program: &str, arguments: &[&str]) -> Result<String, Finding> {
    let finding = |what: String| {
        let command = format!("{program} {}", arguments.join(" "));
        Finding::new("tidy", command, what, "run it by hand in the root of the repository")
    };
    let output = Command::new(program).args(arguments).current_dir(root).output();
    match output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Err(finding(String::from_utf8_lossy(&output.stderr).trim().to_string())),
        Err(error) => Err(finding(error.to_string())),
    }
}
