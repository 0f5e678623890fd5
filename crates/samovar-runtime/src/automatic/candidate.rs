//! A mask on its way through the generator.

use samovar_geometry::{Box2, Image, Point};
use samovar_media::{RgbImage, Rle};

use super::grid::Crop;
use super::mask::AutomaticMask;
use crate::error::Result;

/// A mask that may stay. Frame: the crop while the crop is under way, then the image.
pub(super) struct Candidate {
    pub(super) rle: Rle,
    /// As upstream's boxes: ends at the last pixel; zeros for an empty mask.
    pub(super) bounds: Box2<Image>,
    pub(super) predicted_iou: f32,
    pub(super) stability_score: f32,
    pub(super) point: Point<Image>,
    pub(super) crop: Crop,
}

impl Candidate {
    /// Bytes it holds.
    pub(super) fn size_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(self.rle.counts())
    }

    pub(super) fn into_mask(self) -> AutomaticMask {
        AutomaticMask {
            area: self.rle.area(),
            mask: self.rle,
            bbox: self.bounds,
            predicted_iou: self.predicted_iou,
            point_coords: self.point,
            stability_score: self.stability_score,
            crop_box: self.crop.bounds(),
        }
    }

    /// From the crop's frame to the image's.
    pub(super) fn placed(self, image: &RgbImage) -> Result<Self> {
        let crop = self.crop;
        if crop.layer == 0 {
            return Ok(self);
        }
        let mask = self.rle.to_mask()?.placed(image.size(), crop.x0, crop.y0)?;
        Ok(Self {
            rle: Rle::from_mask(&mask)?,
            bounds: crop.box_in_image(self.bounds),
            point: crop.point_in_image(self.point),
            ..self
        })
    }
}
