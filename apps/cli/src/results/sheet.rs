//! What one file is made of, mask by mask: the masks of an image need not be in memory together.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use samovar::media::mask::LabelPainter;
use samovar::media::write::{
    CocoAnnotation, CocoCategory, CocoDataset, CocoImage, CocoSegmentation, Overlay, OverlayStyle,
    encode_cut_out_png, encode_label_png, encode_mask_png, encode_rgb_png, polygon_file,
};
use samovar::{AlphaMask, BitMask, PictureUse, RgbImage, Rle};
use serde::Serialize;
use serde_json::Value;

use super::format::Format;
use crate::outputs::Target;

/// A mask that was found, and what is known of it.
pub trait Found {
    /// Its pixels.
    ///
    /// # Errors
    /// The system has no memory for them.
    fn mask(&self) -> Result<Cow<'_, BitMask>>;
    /// Its run lengths.
    ///
    /// # Errors
    /// The system has no memory for them.
    fn rle(&self) -> Result<Cow<'_, Rle>> {
        Ok(Cow::Owned(Rle::from_mask(&*self.mask()?)?))
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
    /// Classes of COCO that documents have whatever is found, in this order; others come behind them.
    pub classes: Arc<[String]>,
}

impl SheetStyle {
    /// What is made of the picture at its own size, for files of it.
    pub fn picture_use(&self) -> PictureUse {
        match self.format {
            Format::Coco if self.outlines => PictureUse::Outlines,
            format => format.picture_use(),
        }
    }

    /// Whether the file is a list that grows by what each mask has.
    pub fn streams(&self) -> bool {
        match self.format {
            Format::Coco => true,
            Format::Rle | Format::Polygon => self.listed,
            Format::Cutout | Format::Png | Format::Labels | Format::Overlay => false,
        }
    }

    /// Whether a mask of so many pixels cannot be written.
    pub fn leaves_out(&self, area: u64) -> bool {
        area == 0 && self.outlines && self.format == Format::Coco
    }
}

/// What a mask without a label is called.
const OBJECT: &str = "object";

/// One file, joined mask by mask. Lists go to their target as they come.
pub struct Sheet<'a> {
    style: &'a SheetStyle,
    image: &'a RgbImage,
    content: Content,
    target: Target,
}

enum Content {
    Mask(Option<BitMask>),
    Alpha(Option<AlphaMask>),
    Overlay(Overlay),
    Labels(LabelPainter),
    Rles(List),
    Polygons(List),
    Annotations(List, Numbering),
}

/// A list in JSON, as far as it is written.
#[derive(Default)]
struct List {
    items: usize,
    /// Of the item at hand; its memory serves the next.
    line: Vec<u8>,
}

impl List {
    fn push(&mut self, target: &mut Target, item: &impl Serialize) -> Result<()> {
        self.line.clear();
        if self.items > 0 {
            self.line.push(b',');
        }
        serde_json::to_writer(&mut self.line, item)?;
        self.items += 1;
        target.write(&self.line)
    }
}

impl<'a> Sheet<'a> {
    /// A file without masks; `file_name` is the image's in formats that tell it.
    pub fn new(
        style: &'a SheetStyle,
        image: &'a RgbImage,
        file_name: &str,
        mut target: Target,
    ) -> Result<Self> {
        let content = match style.format {
            Format::Cutout => Content::Alpha(None),
            Format::Overlay => Content::Overlay(Overlay::new(image, overlay_style(image))?),
            Format::Labels => Content::Labels(LabelPainter::new(image.size())?),
            Format::Coco => {
                let images = serde_json::to_string(&[image_of(image, file_name)])?;
                let head = format!("{{\"info\":{},\"images\":{images},\"annotations\":[", style.info);
                target.write(head.as_bytes())?;
                Content::Annotations(List::default(), Numbering::of(&style.classes))
            }
            Format::Rle | Format::Polygon if style.listed => {
                target.write(b"[")?;
                let list = List::default();
                if style.format == Format::Rle { Content::Rles(list) } else { Content::Polygons(list) }
            }
            Format::Png | Format::Rle | Format::Polygon => Content::Mask(None),
        };
        Ok(Self { style, image, content, target })
    }

    /// Takes the next mask.
    pub fn add(&mut self, found: &dyn Found) -> Result<()> {
        let target = &mut self.target;
        match &mut self.content {
            Content::Mask(joined) => join(joined, &*found.mask()?)?,
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
            Content::Overlay(overlay) => overlay.add(&*found.mask()?)?,
            Content::Labels(labels) => labels.add(&*found.mask()?)?,
            Content::Rles(list) => list.push(target, &CocoSegmentation::compressed_rle(&*found.rle()?))?,
            Content::Polygons(list) => {
                list.push(target, &polygon_file(&*found.mask()?, self.style.tolerance)?)?
            }
            Content::Annotations(list, numbering) => {
                if let Some(annotation) = numbering.next(self.style, found)? {
                    list.push(target, &annotation)?;
                }
            }
        }
        Ok(())
    }

