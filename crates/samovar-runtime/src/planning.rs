//! What work takes, known before any of it is done: the dry run of a whole model. The one planner; whoever admits work
//! asks it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use samovar_geometry::{Box2, Grid, Input, Point, Size};
use samovar_models::{ImageFeatures, MaskOutput, Model as Network, ModelConfig, Parts, PromptBatch};
use samovar_resources::memory::bytes;
use samovar_tensor::{Device, DryRun, Plan, PoolStats, Precision, Tensor};
use samovar_weights::ShapeSource;

use crate::error::{Error, Result};
use crate::picture_bytes::PictureBytes;

/// Prompts that are decoded together: enough to fill the kernels, few enough to stay in the caches.
pub const PROMPTS_AT_ONCE: usize = 8;

/// Masks of a click that may mean several things, of models that keep them all.
const MASKS_PER_CLICK: usize = 3;

/// Encoding an image on a dry run; says how many bytes its pixels are.
pub(crate) fn encode_dry(
    device: &Device,
    network: &Network,
) -> samovar_models::Result<(ImageFeatures, usize)> {
    let encoder = network.image_encoder()?;
    let pixels = device.upload(encoder.preprocessing().pixels_shape(1), &[])?;
    Ok((encoder.encode(device, &pixels)?, pixels.size_bytes()))
}

/// Bytes to which the pool rounds large requests up.
const PAGE_BYTES: usize = 4096;

/// What the prompts of one batch have in common, which tells what answering them takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PromptShape {
    /// Points of each.
    pub points: usize,
    /// Whether each has a box.
    pub bounds: bool,
    /// Whether each has a mask.
    pub mask: bool,
    /// The masks that are drawn.
    pub output: MaskOutput,
    /// Whether all of them are kept, or the one that answers.
    pub keeps_all: bool,
}

impl PromptShape {
    /// One click that may mean three things: what most prompts are.
    pub const CLICK: PromptShape =
        PromptShape { points: 1, bounds: false, mask: false, output: MaskOutput::Multimask, keeps_all: true };

    /// What people ask at most in one go, but for clicks: some points, a box and a mask, answered with all masks.
    pub const WIDE: PromptShape =
        PromptShape { points: 16, bounds: true, mask: true, output: MaskOutput::All, keeps_all: true };

    pub(crate) fn batch(&self, prompts: usize, grid: Size<Grid>) -> PromptBatch {
        PromptBatch {
            prompts,
            points: vec![Point::default(); prompts * self.points],
            labels: vec![1; prompts * self.points],
            boxes: if self.bounds { vec![Box2::new(0.0, 0.0, 1.0, 1.0); prompts] } else { Vec::new() },
            masks: self.mask.then(|| vec![0.0; prompts * grid.area() as usize]),
            output: self.output,
        }
    }
}

/// A model on shapes alone, in the sizes of the device it is planned for.
pub struct Planner {
    /// One piece of work is planned at a time.
    dry: Mutex<DryRun<Network>>,
    encode: Plan,
    features: ImageFeatures,
    /// Bytes of pixels that are about to be encoded.
    pixel_bytes: usize,
    input_size: Size<Input>,
    grid_size: Option<Size<Grid>>,
    best_first: bool,
    /// Bytes of weights that both encoder and decoder have where they are loaded one after the other.
    shared_bytes: usize,
    /// What was planned before, by shape and number of prompts.
    answers: Mutex<HashMap<(PromptShape, usize), AnswerBytes>>,
    /// The same for clicks of which all masks are drawn that may be kept.
    clicks: Mutex<HashMap<usize, usize>>,
}

/// What answering a batch of prompts takes beside weights and features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerBytes {
    /// At the worst moment, the answers included.
    pub peak_bytes: usize,
    /// What the answers hold as long as somebody holds them.
    pub held_bytes: usize,
}

