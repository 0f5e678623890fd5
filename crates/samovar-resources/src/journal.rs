//! What a job has done, line by line, so that a killed run goes on where it was.
//!
//! Lines are JSON, each with a checksum, only ever appended, and synced in groups. What a line says is its owner's affair: any
//! type of serde's. Measured against SQLite at a million items (`docs/performance.md`): appending costs a third, and the file
//! can be read with anything.
//!
//! ```text
//! 1f0c83d2 {"done":{"item":"a.png","files":["a.json"],"ms":812}}
//! ```

mod line;
mod reader;
mod writer;

pub use reader::{JournalReading, read_journal};
pub use writer::{JournalLock, JournalOptions, JournalWriter};
