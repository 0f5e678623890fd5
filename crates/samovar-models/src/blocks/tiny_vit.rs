//! TinyViT: convolutions first, then window attention with a learned bias per distance. Batch norms are folded into
//! their convolutions when the model is loaded.

use samovar_tensor::{
    Activation, Attention, AttentionBias, Conv2d, Conv2dGeometry, Device, Epilogue, LayerNorm, Linear, Rows,
    Tensor, TokenLayout,
};

use super::loader::Loader;
use super::mlp::Mlp;
use super::neck::Neck;
use super::stage::Stage;
use crate::error::{Error, Result};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, MAX_GRID_SIDE, MAX_INPUT_SIDE, at_most, divides};

/// Dimensions of a [`TinyVit`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TinyVitConfig {
    pub(crate) image_size: usize,
    /// The first stage consists of convolutions, without heads and windows; the others of attention.
    pub(crate) stages: Vec<Stage>,
    pub(crate) output_channels: usize,
    pub(crate) epsilon: f32,
}

/// Side of the depthwise kernels.
const LOCAL_KERNEL: usize = 3;

/// The stage whose input SAM-HQ reads: the first map as small as the result, in upstream's models of four stages.
const EARLY_STAGE: usize = 2;

/// Side of a window; the table of its bias grows with its fourth power.
const MAX_WINDOW_SIDE: usize = 32;

impl TinyVitConfig {
    pub(crate) fn check(&self) -> Result<()> {
        at_most("image size", self.image_size, MAX_INPUT_SIDE)?;
        if !(2..=8).contains(&self.stages.len()) {
            return Err(Error::Config(format!("{} stages, expected 2 to 8", self.stages.len())));
        }
        let multiple = 1 << self.stages.len();
        if !self.image_size.is_multiple_of(multiple) {
            let what = format!("input size {} is not a multiple of {multiple}", self.image_size);
            return Err(Error::Config(what));
        }
        for stage in &self.stages {
            divides("stage", stage.channels, stage.heads)?;
            at_most("stage: depth", stage.depth, MAX_DEPTH)?;
            at_most("stage: hidden channels", stage.hidden, MAX_CHANNELS)?;
            at_most("stage: window", stage.window, MAX_WINDOW_SIDE)?;
        }
        at_most("cells along a side", self.grid(), MAX_GRID_SIDE)?;
        at_most("stem channels", self.stages[0].channels / 2, MAX_CHANNELS)
    }

    /// Channels of the map that SAM-HQ reads, `None` where no stage begins with one as small as the result.
    pub(crate) fn early_channels(&self) -> Option<usize> {
        let fits = (EARLY_STAGE + 1..=EARLY_STAGE + 2).contains(&self.stages.len());
        fits.then(|| self.stages[EARLY_STAGE].channels)
    }

    /// Cells along each side of the result. The stem halves twice, every merge but the last halves once.
    pub(crate) fn grid(&self) -> usize {
        let merges = self.stages.len().saturating_sub(2) as u32;
        self.image_size >> (2 + merges)
    }
}

pub(crate) struct TinyVit {
    stem: [Conv2d; 2],
    convolutions: Vec<ConvolutionBlock>,
    merges: Vec<Merge>,
    stages: Vec<Vec<AttentionBlock>>,
    neck: Neck,
}

