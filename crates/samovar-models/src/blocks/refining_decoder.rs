//! D-FINE's decoder: DETR's layers around deformable attention, with gates instead of residuals behind it, and boxes that are
//! refined from layer to layer as distributions of where their edges are. (Fine-grained distribution refinement,
//! <https://arxiv.org/abs/2410.13842>; `src/zoo/dfine/dfine_decoder.py` upstream.)

use samovar_tensor::{
    Activation, BinaryOp, DeformableAttention, Device, Epilogue, LayerNorm, Linear, Rows, SampledMap, Tensor,
};

use super::loader::Loader;
use super::mlp::{Head, HeadConfig, Mlp};
use super::placed_attention::PlacedAttention;
use super::query_selection::Queries;
use crate::error::{Error, Result};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, at_most, divides, positive};

/// Bins of a distribution.
const MAX_BINS: usize = 4096;
/// Places of a head in a map.
const MAX_POINTS: usize = 256;
/// How large positions get.
const MOST_POSITION: f32 = 10.0;
/// Shares that are logits again keep this distance from 0 and 1.
const SHARE_MARGIN: f64 = 1e-5;
/// Edges of a box.
const EDGES: usize = 4;

/// Dimensions of a [`RefiningDecoder`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RefiningDecoderConfig {
    pub(crate) channels: usize,
    pub(crate) heads: usize,
    pub(crate) mlp_channels: usize,
    pub(crate) depth: usize,
    /// Places of a head in each map, fine to coarse.
    pub(crate) points: Vec<usize>,
    /// Offsets of places are multiplied with it.
    pub(crate) offset_scale: f32,
    /// Bins of a distribution, less one (`reg_max`).
    pub(crate) bins: usize,
    /// Largest numbers of a distribution that its quality is told from.
    pub(crate) quality_numbers: usize,
    pub(crate) quality_hidden: usize,
    pub(crate) epsilon: f32,
}

impl RefiningDecoderConfig {
    pub(crate) fn check(&self) -> Result<()> {
        divides("decoder", self.channels, self.heads)?;
        at_most("decoder: hidden channels", self.mlp_channels, MAX_CHANNELS)?;
        at_most("decoder: layers", self.depth, MAX_DEPTH)?;
        at_most("decoder: levels", self.points.len(), 8)?;
        for &points in &self.points {
            at_most("decoder: points", points, MAX_POINTS)?;
        }
        positive("decoder: scale of offsets", self.offset_scale)?;
        at_most("decoder: bins", self.bins, MAX_BINS)?;
        if self.bins < 4 || !self.bins.is_multiple_of(2) {
            let what = format!("decoder: {} bins, expected an even number from 4 on", self.bins);
            return Err(Error::Config(what));
        }
        at_most("decoder: largest numbers of a distribution", self.quality_numbers, self.bins + 1)?;
        at_most("decoder: channels for the quality of boxes", self.quality_hidden, MAX_CHANNELS)
    }

    fn points_of_head(&self) -> usize {
        self.points.iter().sum()
    }

    fn head(&self, depth: usize, outputs: usize) -> HeadConfig {
        let channels = self.channels;
        HeadConfig { inputs: channels, hidden: channels, outputs, depth, last: Activation::Identity }
    }
}

pub(crate) struct RefiningDecoder {
    positions: Head,
    layers: Vec<(Layer, Head)>,
    first_boxes: Head,
    classes: Linear,
    quality: Quality,
    refinement: Refinement,
    /// `[C]`
    position_limits: [Tensor; 2],
    /// `[4]`
    share_limits: [Tensor; 2],
    maps: Vec<SampledMap>,
    bins: usize,
}

/// What the last layer says.
pub(crate) struct Refined {
    /// `[B, Q, K]`
    pub(crate) class_logits: Tensor,
    /// `[B, Q, 4]`: centre x, centre y, width, height.
    pub(crate) boxes: Tensor,
}

