//! What is said of the masks that were found.

use std::borrow::Cow;

use anyhow::Result;
use samovar::media::write::{CocoAnnotation, CocoSegmentation};
use samovar::{AlphaMask, BitMask, PredictedMask};
use serde_json::{Value, json};

use crate::results;

/// A mask that was found. Its pixels are not kept: those of some hundred masks would fill the memory.
#[derive(Debug)]
pub struct Found {
    /// Number of the prompt.
    pub object: usize,
    /// Place among the masks of the prompt, the likeliest first.
    pub rank: usize,
    /// The model's estimate of its IoU with the object.
    pub iou_score: f32,
    /// Number of its pixels.
    pub area: u64,
    /// What its prompt says it is.
    pub label: Option<String>,
}

/// A mask while it is written.
pub struct Answered<'a> {
    /// Its pixels.
    pub mask: &'a BitMask,
    /// What they were drawn from.
    pub predicted: &'a PredictedMask,
    /// What is known of it.
    pub found: &'a Found,
}

impl results::Found for Answered<'_> {
    fn mask(&self) -> Result<Cow<'_, BitMask>> {
        Ok(Cow::Borrowed(self.mask))
    }

    fn area(&self) -> u64 {
        self.found.area
    }

    fn label(&self) -> Option<&str> {
        self.found.label.as_deref()
    }

    fn alpha(&self) -> Result<AlphaMask> {
        Ok(self.predicted.alpha_of(self.mask)?)
    }

    fn annotation(&self, segmentation: CocoSegmentation) -> CocoAnnotation {
        let score = Some(f64::from(self.predicted.iou_score));
        CocoAnnotation { score, ..CocoAnnotation::new(0, 0, self.mask, segmentation) }
    }
}

/// One line per file, for people. `joined` are all masks together, as one file holds them.
pub fn described(found: &[Found], joined: &BitMask, files: usize) -> Vec<String> {
    let pixels = joined.size().area();
    let line = |area: u64, found: &[Found]| {
        let share = 100.0 * area as f64 / pixels as f64;
        let scores: Vec<String> = found.iter().map(|found| format!("{:.2}", found.iou_score)).collect();
        let nothing = if area == 0 { "; nothing found there, try another point or a box" } else { "" };
        format!("{area} pixels ({share:.1} %), predicted IoU {}{nothing}", scores.join(", "))
    };
    match files {
        0 | 1 => vec![line(joined.area(), found)],
        _ => found.iter().map(|one| line(one.area, std::slice::from_ref(one))).collect(),
    }
}

/// A mask in the JSON document.
pub fn mask_json(found: &Found, mask: &BitMask) -> Result<Value> {
    let annotation = CocoAnnotation::new(0, 0, mask, CocoSegmentation::compressed(mask)?);
    let mut document = json!({
        "object": found.object,
        "rank": found.rank,
        "iou_score": found.iou_score,
        "area": found.area,
        "bbox": annotation.bbox,
        "segmentation": annotation.segmentation,
    });
    if let Some(label) = &found.label {
        document["label"] = label.as_str().into();
    }
    Ok(document)
}
