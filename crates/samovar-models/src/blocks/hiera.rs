//! Hiera, SAM 2's trunk: four stages of windowed attention, each on half the map of the one before, with a few global blocks.
//! (Ryali et al. 2023, Bolya et al. 2023 for its positions; `sam2/modeling/backbones/hieradet.py` upstream.)

use samovar_tensor::{Conv2d, Conv2dGeometry, Device, Epilogue, Tensor};

use super::loader::Loader;
use super::stage::Stage;
use super::vit_block::{Block, BlockConfig, POOL};
use crate::error::{Error, Result};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, MAX_GRID_SIDE, MAX_INPUT_SIDE, at_most, divides, positive};

/// Stages; the first has one token for every [`PATCH_STRIDE`] pixels.
pub(crate) const STAGES: usize = 4;
/// Pixels from a patch to the next.
pub(crate) const PATCH_STRIDE: usize = 4;
/// Side of a patch; patches overlap.
pub(crate) const PATCH_SIDE: usize = 7;
/// Side of a window.
const MAX_WINDOW_SIDE: usize = 1024;
/// Most rows of the first stage's map that go through the blocks that look no farther than their own rows. SAM 2 tiny at 1024 takes
/// 387 MB with whole maps, 253 MB with 64 rows, 231 MB with 32 and 228 MB with 16; times differ by their noise. With fewer,
/// operators are too small to be shared by many threads.
const STRIPE_ROWS: usize = 32;

/// Dimensions of a [`Hiera`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HieraConfig {
    pub(crate) image_size: usize,
    pub(crate) stages: [Stage; STAGES],
    /// Counted through all stages.
    pub(crate) global_blocks: Vec<usize>,
    /// Cells of the coarse table of positions, which is stretched over the map.
    pub(crate) background: [usize; 2],
    pub(crate) epsilon: f32,
}

impl HieraConfig {
    pub(crate) fn check(&self) -> Result<()> {
        at_most("image size", self.image_size, MAX_INPUT_SIDE)?;
        let multiple = PATCH_STRIDE * POOL.pow(STAGES as u32 - 1);
        if !self.image_size.is_multiple_of(multiple) {
            let what = format!("input size {} is not a multiple of {multiple}", self.image_size);
            return Err(Error::Config(what));
        }
        at_most("tokens along a side", self.grid(0), MAX_GRID_SIDE)?;
        for stage in &self.stages {
            divides("trunk: stage", stage.channels, stage.heads)?;
            at_most("trunk: stage: depth", stage.depth, MAX_DEPTH)?;
            at_most("trunk: stage: mlp", stage.hidden, MAX_CHANNELS)?;
            at_most("trunk: stage: window", stage.window, MAX_WINDOW_SIDE)?;
        }
        at_most("trunk: depth", self.depth(), MAX_DEPTH)?;
        for pair in self.stages.windows(2) {
            if pair[0].channels == pair[1].channels || !pair[0].window.is_multiple_of(POOL) {
                let what = format!(
                    "a stage {:?} before {:?}: wider ones follow, from even windows",
                    pair[0], pair[1]
                );
                return Err(Error::Config(what));
            }
        }
        let (side, window) = (self.grid(0), self.stages[0].window);
        if !side.is_multiple_of(window) {
            let what =
                format!("input size {}: windows of {window} do not tile {side} tokens", self.image_size);
            return Err(Error::Config(what));
        }
        self.background.iter().try_for_each(|&side| at_most("table of positions", side, MAX_GRID_SIDE))?;
        positive("trunk: layer norm epsilon", self.epsilon)
    }

    /// Tokens along each side of a stage's map.
    pub(crate) fn grid(&self, stage: usize) -> usize {
        self.image_size / (PATCH_STRIDE * POOL.pow(stage as u32))
    }

    /// Channels of the stages' maps.
    pub(crate) fn channels(&self) -> [usize; STAGES] {
        self.stages.map(|stage| stage.channels)
    }

    fn depth(&self) -> usize {
        self.stages.iter().map(|stage| stage.depth).fold(0, usize::saturating_add)
    }

    /// All blocks, in order.
    fn blocks(&self) -> Vec<BlockConfig> {
        let mut blocks: Vec<BlockConfig> = Vec::with_capacity(self.depth());
        for (index, stage) in self.stages.iter().enumerate() {
            for within in 0..stage.depth {
                let before = (index > 0 && within == 0).then(|| self.stages[index - 1]);
                let is_global = self.global_blocks.contains(&blocks.len());
                blocks.push(BlockConfig {
                    channels: stage.channels,
                    heads: stage.heads,
                    mlp_channels: stage.hidden,
                    epsilon: self.epsilon,
                    qkv_bias: true,
                    // A block that pools still has the windows of the map it reads.
                    window: (!is_global).then_some(before.unwrap_or(*stage).window),
                    pooled_from: before.map(|before| before.channels),
                    relative_side: None,
                });
            }
        }
        blocks
    }

