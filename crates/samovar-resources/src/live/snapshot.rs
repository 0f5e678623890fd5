//! The figures of one process.

use serde::{Deserialize, Serialize};

use crate::cache::CacheStats;
use crate::memory::{DeviceMemory, ProcessMemory};

/// Figures of a running process at one moment. What a file lacks has its default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// The process.
    pub process_id: u32,
    /// When it began, in seconds since 1970 as the system says it: numbers of processes come again.
    pub process_began_s: u64,
    /// The command, as it was given.
    pub command: String,
    /// When this was written, in seconds since 1970.
    pub written_s: f64,
    /// For how long the process has been at work, in seconds.
    pub running_s: f64,
    /// Processor time so far, in seconds of one core.
    pub processor_s: f64,
    /// Its memory.
    pub memory: ProcessMemory,
    /// Pools of the devices it computes on.
    pub devices: Vec<DeviceMemory>,
    /// Its caches.
    pub caches: Vec<CacheFigures>,
    /// What it is doing.
    pub work: Work,
}

/// A cache by its name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheFigures {
    /// What is in it.
    pub name: String,
    /// What it has and has done.
    #[serde(flatten)]
    pub stats: CacheStats,
}

/// How far a queue of items has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Work {
    /// What the items are: images, bytes.
    pub unit: String,
    /// All items, also those done before; 0 where nobody knows.
    pub all: u64,
    /// Items that are through, failed and skipped ones included.
    pub through: u64,
    /// Of these, items done by an earlier run.
    pub skipped: u64,
    /// Of these, items that failed.
    pub failed: u64,
    /// Items not yet through.
    pub left: u64,
    /// What is being done.
    pub current: String,
    /// Items a second, over the last half minute.
    pub per_s: f64,
    /// Seconds until all are through, at that rate; `None` where nobody knows.
    pub left_s: Option<f64>,
    /// Items of each of the last seconds, the oldest first, a minute at most.
    pub recent: Vec<u64>,
    /// Milliseconds that half of the items took at most.
    pub p50_ms: f64,
    /// The same of nineteen in twenty.
    pub p95_ms: f64,
    /// The same of ninety-nine in a hundred.
    pub p99_ms: f64,
}
