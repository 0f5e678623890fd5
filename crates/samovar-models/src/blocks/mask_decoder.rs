//! The mask decoder: prompts and image through the two-way transformer, then masks by a product of token and pixel.

use std::ops::Range;

use samovar_tensor::{
    Activation, Conv2d, Conv2dGeometry, ConvTranspose2d, Device, Epilogue, LayerNorm, Linear, MaskHead,
    Tensor,
};

use super::loader::Loader;
use super::mlp::{Head, HeadConfig};
use super::prompt_encoder::EncodedPrompts;
use super::two_way::{TwoWayConfig, TwoWayTransformer};
use crate::model::ImageFeatures;
use crate::prompt_map::CLICK_MAP_CHANNELS;
use crate::{Error, Result};

/// Dimensions of a [`MaskDecoder`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MaskDecoderConfig {
    pub(crate) transformer: TwoWayConfig,
    /// Masks of an ambiguous prompt; one more token stands for the single mask.
    pub(crate) multimask_outputs: usize,
    /// Channels after the first and the second doubling of the map.
    pub(crate) upscale_channels: [usize; 2],
    pub(crate) upscale_epsilon: f32,
    /// After the second doubling.
    pub(crate) upscale_activation: Activation,
    pub(crate) iou_depth: usize,
    pub(crate) iou_hidden: usize,
    /// After the IoU head: nothing in SAM, a sigmoid in nano.
    pub(crate) iou_activation: Activation,
    pub(crate) detail: Option<DetailConfig>,
}

/// What nano's decoder adds to SAM's: finer maps of image and prompts at every doubling, and refinement after it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DetailConfig {
    /// Refinement blocks after the first and the second doubling.
    pub(crate) refine_blocks: [usize; 2],
    pub(crate) refine_kernel: usize,
}

/// Which of the decoder's masks are wanted: token 0 is the single mask, the others are those of an ambiguous prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Masks {
    Single,
    Multi,
    All,
}

/// Prompts whose masks have scores and can be made, or not.
///
/// An automatic mask generator throws most prompts away by their scores; making their masks is a fifth of the work.
pub struct ScoredPrompts {
    /// Predicted IoU of each mask, `[P, M]`.
    pub iou_scores: Tensor,
    tokens: Tensor,
    image: Tensor,
    map: Option<Tensor>,
    masks: Range<usize>,
}

impl ScoredPrompts {
    /// Prompts `start..start + len` of these, without a copy.
    ///
    /// # Errors
    /// [`Error::Tensor`] when there are not so many.
    pub fn narrow(&self, start: usize, len: usize) -> Result<ScoredPrompts> {
        Ok(ScoredPrompts {
            iou_scores: self.iou_scores.narrow(start, len)?,
            tokens: self.tokens.narrow(start, len)?,
            image: self.image.narrow(start, len)?,
            map: self.map.as_ref().map(|map| map.narrow(start, len)).transpose()?,
            masks: self.masks.clone(),
        })
    }
}

pub(crate) struct MaskDecoder {
    config: MaskDecoderConfig,
    /// IoU token and mask tokens, `[1, 1 + masks, C]`.
    output_tokens: Tensor,
    transformer: TwoWayTransformer,
    upscaling: Upscaling,
    hypernetworks: Vec<Head>,
    iou_head: Head,
}

/// From image tokens to pixels.
enum Upscaling {
    /// In one go with the product that makes masks.
    Plain(Box<MaskHead>),
    /// Step by step, with finer maps.
    Detailed(Box<Detailed>),
}

struct Detailed {
    conv1: ConvTranspose2d,
    layer_norm: LayerNorm,
    conv2: ConvTranspose2d,
    /// For the first and the second doubling.
    details: [Detail; 2],
}

/// Layers of the heads that make mask vectors, in both upstreams and all published models.
const HYPERNETWORK_DEPTH: usize = 3;

impl MaskDecoder {
    /// `positions: [1, h·w, C]` are those of the image tokens.
    pub(crate) fn load(loader: &Loader, config: &MaskDecoderConfig, positions: &Tensor) -> Result<Self> {
        let channels = config.transformer.channels;
        let masks = config.multimask_outputs + 1;
        let tokens = [
            loader.tensor("iou_token.weight", &[1, channels])?,
            loader.tensor("mask_tokens.weight", &[masks, channels])?,
        ];
        let output_tokens = loader.device.stage("load").concat(&[&tokens[0], &tokens[1]], 0)?;
        let hypernetwork = |i: usize| {
            let outputs = config.upscale_channels[1];
            let (inputs, hidden, depth) = (channels, channels, HYPERNETWORK_DEPTH);
            let config = HeadConfig { inputs, hidden, outputs, depth, last: Activation::Identity };
            Head::load(&loader.at(format!("output_hypernetworks_mlps.{i}")), config)
        };
        let iou = HeadConfig {
            inputs: channels,
            hidden: config.iou_hidden,
            outputs: masks,
            depth: config.iou_depth,
            last: config.iou_activation,
        };
        Ok(Self {
            config: config.clone(),
            output_tokens: output_tokens.reshape([1, 1 + masks, channels])?,
            transformer: TwoWayTransformer::load(&loader.at("transformer"), &config.transformer, positions)?,
            upscaling: Upscaling::load(loader, config)?,
            hypernetworks: (0..masks).map(hypernetwork).collect::<Result<_>>()?,
            iou_head: Head::load(&loader.at("iou_prediction_head"), iou)?,
        })
    }

