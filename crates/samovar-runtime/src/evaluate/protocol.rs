//! The protocol on one picture: its masks, the prompts for each, and what the answers are worth.

use std::ops::ControlFlow;
use std::sync::Arc;

use samovar_geometry::{Image, Size};
use samovar_media::segpack::{SegpackHeader, SegpackRecord};
use samovar_media::{BitMask, RgbImage, mask::deepest_point};

use super::baselines;
use super::figures::{ClicksTo, Figures};
use super::fnv::{FNV_OFFSET, fnv};
use super::options::{EvaluateOptions, LEAST_SHARE};
use super::worst::{WorstMask, WorstPrompt};
use crate::error::{Error, Result};
use crate::model::{Embedding, Model};
use crate::prompt::{MaskPrompt, Prompt};

/// Share of its own length by which each side of a box may move.
const BOX_JITTER: f64 = 0.05;

/// Masks that are clicked on together; bounds what is held of a picture with thousands of masks.
const MASKS_AT_ONCE: usize = 16;

/// What one picture gave.
pub(super) struct Picture {
    pub(super) source: String,
    /// One for each mask.
    pub(super) masks: Vec<Figures>,
    pub(super) worst: Vec<WorstMask>,
}

/// A mask of the pack that is to be found again.
struct Target {
    /// `layer-label`, unique in its picture.
    name: String,
    truth: BitMask,
    /// First and one past last column and row.
    bounds: [u32; 4],
    /// Of the names of source, picture and mask: whatever is drawn for this mask is drawn from this.
    seed: u64,
}

/// Asks for every mask of the picture, and reports how many are done after every few.
pub(super) fn measure(
    model: &Model,
    record: &SegpackRecord,
    options: &EvaluateOptions,
    report: &dyn Fn(usize) -> ControlFlow<()>,
) -> Result<Picture> {
    let limits = model.engine().decode_limits();
    let image = Arc::new(record.image(limits)?);
    let targets = targets(model, record, image.size(), options)?;
    let mut picture = Picture { source: record.header.src.clone(), masks: Vec::new(), worst: Vec::new() };
    if targets.is_empty() {
        return Ok(picture);
    }
    let embedding = model.embed_pixels(&image)?;
    for some in targets.chunks(MASKS_AT_ONCE) {
        let answers = ask(&embedding, some, options.clicks)?;
        for (target, answers) in some.iter().zip(answers) {
            picture.masks.push(answers.figures(&image, target)?);
            if options.worst_per_source > 0 {
                picture.worst.extend(answers.into_worst(&record.header, &image, target)?);
                super::worst::keep(&mut picture.worst, options.worst_per_source);
            }
        }
        if report(some.len()).is_break() {
            return Err(Error::Stopped);
        }
    }
    Ok(picture)
}

/// The masks of a picture that count, or the sample of them that was asked for.
fn targets(
    model: &Model,
    record: &SegpackRecord,
    size: Size<Image>,
    options: &EvaluateOptions,
) -> Result<Vec<Target>> {
    let header = &record.header;
    let mut targets = Vec::new();
    for layer in 0..record.layer_bytes.len() {
        let labels = record.labels(layer, model.engine().decode_limits())?;
        if labels.size() != size {
            let what =
                format!("label layer {layer} is {}, the picture {size}; the pack is damaged", labels.size());
            return Err(Error::file(format!("{}/{}", header.src, header.id), what));
        }
        for (label, truth) in labels.masks() {
            let Some(bounds) = truth.pixel_bounds() else { continue };
            if (truth.area() as f64) < LEAST_SHARE * size.area() as f64 {
                continue;
            }
            let name = format!("{layer}-{label}");
            let seed = fnv(FNV_OFFSET, format!("{}/{}/{name}", header.src, header.id).as_bytes());
            targets.push(Target { name, truth, bounds, seed });
        }
    }
    if let Some(most) = options.masks_per_picture.filter(|&most| most < targets.len()) {
        let mut order: Vec<usize> = (0..targets.len()).collect();
        order.sort_by_key(|&index| Draws(targets[index].seed).next());
        let mut chosen = vec![false; targets.len()];
        order[..most].iter().for_each(|&index| chosen[index] = true);
        let mut chosen = chosen.into_iter();
        targets.retain(|_| chosen.next().unwrap_or(false));
    }
    Ok(targets)
}

/// What the model answered for one mask.
struct Answers {
    /// Where the first click was.
    click: (u32, u32),
    one_click: BitMask,
    best_of_three: f64,
    boxed: BitMask,
    bounds: [f64; 4],
    /// IoU after each click.
    clicks: Vec<f64>,
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
        prompts.push(with_next_click(Prompt::default(), &nothing, &target.truth)?);
    }
    let three: Vec<Prompt> = prompts.iter().map(|prompt| prompt.clone().multimask()).collect();
    let three = embedding.segment_many(&three)?;

    let mut answers = Vec::with_capacity(targets.len());
    for (index, target) in targets.iter().enumerate() {
        let mut best_of_three = 0f64;
        for mask in three[index].masks() {
            best_of_three = best_of_three.max(mask.mask()?.iou(&target.truth)?);
        }
        let click = prompts[index].points[0].at;
        answers.push(Answers {
            click: (click.x as u32, click.y as u32),
            one_click: nothing.clone(),
            best_of_three,
            boxed: boxed[index].best().mask()?,
            bounds: bounds[index],
            clicks: Vec::with_capacity(clicks),
        });
    }
    for round in 0..clicks {
        let replies = embedding.segment_many(&prompts)?;
        for (index, reply) in replies.iter().enumerate() {
            let (target, answer) = (&targets[index], &mut answers[index]);
            let found = reply.best().mask()?;
            answer.clicks.push(found.iou(&target.truth)?);
            if round + 1 < clicks {
                let mut prompt = with_next_click(std::mem::take(&mut prompts[index]), &found, &target.truth)?;
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
    let mut draws = Draws(target.seed);
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
    fn figures(&self, image: &RgbImage, target: &Target) -> Result<Figures> {
        let truth = &target.truth;
        let fill = baselines::flood_fill(image, self.click.0, self.click.1);
        Ok(Figures {
            one_click: self.clicks.first().copied().unwrap_or(0.0),
            best_of_three: self.best_of_three,
            boxed: self.boxed.iou(truth)?,
            clicks_to: ClicksTo::of(&self.clicks),
            clicks: self.clicks.clone(),
            bare_box: baselines::filled_box(image.size(), target.bounds).iou(truth)?,
            flood_fill: fill.iou(truth)?,
        })
    }

    fn into_worst(
        self,
        header: &SegpackHeader,
        image: &Arc<RgbImage>,
        target: &Target,
    ) -> Result<[WorstMask; 2]> {
        let (x, y) = self.click;
        let worst = |prompt: WorstPrompt, found: BitMask| -> Result<WorstMask> {
            Ok(WorstMask {
                source: header.src.clone(),
                picture: header.id.clone(),
                mask: target.name.clone(),
                prompt,
                iou: found.iou(&target.truth)?,
                image: Arc::clone(image),
                truth: target.truth.clone(),
                found,
            })
        };
        Ok([
            worst(WorstPrompt::Click { x, y }, self.one_click)?,
            worst(WorstPrompt::Box { bounds: self.bounds }, self.boxed)?,
        ])
    }
}

/// SplitMix64: numbers drawn from a seed.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
