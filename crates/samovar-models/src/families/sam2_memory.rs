//! SAM 2's memory: what makes a segmenter of pictures follow objects through video; EdgeTAM's, which compresses maps.
//! (`sam2/modeling/sam2_base.py` upstream, which is followed where transformers differs.)

use samovar_geometry::Point;
use samovar_tensor::{Activation, BinaryOp, Device, Epilogue, Linear, ResizeMode, Tensor};

use crate::blocks::loader::Loader;
use crate::blocks::memory_attention::{MemoryAttention, MemoryAttentionConfig, Remembered, SelfCrossConfig};
use crate::blocks::memory_encoder::{MemoryEncoder, MemoryEncoderConfig};
use crate::blocks::mlp::{Head, HeadConfig};
use crate::blocks::perceiver::{Perceiver, PerceiverConfig};
use crate::blocks::sine_positions;
use crate::error::{Error, Result};
use crate::interface::{ImageFeatures, MaskChoice, PromptBatch, PromptableSegmenter};
use crate::limits::at_most;
use crate::tracker::{
    GivenMask, HIDDEN_LOGIT, MemoryPlace, ObjectPast, TrackedImage, TrackedMask, Tracker, TrackingRule,
};

/// Layers of the head that makes pointers of tokens.
const POINTER_DEPTH: usize = 3;
/// Masks are remembered from `-CERTAIN` to `CERTAIN`, and the score of an object that somebody has drawn is one of them.
const CERTAIN: f32 = 10.0;
/// Pixels of the input for a cell of the grid, along a side.
const GRID_STRIDE: usize = 4;
/// By how much the published models take masks down.
const MASK_STRIDE: usize = 16;
/// Most frames or pointers that are remembered.
const MAX_MEMORIES: usize = 1024;
/// So steep that a sigmoid says only whether a logit is over 0, and far from overflowing with it.
const STEEP: f32 = 1e30;

/// All numbers of the memory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemoryConfig {
    pub(crate) attention: MemoryAttentionConfig,
    pub(crate) encoder: MemoryEncoderConfig,
    /// What maps are compressed to (EdgeTAM); all their cells are kept without.
    pub(crate) perceiver: Option<PerceiverConfig>,
    /// `num_maskmem`, less the one for frames with prompts.
    pub(crate) recent: usize,
    pub(crate) pointers: usize,
    pub(crate) conditioning_at_most: Option<usize>,
    /// Whether a vector is added to memories of frames on which the object is not there (2.1).
    pub(crate) marks_hidden: bool,
    /// Whether pointers say how far away they were made (2.1).
    pub(crate) places_pointers: bool,
    /// What a configuration says that no memory here has.
    pub(crate) refused: Option<String>,
}

/// What the memory has to fit.
pub(crate) struct Surroundings {
    /// Of the embedding.
    pub(crate) channels: usize,
    /// Rows and columns of the embedding.
    pub(crate) cells: [usize; 2],
    pub(crate) input_side: usize,
    pub(crate) single_mask: MaskChoice,
}

impl MemoryConfig {
    /// That of all published sizes of SAM 2.1; 2.0 lacks two things.
    pub(crate) fn published(is_2_1: bool) -> Self {
        let (channels, memory_channels) = (256, 64);
        let layer = SelfCrossConfig { channels, memory_channels, mlp_channels: 2048, epsilon: 1e-5 };
        Self {
            attention: MemoryAttentionConfig { layer, depth: 4, theta: 10_000.0 },
            encoder: MemoryEncoderConfig {
                channels,
                memory_channels,
                stride: MASK_STRIDE,
                fuser_depth: 2,
                fuser_hidden: 1024,
            },
            perceiver: None,
            recent: 6,
            pointers: 16,
            conditioning_at_most: None,
            marks_hidden: is_2_1,
            places_pointers: is_2_1,
            refused: None,
        }
    }

