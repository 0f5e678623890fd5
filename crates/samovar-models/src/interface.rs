//! What models take and give, and what they can do: value types in frames of their own, and one trait per capability.
//!
//! Blocks build on the values, families implement the traits, and those who run a model ask for the capability they
//! need (`samovar_models::Model`). Tensors are channels last; shapes stand at each item.
//!
//! What a tracker needs of a segmenter is here: features of an object's own ([`ImageFeatures`] with one image per prompt),
//! [`ScoredPrompts::mask_tokens`] (object pointers), and [`ScoredPrompts::object_scores`], known before any mask is drawn. The
//! tracker itself is in `tracker`.

use std::fmt;
use std::ops::Range;

use samovar_geometry::{Box2, Grid, Input, Point, ResizeRule, Size};
use samovar_tensor::{Device, Tensor};
use serde::Deserialize;

use crate::error::{Error, Result};

/// How pixels become a model's input: resized by a rule, then normalised; what the resized image leaves of the canvas
/// (right and bottom) is padded with zeros after that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preprocessing {
    /// How an image is fitted into the canvas; the canvas need not be square.
    pub resize: ResizeRule,
    /// Subtracted from pixels in 0..1.
    pub mean: [f32; 3],
    /// Divides pixels in 0..1.
    pub std: [f32; 3],
}

impl Preprocessing {
    /// The model's input, padding included.
    pub const fn canvas(&self) -> Size<Input> {
        self.resize.canvas()
    }

    /// Shape of the pixels of some images, `[images, height, width, 3]`.
    pub const fn pixels_shape(&self, images: usize) -> [usize; 4] {
        let canvas = self.canvas();
        [images, canvas.height as usize, canvas.width as usize, 3]
    }

    /// Checks that pixels are `[B, height, width, 3]` of the canvas, for at least one image.
    ///
    /// # Errors
    /// [`Error::Input`] for another shape.
    pub fn check_pixels(&self, pixels: &Tensor) -> Result<()> {
        let images = pixels.dims().first().copied().unwrap_or(0);
        if images > 0 && *pixels.dims() == self.pixels_shape(images) {
            return Ok(());
        }
        let [_, height, width, channels] = self.pixels_shape(images);
        let expected = format!("expected [images, {height}, {width}, {channels}]");
        Err(Error::Input(format!("pixels of shape {}, {expected}", pixels.shape())))
    }
}

/// What a model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// Encoding an image once, for any number of prompts: [`ImageEncoder`].
    ImageEncoder,
    /// Masks of what points, boxes and masks mean: [`PromptableSegmenter`].
    PromptableSegmenter,
    /// Boxes of the things it knows: [`Detector`].
    Detector,
    /// One vector per image, to compare: [`Embedder`].
    Embedder,
    /// Objects through video: [`crate::Tracker`].
    Tracker,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Capability::ImageEncoder => "image encoder",
            Capability::PromptableSegmenter => "promptable segmenter",
            Capability::Detector => "detector",
            Capability::Embedder => "embedder",
            Capability::Tracker => "tracker",
        })
    }
}

/// Encodes images for what comes after.
pub trait ImageEncoder: Send + Sync {
    /// How pixels become its input.
    fn preprocessing(&self) -> &Preprocessing;

    /// Encodes normalised pixels `[B, height, width, 3]` of the canvas.
    ///
    /// # Errors
    /// [`Error::Input`] for another shape, [`Error::Tensor`] when memory runs out.
    fn encode(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures>;
}

/// Answers prompts on encoded images with masks.
///
/// In two parts, because who wants everything in an image throws most masks away by their scores: [`score`] tells
/// scores, [`draw`] and [`draw_chosen`] make the masks.
///
/// [`score`]: PromptableSegmenter::score
/// [`draw`]: PromptableSegmenter::draw
/// [`draw_chosen`]: PromptableSegmenter::draw_chosen
pub trait PromptableSegmenter: Send + Sync {
    /// Size of the frame in which prompts stand: the canvas of the encoder.
    fn input_size(&self) -> Size<Input>;

