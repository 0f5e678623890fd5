//! What is found of objects in a frame, for whoever asked.

use std::sync::Arc;

use samovar_media::RgbImage;

use super::carrier::{Found, ObjectId};
use super::mask::TrackedMask;

/// An object in a frame.
#[derive(Debug, Clone)]
pub struct TrackedObject {
    /// Which one.
    pub object: ObjectId,
    /// Where it is; empty where it is not seen.
    pub mask: TrackedMask,
    /// The model's estimate of the mask's IoU with the object, about 0..1; 1 for a mask that was given.
    pub iou_score: f32,
    /// The logit of its being there at all, of models that say so; below 0 it is not.
    pub object_score: Option<f32>,
    /// Whether something was said about it on this very frame.
    pub is_prompted: bool,
    /// Whether its mask stays as it is ([`Shot::lock`](super::Shot::lock)).
    pub is_locked: bool,
    /// What is new about it.
    pub news: News,
}

/// What is new about an object in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It was found by an earlier run, and is as it was.
    Known,
    /// It was not known there.
    Found,
    /// It was known, and is another mask now.
    Changed,
}

/// A frame and the objects in it, by their numbers.
#[derive(Debug, Clone)]
pub struct TrackedFrame {
    /// The sequence's own number.
    pub number: i64,
    /// Its time from the start, in seconds, of videos.
    pub time: Option<f64>,
    /// What is seen.
    pub pixels: Arc<RgbImage>,
    /// The objects that have been shown before it in the direction of travel.
    pub objects: Vec<TrackedObject>,
}

impl TrackedObject {
    pub(crate) fn of(found: Found, is_prompted: bool, is_locked: bool, news: News) -> Self {
        let Found { object, mask, iou_score, object_score } = found;
        Self { object, mask, iou_score, object_score, is_prompted, is_locked, news }
    }
}
