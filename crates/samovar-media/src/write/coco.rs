//! COCO JSON and plain polygon JSON.

use std::io::Write;
use std::path::Path;

use samovar_files::write_atomically;
use samovar_geometry::{Image, Size};
use serde::{Deserialize, Serialize};

use crate::error::{MediaError, Result};
use crate::mask::polygon::{Polygon, Ring, fill_polygons, simplify, trace, without_holes};
use crate::mask::{BitMask, Rle};

/// A COCO annotation file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CocoDataset {
    /// What the file is, in any form. Some releases of pycocotools read no results where it is missing.
    #[serde(default)]
    pub info: serde_json::Value,
    /// The pictures.
    pub images: Vec<CocoImage>,
    /// The masks on them.
    pub annotations: Vec<CocoAnnotation>,
    /// The classes.
    #[serde(default)]
    pub categories: Vec<CocoCategory>,
}

/// One picture of a COCO file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CocoImage {
    /// Number that annotations refer to.
    pub id: u64,
    /// Name of the image file.
    pub file_name: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// One class of a COCO file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CocoCategory {
    /// Number that annotations refer to.
    pub id: u64,
    /// What it is called.
    pub name: String,
}

/// One mask of a COCO file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CocoAnnotation {
    /// Number of its own.
    pub id: u64,
    /// The picture.
    pub image_id: u64,
    /// The class.
    pub category_id: u64,
    /// The mask.
    pub segmentation: CocoSegmentation,
    /// Number of pixels.
    pub area: f64,
    /// `[x, y, width, height]`, pixels' outer edges.
    pub bbox: [f64; 4],
    /// 1 for a crowd (readers then expect RLE), else 0.
    #[serde(default)]
    pub iscrowd: u8,
    /// How sure the model is, where it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Of masks found without a prompt: the model's estimate of the mask's IoU with the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_iou: Option<f64>,
    /// Of masks found without a prompt: IoU of the masks at a higher and a lower threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stability_score: Option<f64>,
    /// Of masks found without a prompt: the points that were asked, `[x, y]` in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_coords: Option<Vec<[f64; 2]>>,
    /// Of masks found without a prompt: the part of the picture that was looked at, `[x, y, width, height]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_box: Option<[f64; 4]>,
    /// Of masks of what a detector found: its box, `[x, y, width, height]`, which may reach beyond the picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection_box: Option<[f64; 4]>,
}

/// A mask in one of COCO's three forms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CocoSegmentation {
    /// pycocotools' compressed string.
    Compressed {
        /// `[height, width]`.
        size: [u32; 2],
        /// The run lengths.
        counts: String,
    },
    /// A list of run lengths.
    Uncompressed {
        /// `[height, width]`.
        size: [u32; 2],
        /// The run lengths.
        counts: Vec<u32>,
    },
    /// Outlines, each `[x0, y0, x1, y1, …]`.
    Polygons(Vec<Vec<f64>>),
}

