//! Tensors in, tensors out: a model without pre- and post-processing, named and laid out as in transformers'
//! `SamModel.forward` and its relatives.
//!
//! | in | shape | |
//! |---|---|---|
//! | `pixel_values` | `[B, 3, H, W]` | normalised and padded |
//! | `input_points` | `[B, P, N, 2]` | x, y in pixels of the input |
//! | `input_labels` | `[B, P, N]` | 1 foreground, 0 background, -1 not a point, -10 ignore |
//! | `input_boxes` | `[B, P, 4]` | x0, y0, x1, y1 |
//! | `input_masks` | `[B, 1, s, s]` | low-resolution logits, one for all prompts of an image |
//! | `multimask_output` | `[1]` | 0: one mask per prompt (of SAM 2 the best of three where the single one is not stable); otherwise, or absent: three |
//!
//! | out | shape | |
//! |---|---|---|
//! | `image_embeddings` | `[B, C, h, w]` | `image_embeddings.0`, `.1`, ... fine to coarse, for models with several maps |
//! | `pred_masks` | `[B, P, M, s, s]` | logits; absent without prompts |
//! | `iou_scores` | `[B, P, M]` | absent without prompts |
//! | `object_score_logits` | `[B, P, 1]` | of models that have them |
//!
//! A detector takes `pixel_values` alone and gives `logits` `[B, Q, K]` and `pred_boxes` `[B, Q, 4]`, as `DFineForObjectDetection`.
//!
//! Masks of SAM-HQ come with the best score first, as transformers gives them. A mask prompt alone goes to SAM 2 with a point
//! that is none, which transformers adds and upstream's image predictor does not.

use std::collections::BTreeMap;
use std::path::Path;

use samovar_geometry::{Box2, Grid, Input, Point, Size};
use samovar_models::{ImageFeatures, MaskChoice, MaskOutput, MaskPrediction, Preprocessing, PromptBatch};
use samovar_tensor::{Device, PoolStats, Tensor};
use samovar_weights::{Checkpoint, WeightSource, WriteTensor, write_safetensors};

use crate::detection::DetectorModel;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::planning::{PromptShape, check_fits};
use crate::prompt::MAX_POINTS;

/// Named values in rows, outermost dimension first.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values, in the order of the shape.
    pub values: Vec<f32>,
}

const INPUTS: [&str; 6] =
    ["pixel_values", "input_points", "input_labels", "input_boxes", "input_masks", "multimask_output"];

/// What points may be labelled: foreground, background, not a point, ignore.
const LABELS: [f32; 4] = [1.0, 0.0, -1.0, -10.0];

/// Runs a model on the tensors of a safetensors file and writes what comes out to another, whole or not at all.
///
/// # Errors
/// [`Error::Usage`] for tensors that are missing, unknown or do not fit each other; [`Error::Model`] otherwise.
pub fn forward_file(model: &Model, inputs: &Path, outputs: &Path) -> Result<BTreeMap<String, Vec<usize>>> {
    let file = Checkpoint::open(inputs)?;
    // Each as it is in the file, and as numbers.
    let file_bytes =
        std::fs::metadata(inputs).map_or(0, |file| usize::try_from(file.len()).unwrap_or(usize::MAX));
    // What the work takes beside them shows when they are read; a click and its answer are the least.
    let _room =
        model.engine().set_aside("tensors of a file", file_bytes.saturating_mul(2)).map_err(|refusal| {
            match model.planner().work_bytes(1) {
                Ok(work_bytes) => refusal.with("the work", work_bytes),
                Err(_) => refusal,
            }
        })?;
    let results = forward(model, &read(&file, inputs, &INPUTS)?)?;
    write(results, outputs)
}

/// The same for a detector.
///
/// # Errors
/// As [`forward_file`].
pub fn forward_detector_file(
    detector: &DetectorModel,
    inputs: &Path,
    outputs: &Path,
) -> Result<BTreeMap<String, Vec<usize>>> {
    let file = Checkpoint::open(inputs)?;
    let file_bytes =
        std::fs::metadata(inputs).map_or(0, |file| usize::try_from(file.len()).unwrap_or(usize::MAX));
    let _room = detector.engine().set_aside("tensors of a file", file_bytes.saturating_mul(2))?;
    let tensors = read(&file, inputs, &INPUTS[..1])?;
    write(detector.forward(tensors.get(INPUTS[0]).ok_or_else(no_pixels)?)?, outputs)
}

