//! SAM's and SAM-HQ's `config.json` as transformers writes it: three nested objects, keys with default values left out.

use serde::Deserialize;

use super::json_side::Side;
use super::sam_heads;
use super::sam1::SamConfig;
use crate::blocks::vit::VitConfig;
use crate::error::{Error, Result};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Json {
    vision_config: Vision,
    prompt_encoder_config: Prompt,
    mask_decoder_config: Decoder,
}

#[derive(Deserialize)]
#[serde(default)]
struct Vision {
    hidden_size: usize,
    output_channels: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_channels: usize,
    image_size: Side,
    patch_size: Side,
    hidden_act: String,
    layer_norm_eps: f32,
    qkv_bias: bool,
    mlp_ratio: f64,
    mlp_dim: Option<usize>,
    use_abs_pos: bool,
    use_rel_pos: bool,
    window_size: usize,
    global_attn_indexes: Vec<usize>,
    num_pos_feats: usize,
}

impl Default for Vision {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            output_channels: 256,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: Side::One(1024),
            patch_size: Side::One(16),
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-6,
            qkv_bias: true,
            mlp_ratio: 4.0,
            mlp_dim: None,
            use_abs_pos: true,
            use_rel_pos: true,
            window_size: 14,
            global_attn_indexes: vec![2, 5, 8, 11],
            num_pos_feats: 128,
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Prompt {
    hidden_size: usize,
    mask_input_channels: usize,
    num_point_embeddings: usize,
    hidden_act: String,
    layer_norm_eps: f32,
}

impl Default for Prompt {
    fn default() -> Self {
        Self {
            hidden_size: 256,
            mask_input_channels: 16,
            num_point_embeddings: 4,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-6,
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Decoder {
    hidden_size: usize,
    hidden_act: String,
    mlp_dim: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    attention_downsample_rate: usize,
    num_multimask_outputs: usize,
    iou_head_depth: usize,
    iou_head_hidden_dim: usize,
    layer_norm_eps: f32,
    /// Of SAM-HQ alone.
    vit_dim: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            hidden_size: 256,
            hidden_act: "relu".into(),
            mlp_dim: 2048,
            num_hidden_layers: 2,
            num_attention_heads: 8,
            attention_downsample_rate: 2,
            num_multimask_outputs: 3,
            iou_head_depth: 3,
            iou_head_hidden_dim: 256,
            layer_norm_eps: 1e-6,
            vit_dim: 768,
        }
    }
}

/// All numbers of a SAM, or of a SAM-HQ, from its `config.json`.
pub(crate) fn parse(json: &str, is_hq: bool) -> Result<SamConfig> {
    let Json { vision_config: vision, prompt_encoder_config: prompt, mask_decoder_config: decoder } =
        serde_json::from_str(json).map_err(|error| Error::Config(format!("config.json: {error}")))?;
    let expect = |what: &str, found: &str, expected: &str| match found == expected {
        true => Ok(()),
        false => Err(Error::Config(format!("{what} is `{found}`, expected `{expected}`"))),
    };
    expect("vision_config.hidden_act", &vision.hidden_act, "gelu")?;
    expect("prompt_encoder_config.hidden_act", &prompt.hidden_act, "gelu")?;
    expect("mask_decoder_config.hidden_act", &decoder.hidden_act, "relu")?;
    expect("vision_config.num_channels", &vision.num_channels.to_string(), "3")?;
    expect("prompt_encoder_config.num_point_embeddings", &prompt.num_point_embeddings.to_string(), "4")?;
    let positions = 2 * vision.num_pos_feats.min(usize::MAX / 2);
    expect("2 * vision_config.num_pos_feats", &positions.to_string(), &prompt.hidden_size.to_string())?;
    let image_size = vision.image_size.square("image_size")?;
    let patch_size = vision.patch_size.square("patch_size")?;
    let vit = VitConfig {
        image_size,
        patch_size,
        channels: vision.hidden_size,
        depth: vision.num_hidden_layers,
        heads: vision.num_attention_heads,
        // As transformers: the ratio counts only where the width is not stated (pruned models state it).
        mlp_channels: vision.mlp_dim.unwrap_or((vision.hidden_size as f64 * vision.mlp_ratio) as usize),
        window: vision.window_size,
        global_blocks: vision.global_attn_indexes,
        output_channels: vision.output_channels,
        epsilon: vision.layer_norm_eps,
        qkv_bias: vision.qkv_bias,
        absolute_positions: vision.use_abs_pos,
        relative_positions: vision.use_rel_pos,
    };
    let mut prompt_encoder =
        sam_heads::prompt_encoder(image_size, image_size.checked_div(patch_size).unwrap_or(0));
    prompt_encoder.channels = prompt.hidden_size;
    prompt_encoder.mask_channels = [prompt.mask_input_channels / 4, prompt.mask_input_channels];
    prompt_encoder.epsilon = prompt.layer_norm_eps;
    let mut mask_decoder = sam_heads::mask_decoder();
    let transformer = &mut mask_decoder.transformer;
    transformer.channels = decoder.hidden_size;
    transformer.depth = decoder.num_hidden_layers;
    transformer.heads = decoder.num_attention_heads;
    transformer.cross_channels =
        decoder.hidden_size.checked_div(decoder.attention_downsample_rate).unwrap_or(0);
    transformer.mlp_channels = decoder.mlp_dim;
    transformer.epsilon = decoder.layer_norm_eps;
    mask_decoder.multimask_outputs = decoder.num_multimask_outputs;
    mask_decoder.upscale_channels = [decoder.hidden_size / 4, decoder.hidden_size / 8];
    mask_decoder.iou_depth = decoder.iou_head_depth;
    mask_decoder.iou_hidden = decoder.iou_head_hidden_dim;
    mask_decoder.hq_early_channels = is_hq.then_some(decoder.vit_dim);
    let config = SamConfig { vit, prompt: prompt_encoder, decoder: mask_decoder };
    config.check()?;
    Ok(config)
}
