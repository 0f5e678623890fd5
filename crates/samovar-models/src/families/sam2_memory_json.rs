//! What the `config.json` of transformers' `Sam2VideoModel` says about memories. Keys with default values may be left out.

use serde::Deserialize;

use super::sam2_memory::MemoryConfig;
use crate::blocks::memory_attention::{MemoryAttentionConfig, SelfCrossConfig};
use crate::blocks::memory_encoder::MemoryEncoderConfig;
use crate::error::{Error, Result};

#[derive(Deserialize)]
#[serde(default)]
struct Json {
    num_maskmem: usize,
    max_object_pointers_in_encoder: usize,
    max_cond_frame_num: i64,
    enable_occlusion_spatial_embedding: bool,
    enable_temporal_pos_encoding_for_object_pointers: bool,
    sigmoid_scale_for_mem_enc: f64,
    sigmoid_bias_for_mem_enc: f64,
    multimask_output_in_sam: bool,
    multimask_min_pt_num: usize,
    multimask_max_pt_num: usize,
    multimask_output_for_tracking: bool,
    memory_attention_hidden_size: usize,
    memory_attention_num_layers: Option<usize>,
    memory_attention_num_attention_heads: usize,
    memory_attention_downsample_rate: usize,
    /// Of EdgeTAM as the second.
    #[serde(alias = "memory_attention_mlp_hidden_size")]
    memory_attention_feed_forward_hidden_size: usize,
    #[serde(alias = "memory_attention_mlp_hidden_act")]
    memory_attention_feed_forward_hidden_act: String,
    /// Of versions before 5.
    memory_attention_rope_theta: Option<f32>,
    rope_parameters: Option<Rope>,
    memory_encoder_hidden_size: usize,
    memory_encoder_output_channels: usize,
    mask_downsampler_embed_dim: usize,
    mask_downsampler_kernel_size: usize,
    mask_downsampler_stride: usize,
    mask_downsampler_padding: usize,
    mask_downsampler_total_stride: usize,
    mask_downsampler_hidden_act: String,
    memory_fuser_num_layers: usize,
    memory_fuser_embed_dim: usize,
    memory_fuser_intermediate_dim: usize,
    memory_fuser_kernel_size: usize,
    memory_fuser_padding: usize,
    memory_fuser_hidden_act: String,
}

#[derive(Deserialize)]
struct Rope {
    rope_theta: Option<f32>,
}

impl Default for Json {
    fn default() -> Self {
        let published = MemoryConfig::published(true);
        let SelfCrossConfig { channels, memory_channels, mlp_channels, .. } = published.attention.layer;
        Self {
            num_maskmem: published.recent + 1,
            max_object_pointers_in_encoder: published.pointers,
            max_cond_frame_num: -1,
            enable_occlusion_spatial_embedding: true,
            enable_temporal_pos_encoding_for_object_pointers: true,
            sigmoid_scale_for_mem_enc: 20.0,
            sigmoid_bias_for_mem_enc: -10.0,
            multimask_output_in_sam: true,
            multimask_min_pt_num: 0,
            multimask_max_pt_num: 1,
            multimask_output_for_tracking: true,
            memory_attention_hidden_size: channels,
            memory_attention_num_layers: None,
            memory_attention_num_attention_heads: 1,
            memory_attention_downsample_rate: 1,
            memory_attention_feed_forward_hidden_size: mlp_channels,
            memory_attention_feed_forward_hidden_act: "relu".into(),
            memory_attention_rope_theta: None,
            rope_parameters: None,
            memory_encoder_hidden_size: channels,
            memory_encoder_output_channels: memory_channels,
            mask_downsampler_embed_dim: channels,
            mask_downsampler_kernel_size: 3,
            mask_downsampler_stride: 2,
            mask_downsampler_padding: 1,
            mask_downsampler_total_stride: published.encoder.stride,
            mask_downsampler_hidden_act: "gelu".into(),
            memory_fuser_num_layers: published.encoder.fuser_depth,
            memory_fuser_embed_dim: channels,
            memory_fuser_intermediate_dim: published.encoder.fuser_hidden,
            memory_fuser_kernel_size: 7,
            memory_fuser_padding: 3,
            memory_fuser_hidden_act: "gelu".into(),
        }
    }
}

