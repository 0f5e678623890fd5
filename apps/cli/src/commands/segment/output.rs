//! What masks are written as.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use samovar::media::write::{
    CocoAnnotation, CocoCategory, CocoDataset, CocoImage, CocoSegmentation, Overlay, OverlayStyle,
    encode_cut_out_png, encode_mask_png, encode_rgb_png, polygon_file,
};
use samovar::{AlphaMask, BitMask, PredictedMask, RgbImage};
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::usage;
use crate::inputs::InputImage;
use crate::outputs::{Files, is_stdout};

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
        let Some(out) = out.filter(|out| is_single && !is_stdout(out)) else {
            return Ok(asked.unwrap_or(Format::Cutout));
        };
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

impl Writer {
    /// The files that so many masks are written to.
    pub fn files(&self, out: &Path, masks: usize) -> Vec<PathBuf> {
        match self.is_numbered() && masks > 1 {
            true => (0..masks).map(|index| numbered(out, index)).collect(),
            false => vec![out.to_owned()],
        }
    }

    /// Whether a mask of so many pixels cannot be written.
    pub fn leaves_out(&self, area: u64) -> bool {
        area == 0 && self.outlines && self.format == Format::Coco
    }

    fn is_numbered(&self) -> bool {
        self.separate && self.format != Format::Coco
    }

    /// Starts on `out`, or numbered files beside it; `files` takes them.
    pub fn start<'a>(
        &'a self,
        out: PathBuf,
        input: &'a InputImage,
        image: &'a RgbImage,
        files: Files<'a>,
    ) -> Writing<'a> {
        let sheet = Sheet::new(self, image);
        Writing { writer: self, out, input, image, sheet, masks: 0, files }
    }
}

/// The files of one image, written while its masks are found.
pub struct Writing<'a> {
    writer: &'a Writer,
    out: PathBuf,
    input: &'a InputImage,
    image: &'a RgbImage,
    /// Of all masks, or of the first if each has its own.
    sheet: Sheet<'a>,
    masks: usize,
    /// Those that have their bytes.
    files: Files<'a>,
}

impl Writing<'_> {
    /// Takes the next mask.
    pub fn add(&mut self, mask: &BitMask, predicted: &PredictedMask) -> Result<()> {
        if self.masks > 0 && self.writer.is_numbered() {
            let file = numbered(&self.out, self.masks);
            let mut sheet = Sheet::new(self.writer, self.image);
            sheet.add(mask, predicted)?;
            self.files.add(&file, &sheet.encode(self.input)?)?;
        } else {
            self.sheet.add(mask, predicted)?;
        }
        self.masks += 1;
        Ok(())
    }

    /// Writes what is left; tells which files there are.
    pub fn finish(mut self) -> Result<Vec<PathBuf>> {
        // The first mask has waited, because without others its file has no number.
        let first = if self.files.is_empty() { self.out } else { numbered(&self.out, 0) };
        self.files.add(&first, &self.sheet.encode(self.input)?)?;
        let mut files = self.files.finish()?;
        files.rotate_right(1);
        Ok(files)
    }
}

/// What one file is made of, joined mask by mask.
struct Sheet<'a> {
    writer: &'a Writer,
    image: &'a RgbImage,
    content: Content,
}

enum Content {
    Mask(Option<BitMask>),
    Alpha(Option<AlphaMask>),
    Overlay(Overlay),
    Annotations(Vec<CocoAnnotation>),
}

impl<'a> Sheet<'a> {
    fn new(writer: &'a Writer, image: &'a RgbImage) -> Self {
        let content = match writer.format {
            Format::Cutout => Content::Alpha(None),
            Format::Overlay => Content::Overlay(Overlay::new(image, style_for(image))),
            Format::Coco => Content::Annotations(Vec::new()),
            Format::Png | Format::Rle | Format::Polygon => Content::Mask(None),
        };
        Self { writer, image, content }
    }

    fn add(&mut self, mask: &BitMask, predicted: &PredictedMask) -> Result<()> {
        match &mut self.content {
            Content::Mask(joined) => join(joined, mask)?,
            Content::Alpha(joined) => {
                let alpha = predicted.alpha_of(mask)?;
                *joined = Some(match joined.take() {
                    None => alpha,
                    Some(before) => {
                        let both = before.values().iter().zip(alpha.values());
                        AlphaMask::from_raw(alpha.size(), both.map(|(&a, &b)| a.max(b)).collect())?
                    }
                });
            }
            Content::Overlay(overlay) => overlay.add(mask)?,
            // pycocotools raises on an annotation without outlines, so an empty mask is none; the summary counts them.
            Content::Annotations(_) if self.writer.leaves_out(mask.area()) => {}
            Content::Annotations(annotations) => {
                let segmentation = match self.writer.outlines {
                    true => CocoSegmentation::polygons(mask, self.writer.tolerance),
                    false => CocoSegmentation::compressed(mask),
                };
                let score = Some(f64::from(predicted.iou_score));
                let id = annotations.len() as u64 + 1;
                annotations.push(CocoAnnotation { score, ..CocoAnnotation::new(id, 1, mask, segmentation) });
            }
        }
        Ok(())
    }

    /// The bytes of the file.
    fn encode(self, input: &InputImage) -> Result<Vec<u8>> {
        let Self { writer, image, content } = self;
        Ok(match content {
            Content::Alpha(alpha) => encode_cut_out_png(image, &alpha.context("no masks")?)?,
            Content::Overlay(overlay) => encode_rgb_png(&overlay.finish())?,
            Content::Annotations(annotations) => json_line(&coco(input, image, annotations))?,
            Content::Mask(mask) => {
                let mask = mask.context("no masks")?;
                match writer.format {
                    Format::Rle => json_line(&CocoSegmentation::compressed(&mask))?,
                    Format::Polygon => json_line(&polygon_file(&mask, writer.tolerance))?,
                    _ => encode_mask_png(&mask)?,
                }
            }
        })
    }
}

/// A document as the one line of a file.
pub fn json_line(document: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    Ok(line)
}

fn coco(input: &InputImage, image: &RgbImage, annotations: Vec<CocoAnnotation>) -> CocoDataset {
    let file_name = input.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    CocoDataset {
        info: json!({ "description": "masks by samovar" }),
        images: vec![CocoImage { id: 1, file_name, width: image.width(), height: image.height() }],
        annotations,
        categories: vec![CocoCategory { id: 1, name: "object".to_owned() }],
    }
}

/// Adds a mask to those that were joined before.
pub fn join(joined: &mut Option<BitMask>, mask: &BitMask) -> Result<()> {
    match joined {
        Some(joined) => joined.union_with(mask)?,
        None => *joined = Some(mask.clone()),
    }
    Ok(())
}

/// Lines that stay visible on large images and leave something of small ones.
pub fn style_for(image: &RgbImage) -> OverlayStyle {
    let line_width = (image.size().longest_side() / 500).clamp(1, 12);
    OverlayStyle { line_width, ..OverlayStyle::default() }
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
pub fn mask_json(found: &Found, mask: &BitMask) -> Value {
    let annotation = CocoAnnotation::new(0, 0, mask, CocoSegmentation::compressed(mask));
    json!({
        "object": found.object,
        "rank": found.rank,
        "iou_score": found.iou_score,
        "area": found.area,
        "bbox": annotation.bbox,
        "segmentation": annotation.segmentation,
    })
}