impl RefiningDecoder {
    /// `maps` are those of the encoder, fine to coarse; `heads` is where layers' heads for classes and boxes are.
    pub(crate) fn load(
        loader: &Loader,
        heads: &Loader,
        config: &RefiningDecoderConfig,
        maps: Vec<SampledMap>,
        classes: usize,
    ) -> Result<Self> {
        let (channels, distributions) = (config.channels, EDGES * (config.bins + 1));
        let refinement = Refinement::load(loader, config.bins)?;
        let position = HeadConfig {
            inputs: 4,
            hidden: 2 * channels,
            outputs: channels,
            depth: 2,
            last: Activation::Identity,
        };
        let layer = |index: usize| {
            let boxes = heads.at(format!("bbox_embed.{index}"));
            // Of other layers, these were for training.
            if index + 1 < config.depth {
                let class = heads.at(format!("class_embed.{index}"));
                class.raw("weight", &[classes, channels])?;
                class.raw("bias", &[classes])?;
                Quality::check(&loader.at(format!("lqe_layers.{index}")), config)?;
            }
            Ok((
                Layer::load(&loader.at(format!("layers.{index}")), config)?,
                Head::load_numbered(&boxes, config.head(3, distributions))?,
            ))
        };
        let last = config.depth - 1;
        let limits = |len: usize, limit: f32| -> Result<[Tensor; 2]> {
            let of = |value: f32| loader.constant(&[len], || Ok(vec![value; len]));
            Ok([of(-limit)?, of(limit)?])
        };
        let most_share = (1.0 / SHARE_MARGIN).ln() as f32;
        Ok(Self {
            positions: Head::load_numbered(&loader.at("query_pos_head"), position)?,
            layers: (0..config.depth).map(layer).collect::<Result<_>>()?,
            first_boxes: Head::load_numbered(&loader.at("pre_bbox_head"), config.head(3, 4))?,
            classes: heads.linear(&format!("class_embed.{last}"), channels, classes)?,
            quality: Quality::load(&loader.at(format!("lqe_layers.{last}")), config, classes)?,
            refinement,
            position_limits: limits(channels, MOST_POSITION)?,
            share_limits: limits(4, most_share)?,
            maps,
            bins: config.bins,
        })
    }

    /// What queries make of `cells: [B, N, C]` of all maps.
    pub(crate) fn forward(&self, device: &Device, queries: Queries, cells: &Tensor) -> Result<Refined> {
        let Queries { content: mut x, boxes: logits } = queries;
        let [batch, count, _] = x.shape().fixed("decoder")?;
        let mut boxes = device.activation(&logits, Activation::Sigmoid)?;
        let logits = clamp(device, &logits, &self.share_limits)?;
        let mut first: Option<FirstBoxes> = None;
        let mut before: Option<(Tensor, Tensor)> = None;
        let mut last_shares = None;
        for (layer, head) in &self.layers {
            let positions = self.positions.forward(device, &boxes)?;
            let positions = clamp(device, &positions, &self.position_limits)?;
            x = layer.forward(device, x, &positions, &boxes, cells, &self.maps)?;
            drop(positions);
            let first = match &mut first {
                Some(first) => first,
                none => {
                    let refined = self.first_boxes.forward_then_add(device, &x, Some(&logits))?;
                    let refined = device.activation(&refined, Activation::Sigmoid)?;
                    none.insert(self.refinement.start(device, &refined)?)
                }
            };
            let corners = match &before {
                None => head.forward(device, &x)?,
                Some((x_before, corners)) => {
                    head.forward_then_add(device, &device.add(&x, x_before)?, Some(corners))?
                }
            };
            let distributions = corners.reshape([batch * count * EDGES, self.bins + 1])?;
            let shares = device.softmax(&distributions)?;
            boxes = self.refinement.refine(device, first, &shares.reshape(*corners.shape())?)?;
            before = Some((x.clone(), corners));
            last_shares = Some(shares);
        }
        let shares = last_shares.ok_or_else(|| Error::Input("a decoder without layers".into()))?;
        let class_logits = device.linear(&x, &self.classes, &Epilogue::NONE)?;
        let class_logits = self.quality.add_to(device, &class_logits, &shares)?;
        Ok(Refined { class_logits, boxes })
    }
}

fn clamp(device: &Device, x: &Tensor, [low, high]: &[Tensor; 2]) -> Result<Tensor> {
    let x = device.binary(BinaryOp::Maximum, x, low, Activation::Identity)?;
    Ok(device.binary(BinaryOp::Minimum, &x, high, Activation::Identity)?)
}

