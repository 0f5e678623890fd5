//! How full memory may get before something is done about it.

use std::fmt;

/// How full memory is. Each level asks for more than the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryLevel {
    /// Nothing has to be done.
    #[default]
    Calm,
    /// What lies idle should be given back: free blocks of pools.
    Pressure,
    /// What can be made again should be given back: caches. Batches should be smaller.
    Warning,
    /// Everything that can be given back should be, and no new work begins.
    Critical,
}

impl fmt::Display for MemoryLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calm => "calm",
            Self::Pressure => "pressure",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// From which share of memory in use each level holds, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryThresholds {
    /// From here on it is [`MemoryLevel::Pressure`].
    pub pressure: f64,
    /// From here on it is [`MemoryLevel::Warning`].
    pub warning: f64,
    /// From here on it is [`MemoryLevel::Critical`].
    pub critical: f64,
}

impl Default for MemoryThresholds {
    fn default() -> Self {
        Self { pressure: 0.80, warning: 0.85, critical: 0.95 }
    }
}

impl MemoryThresholds {
    /// Refuses what is no share, and levels out of order.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        let Self { pressure, warning, critical } = *self;
        let is_sound = 0.0 < pressure && pressure <= warning && warning <= critical && critical <= 1.0;
        if is_sound {
            return Ok(());
        }
        Err(format!(
            "thresholds of memory are {pressure}, {warning} and {critical}; expected shares over 0 and up to 1, \
             pressure below warning below critical"
        ))
    }

    /// The level at a share of memory in use. What cannot be told is calm.
    pub fn level_at(&self, share: f64) -> MemoryLevel {
        match share {
            share if share >= self.critical => MemoryLevel::Critical,
            share if share >= self.warning => MemoryLevel::Warning,
            share if share >= self.pressure => MemoryLevel::Pressure,
            _ => MemoryLevel::Calm,
        }
    }
}