fn no_pixels() -> Error {
    Error::usage("no tensor `pixel_values`")
}

/// All tensors of a file, which may have these names.
fn read(file: &Checkpoint, path: &Path, known: &[&str]) -> Result<BTreeMap<String, NamedTensor>> {
    let mut tensors = BTreeMap::new();
    for name in file.names() {
        if !known.contains(&name.as_str()) {
            let what = format!("tensor `{name}` is unknown; expected some of {}", known.join(", "));
            return Err(Error::usage(format!("\"{}\": {what}", path.display())));
        }
        let tensor = file.any_tensor(&name)?;
        tensors.insert(name, NamedTensor { shape: tensor.dims().to_vec(), values: tensor.to_f32_vec()? });
    }
    Ok(tensors)
}

/// Writes what came out; tells names and shapes.
fn write(results: BTreeMap<String, NamedTensor>, outputs: &Path) -> Result<BTreeMap<String, Vec<usize>>> {
    let written: Vec<WriteTensor> = results
        .iter()
        .map(|(name, tensor)| WriteTensor {
            name: name.clone(),
            shape: tensor.shape.clone(),
            values: &tensor.values,
        })
        .collect();
    write_safetensors(outputs, &written, &BTreeMap::new())?;
    Ok(results.into_iter().map(|(name, tensor)| (name, tensor.shape)).collect())
}

/// Runs a model on named tensors.
///
/// # Errors
/// As [`forward_file`].
pub fn forward(
    model: &Model,
    inputs: &BTreeMap<String, NamedTensor>,
) -> Result<BTreeMap<String, NamedTensor>> {
    let pixels = inputs.get("pixel_values").ok_or_else(no_pixels)?;
    let [images, rows, columns] = sides(pixels, model.preprocessing())?;
    let prompts = Prompts::read(inputs, images, model.grid_size())?;
    let mut outputs = Outputs { tensors: BTreeMap::new(), images };
    let device = model.device();
    let _room = admit(model, &prompts, images)?;
    for image in 0..images {
        let planes = &pixels.values[image * 3 * rows * columns..][..3 * rows * columns];
        let planes = device.upload([1, 3, rows, columns], planes)?;
        let features = model.encoder()?.encode(device, &device.channels_last(&planes)?)?;
        drop(planes);
        outputs.features(model, &features)?;
        let Some((batch, choice)) = batch_of(model, &prompts, image) else { continue };
        let segmenter = model.segmenter();
        let rule = segmenter.recommendations();
        let mut predicted = segmenter.decode(device, &features, &batch)?;
        if let Some(choice) = choice {
            predicted = chosen(device, predicted, choice)?;
        }
        let ranks = match rule.best_first {
            true => Some(ranks(&device.download(&predicted.iou_scores)?.wait()?)?),
            false => None,
        };
        for (name, part) in [("pred_masks", &predicted.logits), ("iou_scores", &predicted.iou_scores)] {
            outputs.append(device, name, part.dims(), part, ranks.as_deref())?;
        }
        if let Some(scores) = &predicted.object_scores {
            outputs.append(device, "object_score_logits", scores.dims(), scores, None)?;
        }
    }
    Ok(outputs.tensors)
}

/// Images, rows and columns of pixels, which must be those of the model's input.
fn sides(pixels: &NamedTensor, preprocessing: &Preprocessing) -> Result<[usize; 3]> {
    let [_, rows, columns, _] = preprocessing.pixels_shape(1);
    let refuse = || misshapen("pixel_values", &pixels.shape, &format!("[images, 3, {rows}, {columns}]"));
    match *pixels.shape.as_slice() {
        [images, 3, height, width] if images > 0 && (height, width) == (rows, columns) => {
            Ok([images, rows, columns])
        }
        _ => Err(refuse()),
    }
}

