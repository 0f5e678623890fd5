//! What a job has finished, item by item, so that a killed run goes on where it was.
//!
//! One line per item, each with a checksum, appended and synced in groups. Measured against SQLite at a million items
//! (`docs/performance.md`): appending costs a third, and the file can be read with anything.
//!
//! ```text
//! 1f0c83d2 {"item":"a.png","key":"9c…","done":{"results":["a.json"],"ms":812}}
//! ```

mod line;
mod reader;
mod writer;

pub use line::{Outcome, Record};
pub use reader::{Journal, Progress, read_journal};
pub use writer::{JournalOptions, JournalWriter};
