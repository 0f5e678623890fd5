//! What classical tools reach: measured by `dev/peers/grabcut.py` with OpenCV and kept as a table, because a GrabCut of
//! our own would prove nothing about the one people use.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Written by `python dev/peers/grabcut.py PACK --json reference.json`.
const TABLE: &str = include_str!("reference.json");

/// The classical tools' figures on one pack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceTable {
    /// OpenCV's version.
    pub opencv: String,
    /// Of the names of the pack's pictures, as 16 hexadecimal digits; the figures hold for that pack only.
    #[serde(rename = "pack_fingerprint")]
    pub fingerprint: String,
    /// By tool.
    #[serde(rename = "results")]
    pub tools: BTreeMap<String, ReferenceFigure>,
}

/// One tool's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceFigure {
    /// IoU, averaged per source, then over sources.
    pub mean_over_sources: f64,
    /// Masks it was measured on: one per picture.
    pub masks: usize,
    /// IoU by source.
    pub sources: BTreeMap<String, f64>,
}

impl ReferenceTable {
    /// The figures for the pack with this fingerprint, if it was measured.
    pub(super) fn of_pack(fingerprint: u64) -> Option<Self> {
        let table: Self = serde_json::from_str(TABLE).ok()?;
        (table.fingerprint == format!("{fingerprint:016x}")).then_some(table)
    }
}