impl DetectorModel {
    /// Logits and boxes of normalised pixels `[B, 3, H, W]`, one image after the other.
    fn forward(&self, pixels: &NamedTensor) -> Result<BTreeMap<String, NamedTensor>> {
        let [images, rows, columns] = sides(pixels, self.preprocessing())?;
        let device = self.engine().device();
        let mut outputs = Outputs { tensors: BTreeMap::new(), images };
        let _promise = self.admit()?;
        for image in 0..images {
            let planes = &pixels.values[image * 3 * rows * columns..][..3 * rows * columns];
            let planes = device.upload([1, 3, rows, columns], planes)?;
            let found = self.network().detect(device, &device.channels_last(&planes)?)?;
            for (name, part) in [("logits", &found.class_logits), ("pred_boxes", &found.boxes)] {
                outputs.append(device, name, &part.dims()[1..], part, None)?;
            }
        }
        Ok(outputs.tensors)
    }
}

/// What the prompts of an image ask the network, and which of its masks is then chosen, if one is; `None` without prompts.
fn batch_of(model: &Model, prompts: &Prompts, image: usize) -> Option<(PromptBatch, Option<MaskChoice>)> {
    let mut batch = prompts.batch(image)?;
    let segmenter = model.segmenter();
    if segmenter.pads_masks_in_transformers() && batch.points.is_empty() && batch.boxes.is_empty() {
        (batch.points, batch.labels) = (vec![Point::default()], vec![-1]);
    }
    let rule = segmenter.recommendations();
    let choice = Some(rule.mask_rule.otherwise).filter(|choice| {
        batch.output == MaskOutput::Single && matches!(choice, MaskChoice::SingleIfStable { .. })
    });
    batch.output = choice.map_or(batch.output, MaskChoice::output);
    Some((batch, choice))
}

/// Room for all that comes out, and leave for the largest piece of work on the way there, before any of it begins.
fn admit(model: &Model, prompts: &Prompts, images: usize) -> Result<impl Sized> {
    let planner = model.planner();
    let [_, rows, columns, _] = model.preprocessing().pixels_shape(1);
    let planes_bytes = 3 * rows * columns * size_of::<f32>();
    let features_bytes = planner.embedding_bytes();
    let (mut peak_bytes, mut held_bytes) = (0, 0);
    if let Some((batch, _)) = batch_of(model, prompts, 0) {
        let shape = PromptShape {
            points: batch.points.len() / batch.prompts,
            bounds: !batch.boxes.is_empty(),
            mask: batch.masks.is_some(),
            output: batch.output,
            keeps_all: true,
        };
        let answer = planner.answer_bytes(&shape, batch.prompts)?;
        (peak_bytes, held_bytes) = (answer.peak_bytes, answer.held_bytes);
    }
    // As the network has them, and as they are written.
    let encoding_bytes = (planes_bytes + planner.encode_bytes(true)).max(2 * features_bytes);
    let work_bytes = encoding_bytes.max(features_bytes + peak_bytes + held_bytes);
    let out_bytes = (features_bytes + held_bytes).saturating_mul(images);
    let room = model
        .engine()
        .set_aside("what comes out", out_bytes)
        .map_err(|refusal| refusal.with("the work", work_bytes))?;
    let admit = |memory: &PoolStats| {
        check_fits("running the model on tensors", work_bytes, memory).map(|()| ((), work_bytes))
    };
    let ((), promise) = model.engine().enter(admit)?;
    Ok((room, promise))
}

/// Of each prompt's masks the one that is chosen.
fn chosen(device: &Device, all: MaskPrediction, choice: MaskChoice) -> Result<MaskPrediction> {
    let scores = device.download(&all.iou_scores)?.wait()?;
    let scores = scores.f32()?;
    let masks = scores.len() / all.logits.dims()[0].max(1);
    let (mut logits, mut kept_scores) = (Vec::new(), Vec::new());
    for (prompt, scores) in scores.chunks_exact(masks.max(1)).enumerate() {
        let of_prompt = all.logits.narrow(prompt, 1)?;
        let first = device.download(&device.slice(&of_prompt, 1, 0, 1)?)?.wait()?;
        let index = choice.choose(scores, first.f32()?);
        logits.push(device.slice(&of_prompt, 1, index, 1)?);
        kept_scores.push(scores[index]);
    }
    Ok(MaskPrediction {
        logits: device.concat(&logits.iter().collect::<Vec<_>>(), 0)?,
        iou_scores: device.upload([kept_scores.len(), 1], &kept_scores)?,
        object_scores: all.object_scores,
    })
}

