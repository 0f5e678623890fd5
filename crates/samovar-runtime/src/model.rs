//! A loaded model, and an image it has encoded: heat once, pour many.

use std::ops::ControlFlow;
use std::sync::Arc;

use samovar_geometry::{Grid, Image, Input, ResizeRule, Size};
use samovar_media::{LazyImage, Normalisation, RgbImage, Upscaler, resize_normalise};
use samovar_models::{
    Family, ImageEncoder, ImageFeatures, MaskChoice, MaskOutput, MaskPrediction, Model as Network,
    Preprocessing, PromptBatch, PromptableSegmenter, Recommendations, Tracker,
};
use samovar_resources::cache::{Key, Store};
use samovar_tensor::{Device, PoolStats, Precision, Tensor};

use crate::admission::{Promise, Reservation};
use crate::cleanup::Cleanup;
use crate::encoder_slot::{EncoderPin, EncoderSlot};
use crate::engine::{Engine, retry_midway};
use crate::error::{Error, Result};
use crate::feature_cache::{ModelCache, key_of_pixels};
use crate::picture_bytes::{PictureBytes, PictureUse, PictureWork, of_image};
use crate::planning::{PROMPTS_AT_ONCE, Planner, PromptShape, check_picture};
use crate::prompt::{MaskPrompt, Prompt, logits_of_mask};
use crate::segmentation::{Logits, PredictedMask, Segmentation, check_finite};
use crate::tracker_plan::TrackerPlan;
use crate::tracker_slot::TrackerSlot;

/// A model that encodes images and answers prompts on them, ready to run. Cheap to clone; clones share the weights.
#[derive(Clone)]
pub struct Model {
    engine: Engine,
    network: Network,
    encoder: Arc<EncoderSlot>,
    preprocessing: Preprocessing,
    segmenter: Arc<dyn PromptableSegmenter>,
    name: Arc<str>,
    precision: Precision,
    planner: Arc<Planner>,
    cleans_up: bool,
    notes: Arc<[String]>,
    cache: Option<ModelCache>,
    tracker: Option<Arc<TrackerSlot>>,
}

impl Model {
    /// Asks the network for what a model has to do.
    ///
    /// # Errors
    /// [`Error::Usage`] when it cannot, naming the models that can.
    pub(crate) fn new(
        engine: Engine,
        network: Network,
        planner: Planner,
        name: String,
        precision: Precision,
    ) -> Result<Self> {
        let refuse = |lacks: samovar_models::Error| Error::from(lacks).of_model(name.clone());
        let encoder = Arc::clone(network.image_encoder().map_err(refuse)?);
        let preprocessing = *encoder.preprocessing();
        Self::with_encoder(engine, network, EncoderSlot::of(encoder), preprocessing, planner, name, precision)
    }

