//! A weight file under the names the blocks use, whoever wrote it.

use samovar_weights::{Renamed, WeightSource};

use crate::error::Result;
use crate::families::sam_checkpoint::OriginalNames;
use crate::families::{mobile_sam_checkpoint, sam1_checkpoint};

/// Families whose original authors have names of their own.
const ORIGINAL: [OriginalNames; 2] = [mobile_sam_checkpoint::NAMES, sam1_checkpoint::NAMES];

/// A tensor of every model of a family, under the names of the original authors or of transformers: where it is, weights are.
pub(crate) const MARKS: [&str; 5] = [
    mobile_sam_checkpoint::NAMES.mark,
    sam1_checkpoint::NAMES.mark,
    mobile_sam_checkpoint::MARK,
    sam1_checkpoint::MARK,
    "vision_encoder.trunk.stem.weight",
];

/// A weight file under the names the blocks use.
pub(crate) enum Named<'a> {
    /// It has them.
    Already(&'a dyn WeightSource),
    /// It has the original authors'.
    Original(Renamed<'a>),
}

impl<'a> Named<'a> {
    pub(crate) fn new(source: &'a dyn WeightSource) -> Result<Self> {
        if source.is_open() {
            return Ok(Named::Already(source));
        }
        match ORIGINAL.iter().find(|names| source.contains(names.mark)) {
            Some(names) => Ok(Named::Original(Renamed::new(source, names.map)?)),
            None => Ok(Named::Already(source)),
        }
    }

    pub(crate) fn source(&self) -> &dyn WeightSource {
        match self {
            Named::Already(source) => *source,
            Named::Original(renamed) => renamed,
        }
    }

    pub(crate) fn is_original(&self) -> bool {
        matches!(self, Named::Original(_))
    }

    /// What the file itself calls a tensor of the blocks.
    pub(crate) fn name_in_file(&self, name: String) -> String {
        match self {
            Named::Already(_) => name,
            Named::Original(renamed) => renamed.source_name(&name).to_owned(),
        }
    }
}
