//! What a precision costs and saves on this machine: time, memory, and how far masks move. Measured, not promised.

mod followed;
mod store;
mod verdict;

use std::sync::Arc;
use std::time::Instant;

pub use followed::{Followed, LEAST_AREA};
pub use store::{Store, processor};
pub use verdict::{Bounds, Certificate, LEAST_MASKS};

use self::followed::Clip;
use samovar_geometry::{Box2, Image, Size};
use samovar_media::RgbImage;
use samovar_media::video::Direction;
use samovar_models::ModelConfig;
use samovar_resources::memory::bytes;
use samovar_tensor::{Device, Precision, Tensor};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::forecast::job_bytes;
use crate::model::{Embedding, Model};
use crate::picture_bytes::{PictureBytes, PictureUse};
use crate::planning::ModelPlan;
use crate::prompt::Prompt;
use crate::source::ModelSource;
use crate::tracking::{ShotNeeds, TrackForecast};

/// An image to compare on, with its prompts.
#[derive(Debug, Clone)]
pub struct Case {
    /// The image.
    pub image: Arc<RgbImage>,
    /// What is asked of it, each answered with one mask.
    pub prompts: Vec<Prompt>,
}

/// Masks of the logits that an answer keeps.
const MASKS_PER_ANSWER: usize = 3;

impl Case {
    /// Prompts of a case at most: a click and a box for each of three objects.
    pub const PROMPTS: usize = 6;

    /// An image with prompts of a user who means something in the middle: a click there, one off it, a box.
    pub fn central(image: impl Into<Arc<RgbImage>>) -> Self {
        let image = image.into();
        let size = image.size();
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let prompts = vec![
            Prompt::default().point(0.5 * width, 0.5 * height),
            Prompt::default().point(0.35 * width, 0.6 * height),
            Prompt::default().within(0.25 * width, 0.2 * height, 0.75 * width, 0.85 * height),
        ];
        Self { image, prompts }
    }

    /// An image with a click into and a box around each known object.
    pub fn of_objects(
        image: impl Into<Arc<RgbImage>>,
        objects: &[(samovar_geometry::Point<Image>, Box2<Image>)],
    ) -> Self {
        let prompts = objects.iter().flat_map(|(inside, bounds)| {
            [
                Prompt::default().point(inside.x, inside.y),
                Prompt::default().within(bounds.x0, bounds.y0, bounds.x1, bounds.y1),
            ]
        });
        Self { prompts: prompts.collect(), image: image.into() }
    }

    /// A made picture: discs and stripes of clear colours on a shaded ground. For machines without pictures at hand.
    pub fn made(number: u32) -> Self {
        let side = 320 + 64 * (number % 5);
        let size: Size<Image> = Size::new(side, 288);
        let mut state = 0x9E37_79B9u32.wrapping_mul(number + 1);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            f64::from(state) / f64::from(u32::MAX)
        };
        let objects: Vec<[f64; 6]> = (0..3)
            .map(|i| {
                let radius = 28.0 + 30.0 * next();
                let x = (0.2 + 0.3 * f64::from(i) + 0.05 * next()) * f64::from(side);
                [x, (0.3 + 0.4 * next()) * 288.0, radius, 255.0 * next(), 255.0 * next(), 255.0 * next()]
            })
            .collect();
        let image = RgbImage::from_fn(size, |x, y| {
            let (fx, fy) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
            let inside = objects.iter().find(|[cx, cy, radius, ..]| (fx - cx).hypot(fy - cy) < *radius);
            let shade = 60.0 + 0.2 * fx + 0.15 * fy;
            match inside {
                Some([.., r, g, b]) => [*r, *g, *b].map(|colour| (0.85 * colour + 0.1 * shade) as u8),
                None => [shade as u8, (shade * 0.8) as u8, (255.0 - shade) as u8],
            }
        });
        let known: Vec<_> = objects
            .iter()
            .map(|&[x, y, radius, ..]| {
                let bounds = Box2::new(x - radius, y - radius, x + radius, y + radius).clamped(size);
                (samovar_geometry::Point::new(x, y), bounds)
            })
            .collect();
        Self::of_objects(image, &known)
    }
}

