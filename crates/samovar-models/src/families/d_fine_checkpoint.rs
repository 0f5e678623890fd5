//! D-FINE's files: the names of the authors and of transformers, and dimensions read off shapes.

use samovar_weights::{NameMap, Rule, WeightSource};

use super::coco;
use super::d_fine::{self, DFineConfig, EPSILON, HEADS, IMAGE_SIZE, QUERIES, published_points};
use super::sam_checkpoint::{OriginalNames, Shapes, rule};
use crate::blocks::hgnet::{HgNetConfig, HgStageConfig, STAGES};
use crate::blocks::hybrid_encoder::HybridEncoderConfig;
use crate::error::{Error, Result};

const BACKBONE: &[Rule] = &[
    rule("^backbone.stem.stem1.conv", "backbone.stem.stem1.convolution"),
    rule("^backbone.stem.stem1.bn", "backbone.stem.stem1.normalization"),
    rule("^backbone.stem.stem2a.conv", "backbone.stem.stem2a.convolution"),
    rule("^backbone.stem.stem2a.bn", "backbone.stem.stem2a.normalization"),
    rule("^backbone.stem.stem2b.conv", "backbone.stem.stem2b.convolution"),
    rule("^backbone.stem.stem2b.bn", "backbone.stem.stem2b.normalization"),
    rule("^backbone.stem.stem3.conv", "backbone.stem.stem3.convolution"),
    rule("^backbone.stem.stem3.bn", "backbone.stem.stem3.normalization"),
    rule("^backbone.stem.stem4.conv", "backbone.stem.stem4.convolution"),
    rule("^backbone.stem.stem4.bn", "backbone.stem.stem4.normalization"),
    rule("^backbone.stages.*.downsample.conv", "backbone.stages.*.downsample.convolution"),
    rule("^backbone.stages.*.downsample.bn", "backbone.stages.*.downsample.normalization"),
    rule("^backbone.stages.*.blocks.*.layers.*.conv", "backbone.stages.*.blocks.*.layers.*.convolution"),
    rule("^backbone.stages.*.blocks.*.layers.*.bn", "backbone.stages.*.blocks.*.layers.*.normalization"),
    rule(
        "^backbone.stages.*.blocks.*.layers.*.conv1.conv",
        "backbone.stages.*.blocks.*.layers.*.conv1.convolution",
    ),
    rule(
        "^backbone.stages.*.blocks.*.layers.*.conv1.bn",
        "backbone.stages.*.blocks.*.layers.*.conv1.normalization",
    ),
    rule(
        "^backbone.stages.*.blocks.*.layers.*.conv2.conv",
        "backbone.stages.*.blocks.*.layers.*.conv2.convolution",
    ),
    rule(
        "^backbone.stages.*.blocks.*.layers.*.conv2.bn",
        "backbone.stages.*.blocks.*.layers.*.conv2.normalization",
    ),
    rule(
        "^backbone.stages.*.blocks.*.aggregation.*.conv",
        "backbone.stages.*.blocks.*.aggregation.*.convolution",
    ),
    rule(
        "^backbone.stages.*.blocks.*.aggregation.*.bn",
        "backbone.stages.*.blocks.*.aggregation.*.normalization",
    ),
    rule("^backbone.stem", "model.backbone.model.embedder"),
    rule("^backbone.stages", "model.backbone.model.encoder.stages"),
];

const ENCODER: &[Rule] = &[
    rule("^encoder.input_proj.*.conv", "model.encoder_input_proj.*.0"),
    rule("^encoder.input_proj.*.norm", "model.encoder_input_proj.*.1"),
    rule("^encoder.encoder.*.layers.*.linear1", "encoder.encoder.*.layers.*.fc1"),
    rule("^encoder.encoder.*.layers.*.linear2", "encoder.encoder.*.layers.*.fc2"),
    rule("^encoder.encoder.*.layers.*.norm1", "encoder.encoder.*.layers.*.self_attn_layer_norm"),
    rule("^encoder.encoder.*.layers.*.norm2", "encoder.encoder.*.layers.*.final_layer_norm"),
    rule("^encoder.fpn_blocks.*.cv1", "encoder.fpn_blocks.*.conv1"),
    rule("^encoder.fpn_blocks.*.cv2.0", "encoder.fpn_blocks.*.csp_rep1"),
    rule("^encoder.fpn_blocks.*.cv2.1", "encoder.fpn_blocks.*.conv2"),
    rule("^encoder.fpn_blocks.*.cv3.0", "encoder.fpn_blocks.*.csp_rep2"),
    rule("^encoder.fpn_blocks.*.cv3.1", "encoder.fpn_blocks.*.conv3"),
    rule("^encoder.fpn_blocks.*.cv4", "encoder.fpn_blocks.*.conv4"),
    rule("^encoder.pan_blocks.*.cv1", "encoder.pan_blocks.*.conv1"),
    rule("^encoder.pan_blocks.*.cv2.0", "encoder.pan_blocks.*.csp_rep1"),
    rule("^encoder.pan_blocks.*.cv2.1", "encoder.pan_blocks.*.conv2"),
    rule("^encoder.pan_blocks.*.cv3.0", "encoder.pan_blocks.*.csp_rep2"),
    rule("^encoder.pan_blocks.*.cv3.1", "encoder.pan_blocks.*.conv3"),
    rule("^encoder.pan_blocks.*.cv4", "encoder.pan_blocks.*.conv4"),
    rule("^encoder.downsample_convs.*.0.cv1", "encoder.downsample_convs.*.conv1"),
    rule("^encoder.downsample_convs.*.0.cv2", "encoder.downsample_convs.*.conv2"),
    rule("^encoder", "model.encoder"),
];

