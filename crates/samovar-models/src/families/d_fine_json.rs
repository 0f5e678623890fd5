//! D-FINE's `config.json` as transformers writes it (`DFineConfig` and its `HGNetV2Config`): keys with default values may be left
//! out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::d_fine::{DFineConfig, IMAGE_SIZE};
use crate::blocks::hgnet::{self, HgNetConfig, HgStageConfig, STAGES};
use crate::blocks::hybrid_encoder::HybridEncoderConfig;
use crate::blocks::refining_decoder::RefiningDecoderConfig;
use crate::error::{Error, Result};
use crate::limits::{MAX_CHANNELS, MAX_DEPTH};

#[derive(Deserialize)]
#[serde(default)]
struct Json {
    backbone_config: Backbone,
    layer_norm_eps: f32,
    batch_norm_eps: f64,
    encoder_hidden_dim: usize,
    encoder_in_channels: Vec<usize>,
    feat_strides: Vec<usize>,
    encoder_layers: usize,
    encoder_ffn_dim: usize,
    encoder_attention_heads: usize,
    encode_proj_layers: Vec<usize>,
    positional_encoding_temperature: f64,
    encoder_activation_function: String,
    activation_function: String,
    eval_size: Value,
    anchor_image_size: Value,
    normalize_before: bool,
    hidden_expansion: f64,
    d_model: usize,
    num_queries: usize,
    decoder_in_channels: Vec<usize>,
    decoder_ffn_dim: usize,
    num_feature_levels: usize,
    decoder_n_points: Points,
    decoder_layers: usize,
    decoder_attention_heads: usize,
    decoder_activation_function: String,
    learn_initial_query: bool,
    eval_idx: i64,
    layer_scale: f64,
    max_num_bins: usize,
    depth_mult: f64,
    top_prob_values: usize,
    lqe_hidden_dim: usize,
    lqe_layers: usize,
    decoder_offset_scale: f32,
    decoder_method: String,
    id2label: Option<BTreeMap<String, String>>,
    num_labels: usize,
}

impl Default for Json {
    fn default() -> Self {
        Self {
            backbone_config: Backbone::default(),
            layer_norm_eps: 1e-5,
            batch_norm_eps: 1e-5,
            encoder_hidden_dim: 256,
            encoder_in_channels: vec![512, 1024, 2048],
            feat_strides: vec![8, 16, 32],
            encoder_layers: 1,
            encoder_ffn_dim: 1024,
            encoder_attention_heads: 8,
            encode_proj_layers: vec![2],
            positional_encoding_temperature: 10_000.0,
            encoder_activation_function: "gelu".into(),
            activation_function: "silu".into(),
            eval_size: Value::Null,
            anchor_image_size: Value::Null,
            normalize_before: false,
            hidden_expansion: 1.0,
            d_model: 256,
            num_queries: 300,
            decoder_in_channels: vec![256; 3],
            decoder_ffn_dim: 1024,
            num_feature_levels: 3,
            decoder_n_points: Points::Same(4),
            decoder_layers: 6,
            decoder_attention_heads: 8,
            decoder_activation_function: "relu".into(),
            learn_initial_query: false,
            eval_idx: -1,
            layer_scale: 1.0,
            max_num_bins: 32,
            depth_mult: 1.0,
            top_prob_values: 4,
            lqe_hidden_dim: 64,
            lqe_layers: 2,
            decoder_offset_scale: 0.5,
            decoder_method: "default".into(),
            id2label: None,
            num_labels: 2,
        }
    }
}

/// The same number for all levels, or one for each.
#[derive(Deserialize)]
#[serde(untagged)]
enum Points {
    Same(usize),
    Each(Vec<usize>),
}