    /// The same for a network whose encoder is elsewhere.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub(crate) fn with_encoder(
        engine: Engine,
        network: Network,
        encoder: Arc<EncoderSlot>,
        preprocessing: Preprocessing,
        planner: Planner,
        name: String,
        precision: Precision,
    ) -> Result<Self> {
        let refuse = |lacks: samovar_models::Error| Error::from(lacks).of_model(name.clone());
        let segmenter = Arc::clone(network.promptable_segmenter().map_err(refuse)?);
        let cleans_up = segmenter.recommendations().cleanup;
        let (name, planner) = (name.into(), Arc::new(planner));
        Ok(Self {
            engine,
            network,
            encoder,
            preprocessing,
            segmenter,
            name,
            precision,
            planner,
            cleans_up,
            notes: Arc::from([]),
            cache: None,
            tracker: None,
        })
    }

    /// The same model, with this to say about its weights.
    pub(crate) fn with_notes(self, notes: &[String]) -> Self {
        Self { notes: notes.into(), ..self }
    }

    /// The same model with a tracker, which is loaded when it is needed.
    pub(crate) fn with_tracker(self, tracker: TrackerSlot) -> Self {
        Self { tracker: Some(Arc::new(tracker)), ..self }
    }

    /// Whether the model follows objects through video ([`crate::tracking`]).
    pub fn can_track(&self) -> bool {
        self.tracker.is_some()
    }

    /// The model's tracker and its plan.
    ///
    /// # Errors
    /// [`Error::Usage`] when it has none, naming the models that have; those of loading it.
    pub(crate) fn tracker(&self) -> Result<(Arc<dyn Tracker>, Arc<TrackerPlan>)> {
        match &self.tracker {
            Some(tracker) => tracker.get(),
            None => match self.network.tracker() {
                Err(lacks) => Err(Error::from(lacks).of_model(self.name.to_string())),
                Ok(_) => Err(Error::usage(format!("{}: its tracker was made elsewhere", self.name))),
            },
        }
    }

    /// What a user should know about the choice of weights, in a sentence each: which of several a file holds are run,
    /// and how adapters were scaled where no file says it.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Encodes an image. Everything after this is cheap.
    ///
    /// # Errors
    /// [`crate::Error::Media`] when the image cannot be read, [`crate::Error::Model`] when memory runs out.
    pub fn embed(&self, image: &LazyImage) -> Result<Embedding> {
        // Of pixels that are there already somebody else has thought.
        let _room = match image.is_loaded() {
            true => None,
            false => Some(self.reserve_picture(image, PictureUse::Encoding)?),
        };
        self.embed_pixels(&*image.pixels()?)
    }

    /// Room in the memory budget for a picture and what is made of it, to be had before it is decoded. Where other pictures
    /// are in memory, waits until this one fits beside them and all that prompts may ask, so whoever has room for one must
    /// not ask for another.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`], [`Error::Media`] for a header that cannot be read.
    pub fn reserve_picture(&self, image: &LazyImage, work: impl Into<PictureWork>) -> Result<Reservation> {
        let (needs, what) = of_image(image, work)?;
        self.reserve(&what, &needs)
    }

    /// See [`Model::reserve_picture`].
    pub(crate) fn reserve(&self, what: &str, needs: &PictureBytes) -> Result<Reservation> {
        let [one, many] = [self.planner.work_bytes(1)?, self.planner.work_bytes(PROMPTS_AT_ONCE)?];
        self.engine.hold(needs.peak_bytes(), |memory, is_alone| {
            check_picture(what, needs, if is_alone { one } else { many }, memory)
        })
    }

    /// Encodes pixels.
    ///
    /// # Errors
    /// As [`Model::embed`].
    pub fn embed_pixels(&self, image: &RgbImage) -> Result<Embedding> {
        match &self.cache {
            Some(_) => self.embed_keyed(key_of_pixels(image), image.size(), || Ok(image)),
            None => self.embedding_of(self.find_features(image)?.into(), image.size()),
        }
    }

    /// Encodes an image by the key of its pixels (see [`key_of_pixels`]) if it is not in the cache of [`Model::with_cache`];
    /// `pixels` is called only then.
    ///
    /// # Errors
    /// As [`Model::embed`], and those of `pixels`.
    pub fn embed_keyed<P: std::ops::Deref<Target = RgbImage>>(
        &self,
        image: Key,
        image_size: Size<Image>,
        pixels: impl FnOnce() -> Result<P>,
    ) -> Result<Embedding> {
        let find = || self.find_features(&*pixels()?);
        let features = match &self.cache {
            Some(cache) => cache.get_or_compute(image, find)?,
            None => find()?.into(),
        };
        self.embedding_of(features, image_size)
    }

    /// What the encoder finds in a frame, or has found.
    pub(crate) fn features(&self, image: &RgbImage) -> Result<Arc<ImageFeatures>> {
        match &self.cache {
            Some(cache) => cache.get_or_compute(key_of_pixels(image), || self.find_features(image)),
            None => Ok(self.find_features(image)?.into()),
        }
    }

    fn find_features(&self, image: &RgbImage) -> Result<ImageFeatures> {
        self.engine.begin("encoding an image")?;
        // Before anything is admitted, because it takes memory itself.
        let encoder = self.engine.with_room(|| self.encoder.get())?;
        let _promise = self.admit_encoding(true)?;
        self.engine.with_room(|| Ok(encoder.encode(self.engine.device(), &self.preprocess(image)?)?))
    }

    /// Encodes what [`Model::preprocess`] made of an image of this size.
    ///
    /// # Errors
    /// As [`Model::embed`].
    pub fn embed_preprocessed(&self, pixels: &Tensor, image_size: Size<Image>) -> Result<Embedding> {
        self.engine.begin("encoding an image")?;
        let encoder = self.engine.with_room(|| self.encoder.get())?;
        let _promise = self.admit_encoding(false)?;
        let features = self.engine.with_room(|| Ok(encoder.encode(self.engine.device(), pixels)?))?;
        self.embedding_of(features.into(), image_size)
    }

    fn admit_encoding(&self, with_pixels: bool) -> Result<Promise> {
        let admit = |memory: &PoolStats| Ok(((), self.planner.admit_encoding(with_pixels, memory)?));
        Ok(self.engine.enter(admit)?.1)
    }

    fn embedding_of(&self, features: Arc<ImageFeatures>, image_size: Size<Image>) -> Result<Embedding> {
        let upscaler = Arc::new(Upscaler::new(self.grid_size(), self.resize_rule(), image_size)?);
        Ok(Embedding { model: self.clone(), features, image_size, upscaler })
    }

    /// The model's input for an image, `[1, height, width, 3]`: resized, normalised, then padded.
    ///
    /// # Errors
    /// As [`Model::embed`].
    pub fn preprocess(&self, image: &RgbImage) -> Result<Tensor> {
        preprocess(&self.engine, &self.preprocessing, image)
    }

    /// How images are fitted into the model's input.
    pub fn resize_rule(&self) -> ResizeRule {
        self.preprocessing.resize
    }

    /// How pixels become the model's input.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// What the model's authors recommend to those who use its masks.
    pub fn recommendations(&self) -> Recommendations {
        self.segmenter.recommendations()
    }

    /// Size of the model's input.
    pub fn input_size(&self) -> Size<Input> {
        self.resize_rule().canvas()
    }

    /// Size of the low-resolution logits.
    pub fn grid_size(&self) -> Size<Grid> {
        self.segmenter.grid_size()
    }

    /// The model's family.
    pub fn family(&self) -> Family {
        self.network.family()
    }

    /// What the model was loaded as.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// In which precision its weights are held.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same, to be shared.
    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// The engine the model runs on.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The same model, taking stray parts and pinholes out of its masks or not. One click keeps the part that was
    /// clicked; with other prompts, parts below a tenth of the largest go unless clicked; holes below a fiftieth of the
    /// mask are filled unless clicked away. On where the model's authors recommend it: for nano, whose masks have many of
    /// both; off for the others, which are upstream's to the pixel.
    #[must_use]
    pub fn with_cleanup(&self, cleans_up: bool) -> Self {
        Self { cleans_up, ..self.clone() }
    }

    /// See [`Model::with_cleanup`].
    pub(crate) fn cleans_up(&self) -> bool {
        self.cleans_up
    }

    /// The same model and weights, reporting every operator call to an engine's instrument.
    #[must_use]
    pub fn on(&self, engine: &Engine) -> Self {
        Self { engine: engine.clone(), ..self.clone() }
    }

    /// What encoding and answering take.
    pub fn planner(&self) -> &Planner {
        &self.planner
    }

    /// The network itself.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Refuses numbers that only damaged weights give, or weights too large for their precision.
    pub(crate) fn check_finite(&self, numbers: &[f32]) -> Result<()> {
        check_finite(&self.name, numbers)
    }

    /// The encoder, loaded if it is not there.
    pub(crate) fn encoder(&self) -> Result<Arc<dyn ImageEncoder>> {
        self.encoder.get()
    }

    /// Whether the encoder is in memory: not before the first image, of a model from [`Engine::load_when_needed`].
    pub fn has_encoder(&self) -> bool {
        self.encoder.is_loaded()
    }

    pub(crate) fn pin_encoder(&self) -> Result<EncoderPin> {
        self.encoder.pin()
    }

    /// Gives the encoder's memory back, if it can be loaded again ([`Engine::load_when_needed`]) and nobody holds it ready
    /// ([`Model::inference_mode`]); says whether it did.
    /// The next image that is not in a cache brings it back.
    pub fn unload_encoder(&self) -> bool {
        self.encoder.unload()
    }

    /// The same, writing all it finds to the disk.
    #[cfg(test)]
    pub(crate) fn caching_all(&self) -> Self {
        Self { cache: self.cache.clone().map(ModelCache::keeping_all), ..self.clone() }
    }

    /// The same model, keeping what it finds in images. `weights` is the key of its files
    /// ([`crate::source::ModelSource::key`]): two models of one key must be one. An engine without optimisations keeps nothing.
    #[must_use]
    pub fn with_cache(&self, store: &Arc<Store>, weights: Key) -> Self {
        if !self.engine.optimizes() {
            return self.clone();
        }
        let Self { engine, precision, preprocessing, planner, .. } = self;
        engine.memory().register(store);
        let cache = ModelCache::new(store, weights, engine, *precision, preprocessing, planner.features());
        Self { cache: Some(cache), ..self.clone() }
    }

    pub(crate) fn segmenter(&self) -> &dyn PromptableSegmenter {
        &*self.segmenter
    }

    pub(crate) fn device(&self) -> &Device {
        self.engine.device()
    }
}