impl TinyVit {
    pub(crate) fn load(loader: &Loader, config: &TinyVitConfig) -> Result<Self> {
        let stages = &config.stages;
        let first = stages[0];
        let halve = Conv2dGeometry::same(LOCAL_KERNEL).stride(2);
        let stem = loader.at("patch_embed.seq");
        let layer = |stage: usize| loader.at(format!("layers.{stage}"));
        let block = |stage: usize, index: usize| layer(stage).at(format!("blocks.{index}"));
        let merge = |i: usize| {
            // Upstream keeps the size at the last merge of all its models.
            let stride = if i + 2 == stages.len() { 1 } else { 2 };
            // Between stages there is no residual to carry what rounding takes: merges and neck make nine tenths of the
            // error of int8, and a tenth of its gain.
            Merge::load(
                &layer(i).at("downsample").exact(),
                stages[i].channels,
                stages[i + 1].channels,
                stride,
            )
        };
        let attention_stage = |stage: usize| {
            let blocks = (0..stages[stage].depth)
                .map(|index| AttentionBlock::load(&block(stage, index), stages[stage], config.epsilon));
            blocks.collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            stem: [
                stem.exact().folded_conv("0", 3, first.channels / 2, halve)?,
                stem.exact().folded_conv("2", first.channels / 2, first.channels, halve)?,
            ],
            convolutions: (0..first.depth)
                .map(|index| ConvolutionBlock::load(&block(0, index), first))
                .collect::<Result<_>>()?,
            merges: (0..stages.len() - 1).map(merge).collect::<Result<_>>()?,
            stages: (1..stages.len()).map(attention_stage).collect::<Result<_>>()?,
            neck: Neck::load(
                &loader.at("neck").exact(),
                stages[stages.len() - 1].channels,
                config.output_channels,
            )?,
        })
    }

    /// Pixels `[B, S, S, 3]` to `[B, h, w, output_channels]`. `early` sees the map that the stage [`EARLY_STAGE`] begins with.
    pub(crate) fn forward(
        &self,
        device: &Device,
        pixels: &Tensor,
        early: &mut dyn FnMut(&Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut x = device.conv2d(pixels, &self.stem[0], &Epilogue::act(Activation::Gelu))?;
        x = device.conv2d(&x, &self.stem[1], &Epilogue::NONE)?;
        for block in &self.convolutions {
            x = block.forward(device, x)?;
        }
        for (index, (merge, stage)) in (1..).zip(self.merges.iter().zip(&self.stages)) {
            x = merge.forward(device, x)?;
            if index == EARLY_STAGE {
                early(&x)?;
            }
            for block in stage {
                x = block.forward(device, x)?;
            }
        }
        self.neck.forward(device, &x)
    }
}

/// MBConv: widen, depthwise, narrow, add, activate.
struct ConvolutionBlock {
    conv1: Linear,
    conv2: Conv2d,
    conv3: Linear,
}

impl ConvolutionBlock {
    fn load(loader: &Loader, stage: Stage) -> Result<Self> {
        let Stage { channels, hidden, .. } = stage;
        let depthwise = Conv2dGeometry::same(LOCAL_KERNEL).depthwise(hidden);
        Ok(Self {
            conv1: loader.folded_pointwise("conv1", channels, hidden)?,
            conv2: loader.folded_conv("conv2", hidden, hidden, depthwise)?,
            conv3: loader.folded_pointwise("conv3", hidden, channels)?,
        })
    }

    fn forward(&self, device: &Device, x: Tensor) -> Result<Tensor> {
        let mut y = device.linear(&x, &self.conv1, &Epilogue::act(Activation::Gelu))?;
        y = device.conv2d(&y, &self.conv2, &Epilogue::act(Activation::Gelu))?;
        Ok(device.linear(&y, &self.conv3, &Epilogue::add_then_act(&x, Activation::Gelu))?)
    }
}

/// Patch merging: from one stage's channels (and size) to the next one's.
struct Merge {
    conv1: Linear,
    conv2: Conv2d,
    conv3: Linear,
}

impl Merge {
    fn load(loader: &Loader, inputs: usize, outputs: usize, stride: usize) -> Result<Self> {
        let depthwise = Conv2dGeometry::same(LOCAL_KERNEL).stride(stride).depthwise(outputs);
        Ok(Self {
            conv1: loader.folded_pointwise("conv1", inputs, outputs)?,
            conv2: loader.folded_conv("conv2", outputs, outputs, depthwise)?,
            conv3: loader.folded_pointwise("conv3", outputs, outputs)?,
        })
    }

    fn forward(&self, device: &Device, mut x: Tensor) -> Result<Tensor> {
        x = device.linear(&x, &self.conv1, &Epilogue::act(Activation::Gelu))?;
        x = device.conv2d(&x, &self.conv2, &Epilogue::act(Activation::Gelu))?;
        Ok(device.linear(&x, &self.conv3, &Epilogue::NONE)?)
    }
}

struct AttentionBlock {
    norm: LayerNorm,
    qkv: Linear,
    /// What norm and `qkv` make of a padding token, which is zero *before* the norm.
    padding: Tensor,
    /// `[heads, window², window²]`.
    bias: Tensor,
    proj: Linear,
    local: Conv2d,
    mlp_norm: LayerNorm,
    mlp: Mlp,
    stage: Stage,
}