/// Places of all masks among those of all prompts, `[P, M]`, each prompt's best score first; equal ones keep their order.
fn ranks(scores: &Tensor) -> Result<Vec<usize>> {
    let masks = scores.dims().last().copied().unwrap_or(1).max(1);
    let scores = scores.f32()?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    for of_prompt in order.chunks_mut(masks) {
        of_prompt.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    }
    Ok(order)
}

fn misshapen(name: &str, found: &[usize], expected: &str) -> Error {
    Error::usage(format!("tensor `{name}` is {found:?}; expected {expected}"))
}

/// The prompts of all images, checked against each other.
struct Prompts<'a> {
    /// Per image; 0: none.
    prompts: usize,
    /// Per prompt.
    points: usize,
    point_values: &'a [f32],
    labels: Vec<i32>,
    boxes: &'a [f32],
    masks: &'a [f32],
    mask_len: usize,
    output: MaskOutput,
}

impl<'a> Prompts<'a> {
    fn read(inputs: &'a BTreeMap<String, NamedTensor>, images: usize, grid: Size<Grid>) -> Result<Self> {
        let tensor = |name: &str| inputs.get(name);
        let mut prompts = None;
        let mut agree = |name: &str, found: &[usize], count: usize| {
            if found.first() != Some(&images) || *prompts.get_or_insert(count) != count || count == 0 {
                return Err(misshapen(name, found, "as many images and prompts as the other tensors"));
            }
            Ok(())
        };
        let mut all = Prompts {
            prompts: 0,
            points: 0,
            point_values: &[],
            labels: Vec::new(),
            boxes: &[],
            masks: &[],
            mask_len: grid.area() as usize,
            output: match tensor("multimask_output") {
                Some(flag) if flag.values.iter().all(|&value| value == 0.0) => MaskOutput::Single,
                _ => MaskOutput::Multimask,
            },
        };
        if let Some(points) = tensor("input_points") {
            let &[_, count, per_prompt, 2] = points.shape.as_slice() else {
                return Err(misshapen("input_points", &points.shape, "[images, prompts, points, 2]"));
            };
            agree("input_points", &points.shape, count)?;
            if per_prompt > MAX_POINTS {
                return Err(Error::usage(format!(
                    "tensor `input_points` has {per_prompt} points per prompt; at most {MAX_POINTS} are taken"
                )));
            }
            (all.points, all.point_values) = (per_prompt, &points.values);
            all.labels = vec![1; images * count * per_prompt];
        }
        if let Some(labels) = tensor("input_labels") {
            let expected = tensor("input_points").map(|points| &points.shape[..3]);
            if expected != Some(labels.shape.as_slice()) {
                return Err(misshapen(
                    "input_labels",
                    &labels.shape,
                    "[images, prompts, points] of `input_points`",
                ));
            }
            if let Some(other) = labels.values.iter().find(|label| !LABELS.contains(label)) {
                return Err(Error::usage(format!(
                    "tensor `input_labels` has {other}; expected 1, 0, -1 or -10"
                )));
            }
            all.labels = labels.values.iter().map(|&label| label as i32).collect();
        }
        if let Some(boxes) = tensor("input_boxes") {
            let &[_, count, 4] = boxes.shape.as_slice() else {
                return Err(misshapen("input_boxes", &boxes.shape, "[images, prompts, 4]"));
            };
            agree("input_boxes", &boxes.shape, count)?;
            all.boxes = &boxes.values;
        }
        if let Some(masks) = tensor("input_masks") {
            let (rows, columns) = (grid.height as usize, grid.width as usize);
            if masks.shape != [images, 1, rows, columns] {
                let expected = format!("[{images}, 1, {rows}, {columns}]");
                return Err(misshapen("input_masks", &masks.shape, &expected));
            }
            all.masks = &masks.values;
        }
        all.prompts = prompts.unwrap_or(usize::from(!all.masks.is_empty()));
        Ok(all)
    }

