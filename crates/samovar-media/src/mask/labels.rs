//! Label maps: one number per pixel, 0 for none, as data sets store many masks in one PNG.

use std::collections::BTreeMap;

use ::image::DynamicImage;
use samovar_geometry::{Image, Size};

use super::bits::BitMask;
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::{DecodeLimits, decode_dynamic, palette_indices};
use crate::room::{collected, zeros};

/// One label per pixel, row by row; 0 is background or unlabelled.
#[derive(Clone, PartialEq, Eq)]
pub struct LabelMap {
    size: Size<Image>,
    labels: Vec<u16>,
}

impl LabelMap {
    /// Wraps labels; refuses a wrong number of them.
    pub fn from_raw(size: Size<Image>, labels: Vec<u16>) -> Result<Self> {
        if size.area() != labels.len() as u64 {
            return Err(MediaError::mismatch(format!(
                "a label map of {size} takes {} labels, {} were given",
                size.area(),
                labels.len()
            )));
        }
        Ok(Self { size, labels })
    }

    /// Numbers the masks 1, 2, 3 … in order; where they overlap, the later one wins.
    pub fn from_masks<'a>(size: Size<Image>, masks: impl IntoIterator<Item = &'a BitMask>) -> Result<Self> {
        let mut labels = zeros(size.area() as usize)?;
        for (index, mask) in masks.into_iter().enumerate() {
            let label = u16::try_from(index + 1)
                .map_err(|_| MediaError::too_large("a label map holds at most 65535 masks"))?;
            if mask.size() != size {
                return Err(MediaError::mismatch(format!(
                    "mask {index} is {}, the label map {size}",
                    mask.size()
                )));
            }
            for y in 0..size.height {
                let row = &mut labels[y as usize * size.width as usize..][..size.width as usize];
                for (x0, x1) in mask.runs(y) {
                    row[x0 as usize..x1 as usize].fill(label);
                }
            }
        }
        Ok(Self { size, labels })
    }

    /// Width and height.
    pub fn size(&self) -> Size<Image> {
        self.size
    }

    /// All labels, row by row.
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// The pixels with this label.
    pub fn mask(&self, label: u16) -> BitMask {
        let width = self.size.width as usize;
        BitMask::from_fn(self.size, |x, y| self.labels[y as usize * width + x as usize] == label)
    }

    /// Every label that occurs, 0 left out, by rising label. One pass over the labels.
    pub fn regions(&self) -> Vec<LabelRegion> {
        let mut regions: BTreeMap<u16, LabelRegion> = BTreeMap::new();
        self.each_run(|label, y, x0, x1| {
            let new = || LabelRegion { label, area: 0, bounds: [x0, y, x1, y + 1] };
            let region = regions.entry(label).or_insert_with(new);
            region.area += u64::from(x1 - x0);
            let [left, top, right, _] = region.bounds;
            region.bounds = [left.min(x0), top, right.max(x1), y + 1];
        });
        regions.into_values().collect()
    }

    /// The masks of some labels, in their order. One pass over the labels.
    pub fn masks_of(&self, labels: &[u16]) -> Vec<BitMask> {
        let mut order: Vec<(u16, usize)> =
            labels.iter().enumerate().map(|(at, &label)| (label, at)).collect();
        order.sort_unstable();
        let mut masks = vec![BitMask::new(self.size); labels.len()];
        self.each_run(|label, y, x0, x1| {
            let first = order.partition_point(|&(other, _)| other < label);
            for &(_, at) in order[first..].iter().take_while(|&&(other, _)| other == label) {
                masks[at].set_run(y, x0, x1);
            }
        });
        masks
    }

    /// Every label that occurs, 0 left out, with its mask, by rising label.
    pub fn masks(&self) -> Vec<(u16, BitMask)> {
        let labels: Vec<u16> = self.regions().into_iter().map(|region| region.label).collect();
        let masks = self.masks_of(&labels);
        labels.into_iter().zip(masks).collect()
    }

    /// Every run of a label other than 0: label, row, first and one past last column.
    fn each_run(&self, mut each: impl FnMut(u16, u32, u32, u32)) {
        let width = (self.size.width as usize).max(1);
        for (y, row) in self.labels.chunks_exact(width).enumerate() {
            let mut x0 = 0;
            for run in row.chunk_by(|a, b| a == b) {
                let x1 = x0 + run.len();
                if run[0] != 0 {
                    each(run[0], y as u32, x0 as u32, x1 as u32);
                }
                x0 = x1;
            }
        }
    }
}

