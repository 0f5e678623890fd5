//! The protocol on one picture: its masks, the prompts for each, and what the answers are worth.

use std::ops::ControlFlow;

use samovar_geometry::{Image, Size};
use samovar_media::image::ImageMetadata;
use samovar_media::mask::{LabelRegion, deepest_point};
use samovar_media::segpack::{SegpackHeader, SegpackRecord};
use samovar_media::{BitMask, LabelMap, RgbImage, Rle};

use super::baselines;
use super::draws::Draws;
use super::figures::{Agreement, AnswerFigures, BoxFigures, ClickFigures, ClicksTo, MaskFigures, Truth};
use super::fnv::{FNV_OFFSET, fnv};
use super::options::{EvaluateOptions, LEAST_SHARE};
use super::worst::{Worst, WorstMask, WorstPrompt};
use crate::error::{Error, Result};
use crate::model::{Embedding, Model};
use crate::picture_bytes::PictureBytes;
use crate::prompt::{MaskPrompt, Prompt};
use crate::segmentation::PredictedMask;

/// Share of its own length by which each side of a box may move.
const BOX_JITTER: f64 = 0.05;

/// Masks that are clicked on together, and the bytes they may take where pictures are large; both bound what is held of a
/// picture with thousands of masks.
const MASKS_AT_ONCE: usize = 16;
const MASK_BYTES_AT_ONCE: usize = 16 << 20;

/// Masks as bits that are kept of each: the true one, its boundary and what is near that, two answers.
const MASKS_KEPT: usize = 5;
/// Masks as bits that come and go: an answer with its boundary, what is missed and too much, what is filled.
const MASKS_PASSING: usize = 12;

/// How many masks of a picture are clicked on together.
fn masks_at_once(area: usize) -> usize {
    (MASK_BYTES_AT_ONCE / (MASKS_KEPT * area.div_ceil(8)).max(1)).clamp(1, MASKS_AT_ONCE)
}

/// A picture of a pack, for messages.
pub(super) fn named(header: &SegpackHeader) -> String {
    format!("\"{}\" of {}", header.id, header.src)
}

/// What a picture takes while it is measured: by its own header, or as long as nobody has read that, by the pack's.
pub(super) fn needs(model: &Model, record: &SegpackRecord, metadata: Option<&ImageMetadata>) -> PictureBytes {
    let header = &record.header;
    let size = metadata.map_or(Size::new(header.w, header.h), |metadata| metadata.size);
    let area = usize::try_from(size.area()).unwrap_or(usize::MAX);
    let times = |bytes: usize, count: usize| bytes.saturating_mul(count);
    // A layer is decoded to two bytes a pixel at most, beside its labels.
    let labels_bytes = times(area, 2 * record.layer_bytes.len());
    let at_once = masks_at_once(area);
    let masks = at_once * MASKS_KEPT + MASKS_PASSING;
    // Each goes on from the logits of the last answer.
    let grid_area = model.planner().grid_size().map_or(0, |size| size.area() as usize);
    let logits_bytes = times(size_of::<f32>() * grid_area, at_once + 1);
    // The deepest point of a mask takes four bytes for each pixel of its box.
    let asking_bytes = times(area.div_ceil(8), masks).saturating_add(times(area, 4));
    let of_header = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let results = [record.encoded_bytes(), labels_bytes, asking_bytes, logits_bytes];
    let result_bytes = results.into_iter().fold(0, usize::saturating_add);
    PictureBytes {
        decoding_bytes: metadata.map_or(times(area, 3), |metadata| of_header(metadata.decoding_bytes)),
        pixel_bytes: metadata.map_or(times(area, 3), |metadata| of_header(metadata.pixel_bytes)),
        result_bytes,
        usual_result_bytes: result_bytes,
    }
}

/// What one picture gave.
pub(super) struct Picture {
    pub(super) source: String,
    pub(super) masks: Vec<MaskFigures>,
    pub(super) worst: Vec<WorstMask>,
}

/// A mask of the pack that is to be found again.
struct Target {
    layer: usize,
    label: u16,
    truth: Truth,
    /// First and one past last column and row.
    bounds: [u32; 4],
    /// Of the names of source, picture and mask: whatever is drawn for this mask is drawn from this.
    seed: u64,
}

/// Asks for every mask of the picture, which is at `place` in its pack, and reports how many are done after every few.
pub(super) fn measure(
    model: &Model,
    record: &SegpackRecord,
    place: usize,
    options: &EvaluateOptions,
    report: &dyn Fn(usize) -> ControlFlow<()>,
) -> Result<Picture> {
    let limits = model.engine().decode_limits();
    let metadata = record.metadata(limits)?;
    let _room = model.reserve(&named(&record.header), &needs(model, record, Some(&metadata)))?;
    let image = record.image(limits)?;
    let layers = layers(model, record, image.size())?;
    let masks = masks(&layers, record, image.size(), options);
    let mut picture = Picture { source: record.header.src.clone(), masks: Vec::new(), worst: Vec::new() };
    if masks.is_empty() {
        return Ok(picture);
    }
    let embedding = model.embed_pixels(&image)?;
    let mut worst = Worst::new(options.worst_per_source);
    let at_once = masks_at_once(usize::try_from(image.size().area()).unwrap_or(usize::MAX));
    for chosen in masks.chunks(at_once) {
        let targets: Vec<Target> = targets(&layers, chosen);
        let answers = ask(&embedding, &targets, options.clicks)?;
        for (target, answers) in targets.iter().zip(answers) {
            let figures = answers.figures(&record.header, &image, target)?;
            if options.worst_per_source > 0 {
                answers.worst(&figures, place, target)?.into_iter().for_each(|one| worst.add(one));
            }
            picture.masks.push(figures);
        }
        if report(targets.len()).is_break() {
            return Err(Error::Stopped);
        }
    }
    picture.worst = worst.into_sorted();
    Ok(picture)
}