impl Planner {
    /// Plans a model with weights in this precision on a device. Takes milliseconds and no memory to speak of.
    ///
    /// # Errors
    /// [`Error::Model`] when the configuration is not one of a model that encodes images.
    pub fn new(device: &Device, config: &ModelConfig, precision: Precision) -> Result<Self> {
        let device = device.with_weight_precision(precision);
        let mut planner = Self::of(&device, |device| Network::load(device, config, &ShapeSource))?;
        // An encoder that is loaded when an image needs it is packed beside all the rest, and brings a copy of what both share.
        let part = |device: &Device, parts| Network::load_parts(device, config, &ShapeSource, parts);
        let mut in_parts = device.dry_run(|device| {
            Ok::<_, samovar_models::Error>((
                part(device, Parts::PROMPTABLE_SEGMENTER)?,
                part(device, Parts::IMAGE_ENCODER)?,
            ))
        })?;
        let in_parts = in_parts.plan(|_, _| Ok::<_, samovar_models::Error>(()))?.1;
        let loading_bytes = in_parts.weight_bytes + in_parts.load_bytes;
        let encode = &mut planner.encode;
        planner.shared_bytes = in_parts.weight_bytes.saturating_sub(encode.weight_bytes);
        encode.load_bytes = encode.load_bytes.max(loading_bytes.saturating_sub(encode.weight_bytes));
        Ok(planner)
    }

    /// The same for a network that is made elsewhere.
    pub(crate) fn of(
        device: &Device,
        build: impl FnOnce(&Device) -> samovar_models::Result<Network>,
    ) -> Result<Self> {
        let mut dry = device.dry_run(build)?;
        let ((features, pixel_bytes), encode) = dry.plan(encode_dry)?;
        let input_size = dry.model().image_encoder()?.preprocessing().canvas();
        let segmenter = dry.model().promptable_segmenter().ok();
        let grid_size = segmenter.map(|segmenter| segmenter.grid_size());
        let best_first = segmenter.is_some_and(|segmenter| segmenter.recommendations().best_first);
        let (dry, answers, clicks) = (Mutex::new(dry), Mutex::default(), Mutex::default());
        let shared_bytes = 0;
        Ok(Self {
            dry,
            encode,
            features,
            pixel_bytes,
            input_size,
            grid_size,
            best_first,
            shared_bytes,
            answers,
            clicks,
        })
    }

    /// Size of the low-resolution logits; `None` for a model that answers no prompts.
    pub fn grid_size(&self) -> Option<Size<Grid>> {
        self.grid_size
    }

    /// Masks of a click that finding everything in an image may keep.
    pub fn masks_per_click(&self) -> usize {
        if self.best_first { 1 } else { MASKS_PER_CLICK }
    }

    /// The shapes of what is found in an image.
    pub(crate) fn features(&self) -> &ImageFeatures {
        &self.features
    }

    /// Bytes of one encoded image.
    pub fn embedding_bytes(&self) -> usize {
        self.features.size_bytes()
    }

    /// Encoding an image, from pixels on the host to features.
    pub fn encode(&self) -> &Plan {
        &self.encode
    }

    /// Bytes beside what is held that encoding takes: from pixels on the device on, or from those on the host.
    pub fn encode_bytes(&self, with_pixels: bool) -> usize {
        self.encode.activation_bytes - if with_pixels { 0 } else { self.pixel_bytes }
    }

    /// Operations of encoding one image.
    pub fn encode_operations(&self) -> u64 {
        self.encode.cost().operations
    }

    /// Answering some prompts on an encoded image, which counts among what is there before.
    ///
    /// # Errors
    /// [`Error::Model`] when the model does not take such prompts.
    pub fn decode(&self, shape: &PromptShape, prompts: usize) -> Result<Plan> {
        Ok(self.decode_holding(shape, prompts)?.0)
    }

