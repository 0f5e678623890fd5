//! The mask decoder: prompts and image through the two-way transformer, then masks by a product of token and pixel.

use std::ops::Range;

use samovar_tensor::{
    Activation, Conv2d, Conv2dGeometry, ConvTranspose2d, Device, Epilogue, LayerNorm, Linear, MaskHead,
    Tensor,
};

use super::hq::{HqConfig, HqMask};
use super::loader::Loader;
use super::mlp::{Head, HeadConfig};
use super::prompt_encoder::EncodedPrompts;
use super::prompt_map::CLICK_MAP_CHANNELS;
use super::two_way::{TwoWayConfig, TwoWayTransformer};
use crate::error::{Error, Result};
use crate::interface::{ImageFeatures, MaskOutput, ScoredPrompts};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, at_most, positive};

/// Masks of an ambiguous prompt.
const MAX_MASKS: usize = 64;
/// Side of a refinement's kernel.
const MAX_KERNEL: usize = 31;

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
    /// Where a head says from a token of its own whether there is an object at all, as in SAM 2: its layers and their
    /// width.
    pub(crate) object_score: Option<ObjectScoreConfig>,
    /// Where finer maps of the image are added at every doubling, as in SAM 2.
    pub(crate) high_res: Option<HighResConfig>,
    /// Where the mask of one more token is added to every mask, as in SAM-HQ: channels of the early map it reads.
    pub(crate) hq_early_channels: Option<usize>,
}

/// Dimensions of the head of the object score: `obj_score_token`, `pred_obj_score_head`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectScoreConfig {
    pub(crate) depth: usize,
    pub(crate) hidden: usize,
}

/// What happens beside the finer maps themselves; nothing in SAM 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HighResConfig {
    /// Whether the map of the prompts is read again at every doubling.
    pub(crate) prompt_map: bool,
    /// Refinement blocks after the first and the second doubling.
    pub(crate) refine_blocks: [usize; 2],
    pub(crate) refine_kernel: usize,
}

impl MaskDecoderConfig {
    /// `channels` are those of the image embedding.
    pub(crate) fn check(&self, channels: usize) -> Result<()> {
        if self.transformer.channels != channels {
            let what =
                format!("a decoder of {} channels for images of {channels}", self.transformer.channels);
            return Err(Error::Config(what));
        }
        self.transformer.check()?;
        at_most("mask decoder: masks", self.multimask_outputs, MAX_MASKS)?;
        at_most("mask decoder: upscaled channels", self.upscale_channels[0], MAX_CHANNELS)?;
        at_most("mask decoder: upscaled channels", self.upscale_channels[1], MAX_CHANNELS)?;
        positive("mask decoder: upscaling: layer norm epsilon", self.upscale_epsilon)?;
        check_head("IoU head", self.iou_depth, self.iou_hidden)?;
        if let Some(ObjectScoreConfig { depth, hidden }) = self.object_score {
            check_head("object score head", depth, hidden)?;
        }
        at_most("mask decoder: vit_dim", self.hq_early_channels.unwrap_or(1), MAX_CHANNELS)?;
        self.high_res.map_or(Ok(()), |high_res| high_res.check())
    }

    /// Dimensions of what SAM-HQ adds, in a decoder that has it.
    pub(crate) fn hq(&self) -> Option<HqConfig> {
        let (channels, upscale_channels) = (self.transformer.channels, self.upscale_channels);
        self.hq_early_channels.map(|early_channels| HqConfig { channels, early_channels, upscale_channels })
    }
}

/// Heads have two layers at least.
fn check_head(what: &str, depth: usize, hidden: usize) -> Result<()> {
    at_most(&format!("mask decoder: {what} depth"), depth.saturating_sub(1), MAX_DEPTH)?;
    at_most(&format!("mask decoder: {what} channels"), hidden, MAX_CHANNELS)
}

