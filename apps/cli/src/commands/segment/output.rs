//! What masks are written as.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use samovar::media::write::{
    CocoAnnotation, CocoCategory, CocoDataset, CocoImage, CocoSegmentation, OverlayStyle, draw_overlay,
    polygon_file, write_cut_out_png, write_json, write_mask_png, write_rgb_png,
};
use samovar::{AlphaMask, BitMask, PredictedMask, RgbImage};
use serde_json::{Value, json};

use crate::failure::usage;
use crate::inputs::InputImage;

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The object with soft edges on nothing: RGBA PNG
    Cutout,
    /// Binary mask: greyscale PNG, 0 and 255
    Png,
    /// The image with the masks drawn on it: PNG
    Overlay,
    /// COCO run lengths: {"size": [height, width], "counts": "..."}
    Rle,
    /// A COCO data set with one annotation per object: JSON
    Coco,
    /// Outlines with holes and parts: JSON
    Polygon,
}

impl Format {
    /// The one asked for, or the one the ending of the output means.
    pub fn choose(asked: Option<Format>, out: Option<&Path>, is_single: bool) -> Result<Format> {
        let Some(out) = out.filter(|_| is_single) else { return Ok(asked.unwrap_or(Format::Cutout)) };
        let ending = out.extension().and_then(|ending| ending.to_str()).unwrap_or("").to_ascii_lowercase();
        match (asked, ending.as_str()) {
            (Some(format), ending) if ending == format.file_ending() => Ok(format),
            // Nothing is lost by another ending, but PNG in a .jpg helps nobody.
            (Some(format), "png" | "json" | "jpg" | "jpeg" | "webp" | "tif" | "tiff" | "bmp" | "gif") => {
                let (name, file_ending) = (format.name(), format.file_ending());
                Err(usage(format!("\"{}\": {name} is written as .{file_ending}", out.display())))
            }
            (Some(format), _) => Ok(format),
            (None, "png") => Ok(Format::Cutout),
            (None, "json") => Ok(Format::Coco),
            (None, _) => Err(usage(format!(
                "\"{}\": what should be written? give a name ending in .png or .json, or --format",
                out.display()
            ))),
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Cutout => "cutout",
            Format::Png => "png",
            Format::Overlay => "overlay",
            Format::Rle => "rle",
            Format::Coco => "coco",
            Format::Polygon => "polygon",
        }
    }

    /// Ending of its files.
    pub fn file_ending(self) -> &'static str {
        match self {
            Format::Cutout | Format::Png | Format::Overlay => "png",
            Format::Rle | Format::Coco | Format::Polygon => "json",
        }
    }

    /// Ending of a file that was not named by the user; tells what is in it.
    pub fn ending(self) -> String {
        match self {
            Format::Png => "mask.png".to_owned(),
            _ => format!("{}.{}", self.name(), self.file_ending()),
        }
    }
}

/// A mask that was found.
pub struct Found {
    /// Number of the prompt.
    pub object: usize,
    /// Place among the masks of the prompt, the likeliest first.
    pub rank: usize,
    /// Its pixels.
    pub mask: BitMask,
    /// Its score and logits.
    pub predicted: PredictedMask,
}

/// Writes the masks of one image.
pub struct Writer {
    /// What to write.
    pub format: Format,
    /// One file per mask.
    pub separate: bool,
    /// Of outlines, in pixels.
    pub tolerance: f64,
    /// COCO with outlines.
    pub outlines: bool,
}

/// Refuses places that cannot be written to, before time is spent on what would go there.
pub fn check_place(out: &Path) -> Result<()> {
    if out.is_dir() {
        return Err(usage(format!("\"{}\" is a folder; --out takes a file for one image", out.display())));
    }
    if std::fs::metadata(out).is_ok_and(|found| !found.is_file()) {
        return Err(usage(format!(
            "\"{}\" is a device or a pipe; files are written whole and then put in place: name a file",
            out.display()
        )));
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(anyhow!(
            "\"{}\": there is no folder \"{}\"; make it first",
            out.display(),
            parent.display()
        ));
    }
    Ok(())
}

impl Writer {
    /// Whether an earlier run wrote this already.
    pub fn is_done(&self, out: &Path) -> bool {
        out.is_file() || (self.separate && numbered(out, 0).is_file())
    }