    /// Whether it fits the rest of the model.
    fn check(&self, model: &Surroundings) -> Result<()> {
        if let Some(refused) = &self.refused {
            return Err(Error::Config(format!("{refused}, so it cannot follow objects through video")));
        }
        self.attention.check()?;
        self.encoder.check(model.input_side / model.cells[0].max(1))?;
        at_most("memories of recent frames", self.recent, MAX_MEMORIES)?;
        at_most("object pointers", self.pointers, MAX_MEMORIES)?;
        if let Some(most) = self.conditioning_at_most {
            at_most("frames with prompts", most, MAX_MEMORIES)?;
        }
        if let Some(perceiver) = &self.perceiver {
            perceiver.check(model.cells)?;
            if perceiver.channels != self.encoder.memory_channels {
                let (found, expected) = (perceiver.channels, self.encoder.memory_channels);
                let what = format!("perceiver: {found} channels for memories of {expected}");
                return Err(Error::Config(what));
            }
        }
        let channels = model.channels;
        let SelfCrossConfig { channels: attended, memory_channels, .. } = self.attention.layer;
        if [attended, self.encoder.channels] != [channels; 2]
            || self.encoder.memory_channels != memory_channels
            || !channels.is_multiple_of(memory_channels)
        {
            let what = format!(
                "memory attention of {attended} and {memory_channels} channels, memory encoder of {} and {}",
                self.encoder.channels, self.encoder.memory_channels
            );
            return Err(Error::Config(format!(
                "{what}; images have {channels}, of which memories are a part"
            )));
        }
        Ok(())
    }
}

/// See [`Tracker`].
pub(crate) struct Sam2Tracker {
    rule: TrackingRule,
    attention: MemoryAttention,
    encoder: MemoryEncoder,
    perceiver: Option<Perceiver>,
    /// Rows and columns of the embedding.
    cells: [usize; 2],
    /// Tokens of a memory that have no cell, which come first.
    loose: usize,
    /// Where a token of a memory is, and when: `[tokens, memory channels]`, for 1 frame before, for 2, …, and for frames with prompts.
    places: Vec<Tensor>,
    pointer: Head,
    /// Where a pointer was made, from sines of its distance.
    pointer_place: Option<Linear>,
    hidden_pointer: Vec<f32>,
    /// `[1, memory channels]`.
    hidden_memory: Option<Tensor>,
    /// The 4 x 4 filter that takes given masks down to the grid, and its bias.
    given_mask_filter: Vec<f32>,
    given_mask_bias: f32,
    single_mask: MaskChoice,
}

impl Sam2Tracker {
    pub(crate) fn load(loader: &Loader, model: &Surroundings, memory: &MemoryConfig) -> Result<Self> {
        memory.check(model)?;
        // Errors add up from frame to frame.
        let loader = &loader.exact();
        let cells = model.cells;
        let SelfCrossConfig { channels, memory_channels, .. } = memory.attention.layer;
        let places = memory.recent + 1;
        let perceiver = |config| Perceiver::load(&loader.at("spatial_perceiver"), config, cells);
        let perceiver = memory.perceiver.map(perceiver).transpose()?;
        // What is remembered of a frame: tokens without a cell, then those of a map.
        let (loose, memory_grid) = match memory.perceiver {
            None => (0, cells),
            Some(PerceiverConfig { latents, windows, .. }) => (latents, [windows; 2]),
        };
        let memory_tokens = loose + memory_grid[0] * memory_grid[1];
        let temporal = loader.raw("memory_temporal_positional_encoding", &[places, 1, 1, memory_channels])?;
        let mut of_tokens = vec![0.0; loose * memory_channels];
        of_tokens.extend(sine_positions::of_cells(memory_grid, memory_channels));
        let place = |index: usize| -> Result<Tensor> {
            let placed = loader.derived(&[memory_tokens, memory_channels], || {
                let added = temporal.narrow(index, 1)?.to_f32_vec()?;
                Ok(of_tokens.iter().zip(added.iter().cycle()).map(|(place, time)| place + time).collect())
            })?;
            Ok(loader.device.load(&placed)?)
        };
        let pointer = HeadConfig {
            inputs: channels,
            hidden: channels,
            outputs: channels,
            depth: POINTER_DEPTH,
            last: Activation::Identity,
        };
        let place_of_pointers = "temporal_positional_encoding_projection_layer";
        let hidden = || loader.tensor("occlusion_spatial_embedding_parameter", &[1, memory_channels]);
        let filter_shape = [1, 1, GRID_STRIDE, GRID_STRIDE];
        let given = loader.at("mask_downsample");
        Ok(Self {
            rule: TrackingRule {
                recent: memory.recent,
                pointers: memory.pointers,
                conditioning_at_most: memory.conditioning_at_most,
                input_side: model.input_side,
                memory_tokens,
                memory_channels,
                pointer_channels: channels,
            },
            attention: MemoryAttention::load(
                &loader.at("memory_attention"),
                &memory.attention,
                cells,
                memory_grid,
            )?,
            encoder: MemoryEncoder::load(&loader.at("memory_encoder"), memory.encoder)?,
            perceiver,
            cells,
            loose,
            places: (0..places).map(place).collect::<Result<_>>()?,
            pointer: Head::load(&loader.at("object_pointer_proj"), pointer)?,
            pointer_place: (memory.places_pointers)
                .then(|| loader.linear(place_of_pointers, channels, memory_channels))
                .transpose()?,
            hidden_pointer: on_host(loader, "no_object_pointer", &[1, channels])?,
            hidden_memory: memory.marks_hidden.then(hidden).transpose()?,
            given_mask_filter: on_host(&given, "weight", &filter_shape)?,
            given_mask_bias: on_host(&given, "bias", &[1])?[0],
            single_mask: model.single_mask,
        })
    }

