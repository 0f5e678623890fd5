//! Sums of calls.

use std::time::Duration;

use samovar_tensor::Cost;

/// Calls of one operator in one stage.
#[derive(Debug, Clone, Copy, Default)]
pub struct OperatorTime {
    /// Number of calls.
    pub calls: u64,
    /// Their time together.
    pub duration: Duration,
    /// Their arithmetic and memory traffic.
    pub cost: Cost,
}
