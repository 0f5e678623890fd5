//! Prompts to embeddings: points and boxes become tokens, a mask becomes a map that is added to the image.

use samovar_tensor::{
    Activation, BinaryOp, Conv2d, Conv2dGeometry, Device, Epilogue, LayerNorm, Linear, Tensor,
};

use super::loader::Loader;
use super::position::PositionEncoding;
use crate::model::PromptBatch;
use crate::prompt_map::{CLICK_MAP_CHANNELS, PromptMap};
use crate::{Error, Result};

/// Dimensions of a [`PromptEncoder`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PromptEncoderConfig {
    pub(crate) channels: usize,
    /// Side of the input square: coordinates are divided by it.
    pub(crate) image_size: usize,
    /// Side of the image embedding.
    pub(crate) grid: usize,
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
    /// `[P, side, side, channels]` for models whose decoder looks at it again.
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
        self.position.of_grid(device, self.config.grid)
    }

    /// Side of mask prompts and predicted masks.
    pub(crate) fn low_res_side(&self) -> usize {
        4 * self.config.grid
    }

    /// `embedding` is that of one image, `[1, h, w, C]`.
    pub(crate) fn encode(
        &self,
        device: &Device,
        embedding: &Tensor,
        prompts: &PromptBatch,
    ) -> Result<EncodedPrompts> {
        let points = check(prompts, self.low_res_side())?;
        let map = match self.config.dense {
            DensePrompt::Mask => None,
            DensePrompt::Map(map) => Some(map.draw(device, prompts, self.low_res_side())?),
        };
        let image = match (&map, &prompts.masks, &self.no_mask) {
            (Some(map), _, _) => self.embed_dense(device, map, embedding)?,
            (None, Some(masks), _) => {
                let side = self.low_res_side();
                let count = masks.len() / (side * side);
                let masks = device.tensor([count, side, side, 1], |values| values.copy_from_slice(masks))?;
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

    /// Dense prompts `[D, side, side, inputs]` to `embedding + prompt`, `[D, h, w, C]`.
    fn embed_dense(&self, device: &Device, dense: &Tensor, embedding: &Tensor) -> Result<Tensor> {
        let mut x = device.conv2d(dense, &self.conv1, &Epilogue::NONE)?;
        x = device.layer_norm(&x, &self.layer_norm1, Activation::Gelu)?;
        x = device.conv2d(&x, &self.conv2, &Epilogue::NONE)?;
        x = device.layer_norm(&x, &self.layer_norm2, Activation::Gelu)?;
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
            if let Some(&[x0, y0, x1, y1]) = prompts.boxes.get(prompt) {
                tokens.push(([x0, y0], Label { row: Some(CORNERS[0]), has_position: true }));
                tokens.push(([x1, y1], Label { row: Some(CORNERS[1]), has_position: true }));
            }
            tokens.resize((prompt + 1) * per_prompt, ([0.0; 2], Label::of_point(-1)));
        }
        let channels = self.config.channels;
        let size = self.config.image_size as f32;
        let positions = device.tensor([1, count, 2], |values| {
            for (position, &([x, y], _)) in values.as_chunks_mut::<2>().0.iter_mut().zip(&tokens) {
                // Half-pixel shift: upstream adds 0.5 before normalising.
                *position = [(x + 0.5) / size, (y + 0.5) / size];
            }
        })?;
        let has_position = device.tensor([1, count, channels], |values| {
            for (row, (_, label)) in values.chunks_exact_mut(channels).zip(&tokens) {
                row.fill(if label.has_position { 1.0 } else { 0.0 });
            }
        })?;
        let one_hot = device.tensor([1, count, LABELS], |values| {
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
fn check(prompts: &PromptBatch, side: usize) -> Result<usize> {
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
    let coordinates = points.as_flattened().iter().chain(boxes.as_flattened());
    if coordinates.into_iter().any(|coordinate| !coordinate.is_finite()) {
        return refuse("a coordinate that is not a number".into());
    }
    if let Some(masks) = masks {
        let pixels = side * side;
        if masks.len() != pixels && masks.len() != count * pixels {
            let what =
                format!("{} mask values; expected {side}x{side} for all or each of {count}", masks.len());
            return refuse(what);
        }
        if masks.iter().any(|logit| !logit.is_finite()) {
            return refuse("a mask value that is not a number".into());
        }
    }
    Ok(points.len() / count)
}