impl HighResConfig {
    fn check(self) -> Result<()> {
        self.refine_blocks.iter().try_for_each(|&count| at_most("depth", count.max(1), MAX_DEPTH))?;
        at_most("refine_kernel", self.refine_kernel, MAX_KERNEL)?;
        if self.refine_kernel.is_multiple_of(2) {
            return Err(Error::Config(format!("a kernel of {}, expected an odd one", self.refine_kernel)));
        }
        Ok(())
    }
}

pub(crate) struct MaskDecoder {
    config: MaskDecoderConfig,
    /// The object's token where there is one, the IoU token, the mask tokens, and that of SAM-HQ: `[1, tokens, C]`.
    output_tokens: Tensor,
    transformer: TwoWayTransformer,
    upscaling: Upscaling,
    hypernetworks: Vec<Head>,
    iou_head: Head,
    object_score_head: Option<Head>,
    hq: Option<HqMask>,
}

/// From image tokens to pixels.
enum Upscaling {
    /// In one go with the product that makes masks.
    Plain(Box<MaskHead>),
    /// Step by step, with finer maps or for one more mask of the same pixels.
    Stepwise(Box<Stepwise>),
}

struct Stepwise {
    conv1: ConvTranspose2d,
    layer_norm: LayerNorm,
    conv2: ConvTranspose2d,
    /// For the first and the second doubling, where finer maps are added.
    details: Option<[Detail; 2]>,
}

/// Layers of the heads that make mask vectors, in both upstreams and all published models.
const HYPERNETWORK_DEPTH: usize = 3;

impl MaskDecoder {
    /// `positions: [1, h·w, C]` are those of the image tokens.
    pub(crate) fn load(loader: &Loader, config: &MaskDecoderConfig, positions: &Tensor) -> Result<Self> {
        let channels = config.transformer.channels;
        let masks = config.multimask_outputs + 1;
        let mut tokens = Vec::new();
        if config.object_score.is_some() {
            tokens.push(loader.tensor("obj_score_token.weight", &[1, channels])?);
        }
        tokens.push(loader.tensor("iou_token.weight", &[1, channels])?);
        tokens.push(loader.tensor("mask_tokens.weight", &[masks, channels])?);
        if config.hq_early_channels.is_some() {
            tokens.push(loader.tensor("hq_token.weight", &[1, channels])?);
        }
        let output_tokens = loader.device.stage("load").concat(&tokens.iter().collect::<Vec<_>>(), 0)?;
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
        let object_score = |ObjectScoreConfig { depth, hidden }| {
            let config =
                HeadConfig { inputs: channels, hidden, outputs: 1, depth, last: Activation::Identity };
            Head::load(&loader.at("pred_obj_score_head"), config)
        };
        let count = output_tokens.dims()[0];
        Ok(Self {
            config: config.clone(),
            output_tokens: output_tokens.reshape([1, count, channels])?,
            transformer: TwoWayTransformer::load(&loader.at("transformer"), &config.transformer, positions)?,
            upscaling: Upscaling::load(loader, config)?,
            hypernetworks: (0..masks).map(hypernetwork).collect::<Result<_>>()?,
            iou_head: Head::load(&loader.at("iou_prediction_head"), iou)?,
            object_score_head: config.object_score.map(object_score).transpose()?,
            hq: config.hq().map(|hq| HqMask::load(loader, hq)).transpose()?,
        })
    }

    /// Everything up to the scores for the prompts of one image: tokens and image have met, no mask is made yet.
    pub(crate) fn score(
        &self,
        device: &Device,
        prompts: EncodedPrompts,
        count: usize,
        output: MaskOutput,
    ) -> Result<ScoredPrompts> {
        let EncodedPrompts { tokens, image, map } = prompts;
        let tokens = match tokens {
            Some(tokens) => device.concat(&[&self.output_tokens, &tokens], 1)?,
            None => device.concat(&vec![&self.output_tokens; count], 0)?,
        };
        let (tokens, image) = self.transformer.forward(device, &tokens, image)?;
        let object_scores = match &self.object_score_head {
            // Its token is the first.
            Some(head) => {
                let scores = head.forward(device, &device.slice(&tokens, 1, 0, 1)?)?;
                Some(scores.reshape([count, 1])?)
            }
            None => None,
        };
        let masks = self.masks(output);
        let iou_scores = self.iou_scores(device, &tokens, masks.clone())?;
        let first = self.iou_token() + 1;
        let mask_tokens = first + masks.start..first + masks.end;
        Ok(ScoredPrompts { iou_scores, object_scores, tokens, mask_tokens, image, map })
    }

