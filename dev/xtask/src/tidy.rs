//! All checks over one snapshot of the repository.

mod arrows;
mod code_map;
mod licences;
mod links;
mod paths;
mod sources;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check that found it.
    pub check: &'static str,
    /// File, crate or folder.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub next_step: String,
}

impl Finding {
    fn new(
        check: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self { check, place: place.into(), what: what.into(), next_step: next_step.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}\n  {}", self.check, self.place, self.what, self.next_step)
    }
}

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
    let checks =
        [arrows::check, code_map::check, sources::check, paths::check, links::check, licences::check];
    checks.iter().flat_map(|check| check(&repository)).collect()
}

/// What the checks look at.
struct Repository {
    root: PathBuf,
    /// Tracked files that exist, relative to `root`, with forward slashes.
    files: Vec<String>,
    /// `cargo metadata` of the workspace, for this machine's platform.
    metadata: Value,
}

impl Repository {
    fn read(root: &Path) -> Result<Self, Finding> {
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
        Ok(Self { root: root.to_path_buf(), files, metadata })
    }

    /// A tracked file as text, invalid parts replaced.
    fn text(&self, file: &str) -> String {
        String::from_utf8_lossy(&self.bytes(file)).into_owned()
    }

    fn bytes(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.root.join(file)).unwrap_or_default()
    }

    fn packages(&self) -> &[Value] {
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
