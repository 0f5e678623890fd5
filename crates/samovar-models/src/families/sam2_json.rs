//! SAM 2's `config.json` as transformers writes it, of `Sam2Model` and of `Sam2VideoModel`: keys with default values may be
//! left out. What the latter says about memories is read by `sam2_memory_json`. Models with another trunk have the same around it.

use samovar_geometry::Size;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::json_side::Side;
use super::sam2::{self, STRIDE, Sam2Config};
use super::sam2_memory::MemoryConfig;
use super::sam2_memory_json;
use crate::blocks::hiera::{HieraConfig, PATCH_SIDE, PATCH_STRIDE, STAGES};
use crate::blocks::mask_decoder::{MaskDecoderConfig, ObjectScoreConfig};
use crate::blocks::prompt_encoder::PromptEncoderConfig;
use crate::blocks::stage::Stage;
use crate::blocks::trunk::TrunkConfig;
use crate::blocks::vit_block::POOL;
use crate::error::{Error, Result};
use crate::interface::MaskChoice;
use crate::limits::MAX_CHANNELS;

/// What a trunk says about itself, as `backbone_config`.
pub(super) trait Backbone: DeserializeOwned + Default {
    /// `backbone_channel_list` where there is none.
    const CHANNELS: [usize; STAGES];

    /// The trunk, of a model whose prompts are on an input square of `image_size`. Not checked.
    fn trunk(&self, image_size: usize) -> Result<TrunkConfig>;
}

#[derive(Deserialize, Default)]
#[serde(default, bound = "B: Backbone")]
struct Json<B: Backbone> {
    vision_config: Vision<B>,
    prompt_encoder_config: Prompt,
    mask_decoder_config: Decoder,
}

#[derive(Deserialize)]
#[serde(default, bound = "B: Backbone")]
struct Vision<B: Backbone> {
    backbone_config: B,
    backbone_channel_list: [usize; STAGES],
    backbone_feature_sizes: [[usize; 2]; 3],
    fpn_hidden_size: usize,
    fpn_kernel_size: usize,
    fpn_stride: usize,
    fpn_padding: usize,
    fpn_top_down_levels: Vec<usize>,
    num_feature_levels: usize,
}

