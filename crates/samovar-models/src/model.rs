//! A model on a device: weights in, features and masks out.

use std::collections::BTreeMap;
use std::sync::Arc;

use samovar_tensor::{Device, Precision, ShapeOnly, Tensor};
use samovar_weights::WeightSource;
use serde::Deserialize;

use crate::blocks::loader::{Loader, Record};
use crate::blocks::mask_decoder::{Masks, ScoredPrompts};
use crate::config::Kind;
use crate::families::original::Named;
use crate::families::{Parts, mobile_sam, nano, sam1};
use crate::{Error, Family, ModelConfig, Result};

/// How pixels become a model's input: the longest side is resized to `input_size`, pixels are normalised, and the rest
/// of the square (right and bottom) is padded with zeros after that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preprocessing {
    /// S: side of the input square.
    pub input_size: usize,
    /// Subtracted from pixels in 0..1.
    pub mean: [f32; 3],
    /// Divides pixels in 0..1.
    pub std: [f32; 3],
}

/// Which of the predicted masks is the answer to a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum MaskChoice {
    /// The single mask (`multimask: false`).
    #[serde(rename = "token_0")]
    Single,
    /// The one of the three masks (`multimask: true`) with the best predicted IoU.
    #[serde(rename = "best_predicted_iou_of_1_to_3")]
    BestOfMultimask,
    /// The best of all four.
    #[serde(rename = "best_predicted_iou_of_0_to_3")]
    BestOfAll,
}

/// Which mask a model's authors recommend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct MaskRule {
    /// For exactly one foreground click and nothing else, which may mean a thing or its parts.
    pub one_click: MaskChoice,
    /// For every other prompt.
    pub otherwise: MaskChoice,
}

/// A model, ready to run on the device it was loaded for. Cheap to clone.
#[derive(Clone)]
pub struct Model {
    parts: Arc<Parts>,
    family: Family,
    mask_rule: MaskRule,
}

impl Model {
    /// Loads a model's weights onto a device.
    ///
    /// The device's [`Device::weight_precision`] is that of the large layers; those whose errors would reach the masks stay
    /// f32 where it is int8. Files may hold weights in any precision.
    ///
    /// Weights may have Hugging Face or original names; [`samovar_weights::ShapeSource`] stands in for both.
    ///
    /// # Errors
    /// [`Error::Weights`] for a missing or misshapen tensor, [`Error::Tensor`] when memory runs out.
    pub fn load(device: &Device, config: &ModelConfig, weights: &dyn WeightSource) -> Result<Model> {
        Self::load_recorded(device, config, weights, None)
    }