    /// Masks of prompts that have been scored, `[P, M, height, width]`.
    pub(crate) fn draw(
        &self,
        device: &Device,
        features: &ImageFeatures,
        scored: ScoredPrompts,
    ) -> Result<Tensor> {
        if self.hq.is_some() {
            // One prompt after the other: each has maps of a million numbers beside its masks.
            let [prompts, masks] = scored.iou_scores.shape().fixed("mask decoder")?;
            let all: Vec<_> = (0..prompts * masks).map(|index| (index / masks, index % masks)).collect();
            let drawn = self.draw_chosen(device, features, &scored, &all)?;
            let [_, height, width] = drawn.shape().fixed("mask decoder")?;
            return Ok(drawn.reshape([prompts, masks, height, width])?);
        }
        let ScoredPrompts { tokens, mask_tokens, image, map, .. } = scored;
        let vectors = self.mask_vectors(device, &tokens, mask_tokens)?;
        self.logits(device, features, image, map.as_ref(), &vectors, None)
    }

    /// Some masks of prompts that have been scored, as (prompt, mask), `[masks, height, width]`.
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
        let vectors = self.mask_vectors(device, &scored.tokens, scored.mask_tokens.clone())?;
        let hq_vectors = self.hq_vectors(device, &scored.tokens)?;
        let mut drawn = Vec::new();
        // Neighbours of one prompt together: making its pixels is nearly all of the work.
        for of_prompt in chosen.chunk_by(|a, b| a.0 == b.0) {
            let prompt = of_prompt[0].0;
            let vectors = vectors.narrow(prompt, 1)?;
            let rows = of_prompt.iter().map(|&(_, mask)| Ok(device.slice(&vectors, 1, mask, 1)?));
            let rows = rows.collect::<Result<Vec<_>>>()?;
            let vectors = device.concat(&rows.iter().collect::<Vec<_>>(), 1)?;
            let of_prompt = |all: &Option<Tensor>| all.as_ref().map(|all| all.narrow(prompt, 1)).transpose();
            let (map, hq_vector) = (of_prompt(&scored.map)?, of_prompt(&hq_vectors)?);
            let image = scored.image.narrow(prompt, 1)?;
            let features = &features.of_prompt(prompt)?;
            let logits = self.logits(device, features, image, map.as_ref(), &vectors, hq_vector.as_ref())?;
            let [_, count, height, width] = logits.shape().fixed("mask decoder")?;
            drawn.push(logits.reshape([count, height, width])?);
        }
        if drawn.len() == 1 {
            return Ok(drawn.remove(0));
        }
        Ok(device.concat(&drawn.iter().collect::<Vec<_>>(), 0)?)
    }

    /// Which of the masks are asked for.
    fn masks(&self, output: MaskOutput) -> Range<usize> {
        let all = 1 + self.config.multimask_outputs;
        match output {
            MaskOutput::Single => 0..1,
            MaskOutput::Multimask => 1..all,
            MaskOutput::All => 0..all,
        }
    }

    /// Where the IoU token stands; the mask tokens follow it.
    fn iou_token(&self) -> usize {
        usize::from(self.object_score_head.is_some())
    }

    /// Predicted IoU of some masks, `[P, M]`. Needs the tokens alone, so it can come before any mask is made.
    fn iou_scores(&self, device: &Device, tokens: &Tensor, masks: Range<usize>) -> Result<Tensor> {
        let iou_token = device.slice(tokens, 1, self.iou_token(), 1)?;
        let scores = self.iou_head.forward(device, &iou_token)?;
        let scores = device.slice(&scores, 2, masks.start, masks.len())?;
        let prompts = tokens.dims()[0];
        Ok(scores.reshape([prompts, masks.len()])?)
    }

    /// Vectors of some mask tokens, `[P, M, channels]`.
    fn mask_vectors(&self, device: &Device, tokens: &Tensor, mask_tokens: Range<usize>) -> Result<Tensor> {
        let first = self.iou_token() + 1;
        let vectors = mask_tokens.map(|index| {
            let token = device.slice(tokens, 1, index, 1)?;
            self.hypernetworks[index - first].forward(device, &token)
        });
        let vectors = vectors.collect::<Result<Vec<_>>>()?;
        Ok(device.concat(&vectors.iter().collect::<Vec<_>>(), 1)?)
    }

    /// SAM-HQ's vectors, `[P, 1, channels]`; its token is the one behind those of all masks.
    fn hq_vectors(&self, device: &Device, tokens: &Tensor) -> Result<Option<Tensor>> {
        let Some(hq) = &self.hq else { return Ok(None) };
        let index = self.iou_token() + 1 + self.hypernetworks.len();
        hq.vector(device, &device.slice(tokens, 1, index, 1)?).map(Some)
    }

    /// Mask logits `[P, M, height, width]`: each vector against every pixel that image tokens `[P, h·w, C]` become; with the
    /// vector `[1, 1, channels]` of SAM-HQ, which is for one prompt, its mask is added to all.
    fn logits(
        &self,
        device: &Device,
        features: &ImageFeatures,
        image: Tensor,
        map: Option<&Tensor>,
        vectors: &Tensor,
        hq_vector: Option<&Tensor>,
    ) -> Result<Tensor> {
        let [_, height, width, channels] = features.embedding.shape().fixed("mask decoder")?;
        let mut x = image.reshape([image.dims()[0], height, width, channels])?;
        drop(image);
        let steps = match &self.upscaling {
            Upscaling::Plain(head) => return Ok(device.mask_logits(&x, head, vectors)?),
            Upscaling::Stepwise(steps) => &**steps,
        };
        x = steps.forward(device, x, features, map, self.config.upscale_activation)?;
        let [prompts, height, width, channels] = x.shape().fixed("mask decoder")?;
        let pixels = x.reshape([prompts, height * width, channels])?;
        let mut logits = device.matmul_transposed(vectors, &pixels)?;
        drop(pixels);
        if let (Some(hq), Some(vector)) = (&self.hq, hq_vector) {
            logits = device.add(&logits, &hq.logits(device, &x, features, vector)?)?;
        }
        Ok(logits.reshape([prompts, vectors.dims()[1], height, width])?)
    }
}