    /// The same, and the bytes of the answers.
    fn decode_holding(&self, shape: &PromptShape, prompts: usize) -> Result<(Plan, usize)> {
        self.plan(|device, network| {
            let segmenter = network.promptable_segmenter()?;
            let batch = shape.batch(prompts, segmenter.grid_size());
            segmenter.decode(device, &self.features, &batch)
        })
    }

    /// Scoring some clicks and drawing all their masks, or the one that answers, as finding everything in an image does.
    ///
    /// # Errors
    /// As [`Planner::decode`].
    pub fn score_and_draw(&self, clicks: usize) -> Result<Plan> {
        let (plan, _) =
            self.plan(|device, network| score_and_draw(device, network, &self.features, clicks))?;
        Ok(plan)
    }

    /// Plans some work, and what its result holds.
    fn plan<T>(
        &self,
        work: impl FnOnce(&Device, &Network) -> samovar_models::Result<T>,
    ) -> Result<(Plan, usize)> {
        let mut dry = self.dry.lock().unwrap_or_else(PoisonError::into_inner);
        let before = dry.in_use_bytes();
        let (result, plan) = dry.plan(work)?;
        let held_bytes = dry.in_use_bytes().saturating_sub(before);
        drop(result);
        Ok((plan, held_bytes))
    }

    /// What answering such prompts takes. Asked often: what was planned once is remembered.
    ///
    /// # Errors
    /// As [`Planner::decode`].
    pub fn answer_bytes(&self, shape: &PromptShape, prompts: usize) -> Result<AnswerBytes> {
        let answers = || self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&known) = answers().get(&(*shape, prompts)) {
            return Ok(known);
        }
        let (plan, held_bytes) = self.decode_holding(shape, prompts)?;
        let mask_bytes = self.grid_size.map_or(0, |grid| grid.area() as usize * size_of::<f32>());
        let held_bytes = match shape.keeps_all {
            true => held_bytes,
            // Copied out of the batch, into pages of its own at most.
            false => prompts * mask_bytes.next_multiple_of(PAGE_BYTES),
        };
        let planned = AnswerBytes { peak_bytes: plan.activation_bytes, held_bytes };
        answers().insert((*shape, prompts), planned);
        Ok(planned)
    }

    /// Lets groups of prompts of one shape each be answered one after the other and their answers be held, or refuses them
    /// all. Returns for each group how many of its prompts, `most_at_once` at most, the memory allows to be answered
    /// together, by halves; and what all this takes at most.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`].
    pub fn admit_answers(
        &self,
        groups: &[(PromptShape, usize)],
        most_at_once: usize,
        memory: &PoolStats,
    ) -> Result<(Vec<usize>, usize)> {
        let available_bytes = memory.budget_bytes.saturating_sub(memory.in_use_bytes);
        let mut all_held_bytes = 0usize;
        for (shape, prompts) in groups {
            let held_bytes = self.answer_bytes(shape, 1)?.held_bytes;
            all_held_bytes = all_held_bytes.saturating_add(held_bytes.saturating_mul(*prompts));
        }
        let at_once = |&(shape, prompts): &(PromptShape, usize)| -> Result<(usize, usize)> {
            let held_by_one = if shape.keeps_all { self.answer_bytes(&shape, 1)?.held_bytes } else { 0 };
            let mut at_once = prompts.min(most_at_once).max(1);
            loop {
                // What a batch keeps whole is part of its peak already.
                let others = all_held_bytes.saturating_sub(at_once * held_by_one);
                let needed_bytes = self.answer_bytes(&shape, at_once)?.peak_bytes.saturating_add(others);
                if needed_bytes <= available_bytes {
                    return Ok((at_once, needed_bytes));
                }
                if at_once == 1 {
                    let count: usize = groups.iter().map(|(_, prompts)| prompts).sum();
                    let what = match count {
                        1 => format!("answering a prompt of {} points", shape.points),
                        _ => format!("answering {count} prompts and holding the answers"),
                    };
                    return Err(does_not_fit(what, needed_bytes, memory));
                }
                at_once = at_once.div_ceil(2);
            }
        };
        let mut most_bytes = 0;
        let admitted = groups.iter().map(|group| {
            let (at_once, needed_bytes) = at_once(group)?;
            most_bytes = most_bytes.max(needed_bytes);
            Ok(at_once)
        });
        let admitted = admitted.collect::<Result<Vec<_>>>()?;
        Ok((admitted, most_bytes))
    }

    /// Lets clicks be scored and their masks be drawn together: how many, `most` at most, by halves; and what that takes.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`].
    pub fn admit_clicks(&self, most: usize, memory: &PoolStats) -> Result<(usize, usize)> {
        let available_bytes = memory.budget_bytes.saturating_sub(memory.in_use_bytes);
        let mut clicks = most.max(1);
        loop {
            let needed_bytes = self.click_bytes(clicks)?;
            match needed_bytes <= available_bytes {
                true => return Ok((clicks, needed_bytes)),
                false if clicks == 1 => {
                    return Err(does_not_fit(
                        "finding everything in this image".into(),
                        needed_bytes,
                        memory,
                    ));
                }
                false => clicks = clicks.div_ceil(2),
            }
        }
    }

    fn click_bytes(&self, clicks: usize) -> Result<usize> {
        let planned = || self.clicks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&known) = planned().get(&clicks) {
            return Ok(known);
        }
        let needed_bytes = self.score_and_draw(clicks)?.activation_bytes;
        planned().insert(clicks, needed_bytes);
        Ok(needed_bytes)
    }

    /// Lets an image be encoded, or refuses it; says what that takes.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`].
    pub fn admit_encoding(&self, with_pixels: bool, memory: &PoolStats) -> Result<usize> {
        let needed_bytes = self.encode_bytes(with_pixels);
        check_fits("encoding an image", needed_bytes, memory)?;
        Ok(needed_bytes)
    }
}