    /// Everything up to the scores for the prompts of one image: tokens and image have met, no mask is made yet.
    pub(crate) fn score(
        &self,
        device: &Device,
        prompts: EncodedPrompts,
        count: usize,
        masks: Masks,
    ) -> Result<ScoredPrompts> {
        let EncodedPrompts { tokens, image, map } = prompts;
        let tokens = match tokens {
            Some(tokens) => device.concat(&[&self.output_tokens, &tokens], 1)?,
            None => device.concat(&vec![&self.output_tokens; count], 0)?,
        };
        let (tokens, image) = self.transformer.forward(device, &tokens, image)?;
        let masks = self.masks(masks);
        let iou_scores = self.iou_scores(device, &tokens, masks.clone())?;
        Ok(ScoredPrompts { iou_scores, tokens, image, map, masks })
    }

    /// Masks of prompts that have been scored, `[P, M, side, side]`.
    pub(crate) fn draw(
        &self,
        device: &Device,
        features: &ImageFeatures,
        scored: ScoredPrompts,
    ) -> Result<Tensor> {
        let ScoredPrompts { tokens, image, map, masks, .. } = scored;
        let vectors = self.mask_vectors(device, &tokens, masks)?;
        self.logits(device, features, image, map.as_ref(), &vectors)
    }

    /// Some masks of prompts that have been scored, as (prompt, mask), `[masks, side, side]`.
    pub(crate) fn draw_chosen(
        &self,
        device: &Device,
        features: &ImageFeatures,
        scored: &ScoredPrompts,
        chosen: &[(usize, usize)],
    ) -> Result<Tensor> {
        let [prompts, masks] = scored.iou_scores.shape().fixed("mask decoder")?;
        if chosen.is_empty() || chosen.iter().any(|&(prompt, mask)| prompt >= prompts || mask >= masks) {
            let what = format!("{chosen:?} of {prompts} prompts with {masks} masks");
            return Err(Error::Input(format!("masks to draw: {what}")));
        }
        let vectors = self.mask_vectors(device, &scored.tokens, scored.masks.clone())?;
        let mut drawn = Vec::new();
        // Neighbours of one prompt together: making its pixels is nearly all of the work.
        for of_prompt in chosen.chunk_by(|a, b| a.0 == b.0) {
            let prompt = of_prompt[0].0;
            let vectors = vectors.narrow(prompt, 1)?;
            let rows = of_prompt.iter().map(|&(_, mask)| Ok(device.slice(&vectors, 1, mask, 1)?));
            let rows = rows.collect::<Result<Vec<_>>>()?;
            let vectors = device.concat(&rows.iter().collect::<Vec<_>>(), 1)?;
            let map = scored.map.as_ref().map(|map| map.narrow(prompt, 1)).transpose()?;
            let image = scored.image.narrow(prompt, 1)?;
            let logits = self.logits(device, features, image, map.as_ref(), &vectors)?;
            let [_, count, height, width] = logits.shape().fixed("mask decoder")?;
            drawn.push(logits.reshape([count, height, width])?);
        }
        if drawn.len() == 1 {
            return Ok(drawn.remove(0));
        }
        Ok(device.concat(&drawn.iter().collect::<Vec<_>>(), 0)?)
    }

    /// Which of the mask tokens are asked for.
    fn masks(&self, masks: Masks) -> Range<usize> {
        let all = 1 + self.config.multimask_outputs;
        match masks {
            Masks::Single => 0..1,
            Masks::Multi => 1..all,
            Masks::All => 0..all,
        }
    }

    /// Predicted IoU of some masks, `[P, M]`. Needs the tokens alone, so it can come before any mask is made.
    fn iou_scores(&self, device: &Device, tokens: &Tensor, masks: Range<usize>) -> Result<Tensor> {
        let iou_token = device.slice(tokens, 1, 0, 1)?;
        let scores = self.iou_head.forward(device, &iou_token)?;
        let scores = device.slice(&scores, 2, masks.start, masks.len())?;
        let prompts = tokens.dims()[0];
        Ok(scores.reshape([prompts, masks.len()])?)
    }

    /// Vectors of some mask tokens, `[P, M, channels]`.
    fn mask_vectors(&self, device: &Device, tokens: &Tensor, masks: Range<usize>) -> Result<Tensor> {
        let vectors = masks.map(|mask| {
            // The IoU token comes before the mask tokens.
            let token = device.slice(tokens, 1, 1 + mask, 1)?;
            self.hypernetworks[mask].forward(device, &token)
        });
        let vectors = vectors.collect::<Result<Vec<_>>>()?;
        Ok(device.concat(&vectors.iter().collect::<Vec<_>>(), 1)?)
    }

