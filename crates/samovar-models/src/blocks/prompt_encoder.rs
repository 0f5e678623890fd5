//! Prompts to embeddings: points and boxes become tokens, a mask becomes a map that is added to the image.

use samovar_geometry::{Box2, Grid, Input, Point, Size};
use samovar_tensor::{
    Activation, BinaryOp, Conv2d, Conv2dGeometry, Device, Epilogue, LayerNorm, Linear, Tensor,
};

use super::loader::Loader;
use super::position::PositionEncoding;
use super::prompt_map::{CLICK_MAP_CHANNELS, PromptMap};
use crate::error::{Error, Result};
use crate::interface::{ImageFeatures, PromptBatch};
use crate::limits::{MAX_CHANNELS, MAX_GRID_SIDE, MAX_INPUT_SIDE, at_most, positive};

/// Dimensions of a [`PromptEncoder`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PromptEncoderConfig {
    pub(crate) channels: usize,
    /// The canvas: coordinates are divided by its sides.
    pub(crate) input: Size<Input>,
    /// Rows and columns of the image embedding.
    pub(crate) embedding: [usize; 2],
    /// Channels of the two hidden maps of the mask embedding.
    pub(crate) mask_channels: [usize; 2],
    pub(crate) epsilon: f32,
    pub(crate) dense: DensePrompt,
    /// Whether a token that is not a point stands behind a box, too, as it does behind points (SAM 2).
    pub(crate) pads_boxes: bool,
    /// Whether a learned vector is added to images without memories (`no_mem_embed` of SAM 2).
    pub(crate) no_memory: bool,
}

/// What the mask embedding reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum DensePrompt {
    /// The mask prompt alone; without one, a learned vector everywhere.
    Mask,
    /// A map of mask, clicks and box, always there.
    Map(PromptMap),
}

impl PromptEncoderConfig {
    /// `channels` are those of the image embedding.
    pub(crate) fn check(&self, channels: usize) -> Result<()> {
        at_most("prompt encoder: channels", self.channels, MAX_CHANNELS)?;
        if self.channels != channels || !channels.is_multiple_of(2) {
            let what = format!("prompts of {} channels for images of {channels}", self.channels);
            return Err(Error::Config(what));
        }
        let sides = [self.input.width, self.input.height];
        sides.iter().try_for_each(|&side| at_most("input side", side as usize, MAX_INPUT_SIDE))?;
        self.embedding.iter().try_for_each(|&side| at_most("embedding side", side, MAX_GRID_SIDE))?;
        at_most("prompt encoder: mask channels", self.mask_channels[0], MAX_CHANNELS)?;
        at_most("prompt encoder: mask channels", self.mask_channels[1], MAX_CHANNELS)?;
        if let DensePrompt::Map(map) = &self.dense {
            map.check()?;
        }
        positive("prompt encoder: layer norm epsilon", self.epsilon)
    }

    /// Size of mask prompts and predicted masks: each cell of the embedding has 4 x 4 logits.
    pub(crate) fn grid(&self) -> Size<Grid> {
        let [height, width] = self.embedding.map(|side| 4 * side as u32);
        Size::new(width, height)
    }
}

/// Rows of the label table.
const NOT_A_POINT: usize = 0;
const BACKGROUND: usize = 1;
const FOREGROUND: usize = 2;
const CORNERS: [usize; 2] = [3, 4];
const LABELS: usize = 5;

pub(crate) struct PromptEncoder {
    config: PromptEncoderConfig,
    position: PositionEncoding,
    /// `[1, channels, labels]`: what is added to a token, by label.
    label_table: Tensor,
    conv1: Conv2d,
    layer_norm1: LayerNorm,
    conv2: Conv2d,
    layer_norm2: LayerNorm,
    /// For features as an encoder leaves them.
    dense: Dense,
    /// For features with memories, where the others get a vector in their place.
    conditioned: Option<Conditioned>,
}

/// What the last layer adds to an image.
struct Dense {
    conv3: Linear,
    no_mask: Option<Tensor>,
}

struct Conditioned {
    dense: Dense,
    /// `[1, channels]`, which the other one has in its biases.
    no_memory: Tensor,
}