    /// How many blocks, from the first on, look no farther than some rows of the first stage's map, and how many rows that are:
    /// as many as their windows have in common, up to [`STRIPE_ROWS`].
    fn stripes(&self) -> (usize, usize) {
        let side = self.grid(0);
        let (mut count, mut rows, mut stride) = (0, 1, 1);
        for block in self.blocks() {
            let Some(window) = block.window else { break };
            let together = least_common_multiple(rows, window * stride);
            if together > STRIPE_ROWS || !side.is_multiple_of(together) {
                break;
            }
            (count, rows) = (count + 1, together);
            stride *= if block.pooled_from.is_some() { POOL } else { 1 };
        }
        // Whole stripes, of whole tokens behind the last of these blocks.
        let fits = |many: &usize| side.is_multiple_of(rows * many) && (rows * many).is_multiple_of(stride);
        let many = (1..=STRIPE_ROWS / rows).rev().find(fits);
        many.map_or((0, side), |many| (count, rows * many))
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let mut divisor = a.min(b).max(1);
    while !(a.is_multiple_of(divisor) && b.is_multiple_of(divisor)) {
        divisor -= 1;
    }
    a / divisor * b
}

pub(crate) struct Hiera {
    patch_embed: Conv2d,
    positions: Positions,
    blocks: Vec<Block>,
    /// The last block of every stage.
    ends: [usize; STAGES],
    /// Blocks from the first on that look no farther than `stripe` rows of the first stage's map.
    near: usize,
    stripe: usize,
}

impl Hiera {
    pub(crate) fn load(loader: &Loader, config: &HieraConfig) -> Result<Self> {
        let geometry = Conv2dGeometry::same(PATCH_SIDE).stride(PATCH_STRIDE);
        let channels = config.stages[0].channels;
        let blocks = config.blocks().into_iter().enumerate();
        let blocks = blocks.map(|(index, block)| Block::load(&loader.at(format!("blocks.{index}")), block));
        let mut end = 0;
        let ends = config.stages.map(|stage| {
            end += stage.depth;
            end - 1
        });
        let (near, stripe) = config.stripes();
        Ok(Self {
            // A hundredth of the arithmetic, and every token goes through it.
            patch_embed: loader.exact().conv2d("patch_embed.projection", 3, channels, geometry, true)?,
            positions: Positions::load(loader, config)?,
            blocks: blocks.collect::<Result<_>>()?,
            ends,
            near,
            stripe,
        })
    }

    /// Pixels `[B, S, S, 3]` to what `keep` makes of the map of every stage, fine to coarse. It gets the stage and its map
    /// `[B', rows, columns, C]`, or a stripe of that, and has to treat every token for itself.
    pub(crate) fn forward(
        &self,
        device: &Device,
        pixels: &Tensor,
        keep: &dyn Fn(usize, &Tensor) -> Result<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let positions = self.positions.forward(device)?;
        let mut x = device.conv2d(pixels, &self.patch_embed, &Epilogue::add(&positions))?;
        drop(positions);
        let mut kept = Vec::with_capacity(STAGES);
        if self.near > 0 {
            x = self.in_stripes(device, x, keep, &mut kept)?;
        }
        for (index, block) in self.blocks.iter().enumerate().skip(self.near) {
            x = block.forward(device, x)?;
            if self.ends[kept.len()] == index {
                kept.push(keep(kept.len(), &x)?);
            }
        }
        Ok(kept)
    }