/// A model's input for an image, `[1, height, width, 3]`: resized, normalised, then padded.
pub(crate) fn preprocess(engine: &Engine, preprocessing: &Preprocessing, image: &RgbImage) -> Result<Tensor> {
    let rule = preprocessing.resize;
    let normalisation = Normalisation { mean: preprocessing.mean, std: preprocessing.std };
    let (resized, canvas) = (rule.resized(image.size()), rule.canvas());
    engine.device().stage("preprocess").try_upload_with(preprocessing.pixels_shape(1), |values| {
        Ok(resize_normalise(image, resized, canvas, &normalisation, engine.threads(), values)?)
    })
}

/// An encoded image: holds what the encoder found, and answers prompts.
#[derive(Clone)]
pub struct Embedding {
    model: Model,
    features: Arc<ImageFeatures>,
    image_size: Size<Image>,
    upscaler: Arc<Upscaler>,
}

impl Embedding {
    /// The same encoded image, answering on an engine that shares the memory of the model's.
    #[must_use]
    pub fn on(&self, engine: &Engine) -> Self {
        Self { model: self.model.on(engine), ..self.clone() }
    }

    /// Answers one prompt.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] when the prompt does not fit the image, [`crate::Error::Model`] when memory runs out.
    pub fn segment(&self, prompt: &Prompt) -> Result<Segmentation> {
        prompt.check(self.image_size, self.model.grid_size())?;
        let _promise = self.admit(&[(self.shape(prompt), 1)])?;
        let answers = self.model.engine.with_room(|| self.segment_alike(&[prompt]))?;
        Ok(answers.into_iter().next().expect("one prompt has one answer"))
    }

