//! Checkpoints of the original authors: their names, and all dimensions read off the shapes.

use samovar_weights::{NameMap, Renamed, Rule, WeightSource};

use super::mobile_sam::{IMAGE_SIZE, MobileSamConfig};
use super::sam1::SamConfig;
use super::{sam_mask_decoder, sam_prompt_encoder};
use crate::blocks::mask_decoder::MaskDecoderConfig;
use crate::blocks::prompt_encoder::PromptEncoderConfig;
use crate::blocks::tiny_vit::{Stage, TinyVitConfig};
use crate::blocks::vit::VitConfig;
use crate::{Error, Result};

const fn rule(from: &'static str, to: &'static str) -> Rule {
    Rule::new(from, to)
}

const ENCODER: &[Rule] = &[
    rule("^image_encoder", "vision_encoder"),
    rule("^vision_encoder.neck.0", "vision_encoder.neck.conv1"),
    rule("^vision_encoder.neck.1", "vision_encoder.neck.layer_norm1"),
    rule("^vision_encoder.neck.2", "vision_encoder.neck.conv2"),
    rule("^vision_encoder.neck.3", "vision_encoder.neck.layer_norm2"),
];

const VIT: &[Rule] = &[
    rule("^vision_encoder.patch_embed.proj", "vision_encoder.patch_embed.projection"),
    rule("^vision_encoder.blocks", "vision_encoder.layers"),
    rule("^vision_encoder.layers.*.norm1", "vision_encoder.layers.*.layer_norm1"),
    rule("^vision_encoder.layers.*.norm2", "vision_encoder.layers.*.layer_norm2"),
];

const DECODER: &[Rule] = &[
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

/// Original names of SAM to those of transformers.
const SAM: NameMap = NameMap { tables: &[ENCODER, VIT, DECODER] };
/// Original names of MobileSAM; TinyViT's own names stay, there are no others.
const MOBILE_SAM: NameMap = NameMap { tables: &[ENCODER, DECODER] };

/// A weight file under the names the blocks use.
pub(crate) enum Named<'a> {
    /// It has them.
    Already(&'a dyn WeightSource),
    /// It has the original authors'.
    Original(Renamed<'a>),
}

impl<'a> Named<'a> {
    pub(crate) fn new(source: &'a dyn WeightSource) -> Result<Self> {
        if source.is_open() {
            return Ok(Named::Already(source));
        }
        let map = if source.contains("image_encoder.patch_embed.seq.0.c.weight") {
            MOBILE_SAM
        } else if source.contains("image_encoder.patch_embed.proj.weight") {
            SAM
        } else {
            return Ok(Named::Already(source));
        };
        Ok(Named::Original(Renamed::new(source, map)?))
    }

    pub(crate) fn source(&self) -> &dyn WeightSource {
        match self {
            Named::Already(source) => *source,
            Named::Original(renamed) => renamed,
        }
    }

    /// What the file itself calls a tensor of the blocks.
    pub(crate) fn name_in_file(&self, name: String) -> String {
        match self {
            Named::Already(_) => name,
            Named::Original(renamed) => renamed.source_name(&name).to_owned(),
        }
    }

    /// Epsilon of the norms in the two-way transformer. The two upstreams disagree: the original code has PyTorch's
    /// default, transformers its configuration's.
    fn two_way_epsilon(&self) -> f32 {
        match self {
            Named::Already(_) => 1e-6,
            Named::Original(_) => 1e-5,
        }
    }
}

/// Side of the input square of all published models, for files whose tensors do not tell.
const DEFAULT_IMAGE_SIZE: usize = IMAGE_SIZE;

/// Shapes of a weight file.
struct Shapes<'a>(&'a dyn WeightSource);

impl Shapes<'_> {
    fn dims<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
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

    fn rows(&self, name: &str) -> Result<usize> {
        Ok(self.dims::<2>(name)?[0])
    }

    /// How many of `prefix.0.suffix`, `prefix.1.suffix`, … there are.
    fn count(&self, prefix: &str, suffix: &str) -> usize {
        (0..).take_while(|i| self.0.contains(&format!("{prefix}.{i}.{suffix}"))).count()
    }
}