/// A mask of the pack, before it is looked at.
struct Chosen {
    layer: usize,
    region: LabelRegion,
    seed: u64,
}

/// Some masks, drawn.
fn targets(layers: &[LabelMap], chosen: &[Chosen]) -> Vec<Target> {
    let of_layer = |some: &[Chosen]| {
        let labels: Vec<u16> = some.iter().map(|one| one.region.label).collect();
        layers[some[0].layer].masks_of(&labels)
    };
    let masks = chosen.chunk_by(|a, b| a.layer == b.layer).flat_map(of_layer);
    let targets = chosen.iter().zip(masks).map(|(&Chosen { layer, region, seed }, mask)| Target {
        layer,
        label: region.label,
        truth: Truth::new(mask),
        bounds: region.bounds,
        seed,
    });
    targets.collect()
}

/// The label layers of a picture.
fn layers(model: &Model, record: &SegpackRecord, size: Size<Image>) -> Result<Vec<LabelMap>> {
    let header = &record.header;
    let read = |layer| {
        let labels = record.labels(layer, model.engine().decode_limits())?;
        if labels.size() == size {
            return Ok(labels);
        }
        let what =
            format!("label layer {layer} is {}, the picture {size}; the pack is damaged", labels.size());
        Err(Error::file(format!("{}/{}", header.src, header.id), what))
    };
    (0..record.layer_bytes.len()).map(read).collect()
}

/// The masks of a picture that count, or the sample of them that was asked for.
fn masks(
    layers: &[LabelMap],
    record: &SegpackRecord,
    size: Size<Image>,
    options: &EvaluateOptions,
) -> Vec<Chosen> {
    let header = &record.header;
    let mut masks: Vec<Chosen> = Vec::new();
    for (layer, labels) in layers.iter().enumerate() {
        let counts = |region: &LabelRegion| region.area as f64 >= LEAST_SHARE * size.area() as f64;
        masks.extend(labels.regions().into_iter().filter(counts).map(|region| {
            let name = format!("{}/{}/{layer}-{}", header.src, header.id, region.label);
            Chosen { layer, region, seed: fnv(FNV_OFFSET, name.as_bytes()) }
        }));
    }
    if let Some(most) = options.masks_per_picture.filter(|&most| most < masks.len()) {
        let mut order: Vec<usize> = (0..masks.len()).collect();
        order.sort_by_key(|&index| Draws::new(masks[index].seed ^ options.seed).next());
        let mut chosen = vec![false; masks.len()];
        order[..most].iter().for_each(|&index| chosen[index] = true);
        let mut chosen = chosen.into_iter();
        masks.retain(|_| chosen.next().unwrap_or(false));
    }
    masks
}

/// What the model answered for one mask.
struct Answers {
    one_click: BitMask,
    boxed: BitMask,
    best_of_three: AnswerFigures,
    box_figures: BoxFigures,
    clicks: Vec<ClickFigures>,
}