    /// An object's past as tokens.
    fn tokens(&self, device: &Device, past: &ObjectPast) -> Result<Remembered> {
        let TrackingRule { memory_tokens, memory_channels, pointer_channels, .. } = self.rule;
        let (shape, loose) = ([memory_tokens, memory_channels], self.loose);
        let refuse = |what: String| Err(Error::Input(format!("tracking: {what}")));
        if past.memories.is_empty() {
            return refuse("no memory to attend to; the first prompt is answered without".into());
        }
        let (mut values, mut placed) = (Vec::new(), Vec::new());
        let (mut values_beside, mut placed_beside) = (Vec::new(), Vec::new());
        for &(memory, place) in &past.memories {
            if *memory.dims() != shape {
                return refuse(format!("a memory of shape {}, expected {shape:?}", memory.shape()));
            }
            let place = match place {
                MemoryPlace::Conditioning => self.rule.recent,
                MemoryPlace::Recent(before) if (1..=self.rule.recent).contains(&before) => before - 1,
                MemoryPlace::Recent(before) => {
                    return refuse(format!(
                        "a memory of {before} frames before, of 1 to {}",
                        self.rule.recent
                    ));
                }
            };
            let in_place = device.add(memory, &self.places[place])?;
            values.push(memory.narrow(loose, memory_tokens - loose)?);
            placed.push(in_place.narrow(loose, memory_tokens - loose)?);
            if loose > 0 {
                values_beside.push(memory.narrow(0, loose)?);
                placed_beside.push(in_place.narrow(0, loose)?);
            }
        }
        let joined = |parts: &[Tensor]| device.concat(&parts.iter().collect::<Vec<_>>(), 0);
        let placed = joined(&placed)?;
        if !past.pointers.is_empty() {
            // A pointer is as many tokens as memories fit into its channels.
            let parts = pointer_channels / memory_channels;
            let count = past.pointers.len();
            if let Some((pointer, _)) = past.pointers.iter().find(|(p, _)| p.len() != pointer_channels) {
                return refuse(format!("a pointer of {} numbers, of {pointer_channels}", pointer.len()));
            }
            if self.pointer_place.is_some() && past.pointers_at_most < 2 {
                return refuse("pointers in a shot of one frame".into());
            }
            let tokens = device.upload_with([count * parts, memory_channels], |values| {
                for (to, (pointer, _)) in values.chunks_exact_mut(pointer_channels).zip(&past.pointers) {
                    to.copy_from_slice(pointer);
                }
            })?;
            placed_beside.push(match &self.pointer_place {
                None => tokens.clone(),
                Some(place) => {
                    let most = (past.pointers_at_most - 1) as f32;
                    let waves = device.upload_with([count * parts, pointer_channels], |values| {
                        let rows = values.chunks_exact_mut(parts * pointer_channels);
                        for (rows, &(_, distance)) in rows.zip(&past.pointers) {
                            let waves = sine_positions::of_point(distance as f32 / most, pointer_channels);
                            rows.chunks_exact_mut(pointer_channels)
                                .for_each(|row| row.copy_from_slice(&waves));
                        }
                    })?;
                    device.linear(&waves, place, &Epilogue::add(&tokens))?
                }
            });
            values_beside.push(tokens);
        }
        values.append(&mut values_beside);
        let placed_beside = match placed_beside.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(joined(several)?),
        };
        Ok(Remembered { values: joined(&values)?, placed, placed_beside })
    }

    /// Scores of a prompt, its best mask, and the pointer of the token that upstream takes for it.
    fn ask(
        &self,
        device: &Device,
        segmenter: &dyn PromptableSegmenter,
        features: &ImageFeatures,
        prompt: &PromptBatch,
        choice: MaskChoice,
    ) -> Result<TrackedMask> {
        if prompt.prompts != 1 {
            return Err(Error::Input(format!("tracking: {} prompts for one object", prompt.prompts)));
        }
        let batch = PromptBatch { output: choice.output(), ..prompt.clone() };
        let scored = segmenter.score(device, features, &batch)?;
        let Some(object_score) = &scored.object_scores else {
            return Err(Error::Input(
                "tracking: the segmenter does not say whether there is an object".into(),
            ));
        };
        let object_score = download(device, object_score)?[0];
        let iou_scores = download(device, &scored.iou_scores)?;
        let draw = |mask: usize| segmenter.draw_chosen(device, features, &scored, &[(0, mask)]);
        let is_there = object_score > 0.0 || device.is_shape_only();
        let (chosen, logits) = match choice {
            _ if !is_there => {
                let grid = segmenter.grid_size();
                let shape = [1, grid.height as usize, grid.width as usize];
                let chosen = match choice {
                    MaskChoice::SingleIfStable { .. } => 0,
                    _ => choice.choose(&iou_scores, &[]),
                };
                (chosen, device.filled(shape, HIDDEN_LOGIT)?)
            }
            MaskChoice::SingleIfStable { .. } => {
                let first = draw(0)?;
                match choice.choose(&iou_scores, &download(device, &first)?) {
                    0 => (0, first),
                    other => (other, draw(other)?),
                }
            }
            _ => {
                let chosen = choice.choose(&iou_scores, &[]);
                (chosen, draw(chosen)?)
            }
        };
        let pointer = match is_there {
            false => self.hidden_pointer.clone(),
            true => {
                // Of a mask that stability chose the pointer is still that of the single mask's token.
                let token = if choice == MaskChoice::BestOfMultimask { chosen } else { 0 };
                let token = device.slice(&scored.mask_tokens(device)?, 1, token, 1)?;
                download(device, &self.pointer.forward(device, &token)?)?
            }
        };
        Ok(TrackedMask { logits, iou_score: iou_scores[chosen], object_score, pointer })
    }
}

