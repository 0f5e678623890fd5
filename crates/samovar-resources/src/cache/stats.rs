//! What a cache has done.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::memory::bytes;

/// Figures of one kind of value, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheStats {
    /// Entries in memory.
    pub entries: usize,
    /// Bytes they take.
    pub memory_bytes: usize,
    /// Most they may take.
    pub budget_bytes: usize,
    /// Answers from memory.
    pub hits_in_memory: u64,
    /// Answers from disk.
    pub hits_on_disk: u64,
    /// Questions without an answer.
    pub misses: u64,
    /// Entries that had to go from memory for others.
    pub evictions: u64,
    /// Entries on disk that were damaged or foreign; they were removed.
    pub rejected: u64,
}

impl CacheStats {
    /// Answers.
    pub fn hits(&self) -> u64 {
        self.hits_in_memory + self.hits_on_disk
    }

    /// Share of questions that had an answer, 0 to 1; 0 before the first question.
    pub fn hit_rate(&self) -> f64 {
        let asked = self.hits() + self.misses;
        if asked == 0 { 0.0 } else { self.hits() as f64 / asked as f64 }
    }
}

impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            entries,
            memory_bytes,
            budget_bytes,
            hits_in_memory,
            hits_on_disk,
            misses,
            evictions,
            rejected,
        } = self;
        write!(f, "{entries} entries, {}", bytes(*memory_bytes))?;
        if *budget_bytes < usize::MAX {
            write!(f, " of {}", bytes(*budget_bytes))?;
        }
        write!(
            f,
            "; hits {} ({hits_in_memory} in memory, {hits_on_disk} on disk), misses {misses}",
            self.hits()
        )?;
        write!(f, ", hit rate {:.1} %, evictions {evictions}", 100.0 * self.hit_rate())?;
        if *rejected > 0 {
            write!(f, ", damaged {rejected}")?;
        }
        Ok(())
    }
}
