//! MobileSAM's checkpoint: its names, and all dimensions read off the shapes.

use samovar_weights::{NameMap, WeightSource};

use super::mobile_sam::{IMAGE_SIZE, MobileSamConfig};
use super::sam_checkpoint::{
    DECODER, ENCODER, HQ_DECODER, OriginalNames, Shapes, infer_mask_decoder, infer_prompt_encoder,
};
use super::sam_heads;
use crate::blocks::stage::Stage;
use crate::blocks::tiny_vit::TinyVitConfig;
use crate::error::Result;

/// Original names to those of the blocks; TinyViT's own names stay, there are no others.
pub(crate) const NAMES: OriginalNames = OriginalNames {
    mark: "image_encoder.patch_embed.seq.0.c.weight",
    map: NameMap { tables: &[ENCODER, DECODER, HQ_DECODER] },
};

/// A tensor that only MobileSAM has, under names of the blocks.
pub(crate) const MARK: &str = "vision_encoder.patch_embed.seq.0.c.weight";

/// Whether the file holds a MobileSAM, under names of the blocks.
pub(crate) fn holds(source: &dyn WeightSource) -> bool {
    source.contains(MARK)
}

/// All numbers of a MobileSAM, from the shapes of its tensors; but the input square is that of the published model.
pub(crate) fn infer(source: &dyn WeightSource, two_way_epsilon: f32) -> Result<MobileSamConfig> {
    let shapes = Shapes(source);
    // Behind every stage but the last there is a merge.
    let stages = 1 + shapes.count("vision_encoder.layers", "downsample.conv3.c.weight");
    let mut channels = shapes.dims::<4>("vision_encoder.patch_embed.seq.2.c.weight")?[0];
    let mut list = Vec::with_capacity(stages);
    for stage in 0..stages {
        let prefix = format!("vision_encoder.layers.{stage}");
        if stage > 0 {
            channels = shapes
                .dims::<4>(&format!("vision_encoder.layers.{}.downsample.conv3.c.weight", stage - 1))?[0];
        }
        list.push(if stage == 0 {
            let depth = shapes.count(&format!("{prefix}.blocks"), "conv1.c.weight");
            let hidden = shapes.dims::<4>(&format!("{prefix}.blocks.0.conv1.c.weight"))?[0];
            Stage { channels, depth, hidden, heads: 1, window: 1 }
        } else {
            let depth = shapes.count(&format!("{prefix}.blocks"), "attn.qkv.weight");
            let hidden = shapes.rows(&format!("{prefix}.blocks.0.mlp.fc1.weight"))?;
            let [heads, distances] = shapes.dims(&format!("{prefix}.blocks.0.attn.attention_biases"))?;
            Stage { channels, depth, hidden, heads, window: distances.isqrt() }
        });
    }
    let tiny_vit = TinyVitConfig {
        image_size: IMAGE_SIZE,
        stages: list,
        output_channels: shapes.dims::<4>("vision_encoder.neck.conv1.weight")?[0],
        epsilon: 1e-5,
    };
    let prompt = infer_prompt_encoder(&shapes, IMAGE_SIZE, tiny_vit.grid())?;
    let decoder = infer_mask_decoder(&shapes, sam_heads::mask_decoder_with(two_way_epsilon))?;
    let config = MobileSamConfig { tiny_vit, prompt, decoder };
    config.check()?;
    Ok(config)
}
