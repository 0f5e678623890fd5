//! What makes the results of a folder, in a file beside them.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::usage;

/// Name of the file that says which command makes the results of a folder.
pub const JOB_FILE: &str = ".samovar-job.json";
/// Raised when records are written in another way.
pub(super) const RECORD: u32 = 2;

/// What makes the results of a folder.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub struct JobFile {
    /// The command.
    pub command: String,
    /// Its parameters.
    pub parameters: Value,
    /// How the record beside it is written.
    #[serde(default)]
    pub(super) record: u32,
}

impl JobFile {
    /// Of a command that begins.
    pub fn new(command: &str, parameters: Value) -> Self {
        Self { command: command.to_owned(), parameters, record: RECORD }
    }

    /// That of a folder, from what is in its file.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn of(folder: &Path, bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| {
            usage(format!(
                "\"{}\" is damaged ({error}): it said which command makes the results in this folder; remove it if the same \
                 command is to go on, choose another folder, or --overwrite to make all of them anew",
                folder.join(JOB_FILE).display()
            ))
        })
    }

    /// The first parameters that differ, for people.
    pub fn difference_to(&self, other: &Self) -> String {
        if self.command != other.command {
            return format!(" (of `{}`)", other.command);
        }
        let (Value::Object(now), Value::Object(before)) = (&self.parameters, &other.parameters) else {
            return String::new();
        };
        let names: Vec<&str> =
            now.keys().filter(|name| now.get(*name) != before.get(*name)).map(String::as_str).collect();
        if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
    }
}