fn ask(embedding: &Embedding, targets: &[Target], clicks: usize) -> Result<Vec<Answers>> {
    let size = embedding.image_size();
    let bounds: Vec<[f64; 4]> = targets.iter().map(|target| moved_box(target, size)).collect();
    let boxes: Vec<Prompt> =
        bounds.iter().map(|&[x0, y0, x1, y1]| Prompt::default().within(x0, y0, x1, y1)).collect();
    let boxed = embedding.segment_many(&boxes)?;

    let nothing = BitMask::new(size);
    let mut prompts = Vec::with_capacity(targets.len());
    for target in targets {
        prompts.push(with_next_click(Prompt::default(), &nothing, &target.truth.mask)?);
    }
    let three: Vec<Prompt> = prompts.iter().map(|prompt| prompt.clone().multimask()).collect();
    let three = embedding.segment_many(&three)?;

    let mut answers = Vec::with_capacity(targets.len());
    for (index, target) in targets.iter().enumerate() {
        let mut of_three = Vec::with_capacity(3);
        for mask in three[index].masks() {
            let found = mask.mask()?;
            of_three.push((found.iou(&target.truth.mask)?, found, mask));
        }
        let best = of_three.iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let best_of_three = match best {
            Some((_, found, mask)) => figures_of(mask, found, &target.truth)?,
            None => AnswerFigures { agreement: Agreement::default(), predicted_iou: 0.0 },
        };
        let found = boxed[index].best().mask()?;
        answers.push(Answers {
            one_click: nothing.clone(),
            best_of_three,
            box_figures: BoxFigures {
                bounds: bounds[index],
                answer: figures_of(boxed[index].best(), &found, &target.truth)?,
            },
            boxed: found,
            clicks: Vec::with_capacity(clicks),
        });
    }
    for round in 0..clicks {
        let replies = embedding.segment_many(&prompts)?;
        for (index, reply) in replies.iter().enumerate() {
            let (target, answer) = (&targets[index], &mut answers[index]);
            let found = reply.best().mask()?;
            if let Some(point) = prompts[index].points.last() {
                answer.clicks.push(ClickFigures {
                    x: point.at.x as u32,
                    y: point.at.y as u32,
                    positive: point.positive,
                    answer: figures_of(reply.best(), &found, &target.truth)?,
                });
            }
            if round + 1 < clicks {
                let mut prompt =
                    with_next_click(std::mem::take(&mut prompts[index]), &found, &target.truth.mask)?;
                prompt.mask = Some(MaskPrompt::Logits(reply.best().logits()?.to_vec()));
                prompts[index] = prompt;
            }
            if round == 0 {
                answer.one_click = found;
            }
        }
    }
    Ok(answers)
}

fn figures_of(mask: &PredictedMask, found: &BitMask, truth: &Truth) -> Result<AnswerFigures> {
    Ok(AnswerFigures { agreement: truth.agreement(found)?, predicted_iou: mask.iou_score })
}

/// Adds the click a patient user would make next: deepest in the larger error region, on what is missed or on what is
/// too much. A mask without errors is clicked on again.
pub(super) fn with_next_click(prompt: Prompt, found: &BitMask, truth: &BitMask) -> Result<Prompt> {
    let (mut missed, mut too_much) = (truth.clone(), found.clone());
    missed.subtract(found)?;
    too_much.subtract(truth)?;
    let positive = missed.area() >= too_much.area();
    let error = if positive { &missed } else { &too_much };
    let Some((at, _)) = deepest_point(error).or_else(|| deepest_point(truth)) else {
        return Ok(prompt);
    };
    Ok(if positive { prompt.point(at.x, at.y) } else { prompt.without(at.x, at.y) })
}

/// The mask's box, each side moved by up to 5 % of its length, within the picture.
fn moved_box(target: &Target, size: Size<Image>) -> [f64; 4] {
    let mut draws = Draws::new(target.seed);
    let [x0, y0, x1, y1] = target.bounds.map(f64::from);
    let (width, height) = (x1 - x0, y1 - y0);
    let mut side = |at: f64, length: f64, end: u32| {
        (at + (2.0 * draws.share() - 1.0) * BOX_JITTER * length).clamp(0.0, f64::from(end))
    };
    [
        side(x0, width, size.width),
        side(y0, height, size.height),
        side(x1, width, size.width),
        side(y1, height, size.height),
    ]
}

impl Answers {
    fn figures(&self, header: &SegpackHeader, image: &RgbImage, target: &Target) -> Result<MaskFigures> {
        let truth = &target.truth;
        let (x, y) = self.clicks.first().map_or((0, 0), |click| (click.x, click.y));
        let area = truth.mask.area();
        let iou: Vec<f64> = self.clicks.iter().map(|click| click.answer.agreement.iou).collect();
        Ok(MaskFigures {
            source: header.src.clone(),
            picture: header.id.clone(),
            layer: target.layer,
            label: target.label,
            area,
            share: area as f64 / image.size().area() as f64,
            bounds: target.bounds,
            clicks: self.clicks.clone(),
            clicks_to: ClicksTo::of(&iou),
            best_of_three: self.best_of_three,
            boxed: self.box_figures,
            bare_box: truth.agreement(&baselines::filled_box(image.size(), target.bounds))?,
            flood_fill: truth.agreement(&baselines::flood_fill(image, x, y))?,
        })
    }

    /// The answers to a click and to the box, to be kept if they are bad enough.
    fn worst(self, figures: &MaskFigures, place: usize, target: &Target) -> Result<Vec<WorstMask>> {
        let truth = Rle::from_mask(&target.truth.mask)?;
        let worst = |prompt: WorstPrompt, iou: f64, found: &BitMask| -> Result<WorstMask> {
            Ok(WorstMask {
                source: figures.source.clone(),
                picture: figures.picture.clone(),
                mask: format!("{}-{}", target.layer, target.label),
                prompt,
                iou,
                place,
                truth: truth.clone(),
                found: Rle::from_mask(found)?,
            })
        };
        let click = figures.clicks.first().map(|click| {
            let prompt = WorstPrompt::Click { x: click.x, y: click.y };
            worst(prompt, click.answer.agreement.iou, &self.one_click)
        });
        let boxed = WorstPrompt::Box { bounds: figures.boxed.bounds };
        click.into_iter().chain([worst(boxed, figures.boxed.answer.agreement.iou, &self.boxed)]).collect()
    }
}