/// A picture to compare on that is not in memory yet.
pub struct PendingCase<'a> {
    /// Its name, for messages.
    pub name: String,
    /// What it takes of the host's memory.
    pub needs: PictureBytes,
    /// Reads it; `None` where that cannot be done and somebody has said so.
    pub open: Box<dyn FnOnce() -> Result<Option<Case>> + 'a>,
}

impl PendingCase<'static> {
    /// See [`Case::made`].
    pub fn made(number: u32) -> Self {
        let case = Case::made(number);
        let needs = PictureBytes {
            decoding_bytes: 0,
            pixel_bytes: case.image.pixels().len(),
            result_bytes: 0,
            usual_result_bytes: 0,
        };
        Self { name: format!("made picture {number}"), needs, open: Box::new(move || Ok(Some(case))) }
    }
}

/// How far the comparison is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Images done.
    pub done: usize,
    /// All images.
    pub all: usize,
}

/// Compares precisions of one model on some cases, all of them taking turns image by image, and then on objects that each follows through a
/// made clip. The first certificate is that of f32 itself.
///
/// # Errors
/// As [`Engine::load`]; [`crate::Error::Usage`] without cases.
pub fn certify(
    engine: &Engine,
    source: &ModelSource,
    precisions: &[Precision],
    cases: &mut dyn Iterator<Item = Result<PendingCase<'_>>>,
    count: usize,
    bounds: &Bounds,
    progress: &mut dyn FnMut(Progress) -> std::ops::ControlFlow<()>,
) -> Result<Vec<Certificate>> {
    let config = source.open()?.config;
    let plan = |precision| ModelPlan::of(engine.device(), &config, precision);
    let _list = engine.set_aside("a list of figures", job_bytes(0))?;
    admit(engine, source, precisions, &config, plan)?;
    let exact = engine.with_precision(Precision::F32).load_from(source)?;
    let others = precisions.iter().filter(|&&precision| precision != Precision::F32);
    let others: Vec<Model> =
        others.map(|&precision| engine.with_precision(precision).load_from(source)).collect::<Result<_>>()?;
    let mut exact_times = Times::default();
    let mut compared: Vec<Comparison> = others.iter().map(|_| Comparison::default()).collect();
    let (mut done, mut is_stopped) = (0, false);
    for case in cases {
        let PendingCase { name, needs, open } = case?;
        let _room = exact.reserve(&name, &needs)?;
        let Some(case) = open()? else { continue };
        if done == 0 {
            // Whoever came first would pay for pages and caches that nobody has touched yet.
            answer(&exact, &case, &mut Times::default())?;
            for model in &others {
                answer_if_finite(model, &case, &mut Times::default())?;
            }
        }
        // Whoever is first finds other caches than whoever comes next; let that be another one every time.
        let first = done % (others.len() + 1);
        let mut before = Vec::new();
        for (model, comparison) in others.iter().zip(&mut compared).take(first) {
            before.push(answer_if_finite(model, &case, &mut comparison.times)?);
        }
        let expected = answer(&exact, &case, &mut exact_times)?;
        for (comparison, found) in compared.iter_mut().zip(&before) {
            comparison.add(&expected, found.as_ref())?;
        }
        for (model, comparison) in others.iter().zip(&mut compared).skip(first) {
            let found = answer_if_finite(model, &case, &mut comparison.times)?;
            comparison.add(&expected, found.as_ref())?;
        }
        done += 1;
        is_stopped = progress(Progress { done, all: count }).is_break();
        if is_stopped {
            break;
        }
    }
    if done == 0 {
        return Err(crate::Error::usage("no images to compare on"));
    }
    let exact_plan = plan(Precision::F32)?;
    let mut certificates = vec![Certificate {
        dtype: Precision::F32.to_string(),
        encode_s: median(&mut exact_times.encode),
        time_ratio: 1.0,
        decode_s: median(&mut exact_times.decode),
        weight_bytes: exact_plan.encode.weight_bytes,
        peak_bytes: exact_plan.encode.peak_bytes(),
        embedding_cosine: 1.0,
        logits_cosine: 1.0,
        mean_iou: 1.0,
        worst_iou: 1.0,
        masks: compared.iter().map(|comparison| comparison.ious.len()).max().unwrap_or(0),
        refused: Vec::new(),
        followed: None,
    }];
    let clip = engine.set_aside("a made clip", Clip::bytes())?;
    let expected = match is_stopped || others.is_empty() {
        true => None,
        false => Clip::follow(&exact)?,
    };
    drop(exact);
    if let Some(expected) = &expected {
        certificates[0].followed = Followed::of(expected, Some(expected), bounds.followed_j_and_f)?;
    }
    for (model, mut comparison) in others.into_iter().zip(compared) {
        let plan = plan(model.precision())?;
        let ious = &comparison.ious;
        let mut certificate = Certificate {
            dtype: model.precision().to_string(),
            encode_s: median(&mut comparison.times.encode),
            time_ratio: least(&comparison.times.encode) / least(&exact_times.encode),
            decode_s: median(&mut comparison.times.decode),
            weight_bytes: plan.encode.weight_bytes,
            peak_bytes: plan.encode.peak_bytes(),
            embedding_cosine: comparison.embedding.value(),
            logits_cosine: comparison.logits.value(),
            mean_iou: ious.iter().sum::<f64>() / ious.len() as f64,
            worst_iou: ious.iter().copied().fold(f64::NAN, f64::min),
            masks: ious.len(),
            refused: Vec::new(),
            followed: None,
        };
        if comparison.overflowed {
            // No number of such a comparison means anything.
            certificate.decode_s = 0.0;
            certificate.mean_iou = 0.0;
            certificate.worst_iou = 0.0;
            certificate.embedding_cosine = 0.0;
            certificate.logits_cosine = 0.0;
            certificate.refused = vec!["numbers that are not finite".to_owned()];
        } else {
            certificate.refused = verdict::reasons(&certificate, bounds);
            if let Some(expected) = expected.as_ref().filter(|_| !is_stopped) {
                let found = Clip::follow(&model)?;
                let least = bounds.followed_j_and_f;
                certificate.followed = Followed::of(expected, found.as_deref(), least)?;
                is_stopped = progress(Progress { done, all: count }).is_break();
            }
        }
        certificates.push(certificate);
    }
    drop(clip);
    Ok(certificates)
}