impl Upscaling {
    fn load(loader: &Loader, config: &MaskDecoderConfig) -> Result<Self> {
        let channels = config.transformer.channels;
        let [first, second] = config.upscale_channels;
        let layer_norm = loader.layer_norm("upscale_layer_norm", first, config.upscale_epsilon)?;
        if config.high_res.is_none() && config.hq_early_channels.is_none() {
            let layer = |name: &str, inputs: usize, outputs: usize| -> Result<(Tensor, Tensor)> {
                let layer = loader.at(name);
                Ok((layer.raw("weight", &[inputs, outputs, 2, 2])?, layer.raw("bias", &[outputs])?))
            };
            let conv1 = layer("upscale_conv1", channels, first)?;
            let conv2 = layer("upscale_conv2", first, second)?;
            let layers = [(&conv1.0, &conv1.1), (&conv2.0, &conv2.1)];
            let head = loader.device.load_mask_head(layers, layer_norm, config.upscale_activation)?;
            return Ok(Self::Plain(Box::new(head)));
        }
        let coarse = Conv2dGeometry::same(3).stride(2);
        let fine = Conv2dGeometry::same(3);
        let details = |high_res: HighResConfig| {
            Ok::<_, Error>([
                Detail::load(loader, ["dense_conv8", "refine_8"], first, coarse, high_res, 0)?,
                Detail::load(loader, ["dense_conv4", "refine_4"], second, fine, high_res, 1)?,
            ])
        };
        Ok(Self::Stepwise(Box::new(Stepwise {
            conv1: loader.conv_transpose2d("upscale_conv1", channels, first, 2)?,
            layer_norm,
            conv2: loader.conv_transpose2d("upscale_conv2", first, second, 2)?,
            details: config.high_res.map(details).transpose()?,
        })))
    }
}