impl Dense {
    /// `no_memory: [1, 1, C]` is added to whatever image it is for.
    fn load(own: &Loader, config: &PromptEncoderConfig, no_memory: Option<&Tensor>) -> Result<Self> {
        let (channels, [_, inputs]) = (config.channels, config.mask_channels);
        let raised = |values: Tensor| -> Result<Tensor> {
            let Some(no_memory) = no_memory else { return Ok(values) };
            own.derived(values.dims(), || {
                let (values, added) = (values.to_f32_vec()?, no_memory.to_f32_vec()?);
                Ok(values.iter().zip(added).map(|(value, added)| value + added).collect())
            })
        };
        let layer = own.at("mask_embed.conv3");
        let _copies = layer.copies(2, channels * inputs)?;
        let weight = layer.weight("weight", &[channels, inputs, 1, 1])?.reshape([channels, inputs])?;
        let bias = raised(layer.raw("bias", &[channels])?)?;
        let no_mask = match config.dense {
            DensePrompt::Mask => Some(raised(own.raw("no_mask_embed.weight", &[1, channels])?)?),
            DensePrompt::Map(_) => None,
        };
        Ok(Self {
            conv3: own.device.load_linear(&weight, Some(&bias))?,
            no_mask: no_mask.map(|vector| own.device.load(&vector)).transpose()?,
        })
    }
}

/// What the decoder reads of the prompts.
pub(crate) struct EncodedPrompts {
    /// `[P, T, C]`, or `None` for a mask alone.
    pub(crate) tokens: Option<Tensor>,
    /// Image embedding plus dense prompt, `[P or 1, h·w, C]`.
    pub(crate) image: Tensor,
    /// `[P, height, width, channels]` for models whose decoder looks at it again.
    pub(crate) map: Option<Tensor>,
}

impl PromptEncoder {
    pub(crate) fn load(loader: &Loader, config: &PromptEncoderConfig) -> Result<Self> {
        let position = PositionEncoding::load(loader, config.channels)?;
        let own = loader.at("prompt_encoder");
        let channels = config.channels;
        // One tensor in transformers' SAM 2, four elsewhere.
        let points = match own.contains("point_embed.weight") {
            true => vec![own.raw("point_embed.weight", &[LABELS - 1, channels])?],
            false => (0..LABELS - 1)
                .map(|i| own.raw(&format!("point_embed.{i}.weight"), &[1, channels]))
                .collect::<Result<_>>()?,
        };
        let not_a_point = own.raw("not_a_point_embed.weight", &[1, channels])?;
        let label_table = own.derived(&[1, channels, LABELS], || {
            let rows = [&not_a_point].into_iter().chain(&points).map(Tensor::to_f32_vec);
            let rows = rows.collect::<Result<Vec<_>, _>>()?.concat();
            Ok((0..channels).flat_map(|c| rows.iter().skip(c).step_by(channels).copied()).collect())
        })?;
        let mask = own.at("mask_embed");
        let [first, second] = config.mask_channels;
        let inputs = match config.dense {
            DensePrompt::Mask => 1,
            DensePrompt::Map(_) => CLICK_MAP_CHANNELS,
        };
        let no_memory =
            config.no_memory.then(|| loader.raw("no_memory_embedding", &[1, 1, channels])).transpose()?;
        let conditioned = |vector: &Tensor| -> Result<Conditioned> {
            let no_memory = loader.device.load(&vector.reshape([1, channels])?)?;
            Ok(Conditioned { dense: Dense::load(&own, config, None)?, no_memory })
        };
        let halve = Conv2dGeometry::patches(2);
        Ok(Self {
            config: config.clone(),
            position,
            label_table: loader.device.load(&label_table)?,
            conv1: mask.conv2d("conv1", inputs, first, halve, true)?,
            layer_norm1: mask.layer_norm("layer_norm1", first, config.epsilon)?,
            conv2: mask.conv2d("conv2", first, second, halve, true)?,
            layer_norm2: mask.layer_norm("layer_norm2", second, config.epsilon)?,
            dense: Dense::load(&own, config, no_memory.as_ref())?,
            conditioned: no_memory.as_ref().map(conditioned).transpose()?,
        })
    }

    /// The embedding of features, with what stands for memories where they have none.
    pub(crate) fn remembered(&self, device: &Device, features: &ImageFeatures) -> Result<Tensor> {
        match &self.conditioned {
            Some(Conditioned { no_memory, .. }) if !features.is_conditioned => {
                Ok(device.add(&features.embedding, no_memory)?)
            }
            _ => Ok(features.embedding.clone()),
        }
    }

    /// Positions of the image tokens, `[1, h·w, C]`.
    pub(crate) fn image_positions(&self, device: &Device) -> Result<Tensor> {
        self.position.of_grid(device, self.config.embedding)
    }