impl Tracker for Sam2Tracker {
    fn rule(&self) -> &TrackingRule {
        &self.rule
    }

    fn attend(&self, device: &Device, image: &mut TrackedImage, past: &ObjectPast) -> Result<ImageFeatures> {
        let device = &device.stage("memory attention");
        let ([rows, columns], channels) = (self.cells, self.rule.pointer_channels);
        if *image.features.embedding.dims() != [1, rows, columns, channels] {
            let found = image.features.embedding.shape();
            return Err(Error::Input(format!(
                "tracking: features {found}, of {rows}x{columns} cells, {channels}"
            )));
        }
        let begun = match &image.begun {
            Some(begun) => begun,
            None => {
                let tokens = image.features.embedding.reshape([1, rows * columns, channels])?;
                image.begun.insert(self.attention.begin(device, &tokens)?)
            }
        };
        let attended = self.attention.finish(device, begun, &self.tokens(device, past)?)?;
        Ok(ImageFeatures {
            embedding: attended.reshape([1, rows, columns, channels])?,
            is_conditioned: true,
            ..image.features.clone()
        })
    }

    fn answer(
        &self,
        device: &Device,
        segmenter: &dyn PromptableSegmenter,
        features: &ImageFeatures,
        prompt: Option<&PromptBatch>,
    ) -> Result<TrackedMask> {
        // Without a prompt upstream asks with a point that is none, behind which another one follows.
        let nothing = PromptBatch {
            prompts: 1,
            points: vec![Point::default()],
            labels: vec![-1],
            ..PromptBatch::default()
        };
        // A box is two points: it is not ambiguous.
        let points = prompt.map_or(0, |prompt| prompt.points.len() + 2 * prompt.boxes.len());
        let choice = if points <= 1 { MaskChoice::BestOfMultimask } else { self.single_mask };
        self.ask(device, segmenter, features, prompt.unwrap_or(&nothing), choice)
    }

    fn adopt(
        &self,
        device: &Device,
        segmenter: &dyn PromptableSegmenter,
        features: &ImageFeatures,
        mask: GivenMask,
    ) -> Result<TrackedMask> {
        let GivenMask { pixels, logits } = mask;
        let (side, grid) = (self.rule.input_side, segmenter.grid_size());
        if pixels.len() != side * side || logits.len() as u64 != grid.area() {
            let what = format!("{} pixels and {} logits", pixels.len(), logits.len());
            return Err(Error::Input(format!(
                "tracking: a mask of {what}, expected {side}x{side} and {grid}"
            )));
        }
        // No past, and nothing in its place.
        let features = ImageFeatures { is_conditioned: true, ..features.clone() };
        let prompt = PromptBatch {
            prompts: 1,
            points: vec![Point::default()],
            labels: vec![-1],
            masks: Some(self.taken_down(pixels)),
            ..PromptBatch::default()
        };
        let is_there = pixels.iter().any(|&pixel| pixel > 0.0) || device.is_shape_only();
        let pointer = match is_there {
            true => self.ask_for_pointer(device, segmenter, &features, &prompt)?,
            false => self.hidden_pointer.clone(),
        };
        let [height, width] = [grid.height as usize, grid.width as usize];
        Ok(TrackedMask {
            logits: device.upload([1, height, width], logits)?,
            iou_score: 1.0,
            object_score: if is_there { CERTAIN } else { -CERTAIN },
            pointer,
        })
    }