struct Layer {
    attention: PlacedAttention,
    attention_norm: LayerNorm,
    /// Offsets, in the box's sides, and behind them the logits of all places.
    places: Linear,
    gate: Linear,
    gate_norm: LayerNorm,
    mlp: Mlp,
    norm: LayerNorm,
    heads: usize,
}

impl Layer {
    fn load(loader: &Loader, config: &RefiningDecoderConfig) -> Result<Self> {
        let &RefiningDecoderConfig { channels, heads, mlp_channels, epsilon, .. } = config;
        let gateway = loader.at("gateway");
        Ok(Self {
            attention: PlacedAttention::load(&loader.at("self_attn"), channels, heads)?,
            attention_norm: loader.layer_norm("self_attn_layer_norm", channels, epsilon)?,
            places: load_places(&loader.at("encoder_attn"), config)?,
            gate: gateway.linear("gate", 2 * channels, 2 * channels)?,
            gate_norm: gateway.layer_norm("norm", channels, epsilon)?,
            mlp: Mlp::load(loader, ["fc1", "fc2"], channels, mlp_channels, Activation::Relu)?,
            norm: loader.layer_norm("final_layer_norm", channels, epsilon)?,
            heads,
        })
    }

    fn forward(
        &self,
        device: &Device,
        mut x: Tensor,
        positions: &Tensor,
        boxes: &Tensor,
        cells: &Tensor,
        maps: &[SampledMap],
    ) -> Result<Tensor> {
        let channels = x.shape().channels();
        x = device.layer_norm(
            &self.attention.forward(device, &x, positions)?,
            &self.attention_norm,
            Activation::Identity,
        )?;
        let places = device.linear(&device.add(&x, positions)?, &self.places, &Epilogue::NONE)?;
        let points = self.heads * maps.iter().map(|map| map.points).sum::<usize>();
        let seen = device.deformable_attention(&DeformableAttention {
            values: cells,
            offsets: Rows::columns(&places, 0),
            logits: Rows::columns(&places, 2 * points),
            boxes,
            heads: self.heads,
            maps,
        })?;
        drop(places);
        let both = device.concat(&[&x, &seen], 2)?;
        let gates = device.linear(&both, &self.gate, &Epilogue::act(Activation::Sigmoid))?;
        // Both halves weighted, then added up.
        let both = device.binary(BinaryOp::Multiply, &gates, &both, Activation::Identity)?;
        let half = |first: usize| device.slice(&both, 2, first, channels);
        let sum = device.add(&half(0)?, &half(channels)?)?;
        drop((gates, both));
        x = device.layer_norm(&sum, &self.gate_norm, Activation::Identity)?;
        // Upstream cuts what half precision could not hold; f32 holds it.
        let y = self.mlp.forward(device, x.clone(), &x)?;
        Ok(device.layer_norm(&y, &self.norm, Activation::Identity)?)
    }
}

/// The layers for offsets and weights of places as one. What offsets are multiplied with goes into it: `num_points_scale`, one
/// over the points of a map unless the file says otherwise, and the scale of offsets.
fn load_places(loader: &Loader, config: &RefiningDecoderConfig) -> Result<Linear> {
    let (channels, heads, points) = (config.channels, config.heads, config.points_of_head());
    let _copies = loader.copies(5, 3 * heads * points * channels)?;
    let [offsets, logits] = ["sampling_offsets", "attention_weights"].map(|name| loader.at(name));
    let outputs = [2 * heads * points, heads * points];
    let offset_weight = offsets.weight("weight", &[outputs[0], channels])?;
    let logit_weight = logits.weight("weight", &[outputs[1], channels])?;
    let (offset_bias, logit_bias) = (offsets.raw("bias", &[outputs[0]])?, logits.raw("bias", &[outputs[1]])?);
    let stored = match loader.contains("num_points_scale") {
        true => Some(loader.raw("num_points_scale", &[points])?).filter(Tensor::has_values),
        false => None,
    };
    let of_points = match stored {
        Some(stored) => stored.to_f32_vec()?,
        None => config.points.iter().flat_map(|&n| vec![1.0 / n as f32; n]).collect(),
    };
    // For x and y of every point of every head.
    let factors: Vec<f64> = (0..outputs[0])
        .map(|output| f64::from(of_points[output / 2 % points]) * f64::from(config.offset_scale))
        .collect();
    let (offset_weight, offset_bias) = match loader.device.is_shape_only() {
        true => (offset_weight, offset_bias),
        false => (offset_weight.scale_rows(&factors)?, offset_bias.scale_rows(&factors)?),
    };
    let weight = Tensor::stack_rows(&[offset_weight, logit_weight])?;
    let bias = loader.derived(&[3 * heads * points], || {
        Ok([offset_bias.to_f32_vec()?, logit_bias.to_f32_vec()?].concat())
    })?;
    Ok(loader.device.load_linear(&weight, Some(&bias))?)
}