    /// Answers several prompts, each for itself; as [`Embedding::segment`] for each, and faster.
    ///
    /// # Errors
    /// As [`Embedding::segment`]; nothing is computed unless all prompts are sound, and all answers fit the memory.
    pub fn segment_many(&self, prompts: &[Prompt]) -> Result<Vec<Segmentation>> {
        for prompt in prompts {
            prompt.check(self.image_size, self.model.grid_size())?;
        }
        let mut answers = Vec::with_capacity(prompts.len());
        let groups: Vec<&[Prompt]> = prompts.chunk_by(|a, b| self.shape(a) == self.shape(b)).collect();
        let shapes: Vec<_> = groups.iter().map(|alike| (self.shape(&alike[0]), alike.len())).collect();
        let (at_once, _promise) = self.admit(&shapes)?;
        for (alike, at_once) in groups.into_iter().zip(at_once) {
            self.model.engine.batches(at_once).for_each_batch(alike, None, retry_midway, |some| {
                answers.extend(self.segment_alike(&some.iter().collect::<Vec<_>>())?);
                Ok::<_, Error>(ControlFlow::Continue(()))
            })?;
        }
        Ok(answers)
    }

    /// What prompts must have in common to be answered together.
    fn shape(&self, prompt: &Prompt) -> PromptShape {
        PromptShape {
            points: prompt.points.len(),
            bounds: prompt.bounds.is_some(),
            mask: prompt.mask.is_some(),
            output: prompt.choice(self.model.recommendations().mask_rule).output(),
            keeps_all: prompt.multimask,
        }
    }

