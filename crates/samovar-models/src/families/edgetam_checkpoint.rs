//! EdgeTAM's checkpoints: the names of its authors and of transformers, and all dimensions read off the shapes.

use samovar_weights::{NameMap, Rule, WeightSource};

use super::sam_checkpoint::{DECODER, OriginalNames, Shapes, rule};
use super::sam2::{IMAGE_SIZE, Sam2Config};
use super::sam2_checkpoint::{self, infer_around};
use crate::blocks::hiera::STAGES;
use crate::blocks::repvit::{RepVitConfig, RepVitStage};
use crate::blocks::trunk::TrunkConfig;
use crate::error::Result;

/// A tensor of every EdgeTAM, under names of the blocks.
pub(crate) const MARK: &str = "vision_encoder.backbone.stem.conv1.c.weight";

/// What the authors call the parts that SAM 2 does not have. Its names of the trunk are timm's, which the blocks have too.
const ORIGINAL: &[Rule] = &[
    rule("^image_encoder.trunk.body", "vision_encoder.backbone"),
    rule("^spatial_perceiver.latents$", "spatial_perceiver.latents_1d"),
    rule("^spatial_perceiver.norm", "spatial_perceiver.layer_norm"),
    rule("^spatial_perceiver.layers.*.attn.norm_x", "spatial_perceiver.layers.*.layer_norm_input"),
    rule("^spatial_perceiver.layers.*.attn.norm_latents", "spatial_perceiver.layers.*.layer_norm_latents"),
    rule("^spatial_perceiver.layers.*.self_attn.norm", "spatial_perceiver.layers.*.layer_norm_self"),
    rule("^spatial_perceiver.layers.*.attn", "spatial_perceiver.layers.*.cross_attention"),
    rule("^spatial_perceiver.layers.*.self_attn", "spatial_perceiver.layers.*.self_attention"),
    rule(
        "^spatial_perceiver.layers.*.cross_attention.to_q",
        "spatial_perceiver.layers.*.cross_attention.q_proj",
    ),
    rule(
        "^spatial_perceiver.layers.*.cross_attention.to_kv",
        "spatial_perceiver.layers.*.cross_attention.kv_proj",
    ),
    rule(
        "^spatial_perceiver.layers.*.cross_attention.to_out",
        "spatial_perceiver.layers.*.cross_attention.o_proj",
    ),
    rule(
        "^spatial_perceiver.layers.*.self_attention.to_q",
        "spatial_perceiver.layers.*.self_attention.q_proj",
    ),
    rule(
        "^spatial_perceiver.layers.*.self_attention.to_kv",
        "spatial_perceiver.layers.*.self_attention.kv_proj",
    ),
    rule(
        "^spatial_perceiver.layers.*.self_attention.to_out",
        "spatial_perceiver.layers.*.self_attention.o_proj",
    ),
    rule("^spatial_perceiver.layers.*.ff.0", "spatial_perceiver.layers.*.mlp.layer_norm"),
    rule("^spatial_perceiver.layers.*.ff.1", "spatial_perceiver.layers.*.mlp.up_proj"),
    rule("^spatial_perceiver.layers.*.ff.3", "spatial_perceiver.layers.*.mlp.down_proj"),
    rule("^spatial_perceiver.layers.*.self_ff.0", "spatial_perceiver.layers.*.self_mlp.layer_norm"),
    rule("^spatial_perceiver.layers.*.self_ff.1", "spatial_perceiver.layers.*.self_mlp.up_proj"),
    rule("^spatial_perceiver.layers.*.self_ff.3", "spatial_perceiver.layers.*.self_mlp.down_proj"),
];

/// What transformers calls layers for which the blocks have other names, beside those of SAM 2.
const TRANSFORMERS: &[Rule] = &[
    rule("^vision_encoder.backbone.timm_model", "vision_encoder.backbone"),
    rule("^memory_attention.layers.*.mlp.up_proj", "memory_attention.layers.*.linear1"),
    rule("^memory_attention.layers.*.mlp.down_proj", "memory_attention.layers.*.linear2"),
];

/// Original names to those of the blocks.
pub(crate) const ORIGINAL_NAMES: OriginalNames = OriginalNames {
    mark: "image_encoder.trunk.body.stem.conv1.c.weight",
    map: NameMap {
        tables: &[ORIGINAL, sam2_checkpoint::ORIGINAL, sam2_checkpoint::ORIGINAL_MEMORY, DECODER],
    },
};

/// Names of transformers to those of the blocks.
pub(crate) const TRANSFORMERS_NAMES: OriginalNames = OriginalNames {
    mark: "vision_encoder.backbone.timm_model.stem.conv1.c.weight",
    map: NameMap { tables: &[TRANSFORMERS, sam2_checkpoint::TRANSFORMERS] },
};

/// Whether the file holds an EdgeTAM, under names of the blocks.
pub(crate) fn holds(source: &dyn WeightSource) -> bool {
    source.contains(MARK)
}

/// All numbers of an EdgeTAM, from the shapes of its tensors; but the input square is that of the published model.
pub(crate) fn infer(source: &dyn WeightSource) -> Result<Sam2Config> {
    let shapes = Shapes(source);
    let stage = |index: usize| -> Result<RepVitStage> {
        let blocks = format!("vision_encoder.backbone.stages_{index}.blocks");
        let rows =
            |name: &str| -> Result<usize> { Ok(shapes.dims::<4>(&format!("{blocks}.0.{name}.weight"))?[0]) };
        Ok(RepVitStage {
            channels: rows("token_mixer.conv.c")?,
            depth: shapes.count(&blocks, "token_mixer.conv.c.weight"),
            hidden: rows("channel_mixer.conv1.c")?,
            squeezed: rows("se.fc1")?,
        })
    };
    let stages: [RepVitStage; STAGES] = [stage(0)?, stage(1)?, stage(2)?, stage(3)?];
    infer_around(&shapes, TrunkConfig::RepVit(RepVitConfig { image_size: IMAGE_SIZE, stages }))
}
