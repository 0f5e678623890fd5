//! What follows objects from frame to frame.

use samovar_media::BitMask;
use samovar_media::video::Frame;

use super::mask::TrackedMask;
use crate::error::Result;
use crate::prompt::Prompt;

/// An object's number in a shot.
pub type ObjectId = u32;

/// What a carrier is to do with an object in a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask<'a> {
    /// Find what is meant; of an object that is followed already, correct it.
    Answer(&'a Prompt),
    /// Take this for what it is.
    Adopt(&'a BitMask),
    /// Find it again.
    Follow,
}

/// What a carrier found of an object in a frame.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) object: ObjectId,
    pub(crate) mask: TrackedMask,
    /// The model's estimate of the mask's IoU with the object.
    pub(crate) iou_score: f32,
    /// The logit of its being there at all; below 0 it is not. `None` of models that have no say in it.
    pub(crate) object_score: Option<f32>,
}

/// Follows objects in one direction of travel; a value per pass. Objects know nothing of each other: what is found of one does
/// not depend, to the bit, on which others are asked for.
pub(crate) trait Carrier: Send {
    /// Takes the next frame in the direction of travel, and answers in the order of what is asked. A frame on which nothing is
    /// asked is where those that follow come from.
    fn step(&mut self, frame: &Frame, asked: &[(ObjectId, Ask)]) -> Result<Vec<Found>>;

    /// All that following an object from here on takes, for [`Carrier::restore`].
    fn save(&self, object: ObjectId) -> Result<Vec<u8>>;

    /// Goes on with an object as it was saved.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] for bytes that are none of this kind of carrier.
    fn restore(&mut self, object: ObjectId, saved: &[u8]) -> Result<()>;
}
