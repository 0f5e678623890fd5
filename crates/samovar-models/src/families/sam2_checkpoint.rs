//! SAM 2's checkpoints: the names of its authors and of transformers, and dimensions read off the shapes.

use samovar_weights::{NameMap, Rule, WeightSource};

use super::sam_checkpoint::{DECODER, OriginalNames, Shapes, infer_mask_decoder, infer_prompt_encoder, rule};
use super::sam2::{self, BASE_PLUS, IMAGE_SIZE, LARGE, Published, SMALL, STRIDE, Sam2Config, TINY};
use super::sam2_memory::MemoryConfig;
use crate::blocks::hiera::STAGES;
use crate::blocks::mask_decoder::ObjectScoreConfig;
use crate::blocks::perceiver::PerceiverConfig;
use crate::blocks::trunk::TrunkConfig;
use crate::error::{Error, Result};

/// A tensor of every SAM 2, under names of the blocks and of transformers.
pub(crate) const MARK: &str = "vision_encoder.backbone.patch_embed.projection.weight";

/// What the authors call the parts, and what is not SAM's.
pub(super) const ORIGINAL: &[Rule] = &[
    rule("^image_encoder.trunk", "vision_encoder.backbone"),
    rule("^vision_encoder.backbone.patch_embed.proj", "vision_encoder.backbone.patch_embed.projection"),
    rule("^vision_encoder.backbone.blocks.*.norm1", "vision_encoder.backbone.blocks.*.layer_norm1"),
    rule("^vision_encoder.backbone.blocks.*.norm2", "vision_encoder.backbone.blocks.*.layer_norm2"),
    rule("^vision_encoder.backbone.blocks.*.mlp.layers.0", "vision_encoder.backbone.blocks.*.mlp.lin1"),
    rule("^vision_encoder.backbone.blocks.*.mlp.layers.1", "vision_encoder.backbone.blocks.*.mlp.lin2"),
    rule("^image_encoder.neck.convs.*.conv", "vision_encoder.neck.convs.*"),
    rule("^sam_prompt_encoder", "prompt_encoder"),
    rule("^sam_mask_decoder", "mask_decoder"),
    rule("^mask_decoder.transformer.layers.*.mlp.layers.0", "mask_decoder.transformer.layers.*.mlp.lin1"),
    rule("^mask_decoder.transformer.layers.*.mlp.layers.1", "mask_decoder.transformer.layers.*.mlp.lin2"),
    // A head of three layers; the middle one comes last, or its new name would be renamed again.
    rule("^mask_decoder.pred_obj_score_head.layers.0", "mask_decoder.pred_obj_score_head.proj_in"),
    rule("^mask_decoder.pred_obj_score_head.layers.2", "mask_decoder.pred_obj_score_head.proj_out"),
    rule("^mask_decoder.pred_obj_score_head.layers.1", "mask_decoder.pred_obj_score_head.layers.0"),
    // What images need of the memory, and the rest of what stands at the top; the head of pointers as that of scores.
    rule("^no_mem_embed$", "no_memory_embedding"),
    rule("^no_mem_pos_enc$", "no_memory_positional_encoding"),
    rule("^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    rule("^no_obj_ptr$", "no_object_pointer"),
    rule("^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    rule("^obj_ptr_proj", "object_pointer_proj"),
    rule("^object_pointer_proj.layers.0", "object_pointer_proj.proj_in"),
    rule("^object_pointer_proj.layers.2", "object_pointer_proj.proj_out"),
    rule("^object_pointer_proj.layers.1", "object_pointer_proj.layers.0"),
    rule("^obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
];

/// The same of memory attention and of the memory encoder, whose layers of masks stand in one list with norms and activations.
pub(super) const ORIGINAL_MEMORY: &[Rule] = &[
    rule("^memory_attention.layers.*.norm1", "memory_attention.layers.*.layer_norm1"),
    rule("^memory_attention.layers.*.norm2", "memory_attention.layers.*.layer_norm2"),
    rule("^memory_attention.layers.*.norm3", "memory_attention.layers.*.layer_norm3"),
    rule("^memory_attention.norm", "memory_attention.layer_norm"),
    rule("^memory_encoder.mask_downsampler.encoder.0", "memory_encoder.mask_downsampler.layers.0.conv"),
    rule("^memory_encoder.mask_downsampler.encoder.1", "memory_encoder.mask_downsampler.layers.0.layer_norm"),
    rule("^memory_encoder.mask_downsampler.encoder.3", "memory_encoder.mask_downsampler.layers.1.conv"),
    rule("^memory_encoder.mask_downsampler.encoder.4", "memory_encoder.mask_downsampler.layers.1.layer_norm"),
    rule("^memory_encoder.mask_downsampler.encoder.6", "memory_encoder.mask_downsampler.layers.2.conv"),
    rule("^memory_encoder.mask_downsampler.encoder.7", "memory_encoder.mask_downsampler.layers.2.layer_norm"),
    rule("^memory_encoder.mask_downsampler.encoder.9", "memory_encoder.mask_downsampler.layers.3.conv"),
    rule(
        "^memory_encoder.mask_downsampler.encoder.10",
        "memory_encoder.mask_downsampler.layers.3.layer_norm",
    ),
    rule("^memory_encoder.mask_downsampler.encoder.12", "memory_encoder.mask_downsampler.final_conv"),
    rule("^memory_encoder.pix_feat_proj", "memory_encoder.feature_projection"),
    rule("^memory_encoder.out_proj", "memory_encoder.projection"),
    rule("^memory_encoder.fuser", "memory_encoder.memory_fuser"),
    rule("^memory_encoder.memory_fuser.layers.*.gamma", "memory_encoder.memory_fuser.layers.*.scale"),
    rule(
        "^memory_encoder.memory_fuser.layers.*.dwconv",
        "memory_encoder.memory_fuser.layers.*.depthwise_conv",
    ),
    rule("^memory_encoder.memory_fuser.layers.*.norm", "memory_encoder.memory_fuser.layers.*.layer_norm"),
    rule(
        "^memory_encoder.memory_fuser.layers.*.pwconv1",
        "memory_encoder.memory_fuser.layers.*.pointwise_conv1",
    ),
    rule(
        "^memory_encoder.memory_fuser.layers.*.pwconv2",
        "memory_encoder.memory_fuser.layers.*.pointwise_conv2",
    ),
];

/// What transformers calls layers for which the blocks have SAM's names.
pub(super) const TRANSFORMERS: &[Rule] = &[
    rule("^vision_encoder.backbone.blocks.*.mlp.proj_in", "vision_encoder.backbone.blocks.*.mlp.lin1"),
    rule("^vision_encoder.backbone.blocks.*.mlp.proj_out", "vision_encoder.backbone.blocks.*.mlp.lin2"),
    rule("^mask_decoder.transformer.layers.*.mlp.proj_in", "mask_decoder.transformer.layers.*.mlp.lin1"),
    rule("^mask_decoder.transformer.layers.*.mlp.proj_out", "mask_decoder.transformer.layers.*.mlp.lin2"),
    rule(
        "^mask_decoder.transformer.layers.*.self_attn.o_proj",
        "mask_decoder.transformer.layers.*.self_attn.out_proj",
    ),
    rule(
        "^mask_decoder.transformer.layers.*.cross_attn_token_to_image.o_proj",
        "mask_decoder.transformer.layers.*.cross_attn_token_to_image.out_proj",
    ),
    rule(
        "^mask_decoder.transformer.layers.*.cross_attn_image_to_token.o_proj",
        "mask_decoder.transformer.layers.*.cross_attn_image_to_token.out_proj",
    ),
    rule(
        "^mask_decoder.transformer.final_attn_token_to_image.o_proj",
        "mask_decoder.transformer.final_attn_token_to_image.out_proj",
    ),
    rule("^memory_attention.layers.*.self_attn.o_proj", "memory_attention.layers.*.self_attn.out_proj"),
    rule(
        "^memory_attention.layers.*.cross_attn_image.o_proj",
        "memory_attention.layers.*.cross_attn_image.out_proj",
    ),
];

/// Original names to those of the blocks.
pub(crate) const ORIGINAL_NAMES: OriginalNames = OriginalNames {
    mark: "image_encoder.trunk.patch_embed.proj.weight",
    map: NameMap { tables: &[ORIGINAL, ORIGINAL_MEMORY, DECODER] },
};

/// Names of transformers to those of the blocks.
pub(crate) const TRANSFORMERS_NAMES: OriginalNames =
    OriginalNames { mark: MARK, map: NameMap { tables: &[TRANSFORMERS] } };

/// Whether the file holds a SAM 2, under names of the blocks.
pub(crate) fn holds(source: &dyn WeightSource) -> bool {
    source.contains(MARK)
}

/// All numbers of a SAM 2, from the shapes of its tensors and the sizes that are published: heads, windows and which blocks are
/// global stand in no tensor, and follow from how many blocks the stages have.
pub(crate) fn infer(source: &dyn WeightSource) -> Result<Sam2Config> {
    let shapes = Shapes(source);
    let trunk = "vision_encoder.backbone";
    let count = shapes.count(&format!("{trunk}.blocks"), "layer_norm1.weight");
    let mut depths = Vec::new();
    for block in 0..count {
        // The first block of every other stage has a shortcut.
        match depths.last_mut() {
            Some(depth) if !source.contains(&format!("{trunk}.blocks.{block}.proj.weight")) => *depth += 1,
            _ => depths.push(1usize),
        }
    }
    let known: [&Published; 4] = [&TINY, &SMALL, &BASE_PLUS, &LARGE];
    let Some(size) = known.into_iter().find(|size| depths == size.depths) else {
        let what = format!("{}: stages of {depths:?} blocks are none of a published SAM 2", source.origin());
        let advice = "windows and heads stand in no tensor; load it from a folder with its config.json";
        return Err(Error::Config(format!("{what}: {advice}")));
    };
    let mut config = sam2::hiera(size);
    let [_, _, rows, columns] = shapes.dims(&format!("{trunk}.pos_embed"))?;
    config.background = [rows, columns];
    config.stages[0].window = shapes.dims::<4>(&format!("{trunk}.pos_embed_window"))?[2];
    let mut first = 0;
    for stage in 0..STAGES {
        let block = format!("{trunk}.blocks.{first}");
        let [hidden, channels] = shapes.dims(&format!("{block}.mlp.lin1.weight"))?;
        (config.stages[stage].channels, config.stages[stage].hidden) = (channels, hidden);
        first += size.depths[stage];
    }
    infer_around(&shapes, TrunkConfig::Hiera(config))
}

/// What lies around a trunk.
pub(super) fn infer_around(shapes: &Shapes, trunk: TrunkConfig) -> Result<Sam2Config> {
    let mut config = Sam2Config::with_trunk(trunk, infer_memory(shapes)?);
    let found = infer_prompt_encoder(shapes, IMAGE_SIZE, IMAGE_SIZE / STRIDE)?;
    config.prompt.channels = found.channels;
    config.prompt.mask_channels = found.mask_channels;
    let found = infer_mask_decoder(shapes, sam2::mask_decoder())?;
    let head = "mask_decoder.pred_obj_score_head";
    let object_score = ObjectScoreConfig {
        depth: 2 + shapes.count(&format!("{head}.layers"), "weight"),
        hidden: shapes.rows(&format!("{head}.proj_in.weight"))?,
    };
    config.decoder = found;
    config.decoder.object_score = Some(object_score);
    config.check()?;
    Ok(config)
}

/// A tensor of every memory.
const MEMORY_MARK: &str = "memory_attention.layers.0.cross_attn_image.k_proj.weight";

/// The memory, if there is one. What stands in no tensor is as published.
fn infer_memory(shapes: &Shapes) -> Result<Option<MemoryConfig>> {
    if !shapes.0.contains(MEMORY_MARK) {
        return Ok(None);
    }
    let mut memory = MemoryConfig::published(true);
    let [channels, memory_channels] = shapes.dims(MEMORY_MARK)?;
    let layer = &mut memory.attention.layer;
    (layer.channels, layer.memory_channels) = (channels, memory_channels);
    layer.mlp_channels = shapes.rows("memory_attention.layers.0.linear1.weight")?;
    memory.attention.depth = shapes.count("memory_attention.layers", "linear1.weight");
    let fuser = "memory_encoder.memory_fuser.layers";
    let encoder = &mut memory.encoder;
    (encoder.channels, encoder.memory_channels) = (channels, memory_channels);
    encoder.fuser_depth = shapes.count(fuser, "scale");
    encoder.fuser_hidden = shapes.rows(&format!("{fuser}.0.pointwise_conv1.weight"))?;
    let times = shapes.dims::<4>("memory_temporal_positional_encoding")?[0];
    memory.recent = times.saturating_sub(1);
    memory.marks_hidden = shapes.0.contains("occlusion_spatial_embedding_parameter");
    memory.places_pointers = shapes.0.contains("temporal_positional_encoding_projection_layer.weight");
    memory.perceiver = infer_perceiver(shapes)?;
    Ok(Some(memory))
}

/// What compresses memories, if anything does.
fn infer_perceiver(shapes: &Shapes) -> Result<Option<PerceiverConfig>> {
    const LATENTS: &str = "spatial_perceiver.latents_1d";
    if !shapes.0.contains(LATENTS) {
        return Ok(None);
    }
    let [latents, channels] = shapes.dims(LATENTS)?;
    Ok(Some(PerceiverConfig {
        channels,
        latents,
        windows: shapes.rows("spatial_perceiver.latents_2d")?.isqrt(),
        depth: shapes.count("spatial_perceiver.layers", "mlp.up_proj.weight"),
        hidden: shapes.rows("spatial_perceiver.layers.0.mlp.up_proj.weight")?,
    }))
}