/// Boxes from the distributions of their edges. With `W(n)` what bin `n` stands for, the edges of a box of the first layer move by
/// `d = Σ softmax(n) W(n)` of its sides over `reg_scale`, left, top, right and bottom, outwards:
///
/// ```text
/// [cx, cy, w, h] + [w, h, w, h] · [(d_right − d_left) / 2, (d_bottom − d_top) / 2, d_left + d_right, d_top + d_bottom] / reg_scale
/// ```
struct Refinement {
    /// From softmaxes to the bracket over the scale, `[4, 4 · (bins + 1)]`.
    moves: Linear,
    /// From a box to its sides, twice, `[4, 4]`.
    sides: Linear,
}

/// What is kept of the first layer's boxes.
struct FirstBoxes {
    boxes: Tensor,
    sides: Tensor,
}

impl Refinement {
    fn load(loader: &Loader, bins: usize) -> Result<Self> {
        let number = |name: &str| -> Result<Option<f64>> {
            let value = loader.raw(name, &[1])?;
            if !value.has_values() {
                return Ok(None);
            }
            let value = value.to_f32_vec()?.first().copied().unwrap_or(f32::NAN).abs();
            positive(&format!("decoder: {name}"), value)?;
            Ok(Some(f64::from(value)))
        };
        let (up, scale) = (number("up")?.unwrap_or(0.5), number("reg_scale")?.unwrap_or(4.0));
        let weights = bin_weights(bins, up, scale);
        let row_len = EDGES * (bins + 1);
        let moves = loader.derived(&[4, row_len], || {
            // Shares of left, top, right and bottom in each number.
            let shares =
                [[-0.5, 0.0, 0.5, 0.0], [0.0, -0.5, 0.0, 0.5], [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]];
            let row = |of_edges: [f64; EDGES]| {
                let of_edge =
                    |share: f64| weights.iter().map(move |w| (share * w / scale) as f32).collect::<Vec<_>>();
                of_edges.map(of_edge).concat()
            };
            Ok(shares.map(row).concat())
        })?;
        let sides = loader
            .derived(&[4, 4], || Ok([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]].repeat(2).concat()))?;
        Ok(Self {
            moves: loader.device.load_linear(&moves, None)?,
            sides: loader.device.load_linear(&sides, None)?,
        })
    }

    fn start(&self, device: &Device, boxes: &Tensor) -> Result<FirstBoxes> {
        let sides = device.linear(boxes, &self.sides, &Epilogue::NONE)?;
        Ok(FirstBoxes { boxes: boxes.clone(), sides })
    }

    fn refine(&self, device: &Device, first: &FirstBoxes, shares: &Tensor) -> Result<Tensor> {
        let moves = device.linear(shares, &self.moves, &Epilogue::NONE)?;
        let moves = device.binary(BinaryOp::Multiply, &moves, &first.sides, Activation::Identity)?;
        Ok(device.add(&moves, &first.boxes)?)
    }
}

/// What the bins of a distribution stand for: nothing in the middle, powers less one on the way out, and twice the last of them at
/// the ends. (`weighting_function` upstream.)
fn bin_weights(bins: usize, up: f64, scale: f64) -> Vec<f64> {
    let bound = up * scale;
    let step = (bound + 1.0).powf(2.0 / (bins as f64 - 2.0));
    let outwards = |i: usize| step.powi(i as i32) - 1.0;
    let half = bins / 2;
    let left = (1..half).rev().map(|i| -outwards(i));
    let right = (1..half).map(outwards);
    [-2.0 * bound].into_iter().chain(left).chain([0.0]).chain(right).chain([2.0 * bound]).collect()
}