/// Scores some clicks and draws all of their masks that may be kept.
pub(crate) fn score_and_draw(
    device: &Device,
    network: &Network,
    features: &ImageFeatures,
    clicks: usize,
) -> samovar_models::Result<Tensor> {
    let segmenter = network.promptable_segmenter()?;
    let batch = PromptShape::CLICK.batch(clicks, segmenter.grid_size());
    let scored = segmenter.score(device, features, &batch)?;
    let masks = scored.iou_scores.dims().last().copied().unwrap_or(0);
    let masks = if segmenter.recommendations().best_first { 1 } else { masks };
    let all: Vec<_> = (0..clicks).flat_map(|click| (0..masks).map(move |mask| (click, mask))).collect();
    segmenter.draw_chosen(device, features, &scored, &all)
}

/// Lets work on a loaded model begin that takes so many bytes more, or refuses it.
pub(crate) fn check_fits(what: &str, more_bytes: usize, memory: &PoolStats) -> Result<()> {
    if more_bytes <= memory.budget_bytes.saturating_sub(memory.in_use_bytes) {
        return Ok(());
    }
    Err(does_not_fit(what.to_owned(), more_bytes, memory))
}

/// Lets a picture be decoded beside so many bytes of other things to come, or refuses it.
pub(crate) fn check_picture(
    what: &str,
    needs: &PictureBytes,
    beside_bytes: usize,
    memory: &PoolStats,
) -> Result<()> {
    let needed_bytes = memory.in_use_bytes.saturating_add(needs.peak_bytes()).saturating_add(beside_bytes);
    if needed_bytes <= memory.budget_bytes {
        return Ok(());
    }
    Err(Error::DoesNotFit {
        what: what.to_owned(),
        needed_bytes,
        budget_bytes: memory.budget_bytes,
        breakdown: format!(
            "{} to decode it, then {} of pixels and {} of results, {} of the model and its work",
            bytes(needs.decoding_bytes),
            bytes(needs.pixel_bytes),
            bytes(needs.result_bytes),
            bytes(memory.in_use_bytes.saturating_add(beside_bytes))
        ),
    })
}