const DECODER: &[Rule] = &[
    rule("^decoder.input_proj.*.conv", "model.decoder_input_proj.*.0"),
    rule("^decoder.input_proj.*.norm", "model.decoder_input_proj.*.1"),
    rule("^decoder.enc_output.proj", "model.enc_output.0"),
    rule("^decoder.enc_output.norm", "model.enc_output.1"),
    rule("^decoder.enc_score_head", "model.enc_score_head"),
    rule("^decoder.enc_bbox_head", "model.enc_bbox_head"),
    rule("^decoder.denoising_class_embed", "model.denoising_class_embed"),
    rule("^decoder.anchors$", "model.anchors"),
    rule("^decoder.valid_mask$", "model.valid_mask"),
    // The same parameters, of the inner module.
    rule("^decoder.decoder.up$", "model.decoder.copies.up"),
    rule("^decoder.decoder.reg_scale$", "model.decoder.copies.reg_scale"),
    rule("^decoder.decoder.layers.*.norm1", "decoder.decoder.layers.*.self_attn_layer_norm"),
    rule("^decoder.decoder.layers.*.norm3", "decoder.decoder.layers.*.final_layer_norm"),
    rule("^decoder.decoder.layers.*.cross_attn", "decoder.decoder.layers.*.encoder_attn"),
    rule("^decoder.decoder.layers.*.linear1", "decoder.decoder.layers.*.fc1"),
    rule("^decoder.decoder.layers.*.linear2", "decoder.decoder.layers.*.fc2"),
    rule("^decoder.decoder", "model.decoder"),
    rule("^decoder.dec_score_head", "model.decoder.class_embed"),
    rule("^decoder.dec_bbox_head", "model.decoder.bbox_embed"),
    rule("^decoder", "model.decoder"),
];

/// What modules of transformers 5 call layers for which its files keep older names.
const MODULES: &[Rule] = &[
    rule("^model.encoder.aifi", "model.encoder.encoder"),
    rule("^model.encoder.encoder.*.layers.*.mlp.layers.0", "model.encoder.encoder.*.layers.*.fc1"),
    rule("^model.encoder.encoder.*.layers.*.mlp.layers.1", "model.encoder.encoder.*.layers.*.fc2"),
    rule(
        "^model.encoder.encoder.*.layers.*.self_attn.o_proj",
        "model.encoder.encoder.*.layers.*.self_attn.out_proj",
    ),
    rule("^model.decoder.layers.*.mlp.layers.0", "model.decoder.layers.*.fc1"),
    rule("^model.decoder.layers.*.mlp.layers.1", "model.decoder.layers.*.fc2"),
    rule("^model.decoder.layers.*.self_attn.o_proj", "model.decoder.layers.*.self_attn.out_proj"),
];

/// The authors' names to those of the blocks, which are those of transformers' files.
pub(crate) const ORIGINAL_NAMES: OriginalNames = OriginalNames {
    mark: "backbone.stem.stem1.conv.weight",
    map: NameMap { tables: &[BACKBONE, ENCODER, DECODER] },
};

/// Names of transformers' modules to those of its files.
pub(crate) const MODULE_NAMES: OriginalNames = OriginalNames {
    mark: "model.encoder.aifi.0.layers.0.self_attn_layer_norm.weight",
    map: NameMap { tables: &[MODULES] },
};

/// A tensor of every D-FINE, under names of the blocks.
pub(crate) const MARK: &str = "model.backbone.model.embedder.stem1.convolution.weight";