/// How good a box is, told from how sharp the distributions of its edges are: the largest numbers of each, and their mean.
struct Quality {
    /// The mean is part of the weights.
    hidden: Linear,
    /// The same number for every class.
    spread: Linear,
    numbers: usize,
}

impl Quality {
    fn shapes(config: &RefiningDecoderConfig) -> [[usize; 2]; 2] {
        [[config.quality_hidden, EDGES * (config.quality_numbers + 1)], [1, config.quality_hidden]]
    }

    fn layers<'a>(loader: &Loader<'a>) -> [Loader<'a>; 2] {
        [0, 1].map(|index| loader.at(format!("reg_conf.layers.{index}")))
    }

    /// That the weights are there.
    fn check(loader: &Loader, config: &RefiningDecoderConfig) -> Result<()> {
        for (layer, [outputs, inputs]) in Self::layers(loader).iter().zip(Self::shapes(config)) {
            layer.raw("weight", &[outputs, inputs])?;
            layer.raw("bias", &[outputs])?;
        }
        Ok(())
    }

    fn load(loader: &Loader, config: &RefiningDecoderConfig, classes: usize) -> Result<Self> {
        let (numbers, hidden) = (config.quality_numbers, config.quality_hidden);
        let [first, second] = Self::layers(loader);
        let [first_shape, second_shape] = Self::shapes(config);
        let _copies = loader.copies(4, first_shape.iter().product::<usize>() + classes * hidden)?;
        let weight = first.raw("weight", &first_shape)?;
        let weight = loader.derived(&[hidden, EDGES * numbers], || {
            let of_edge = |edge: &[f32]| {
                let mean = edge[numbers] / numbers as f32;
                edge[..numbers].iter().map(|w| w + mean).collect::<Vec<_>>()
            };
            Ok(weight.to_f32_vec()?.chunks_exact(numbers + 1).flat_map(of_edge).collect())
        })?;
        let bias = first.raw("bias", &[hidden])?;
        let (row, value) = (second.raw("weight", &second_shape)?, second.raw("bias", &[1])?);
        let rows = loader.derived(&[classes, hidden], || Ok(row.to_f32_vec()?.repeat(classes)))?;
        let values = loader.derived(&[classes], || Ok(value.to_f32_vec()?.repeat(classes)))?;
        Ok(Self {
            hidden: loader.device.load_linear(&weight, Some(&bias))?,
            spread: loader.device.load_linear(&rows, Some(&values))?,
            numbers,
        })
    }

    /// Adds the quality of boxes with these distributions, `[B · Q · 4, bins + 1]`, to `[B, Q, K]`.
    fn add_to(&self, device: &Device, class_logits: &Tensor, distributions: &Tensor) -> Result<Tensor> {
        let [batch, queries, _] = class_logits.shape().fixed("quality")?;
        let largest = device.top_k(distributions, self.numbers)?;
        let largest = device.slice(&largest, 1, 0, self.numbers)?;
        let largest = largest.reshape([batch, queries, EDGES * self.numbers])?;
        let hidden = device.linear(&largest, &self.hidden, &Epilogue::act(Activation::Relu))?;
        Ok(device.linear(&hidden, &self.spread, &Epilogue::add(class_logits))?)
    }
}

#[cfg(test)]
mod tests {
    use super::bin_weights;

    #[test]
    fn bins_are_dense_in_the_middle_and_even() {
        let weights = bin_weights(32, 0.5, 4.0);
        assert_eq!(weights.len(), 33);
        assert_eq!((weights[0], weights[16], weights[32]), (-4.0, 0.0, 4.0));
        // One step before the ends is the bound itself.
        assert!((weights[31] - 2.0).abs() < 1e-12 && (weights[1] + 2.0).abs() < 1e-12);
        assert!(weights.is_sorted());
        for i in 0..=32 {
            assert!((weights[i] + weights[32 - i]).abs() < 1e-12);
        }
        assert!(weights[17] < (weights[31] - weights[30]) / 2.0);
    }
}
