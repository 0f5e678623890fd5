//! Prompts for one or many images as a JSON document:
//! `{"prompts": [{"image": "a.jpg", "points": [[420, 300, 1]], "box": [x0, y0, x1, y1], "mask": "a.png"}]}`.

use std::path::PathBuf;

use samovar_geometry::{Box2, Point};
use samovar_media::BitMask;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::prompt::{MAX_POINTS, MaskPrompt, Prompt, PromptPoint};

/// Most bytes a document may have.
pub const MAX_BYTES: usize = 64 << 20;

const EXPECTED: &str =
    r#"{"prompts": [{"image": "a.jpg", "points": [[x, y, 1]], "box": [x0, y0, x1, y1], "mask": "a.png"}]}"#;

/// The document.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PromptFile {
    /// One entry per object.
    pub prompts: Vec<PromptEntry>,
}

/// One object to find.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PromptEntry {
    /// File name or path of the image; all images if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// `[x, y, 1]` on the object, `[x, y, 0]` beside it, in pixels of the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<[f64; 3]>,
    /// `[x0, y0, x1, y1]` in pixels of the image, any two opposite corners.
    #[serde(default, rename = "box", skip_serializing_if = "Option::is_none")]
    pub bounds: Option<[f64; 4]>,
    /// Picture of a rough mask, relative to the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<PathBuf>,
}

impl PromptFile {
    /// Reads a document.
    ///
    /// # Errors
    /// [`Error::Usage`] for what is no such document, is empty or longer than [`MAX_BYTES`], and, with its number from 1,
    /// for an entry without a prompt, with too many points or with a third number that is neither 0 nor 1.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() > MAX_BYTES {
            return Err(Error::usage(format!("{} bytes are too many for a file of prompts", json.len())));
        }
        // Editors on Windows start files with a byte order mark, which is no JSON.
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let file: Self = serde_json::from_slice(json)
            .map_err(|error| Error::usage(format!("{error}; expected {EXPECTED}")))?;
        if file.prompts.is_empty() {
            return Err(Error::usage(format!("no prompts in this file; expected {EXPECTED}")));
        }
        for (index, entry) in file.prompts.iter().enumerate() {
            entry.check().map_err(|what| Error::usage(format!("prompt {}: {what}", index + 1)))?;
        }
        Ok(file)
    }
}

impl PromptEntry {
    fn check(&self) -> Result<(), String> {
        if self.points.is_empty() && self.bounds.is_none() && self.mask.is_none() {
            return Err("it has neither points nor a box nor a mask".to_owned());
        }
        if self.points.len() > MAX_POINTS {
            return Err(format!("{} points; at most {MAX_POINTS} are taken", self.points.len()));
        }
        match self.points.iter().find(|[.., label]| *label != 0.0 && *label != 1.0) {
            Some([x, y, label]) => {
                Err(format!("point {x},{y} is labelled {label}; 1 is on the object and 0 beside it"))
            }
            None => Ok(()),
        }
    }

    /// The prompt, with the mask that [`PromptEntry::mask`] names.
    pub fn prompt(&self, mask: Option<BitMask>) -> Prompt {
        let point = |&[x, y, label]: &[f64; 3]| PromptPoint { at: Point::new(x, y), positive: label != 0.0 };
        Prompt {
            points: self.points.iter().map(point).collect(),
            bounds: self
                .bounds
                .map(|[x0, y0, x1, y1]| Box2::from_corners(Point::new(x0, y0), Point::new(x1, y1))),
            mask: mask.map(MaskPrompt::Mask),
            multimask: false,
        }
    }
}

#[cfg(test)]
#[path = "prompt_file_tests.rs"]
mod tests;