/// Whether the file holds a D-FINE, under names of the blocks.
pub(crate) fn holds(source: &dyn WeightSource) -> bool {
    source.contains(MARK) && source.contains("model.enc_score_head.weight")
}

/// All numbers of a D-FINE, from the shapes of its tensors and what all published models have: heads, places of attention and
/// queries stand in no tensor. Classes are those of COCO if there are as many.
pub(crate) fn infer(source: &dyn WeightSource) -> Result<DFineConfig> {
    let shapes = Shapes(source);
    let backbone = infer_backbone(&shapes)?;
    let levels = shapes.count("model.encoder_input_proj", "0.weight");
    let inputs = (0..levels)
        .map(|level| Ok(shapes.dims::<4>(&format!("model.encoder_input_proj.{level}.0.weight"))?[1]))
        .collect::<Result<_>>()?;
    let layers = "model.encoder.encoder.0.layers";
    let block = "model.encoder.fpn_blocks.0.csp_rep1";
    let [mlp_channels, channels] = shapes.dims(&format!("{layers}.0.fc1.weight"))?;
    let encoder = HybridEncoderConfig {
        inputs,
        channels,
        heads: HEADS,
        mlp_channels,
        layers: shapes.count(layers, "fc1.weight"),
        block_channels: shapes.dims::<4>(&format!("{block}.conv1.conv.weight"))?[0],
        block_depth: shapes.count(&format!("{block}.bottlenecks"), "conv1.conv.weight"),
        epsilon: EPSILON,
    };
    let [classes, decoder_channels] = shapes.dims("model.enc_score_head.weight")?;
    let layers = "model.decoder.layers";
    let depth = shapes.count(layers, "fc1.weight");
    let mlp_channels = shapes.rows(&format!("{layers}.0.fc1.weight"))?;
    let points = shapes.rows(&format!("{layers}.0.encoder_attn.attention_weights.weight"))?;
    let published = published_points(levels).filter(|each| each.iter().sum::<usize>() * HEADS == points);
    let Some(each) = published else {
        let what = format!("{}: {points} places of attention in {levels} levels", source.origin());
        let advice = "are none of a published D-FINE; load it from a folder with its config.json";
        return Err(Error::Config(format!("{what} {advice}")));
    };
    let mut decoder = d_fine::decoder([decoder_channels, mlp_channels, depth], each);
    let heads = match source.contains("model.decoder.bbox_embed.0.layers.2.weight") {
        true => "model.decoder.",
        false => "",
    };
    let edges = shapes.rows(&format!("{heads}bbox_embed.0.layers.2.weight"))?;
    decoder.bins = (edges / 4).saturating_sub(1);
    let [hidden, numbers] = shapes.dims("model.decoder.lqe_layers.0.reg_conf.layers.0.weight")?;
    (decoder.quality_hidden, decoder.quality_numbers) = (hidden, (numbers / 4).saturating_sub(1));
    let config = DFineConfig {
        image_size: IMAGE_SIZE,
        backbone,
        encoder,
        decoder,
        queries: QUERIES,
        classes: coco::class_names(classes).into(),
    };
    config.check()?;
    Ok(config)
}

fn infer_backbone(shapes: &Shapes) -> Result<HgNetConfig> {
    let front = "model.backbone.model";
    let stem = |name: &str| {
        Ok::<_, Error>(shapes.dims::<4>(&format!("{front}.embedder.{name}.convolution.weight"))?[0])
    };
    let stage = |index: usize| -> Result<HgStageConfig> {
        let blocks = format!("{front}.encoder.stages.{index}.blocks");
        let layers = format!("{blocks}.0.layers");
        let light = shapes.0.contains(&format!("{layers}.0.conv1.convolution.weight"));
        let last = if light { "conv2.convolution.weight" } else { "convolution.weight" };
        let [middle, _, kernel, _] = shapes.dims(&format!("{layers}.0.{last}"))?;
        Ok(HgStageConfig {
            middle,
            outputs: shapes.dims::<4>(&format!("{blocks}.0.aggregation.1.convolution.weight"))?[0],
            blocks: shapes.count(&blocks, "aggregation.0.convolution.weight"),
            layers: shapes.count(&layers, last),
            kernel,
            light,
        })
    };
    let stages: [HgStageConfig; STAGES] = [stage(0)?, stage(1)?, stage(2)?, stage(3)?];
    let affine = shapes.0.contains(&format!("{front}.embedder.stem1.lab.scale"));
    Ok(HgNetConfig { stem: [stem("stem1")?, stem("stem4")?], stages, affine })
}