    /// Which of a file's tensors are weights of layers, and the precision each of them has on a device with weights in
    /// `precision`: what a file of such weights should hold. Reads no values. The others stay f32.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn weight_precisions(
        config: &ModelConfig,
        weights: &dyn WeightSource,
        precision: Precision,
    ) -> Result<BTreeMap<String, Precision>> {
        let device = Device::shape_only(ShapeOnly::new()).with_weight_precision(precision);
        let record = Record::default();
        Self::load_recorded(&device, config, weights, Some(&record))?;
        let named = Named::new(weights)?;
        let of_file = |(name, precision)| (named.name_in_file(name), precision);
        Ok(record.into_inner().into_iter().map(of_file).collect())
    }

    fn load_recorded(
        device: &Device,
        config: &ModelConfig,
        weights: &dyn WeightSource,
        record: Option<&Record>,
    ) -> Result<Model> {
        let named = Named::new(weights)?;
        let exact_device = device.with_weight_precision(device.weight_precision().exact());
        let mut loader = Loader::new(device, &exact_device, named.source());
        if let Some(record) = record {
            loader = loader.recorded(record);
        }
        let sam_rule = MaskRule { one_click: MaskChoice::BestOfMultimask, otherwise: MaskChoice::Single };
        let (parts, mask_rule) = match &config.kind {
            Kind::Sam(config) => (sam1::load(&loader, config)?, sam_rule),
            Kind::MobileSam(config) => (mobile_sam::load(&loader, config)?, sam_rule),
            Kind::Nano(config) => (nano::load(&loader, config)?, config.mask_rule),
        };
        Ok(Model { parts: Arc::new(parts), family: config.family(), mask_rule })
    }

    /// The model's family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// How pixels become this model's input.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.parts.preprocessing
    }

    /// Which of the predicted masks to take.
    pub fn mask_rule(&self) -> MaskRule {
        self.mask_rule
    }

    /// Side of the square of low-resolution mask logits (256 for SAM).
    pub fn low_res_side(&self) -> usize {
        self.parts.prompt_encoder.low_res_side()
    }

    /// Encodes normalised pixels `[B, S, S, 3]`.
    ///
    /// # Errors
    /// [`Error::Input`] for another shape, [`Error::Tensor`] when memory runs out.
    pub fn encode(&self, device: &Device, pixels: &Tensor) -> Result<ImageFeatures> {
        let side = self.parts.preprocessing.input_size;
        match *pixels.dims() {
            [batch, height, width, 3] if batch > 0 && height == side && width == side => {}
            _ => {
                let what =
                    format!("pixels of shape {}, expected [images, {side}, {side}, 3]", pixels.shape());
                return Err(Error::Input(what));
            }
        }
        self.parts.encoder.encode(&device.stage("encoder"), pixels)
    }

    /// Predicts masks for prompts on one encoded image.
    ///
    /// # Errors
    /// [`Error::Input`] when features or prompts do not fit the model, [`Error::Tensor`] when memory runs out.
    pub fn decode(
        &self,
        device: &Device,
        features: &ImageFeatures,
        prompts: &PromptBatch,
    ) -> Result<MaskPrediction> {
        let masks = if prompts.multimask { Masks::Multi } else { Masks::Single };
        self.decode_masks(device, features, prompts, masks)
    }

    /// The same for the single mask and the others together, the single one first: for [`MaskChoice::BestOfAll`].
    ///
    /// # Errors
    /// As [`Model::decode`].
    pub fn decode_all(
        &self,
        device: &Device,
        features: &ImageFeatures,
        prompts: &PromptBatch,
    ) -> Result<MaskPrediction> {
        self.decode_masks(device, features, prompts, Masks::All)
    }

    /// The first part of [`Model::decode`]: scores, and what the masks are made of.
    ///
    /// # Errors
    /// As [`Model::decode`].
    pub fn score(
        &self,
        device: &Device,
        features: &ImageFeatures,
        prompts: &PromptBatch,
    ) -> Result<ScoredPrompts> {
        let masks = if prompts.multimask { Masks::Multi } else { Masks::Single };
        self.score_masks(device, features, prompts, masks)
    }

    /// The second part of [`Model::decode`]: masks `[P, M, side, side]` of prompts that were scored on the same image.
    ///
    /// # Errors
    /// As [`Model::decode`].
    pub fn draw(&self, device: &Device, features: &ImageFeatures, scored: ScoredPrompts) -> Result<Tensor> {
        self.check_features(features)?;
        self.parts.mask_decoder.draw(&device.stage("decoder"), features, scored)
    }

    /// Some masks, as (prompt, mask), of prompts that were scored on the same image: `[masks, side, side]`.
    ///
    /// Masks of one prompt cost little more than one of them, when they follow each other.
    ///
    /// # Errors
    /// [`Error::Input`] for none or one that does not exist; as [`Model::decode`].
    pub fn draw_chosen(
        &self,
        device: &Device,
        features: &ImageFeatures,
        scored: &ScoredPrompts,
        chosen: &[(usize, usize)],
    ) -> Result<Tensor> {
        self.check_features(features)?;
        self.parts.mask_decoder.draw_chosen(&device.stage("decoder"), features, scored, chosen)
    }

    fn decode_masks(
        &self,
        device: &Device,
        features: &ImageFeatures,
        prompts: &PromptBatch,
        masks: Masks,
    ) -> Result<MaskPrediction> {
        let scored = self.score_masks(device, features, prompts, masks)?;
        let iou_scores = scored.iou_scores.clone();
        Ok(MaskPrediction { logits: self.draw(device, features, scored)?, iou_scores })
    }

    fn score_masks(
        &self,
        device: &Device,
        features: &ImageFeatures,
        prompts: &PromptBatch,
        masks: Masks,
    ) -> Result<ScoredPrompts> {
        self.check_features(features)?;
        let device = &device.stage("decoder");
        let encoded = self.parts.prompt_encoder.encode(device, &features.embedding, prompts)?;
        self.parts.mask_decoder.score(device, encoded, prompts.prompts, masks)
    }

    fn check_features(&self, features: &ImageFeatures) -> Result<()> {
        let grid = self.low_res_side() / 4;
        match *features.embedding.dims() {
            [1, height, width, _] if height == grid && width == grid => Ok(()),
            _ => Err(Error::Input(format!(
                "features of shape {}, expected those of one image, [1, {grid}, {grid}, channels]",
                features.embedding.shape()
            ))),
        }
    }
}

/// What the encoder found in one or more images.
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    /// `[B, h, w, C]`.
    pub embedding: Tensor,
    /// Finer maps that some decoders add, coarse to fine.
    pub high_res: Vec<Tensor>,
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
        })
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.embedding.dims().first().copied().unwrap_or(0)
    }

    /// Bytes the features take.
    pub fn size_bytes(&self) -> usize {
        self.embedding.size_bytes() + self.high_res.iter().map(Tensor::size_bytes).sum::<usize>()
    }
}

/// `prompts` prompts on one image, all with the same number of points.
///
/// Coordinates are pixels of the S x S input, without the half-pixel shift: it is added inside, as upstream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptBatch {
    /// P: number of prompts.
    pub prompts: usize,
    /// `P * N` points (x, y), prompt by prompt.
    pub points: Vec<[f32; 2]>,
    /// `P * N` labels: 1 foreground, 0 background, -1 not a point, -10 ignore.
    pub labels: Vec<i32>,
    /// `P` boxes (x0, y0, x1, y1), or none.
    pub boxes: Vec<[f32; 4]>,
    /// `P` or one (shared) masks of low-resolution logits, `side * side` values each.
    pub masks: Option<Vec<f32>>,
    /// Three masks per prompt for an ambiguous prompt, instead of one.
    pub multimask: bool,
}

/// Masks the decoder predicts for `P` prompts: `M` is 3 with `multimask`, otherwise 1 (4 for [`Model::decode_all`]).
#[derive(Debug, Clone)]
pub struct MaskPrediction {
    /// Mask logits `[P, M, side, side]`; a mask is where they are positive.
    pub logits: Tensor,
    /// Predicted IoU of each mask, `[P, M]`.
    pub iou_scores: Tensor,
}