/// Refuses work that takes so many bytes more than there are.
pub(crate) fn does_not_fit(what: String, more_bytes: usize, memory: &PoolStats) -> Error {
    Error::DoesNotFit {
        what,
        needed_bytes: memory.in_use_bytes.saturating_add(more_bytes),
        budget_bytes: memory.budget_bytes,
        breakdown: format!("{} in use, {} more for it", bytes(memory.in_use_bytes), bytes(more_bytes)),
    }
}

/// What loading a model, encoding an image and answering prompts take.
#[derive(Debug, Clone)]
pub struct ModelPlan {
    /// Loading and encoding one image.
    pub encode: Plan,
    /// Answering one prompt (one click, three masks) on an encoded image.
    pub decode: Plan,
    /// Answering the largest batch that is answered together, [`PROMPTS_AT_ONCE`] prompts with points, box and mask. Where
    /// memory is short smaller ones are.
    pub decode_batch: Plan,
    /// Bytes of one encoded image.
    pub embedding_bytes: usize,
    /// Bytes of the low-resolution logits of one mask.
    pub logits_bytes: usize,
    /// Size of the model's input.
    pub input_size: Size<Input>,
    /// See [`ModelPlan::peak_bytes`].
    peak_bytes: usize,
}

impl ModelPlan {
    /// Runs a model on shapes alone, for a device and weights of a precision.
    ///
    /// # Errors
    /// As [`Planner::new`].
    pub fn of(device: &Device, config: &ModelConfig, precision: Precision) -> Result<Self> {
        Self::from_planner(&Planner::new(device, config, precision)?)
    }

    fn from_planner(planner: &Planner) -> Result<Self> {
        Ok(Self {
            encode: planner.encode.clone(),
            decode: planner.decode(&PromptShape::CLICK, 1)?,
            decode_batch: planner.decode(&PromptShape::WIDE, PROMPTS_AT_ONCE)?,
            embedding_bytes: planner.features.size_bytes(),
            logits_bytes: planner.grid_size.map_or(0, |grid| grid.area() as usize * size_of::<f32>()),
            input_size: planner.input_size,
            peak_bytes: planner.peak_bytes()?,
        })
    }

    /// Bytes of tensors and scratch memory at the worst moment of loading the model, and of encoding one image and
    /// answering one prompt of any kind: with this much, all of it runs.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }

    /// The same with the largest batch of prompts.
    pub fn batch_peak_bytes(&self) -> usize {
        self.peak_bytes.max(self.decode_batch.peak_bytes())
    }
}

impl Planner {
    /// Bytes beside the weights that encoding an image and answering so many prompts of any kind together take.
    pub(crate) fn work_bytes(&self, prompts: usize) -> Result<usize> {
        let answers = self.answer_bytes(&PromptShape::WIDE, prompts)?.peak_bytes;
        Ok(self.encode_bytes(true).max(self.features.size_bytes().saturating_add(answers)))
    }

    /// See [`ModelPlan::peak_bytes`].
    pub(crate) fn peak_bytes(&self) -> Result<usize> {
        // The plan of decoding counts the encoded image among what is there before.
        let planned_bytes = self.encode.peak_bytes().max(self.decode(&PromptShape::WIDE, 1)?.peak_bytes());
        Ok(planned_bytes.saturating_add(self.shared_bytes))
    }

    /// Lets the model be loaded, or refuses it with the reason. `taken_bytes` of the budget are in use by others.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`].
    pub(crate) fn admit_loading(
        &self,
        what: impl Into<String>,
        budget_bytes: usize,
        taken_bytes: usize,
    ) -> Result<()> {
        check_loads(what.into(), &self.encode, self.peak_bytes()?, budget_bytes, taken_bytes)
    }
}