    /// Size of the low-resolution logits, of mask prompts as of answers (256 x 256 for SAM). They cover the whole
    /// canvas.
    fn grid_size(&self) -> Size<Grid>;

    /// What the model's authors recommend.
    fn recommendations(&self) -> Recommendations;

    /// The embedding as the decoder takes it up: with what stands in the place of memories, where it has none and the decoder
    /// wants some.
    ///
    /// # Errors
    /// As [`PromptableSegmenter::score`].
    fn decoder_embedding(&self, _: &Device, features: &ImageFeatures) -> Result<Tensor> {
        Ok(features.embedding.clone())
    }

    /// Whether transformers' class puts a point that is none beside a mask prompt alone, where the original code does not:
    /// SAM 2's. For comparisons with it.
    fn pads_masks_in_transformers(&self) -> bool {
        false
    }

    /// Scores of the masks of `P` prompts, and what the masks are made of. The features are those of one image, or one
    /// for each of the `P` prompts.
    ///
    /// # Errors
    /// [`Error::Input`] when features or prompts do not fit the model, [`Error::Tensor`] when memory runs out.
    fn score(
        &self,
        device: &Device,
        features: &ImageFeatures,
        prompts: &PromptBatch,
    ) -> Result<ScoredPrompts>;

    /// Masks `[P, M, height, width]` of prompts that were scored on the same features, as logits.
    ///
    /// # Errors
    /// As [`PromptableSegmenter::score`].
    fn draw(&self, device: &Device, features: &ImageFeatures, scored: ScoredPrompts) -> Result<Tensor>;

    /// Some masks, as (prompt, mask), of prompts that were scored on the same features: `[masks, height, width]`.
    ///
    /// Masks of one prompt cost little more than one of them, when they follow each other.
    ///
    /// # Errors
    /// [`Error::Input`] for none or one that does not exist; as [`PromptableSegmenter::score`].
    fn draw_chosen(
        &self,
        device: &Device,
        features: &ImageFeatures,
        scored: &ScoredPrompts,
        chosen: &[(usize, usize)],
    ) -> Result<Tensor>;

    /// Scores and masks in one call.
    ///
    /// # Errors
    /// As [`PromptableSegmenter::score`].
    fn decode(
        &self,
        device: &Device,
        features: &ImageFeatures,
        prompts: &PromptBatch,
    ) -> Result<MaskPrediction> {
        let scored = self.score(device, features, prompts)?;
        let (iou_scores, object_scores) = (scored.iou_scores.clone(), scored.object_scores.clone());
        Ok(MaskPrediction { logits: self.draw(device, features, scored)?, iou_scores, object_scores })
    }
}

/// Finds the things it knows in images.
pub trait Detector: Send + Sync {
    /// How pixels become its input.
    fn preprocessing(&self) -> &Preprocessing;

    /// Names of the classes, in the order of the logits.
    fn classes(&self) -> &[String];

    /// Detections in normalised pixels `[B, height, width, 3]` of the canvas.
    ///
    /// # Errors
    /// [`Error::Input`] for another shape, [`Error::Tensor`] when memory runs out.
    fn detect(&self, device: &Device, pixels: &Tensor) -> Result<Detections>;
}

/// What a [`Detector`] says about `B` images with `Q` queries and `K` classes each, before any threshold.
#[derive(Debug, Clone)]
pub struct Detections {
    /// `[B, Q, 4]`: centre x, centre y, width, height as shares of the canvas, as in DETR and D-FINE.
    pub boxes: Tensor,
    /// `[B, Q, K]`: logits, each class for itself.
    pub class_logits: Tensor,
}

impl Detections {
    /// A box of [`Detections::boxes`], four values, on a canvas of this size.
    pub fn box_in_input(&[cx, cy, width, height]: &[f32; 4], canvas: Size<Input>) -> Box2<Input> {
        let [cx, cy, width, height] = [cx, cy, width, height].map(f64::from);
        let (across, down) = (f64::from(canvas.width), f64::from(canvas.height));
        Box2::new(
            (cx - width / 2.0) * across,
            (cy - height / 2.0) * down,
            (cx + width / 2.0) * across,
            (cy + height / 2.0) * down,
        )
    }
}

/// Turns an image into one vector; of two images, the product of their vectors says how alike they are.
pub trait Embedder: Send + Sync {
    /// How pixels become its input.
    fn preprocessing(&self) -> &Preprocessing;

