//! One object on one frame: a tracker, what it is shown of a bank, and what is kept of its answer.

use std::sync::Arc;

use samovar_geometry::{Grid, Image, Size};
use samovar_media::{BitMask, RgbImage, resize_plane};
use samovar_models::{
    GivenMask, ImageFeatures, ObjectPast, PromptBatch, TrackedImage, TrackedMask, Tracker, TrackingRule,
};
use samovar_tensor::{Device, Precision, SetAside};

use super::bank::{Bank, Chosen, Kept, Look};
use crate::admission::Promise;
use crate::error::Result;
use crate::model::Model;
use crate::prompt::{MaskPrompt, Prompt};
use crate::tracker_plan::TrackerPlan;

/// Logits of what was found before, as a prompt: no farther from 0 than this. (`prev_sam_mask_logits` upstream.)
const SUREST_LOGIT: f32 = 32.0;
/// Logits of a mask that was given.
const CERTAIN: f32 = 10.0;
/// A pixel of the input is in a mask that covers so much of it.
const COVERED: f32 = 0.5;

/// A model that follows objects.
pub(crate) struct Follower {
    pub(crate) model: Model,
    tracker: Arc<dyn Tracker>,
    plan: Arc<TrackerPlan>,
}

impl Follower {
    /// Loads the model's tracker.
    ///
    /// # Errors
    /// [`Error::Usage`] when it has none, [`Error::DoesNotFit`].
    pub(crate) fn new(model: &Model) -> Result<Self> {
        let (tracker, plan) = model.tracker()?;
        Ok(Self { model: model.clone(), tracker, plan })
    }

    fn device(&self) -> &Device {
        self.model.device()
    }

    /// What the tracker remembers.
    pub(crate) fn rule(&self) -> &TrackingRule {
        self.tracker.rule()
    }

    pub(crate) fn grid_size(&self) -> Size<Grid> {
        self.model.grid_size()
    }

    /// A frame as objects are looked for in it.
    pub(crate) fn image(&self, pixels: &RgbImage) -> Result<TrackedImage> {
        Ok(TrackedImage::new((*self.model.features(pixels)?).clone())?)
    }

    /// Room for an object to be followed by all of its memories.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`].
    pub(crate) fn admit(&self, bank: &Bank, look: Look) -> Result<Promise> {
        let conditioning = bank.conditioning.len().min(look.conditioning_at_most.unwrap_or(usize::MAX));
        let memories = conditioning + self.rule().recent;
        let engine = self.model.engine();
        Ok(engine.enter(|memory| Ok(((), self.plan.admit_step(memories, memory)?)))?.1)
    }

    /// The frame with an object's past.
    pub(crate) fn attend(
        &self,
        image: &mut TrackedImage,
        bank: &Bank,
        place: i64,
        look: Look,
    ) -> Result<ImageFeatures> {
        let Chosen { memories, pointers } = bank.choose(place, self.rule(), look);
        let mut loaded = Vec::with_capacity(memories.len());
        for (at, when) in memories {
            if let Some(memory) = bank.at(at).and_then(|kept| kept.memory.as_ref()) {
                loaded.push((self.device().load(memory)?, when));
            }
        }
        let past = ObjectPast {
            memories: loaded.iter().map(|(memory, when)| (memory, *when)).collect(),
            pointers: pointers
                .iter()
                .filter_map(|(at, distance)| Some((bank.at(*at)?.pointer.as_slice(), *distance)))
                .collect(),
            pointers_at_most: look.pointers_at_most,
        };
        Ok(self.tracker.attend(self.device(), image, &past)?)
    }

    /// Finds an object by its past alone.
    pub(crate) fn follow(&self, features: &ImageFeatures) -> Result<TrackedMask> {
        self.checked(self.tracker.answer(self.device(), self.model.segmenter(), features, None)?)
    }

