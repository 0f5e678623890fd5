//! Checkpoints of the original authors of SAM and its relatives: the names they share, and dimensions read off shapes.

use samovar_weights::{NameMap, Rule, WeightSource};

use super::sam_heads;
use crate::blocks::mask_decoder::MaskDecoderConfig;
use crate::blocks::prompt_encoder::PromptEncoderConfig;
use crate::error::{Error, Result};

/// How the authors of a file name the tensors of a family, where the blocks have other names.
#[derive(Clone, Copy)]
pub(crate) struct OriginalNames {
    /// A tensor that only they have.
    pub(crate) mark: &'static str,
    /// From their names to those of the blocks.
    pub(crate) map: NameMap,
}

pub(crate) const fn rule(from: &'static str, to: &'static str) -> Rule {
    Rule::new(from, to)
}

pub(crate) const ENCODER: &[Rule] = &[
    rule("^image_encoder", "vision_encoder"),
    rule("^vision_encoder.neck.0", "vision_encoder.neck.conv1"),
    rule("^vision_encoder.neck.1", "vision_encoder.neck.layer_norm1"),
    rule("^vision_encoder.neck.2", "vision_encoder.neck.conv2"),
    rule("^vision_encoder.neck.3", "vision_encoder.neck.layer_norm2"),
];

pub(crate) const DECODER: &[Rule] = &[
    rule(
        "^prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        "shared_image_embedding.positional_embedding",
    ),
    rule("^prompt_encoder.point_embeddings", "prompt_encoder.point_embed"),
    rule("^prompt_encoder.mask_downscaling.0", "prompt_encoder.mask_embed.conv1"),
    rule("^prompt_encoder.mask_downscaling.1", "prompt_encoder.mask_embed.layer_norm1"),
    rule("^prompt_encoder.mask_downscaling.3", "prompt_encoder.mask_embed.conv2"),
    rule("^prompt_encoder.mask_downscaling.4", "prompt_encoder.mask_embed.layer_norm2"),
    rule("^prompt_encoder.mask_downscaling.6", "prompt_encoder.mask_embed.conv3"),
    rule("^mask_decoder.transformer.norm_final_attn", "mask_decoder.transformer.layer_norm_final_attn"),
    rule("^mask_decoder.transformer.layers.*.norm1", "mask_decoder.transformer.layers.*.layer_norm1"),
    rule("^mask_decoder.transformer.layers.*.norm2", "mask_decoder.transformer.layers.*.layer_norm2"),
    rule("^mask_decoder.transformer.layers.*.norm3", "mask_decoder.transformer.layers.*.layer_norm3"),
    rule("^mask_decoder.transformer.layers.*.norm4", "mask_decoder.transformer.layers.*.layer_norm4"),
    rule("^mask_decoder.output_upscaling.0", "mask_decoder.upscale_conv1"),
    rule("^mask_decoder.output_upscaling.1", "mask_decoder.upscale_layer_norm"),
    rule("^mask_decoder.output_upscaling.3", "mask_decoder.upscale_conv2"),
    // Heads of three layers; the middle one comes last, or its new name would be renamed again.
    rule("^mask_decoder.iou_prediction_head.layers.0", "mask_decoder.iou_prediction_head.proj_in"),
    rule("^mask_decoder.iou_prediction_head.layers.2", "mask_decoder.iou_prediction_head.proj_out"),
    rule("^mask_decoder.iou_prediction_head.layers.1", "mask_decoder.iou_prediction_head.layers.0"),
    rule(
        "^mask_decoder.output_hypernetworks_mlps.*.layers.0",
        "mask_decoder.output_hypernetworks_mlps.*.proj_in",
    ),
    rule(
        "^mask_decoder.output_hypernetworks_mlps.*.layers.2",
        "mask_decoder.output_hypernetworks_mlps.*.proj_out",
    ),
    rule(
        "^mask_decoder.output_hypernetworks_mlps.*.layers.1",
        "mask_decoder.output_hypernetworks_mlps.*.layers.0",
    ),
];

/// A tensor that only SAM-HQ has, under names of the blocks.
const HQ_TOKEN: &str = "mask_decoder.hq_token.weight";