/// The pixels of one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelRegion {
    /// The label.
    pub label: u16,
    /// Its pixels.
    pub area: u64,
    /// First and one past last column and row: left, top, right, bottom.
    pub bounds: [u32; 4],
}

/// A label map that takes its masks one by one, numbered 1, 2, 3 … in the order they come. Where masks overlap the smaller
/// one shows, so that a part is not hidden by its whole, whichever came first; of equal ones the later.
#[derive(Debug, Clone)]
pub struct LabelPainter {
    map: LabelMap,
    /// Number of pixels of each mask.
    areas: Vec<u64>,
}

impl LabelPainter {
    /// A map without masks.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn new(size: Size<Image>) -> Result<Self> {
        let labels = zeros(usize::try_from(size.area()).unwrap_or(usize::MAX))?;
        Ok(Self { map: LabelMap { size, labels }, areas: Vec::new() })
    }

    /// Draws the next mask; refuses one of another size, and the 65,536th.
    pub fn add(&mut self, mask: &BitMask) -> Result<()> {
        let label = u16::try_from(self.areas.len() + 1)
            .map_err(|_| MediaError::too_large("a label map holds at most 65535 masks"))?;
        self.add_as(label, mask)
    }

    /// Draws a mask under a label of its own, from 1, and refuses one that is not greater than those before, and a mask of another size.
    pub fn add_as(&mut self, label: u16, mask: &BitMask) -> Result<()> {
        let size = self.map.size;
        if usize::from(label) <= self.areas.len() {
            return Err(MediaError::mismatch(format!("label {label} after {}", self.areas.len())));
        }
        if mask.size() != size {
            let index = self.areas.len();
            return Err(MediaError::mismatch(format!(
                "mask {index} is {}, the label map {size}",
                mask.size()
            )));
        }
        let area = mask.area();
        for y in 0..size.height {
            let row = &mut self.map.labels[y as usize * size.width as usize..][..size.width as usize];
            for (x0, x1) in mask.runs(y) {
                for there in &mut row[x0 as usize..x1 as usize] {
                    if *there == 0 || self.areas[usize::from(*there) - 1] >= area {
                        *there = label;
                    }
                }
            }
        }
        self.areas.resize(usize::from(label) - 1, 0);
        self.areas.push(area);
        Ok(())
    }

    /// The map of all masks.
    pub fn finish(self) -> LabelMap {
        self.map
    }
}

impl std::fmt::Debug for LabelMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LabelMap({})", self.size)
    }
}

/// Decodes a label map from a greyscale image of 8 or 16 bits (PNG as a rule), bits kept as they are, or from a PNG by
/// palette, whose labels are the numbers of the colours. Limits hold as for any image.
pub fn decode_labels(bytes: &[u8], limits: &DecodeLimits) -> Result<LabelMap> {
    if let Some((size, indices)) = palette_indices(bytes, limits)? {
        return LabelMap::from_raw(
            size,
            collected(indices.len(), indices.iter().map(|&index| u16::from(index)))?,
        );
    }
    let image = decode_dynamic(bytes, limits)?;
    let size = Size::new(image.width(), image.height());
    let labels = match image {
        DynamicImage::ImageLuma8(buffer) => {
            collected(buffer.len(), buffer.iter().map(|&label| u16::from(label)))?
        }
        DynamicImage::ImageLuma16(buffer) => buffer.into_raw(),
        other => {
            let what = format!("a label map must be greyscale or by palette, this is {:?}", other.color());
            return Err(MediaError::new(MediaErrorKind::Unsupported, what)
                .advise("save it as greyscale with one value per pixel"));
        }
    };
    LabelMap::from_raw(size, labels)
}

#[cfg(test)]
mod tests;