impl AttentionBlock {
    fn load(loader: &Loader, stage: Stage, epsilon: f32) -> Result<Self> {
        let Stage { channels, hidden, heads, window, .. } = stage;
        let attention = loader.at("attn");
        let norm = attention.layer_norm("norm", channels, epsilon)?;
        let qkv = load_qkv(&attention, channels, heads)?;
        // The norm of a zero token is its shift.
        let shift = loader.device.load(&attention.raw("norm.bias", &[channels])?)?.reshape([1, channels])?;
        let padding = loader.device.linear(&shift, &qkv, &Epilogue::NONE)?;
        let local = Conv2dGeometry::same(LOCAL_KERNEL).depthwise(channels);
        let mlp = loader.at("mlp");
        Ok(Self {
            norm,
            qkv,
            padding,
            bias: load_bias(&attention, heads, window)?,
            proj: attention.linear("proj", channels, channels)?,
            local: loader.folded_conv("local_conv", channels, channels, local)?,
            mlp_norm: mlp.layer_norm("norm", channels, epsilon)?,
            mlp: Mlp::load(&mlp, ["fc1", "fc2"], channels, hidden, Activation::Gelu)?,
            stage,
        })
    }

    fn forward(&self, device: &Device, mut x: Tensor) -> Result<Tensor> {
        let [batch, height, width, channels] = x.shape().fixed("attention")?;
        let normed = device.layer_norm(&x, &self.norm, Activation::Identity)?;
        let qkv = device.linear(&normed, &self.qkv, &Epilogue::NONE)?;
        drop(normed);
        let Stage { heads, window, .. } = self.stage;
        let head_channels = channels / heads;
        let attended = device.attention(&Attention {
            q: Rows::columns(&qkv, 0),
            k: Rows::columns(&qkv, channels),
            v: Rows::columns(&qkv, 2 * channels),
            heads,
            head_channels,
            value_channels: head_channels,
            scale: 1.0 / (head_channels as f32).sqrt(),
            layout: TokenLayout::Windows {
                batch,
                grid: [height, width],
                window,
                query_stride: 1,
                padding: Some(&self.padding),
            },
            bias: AttentionBias::Table(&self.bias),
            precision: self.qkv.precision(),
        })?;
        drop(qkv);
        x = device.linear(&attended, &self.proj, &Epilogue::add(&x))?;
        drop(attended);
        x = device.conv2d(&x, &self.local, &Epilogue::NONE)?;
        let normed = device.layer_norm(&x, &self.mlp_norm, Activation::Identity)?;
        self.mlp.forward(device, normed, &x)
    }
}

/// Upstream's rows go head by head (q, k, v of the first head, then of the second); the operators want all queries, all
/// keys, all values.
fn load_qkv(attention: &Loader, channels: usize, heads: usize) -> Result<Linear> {
    let _copies = attention.copies(4, 3 * channels * channels)?;
    let weight = attention.weight("qkv.weight", &[3 * channels, channels])?;
    let bias = attention.raw("qkv.bias", &[3 * channels])?;
    let head_channels = channels / heads;
    let order: Vec<usize> = (0..3)
        .flat_map(|part| (0..heads).map(move |head| (head * 3 + part) * head_channels))
        .flat_map(|first| first..first + head_channels)
        .collect();
    let ordered_weight = weight.gather_rows(&order)?;
    let ordered_bias =
        attention.derived(&[3 * channels], || Ok(bias.gather_rows(&order)?.to_f32_vec()?))?;
    Ok(attention.device.load_linear(&ordered_weight, Some(&ordered_bias))?)
}

/// The bias of a pair of tokens is looked up by their vertical and horizontal distance, both without sign.
fn load_bias(attention: &Loader, heads: usize, window: usize) -> Result<Tensor> {
    // Upstream numbers distances in the order in which pairs of tokens meet them first, which for a square window is
    // row by row.
    let distances = attention.raw("attention_biases", &[heads, window * window])?;
    let tokens = window * window;
    let _copies = attention.copies(2, heads * tokens * tokens)?;
    let table = attention.derived(&[heads, tokens, tokens], || {
        let by_distance = distances.to_f32_vec()?;
        let mut table = Vec::with_capacity(heads * tokens * tokens);
        for head in by_distance.chunks_exact(tokens) {
            for query in 0..tokens {
                for key in 0..tokens {
                    let dy = (query / window).abs_diff(key / window);
                    let dx = (query % window).abs_diff(key % window);
                    table.push(head[dy * window + dx]);
                }
            }
        }
        Ok(table)
    })?;
    Ok(attention.device.load(&table)?)
}
