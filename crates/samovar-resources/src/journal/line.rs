//! One line of a journal.

use serde::{Deserialize, Serialize};

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its results are in their places, durable.
    Done {
        /// Their names, relative to the journal's folder.
        results: Vec<String>,
        /// Milliseconds it took.
        ms: u64,
    },
    /// It failed, for this reason.
    Failed(String),
}

/// An item and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The item's name: a path relative to what the job was given.
    pub item: String,
    /// A hash of all that makes its results: what has another is to be done again.
    pub key: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Record {
    /// The line: checksum, content, end.
    pub(super) fn to_line(&self) -> String {
        let content = serde_json::to_string(self).unwrap_or_default();
        format!("{:08x} {content}\n", crc32fast::hash(content.as_bytes()))
    }

    /// The record of a line without its end; `None` if the line is damaged.
    pub(super) fn of_line(line: &[u8]) -> Option<Self> {
        let (checksum, content) = (line.get(..8)?, line.get(9..)?);
        // As it is written, and not what else reads as the same number.
        (line[8] == b' ' && format!("{:08x}", crc32fast::hash(content)).as_bytes() == checksum)
            .then(|| serde_json::from_slice(content).ok())
            .flatten()
    }
}
