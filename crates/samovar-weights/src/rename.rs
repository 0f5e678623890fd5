//! Name maps: the names of one publisher to those of another, as data.

use std::collections::BTreeMap;

use samovar_tensor::{Shape, Tensor};

use crate::{Error, Result, WeightSource};

/// Renames consecutive dotted segments, wherever in a name they stand.
///
/// `*` matches one segment of digits; the n-th `*` of `to` takes what the n-th `*` of `from` matched. A `from` that
/// starts with `^` matches only at the start of the name, one that ends with `$` only at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Segments to find.
    pub from: &'static str,
    /// Segments to put in their place.
    pub to: &'static str,
}

/// Tables of renames. Rules apply one after the other, each to the result of the ones before.
#[derive(Debug, Clone, Copy)]
pub struct NameMap {
    /// Tables of rules, in order; models share some of them.
    pub tables: &'static [&'static [Rule]],
}

impl NameMap {
    /// The new name of `name`.
    pub fn apply(&self, name: &str) -> String {
        let mut segments: Vec<String> = name.split('.').map(str::to_owned).collect();
        for rule in self.tables.iter().copied().flatten() {
            rule.apply(&mut segments);
        }
        segments.join(".")
    }
}

impl Rule {
    /// `from` becomes `to`.
    pub const fn new(from: &'static str, to: &'static str) -> Self {
        Self { from, to }
    }

    fn apply(&self, segments: &mut Vec<String>) {
        let (at_start, from) = match self.from.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, self.from),
        };
        let (at_end, from) = match from.strip_suffix('$') {
            Some(rest) => (true, rest),
            None => (false, from),
        };
        let pattern: Vec<&str> = from.split('.').collect();
        let Some(last_start) = segments.len().checked_sub(pattern.len()) else { return };
        let starts = match (at_start, at_end) {
            (true, true) if last_start > 0 => return,
            (true, _) => 0..=0,
            (_, true) => last_start..=last_start,
            _ => 0..=last_start,
        };
        for start in starts {
            let found = &segments[start..start + pattern.len()];
            let matches = found.iter().zip(&pattern).all(|(segment, &wanted)| match wanted {
                "*" => !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()),
                wanted => segment == wanted,
            });
            if !matches {
                continue;
            }
            let stars = found.iter().zip(&pattern).filter(|&(_, &wanted)| wanted == "*");
            let mut stars = stars.map(|(segment, _)| segment.clone()).collect::<Vec<_>>().into_iter();
            let replacement: Vec<String> = (self.to.split('.').filter(|segment| !segment.is_empty()))
                .map(|segment| if segment == "*" { stars.next().unwrap_or_default() } else { segment.into() })
                .collect();
            segments.splice(start..start + pattern.len(), replacement);
            return;
        }
    }
}

/// A source under the names a [`NameMap`] gives it.
pub struct Renamed<'a> {
    source: &'a dyn WeightSource,
    source_names: BTreeMap<String, String>,
}

impl<'a> Renamed<'a> {
    /// The tensors of `source` under other names.
    ///
    /// # Errors
    /// [`Error::Malformed`] when two tensors get the same name.
    pub fn new(source: &'a dyn WeightSource, map: NameMap) -> Result<Self> {
        let mut source_names = BTreeMap::new();
        for name in source.names() {
            let renamed = map.apply(&name);
            if let Some(other) = source_names.insert(renamed.clone(), name.clone()) {
                let what = format!("tensors `{other}` and `{name}` are both `{renamed}` to the model");
                return Err(Error::malformed(&source.origin(), what));
            }
        }
        Ok(Self { source, source_names })
    }

    /// What the source calls the tensor `name`; unknown names are the same in both.
    pub fn source_name<'n>(&'n self, name: &'n str) -> &'n str {
        self.source_names.get(name).map_or(name, String::as_str)
    }
}

impl WeightSource for Renamed<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        // An unknown name goes to the source as it is, which knows how to say that it is missing.
        self.source.tensor(self.source_name(name), shape)
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        self.source.shape(self.source_names.get(name)?)
    }

    fn names(&self) -> Vec<String> {
        self.source_names.keys().cloned().collect()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.source.metadata(key)
    }

    fn all_metadata(&self) -> BTreeMap<String, String> {
        self.source.all_metadata()
    }

    fn origin(&self) -> String {
        self.source.origin()
    }
}

#[cfg(test)]
#[path = "rename_tests.rs"]
mod tests;
