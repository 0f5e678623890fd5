//! The 2-D spatial perceiver: a map is compressed to latents, some of which look at all of it and have no place, while each of the
//! others looks at a window of its own and stands for it. (EdgeTAM, `sam2/modeling/perceiver.py` upstream.)
//!
//! Both kinds go through the same layers. Those of windows know no positions, and never see each other: where the others attend
//! to themselves, each of them has itself alone.

use samovar_tensor::{Activation, Device, Epilogue, LayerNorm, Linear, Rows, Tensor, TokenLayout};

use super::attention::attention;
use super::loader::Loader;
use super::mlp::Mlp;
use super::sine_positions;
use crate::error::{Error, Result};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH, MAX_GRID_SIDE, at_most};

/// Of all norms; PyTorch's default.
const EPSILON: f32 = 1e-5;
/// Most latents that look at the whole map.
const MAX_LATENTS: usize = 4096;

/// Dimensions of a [`Perceiver`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PerceiverConfig {
    /// Of the map and of the latents.
    pub(crate) channels: usize,
    /// Latents that look at the whole map.
    pub(crate) latents: usize,
    /// Windows along each side, one latent each.
    pub(crate) windows: usize,
    pub(crate) depth: usize,
    /// Of the layers that mix channels.
    pub(crate) hidden: usize,
}

impl PerceiverConfig {
    /// For maps of `grid` rows and columns.
    pub(crate) fn check(&self, grid: [usize; 2]) -> Result<()> {
        at_most("perceiver: channels", self.channels, MAX_CHANNELS)?;
        at_most("perceiver: latents", self.latents, MAX_LATENTS)?;
        at_most("perceiver: windows along a side", self.windows, MAX_GRID_SIDE)?;
        at_most("perceiver: depth", self.depth, MAX_DEPTH)?;
        at_most("perceiver: hidden channels", self.hidden, MAX_CHANNELS)?;
        let [rows, columns] = grid;
        if rows != columns || !rows.is_multiple_of(self.windows) {
            let windows = self.windows;
            let what = format!("perceiver: {windows}x{windows} windows do not tile {rows}x{columns} cells");
            return Err(Error::Config(what));
        }
        Ok(())
    }

    /// How many latents there are: those that look at the whole map come first.
    pub(crate) fn tokens(&self) -> usize {
        self.latents + self.windows * self.windows
    }
}

pub(crate) struct Perceiver {
    /// What all maps are asked, `[tokens, channels]`.
    latents: Tensor,
    /// Of the cells, `[cells, 2 · channels]`, added to keys and values alike.
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    grid: [usize; 2],
    config: PerceiverConfig,
}

impl Perceiver {
    /// For maps of `grid` rows and columns, for which the configuration has been checked.
    pub(crate) fn load(loader: &Loader, config: PerceiverConfig, grid: [usize; 2]) -> Result<Self> {
        let PerceiverConfig { channels, latents, windows, depth, .. } = config;
        let alone = loader.raw("latents_1d", &[latents, channels])?;
        let of_windows = loader.raw("latents_2d", &[windows * windows, channels])?;
        let latents = loader.derived(&[config.tokens(), channels], || {
            Ok([alone.to_f32_vec()?, of_windows.to_f32_vec()?].concat())
        })?;
        let positions = loader.derived(&[grid[0] * grid[1], 2 * channels], || {
            let of_cells = sine_positions::of_cells(grid, channels);
            Ok(of_cells.chunks_exact(channels).flat_map(|cell| [cell, cell].concat()).collect())
        })?;
        Ok(Self {
            latents: loader.device.load(&latents)?,
            positions: loader.device.load(&positions)?,
            layers: (0..depth)
                .map(|i| Layer::load(&loader.at(format!("layers.{i}")), config))
                .collect::<Result<_>>()?,
            norm: loader.layer_norm("layer_norm", channels, EPSILON)?,
            grid,
            config,
        })
    }

    /// A map `[cells, channels]` to its latents `[tokens, channels]`.
    pub(crate) fn forward(&self, device: &Device, map: &Tensor) -> Result<Tensor> {
        let mut latents = self.latents.clone();
        for layer in &self.layers {
            latents = layer.look(device, &latents, map, &self.positions, self.grid, self.config)?;
            latents = layer.confer(device, &latents, self.config)?;
        }
        Ok(device.layer_norm(&latents, &self.norm, Activation::Identity)?)
    }
}

struct Layer {
    map_norm: LayerNorm,
    latent_norm: LayerNorm,
    query: Linear,
    /// Keys and values side by side.
    key_value: Linear,
    out: Linear,
    mix: Mix,
    own_norm: LayerNorm,
    /// Queries, keys and values side by side.
    own: Linear,
    own_out: Linear,
    own_mix: Mix,
}

/// A norm, and two layers that mix channels.
struct Mix {
    norm: LayerNorm,
    mlp: Mlp,
}