#[derive(Deserialize)]
#[serde(default)]
struct Backbone {
    model_type: String,
    num_channels: usize,
    hidden_act: String,
    stem_channels: [usize; 3],
    stem_strides: Vec<usize>,
    stage_in_channels: [usize; STAGES],
    stage_mid_channels: [usize; STAGES],
    stage_out_channels: [usize; STAGES],
    stage_num_blocks: [usize; STAGES],
    stage_downsample: [bool; STAGES],
    stage_downsample_strides: Vec<usize>,
    stage_light_block: [bool; STAGES],
    stage_kernel_size: [usize; STAGES],
    stage_numb_of_layers: [usize; STAGES],
    use_learnable_affine_block: bool,
    out_indices: Option<Vec<usize>>,
}

impl Default for Backbone {
    fn default() -> Self {
        Self {
            model_type: "hgnet_v2".into(),
            num_channels: 3,
            hidden_act: "relu".into(),
            stem_channels: [3, 32, 48],
            stem_strides: vec![2, 1, 1, 2, 1],
            stage_in_channels: [48, 128, 512, 1024],
            stage_mid_channels: [48, 96, 192, 384],
            stage_out_channels: [128, 512, 1024, 2048],
            stage_num_blocks: [1, 1, 3, 1],
            stage_downsample: [false, true, true, true],
            stage_downsample_strides: vec![2; STAGES],
            stage_light_block: [false, false, true, true],
            stage_kernel_size: [3, 3, 5, 5],
            stage_numb_of_layers: [6; STAGES],
            use_learnable_affine_block: false,
            out_indices: None,
        }
    }
}

/// Refuses what no D-FINE has.
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Config(format!("{what} is {found:?}, expected {expected:?}")))
}

/// All numbers of a D-FINE from its `config.json`.
pub(crate) fn parse(json: &str) -> Result<DFineConfig> {
    let json: Json =
        serde_json::from_str(json).map_err(|error| Error::Config(format!("config.json: {error}")))?;
    json.check_constants()?;
    let config = DFineConfig {
        image_size: IMAGE_SIZE,
        backbone: json.backbone_config.backbone()?,
        encoder: json.encoder()?,
        decoder: json.decoder()?,
        queries: json.num_queries,
        classes: json.classes()?.into(),
    };
    json.check_levels()?;
    config.check()?;
    let strides: Vec<usize> = (0..json.feat_strides.len()).map(|level| config.stride(level)).collect();
    expect("feat_strides", &json.feat_strides, &strides)?;
    Ok(config)
}

impl Json {
    fn check_constants(&self) -> Result<()> {
        expect("batch_norm_eps", self.batch_norm_eps, 1e-5)?;
        expect("positional_encoding_temperature", self.positional_encoding_temperature, 10_000.0)?;
        expect("encoder_activation_function", self.encoder_activation_function.as_str(), "gelu")?;
        expect("activation_function", self.activation_function.as_str(), "silu")?;
        expect("decoder_activation_function", self.decoder_activation_function.as_str(), "relu")?;
        // With a size transformers leaves positions out, which no published model was trained with.
        expect("eval_size", &self.eval_size, &Value::Null)?;
        expect("anchor_image_size", &self.anchor_image_size, &Value::Null)?;
        expect("normalize_before", self.normalize_before, false)?;
        expect("learn_initial_query", self.learn_initial_query, false)?;
        expect("layer_scale", self.layer_scale, 1.0)?;
        expect("lqe_layers", self.lqe_layers, 2)?;
        expect("decoder_method", self.decoder_method.as_str(), "default")?;
        let last = i64::try_from(self.decoder_layers).unwrap_or(i64::MAX).saturating_sub(1);
        match self.eval_idx {
            -1 => Ok(()),
            index => expect("eval_idx", index, last),
        }
    }

    fn check_levels(&self) -> Result<()> {
        let levels = self.encoder_in_channels.len();
        expect("num_feature_levels", self.num_feature_levels, levels)?;
        expect("feat_strides", self.feat_strides.len(), levels)?;
        expect("encode_proj_layers", &self.encode_proj_layers, &vec![levels.saturating_sub(1)])?;
        expect("decoder_in_channels", &self.decoder_in_channels, &vec![self.encoder_hidden_dim; levels])?;
        if let Some(indices) = &self.backbone_config.out_indices {
            let last: Vec<usize> = (STAGES + 1 - levels.min(STAGES)..=STAGES).collect();
            expect("backbone_config.out_indices", indices, &last)?;
        }
        Ok(())
    }