    /// The file, with all its bytes.
    pub fn finish(self) -> Result<Target> {
        let Self { style, image, content, mut target } = self;
        let bytes = match content {
            Content::Alpha(alpha) => encode_cut_out_png(image, &alpha.context("no masks")?)?,
            Content::Overlay(overlay) => encode_rgb_png(&overlay.finish())?,
            Content::Labels(labels) => encode_label_png(&labels.finish())?,
            Content::Rles(_) | Content::Polygons(_) => b"]\n".to_vec(),
            Content::Annotations(_, numbering) => {
                let categories = serde_json::to_string(&numbering.categories())?;
                format!("],\"categories\":{categories}}}\n").into_bytes()
            }
            Content::Mask(mask) => {
                let mask = mask.context("no masks")?;
                match style.format {
                    Format::Rle => json_line(&CocoSegmentation::compressed(&mask)?)?,
                    Format::Polygon => json_line(&polygon_file(&mask, style.tolerance)?)?,
                    _ => encode_mask_png(&mask)?,
                }
            }
        };
        match &mut target {
            // No second copy of a picture.
            Target::Memory(all) if all.is_empty() => *all = bytes,
            target => target.write(&bytes)?,
        }
        Ok(target)
    }
}

/// The masks as a COCO document, which is all in memory.
pub fn dataset<'f>(
    style: &SheetStyle,
    image: &RgbImage,
    file_name: &str,
    masks: impl IntoIterator<Item = &'f dyn Found>,
) -> Result<CocoDataset> {
    let mut numbering = Numbering::of(&style.classes);
    let annotations = masks
        .into_iter()
        .filter_map(|mask| numbering.next(style, mask).transpose())
        .collect::<Result<_>>()?;
    let (info, images) = (style.info.clone(), vec![image_of(image, file_name)]);
    Ok(CocoDataset { info, images, annotations, categories: numbering.categories() })
}

/// The bytes of one file of these masks.
pub fn encode<'f>(
    style: &SheetStyle,
    image: &RgbImage,
    file_name: &str,
    masks: impl IntoIterator<Item = &'f dyn Found>,
) -> Result<Vec<u8>> {
    let mut sheet = Sheet::new(style, image, file_name, Target::Memory(Vec::new()))?;
    masks.into_iter().try_for_each(|mask| sheet.add(mask))?;
    match sheet.finish()? {
        Target::Memory(bytes) => Ok(bytes),
        Target::Disk(..) => unreachable!("it was in memory"),
    }
}

/// The one image of a document.
fn image_of(image: &RgbImage, file_name: &str) -> CocoImage {
    CocoImage { id: 1, file_name: file_name.to_owned(), width: image.width(), height: image.height() }
}

/// Numbers annotations, and their classes in the order they come.
#[derive(Default)]
struct Numbering {
    annotations: u64,
    classes: Categories,
}

impl Numbering {
    /// With these classes before all others.
    fn of(classes: &[String]) -> Self {
        let mut numbering = Self::default();
        classes.iter().for_each(|class| _ = numbering.classes.number(Some(class)));
        numbering
    }

    /// The annotation of the next mask, if it has one.
    fn next(&mut self, style: &SheetStyle, found: &dyn Found) -> Result<Option<CocoAnnotation>> {
        // pycocotools raises on an annotation without outlines, so an empty mask is none; the summary counts them.
        if style.leaves_out(found.area()) {
            return Ok(None);
        }
        let segmentation = match style.outlines {
            true => CocoSegmentation::polygons(&*found.mask()?, style.tolerance)?,
            false => CocoSegmentation::compressed_rle(&*found.rle()?),
        };
        self.annotations += 1;
        let category_id = self.classes.number(found.label());
        let annotation = found.annotation(segmentation);
        Ok(Some(CocoAnnotation { id: self.annotations, image_id: 1, category_id, ..annotation }))
    }

    /// All classes.
    fn categories(self) -> Vec<CocoCategory> {
        self.classes.finish()
    }
}

/// The classes of a document, in the order they came.
#[derive(Default)]
pub struct Categories {
    all: Vec<CocoCategory>,
    numbers: HashMap<String, u64>,
}

impl Categories {
    /// The number of a class, which is added if it is not there; of what has no name, that of objects.
    pub fn number(&mut self, name: Option<&str>) -> u64 {
        let name = name.unwrap_or(OBJECT);
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let id = self.all.len() as u64 + 1;
        self.all.push(CocoCategory { id, name: name.to_owned() });
        self.numbers.insert(name.to_owned(), id);
        id
    }

    /// All of them. Readers look for the class of what is not there, too.
    pub fn finish(mut self) -> Vec<CocoCategory> {
        if self.all.is_empty() {
            self.number(None);
        }
        self.all
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
        None => *joined = Some(mask.try_clone()?),
    }
    Ok(())
}

/// Lines that stay visible on large images and leave something of small ones.
pub fn overlay_style(image: &RgbImage) -> OverlayStyle {
    let line_width = (image.size().longest_side() / 500).clamp(1, 12);
    OverlayStyle { line_width, ..OverlayStyle::default() }
}
