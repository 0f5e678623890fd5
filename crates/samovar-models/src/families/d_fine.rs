//! D-FINE: HGNetV2, RT-DETR's hybrid encoder, and a decoder that refines boxes as distributions
//! (<https://github.com/Peterande/D-FINE>, <https://arxiv.org/abs/2410.13842>).

use std::sync::Arc;

use samovar_geometry::ResizeRule;
use samovar_tensor::{Activation, Conv2dGeometry, Device, SampledMap, Tensor};

use crate::blocks::conv_norm::{ConvNorm, ConvNormConfig};
use crate::blocks::hgnet::{self, HgNet, HgNetConfig, HgStageConfig};
use crate::blocks::hybrid_encoder::{HybridEncoder, HybridEncoderConfig};
use crate::blocks::loader::Loader;
use crate::blocks::query_selection::QuerySelection;
use crate::blocks::refining_decoder::{RefiningDecoder, RefiningDecoderConfig};
use crate::capabilities::Capabilities;
use crate::error::{Error, Result};
use crate::interface::{Capability, Detections, Detector, Preprocessing};
use crate::limits::{MAX_CHANNELS, MAX_GRID_SIDE, MAX_INPUT_SIDE, at_most};

/// What such a model can do.
pub(crate) const CAPABILITIES: &[Capability] = &[Capability::Detector];

/// All numbers of a D-FINE.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DFineConfig {
    pub(crate) image_size: usize,
    pub(crate) backbone: HgNetConfig,
    pub(crate) encoder: HybridEncoderConfig,
    pub(crate) decoder: RefiningDecoderConfig,
    pub(crate) queries: usize,
    /// Names of the classes, in the order of the logits.
    pub(crate) classes: Arc<[String]>,
}

/// What the published sizes differ in.
pub(crate) struct Published {
    stem: [usize; 2],
    /// Channels of layers, and of results, of each stage.
    middle: [usize; hgnet::STAGES],
    outputs: [usize; hgnet::STAGES],
    blocks: [usize; hgnet::STAGES],
    layers: usize,
    affine: bool,
    levels: usize,
    /// Channels of the encoder, of its attention's hidden layer, and within its blocks.
    encoder: [usize; 3],
    block_depth: usize,
    /// Channels of the decoder, of its hidden layers, and its depth.
    decoder: [usize; 3],
}

pub(crate) const NANO: Published =
    Published { levels: 2, encoder: [128, 512, 21], block_depth: 2, decoder: [128, 512, 3], ..SMALL };
pub(crate) const SMALL: Published = Published {
    stem: [16, 16],
    middle: [16, 32, 64, 128],
    outputs: [64, 256, 512, 1024],
    blocks: [1, 1, 2, 1],
    layers: 3,
    affine: true,
    levels: 3,
    encoder: [256, 1024, 64],
    block_depth: 1,
    decoder: [256, 1024, 3],
};
pub(crate) const MEDIUM: Published = Published {
    stem: [24, 32],
    middle: [32, 64, 128, 256],
    outputs: [96, 384, 768, 1536],
    blocks: [1, 1, 3, 1],
    layers: 4,
    encoder: [256, 1024, 128],
    block_depth: 2,
    decoder: [256, 1024, 4],
    ..SMALL
};
pub(crate) const LARGE: Published = Published {
    stem: [32, 48],
    middle: [48, 96, 192, 384],
    outputs: [128, 512, 1024, 2048],
    blocks: [1, 1, 3, 1],
    layers: 6,
    affine: false,
    encoder: [256, 1024, 128],
    block_depth: 3,
    decoder: [256, 1024, 6],
    ..SMALL
};
pub(crate) const EXTRA_LARGE: Published = Published {
    stem: [32, 64],
    middle: [64, 128, 256, 512],
    blocks: [1, 2, 5, 2],
    encoder: [384, 2048, 192],
    ..LARGE
};

/// Input square of the published models.
pub(crate) const IMAGE_SIZE: usize = 640;
/// Queries of the published models.
pub(crate) const QUERIES: usize = 300;
/// Heads of all attention in the published models.
pub(crate) const HEADS: usize = 8;
/// Kernels of layers of the backbone, and whether they are light, by stage; the same in all published sizes.
pub(crate) const KERNELS: [(usize, bool); hgnet::STAGES] = [(3, false), (3, false), (5, true), (5, true)];
/// Epsilon of all layer norms of the published models.
pub(crate) const EPSILON: f32 = 1e-5;
/// Most queries, by far.
const MAX_QUERIES: usize = 16_384;

