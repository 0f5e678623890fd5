//! Memory of machine, process and devices, and what is done when it gets scarce.

mod figures;
mod levels;
mod manager;
mod reserve;
mod system;
mod units;

pub use figures::{DeviceMemory, Memory, MemoryStats, ProcessMemory, peak_resident_bytes};
pub use levels::{MemoryLevel, MemoryThresholds};
pub use manager::{AvailableMemory, Cleanup, MemoryManager, MemoryOptions, MeteredDevice, Reclaim};
pub use reserve::WithReserve;
pub use system::{keep_one_heap, return_free_heap};
pub use units::{bytes, bytes_needed, parse_bytes};