    /// Writes `out`, or numbered files beside it; tells which.
    pub fn write(
        &self,
        out: &Path,
        input: &InputImage,
        image: &RgbImage,
        found: &[Found],
    ) -> Result<Vec<PathBuf>> {
        if !self.separate || found.len() == 1 || self.format == Format::Coco {
            self.write_file(out, input, image, &found.iter().collect::<Vec<_>>())?;
            return Ok(vec![out.to_owned()]);
        }
        let mut files = Vec::new();
        // The first number goes last: it tells a later run that all are there.
        for (index, mask) in found.iter().enumerate().rev() {
            let file = numbered(out, index);
            self.write_file(&file, input, image, &[mask])?;
            files.insert(0, file);
        }
        Ok(files)
    }

    fn write_file(&self, out: &Path, input: &InputImage, image: &RgbImage, found: &[&Found]) -> Result<()> {
        match self.format {
            Format::Cutout => write_cut_out_png(out, image, &joined_alpha(found)?)?,
            Format::Png => write_mask_png(out, &joined(found)?)?,
            Format::Overlay => {
                let masks: Vec<&BitMask> = found.iter().map(|found| &found.mask).collect();
                write_rgb_png(out, &draw_overlay(image, &masks, &style_for(image))?)?;
            }
            Format::Rle => write_json(out, &CocoSegmentation::compressed(&joined(found)?))?,
            Format::Polygon => write_json(out, &polygon_file(&joined(found)?, self.tolerance))?,
            Format::Coco => write_json(out, &self.coco(input, image, found))?,
        }
        Ok(())
    }

    fn coco(&self, input: &InputImage, image: &RgbImage, found: &[&Found]) -> CocoDataset {
        let file_name = input.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let annotations = found.iter().enumerate().map(|(index, found)| {
            let segmentation = match self.outlines {
                true => CocoSegmentation::polygons(&found.mask, self.tolerance),
                false => CocoSegmentation::compressed(&found.mask),
            };
            let score = Some(f64::from(found.predicted.iou_score));
            CocoAnnotation { score, ..CocoAnnotation::new(index as u64 + 1, 1, &found.mask, segmentation) }
        });
        CocoDataset {
            images: vec![CocoImage { id: 1, file_name, width: image.width(), height: image.height() }],
            annotations: annotations.collect(),
            categories: vec![CocoCategory { id: 1, name: "object".to_owned() }],
        }
    }
}

/// Lines that stay visible on large images and leave something of small ones.
pub fn style_for(image: &RgbImage) -> OverlayStyle {
    let line_width = (image.size().longest_side() / 500).clamp(1, 12);
    OverlayStyle { line_width, ..OverlayStyle::default() }
}

fn joined(found: &[&Found]) -> Result<BitMask> {
    let (first, others) = found.split_first().context("no masks")?;
    let mut all = first.mask.clone();
    for other in others {
        all.union_with(&other.mask)?;
    }
    Ok(all)
}

fn joined_alpha(found: &[&Found]) -> Result<AlphaMask> {
    let (first, others) = found.split_first().context("no masks")?;
    let mut all = first.predicted.alpha()?;
    for other in others {
        let other = other.predicted.alpha()?;
        let values = all.values().iter().zip(other.values()).map(|(&a, &b)| a.max(b)).collect();
        all = AlphaMask::from_raw(all.size(), values)?;
    }
    Ok(all)
}

/// `mask.png` number 0 is `mask-1.png`.
fn numbered(path: &Path, index: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(ending) => format!("{stem}-{}.{}", index + 1, ending.to_string_lossy()),
        None => format!("{stem}-{}", index + 1),
    };
    path.with_file_name(name)
}

/// One line per file, for people.
pub fn described(found: &[Found], files: usize) -> Vec<String> {
    let line = |found: &[&Found]| {
        let area: u64 = found.iter().map(|found| found.mask.area()).sum();
        let pixels = found.first().map_or(1, |found| found.mask.size().area());
        let share = 100.0 * area as f64 / pixels as f64;
        let scores: Vec<String> =
            found.iter().map(|found| format!("{:.2}", found.predicted.iou_score)).collect();
        let nothing = if area == 0 { "; nothing found there, try another point or a box" } else { "" };
        format!("{area} pixels ({share:.1} %), predicted IoU {}{nothing}", scores.join(", "))
    };
    match files {
        0 | 1 => vec![line(&found.iter().collect::<Vec<_>>())],
        _ => found.iter().map(|found| line(&[found])).collect(),
    }
}

/// A mask in the JSON document.
pub fn mask_json(found: &Found) -> Result<Value> {
    let annotation = CocoAnnotation::new(0, 0, &found.mask, CocoSegmentation::compressed(&found.mask));
    Ok(json!({
        "object": found.object,
        "rank": found.rank,
        "iou_score": found.predicted.iou_score,
        "area": found.mask.area(),
        "bbox": annotation.bbox,
        "segmentation": annotation.segmentation,
    }))
}