    /// The frame of the prompts.
    pub(crate) fn input(&self) -> Size<Input> {
        self.config.input
    }

    /// Size of mask prompts and predicted masks.
    pub(crate) fn grid(&self) -> Size<Grid> {
        self.config.grid()
    }

    /// As [`PromptEncoderConfig::pads_boxes`].
    pub(crate) fn pads_boxes(&self) -> bool {
        self.config.pads_boxes
    }

    /// The features are those of one image, or one for each prompt.
    pub(crate) fn encode(
        &self,
        device: &Device,
        features: &ImageFeatures,
        prompts: &PromptBatch,
    ) -> Result<EncodedPrompts> {
        let embedding = &features.embedding;
        let dense = match &self.conditioned {
            Some(conditioned) if features.is_conditioned => &conditioned.dense,
            _ => &self.dense,
        };
        let grid = self.grid();
        let points = check(prompts, grid)?;
        self.check_embedding(embedding, prompts.prompts)?;
        let map = match self.config.dense {
            DensePrompt::Mask => None,
            DensePrompt::Map(map) => Some(map.draw(device, prompts, grid)?),
        };
        let image = match (&map, &prompts.masks, &dense.no_mask) {
            (Some(map), _, _) => self.embed_dense(device, dense, map, embedding)?,
            (None, Some(masks), _) => {
                let (height, width) = (grid.height as usize, grid.width as usize);
                let count = masks.len() / (height * width);
                let masks = device.upload([count, height, width, 1], masks)?;
                self.embed_dense(device, dense, &masks, embedding)?
            }
            (None, None, Some(no_mask)) => device.add(embedding, no_mask)?,
            (None, None, None) => embedding.clone(),
        };
        let [batch, height, width, channels] = image.shape().fixed("prompt encoder")?;
        Ok(EncodedPrompts {
            tokens: self.tokens(device, prompts, points)?,
            image: image.reshape([batch, height * width, channels])?,
            map,
        })
    }

    /// The decoder works on the embedding of one image, or on one for each prompt.
    pub(crate) fn check_embedding(&self, embedding: &Tensor, prompts: usize) -> Result<()> {
        let [rows, columns] = self.config.embedding;
        let channels = self.config.channels;
        match *embedding.dims() {
            [batch, h, w, c]
                if (h, w, c) == (rows, columns, channels) && (batch == 1 || batch == prompts) =>
            {
                Ok(())
            }
            _ => Err(Error::Input(format!(
                "features of shape {}, expected those of one image, [1, {rows}, {columns}, {channels}], or one for each \
                 of {prompts} prompts",
                embedding.shape()
            ))),
        }
    }

    /// A map `[D, height, width, inputs]` of prompts to `embedding + prompt`, `[D or P, h, w, C]`.
    fn embed_dense(
        &self,
        device: &Device,
        dense: &Dense,
        map: &Tensor,
        embedding: &Tensor,
    ) -> Result<Tensor> {
        let mut x = device.conv2d(map, &self.conv1, &Epilogue::NONE)?;
        x = device.layer_norm(&x, &self.layer_norm1, Activation::Gelu)?;
        x = device.conv2d(&x, &self.conv2, &Epilogue::NONE)?;
        x = device.layer_norm(&x, &self.layer_norm2, Activation::Gelu)?;
        if embedding.dims()[0] > x.dims()[0] {
            // One mask for all prompts, on features of their own.
            let prompt = device.linear(&x, &dense.conv3, &Epilogue::NONE)?;
            return Ok(device.add(embedding, &prompt)?);
        }
        Ok(device.linear(&x, &dense.conv3, &Epilogue::add(embedding))?)
    }

