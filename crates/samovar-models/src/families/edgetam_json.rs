//! EdgeTAM's `config.json` as transformers writes it, of `EdgeTamModel` and of `EdgeTamVideoModel`: around the trunk that of SAM 2,
//! and the trunk as timm names it. Keys with default values may be left out.

use serde::Deserialize;

use super::edgetam::{self, CHANNELS, DEPTHS};
use super::sam2::Sam2Config;
use super::sam2_json::{self, Backbone, expect};
use super::sam2_memory::MemoryConfig;
use super::sam2_memory_json;
use crate::blocks::hiera::STAGES;
use crate::blocks::perceiver::PerceiverConfig;
use crate::blocks::trunk::TrunkConfig;
use crate::error::{Error, Result};

/// What timm calls the trunk; behind a dot follows what it was trained on.
const ARCHITECTURE: &str = "repvit_m1";

#[derive(Deserialize)]
#[serde(default)]
struct TimmWrapper {
    model_type: String,
    architecture: String,
    model_args: Arguments,
}

/// What timm's function of this name is called with, beside what it does anyway.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    in_chans: usize,
    features_only: bool,
    out_indices: [usize; STAGES],
    embed_dim: [usize; STAGES],
    depth: [usize; STAGES],
}

impl Default for TimmWrapper {
    fn default() -> Self {
        Self {
            model_type: "timm_wrapper".into(),
            architecture: ARCHITECTURE.into(),
            model_args: Arguments::default(),
        }
    }
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            in_chans: 3,
            features_only: true,
            out_indices: [0, 1, 2, 3],
            embed_dim: CHANNELS,
            depth: DEPTHS,
        }
    }
}

impl Backbone for TimmWrapper {
    const CHANNELS: [usize; STAGES] = [CHANNELS[3], CHANNELS[2], CHANNELS[1], CHANNELS[0]];

    fn trunk(&self, image_size: usize) -> Result<TrunkConfig> {
        let of = |key: &str| format!("backbone_config.{key}");
        expect(&of("model_type"), self.model_type.as_str(), "timm_wrapper")?;
        let name = self.architecture.split('.').next().unwrap_or_default();
        expect(&of("architecture"), name, ARCHITECTURE)?;
        let Arguments { in_chans, features_only, out_indices, embed_dim, depth } = &self.model_args;
        let of = |key: &str| of(&format!("model_args.{key}"));
        expect(&of("in_chans"), *in_chans, 3)?;
        expect(&of("features_only"), *features_only, true)?;
        expect(&of("out_indices"), *out_indices, [0, 1, 2, 3])?;
        Ok(edgetam::repvit(image_size, *embed_dim, *depth))
    }
}

/// Of `EdgeTamVideoModel` alone.
#[derive(Deserialize)]
#[serde(default)]
struct Memory {
    memory_attention_rope_k_sizes: [usize; 2],
    perceiver_resampler_num_latents: usize,
    perceiver_resampler_num_latents_2d: usize,
    perceiver_resampler_hidden_size: usize,
    perceiver_resampler_mlp_intermediate_size: usize,
    perceiver_resampler_num_attention_heads: usize,
    perceiver_resampler_attention_head_dim: usize,
    perceiver_resampler_num_layers: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            memory_attention_rope_k_sizes: [16; 2],
            perceiver_resampler_num_latents: 256,
            perceiver_resampler_num_latents_2d: 256,
            perceiver_resampler_hidden_size: 64,
            perceiver_resampler_mlp_intermediate_size: 256,
            perceiver_resampler_num_attention_heads: 1,
            perceiver_resampler_attention_head_dim: 64,
            perceiver_resampler_num_layers: 2,
        }
    }
}

impl Memory {
    fn perceiver(&self) -> PerceiverConfig {
        PerceiverConfig {
            channels: self.perceiver_resampler_hidden_size,
            latents: self.perceiver_resampler_num_latents,
            windows: self.perceiver_resampler_num_latents_2d.isqrt(),
            depth: self.perceiver_resampler_num_layers,
            hidden: self.perceiver_resampler_mlp_intermediate_size,
        }
    }

    /// What no memory here has.
    fn check(&self) -> Result<()> {
        let windows = self.perceiver().windows;
        let of = |key: &str| format!("perceiver_resampler_{key}");
        expect(&of("num_attention_heads"), self.perceiver_resampler_num_attention_heads, 1)?;
        let head = self.perceiver_resampler_attention_head_dim;
        expect(&of("attention_head_dim"), head, self.perceiver_resampler_hidden_size)?;
        let latents = self.perceiver_resampler_num_latents_2d;
        expect(&of("num_latents_2d"), latents, windows.saturating_mul(windows))?;
        expect("memory_attention_rope_k_sizes", self.memory_attention_rope_k_sizes, [windows; 2])
    }
}

/// All numbers of an EdgeTAM from its `config.json`; those of its memory, too, if it is one `with_memory`.
pub(crate) fn parse(json: &str, with_memory: bool) -> Result<Sam2Config> {
    sam2_json::parse_around::<TimmWrapper>(json, with_memory.then(|| memory(json)).transpose()?)
}

fn memory(json: &str) -> Result<MemoryConfig> {
    let mut memory = sam2_memory_json::parse(json, edgetam::memory())?;
    let more: Memory =
        serde_json::from_str(json).map_err(|error| Error::Config(format!("config.json: {error}")))?;
    memory.perceiver = Some(more.perceiver());
    if let (None, Err(refused)) = (&memory.refused, more.check()) {
        // Pictures do without.
        memory.refused = Some(match refused {
            Error::Config(what) => what,
            other => other.to_string(),
        });
    }
    Ok(memory)
}