/// Whether the file holds a SAM with a ViT, under names of the blocks.
pub(crate) fn is_sam(source: &dyn WeightSource) -> bool {
    source.contains("vision_encoder.patch_embed.projection.weight")
        && source.contains("vision_encoder.layers.0.layer_norm1.weight")
}

/// Whether the file holds a MobileSAM, under names of the blocks.
pub(crate) fn is_mobile_sam(source: &dyn WeightSource) -> bool {
    source.contains("vision_encoder.patch_embed.seq.0.c.weight")
}

/// All numbers of a SAM, from the shapes of its tensors.
pub(crate) fn infer_sam(named: &Named) -> Result<SamConfig> {
    let shapes = Shapes(named.source());
    let [channels, _, patch_size, _] = shapes.dims("vision_encoder.patch_embed.projection.weight")?;
    let absolute_positions = shapes.0.contains("vision_encoder.pos_embed");
    let image_size = if absolute_positions {
        shapes.dims::<4>("vision_encoder.pos_embed")?[1].saturating_mul(patch_size)
    } else {
        DEFAULT_IMAGE_SIZE
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
    let config = SamConfig { vit, prompt, decoder: infer_mask_decoder(&shapes, named.two_way_epsilon())? };
    config.check()?;
    Ok(config)
}

/// All numbers of a MobileSAM, from the shapes of its tensors; but the input square is that of the published model.
pub(crate) fn infer_mobile_sam(named: &Named) -> Result<MobileSamConfig> {
    let shapes = Shapes(named.source());
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
    let decoder = infer_mask_decoder(&shapes, named.two_way_epsilon())?;
    let config = MobileSamConfig { tiny_vit, prompt, decoder };
    config.check()?;
    Ok(config)
}

fn infer_prompt_encoder(shapes: &Shapes, image_size: usize, grid: usize) -> Result<PromptEncoderConfig> {
    let channels = shapes.dims::<2>("prompt_encoder.not_a_point_embed.weight")?[1];
    let first = shapes.dims::<4>("prompt_encoder.mask_embed.conv1.weight")?[0];
    let second = shapes.dims::<4>("prompt_encoder.mask_embed.conv2.weight")?[0];
    Ok(PromptEncoderConfig {
        channels,
        mask_channels: [first, second],
        ..sam_prompt_encoder(image_size, grid)
    })
}

fn infer_mask_decoder(shapes: &Shapes, epsilon: f32) -> Result<MaskDecoderConfig> {
    let mut config = sam_mask_decoder();
    let [tokens, channels] = shapes.dims("mask_decoder.mask_tokens.weight")?;
    let transformer = "mask_decoder.transformer";
    config.transformer.channels = channels;
    config.transformer.depth = shapes.count(&format!("{transformer}.layers"), "layer_norm1.weight");
    config.transformer.cross_channels =
        shapes.rows(&format!("{transformer}.final_attn_token_to_image.q_proj.weight"))?;
    config.transformer.mlp_channels = shapes.rows(&format!("{transformer}.layers.0.mlp.lin1.weight"))?;
    // The number of heads stands in no tensor; it is the same in all published models.
    config.transformer.epsilon = epsilon;
    config.multimask_outputs = tokens.saturating_sub(1);
    config.upscale_channels = [
        shapes.dims::<4>("mask_decoder.upscale_conv1.weight")?[1],
        shapes.dims::<4>("mask_decoder.upscale_conv2.weight")?[1],
    ];
    config.iou_depth = 2 + shapes.count("mask_decoder.iou_prediction_head.layers", "weight");
    config.iou_hidden = shapes.rows("mask_decoder.iou_prediction_head.proj_in.weight")?;
    Ok(config)
}