/// What SAM-HQ adds to the decoder.
pub(crate) const HQ_DECODER: &[Rule] = &[
    rule("^mask_decoder.hf_token", "mask_decoder.hq_token"),
    rule("^mask_decoder.hf_mlp.layers.0", "mask_decoder.hq_mask_mlp.proj_in"),
    rule("^mask_decoder.hf_mlp.layers.2", "mask_decoder.hq_mask_mlp.proj_out"),
    rule("^mask_decoder.hf_mlp.layers.1", "mask_decoder.hq_mask_mlp.layers.0"),
    rule("^mask_decoder.compress_vit_feat.0", "mask_decoder.compress_vit_conv1"),
    rule("^mask_decoder.compress_vit_feat.1", "mask_decoder.compress_vit_norm"),
    rule("^mask_decoder.compress_vit_feat.3", "mask_decoder.compress_vit_conv2"),
    rule("^mask_decoder.embedding_encoder.0", "mask_decoder.encoder_conv1"),
    rule("^mask_decoder.embedding_encoder.1", "mask_decoder.encoder_norm"),
    rule("^mask_decoder.embedding_encoder.3", "mask_decoder.encoder_conv2"),
    rule("^mask_decoder.embedding_maskfeature.0", "mask_decoder.mask_conv1"),
    rule("^mask_decoder.embedding_maskfeature.1", "mask_decoder.mask_norm"),
    rule("^mask_decoder.embedding_maskfeature.3", "mask_decoder.mask_conv2"),
];

/// Epsilon of the norms in the two-way transformer. The two upstreams disagree: the original code has PyTorch's default,
/// transformers its configuration's.
pub(crate) const fn two_way_epsilon(has_original_names: bool) -> f32 {
    if has_original_names { 1e-5 } else { 1e-6 }
}

/// Shapes of a weight file.
pub(crate) struct Shapes<'a>(pub(crate) &'a dyn WeightSource);

impl Shapes<'_> {
    pub(crate) fn dims<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let shape = self.0.shape(name).ok_or_else(|| {
            Error::Config(format!("{}: no tensor `{name}`, from which dimensions are read", self.0.origin()))
        })?;
        let found = shape.dims().try_into();
        found.map_err(|_| {
            let what =
                format!("{}: tensor `{name}` has shape {shape}, expected {N} dimensions", self.0.origin());
            Error::Config(what)
        })
    }

    pub(crate) fn rows(&self, name: &str) -> Result<usize> {
        Ok(self.dims::<2>(name)?[0])
    }

    /// How many of `prefix.0.suffix`, `prefix.1.suffix`, … there are.
    pub(crate) fn count(&self, prefix: &str, suffix: &str) -> usize {
        (0..).take_while(|i| self.0.contains(&format!("{prefix}.{i}.{suffix}"))).count()
    }
}

pub(crate) fn infer_prompt_encoder(
    shapes: &Shapes,
    image_size: usize,
    grid: usize,
) -> Result<PromptEncoderConfig> {
    let channels = shapes.dims::<2>("prompt_encoder.not_a_point_embed.weight")?[1];
    let first = shapes.dims::<4>("prompt_encoder.mask_embed.conv1.weight")?[0];
    let second = shapes.dims::<4>("prompt_encoder.mask_embed.conv2.weight")?[0];
    Ok(PromptEncoderConfig {
        channels,
        mask_channels: [first, second],
        ..sam_heads::prompt_encoder(image_size, grid)
    })
}

/// `config` is that of the published models, whose other numbers stand in no tensor.
pub(crate) fn infer_mask_decoder(
    shapes: &Shapes,
    mut config: MaskDecoderConfig,
) -> Result<MaskDecoderConfig> {
    let [tokens, channels] = shapes.dims("mask_decoder.mask_tokens.weight")?;
    let transformer = "mask_decoder.transformer";
    config.transformer.channels = channels;
    config.transformer.depth = shapes.count(&format!("{transformer}.layers"), "layer_norm1.weight");
    config.transformer.cross_channels =
        shapes.rows(&format!("{transformer}.final_attn_token_to_image.q_proj.weight"))?;
    config.transformer.mlp_channels = shapes.rows(&format!("{transformer}.layers.0.mlp.lin1.weight"))?;
    // The number of heads stands in no tensor; it is the same in all published models.
    config.multimask_outputs = tokens.saturating_sub(1);
    config.upscale_channels = [
        shapes.dims::<4>("mask_decoder.upscale_conv1.weight")?[1],
        shapes.dims::<4>("mask_decoder.upscale_conv2.weight")?[1],
    ];
    config.iou_depth = 2 + shapes.count("mask_decoder.iou_prediction_head.layers", "weight");
    config.iou_hidden = shapes.rows("mask_decoder.iou_prediction_head.proj_in.weight")?;
    if shapes.0.contains(HQ_TOKEN) {
        config.hq_early_channels = Some(shapes.dims::<4>("mask_decoder.compress_vit_conv1.weight")?[0]);
    }
    Ok(config)
}