    /// Length of the vectors.
    fn channels(&self) -> usize;

    /// Vectors of normalised pixels `[B, height, width, 3]` of the canvas: `[B, channels]`, each of length 1.
    ///
    /// # Errors
    /// [`Error::Input`] for another shape, [`Error::Tensor`] when memory runs out.
    fn embed(&self, device: &Device, pixels: &Tensor) -> Result<Tensor>;
}

/// What the encoder found in one or more images; or, with one for each prompt, in one image with what is remembered of
/// each object.
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    /// `[B, h, w, C]`.
    pub embedding: Tensor,
    /// Finer maps that some decoders add, coarse to fine: `[B, 2^i h, 2^i w, C_i]` for i = 1, 2.
    pub high_res: Vec<Tensor>,
    /// What SAM-HQ's decoder adds to the map of its own mask: `[B, 4h, 4w, C / 8]`.
    pub hq: Option<Tensor>,
    /// Whether memories have been taken into the embedding, as trackers do. An encoder knows none, and a decoder that was
    /// trained with them (SAM 2's) adds a vector in their place where this is false.
    pub is_conditioned: bool,
}

impl ImageFeatures {
    /// The features of one image, without a copy.
    ///
    /// # Errors
    /// [`Error::Tensor`] when there is no such image.
    pub fn image(&self, index: usize) -> Result<ImageFeatures> {
        let of_image = |tensor: &Tensor| tensor.narrow(index, 1);
        Ok(ImageFeatures {
            embedding: of_image(&self.embedding)?,
            high_res: self.high_res.iter().map(of_image).collect::<Result<_, _>>()?,
            hq: self.hq.as_ref().map(of_image).transpose()?,
            is_conditioned: self.is_conditioned,
        })
    }

    /// The features on which a prompt was asked: its own, or those of the one image that all prompts share.
    ///
    /// # Errors
    /// As [`ImageFeatures::image`].
    pub fn of_prompt(&self, prompt: usize) -> Result<ImageFeatures> {
        if self.images() == 1 { Ok(self.clone()) } else { self.image(prompt) }
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.embedding.dims().first().copied().unwrap_or(0)
    }

    /// Bytes the features take.
    pub fn size_bytes(&self) -> usize {
        self.maps().map(Tensor::size_bytes).sum()
    }

    /// All maps, the embedding first.
    pub fn maps(&self) -> impl Iterator<Item = &Tensor> {
        [&self.embedding].into_iter().chain(&self.high_res).chain(&self.hq)
    }

    /// The same kind of features with these maps, in the order of [`ImageFeatures::maps`]; `None` for another number of them.
    pub fn with_maps(&self, maps: Vec<Tensor>) -> Option<Self> {
        let mut maps = maps.into_iter();
        let embedding = maps.next()?;
        let high_res: Vec<Tensor> = maps.by_ref().take(self.high_res.len()).collect();
        let hq = maps.by_ref().take(usize::from(self.hq.is_some())).next();
        let is_whole = high_res.len() == self.high_res.len() && hq.is_some() == self.hq.is_some();
        let is_conditioned = self.is_conditioned;
        (is_whole && maps.next().is_none()).then_some(Self { embedding, high_res, hq, is_conditioned })
    }
}

/// Which parts of a model are loaded: an image whose features are there already needs no encoder, the largest part by far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// What encodes images.
    pub image_encoder: bool,
    /// What answers prompts.
    pub promptable_segmenter: bool,
    /// What follows objects through video, beside the other two.
    pub tracker: bool,
}

