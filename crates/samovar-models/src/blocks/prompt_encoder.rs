//! Prompts to embeddings: points and boxes become tokens, a mask becomes a map that is added to the image.

use samovar_geometry::{Box2, Grid, Input, Point, Size};
use samovar_tensor::{
    Activation, BinaryOp, Conv2d, Conv2dGeometry, Device, Epilogue, LayerNorm, Linear, Tensor,
};

use super::loader::Loader;
use super::position::PositionEncoding;
use super::prompt_map::{CLICK_MAP_CHANNELS, PromptMap};
use crate::error::{Error, Result};
use crate::interface::PromptBatch;
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
    conv3: Linear,
    no_mask: Option<Tensor>,
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
        let row = |name: &str| own.raw(name, &[1, channels]);
        let rows = [
            row("not_a_point_embed.weight")?,
            row("point_embed.0.weight")?,
            row("point_embed.1.weight")?,
            row("point_embed.2.weight")?,
            row("point_embed.3.weight")?,
        ];
        let label_table = own.derived(&[1, channels, LABELS], || {
            let rows = rows.iter().map(Tensor::to_f32_vec).collect::<Result<Vec<_>, _>>()?;
            Ok((0..channels).flat_map(|c| rows.iter().map(move |row| row[c])).collect())
        })?;
        let mask = own.at("mask_embed");
        let [first, second] = config.mask_channels;
        let (inputs, no_mask) = match config.dense {
            DensePrompt::Mask => (1, Some(own.tensor("no_mask_embed.weight", &[1, channels])?)),
            DensePrompt::Map(_) => (CLICK_MAP_CHANNELS, None),
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
            conv3: mask.pointwise("conv3", second, channels, true)?,
            no_mask,
        })
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

    /// `embedding` is that of one image, `[1, h, w, C]`, or one for each prompt, `[P, h, w, C]`.
    pub(crate) fn encode(
        &self,
        device: &Device,
        embedding: &Tensor,
        prompts: &PromptBatch,
    ) -> Result<EncodedPrompts> {
        let grid = self.grid();
        let points = check(prompts, grid)?;
        self.check_embedding(embedding, prompts.prompts)?;
        let map = match self.config.dense {
            DensePrompt::Mask => None,
            DensePrompt::Map(map) => Some(map.draw(device, prompts, grid)?),
        };
        let image = match (&map, &prompts.masks, &self.no_mask) {
            (Some(map), _, _) => self.embed_dense(device, map, embedding)?,
            (None, Some(masks), _) => {
                let (height, width) = (grid.height as usize, grid.width as usize);
                let count = masks.len() / (height * width);
                let masks = device.upload([count, height, width, 1], masks)?;
                self.embed_dense(device, &masks, embedding)?
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

    /// Dense prompts `[D, height, width, inputs]` to `embedding + prompt`, `[D or P, h, w, C]`.
    fn embed_dense(&self, device: &Device, dense: &Tensor, embedding: &Tensor) -> Result<Tensor> {
        let mut x = device.conv2d(dense, &self.conv1, &Epilogue::NONE)?;
        x = device.layer_norm(&x, &self.layer_norm1, Activation::Gelu)?;
        x = device.conv2d(&x, &self.conv2, &Epilogue::NONE)?;
        x = device.layer_norm(&x, &self.layer_norm2, Activation::Gelu)?;
        if embedding.dims()[0] > x.dims()[0] {
            // One mask for all prompts, on features of their own.
            let prompt = device.linear(&x, &self.conv3, &Epilogue::NONE)?;
            return Ok(device.add(embedding, &prompt)?);
        }
        Ok(device.linear(&x, &self.conv3, &Epilogue::add(embedding))?)
    }

    /// One token per point, then the two corners of the box, or one that is not a point.
    fn tokens(&self, device: &Device, prompts: &PromptBatch, points: usize) -> Result<Option<Tensor>> {
        let per_prompt = match (points, prompts.boxes.is_empty(), self.config.dense) {
            (0, true, DensePrompt::Mask) => return Ok(None),
            // A decoder that was trained with tokens in every prompt gets two that say nothing.
            (0, true, DensePrompt::Map(_)) => 2,
            (points, true, _) => points + 1,
            (points, false, _) => points + 2,
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