    /// How many prompts of each group the memory that is left allows to be answered together.
    fn admit(&self, groups: &[(PromptShape, usize)]) -> Result<(Vec<usize>, Promise)> {
        let Model { engine, planner, .. } = &self.model;
        let most_at_once = engine.at_once(PROMPTS_AT_ONCE);
        engine.tend();
        engine.enter(|memory| planner.admit_answers(groups, most_at_once, memory))
    }

    /// Prompts of one form: as many points, box or none, mask or none, the same choice of masks.
    fn segment_alike(&self, prompts: &[&Prompt]) -> Result<Vec<Segmentation>> {
        let choice = prompts[0].choice(self.model.recommendations().mask_rule);
        let batch = self.batch(prompts, choice.output());
        let predicted = self.model.segmenter.decode(self.model.device(), &self.features, &batch)?;
        let masks = self.masks_of(&predicted)?;
        let answers = masks.into_iter().zip(prompts).map(|(mut masks, prompt)| {
            if !prompt.multimask {
                // Several masks were predicted to find the likeliest; only who asked for all gets all.
                let scores: Vec<f32> = masks.iter().map(|mask| mask.iou_score).collect();
                // Only one way to choose looks at a mask.
                let first = match choice {
                    MaskChoice::SingleIfStable { .. } => masks[0].logits()?,
                    _ => &[],
                };
                let chosen = choice.choose(&scores, first);
                // What is not the answer goes, and with it the memory of the batch.
                masks = vec![masks.swap_remove(chosen).copied_out()?];
            }
            let cleanup = self.model.cleans_up.then(|| Arc::new(Cleanup::of(prompt)));
            let masks = masks.into_iter().map(|mask| mask.cleaned(cleanup.clone())).collect();
            Ok(Segmentation::new(masks))
        });
        answers.collect()
    }

    /// Prompts in the model's input frame.
    fn batch(&self, prompts: &[&Prompt], output: MaskOutput) -> PromptBatch {
        let rule = self.model.resize_rule();
        let input_from_image = rule.input_from_image(self.image_size);
        let grid = self.model.grid_size();
        let mut batch = PromptBatch { prompts: prompts.len(), output, ..PromptBatch::default() };
        for prompt in prompts {
            for point in &prompt.points {
                batch.points.push(input_from_image * point.at);
                batch.labels.push(i32::from(point.positive));
            }
            if let Some(bounds) = prompt.bounds {
                batch.boxes.push(input_from_image * bounds.clamped(self.image_size));
            }
            if let Some(mask) = &prompt.mask {
                let logits = match mask {
                    MaskPrompt::Mask(mask) => &logits_of_mask(mask, rule, grid),
                    MaskPrompt::Logits(logits) => logits,
                };
                batch.masks.get_or_insert_default().extend_from_slice(logits);
            }
        }
        batch
    }

    /// The masks of each prompt, in the model's order. Their scores come to the host, the masks when they are asked for.
    pub(crate) fn masks_of(&self, predicted: &MaskPrediction) -> Result<Vec<Vec<PredictedMask>>> {
        let [prompts, masks, height, width] = predicted.logits.shape().fixed("masks")?;
        let device = self.model.device();
        let scores = device.stage("decoder").download(&predicted.iou_scores)?.wait()?;
        let scores = scores.f32()?;
        self.model.check_finite(scores)?;
        let flat = predicted.logits.reshape([prompts * masks, height, width])?;
        let mask = |index: usize| -> Result<PredictedMask> {
            let logits = Logits::new(&self.model.engine, flat.narrow(index, 1)?, &self.model.name);
            Ok(PredictedMask::new(scores[index], logits, Arc::clone(&self.upscaler)))
        };
        (0..prompts).map(|prompt| (prompt * masks..(prompt + 1) * masks).map(mask).collect()).collect()
    }

    /// Size of the image.
    pub fn image_size(&self) -> Size<Image> {
        self.image_size
    }

    /// The model that encoded the image.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What the encoder found.
    pub fn features(&self) -> &ImageFeatures {
        &self.features
    }

    /// The way from the model's logits to the image's pixels.
    pub fn upscaler(&self) -> &Arc<Upscaler> {
        &self.upscaler
    }

    /// Bytes the embedding holds.
    pub fn size_bytes(&self) -> usize {
        self.features.size_bytes()
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