impl Parts {
    /// All that images take.
    pub const IMAGES: Self = Self { image_encoder: true, promptable_segmenter: true, tracker: false };
    /// The whole model.
    pub const ALL: Self = Self { tracker: true, ..Self::IMAGES };
    /// What encodes images, alone.
    pub const IMAGE_ENCODER: Self = Self { promptable_segmenter: false, ..Self::IMAGES };
    /// What answers prompts, alone.
    pub const PROMPTABLE_SEGMENTER: Self = Self { image_encoder: false, ..Self::IMAGES };
    /// What follows objects, alone.
    pub const TRACKER: Self = Self { image_encoder: false, promptable_segmenter: false, tracker: true };
}

/// Which of a decoder's masks are wanted. SAM has one token for the mask of a clear prompt and three for the masks an
/// ambiguous one may mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MaskOutput {
    /// The single mask (`multimask_output=False` upstream).
    #[default]
    Single,
    /// The masks of an ambiguous prompt (`multimask_output=True`).
    Multimask,
    /// All of them, the single one first.
    All,
}

/// `prompts` prompts on one image, all with the same number of points.
///
/// Coordinates are pixels of the canvas, without the half-pixel shift: it is added inside, as upstream. They become f32
/// there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptBatch {
    /// P: number of prompts.
    pub prompts: usize,
    /// `P * N` points, prompt by prompt.
    pub points: Vec<Point<Input>>,
    /// `P * N` labels: 1 foreground, 0 background, -1 not a point, -10 ignore.
    pub labels: Vec<i32>,
    /// `P` boxes, or none.
    pub boxes: Vec<Box2<Input>>,
    /// `P` or one (shared) masks of low-resolution logits, each of the size of the grid, row by row.
    pub masks: Option<Vec<f32>>,
    /// The masks that are wanted.
    pub output: MaskOutput,
}

/// Prompts whose masks have scores and can be made, or not; for the `P` prompts of a batch with `M` masks each.
pub struct ScoredPrompts {
    /// Predicted IoU of each mask, `[P, M]`.
    pub iou_scores: Tensor,
    /// Whether there is an object at all, as a logit, `[P, 1]`; of models that ask themselves this (SAM 2).
    pub object_scores: Option<Tensor>,
    /// All tokens as the transformer leaves them, `[P, T, C]`.
    pub(crate) tokens: Tensor,
    /// Which of them are those of the masks that are wanted.
    pub(crate) mask_tokens: Range<usize>,
    /// The image as the transformer leaves it, `[P, h·w, C]`.
    pub(crate) image: Tensor,
    /// The prompts as a map, `[P, height, width, channels]`, for decoders that look at it again.
    pub(crate) map: Option<Tensor>,
}

impl ScoredPrompts {
    /// Prompts `start..start + len` of these, without a copy.
    ///
    /// # Errors
    /// [`Error::Tensor`] when there are not so many.
    pub fn narrow(&self, start: usize, len: usize) -> Result<ScoredPrompts> {
        let part = |tensor: &Option<Tensor>| tensor.as_ref().map(|all| all.narrow(start, len)).transpose();
        Ok(ScoredPrompts {
            iou_scores: self.iou_scores.narrow(start, len)?,
            object_scores: part(&self.object_scores)?,
            tokens: self.tokens.narrow(start, len)?,
            mask_tokens: self.mask_tokens.clone(),
            image: self.image.narrow(start, len)?,
            map: part(&self.map)?,
        })
    }

    /// P: number of prompts.
    pub fn prompts(&self) -> usize {
        self.iou_scores.dims().first().copied().unwrap_or(0)
    }

    /// The tokens of the masks, `[P, M, C]`: what an object pointer is made of.
    ///
    /// # Errors
    /// [`Error::Tensor`] when memory runs out.
    pub fn mask_tokens(&self, device: &Device) -> Result<Tensor> {
        Ok(device.slice(&self.tokens, 1, self.mask_tokens.start, self.mask_tokens.len())?)
    }
}

/// Masks predicted for `P` prompts, `M` each: 1 for [`MaskOutput::Single`], 3 (of SAM) for [`MaskOutput::Multimask`],
/// both together for [`MaskOutput::All`].
#[derive(Debug, Clone)]
pub struct MaskPrediction {
    /// Mask logits `[P, M, height, width]` of the grid; a mask is where they are positive.
    pub logits: Tensor,
    /// Predicted IoU of each mask, `[P, M]`.
    pub iou_scores: Tensor,
    /// As [`ScoredPrompts::object_scores`].
    pub object_scores: Option<Tensor>,
}

