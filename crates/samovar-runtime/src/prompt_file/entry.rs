//! One object to find, whatever format it came in.

use std::path::PathBuf;

use samovar_geometry::{Box2, Image, Point, Size};
use samovar_media::mask::decode_labels;
use samovar_media::write::CocoSegmentation;
use samovar_media::{BitMask, DecodeLimits};
use serde::{Deserialize, Serialize};

use super::base64;
use crate::error::{Error, Result};
use crate::prompt::{MAX_POINTS, MaskPrompt, Prompt, PromptPoint};

/// Most characters a label may have.
const MAX_LABEL_CHARACTERS: usize = 1024;

/// One object to find.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
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
    /// The frame of a video or sequence that it is about, by the sequence's own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<i64>,
    /// Which object of a video it is about, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<u32>,
    /// What the object is; a class of the results where their format has classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Rough masks in the document itself; together they are the mask to refine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segmentations: Vec<Segmentation>,
    /// `[width, height]` of the image that the coordinates are of, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[u32; 2]>,
    /// Which row of the document it is, from 0; of several that are one object, the first.
    #[serde(skip)]
    pub row: usize,
}

/// A rough mask in a document.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Segmentation {
    /// A part of the image, as labelme has it.
    Crop {
        /// A PNG in base64; what is not 0 is set.
        png: String,
        /// The pixel of the image that its first pixel is.
        at: [i64; 2],
    },
    /// Outlines or run lengths.
    Coco(CocoSegmentation),
}

impl Segmentation {
    /// The mask in an image of this size.
    ///
    /// # Errors
    /// [`Error::Media`] for what is damaged, of another size, or larger than the image.
    fn to_mask(&self, image: Size<Image>) -> Result<BitMask> {
        let (png, at) = match self {
            Self::Coco(segmentation) => return Ok(segmentation.to_mask(image)?),
            Self::Crop { png, at } => (png, at),
        };
        let png = base64::decode(png).ok_or_else(|| Error::usage("its mask is no base64"))?;
        // A part of the image has no more pixels than the image, whatever a few bytes claim.
        let limits = DecodeLimits { max_pixels: image.area(), ..DecodeLimits::default() };
        let labels = decode_labels(&png, &limits)?;
        let size = labels.size();
        let place = |at: i64, extent: u32, whole: u32| {
            u32::try_from(at).ok().filter(|&at| u64::from(at) + u64::from(extent) <= u64::from(whole))
        };
        match (place(at[0], size.width, image.width), place(at[1], size.height, image.height)) {
            (Some(x), Some(y)) => {
                let part = BitMask::from_values(size, labels.labels(), |label: u16| label > 0)?;
                Ok(part.placed(image, x, y)?)
            }
            _ => Err(Error::usage(format!(
                "its mask of {size} at {},{} is not within the image of {image}",
                at[0], at[1]
            ))),
        }
    }
}

impl PromptEntry {
    /// What is wrong with it, whatever the image.
    pub(super) fn check(&self) -> Result<(), String> {
        let has_mask = self.mask.is_some() || !self.segmentations.is_empty();
        if self.points.is_empty() && self.bounds.is_none() && !has_mask {
            return Err("it has neither points nor a box nor a mask".to_owned());
        }
        if self.points.len() > MAX_POINTS {
            return Err(format!("{} points; at most {MAX_POINTS} are taken", self.points.len()));
        }
        if self.mask.is_some() && !self.segmentations.is_empty() {
            return Err("it has a mask and segmentations; one of them is taken".to_owned());
        }
        let mut numbers = self.points.iter().flatten().chain(self.bounds.iter().flatten());
        if numbers.any(|number| !number.is_finite()) {
            return Err("it has coordinates that are out of all range".to_owned());
        }
        if self.label.as_ref().is_some_and(|label| label.len() > MAX_LABEL_CHARACTERS) {
            return Err(format!("its label is over {MAX_LABEL_CHARACTERS} characters"));
        }
        match self.points.iter().find(|[.., label]| *label != 0.0 && *label != 1.0) {
            Some([x, y, label]) => {
                Err(format!("point {x},{y} is labelled {label}; 1 is on the object and 0 beside it"))
            }
            None => Ok(()),
        }
    }

    /// The prompt, with the mask that [`PromptEntry::mask`] names. Masks in the document itself take an image:
    /// [`PromptEntry::drawn`].
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

    /// The mask of [`PromptEntry::segmentations`] in an image of this size, if there are any. One that covers no pixel's
    /// centre, as a thin outline may, is none where a box or points say what is meant.
    ///
    /// # Errors
    /// [`Error::Usage`] for masks that are damaged or not within the image.
    pub fn drawn(&self, image: Size<Image>) -> Result<Option<BitMask>> {
        let mut joined: Option<BitMask> = None;
        for segmentation in &self.segmentations {
            let mask = segmentation.to_mask(image).map_err(|error| Error::usage(error.to_string()))?;
            match &mut joined {
                Some(joined) => joined.union_with(&mask)?,
                None => joined = Some(mask),
            }
        }
        let says_more = self.bounds.is_some() || !self.points.is_empty();
        Ok(joined.filter(|mask| !says_more || !mask.is_empty()))
    }

    /// Refuses an image of another size than the coordinates are of.
    ///
    /// # Errors
    /// [`Error::Usage`] that names both sizes.
    pub fn check_size(&self, image: Size<Image>) -> Result<()> {
        let Some([width, height]) = self.size else { return Ok(()) };
        if (width, height) == (image.width, image.height) {
            return Ok(());
        }
        let turned = match (width, height) == (image.height, image.width) {
            true => "; the file's are those of the image before EXIF rotation",
            false => "",
        };
        Err(Error::usage(format!(
            "the file's coordinates are of an image of {width}x{height}, and this one is {image}{turned}; scale them, or take \
             the size out of the file if it is wrong"
        )))
    }
}