    /// One token per point, then the two corners of the box, or one that is not a point, or both.
    fn tokens(&self, device: &Device, prompts: &PromptBatch, points: usize) -> Result<Option<Tensor>> {
        let per_prompt = match (points, prompts.boxes.is_empty(), self.config.dense) {
            (0, true, DensePrompt::Mask) => return Ok(None),
            // A decoder that was trained with tokens in every prompt gets two that say nothing.
            (0, true, DensePrompt::Map(_)) => 2,
            (points, true, _) => points + 1,
            (points, false, _) => points + 2 + usize::from(self.config.pads_boxes),
        };
        let count = prompts.prompts * per_prompt;
        let mut tokens = Vec::with_capacity(count);
        for prompt in 0..prompts.prompts {
            for i in prompt * points..(prompt + 1) * points {
                tokens.push((prompts.points[i], Label::of_point(prompts.labels[i])));
            }
            if let Some(&bounds) = prompts.boxes.get(prompt) {
                let labels = CORNERS.map(|row| Label { row: Some(row), has_position: true });
                tokens.extend(bounds.corners().into_iter().zip(labels));
            }
            tokens.resize((prompt + 1) * per_prompt, (Point::default(), Label::of_point(-1)));
        }
        let channels = self.config.channels;
        let (width, height) = (self.config.input.width as f32, self.config.input.height as f32);
        let positions = device.upload_with([1, count, 2], |values| {
            for (position, (point, _)) in values.as_chunks_mut::<2>().0.iter_mut().zip(&tokens) {
                // Half-pixel shift: upstream adds 0.5 before normalising.
                *position = [(point.x as f32 + 0.5) / width, (point.y as f32 + 0.5) / height];
            }
        })?;
        let has_position = device.upload_with([1, count, channels], |values| {
            for (row, (_, label)) in values.chunks_exact_mut(channels).zip(&tokens) {
                row.fill(if label.has_position { 1.0 } else { 0.0 });
            }
        })?;
        let one_hot = device.upload_with([1, count, LABELS], |values| {
            for (row, (_, label)) in values.chunks_exact_mut(LABELS).zip(&tokens) {
                row.fill(0.0);
                if let Some(label) = label.row {
                    row[label] = 1.0;
                }
            }
        })?;
        let features = self.position.encode(device, &positions)?;
        let features = device.binary(BinaryOp::Multiply, &features, &has_position, Activation::Identity)?;
        let labels = device.matmul_transposed(&one_hot, &self.label_table)?;
        let tokens = device.add(&features, &labels)?;
        Ok(Some(tokens.reshape([prompts.prompts, per_prompt, channels])?))
    }
}

/// What a label makes of a token: a row of the table, and whether the position counts.
#[derive(Debug, Clone, Copy)]
struct Label {
    row: Option<usize>,
    has_position: bool,
}

impl Label {
    /// Labels have been checked.
    fn of_point(label: i32) -> Self {
        match label {
            1 => Self { row: Some(FOREGROUND), has_position: true },
            0 => Self { row: Some(BACKGROUND), has_position: true },
            -1 => Self { row: Some(NOT_A_POINT), has_position: false },
            // -10: a token of zeros, which still takes part in attention, as in transformers.
            _ => Self { row: None, has_position: false },
        }
    }
}

/// Checks a batch of prompts; returns the number of points per prompt.
fn check(prompts: &PromptBatch, grid: Size<Grid>) -> Result<usize> {
    let PromptBatch { prompts: count, points, labels, boxes, masks, .. } = prompts;
    let refuse = |what: String| Err(Error::Input(format!("prompts: {what}")));
    if *count == 0 {
        return refuse("none; give at least one".into());
    }
    if points.len() != labels.len() {
        return refuse(format!("{} points with {} labels", points.len(), labels.len()));
    }
    if !points.len().is_multiple_of(*count) {
        let what = format!("{} points for {count} prompts; pad shorter ones with label -10", points.len());
        return refuse(what);
    }
    if let Some(label) = labels.iter().find(|label| ![1, 0, -1, -10].contains(*label)) {
        return refuse(format!("label {label}; use 1 foreground, 0 background, -1 not a point, -10 ignore"));
    }
    if !boxes.is_empty() && boxes.len() != *count {
        return refuse(format!("{} boxes for {count} prompts", boxes.len()));
    }
    // They have to be numbers as f32, too.
    let is_finite = |point: &Point<Input>| (point.x as f32).is_finite() && (point.y as f32).is_finite();
    let corners = boxes.iter().flat_map(|bounds: &Box2<Input>| bounds.corners());
    if !points.iter().copied().chain(corners).all(|point| is_finite(&point)) {
        return refuse("a coordinate that is not a number".into());
    }
    if let Some(masks) = masks {
        let pixels = grid.area() as usize;
        if masks.len() != pixels && masks.len() != count * pixels {
            let what = format!("{} mask values; expected {grid} for all or each of {count}", masks.len());
            return refuse(what);
        }
        if masks.iter().any(|logit| !logit.is_finite()) {
            return refuse("a mask value that is not a number".into());
        }
    }
    Ok(points.len() / count)
}
