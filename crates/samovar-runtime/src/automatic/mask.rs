//! What the generator answers with.

use std::ops::Deref;

use samovar_geometry::{Box2, Image, Point};
use samovar_media::Rle;
use samovar_tensor::SetAside;

/// All masks of [`generate`](super::generate), and their room in the memory budget, which is theirs as long as this lives.
pub struct AutomaticMasks {
    masks: Vec<AutomaticMask>,
    _room: SetAside,
}

impl AutomaticMasks {
    pub(super) fn new(masks: Vec<AutomaticMask>, room: SetAside) -> Self {
        Self { masks, _room: room }
    }
}

impl Deref for AutomaticMasks {
    type Target = [AutomaticMask];

    fn deref(&self) -> &[AutomaticMask] {
        &self.masks
    }
}

impl std::fmt::Debug for AutomaticMasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.masks.fmt(f)
    }
}

impl PartialEq for AutomaticMasks {
    fn eq(&self, other: &Self) -> bool {
        self.masks == other.masks
    }
}

/// One mask of [`generate`](super::generate), in the image's frame.
#[derive(Debug, Clone, PartialEq)]
pub struct AutomaticMask {
    /// The mask, in the size of the image.
    pub mask: Rle,
    /// Number of its pixels.
    pub area: u64,
    /// Its box as upstream has it: `x1` and `y1` are the *last* column and row (all zeros for an empty mask, which only
    /// thresholds of 0 let through).
    pub bbox: Box2<Image>,
    /// The model's estimate of the mask's IoU with the object.
    pub predicted_iou: f32,
    /// The point that was asked, in pixels of the image.
    pub point_coords: Point<Image>,
    /// IoU of the masks at a higher and a lower threshold. NaN if both are empty.
    pub stability_score: f32,
    /// The crop the mask was found in, half-open; the whole image without crops.
    pub crop_box: Box2<Image>,
}