    /// Mask logits `[P, M, side, side]`: each vector against every pixel that image tokens `[P, h·w, C]` become.
    fn logits(
        &self,
        device: &Device,
        features: &ImageFeatures,
        image: Tensor,
        map: Option<&Tensor>,
        vectors: &Tensor,
    ) -> Result<Tensor> {
        let [_, height, width, channels] = features.embedding.shape().fixed("mask decoder")?;
        let mut x = image.reshape([image.dims()[0], height, width, channels])?;
        drop(image);
        let Detailed { conv1, layer_norm, conv2, details: [coarse, fine] } = match &self.upscaling {
            Upscaling::Plain(head) => return Ok(device.mask_logits(&x, head, vectors)?),
            Upscaling::Detailed(detailed) => &**detailed,
        };
        let (Some(map), [high_res_8, high_res_4]) = (map, &features.high_res[..]) else {
            return Err(Error::Input("features without their finer maps; of another model?".into()));
        };
        let mut detail = device.conv2d(map, &coarse.dense, &Epilogue::add(high_res_8))?;
        x = device.conv_transpose2d(&x, conv1, &Epilogue::add(&detail))?;
        x = device.layer_norm(&x, layer_norm, Activation::Gelu)?;
        x = coarse.refine(device, x)?;
        detail = device.conv2d(map, &fine.dense, &Epilogue::add(high_res_4))?;
        let activation = Epilogue::add_then_act(&detail, self.config.upscale_activation);
        x = device.conv_transpose2d(&x, conv2, &activation)?;
        drop(detail);
        x = fine.refine(device, x)?;
        let [prompts, height, width, channels] = x.shape().fixed("mask decoder")?;
        let pixels = x.reshape([prompts, height * width, channels])?;
        let logits = device.matmul_transposed(vectors, &pixels)?;
        Ok(logits.reshape([prompts, vectors.dims()[1], height, width])?)
    }
}

impl Upscaling {
    fn load(loader: &Loader, config: &MaskDecoderConfig) -> Result<Self> {
        let channels = config.transformer.channels;
        let [first, second] = config.upscale_channels;
        let layer_norm = loader.layer_norm("upscale_layer_norm", first, config.upscale_epsilon)?;
        let Some(detail) = &config.detail else {
            let layer = |name: &str, inputs: usize, outputs: usize| -> Result<(Tensor, Tensor)> {
                let layer = loader.at(name);
                Ok((layer.raw("weight", &[inputs, outputs, 2, 2])?, layer.raw("bias", &[outputs])?))
            };
            let conv1 = layer("upscale_conv1", channels, first)?;
            let conv2 = layer("upscale_conv2", first, second)?;
            let layers = [(&conv1.0, &conv1.1), (&conv2.0, &conv2.1)];
            let head = loader.device.load_mask_head(layers, layer_norm, config.upscale_activation)?;
            return Ok(Self::Plain(Box::new(head)));
        };
        let coarse = Conv2dGeometry::same(3).stride(2);
        let fine = Conv2dGeometry::same(3);
        let [blocks_8, blocks_4] = detail.refine_blocks;
        let kernel = detail.refine_kernel;
        Ok(Self::Detailed(Box::new(Detailed {
            conv1: loader.conv_transpose2d("upscale_conv1", channels, first, 2)?,
            layer_norm,
            conv2: loader.conv_transpose2d("upscale_conv2", first, second, 2)?,
            details: [
                Detail::load(loader, ["dense_conv8", "refine_8"], first, coarse, blocks_8, kernel)?,
                Detail::load(loader, ["dense_conv4", "refine_4"], second, fine, blocks_4, kernel)?,
            ],
        })))
    }
}

/// Detail at one scale.
struct Detail {
    /// Reads the map of prompts.
    dense: Conv2d,
    blocks: Vec<Refine>,
}

/// `x + pointwise(relu(depthwise(x)))`
struct Refine {
    depthwise: Conv2d,
    pointwise: Linear,
}

impl Detail {
    fn load(
        loader: &Loader,
        [dense, refine]: [&str; 2],
        channels: usize,
        geometry: Conv2dGeometry,
        blocks: usize,
        kernel: usize,
    ) -> Result<Self> {
        let depthwise = Conv2dGeometry::same(kernel).depthwise(channels);
        let block = |i: usize| {
            let block = loader.at(format!("{refine}.{i}"));
            Ok(Refine {
                depthwise: block.conv2d("depthwise", channels, channels, depthwise, true)?,
                pointwise: block.pointwise("pointwise", channels, channels, true)?,
            })
        };
        Ok(Self {
            dense: loader.conv2d(dense, CLICK_MAP_CHANNELS, channels, geometry, true)?,
            blocks: (0..blocks).map(block).collect::<Result<_>>()?,
        })
    }

    fn refine(&self, device: &Device, x: Tensor) -> Result<Tensor> {
        self.blocks.iter().try_fold(x, |x, block| {
            let y = device.conv2d(&x, &block.depthwise, &Epilogue::act(Activation::Relu))?;
            Ok(device.linear(&y, &block.pointwise, &Epilogue::add(&x))?)
        })
    }
}