/// Places of a head in each map, as published, for so many levels.
pub(crate) fn published_points(levels: usize) -> Option<Vec<usize>> {
    match levels {
        2 => Some(vec![6, 6]),
        3 => Some(vec![3, 6, 3]),
        _ => None,
    }
}

/// The published decoder, for so many channels, hidden channels, and layers.
pub(crate) fn decoder(
    [channels, mlp_channels, depth]: [usize; 3],
    points: Vec<usize>,
) -> RefiningDecoderConfig {
    RefiningDecoderConfig {
        channels,
        heads: HEADS,
        mlp_channels,
        depth,
        points,
        offset_scale: 0.5,
        bins: 32,
        quality_numbers: 4,
        quality_hidden: 64,
        epsilon: EPSILON,
    }
}

impl DFineConfig {
    pub(crate) fn published(size: &Published, classes: Arc<[String]>) -> Self {
        let stage = |index: usize| HgStageConfig {
            middle: size.middle[index],
            outputs: size.outputs[index],
            blocks: size.blocks[index],
            layers: size.layers,
            kernel: KERNELS[index].0,
            light: KERNELS[index].1,
        };
        let [channels, mlp_channels, block_channels] = size.encoder;
        Self {
            image_size: IMAGE_SIZE,
            backbone: HgNetConfig { stem: size.stem, stages: [0, 1, 2, 3].map(stage), affine: size.affine },
            encoder: HybridEncoderConfig {
                inputs: size.outputs[hgnet::STAGES - size.levels..].to_vec(),
                channels,
                heads: HEADS,
                mlp_channels,
                layers: 1,
                block_channels,
                block_depth: size.block_depth,
                epsilon: EPSILON,
            },
            decoder: decoder(size.decoder, published_points(size.levels).unwrap_or_default()),
            queries: QUERIES,
            classes,
        }
    }

    /// The same model on another input square: nothing learned depends on its size.
    pub(crate) fn with_image_size(self, image_size: usize) -> Result<Self> {
        let config = Self { image_size, ..self };
        config.check()?;
        Ok(config)
    }

    pub(crate) fn check(&self) -> Result<()> {
        at_most("image size", self.image_size, MAX_INPUT_SIDE)?;
        self.backbone.check()?;
        self.encoder.check()?;
        self.decoder.check()?;
        let levels = self.encoder.inputs.len();
        if levels > hgnet::STAGES || self.decoder.points.len() != levels {
            let points = &self.decoder.points;
            let what = format!("{levels} levels of {} stages, {points:?} points", hgnet::STAGES);
            return Err(Error::Config(what));
        }
        let of_backbone = self.backbone.stages[hgnet::STAGES - levels..].iter().map(|stage| stage.outputs);
        if !of_backbone.clone().eq(self.encoder.inputs.iter().copied()) {
            let found = of_backbone.collect::<Vec<_>>();
            let what = format!("an encoder of {:?} channels behind stages of {found:?}", self.encoder.inputs);
            return Err(Error::Config(what));
        }
        let coarsest = self.stride(levels - 1);
        if self.image_size == 0 || !self.image_size.is_multiple_of(coarsest) {
            let what = format!("input size {} is not a multiple of {coarsest}", self.image_size);
            return Err(Error::Config(what));
        }
        at_most("cells along a side", self.image_size / self.stride(0), MAX_GRID_SIDE)?;
        at_most("classes", self.classes.len(), MAX_CHANNELS)?;
        at_most("queries", self.queries, MAX_QUERIES)?;
        let cells = self.maps().iter().map(|map| map.rows * map.columns).sum::<usize>();
        at_most("queries among all cells", self.queries, cells)
    }

    /// Pixels of a cell of a level.
    pub(crate) fn stride(&self, level: usize) -> usize {
        hgnet::FIRST_STRIDE << (self.first_stage() + level)
    }

    /// The stage of the backbone whose map is the finest that is read.
    fn first_stage(&self) -> usize {
        hgnet::STAGES - self.encoder.inputs.len()
    }