    /// The prompts of one image; `None` if there are none at all.
    fn batch(&self, image: usize) -> Option<PromptBatch> {
        if self.prompts == 0 {
            return None;
        }
        let points = self.prompts * self.points;
        let of_image = |values: &'a [f32], len: usize| -> &'a [f32] {
            if values.is_empty() { values } else { &values[image * len..][..len] }
        };
        Some(PromptBatch {
            prompts: self.prompts,
            points: in_frame(of_image(self.point_values, 2 * points)).collect(),
            labels: if points == 0 { Vec::new() } else { self.labels[image * points..][..points].to_vec() },
            boxes: in_frame(of_image(self.boxes, 4 * self.prompts))
                .collect::<Vec<_>>()
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[a, b]| Box2::new(a.x, a.y, b.x, b.y))
                .collect(),
            masks: (!self.masks.is_empty()).then(|| of_image(self.masks, self.mask_len).to_vec()),
            output: self.output,
        })
    }
}

/// Coordinates x, y of points in the model's input.
fn in_frame(coordinates: &[f32]) -> impl Iterator<Item = Point<Input>> {
    coordinates.as_chunks::<2>().0.iter().map(|&[x, y]| Point::new(x.into(), y.into()))
}

/// Results, image after image.
struct Outputs {
    tensors: BTreeMap<String, NamedTensor>,
    /// Of how many images.
    images: usize,
}

impl Outputs {
    fn features(&mut self, model: &Model, features: &ImageFeatures) -> Result<()> {
        let planes = |map: &Tensor| model.device().channels_first(map);
        if features.high_res.is_empty() {
            let planes = planes(&features.embedding)?;
            return self.append(model.device(), "image_embeddings", &planes.dims()[1..], &planes, None);
        }
        let embedding = model.segmenter().decoder_embedding(model.device(), features)?;
        let fine_to_coarse = features.high_res.iter().rev().chain([&embedding]);
        for (index, map) in fine_to_coarse.enumerate() {
            let planes = planes(map)?;
            let name = format!("image_embeddings.{index}");
            self.append(model.device(), &name, &planes.dims()[1..], &planes, None)?;
        }
        Ok(())
    }

    /// Adds one image's part, of shape `per_image`; in the order of `ranks`, if any, which are places of equal pieces.
    fn append(
        &mut self,
        device: &Device,
        name: &str,
        per_image: &[usize],
        part: &Tensor,
        ranks: Option<&[usize]>,
    ) -> Result<()> {
        let part = device.download(part)?.wait()?;
        let values = part.f32()?;
        let all = self.tensors.entry(name.to_owned()).or_insert_with(|| {
            let mut shape = vec![0];
            shape.extend(per_image);
            // Vectors that grow would take up to three times as much.
            NamedTensor { shape, values: Vec::with_capacity(values.len() * self.images) }
        });
        all.shape[0] += 1;
        match ranks {
            None => all.values.extend_from_slice(values),
            Some(ranks) => {
                let piece = values.len() / ranks.len().max(1);
                ranks.iter().for_each(|&rank| all.values.extend_from_slice(&values[rank * piece..][..piece]));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(points: usize, label: f32) -> Result<()> {
        let tensor = |shape: &[usize], value: f32| NamedTensor {
            shape: shape.to_vec(),
            values: vec![value; shape.iter().product()],
        };
        let inputs = BTreeMap::from([
            ("input_points".to_owned(), tensor(&[1, 1, points, 2], 5.0)),
            ("input_labels".to_owned(), tensor(&[1, 1, points], label)),
        ]);
        Prompts::read(&inputs, 1, Size::square(256)).map(drop)
    }

    #[test]
    fn prompts_are_bounded() {
        assert!(prompts(MAX_POINTS, -10.0).is_ok());
        for (points, label, words) in
            [(MAX_POINTS + 1, 1.0, "at most 4096"), (1, 7.0, "has 7"), (1, 0.5, "has 0.5")]
        {
            let refusal = prompts(points, label).unwrap_err();
            assert!(matches!(refusal, Error::Usage(_)) && refusal.to_string().contains(words), "{refusal}");
        }
    }
}
