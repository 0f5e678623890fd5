//! Name maps: the names of one publisher to those of another, as data.

/// One rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Dotted segments to find.
    pub from: &'static str,
    /// Dotted segments to put in their place.
    pub to: &'static str,
}

/// A table of renames.
#[derive(Debug, Clone, Copy)]
pub struct NameMap {
    /// The rules, in order.
    pub rules: &'static [Rule],
}

/// A source under other names.
pub struct Renamed;