impl CocoSegmentation {
    /// Compressed run lengths, exact.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn compressed(mask: &BitMask) -> Result<Self> {
        Ok(Self::compressed_rle(&Rle::from_mask(mask)?))
    }

    /// Compressed run lengths of a mask that is run lengths already.
    pub fn compressed_rle(rle: &Rle) -> Self {
        Self::Compressed { size: [rle.size().height, rle.size().width], counts: rle.to_coco_string() }
    }

    /// A list of run lengths, exact.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn uncompressed(mask: &BitMask) -> Result<Self> {
        Ok(Self::Uncompressed { size: size_of(mask), counts: Rle::from_mask(mask)?.into_counts() })
    }

    /// Outlines, exact at tolerance 0, else simplified to within `tolerance` pixels. COCO polygons know no holes:
    /// each is joined to its outline by a cut of no width. An empty mask has no outlines, and pycocotools reads no annotation
    /// without: leave those out.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn polygons(mask: &BitMask, tolerance: f64) -> Result<Self> {
        let outline = |polygon: &Polygon| without_holes(polygon).iter().flat_map(|p| [p.x, p.y]).collect();
        Ok(Self::Polygons(simplify(&trace(mask)?, tolerance).iter().map(outline).collect()))
    }

    /// The mask, for a picture of this size. Outlines that overlap are joined, as COCO means them.
    pub fn to_mask(&self, image: Size<Image>) -> Result<BitMask> {
        let rle = match self {
            Self::Compressed { size: [height, width], counts } => {
                Rle::from_coco_string(Size::new(*width, *height), counts)?
            }
            Self::Uncompressed { size: [height, width], counts } => {
                Rle::from_counts(Size::new(*width, *height), counts.clone())?
            }
            Self::Polygons(outlines) => {
                let mut mask = BitMask::try_new(image)?;
                for outline in outlines {
                    if outline.len() % 2 != 0 {
                        return Err(MediaError::damaged("an outline has an x without a y"));
                    }
                    let outer: Ring =
                        outline.chunks_exact(2).map(|p| samovar_geometry::Point::new(p[0], p[1])).collect();
                    mask.union_with(&fill_polygons(&[Polygon { outer, holes: Vec::new() }], image)?)?;
                }
                return Ok(mask);
            }
        };
        if rle.size() != image {
            return Err(MediaError::mismatch(format!("the mask is {}, its image {image}", rle.size())));
        }
        rle.to_mask()
    }
}

impl CocoAnnotation {
    /// The annotation of a mask, area and box filled in; class 1, no crowd, no score, for the caller to change.
    pub fn new(id: u64, image_id: u64, mask: &BitMask, segmentation: CocoSegmentation) -> Self {
        let [x0, y0, x1, y1] = mask.pixel_bounds().unwrap_or_default().map(f64::from);
        Self {
            id,
            image_id,
            category_id: 1,
            segmentation,
            area: mask.area() as f64,
            bbox: [x0, y0, x1 - x0, y1 - y0],
            iscrowd: 0,
            score: None,
            predicted_iou: None,
            stability_score: None,
            point_coords: None,
            crop_box: None,
            detection_box: None,
        }
    }
}

fn size_of(mask: &BitMask) -> [u32; 2] {
    [mask.height(), mask.width()]
}

/// The outlines of one mask as plain JSON, holes and all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolygonFile {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// The pieces; together they are the mask (even-odd rule).
    pub polygons: Vec<PolygonPiece>,
}

/// One connected piece of a [`PolygonFile`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolygonPiece {
    /// `[[x, y], …]`, clockwise as seen; pixel corners are whole numbers.
    pub outer: Vec<[f64; 2]>,
    /// Holes in it, the other way round.
    pub holes: Vec<Vec<[f64; 2]>>,
}

/// The outlines of a mask, exact at tolerance 0, else simplified to within `tolerance` pixels.
///
/// # Errors
/// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
pub fn polygon_file(mask: &BitMask, tolerance: f64) -> Result<PolygonFile> {
    let pairs = |ring: &Ring| ring.iter().map(|point| [point.x, point.y]).collect();
    let piece = |polygon: &Polygon| PolygonPiece {
        outer: pairs(&polygon.outer),
        holes: polygon.holes.iter().map(pairs).collect(),
    };
    let polygons = simplify(&trace(mask)?, tolerance).iter().map(piece).collect();
    Ok(PolygonFile { width: mask.width(), height: mask.height(), polygons })
}

/// Writes anything serialisable as one JSON document, whole or not at all.
pub fn write_json(path: &Path, document: &impl Serialize) -> Result<()> {
    write_atomically(path, |file| {
        serde_json::to_writer(&mut *file, document)
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(|error| samovar_files::Error::io(path, error))
    })
    .map_err(MediaError::from)
}

#[cfg(test)]
mod tests;