/// Lets a model be loaded in all these precisions beside each other, or refuses it before the first is.
fn admit(
    engine: &Engine,
    source: &ModelSource,
    precisions: &[Precision],
    config: &ModelConfig,
    plan: impl Fn(Precision) -> Result<ModelPlan>,
) -> Result<()> {
    // What every one of them answered is there until all have.
    let clicks = Case::PROMPTS * MASKS_PER_ANSWER;
    let mut all = precisions.to_vec();
    all.retain(|&precision| precision != Precision::F32);
    all.push(Precision::F32);
    let (mut weight_bytes, mut work_bytes, mut answer_bytes, mut follow_bytes) = (0, 0, 0, 0);
    let objects = Clip::objects(config.can_track());
    let clip: &[Direction] = &[Direction::Forward];
    let needs = ShotNeeds::of(&Clip::frames()?, clip, objects, config.can_track(), PictureUse::Encoding);
    for &precision in &all {
        let plan = plan(precision)?;
        // Who follows has the others' weights beside it, and a tracker of its own.
        let shot = TrackForecast::of(engine.device(), (config, precision), &plan, (needs, objects), 0, 0)?;
        let of_clip = shot.least_bytes.saturating_add(Clip::bytes());
        follow_bytes = follow_bytes.max(of_clip.saturating_sub(plan.encode.weight_bytes));
        answer_bytes += plan.embedding_bytes + clicks * plan.logits_bytes;
        weight_bytes += plan.encode.weight_bytes;
        work_bytes = work_bytes.max(plan.peak_bytes().saturating_sub(plan.encode.weight_bytes));
    }
    // Scratch memory that is in use already is counted in the plan.
    let device = engine.device();
    let taken_bytes = device.pool().stats().in_use_bytes.saturating_sub(device.reserved_bytes());
    let needed_bytes = weight_bytes + (work_bytes + answer_bytes).max(follow_bytes) + taken_bytes;
    if needed_bytes <= engine.budget_bytes() {
        return Ok(());
    }
    Err(Error::DoesNotFit {
        what: format!("{} in {} precisions beside each other", source.name(), all.len()),
        needed_bytes,
        budget_bytes: engine.budget_bytes(),
        breakdown: format!(
            "{} of weights, {} of activations, scratch memory and answers, {} for the program and other work",
            bytes(weight_bytes),
            bytes((work_bytes + answer_bytes).max(follow_bytes)),
            bytes(taken_bytes)
        ),
    })
}

