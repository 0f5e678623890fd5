//! What one file is made of, mask by mask: the masks of an image need not be in memory together.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Context, Result};
use samovar::media::mask::LabelPainter;
use samovar::media::write::{
    CocoAnnotation, CocoCategory, CocoDataset, CocoImage, CocoSegmentation, Overlay, OverlayStyle,
    PolygonFile, encode_cut_out_png, encode_label_png, encode_mask_png, encode_rgb_png, polygon_file,
};
use samovar::{AlphaMask, BitMask, RgbImage, Rle};
use serde::Serialize;
use serde_json::Value;

use super::format::Format;

/// A mask that was found, and what is known of it.
pub trait Found {
    /// Its pixels.
    fn mask(&self) -> Cow<'_, BitMask>;
    /// Its run lengths.
    fn rle(&self) -> Cow<'_, Rle> {
        Cow::Owned(Rle::from_mask(&self.mask()))
    }
    /// Number of its pixels.
    fn area(&self) -> u64;
    /// Its pixels with soft edges.
    fn alpha(&self) -> Result<AlphaMask>;
    /// Its annotation with this segmentation. The numbers of annotation, image and category are the sheet's.
    fn annotation(&self, segmentation: CocoSegmentation) -> CocoAnnotation;
    /// What it shows, where that is known.
    fn label(&self) -> Option<&str> {
        None
    }
}

/// How a file is written.
#[derive(Debug, Clone)]
pub struct SheetStyle {
    /// What to write.
    pub format: Format,
    /// Whether masks stay apart in formats that could join them: their files are lists then.
    pub listed: bool,
    /// Of outlines, in pixels.
    pub tolerance: f64,
    /// COCO with outlines.
    pub outlines: bool,
    /// `info` of COCO.
    pub info: Value,
}

impl SheetStyle {
    /// Whether a mask of so many pixels cannot be written.
    pub fn leaves_out(&self, area: u64) -> bool {
        area == 0 && self.outlines && self.format == Format::Coco
    }
}

/// What a mask without a label is called.
const OBJECT: &str = "object";

/// One file, joined mask by mask.
pub struct Sheet<'a> {
    style: &'a SheetStyle,
    image: &'a RgbImage,
    content: Content,
}

enum Content {
    Mask(Option<BitMask>),
    Alpha(Option<AlphaMask>),
    Overlay(Overlay),
    Labels(LabelPainter),
    Rles(Vec<CocoSegmentation>),
    Polygons(Vec<PolygonFile>),
    Annotations(Vec<CocoAnnotation>, Categories),
}

impl<'a> Sheet<'a> {
    /// A file without masks.
    pub fn new(style: &'a SheetStyle, image: &'a RgbImage) -> Self {
        let content = match style.format {
            Format::Cutout => Content::Alpha(None),
            Format::Overlay => Content::Overlay(Overlay::new(image, overlay_style(image))),
            Format::Labels => Content::Labels(LabelPainter::new(image.size())),
            Format::Coco => Content::Annotations(Vec::new(), Categories::default()),
            Format::Rle if style.listed => Content::Rles(Vec::new()),
            Format::Polygon if style.listed => Content::Polygons(Vec::new()),
            Format::Png | Format::Rle | Format::Polygon => Content::Mask(None),
        };
        Self { style, image, content }
    }

    /// Takes the next mask.
    pub fn add(&mut self, found: &dyn Found) -> Result<()> {
        match &mut self.content {
            Content::Mask(joined) => join(joined, &found.mask())?,
            Content::Alpha(joined) => {
                let alpha = found.alpha()?;
                *joined = Some(match joined.take() {
                    None => alpha,
                    Some(before) => {
                        let both = before.values().iter().zip(alpha.values());
                        AlphaMask::from_raw(alpha.size(), both.map(|(&a, &b)| a.max(b)).collect())?
                    }
                });
            }
            Content::Overlay(overlay) => overlay.add(&found.mask())?,
            Content::Labels(labels) => labels.add(&found.mask())?,
            Content::Rles(rles) => rles.push(CocoSegmentation::compressed_rle(&found.rle())),
            Content::Polygons(files) => files.push(polygon_file(&found.mask(), self.style.tolerance)),
            // pycocotools raises on an annotation without outlines, so an empty mask is none; the summary counts them.
            Content::Annotations(..) if self.style.leaves_out(found.area()) => {}
            Content::Annotations(annotations, categories) => {
                let segmentation = match self.style.outlines {
                    true => CocoSegmentation::polygons(&found.mask(), self.style.tolerance),
                    false => CocoSegmentation::compressed_rle(&found.rle()),
                };
                let annotation = found.annotation(segmentation);
                let id = annotations.len() as u64 + 1;
                let category_id = categories.number(found.label().unwrap_or(OBJECT));
                annotations.push(CocoAnnotation { id, image_id: 1, category_id, ..annotation });
            }
        }
        Ok(())
    }

    /// The COCO document, if this is one.
    pub fn dataset(self, file_name: &str) -> Option<CocoDataset> {
        let Content::Annotations(annotations, mut categories) = self.content else { return None };
        // Readers look for the class of what is not there, too.
        if categories.all.is_empty() {
            categories.number(OBJECT);
        }
        let (width, height) = (self.image.width(), self.image.height());
        let images = vec![CocoImage { id: 1, file_name: file_name.to_owned(), width, height }];
        Some(CocoDataset { info: self.style.info.clone(), images, annotations, categories: categories.all })
    }

    /// The bytes of the file.
    pub fn encode(self, file_name: &str) -> Result<Vec<u8>> {
        let Self { style, image, content } = self;
        Ok(match content {
            Content::Alpha(alpha) => encode_cut_out_png(image, &alpha.context("no masks")?)?,
            Content::Overlay(overlay) => encode_rgb_png(&overlay.finish())?,
            Content::Labels(labels) => encode_label_png(&labels.finish())?,
            Content::Rles(rles) => json_line(&rles)?,
            Content::Polygons(files) => json_line(&files)?,
            Content::Annotations(..) => json_line(&Self { style, image, content }.dataset(file_name))?,
            Content::Mask(mask) => {
                let mask = mask.context("no masks")?;
                match style.format {
                    Format::Rle => json_line(&CocoSegmentation::compressed(&mask))?,
                    Format::Polygon => json_line(&polygon_file(&mask, style.tolerance))?,
                    _ => encode_mask_png(&mask)?,
                }
            }
        })
    }
}

/// The bytes of one file of these masks.
pub fn encode<'f>(
    style: &SheetStyle,
    image: &RgbImage,
    file_name: &str,
    masks: impl IntoIterator<Item = &'f dyn Found>,
) -> Result<Vec<u8>> {
    let mut sheet = Sheet::new(style, image);
    masks.into_iter().try_for_each(|mask| sheet.add(mask))?;
    sheet.encode(file_name)
}

/// The classes of a document, in the order they came.
#[derive(Default)]
struct Categories {
    all: Vec<CocoCategory>,
    numbers: HashMap<String, u64>,
}

impl Categories {
    /// The number of a class, which is added if it is not there.
    fn number(&mut self, name: &str) -> u64 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let id = self.all.len() as u64 + 1;
        self.all.push(CocoCategory { id, name: name.to_owned() });
        self.numbers.insert(name.to_owned(), id);
        id
    }
}

/// A document as the one line of a file.
pub fn json_line(document: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    Ok(line)
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
pub fn overlay_style(image: &RgbImage) -> OverlayStyle {
    let line_width = (image.size().longest_side() / 500).clamp(1, 12);
    OverlayStyle { line_width, ..OverlayStyle::default() }
}