    fn maps(&self) -> Vec<SampledMap> {
        let map = |(level, &points): (usize, &usize)| {
            let side = self.image_size / self.stride(level);
            SampledMap { rows: side, columns: side, points }
        };
        self.decoder.points.iter().enumerate().map(map).collect()
    }

    /// Stretched onto the square, bytes over 255; without mean and deviation.
    pub(crate) fn preprocessing(&self) -> Preprocessing {
        let side = self.image_size as u32;
        let resize = ResizeRule::Exact { width: side, height: side };
        Preprocessing { resize, mean: [0.0; 3], std: [1.0; 3] }
    }
}

struct DFine {
    preprocessing: Preprocessing,
    classes: Arc<[String]>,
    backbone: HgNet,
    encoder: HybridEncoder,
    /// Where the decoder has other channels than the encoder.
    projections: Option<Vec<ConvNorm>>,
    selection: QuerySelection,
    decoder: RefiningDecoder,
    first_stage: usize,
}

pub(crate) fn load(
    loader: &Loader,
    config: &DFineConfig,
    preprocessing: Preprocessing,
) -> Result<Capabilities> {
    let model = loader.at("model");
    // Few products, whose errors decide which queries there are, and reach boxes and scores.
    let exact = model.exact();
    let (maps, classes) = (config.maps(), config.classes.len());
    let (channels, levels) = (config.decoder.channels, maps.len());
    let projection = |level: usize| {
        let layer = ConvNormConfig {
            names: ["0", "1"],
            inputs: config.encoder.channels,
            outputs: channels,
            geometry: Conv2dGeometry::patches(1),
            activation: Activation::Identity,
            affine: false,
        };
        ConvNorm::load(&exact, &format!("decoder_input_proj.{level}"), layer)
    };
    let projections = (config.encoder.channels != channels)
        .then(|| (0..levels).map(projection).collect::<Result<Vec<_>>>())
        .transpose()?;
    let grid = config.image_size / config.stride(levels - 1);
    let detector = DFine {
        preprocessing,
        classes: Arc::clone(&config.classes),
        backbone: HgNet::load(&model.at("backbone.model"), &config.backbone)?,
        encoder: HybridEncoder::load(&model, &config.encoder, grid)?,
        projections,
        selection: QuerySelection::load(
            &exact,
            &maps,
            channels,
            classes,
            config.queries,
            config.decoder.epsilon,
        )?,
        decoder: RefiningDecoder::load(
            &exact.at("decoder"),
            &heads(loader).exact(),
            &config.decoder,
            maps,
            classes,
        )?,
        first_stage: config.first_stage(),
    };
    Ok(Capabilities { detector: Some(Arc::new(detector)), ..Capabilities::default() })
}

/// Heads of the decoder's layers have two names in transformers, of which files keep one or both.
fn heads<'a>(loader: &Loader<'a>) -> Loader<'a> {
    let within = loader.at("model.decoder");
    if within.contains("class_embed.0.weight") { within } else { loader.clone() }
}

impl DFine {
    /// Cells of all maps, `[B, N, C]`, one map behind the other.
    fn cells(&self, device: &Device, pixels: &Tensor) -> Result<Tensor> {
        let maps = self.backbone.forward(&device.stage("backbone"), pixels, self.first_stage)?;
        let mut maps = self.encoder.forward(&device.stage("encoder"), maps)?;
        let device = &device.stage("decoder");
        if let Some(projections) = &self.projections {
            for (map, projection) in maps.iter_mut().zip(projections) {
                *map = projection.forward(device, map)?;
            }
        }
        for map in &mut maps {
            let [batch, height, width, channels] = map.shape().fixed("cells")?;
            *map = map.reshape([batch, height * width, channels])?;
        }
        Ok(device.concat(&maps.iter().collect::<Vec<_>>(), 1)?)
    }
}

impl Detector for DFine {
    fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn detect(&self, device: &Device, pixels: &Tensor) -> Result<Detections> {
        self.preprocessing.check_pixels(pixels)?;
        let cells = self.cells(device, pixels)?;
        let device = &device.stage("decoder");
        let queries = self.selection.forward(device, &cells)?;
        let refined = self.decoder.forward(device, queries, &cells)?;
        Ok(Detections { boxes: refined.boxes, class_logits: refined.class_logits })
    }
}