#[derive(Default)]
pub(crate) struct Times {
    pub(crate) encode: Vec<f64>,
    pub(crate) decode: Vec<f64>,
}

#[derive(Default)]
pub(crate) struct Comparison {
    pub(crate) times: Times,
    pub(crate) embedding: Cosine,
    pub(crate) logits: Cosine,
    pub(crate) ious: Vec<f64>,
    /// Whether the precision was too narrow for the model.
    pub(crate) overflowed: bool,
}

/// An image's embedding and its answers.
pub(crate) struct Answers {
    embedding: Embedding,
    masks: Vec<crate::Segmentation>,
}

pub(crate) fn answer(model: &Model, case: &Case, times: &mut Times) -> Result<Answers> {
    let pixels = model.preprocess(&case.image)?;
    let start = Instant::now();
    let embedding = model.embed_preprocessed(&pixels, case.image.size())?;
    times.encode.push(start.elapsed().as_secs_f64());
    let mut masks = Vec::new();
    for prompt in &case.prompts {
        let start = Instant::now();
        // All masks, so that a choice between near equals is not taken for a loss.
        let answer = embedding.segment(&Prompt { multimask: prompt.is_one_click(), ..prompt.clone() })?;
        // An answer counts when its logits are there, and are numbers.
        answer.masks().iter().try_for_each(|mask| mask.logits().map(drop))?;
        masks.push(answer);
        times.decode.push(start.elapsed().as_secs_f64());
    }
    Ok(Answers { embedding, masks })
}

/// `None` where the precision is too narrow for the model.
pub(crate) fn answer_if_finite(model: &Model, case: &Case, times: &mut Times) -> Result<Option<Answers>> {
    match answer(model, case, times) {
        Err(Error::NotFinite { .. }) => Ok(None),
        other => other.map(Some),
    }
}

impl Comparison {
    pub(crate) fn add(&mut self, expected: &Answers, found: Option<&Answers>) -> Result<()> {
        let Some(found) = found else {
            self.overflowed = true;
            return Ok(());
        };
        let (a, b) = (expected.embedding.features(), found.embedding.features());
        let devices = [expected, found].map(|one| one.embedding.model().device());
        for (a, b) in a.maps().zip(b.maps()) {
            self.embedding.add_tensors(devices, [a, b])?;
        }
        for (expected, found) in expected.masks.iter().zip(&found.masks) {
            for (a, b) in expected.masks().iter().zip(found.masks()) {
                self.logits.add(a.logits()?, b.logits()?);
            }
            let best = expected.best_index();
            let (a, b) = (expected.masks()[best].raw_mask()?, found.masks()[best].raw_mask()?);
            if a.area() >= LEAST_AREA {
                self.ious.push(a.iou(&b)?);
            }
        }
        Ok(())
    }
}

/// Cosine of two long vectors that come in pieces.
#[derive(Default)]
pub(crate) struct Cosine {
    product: f64,
    first: f64,
    second: f64,
}

impl Cosine {
    /// Each of its own device.
    fn add_tensors(&mut self, devices: [&Device; 2], [a, b]: [&Tensor; 2]) -> Result<()> {
        let (a, b) = (devices[0].download(a)?.wait()?, devices[1].download(b)?.wait()?);
        self.add(a.f32()?, b.f32()?);
        Ok(())
    }

    fn add(&mut self, a: &[f32], b: &[f32]) {
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (f64::from(a), f64::from(b));
            self.product += a * b;
            self.first += a * a;
            self.second += b * b;
        }
    }

    pub(crate) fn value(&self) -> f64 {
        self.product / (self.first * self.second).sqrt()
    }
}

pub(crate) fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len => (values[(len - 1) / 2] + values[len / 2]) / 2.0,
    }
}