    /// Answers a prompt, in features with the object's past or without; `before` is what was found on the frame so far. A mask alone is
    /// taken for the answer.
    pub(crate) fn answer(
        &self,
        features: &ImageFeatures,
        image: &TrackedImage,
        prompt: &Prompt,
        size: Size<Image>,
        before: Option<&TrackedMask>,
    ) -> Result<TrackedMask> {
        let mut batch = PromptBatch { prompts: 1, ..PromptBatch::default() };
        match &prompt.mask {
            Some(MaskPrompt::Mask(mask)) if prompt.points.is_empty() && prompt.bounds.is_none() => {
                return self.adopt(image, mask);
            }
            Some(MaskPrompt::Mask(mask)) => batch.masks = Some(self.given(mask)?.1),
            Some(MaskPrompt::Logits(logits)) => batch.masks = Some(logits.clone()),
            None => {
                if let Some(before) = before {
                    let logits = self.device().download(&before.logits)?.wait()?.to_f32_vec()?;
                    let clamped = |logit: &f32| logit.clamp(-SUREST_LOGIT, SUREST_LOGIT);
                    batch.masks = Some(logits.iter().map(clamped).collect());
                }
            }
        }
        let input_from_image = self.model.resize_rule().input_from_image(size);
        for point in &prompt.points {
            batch.points.push(input_from_image * point.at);
            batch.labels.push(i32::from(point.positive));
        }
        batch.boxes.extend(prompt.bounds.map(|bounds| input_from_image * bounds.clamped(size)));
        self.checked(self.tracker.answer(self.device(), self.model.segmenter(), features, Some(&batch))?)
    }

    /// Takes a mask for the answer.
    pub(crate) fn adopt(&self, image: &TrackedImage, mask: &BitMask) -> Result<TrackedMask> {
        let (pixels, logits) = self.given(mask)?;
        let mask = GivenMask { pixels: &pixels, logits: &logits };
        let segmenter = self.model.segmenter();
        self.checked(self.tracker.adopt(self.device(), segmenter, image.features(), mask)?)
    }

    /// What is to be kept of an answer, `with_mask` with the answer itself.
    pub(crate) fn keep(
        &self,
        image: &mut TrackedImage,
        found: &TrackedMask,
        is_prompted: bool,
        with_mask: bool,
    ) -> Result<Kept> {
        let memory = self.tracker.remember(self.device(), image, found, is_prompted)?;
        let memory = self.device().download(&memory)?.wait()?;
        self.model.check_finite(memory.f32()?)?;
        Ok(Kept {
            memory: Some(memory.to_precision(Precision::Bf16)?),
            pointer: found.pointer.clone(),
            found: with_mask.then(|| found.clone()),
        })
    }

    fn checked(&self, found: TrackedMask) -> Result<TrackedMask> {
        self.model.check_finite(&[found.iou_score, found.object_score])?;
        self.model.check_finite(&found.pointer)?;
        Ok(found)
    }

    /// A mask in the size of the frame as pixels of the input, 0 or 1, and as logits of the grid.
    fn given(&self, mask: &BitMask) -> Result<(Vec<f32>, Vec<f32>)> {
        let side = self.rule().input_side;
        let input = Size::square(side as u32);
        let row_of = |y: u32, row: &mut [f32]| {
            row.fill(0.0);
            mask.runs(y).for_each(|(start, end)| row[start as usize..end as usize].fill(1.0));
        };
        let mut pixels = resize_plane(mask.size(), input, row_of)?;
        pixels.iter_mut().for_each(|pixel| *pixel = f32::from(u8::from(*pixel >= COVERED)));
        let grid = self.grid_size();
        let logits = resize_plane(input, Size::new(grid.width, grid.height), |y, row| {
            let of_row = &pixels[y as usize * side..][..side];
            row.iter_mut().zip(of_row).for_each(|(to, pixel)| *to = 2.0 * CERTAIN * pixel - CERTAIN);
        })?;
        Ok((pixels, logits))
    }
}

/// What is kept of objects, counted against the memory budget.
#[derive(Default)]
pub(crate) struct Aside(Option<(SetAside, usize)>);

impl Aside {
    /// Counts banks, and what one more frame may add to each, `with_mask` with its answer.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`].
    pub(crate) fn hold<'a>(
        &mut self,
        follower: &Follower,
        banks: impl Iterator<Item = &'a Bank>,
        with_mask: bool,
    ) -> Result<()> {
        let rule = follower.rule();
        let memory_bytes = rule.memory_tokens * rule.memory_channels * size_of::<u16>();
        let mask_bytes = if with_mask { follower.grid_size().area() as usize * size_of::<f32>() } else { 0 };
        let of_frame = memory_bytes + mask_bytes + 2 * rule.pointer_channels * size_of::<f32>();
        let wanted = banks.map(|bank| bank.size_bytes() + of_frame).sum();
        if self.0.as_ref().is_none_or(|(_, bytes)| *bytes < wanted) {
            self.0 = None;
            let aside = follower.model.engine().set_aside("what is kept of objects", wanted)?;
            self.0 = Some((aside, wanted));
        }
        Ok(())
    }
}