impl Stepwise {
    /// `[P, h, w, C]` to `[P, 4h, 4w, channels]`; `activation` is the last one.
    fn forward(
        &self,
        device: &Device,
        mut x: Tensor,
        features: &ImageFeatures,
        map: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        let Stepwise { conv1, layer_norm, conv2, details } = self;
        let Some([coarse, fine]) = details else {
            x = device.conv_transpose2d(&x, conv1, &Epilogue::NONE)?;
            x = device.layer_norm(&x, layer_norm, Activation::Gelu)?;
            return Ok(device.conv_transpose2d(&x, conv2, &Epilogue::act(activation))?);
        };
        let [coarse_map, fine_map] = &features.high_res[..] else {
            return Err(Error::Input("features without their finer maps; of another model?".into()));
        };
        let mut finer = coarse.with_prompts(device, coarse_map, map)?;
        x = device.conv_transpose2d(&x, conv1, &Epilogue::add(&finer))?;
        x = device.layer_norm(&x, layer_norm, Activation::Gelu)?;
        x = coarse.refine(device, x)?;
        finer = fine.with_prompts(device, fine_map, map)?;
        x = device.conv_transpose2d(&x, conv2, &Epilogue::add_then_act(&finer, activation))?;
        drop(finer);
        fine.refine(device, x)
    }
}

/// Detail at one scale.
struct Detail {
    /// Reads the map of prompts, in models that do.
    dense: Option<Conv2d>,
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
        config: HighResConfig,
        doubling: usize,
    ) -> Result<Self> {
        let depthwise = Conv2dGeometry::same(config.refine_kernel).depthwise(channels);
        let dense = || loader.conv2d(dense, CLICK_MAP_CHANNELS, channels, geometry, true).map(Some);
        let block = |i: usize| {
            let block = loader.at(format!("{refine}.{i}"));
            Ok(Refine {
                depthwise: block.conv2d("depthwise", channels, channels, depthwise, true)?,
                pointwise: block.pointwise("pointwise", channels, channels, true)?,
            })
        };
        Ok(Self {
            dense: if config.prompt_map { dense()? } else { None },
            blocks: (0..config.refine_blocks[doubling]).map(block).collect::<Result<_>>()?,
        })
    }

    /// A finer map of the image `[1 or P, h, w, C]`, with what the prompts' map says, `[P, ..]`, where it is read.
    fn with_prompts(&self, device: &Device, finer: &Tensor, map: Option<&Tensor>) -> Result<Tensor> {
        match (&self.dense, map) {
            (Some(dense), Some(map)) => Ok(device.conv2d(map, dense, &Epilogue::add(finer))?),
            (Some(_), None) => Err(Error::Input("prompts without their map; of another model?".into())),
            (None, _) => Ok(finer.clone()),
        }
    }

    fn refine(&self, device: &Device, x: Tensor) -> Result<Tensor> {
        self.blocks.iter().try_fold(x, |x, block| {
            let y = device.conv2d(&x, &block.depthwise, &Epilogue::act(Activation::Relu))?;
            Ok(device.linear(&y, &block.pointwise, &Epilogue::add(&x))?)
        })
    }
}

#[cfg(test)]
#[path = "mask_decoder_tests.rs"]
mod tests;