    /// The first blocks, a few rows of the map at a time: their wide maps stay in the caches, and never exist as a whole.
    fn in_stripes(
        &self,
        device: &Device,
        x: Tensor,
        keep: &dyn Fn(usize, &Tensor) -> Result<Tensor>,
        kept: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let [batch, side, _, channels] = x.shape().fixed("trunk")?;
        let count = batch * side / self.stripe;
        let stripes = x.reshape([count, self.stripe, side, channels])?;
        drop(x);
        let mut parts: Vec<Vec<Tensor>> = Vec::new();
        let mut last = Vec::with_capacity(count);
        for stripe in 0..count {
            let mut x = stripes.narrow(stripe, 1)?;
            let mut stage = 0;
            for (index, block) in self.blocks[..self.near].iter().enumerate() {
                x = block.forward(device, x)?;
                if self.ends[stage] == index {
                    parts.resize_with(parts.len().max(stage + 1), Vec::new);
                    parts[stage].push(keep(stage, &x)?);
                    stage += 1;
                }
            }
            last.push(x);
        }
        drop(stripes);
        for part in parts {
            kept.push(joined(device, batch, &part)?);
        }
        joined(device, batch, &last)
    }
}

/// Stripes of `batch` square maps as whole maps.
fn joined(device: &Device, batch: usize, stripes: &[Tensor]) -> Result<Tensor> {
    let whole = device.concat(&stripes.iter().collect::<Vec<_>>(), 0)?;
    let [_, _, side, channels] = whole.shape().fixed("trunk")?;
    Ok(whole.reshape([batch, side, side, channels])?)
}

/// Positions of the first stage's tokens: a coarse table stretched over the whole map, plus a table of one window that repeats.
///
/// Both are linear in rows: with the columns worked out when the model is loaded, a token is its row's weights times its column's
/// numbers. So the map of positions, a fifth of the size of all weights, need not be kept.
struct Positions {
    /// `[1, side, n]`: by row, weights of the coarse table's rows, and which row of the window it is.
    rows: Tensor,
    /// `[1, side · C, n]`
    columns: Tensor,
}

impl Positions {
    fn load(loader: &Loader, config: &HieraConfig) -> Result<Self> {
        let Stage { channels, window, .. } = config.stages[0];
        let (side, [coarse_rows, coarse_columns]) = (config.grid(0), config.background);
        let n = coarse_rows + window;
        let _copies = loader.copies(2, side * channels * n)?;
        let coarse = loader.raw("pos_embed", &[1, channels, coarse_rows, coarse_columns])?;
        let repeated = loader.raw("pos_embed_window", &[1, channels, window, window])?;
        let rows = loader.derived(&[1, side, n], || {
            let weights = cubic_weights(coarse_rows, side);
            let of_row = |(row, weights): (usize, &[f64])| -> Vec<f32> {
                let in_window = (0..window).map(|i| if i == row % window { 1.0 } else { 0.0 });
                weights.iter().map(|&weight| weight as f32).chain(in_window).collect()
            };
            Ok(weights.chunks_exact(coarse_rows).enumerate().flat_map(of_row).collect())
        })?;
        let columns = loader.derived(&[1, side * channels, n], || {
            let (coarse, repeated) = (coarse.to_f32_vec()?, repeated.to_f32_vec()?);
            let mut values = Vec::with_capacity(side * channels * n);
            for (column, weights) in
                cubic_weights(coarse_columns, side).chunks_exact(coarse_columns).enumerate()
            {
                for channel in 0..channels {
                    for row in 0..coarse_rows {
                        let cells =
                            &coarse[(channel * coarse_rows + row) * coarse_columns..][..coarse_columns];
                        let sum: f64 =
                            cells.iter().zip(weights).map(|(&cell, weight)| f64::from(cell) * weight).sum();
                        values.push(sum as f32);
                    }
                    let of_window = &repeated[channel * window * window..][..window * window];
                    values.extend((0..window).map(|row| of_window[row * window + column % window]));
                }
            }
            Ok(values)
        })?;
        Ok(Self { rows: loader.device.load(&rows)?, columns: loader.device.load(&columns)? })
    }

    /// `[1, side, side, C]`
    fn forward(&self, device: &Device) -> Result<Tensor> {
        let [_, side, _] = self.rows.shape().fixed("positions")?;
        let [_, columns, _] = self.columns.shape().fixed("positions")?;
        let positions = device.matmul_transposed(&self.rows, &self.columns)?;
        Ok(positions.reshape([1, side, side, columns / side])?)
    }
}

/// The coefficient of cubic convolution (Keys 1981) that PyTorch takes.
const CUBIC: f64 = -0.75;

/// Row by row, the weights of `from` cells in each of `to` that they are stretched to, as `torch` mode `bicubic` with
/// `align_corners = false`: four neighbours, those beyond the edge repeating it.
fn cubic_weights(from: usize, to: usize) -> Vec<f64> {
    let mut weights = vec![0.0; from * to];
    for (cell, weights) in weights.chunks_exact_mut(from).enumerate() {
        let position = (cell as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let first = position.floor();
        for tap in -1..=2 {
            let distance = (position - first - f64::from(tap)).abs();
            let weight = match distance {
                d if d <= 1.0 => ((CUBIC + 2.0) * d - (CUBIC + 3.0)) * d * d + 1.0,
                d => ((CUBIC * d - 5.0 * CUBIC) * d + 8.0 * CUBIC) * d - 4.0 * CUBIC,
            };
            let neighbour = (first + f64::from(tap)).clamp(0.0, from as f64 - 1.0);
            weights[neighbour as usize] += weight;
        }
    }
    weights
}

#[cfg(test)]
#[path = "hiera_tests.rs"]
mod tests;