    fn encoder(&self) -> Result<HybridEncoderConfig> {
        // As Python: `round(hidden_expansion * encoder_hidden_dim // 2)` and `round(3 * depth_mult)`.
        let block_channels = (self.hidden_expansion * self.encoder_hidden_dim as f64 / 2.0).floor();
        let block_depth = (3.0 * self.depth_mult).round_ties_even();
        let whole = |what: &str, number: f64, limit: usize| {
            let fits = number >= 1.0 && number <= limit as f64;
            fits.then_some(number as usize).ok_or_else(|| Error::Config(format!("{what} makes {number}")))
        };
        Ok(HybridEncoderConfig {
            inputs: self.encoder_in_channels.clone(),
            channels: self.encoder_hidden_dim,
            heads: self.encoder_attention_heads,
            mlp_channels: self.encoder_ffn_dim,
            layers: self.encoder_layers,
            block_channels: whole("hidden_expansion", block_channels, MAX_CHANNELS)?,
            block_depth: whole("depth_mult", block_depth, MAX_DEPTH)?,
            epsilon: self.layer_norm_eps,
        })
    }

    fn decoder(&self) -> Result<RefiningDecoderConfig> {
        let points = match &self.decoder_n_points {
            Points::Same(points) => vec![*points; self.num_feature_levels.min(hgnet::STAGES)],
            Points::Each(points) => points.clone(),
        };
        Ok(RefiningDecoderConfig {
            channels: self.d_model,
            heads: self.decoder_attention_heads,
            mlp_channels: self.decoder_ffn_dim,
            depth: self.decoder_layers,
            points,
            offset_scale: self.decoder_offset_scale,
            bins: self.max_num_bins,
            quality_numbers: self.top_prob_values,
            quality_hidden: self.lqe_hidden_dim,
            epsilon: self.layer_norm_eps,
        })
    }

    /// Names by their numbers, which are those of the logits.
    fn classes(&self) -> Result<Vec<String>> {
        let Some(labels) = &self.id2label else {
            return Ok((0..self.num_labels.min(MAX_CHANNELS)).map(|i| format!("LABEL_{i}")).collect());
        };
        let name = |index: usize| {
            let label = labels.get(&index.to_string()).cloned();
            label.ok_or_else(|| {
                Error::Config(format!("id2label has {} names, and none for {index}", labels.len()))
            })
        };
        (0..labels.len()).map(name).collect()
    }
}

impl Backbone {
    fn backbone(&self) -> Result<HgNetConfig> {
        let of = |key: &str| format!("backbone_config.{key}");
        expect(&of("model_type"), self.model_type.as_str(), "hgnet_v2")?;
        expect(&of("num_channels"), self.num_channels, 3)?;
        expect(&of("hidden_act"), self.hidden_act.as_str(), "relu")?;
        expect(&of("stem_strides"), self.stem_strides.as_slice(), &[2, 1, 1, 2, 1])?;
        expect(&of("stage_downsample"), self.stage_downsample, [false, true, true, true])?;
        expect(&of("stage_downsample_strides"), self.stage_downsample_strides.as_slice(), &[2; STAGES])?;
        let [colours, middle, outputs] = self.stem_channels;
        expect(&of("stem_channels"), colours, 3)?;
        let before =
            [outputs, self.stage_out_channels[0], self.stage_out_channels[1], self.stage_out_channels[2]];
        expect(&of("stage_in_channels"), self.stage_in_channels, before)?;
        let stage = |index: usize| HgStageConfig {
            middle: self.stage_mid_channels[index],
            outputs: self.stage_out_channels[index],
            blocks: self.stage_num_blocks[index],
            layers: self.stage_numb_of_layers[index],
            kernel: self.stage_kernel_size[index],
            light: self.stage_light_block[index],
        };
        Ok(HgNetConfig {
            stem: [middle, outputs],
            stages: [0, 1, 2, 3].map(stage),
            affine: self.use_learnable_affine_block,
        })
    }
}