/// Lets a model be loaded that takes `peak_bytes` with its work, or refuses it. `taken_bytes` of the budget are in use by others.
pub(crate) fn check_loads(
    what: String,
    plan: &Plan,
    peak_bytes: usize,
    budget_bytes: usize,
    taken_bytes: usize,
) -> Result<()> {
    let needed_bytes = peak_bytes.saturating_add(taken_bytes);
    if needed_bytes <= budget_bytes {
        return Ok(());
    }
    let mut breakdown = format!(
        "{} of weights, {} of activations, {} of scratch memory",
        bytes(plan.weight_bytes),
        bytes(plan.activation_bytes.max(plan.load_bytes)),
        bytes(plan.scratch_bytes)
    );
    if taken_bytes > 0 {
        breakdown += &format!(", {} for the program and other work", bytes(taken_bytes));
    }
    Err(Error::DoesNotFit { what, needed_bytes, budget_bytes, breakdown })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planner() -> Planner {
        let config = ModelConfig::from_catalogue("nano").unwrap();
        Planner::new(&Device::reference(), &config, Precision::F32).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_reason() {
        let planner = planner();
        let plan = ModelPlan::from_planner(&planner).unwrap();
        assert!(plan.decode.cost().operations < plan.encode.cost().operations);
        assert!(plan.embedding_bytes > 0 && plan.batch_peak_bytes() >= plan.peak_bytes());
        let admit = |budget, taken| planner.admit_loading("nano", budget, taken);
        let enough = plan.peak_bytes();
        assert!(admit(enough, 0).is_ok());
        let refusal = admit(enough - 1, 0).unwrap_err().to_string();
        assert!(refusal.contains("nano needs") && refusal.contains("weights"), "{refusal}");
        assert!(admit(enough, 1).unwrap_err().to_string().contains("for the program and other work"));
    }

    #[test]
    fn many_points_and_many_prompts_take_more() {
        let planner = planner();
        let shape = |points| PromptShape { points, ..PromptShape::CLICK };
        let bytes = |points, prompts| planner.answer_bytes(&shape(points), prompts).unwrap();
        assert!(bytes(1, 8).peak_bytes > bytes(1, 1).peak_bytes);
        assert!(bytes(4096, 1).peak_bytes > bytes(1, 1).peak_bytes);
        assert!(bytes(1, 8).held_bytes <= 8 * bytes(1, 1).held_bytes, "rounded together");
        let memory =
            |free| PoolStats { budget_bytes: 1000 + free, in_use_bytes: 1000, ..PoolStats::default() };
        let fit = |free, count| {
            planner
                .admit_answers(&[(PromptShape::CLICK, count)], PROMPTS_AT_ONCE, &memory(free))
                .map(|(at_once, _)| at_once[0])
        };
        assert_eq!(fit(bytes(1, 8).peak_bytes, 8).unwrap(), 8);
        let single = PromptShape { keeps_all: false, ..PromptShape::CLICK };
        assert!(planner.answer_bytes(&single, 1).unwrap().held_bytes < bytes(1, 1).held_bytes);
        let held = bytes(1, 1).held_bytes;
        assert_eq!(
            fit(bytes(1, 4).peak_bytes + 4 * held, 8).unwrap(),
            4,
            "the answers of the first half are held"
        );
        assert_eq!(fit(bytes(1, 8).peak_bytes + 12 * held, 20).unwrap(), 8);
        let refusal = fit(bytes(1, 1).peak_bytes + 18 * held, 20).unwrap_err();
        assert!(refusal.to_string().contains("answering 20 prompts"), "{refusal}");
        assert!(fit(bytes(1, 1).peak_bytes - 1, 1).unwrap_err().to_string().contains("a prompt of 1 points"));
        assert!(planner.admit_encoding(true, &memory(planner.encode_bytes(true))).is_ok());
        assert!(planner.admit_encoding(true, &memory(planner.encode_bytes(true) - 1)).is_err());
        assert!(planner.encode_bytes(false) < planner.encode_bytes(true));
    }
}
