//! Following objects from picture to picture: what a tracker needs of its past, and what it says.
//!
//! A tracker holds no state. Which memories of an object it is shown is decided by whoever keeps them, by its
//! [`TrackingRule`]; it does not know which frame it looks at, only how far away others are.
//!
//! One frame, one object: [`Tracker::attend`] (or not, without a past), [`Tracker::answer`], or [`Tracker::adopt`] for a mask
//! that somebody gives, then [`Tracker::remember`].

use samovar_tensor::{Device, Tensor};

use crate::error::{Error, Result};
use crate::interface::{ImageFeatures, PromptBatch, PromptableSegmenter};

/// Mask logits of an object that is not in the picture, at every cell.
pub const HIDDEN_LOGIT: f32 = -1024.0;

/// What a tracker remembers of an object, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackingRule {
    /// Frames just before that are remembered cell by cell, or compressed, beside those with prompts.
    pub recent: usize,
    /// Frames just before, the present one counted, of which pointers are kept; fewer in a shorter shot.
    pub pointers: usize,
    /// Most frames with prompts that are looked at, the nearest; `None` for all.
    pub conditioning_at_most: Option<usize>,
    /// Side of the masks that [`Tracker::adopt`] takes.
    pub input_side: usize,
    /// Tokens of a memory: the cells of its map, or what that is compressed to.
    pub memory_tokens: usize,
    /// Channels of a token of a memory.
    pub memory_channels: usize,
    /// Numbers of a pointer.
    pub pointer_channels: usize,
}

/// When a memory was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryPlace {
    /// On a frame with a prompt, however far away.
    Conditioning,
    /// So many frames before: 1 for the last one, up to [`TrackingRule::recent`].
    Recent(usize),
}

/// What one object's past is to a frame.
#[derive(Debug, Clone, Default)]
pub struct ObjectPast<'a> {
    /// Tokens `[memory tokens, memory channels]`, as [`Tracker::remember`] makes them, with their places. At least one.
    pub memories: Vec<(&'a Tensor, MemoryPlace)>,
    /// Pointers, and how many frames before each of them was made.
    pub pointers: Vec<(&'a [f32], i64)>,
    /// What distances of pointers are divided by, plus one: the smaller of [`TrackingRule::pointers`] and the number of frames
    /// of the shot. At least 2 where there are pointers.
    pub pointers_at_most: usize,
}

/// Tokens of a frame that have attended to each other, `[1, cells, channels]`, and what they will ask of memories, of the same
/// shape.
#[derive(Clone)]
pub(crate) struct Begun {
    pub(crate) tokens: Tensor,
    pub(crate) query: Tensor,
}

/// The features of a frame, with what was found for all objects alike, once it has been asked for.
pub struct TrackedImage {
    /// Of one image, without memories.
    pub(crate) features: ImageFeatures,
    /// Made by the first object that attends.
    pub(crate) begun: Option<Begun>,
    /// Made by the first memory.
    pub(crate) projected: Option<Tensor>,
}

impl TrackedImage {
    /// The features of one frame.
    ///
    /// # Errors
    /// [`Error::Input`] for several images, or when memories are in the features already.
    pub fn new(features: ImageFeatures) -> Result<Self> {
        if features.images() != 1 || features.is_conditioned {
            let what =
                format!("features of {} images, conditioned: {}", features.images(), features.is_conditioned);
            return Err(Error::Input(format!(
                "tracking: {what}; expected those of one as an encoder leaves them"
            )));
        }
        Ok(Self { features, begun: None, projected: None })
    }

    /// The features.
    pub fn features(&self) -> &ImageFeatures {
        &self.features
    }
}

/// A mask that somebody gives, to be the answer.
#[derive(Debug, Clone, Copy)]
pub struct GivenMask<'a> {
    /// 0 or 1 for every pixel of the input, [`TrackingRule::input_side`] squared, row by row.
    pub pixels: &'a [f32],
    /// The same as logits, certain ones being ±10, in the size of the grid.
    pub logits: &'a [f32],
}

/// What a tracker says about one object on one frame.
#[derive(Debug, Clone)]
pub struct TrackedMask {
    /// Mask logits `[1, height, width]` of the grid, [`HIDDEN_LOGIT`] everywhere when the object is not there.
    pub logits: Tensor,
    /// Predicted IoU of the mask.
    pub iou_score: f32,
    /// Whether the object is there, as a logit: it is, above 0.
    pub object_score: f32,
    /// What later frames know it by, beside its map.
    pub pointer: Vec<f32>,
}

impl TrackedMask {
    /// Whether the object is in the picture.
    pub fn is_there(&self) -> bool {
        self.object_score > 0.0
    }
}

/// Follows objects through pictures, each for itself: what is found for one is the same, to the bit, whichever others there are.
///
/// `segmenter` is the one of the same model.
pub trait Tracker: Send + Sync {
    /// What it remembers.
    fn rule(&self) -> &TrackingRule;

    /// The features of a frame with an object's past taken in.
    ///
    /// # Errors
    /// [`Error::Input`] when features or past do not fit the model, [`Error::Tensor`] when memory runs out; so for all of these.
    fn attend(&self, device: &Device, image: &mut TrackedImage, past: &ObjectPast) -> Result<ImageFeatures>;

    /// Where an object is, in features with its past or, of its first prompt, without; `None` to be found by its past alone.
    ///
    /// # Errors
    /// As [`Tracker::attend`].
    fn answer(
        &self,
        device: &Device,
        segmenter: &dyn PromptableSegmenter,
        features: &ImageFeatures,
        prompt: Option<&PromptBatch>,
    ) -> Result<TrackedMask>;

    /// Takes a mask for the answer. The features are those of the frame, without a past.
    ///
    /// # Errors
    /// As [`Tracker::attend`].
    fn adopt(
        &self,
        device: &Device,
        segmenter: &dyn PromptableSegmenter,
        features: &ImageFeatures,
        mask: GivenMask,
    ) -> Result<TrackedMask>;

    /// The tokens `[memory tokens, memory channels]` by which later frames know what was found on this one. `is_prompted` says that somebody
    /// has said where the object is: then its mask is remembered without shades.
    ///
    /// # Errors
    /// As [`Tracker::attend`].
    fn remember(
        &self,
        device: &Device,
        image: &mut TrackedImage,
        found: &TrackedMask,
        is_prompted: bool,
    ) -> Result<Tensor>;
}