/// Which of the predicted masks is the answer to a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub enum MaskChoice {
    /// The single mask.
    #[serde(rename = "token_0")]
    Single,
    /// The one of an ambiguous prompt's masks with the best predicted IoU.
    #[serde(rename = "best_predicted_iou_of_1_to_3")]
    BestOfMultimask,
    /// The best of all.
    #[serde(rename = "best_predicted_iou_of_0_to_3")]
    BestOfAll,
    /// The single mask if it hardly depends on the threshold, otherwise the best of an ambiguous prompt's: SAM 2's
    /// `dynamic_multimask_via_stability`. Stable is a mask of which the part with logits over `offset` is at least
    /// `threshold` of that with logits over `-offset`.
    #[serde(skip)]
    SingleIfStable {
        /// By how much the threshold moves, 0.05 in SAM 2.
        offset: f32,
        /// Least stability, 0.98 in SAM 2.
        threshold: f32,
    },
}

impl MaskChoice {
    /// The masks one has to ask for in order to choose.
    pub fn output(self) -> MaskOutput {
        match self {
            MaskChoice::Single => MaskOutput::Single,
            MaskChoice::BestOfMultimask => MaskOutput::Multimask,
            MaskChoice::BestOfAll | MaskChoice::SingleIfStable { .. } => MaskOutput::All,
        }
    }

    /// Which of the masks of [`MaskChoice::output`] is the answer, by their predicted IoUs and the logits of the first.
    /// Of equal scores the first wins, as numpy's argmax.
    pub fn choose(self, iou_scores: &[f32], first_logits: &[f32]) -> usize {
        let best = |masks: Range<usize>| {
            let by_score = |a: &usize, b: &usize| iou_scores[*a].total_cmp(&iou_scores[*b]);
            masks.rev().max_by(by_score).unwrap_or(0)
        };
        match self {
            MaskChoice::SingleIfStable { offset, threshold } if iou_scores.len() > 1 => {
                if stability(first_logits, offset) >= threshold { 0 } else { best(1..iou_scores.len()) }
            }
            _ => best(0..iou_scores.len()),
        }
    }
}

/// IoU of the masks at two thresholds, one of which holds the other; 1 if both are empty, as upstream.
fn stability(logits: &[f32], offset: f32) -> f32 {
    let over = |threshold: f32| logits.iter().filter(|&&logit| logit > threshold).count();
    let (inner, outer) = (over(offset), over(-offset));
    if outer > 0 { inner as f32 / outer as f32 } else { 1.0 }
}

/// Which mask a model's authors recommend.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct MaskRule {
    /// For exactly one foreground click and nothing else, which may mean a thing or its parts.
    pub one_click: MaskChoice,
    /// For every other prompt.
    pub otherwise: MaskChoice,
}

/// What a model's authors recommend to those who use its masks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recommendations {
    /// Which of the predicted masks to take.
    pub mask_rule: MaskRule,
    /// Whether of an ambiguous prompt's masks the one with the best predicted IoU comes first and is the answer, so that
    /// no other is looked for in everything; as in SAM-HQ. SAM's masks are all answers.
    pub best_first: bool,
    /// Whether stray parts and pinholes should be taken out of masks.
    pub cleanup: bool,
    /// How masks of everything in an image are found.
    pub everything: EverythingThresholds,
}

/// Thresholds of an automatic mask generator that suit a model's scores and logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EverythingThresholds {
    /// Points along each side of the image.
    pub points_per_side: usize,
    /// Least predicted IoU.
    pub pred_iou_thresh: f32,
    /// Least stability score.
    pub stability_score_thresh: f32,
    /// By how much the threshold moves for the stability score.
    pub stability_score_offset: f32,
}

#[cfg(test)]
#[path = "interface_tests.rs"]
mod tests;
