//! SAM's original checkpoints: their names, and all dimensions read off the shapes.

use samovar_weights::{NameMap, Rule, WeightSource};

use super::sam_checkpoint::{
    DECODER, ENCODER, HQ_DECODER, OriginalNames, Shapes, infer_mask_decoder, infer_prompt_encoder, rule,
};
use super::sam_heads;
use super::sam1::SamConfig;
use crate::blocks::vit::VitConfig;
use crate::error::{Error, Result};

const VIT: &[Rule] = &[
    rule("^vision_encoder.patch_embed.proj", "vision_encoder.patch_embed.projection"),
    rule("^vision_encoder.blocks", "vision_encoder.layers"),
    rule("^vision_encoder.layers.*.norm1", "vision_encoder.layers.*.layer_norm1"),
    rule("^vision_encoder.layers.*.norm2", "vision_encoder.layers.*.layer_norm2"),
];

/// Original names to those of transformers.
pub(crate) const NAMES: OriginalNames = OriginalNames {
    mark: "image_encoder.patch_embed.proj.weight",
    map: NameMap { tables: &[ENCODER, VIT, DECODER, HQ_DECODER] },
};

/// Side of the input square of all published models, for files whose tensors do not tell.
const IMAGE_SIZE: usize = 1024;

/// A tensor of every SAM with a ViT, under names of the blocks.
pub(crate) const MARK: &str = "vision_encoder.patch_embed.projection.weight";

/// Whether the file holds a SAM with a ViT, under names of the blocks.
pub(crate) fn holds(source: &dyn WeightSource) -> bool {
    source.contains(MARK) && source.contains("vision_encoder.layers.0.layer_norm1.weight")
}

/// All numbers of a SAM, from the shapes of its tensors.
pub(crate) fn infer(source: &dyn WeightSource, two_way_epsilon: f32) -> Result<SamConfig> {
    let shapes = Shapes(source);
    let [channels, _, patch_size, _] = shapes.dims("vision_encoder.patch_embed.projection.weight")?;
    let absolute_positions = shapes.0.contains("vision_encoder.pos_embed");
    let image_size = if absolute_positions {
        shapes.dims::<4>("vision_encoder.pos_embed")?[1].saturating_mul(patch_size)
    } else {
        IMAGE_SIZE
    };
    let depth = shapes.count("vision_encoder.layers", "layer_norm1.weight");
    // Tables of global blocks are as long as the grid asks for; the others tell the window.
    let grid = image_size.checked_div(patch_size).unwrap_or(0);
    let mut window = 0;
    let mut global_blocks = Vec::new();
    let mut head_channels = 0;
    for block in 0..depth {
        let [length, columns] = shapes.dims(&format!("vision_encoder.layers.{block}.attn.rel_pos_h"))?;
        head_channels = columns;
        let side = length / 2 + 1;
        if side == grid {
            global_blocks.push(block);
        } else if window == 0 || window == side {
            window = side;
        } else {
            return Err(Error::Config(format!("block {block} has windows of {side}, others of {window}")));
        }
    }
    let vit = VitConfig {
        image_size,
        patch_size,
        channels,
        depth,
        heads: channels.checked_div(head_channels).unwrap_or(0),
        mlp_channels: shapes.rows("vision_encoder.layers.0.mlp.lin1.weight")?,
        window,
        global_blocks,
        output_channels: shapes.dims::<4>("vision_encoder.neck.conv1.weight")?[0],
        epsilon: 1e-6,
        qkv_bias: shapes.0.contains("vision_encoder.layers.0.attn.qkv.bias"),
        absolute_positions,
        relative_positions: true,
    };
    let prompt = infer_prompt_encoder(&shapes, image_size, grid)?;
    let decoder = infer_mask_decoder(&shapes, sam_heads::mask_decoder_with(two_way_epsilon))?;
    let config = SamConfig { vit, prompt, decoder };
    config.check()?;
    Ok(config)
}
