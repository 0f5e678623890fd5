//! One table of models; help, documentation and APIs read it.

use crate::Family;

/// A model samovar knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// Name on the command line: a Hugging Face repository where there is one.
    pub id: &'static str,
    /// Family.
    pub family: Family,
    /// One line for people.
    pub title: &'static str,
    /// Licence of the weights (SPDX where there is one).
    pub licence: &'static str,
    /// Where the weights are published.
    pub source: &'static str,
    /// Files of the Hugging Face repository that are needed; empty when there is none.
    pub files: &'static [&'static str],
    /// File names under which the original authors publish the weights.
    pub original_files: &'static [&'static str],
    /// Parameters.
    pub parameters: u64,
    /// Approximate size of the download.
    pub size_bytes: u64,
}

/// All models samovar knows by name.
pub const CATALOGUE: &[CatalogueEntry] = &[];