    fn remember(
        &self,
        device: &Device,
        image: &mut TrackedImage,
        found: &TrackedMask,
        is_prompted: bool,
    ) -> Result<Tensor> {
        let device = &device.stage("memory encoder");
        let TrackingRule { memory_channels, input_side: side, .. } = self.rule;
        let [rows, columns] = self.cells;
        let projected = match &image.projected {
            Some(projected) => projected,
            None => image.projected.insert(self.encoder.project(device, &image.features.embedding)?),
        };
        let [one, height, width] = found.logits.shape().fixed("tracking")?;
        let logits = found.logits.reshape([one, height, width, 1])?;
        let enlarged = device.resize(&logits, side, side, ResizeMode::Bilinear)?.reshape([side, side])?;
        let row = |value: f32| device.filled([1, side], value);
        let mask = match is_prompted {
            // What is over 0 becomes 1, all else one half.
            true => {
                let over = device.activation(&enlarged, Activation::Relu)?;
                device.binary(BinaryOp::Multiply, &over, &row(STEEP)?, Activation::Sigmoid)?
            }
            false => device.activation(&enlarged, Activation::Sigmoid)?,
        };
        let (factor, added) = if is_prompted { (4.0, -3.0) } else { (2.0, -1.0) };
        let mask = device.binary(BinaryOp::Multiply, &mask, &row(factor * CERTAIN)?, Activation::Identity)?;
        let mask = device.add(&mask, &row(added * CERTAIN)?)?;
        let memory = self.encoder.forward(device, projected, mask.reshape([1, side, side, 1])?)?;
        let memory = memory.reshape([rows * columns, memory_channels])?;
        let memory = match &self.hidden_memory {
            Some(hidden) if !found.is_there() => device.add(&memory, hidden)?,
            _ => memory,
        };
        match &self.perceiver {
            Some(perceiver) => perceiver.forward(&device.stage("perceiver"), &memory),
            None => Ok(memory),
        }
    }
}

impl Sam2Tracker {
    /// A given mask as a mask prompt: one filter over squares that do not overlap.
    fn taken_down(&self, pixels: &[f32]) -> Vec<f32> {
        let side = self.rule.input_side;
        let cells = side / GRID_STRIDE;
        let cell = |index: usize| {
            let (top, left) = (index / cells * GRID_STRIDE, index % cells * GRID_STRIDE);
            let rows = (top..top + GRID_STRIDE).map(|row| &pixels[row * side + left..][..GRID_STRIDE]);
            let products = rows.flatten().zip(&self.given_mask_filter).map(|(pixel, weight)| pixel * weight);
            products.sum::<f32>() + self.given_mask_bias
        };
        (0..cells * cells).map(cell).collect()
    }

    /// The pointer of the single mask that a prompt has; no mask is drawn.
    fn ask_for_pointer(
        &self,
        device: &Device,
        segmenter: &dyn PromptableSegmenter,
        features: &ImageFeatures,
        prompt: &PromptBatch,
    ) -> Result<Vec<f32>> {
        let scored = segmenter.score(device, features, prompt)?;
        if let Some(score) = &scored.object_scores
            && download(device, score)?[0] <= 0.0
            && !device.is_shape_only()
        {
            return Ok(self.hidden_pointer.clone());
        }
        download(device, &self.pointer.forward(device, &scored.mask_tokens(device)?)?)
    }
}

/// The values of a weight, kept on the host; zeros on the shape-only device.
fn on_host(loader: &Loader, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let weight = loader.raw(name, shape)?;
    match loader.device.is_shape_only() {
        true => Ok(vec![0.0; weight.shape().len()]),
        false => Ok(weight.to_f32_vec()?),
    }
}

/// The values of a few numbers on a device; zeros on the shape-only device.
fn download(device: &Device, tensor: &Tensor) -> Result<Vec<f32>> {
    match device.is_shape_only() {
        true => Ok(vec![0.0; tensor.shape().len()]),
        false => Ok(device.download(tensor)?.wait()?.to_f32_vec()?),
    }
}