impl<B: Backbone> Default for Vision<B> {
    fn default() -> Self {
        Self {
            backbone_config: B::default(),
            backbone_channel_list: B::CHANNELS,
            backbone_feature_sizes: [[256; 2], [128; 2], [64; 2]],
            fpn_hidden_size: 256,
            fpn_kernel_size: 1,
            fpn_stride: 1,
            fpn_padding: 0,
            fpn_top_down_levels: vec![2, 3],
            num_feature_levels: 3,
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct HieraJson {
    hidden_size: usize,
    num_attention_heads: usize,
    num_channels: usize,
    image_size: Side,
    patch_kernel_size: Side,
    patch_stride: Side,
    patch_padding: Side,
    query_stride: Side,
    window_positional_embedding_background_size: [usize; 2],
    num_query_pool_stages: usize,
    blocks_per_stage: [usize; STAGES],
    embed_dim_per_stage: [usize; STAGES],
    num_attention_heads_per_stage: [usize; STAGES],
    window_size_per_stage: [usize; STAGES],
    global_attention_blocks: Vec<usize>,
    mlp_ratio: f64,
    hidden_act: String,
    layer_norm_eps: f32,
}

impl Default for HieraJson {
    fn default() -> Self {
        Self {
            hidden_size: 96,
            num_attention_heads: 1,
            num_channels: 3,
            image_size: Side::One(sam2::IMAGE_SIZE),
            patch_kernel_size: Side::One(PATCH_SIDE),
            patch_stride: Side::One(PATCH_STRIDE),
            patch_padding: Side::One(PATCH_SIDE / 2),
            query_stride: Side::One(POOL),
            window_positional_embedding_background_size: [7, 7],
            num_query_pool_stages: STAGES - 1,
            blocks_per_stage: [1, 2, 7, 2],
            embed_dim_per_stage: [96, 192, 384, 768],
            num_attention_heads_per_stage: [1, 2, 4, 8],
            window_size_per_stage: [8, 4, 14, 7],
            global_attention_blocks: vec![5, 7, 9],
            mlp_ratio: 4.0,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-6,
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Prompt {
    hidden_size: usize,
    image_size: Side,
    patch_size: Side,
    mask_input_channels: usize,
    num_point_embeddings: usize,
    hidden_act: String,
    layer_norm_eps: f32,
}

impl Default for Prompt {
    fn default() -> Self {
        Self {
            hidden_size: 256,
            image_size: Side::One(sam2::IMAGE_SIZE),
            patch_size: Side::One(STRIDE),
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
    dynamic_multimask_via_stability: bool,
    dynamic_multimask_stability_delta: f32,
    dynamic_multimask_stability_thresh: f32,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            hidden_size: 256,
            hidden_act: "gelu".into(),
            mlp_dim: 2048,
            num_hidden_layers: 2,
            num_attention_heads: 8,
            attention_downsample_rate: 2,
            num_multimask_outputs: 3,
            iou_head_depth: 3,
            iou_head_hidden_dim: 256,
            dynamic_multimask_via_stability: true,
            dynamic_multimask_stability_delta: 0.05,
            dynamic_multimask_stability_thresh: 0.98,
        }
    }
}

/// Refuses what no SAM 2 has.
pub(super) fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Config(format!("{what} is {found:?}, expected {expected:?}")))
}

/// All numbers of a SAM 2 from its `config.json`; those of its memory, too, if it is one `with_memory`.
pub(crate) fn parse(json: &str, with_memory: bool) -> Result<Sam2Config> {
    let published = MemoryConfig::published(true);
    let memory = with_memory.then(|| sam2_memory_json::parse(json, published)).transpose()?;
    parse_around::<HieraJson>(json, memory)
}

/// The same of a model with another trunk, whose memory has been read.
pub(super) fn parse_around<B: Backbone>(json: &str, memory: Option<MemoryConfig>) -> Result<Sam2Config> {
    let Json::<B> { vision_config: vision, prompt_encoder_config: prompt, mask_decoder_config: decoder } =
        serde_json::from_str(json).map_err(|error| Error::Config(format!("config.json: {error}")))?;
    let single_mask = match decoder.dynamic_multimask_via_stability {
        true => MaskChoice::SingleIfStable {
            offset: decoder.dynamic_multimask_stability_delta,
            threshold: decoder.dynamic_multimask_stability_thresh,
        },
        false => MaskChoice::Single,
    };
    let prompt = prompt.encoder()?;
    let config = Sam2Config {
        trunk: vision.backbone_config.trunk(prompt.input.width as usize)?,
        prompt,
        decoder: decoder.decoder()?,
        single_mask,
        memory,
    };
    vision.check_neck(&config)?;
    config.check()?;
    Ok(config)
}

impl Backbone for HieraJson {
    const CHANNELS: [usize; STAGES] = [768, 384, 192, 96];

    /// It has an input square of its own, which has to be the same.
    fn trunk(&self, _: usize) -> Result<TrunkConfig> {
        let trunk = self;
        let of = |key: &str| format!("backbone_config.{key}");
        expect(&of("hidden_act"), trunk.hidden_act.as_str(), "gelu")?;
        expect(&of("num_channels"), trunk.num_channels, 3)?;
        let patch = trunk.patch_kernel_size.square(&of("patch_kernel_size"))?;
        expect(&of("patch_kernel_size"), patch, PATCH_SIDE)?;
        expect(&of("patch_stride"), trunk.patch_stride.square(&of("patch_stride"))?, PATCH_STRIDE)?;
        expect(&of("patch_padding"), trunk.patch_padding.square(&of("patch_padding"))?, PATCH_SIDE / 2)?;
        expect(&of("query_stride"), trunk.query_stride.square(&of("query_stride"))?, POOL)?;
        expect(&of("num_query_pool_stages"), trunk.num_query_pool_stages, STAGES - 1)?;
        expect(&of("hidden_size"), trunk.hidden_size, trunk.embed_dim_per_stage[0])?;
        expect(
            &of("num_attention_heads"),
            trunk.num_attention_heads,
            trunk.num_attention_heads_per_stage[0],
        )?;
        let stage = |index: usize| -> Result<Stage> {
            let channels = trunk.embed_dim_per_stage[index];
            let hidden = channels as f64 * trunk.mlp_ratio;
            if !(hidden >= 1.0 && hidden <= MAX_CHANNELS as f64) {
                return Err(Error::Config(format!("mlp_ratio {} of {channels} channels", trunk.mlp_ratio)));
            }
            Ok(Stage {
                channels,
                depth: trunk.blocks_per_stage[index],
                hidden: hidden as usize,
                heads: trunk.num_attention_heads_per_stage[index],
                window: trunk.window_size_per_stage[index],
            })
        };
        Ok(TrunkConfig::Hiera(HieraConfig {
            image_size: trunk.image_size.square(&of("image_size"))?,
            stages: [stage(0)?, stage(1)?, stage(2)?, stage(3)?],
            global_blocks: trunk.global_attention_blocks.clone(),
            background: trunk.window_positional_embedding_background_size,
            epsilon: trunk.layer_norm_eps,
        }))
    }
}

impl<B: Backbone> Vision<B> {
    fn check_neck(&self, config: &Sam2Config) -> Result<()> {
        let of = |key: &str| format!("vision_config.{key}");
        expect(&of("fpn_kernel_size"), self.fpn_kernel_size, 1)?;
        expect(&of("fpn_stride"), self.fpn_stride, 1)?;
        expect(&of("fpn_padding"), self.fpn_padding, 0)?;
        expect(&of("fpn_top_down_levels"), self.fpn_top_down_levels.as_slice(), &[2, 3][..])?;
        expect(&of("num_feature_levels"), self.num_feature_levels, 3)?;
        expect(&of("fpn_hidden_size"), self.fpn_hidden_size, config.decoder.transformer.channels)?;
        let mut channels = config.trunk.channels();
        channels.reverse();
        expect(&of("backbone_channel_list"), self.backbone_channel_list, channels)?;
        let sizes = [0, 1, 2].map(|stage| [config.trunk.grid(stage); 2]);
        expect(&of("backbone_feature_sizes"), self.backbone_feature_sizes, sizes)
    }
}

impl Prompt {
    fn encoder(&self) -> Result<PromptEncoderConfig> {
        let of = |key: &str| format!("prompt_encoder_config.{key}");
        expect(&of("hidden_act"), self.hidden_act.as_str(), "gelu")?;
        expect(&of("num_point_embeddings"), self.num_point_embeddings, 4)?;
        expect(&of("patch_size"), self.patch_size.square(&of("patch_size"))?, STRIDE)?;
        let image_size = self.image_size.square(&of("image_size"))?;
        let mut encoder = sam2::prompt_encoder(image_size);
        encoder.input = Size::square(u32::try_from(image_size).unwrap_or(u32::MAX));
        encoder.channels = self.hidden_size;
        encoder.mask_channels = [self.mask_input_channels / 4, self.mask_input_channels];
        encoder.epsilon = self.layer_norm_eps;
        Ok(encoder)
    }
}

impl Decoder {
    fn decoder(&self) -> Result<MaskDecoderConfig> {
        expect("mask_decoder_config.hidden_act", self.hidden_act.as_str(), "gelu")?;
        let mut decoder = sam2::mask_decoder();
        let transformer = &mut decoder.transformer;
        transformer.channels = self.hidden_size;
        transformer.depth = self.num_hidden_layers;
        transformer.heads = self.num_attention_heads;
        transformer.cross_channels =
            self.hidden_size.checked_div(self.attention_downsample_rate).unwrap_or(0);
        transformer.mlp_channels = self.mlp_dim;
        decoder.multimask_outputs = self.num_multimask_outputs;
        decoder.upscale_channels = [self.hidden_size / 4, self.hidden_size / 8];
        decoder.iou_depth = self.iou_head_depth;
        decoder.iou_hidden = self.iou_head_hidden_dim;
        // transformers has three layers of the decoder's width, whatever its configuration says.
        decoder.object_score = Some(ObjectScoreConfig { depth: 3, hidden: self.hidden_size });
        Ok(decoder)
    }
}
