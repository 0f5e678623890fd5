//! What a check reports.

use std::fmt;

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
    pub(super) fn new(
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