impl Layer {
    fn load(loader: &Loader, config: PerceiverConfig) -> Result<Self> {
        let PerceiverConfig { channels, hidden, .. } = config;
        let (cross, own) = (loader.at("cross_attention"), loader.at("self_attention"));
        let norm = |name: &str| loader.layer_norm(name, channels, EPSILON);
        let mix = |name: &str| -> Result<Mix> {
            let loader = loader.at(name);
            let names = ["up_proj", "down_proj"];
            let mlp = Mlp::load_without_biases(&loader, names, channels, hidden, Activation::Gelu)?;
            Ok(Mix { norm: loader.layer_norm("layer_norm", channels, EPSILON)?, mlp })
        };
        Ok(Self {
            map_norm: norm("layer_norm_input")?,
            latent_norm: norm("layer_norm_latents")?,
            query: cross.linear_without_bias("q_proj", channels, channels)?,
            key_value: side_by_side(&cross, channels, false)?,
            out: cross.linear_without_bias("o_proj", channels, channels)?,
            mix: mix("mlp")?,
            own_norm: norm("layer_norm_self")?,
            own: side_by_side(&own, channels, true)?,
            own_out: own.linear_without_bias("o_proj", channels, channels)?,
            own_mix: mix("self_mlp")?,
        })
    }

    /// Latents look at the map, then mix their channels.
    fn look(
        &self,
        device: &Device,
        latents: &Tensor,
        map: &Tensor,
        positions: &Tensor,
        grid: [usize; 2],
        config: PerceiverConfig,
    ) -> Result<Tensor> {
        let PerceiverConfig { channels, latents: count, windows, .. } = config;
        let [cells, _] = map.shape().fixed("perceiver")?;
        let map = device.layer_norm(map, &self.map_norm, Activation::Identity)?;
        let key_value = device.linear(&map, &self.key_value, &Epilogue::NONE)?;
        drop(map);
        let query = device.layer_norm(latents, &self.latent_norm, Activation::Identity)?;
        let query = device.linear(&query, &self.query, &Epilogue::NONE)?;
        let attended = |query: &Tensor, key_value: &Tensor, layout| {
            let (key, value) = (Rows::columns(key_value, 0), Rows::columns(key_value, channels));
            attention(device, 1, channels, Rows::whole(query), key, value, layout)
        };
        let everywhere = attended(
            &query.narrow(0, count)?,
            &device.add(&key_value, positions)?,
            TokenLayout::Sequence { batch: 1, key_batch: 1, queries: count, keys: cells },
        )?;
        let window = grid[0] / windows;
        let in_windows = attended(
            &query.narrow(count, windows * windows)?,
            &key_value,
            TokenLayout::Windows { batch: 1, grid, window, query_stride: window, padding: None },
        )?;
        drop((query, key_value));
        let attended = device.concat(&[&everywhere, &in_windows], 0)?;
        self.mix.forward(device, &device.linear(&attended, &self.out, &Epilogue::add(latents))?)
    }

    /// Latents that look at the whole map attend to each other, then all mix their channels once more.
    fn confer(&self, device: &Device, latents: &Tensor, config: PerceiverConfig) -> Result<Tensor> {
        let PerceiverConfig { channels, latents: count, windows, .. } = config;
        let normed = device.layer_norm(latents, &self.own_norm, Activation::Identity)?;
        let all = device.linear(&normed, &self.own, &Epilogue::NONE)?;
        drop(normed);
        let together = all.narrow(0, count)?;
        let column = |index: usize| Rows::columns(&together, index * channels);
        let layout = TokenLayout::Sequence { batch: 1, key_batch: 1, queries: count, keys: count };
        let together = attention(device, 1, channels, column(0), column(1), column(2), layout)?;
        // A softmax over oneself is 1.
        let alone = device.slice(&all.narrow(count, windows * windows)?, 1, 2 * channels, channels)?;
        drop(all);
        let attended = device.concat(&[&together, &alone], 0)?;
        self.own_mix.forward(device, &device.linear(&attended, &self.own_out, &Epilogue::add(latents))?)
    }
}

impl Mix {
    fn forward(&self, device: &Device, x: &Tensor) -> Result<Tensor> {
        self.mlp.forward(device, device.layer_norm(x, &self.norm, Activation::Identity)?, x)
    }
}

/// Layers without biases on the same input as one: keys and values, `with_queries` in front of them. Original files have keys and
/// values in one already.
fn side_by_side(loader: &Loader, channels: usize, with_queries: bool) -> Result<Linear> {
    let _copies = loader.copies(7, 3 * channels * channels)?;
    let mut parts = Vec::new();
    let one = [channels, channels];
    if with_queries {
        parts.push(loader.weight("q_proj.weight", &one)?);
    }
    match loader.contains("kv_proj.weight") {
        true => parts.push(loader.weight("kv_proj.weight", &[2 * channels, channels])?),
        false => {
            parts.push(loader.weight("k_proj.weight", &one)?);
            parts.push(loader.weight("v_proj.weight", &one)?);
        }
    }
    Ok(loader.device.load_linear(&Tensor::stack_rows(&parts)?, None)?)
}