/// All numbers of the memory; `published` is that of the family's models. What no memory here has is noted, not refused: pictures do
/// without.
pub(crate) fn parse(json: &str, published: MemoryConfig) -> Result<MemoryConfig> {
    let json: Json =
        serde_json::from_str(json).map_err(|error| Error::Config(format!("config.json: {error}")))?;
    let theta = json.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
    let memory_channels = json.memory_encoder_output_channels;
    Ok(MemoryConfig {
        refused: json.refused(),
        attention: MemoryAttentionConfig {
            layer: SelfCrossConfig {
                channels: json.memory_attention_hidden_size,
                memory_channels,
                mlp_channels: json.memory_attention_feed_forward_hidden_size,
                ..published.attention.layer
            },
            depth: json.memory_attention_num_layers.unwrap_or(published.attention.depth),
            theta: theta.or(json.memory_attention_rope_theta).unwrap_or(published.attention.theta),
        },
        encoder: MemoryEncoderConfig {
            channels: json.memory_encoder_hidden_size,
            memory_channels,
            stride: json.mask_downsampler_total_stride,
            fuser_depth: json.memory_fuser_num_layers,
            fuser_hidden: json.memory_fuser_intermediate_dim,
        },
        perceiver: published.perceiver,
        recent: json.num_maskmem.saturating_sub(1),
        pointers: json.max_object_pointers_in_encoder,
        conditioning_at_most: usize::try_from(json.max_cond_frame_num).ok(),
        marks_hidden: json.enable_occlusion_spatial_embedding,
        places_pointers: json.enable_temporal_pos_encoding_for_object_pointers,
    })
}

impl Json {
    /// The first key with a value that is not followed.
    fn refused(&self) -> Option<String> {
        fn other<T: PartialEq + std::fmt::Debug>(key: &str, found: T, expected: T) -> Option<String> {
            (found != expected).then(|| format!("{key} is {found:?}, expected {expected:?}"))
        }
        let channels = self.memory_encoder_hidden_size;
        let act = |text: &str| text.to_owned();
        [
            other("sigmoid_scale_for_mem_enc", self.sigmoid_scale_for_mem_enc, 20.0),
            other("sigmoid_bias_for_mem_enc", self.sigmoid_bias_for_mem_enc, -10.0),
            other("multimask_output_in_sam", self.multimask_output_in_sam, true),
            other("multimask_min_pt_num", self.multimask_min_pt_num, 0),
            other("multimask_max_pt_num", self.multimask_max_pt_num, 1),
            other("multimask_output_for_tracking", self.multimask_output_for_tracking, true),
            other("memory_attention_num_attention_heads", self.memory_attention_num_attention_heads, 1),
            other("memory_attention_downsample_rate", self.memory_attention_downsample_rate, 1),
            other(
                "memory_attention_feed_forward_hidden_act",
                self.memory_attention_feed_forward_hidden_act.clone(),
                act("relu"),
            ),
            other("mask_downsampler_kernel_size", self.mask_downsampler_kernel_size, 3),
            other("mask_downsampler_stride", self.mask_downsampler_stride, 2),
            other("mask_downsampler_padding", self.mask_downsampler_padding, 1),
            other("mask_downsampler_hidden_act", self.mask_downsampler_hidden_act.clone(), act("gelu")),
            other("mask_downsampler_embed_dim", self.mask_downsampler_embed_dim, channels),
            other("memory_fuser_embed_dim", self.memory_fuser_embed_dim, channels),
            other("memory_fuser_kernel_size", self.memory_fuser_kernel_size, 7),
            other("memory_fuser_padding", self.memory_fuser_padding, 3),
            other("memory_fuser_hidden_act", self.memory_fuser_hidden_act.clone(), act("gelu")),
        ]
        .into_iter()
        .flatten()
        .next()
    }
}
