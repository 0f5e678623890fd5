//! A model on a device: weights in, features and masks out.

use samovar_tensor::{Device, Tensor};
use samovar_weights::WeightSource;

use crate::{Error, ModelConfig, Result};

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

/// A model, ready to run on the device it was loaded for. Cheap to clone.
#[derive(Clone)]
pub struct Model {
    preprocessing: Preprocessing,
}

impl Model {
    /// Loads a model's weights onto a device.
    ///
    /// Weights may have Hugging Face or original names; [`samovar_weights::ShapeSource`] stands in for both.
    ///
    /// # Errors
    /// [`Error::Weights`] for a missing or misshapen tensor, [`Error::Tensor`] when memory runs out.
    pub fn load(_device: &Device, _config: &ModelConfig, _weights: &dyn WeightSource) -> Result<Model> {
        Err(Error::Config("not loaded yet".into()))
    }

    /// How pixels become this model's input.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Side of the square of low-resolution mask logits (256 for SAM).
    pub fn low_res_side(&self) -> usize {
        self.preprocessing.input_size / 4
    }

    /// Encodes normalised pixels `[B, S, S, 3]`.
    ///
    /// # Errors
    /// [`Error::Input`] for another shape, [`Error::Tensor`] when memory runs out.
    pub fn encode(&self, _device: &Device, _pixels: &Tensor) -> Result<ImageFeatures> {
        Err(Error::Config("not loaded yet".into()))
    }

    /// Predicts masks for prompts on one encoded image.
    ///
    /// # Errors
    /// [`Error::Input`] when features or prompts do not fit the model, [`Error::Tensor`] when memory runs out.
    pub fn decode(
        &self,
        _device: &Device,
        _features: &ImageFeatures,
        _prompts: &PromptBatch,
    ) -> Result<MaskPrediction> {
        Err(Error::Config("not loaded yet".into()))
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
            high_res: self.high_res.iter().map(of_image).collect::<std::result::Result<_, _>>()?,
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

/// Masks the decoder predicts for `P` prompts: `M` is 3 with `multimask`, otherwise 1.
#[derive(Debug, Clone)]
pub struct MaskPrediction {
    /// Mask logits `[P, M, side, side]`; a mask is where they are positive.
    pub logits: Tensor,
    /// Predicted IoU of each mask, `[P, M]`.
    pub iou_scores: Tensor,
}
