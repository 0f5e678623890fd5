//! A weight file under the names the blocks use, whoever wrote it.

use samovar_weights::{Renamed, WeightSource};

use crate::error::Result;
use crate::families::sam_checkpoint::OriginalNames;
use crate::families::{
    d_fine_checkpoint, edgetam_checkpoint, mobile_sam_checkpoint, sam1_checkpoint, sam2_checkpoint,
};

/// Families whose authors have names of their own.
const FOREIGN: [OriginalNames; 8] = [
    mobile_sam_checkpoint::NAMES,
    sam1_checkpoint::NAMES,
    sam2_checkpoint::ORIGINAL_NAMES,
    sam2_checkpoint::TRANSFORMERS_NAMES,
    edgetam_checkpoint::ORIGINAL_NAMES,
    edgetam_checkpoint::TRANSFORMERS_NAMES,
    d_fine_checkpoint::ORIGINAL_NAMES,
    d_fine_checkpoint::MODULE_NAMES,
];

/// A tensor of every model of a family, under the names of the original authors or of transformers: where it is, weights are.
pub(crate) const MARKS: [&str; 12] = [
    mobile_sam_checkpoint::NAMES.mark,
    sam1_checkpoint::NAMES.mark,
    mobile_sam_checkpoint::MARK,
    sam1_checkpoint::MARK,
    sam2_checkpoint::ORIGINAL_NAMES.mark,
    sam2_checkpoint::MARK,
    edgetam_checkpoint::ORIGINAL_NAMES.mark,
    edgetam_checkpoint::TRANSFORMERS_NAMES.mark,
    edgetam_checkpoint::MARK,
    "vision_encoder.trunk.stem.weight",
    d_fine_checkpoint::ORIGINAL_NAMES.mark,
    d_fine_checkpoint::MARK,
];

/// A weight file under the names the blocks use.
pub(crate) enum Named<'a> {
    /// It has them.
    Already(&'a dyn WeightSource),
    /// It has its authors'.
    Foreign(Renamed<'a>),
}

impl<'a> Named<'a> {
    pub(crate) fn new(source: &'a dyn WeightSource) -> Result<Self> {
        if source.is_open() {
            return Ok(Named::Already(source));
        }
        match FOREIGN.iter().find(|names| source.contains(names.mark)) {
            Some(names) => Ok(Named::Foreign(Renamed::new(source, names.map)?)),
            None => Ok(Named::Already(source)),
        }
    }

    pub(crate) fn source(&self) -> &dyn WeightSource {
        match self {
            Named::Already(source) => *source,
            Named::Foreign(renamed) => renamed,
        }
    }

    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, Named::Foreign(_))
    }

    /// What the file itself calls a tensor of the blocks.
    pub(crate) fn name_in_file(&self, name: String) -> String {
        match self {
            Named::Already(_) => name,
            Named::Foreign(renamed) => renamed.source_name(&name).to_owned(),
        }
    }
}
