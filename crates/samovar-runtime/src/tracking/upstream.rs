//! Objects followed as SAM 2's own `SAM2VideoPredictor` does it, for comparisons with it: every prompted frame conditions all others,
//! before and behind, and a pass sees the memories that an earlier one has left nearby. What users want is a [`super::Shot`].
//!
//! Two things differ from upstream's settings. A prompt on a frame that was tracked counts (`add_all_frames_to_correct_as_cond`, which
//! SAM 2 has off and SAM 3 on). And not all that was ever found is kept: what lies farther from the frame at hand and from the beginnings
//! of passes than a frame can look back is forgotten, so that memory does not grow with the shot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use samovar_geometry::{Image, Size};
use samovar_media::Upscaler;
use samovar_media::video::{Direction, Frame, FrameNumber, FrameSource};
use samovar_models::{ImageFeatures, TrackedImage, TrackedMask};

use super::bank::{Bank, Kept, Look};
use super::carrier::ObjectId;
use super::step::{Aside, Follower};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::prompt::{MaskPrompt, Prompt};
use crate::segmentation::{Logits, PredictedMask};

/// Most prompts of one object on one frame, each of which refines the one before.
const MAX_PROMPTS_OF_A_FRAME: usize = 256;

/// Which frames, and which way: a [`Direction`] alone, or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Travel {
    direction: Direction,
    from: Option<FrameNumber>,
    at_most: Option<usize>,
}

impl Travel {
    /// To later frames.
    pub fn forward() -> Self {
        Direction::Forward.into()
    }

    /// To earlier frames.
    pub fn backward() -> Self {
        Direction::Backward.into()
    }

    /// Begins with this frame, instead of the earliest one with a prompt.
    #[must_use]
    pub fn from(self, frame: FrameNumber) -> Self {
        Self { from: Some(frame), ..self }
    }

    /// So many frames and no more. (Upstream's `max_frame_num_to_track` gives one more.)
    #[must_use]
    pub fn at_most(self, frames: usize) -> Self {
        Self { at_most: Some(frames), ..self }
    }
}

impl From<Direction> for Travel {
    fn from(direction: Direction) -> Self {
        Self { direction, from: None, at_most: None }
    }
}

/// Frames, and what is said about objects on some of them, as upstream's predictor takes it.
pub struct Predictor {
    follower: Follower,
    source: Box<dyn FrameSource>,
    conditioning_at_most: Option<usize>,
    upscaler: Arc<Upscaler>,
    objects: BTreeMap<ObjectId, Object>,
    /// What distances of pointers are divided by, plus one, once frames were counted.
    pointers_at_most: Option<usize>,
    /// Where passes began, of which a later one sees what it left nearby.
    begun_at: BTreeSet<i64>,
    /// What is kept of objects, counted against the budget.
    aside: Aside,
}

/// One object.
#[derive(Default)]
struct Object {
    /// What was said about it, by place.
    said: BTreeMap<i64, Said>,
    bank: Bank,
    /// Where passes have looked for it, the latest last.
    tracked: Vec<Stretch>,
}

/// Places from the least to the greatest, and the way they were passed.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    least: i64,
    greatest: i64,
    direction: Direction,
}

/// What was said about an object on a frame.
struct Said {
    number: FrameNumber,
    /// In the order it was given, with what was not answered yet.
    given: Vec<Given>,
}

struct Given {
    prompt: Prompt,
    /// Whether the object had been looked for there before: its past counts, and what was found is corrected.
    corrects: bool,
    is_answered: bool,
}

/// A frame and the objects on it.
pub struct PredictedFrame {
    /// The frame itself.
    pub frame: Frame,
    /// By their numbers.
    pub objects: Vec<PredictedObject>,
}

/// An object on a frame.
#[derive(Clone)]
pub struct PredictedObject {
    /// Which one.
    pub object: ObjectId,
    /// Whether something was said about it on this very frame.
    pub is_prompted: bool,
    /// Whether it is in the picture, as a logit: it is, above 0. Elsewhere it is hidden, and its mask empty.
    pub object_score: f32,
    /// Where it is. Logits of a hidden object are -1024 everywhere.
    pub mask: PredictedMask,
    pointer: Arc<[f32]>,
}

impl PredictedObject {
    /// Whether it is not in the picture: behind something, or out of it.
    pub fn is_hidden(&self) -> bool {
        self.object_score <= 0.0
    }

    /// The vector by which later frames know it, as the model made it.
    pub fn pointer(&self) -> &[f32] {
        &self.pointer
    }
}

impl Model {
    /// Objects through these frames as upstream's predictor follows them. A frame is shown `conditioning_at_most` frames with prompts, the
    /// nearest; `None` for as many as the model says, which is all of most. Loads the model's tracker.
    ///
    /// # Errors
    /// [`Error::Usage`] when it has none, naming models that have, and for fewer than 2; [`Error::DoesNotFit`].
    pub fn open_video_as_upstream(
        &self,
        frames: Box<dyn FrameSource>,
        conditioning_at_most: Option<usize>,
    ) -> Result<Predictor> {
        if let Some(most @ 0..=1) = conditioning_at_most {
            let what = format!("a frame is to be shown {most} of the frames with prompts");
            return Err(Error::usage(format!("{what}; at least 2 are needed, one before it and one behind")));
        }
        let upscaler = Arc::new(Upscaler::new(self.grid_size(), self.resize_rule(), frames.size())?);
        Ok(Predictor {
            follower: Follower::new(self)?,
            source: frames,
            conditioning_at_most,
            upscaler,
            objects: BTreeMap::new(),
            pointers_at_most: None,
            begun_at: BTreeSet::new(),
            aside: Aside::default(),
        })
    }
}

impl Predictor {
    /// Size of all frames.
    pub fn size(&self) -> Size<Image> {
        self.source.size()
    }

    /// Says where an object is on a frame: by points, by a box and points, or by a mask alone, which is taken for the answer. It is answered
    /// when the next pass begins. What is said again about the same object on the same frame refines what is there, and a mask
    /// replaces it.
    ///
    /// # Errors
    /// [`Error::Usage`] for a prompt that is empty, beside the frame, or has a mask beside points or a box; for a frame that the shot does
    /// not have; and for a correction of what was found so long ago that it is no longer kept.
    pub fn prompt(&mut self, frame: FrameNumber, object: ObjectId, prompt: &Prompt) -> Result<()> {
        let refuse = |what: &str| Err(Error::usage(format!("object {object} on frame {frame}: {what}")));
        match prompt.check(self.size(), self.follower.grid_size()) {
            Err(Error::Usage(what)) => return refuse(&what),
            checked => checked?,
        }
        let is_mask = matches!(prompt.mask, Some(MaskPrompt::Mask(_)));
        let has_clicks = !prompt.points.is_empty() || prompt.bounds.is_some();
        if is_mask && has_clicks {
            return refuse("a mask is taken as it is; give it without points and box, or them without it");
        }
        if prompt.mask.is_some() && !is_mask && !has_clicks {
            return refuse("logits only go with points or a box; give a mask");
        }
        if prompt.multimask {
            return refuse("an object has one mask; ask without multimask");
        }
        let Some(place) = self.source.place(frame) else { return refuse("the shot has no such frame") };
        let known = self.objects.entry(object).or_default();
        let corrects = known.tracked.iter().any(|stretch| stretch.contains(place));
        let is_kept = known.bank.at(place).is_some_and(|kept| kept.found.is_some());
        if corrects && !is_kept {
            return refuse("what was found there is no longer kept; follow the object to it anew");
        }
        let said = known.said.entry(place).or_insert_with(|| Said { number: frame, given: Vec::new() });
        if is_mask {
            said.given.clear();
        }
        if said.given.len() >= MAX_PROMPTS_OF_A_FRAME {
            return refuse("so many prompts are not taken; remove the object and give one");
        }
        said.given.push(Given { prompt: prompt.clone(), corrects, is_answered: false });
        Ok(())
    }

    /// Forgets an object, and says whether it was there. Nothing changes for the others.
    pub fn remove_object(&mut self, object: ObjectId) -> bool {
        self.objects.remove(&object).is_some()
    }

    /// Follows the objects: `predictor.propagate(Travel::backward().from(1040).at_most(12))?`. Dropped before its end, all is as
    /// after the last frame that was given.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing has been said, [`Error::Media`] for a frame or a direction that the source cannot give, and what
    /// answering prompts can be refused for.
    pub fn propagate(&mut self, travel: impl Into<Travel>) -> Result<Prediction<'_>> {
        let Travel { direction, from, at_most } = travel.into();
        let said = self.objects.values().flat_map(|object| &object.said);
        let Some((first, first_number)) = said.map(|(&place, said)| (place, said.number)).min() else {
            return Err(Error::usage("no object to follow; say on some frame where it is"));
        };
        let number = from.unwrap_or(first_number);
        let place = match from {
            None => Some(first),
            Some(number) => self.source.place(number),
        };
        let Some(place) = place else {
            return Err(Error::usage(format!("the shot has no frame {number} to begin with")));
        };
        let rule = self.follower.rule();
        let pointers_at_most = match self.pointers_at_most {
            Some(most) => most,
            None => self.source.count_up_to(rule.pointers)?.min(rule.pointers),
        };
        self.pointers_at_most = Some(pointers_at_most);
        let conditioning_at_most = self.conditioning_at_most.or(rule.conditioning_at_most);
        let look = Look { direction, conditioning_at_most, pointers_at_most };
        self.answer_all(look)?;
        self.begun_at.insert(place);
        self.source.start(Some(number), direction)?;
        Ok(Prediction { predictor: self, look, left: at_most, is_done: false })
    }

    /// Answers all that was said and is not answered yet, whichever frame it is on (`propagate_in_video_preflight`).
    fn answer_all(&mut self, look: Look) -> Result<()> {
        let is_open = |said: &&Said| said.given.iter().any(|given| !given.is_answered);
        let open = |object: &Object| -> Vec<(i64, FrameNumber)> {
            let said = object.said.iter().filter(|(_, said)| is_open(said));
            said.map(|(&place, said)| (place, said.number)).collect()
        };
        let frames: BTreeMap<i64, FrameNumber> = self.objects.values().flat_map(open).collect();
        // Nothing that is answered now is known to another prompt.
        let mut answered: Vec<(ObjectId, i64, Kept)> = Vec::new();
        for (place, number) in frames {
            self.source.start(Some(number), Direction::Forward)?;
            let Some(frame) = self.source.next()? else {
                return Err(Error::usage(format!(
                    "frame {number} has a prompt, and the shot ends before it"
                )));
            };
            let mut image = self.follower.image(&frame.pixels)?;
            for (&id, object) in &self.objects {
                let Some(said) = object.said.get(&place).filter(is_open) else { continue };
                let _promise = self.follower.admit(&object.bank, look)?;
                let Some(found) = self.answer(&mut image, object, place, said, look)? else { continue };
                answered.push((id, place, self.follower.keep(&mut image, &found, true, true)?));
            }
        }
        for (id, place, kept) in answered {
            let Some(object) = self.objects.get_mut(&id) else { continue };
            object.bank.conditioning.insert(place, kept);
            object.bank.others.remove(&place);
            let said = object.said.get_mut(&place).into_iter();
            said.flat_map(|said| &mut said.given).for_each(|given| given.is_answered = true);
        }
        Ok(())
    }

    /// What prompts on a frame that are not answered yet are answered with, one after the other; `None` for none.
    fn answer(
        &self,
        image: &mut TrackedImage,
        object: &Object,
        place: i64,
        said: &Said,
        look: Look,
    ) -> Result<Option<TrackedMask>> {
        let stretch = object.tracked.iter().rev().find(|stretch| stretch.contains(place));
        let look = Look { direction: stretch.map_or(look.direction, |by| by.direction), ..look };
        let mut before = object.bank.at(place).and_then(|kept| kept.found.clone());
        let mut found = None;
        let mut attended: Option<ImageFeatures> = None;
        for Given { prompt, corrects, .. } in said.given.iter().filter(|given| !given.is_answered) {
            let is_mask = matches!(prompt.mask, Some(MaskPrompt::Mask(_)));
            let features = match &attended {
                Some(attended) if *corrects => attended.clone(),
                None if *corrects && !object.bank.is_empty() && !is_mask => {
                    attended.insert(self.follower.attend(image, &object.bank, place, look)?).clone()
                }
                _ => image.features().clone(),
            };
            let answer = self.follower.answer(&features, image, prompt, self.size(), before.as_ref())?;
            before = Some(answer.clone());
            found = Some(answer);
        }
        Ok(found)
    }

    /// Bytes that are kept of all objects from one frame to the next: they depend on the model, on the number of objects and on that of
    /// frames with prompts, not on the length of the shot.
    pub fn kept_bytes(&self) -> usize {
        self.objects.values().map(|object| object.bank.size_bytes()).sum()
    }

    fn predicted(&self, object: ObjectId, is_prompted: bool, found: TrackedMask) -> PredictedObject {
        let TrackedMask { logits, iou_score, object_score, pointer } = found;
        let model = &self.follower.model;
        let logits = Logits::new(model.engine(), logits, model.shared_name());
        let mask = PredictedMask::new(iou_score, logits, Arc::clone(&self.upscaler));
        PredictedObject { object, is_prompted, object_score, mask, pointer: pointer.into() }
    }
}

impl Stretch {
    fn contains(&self, place: i64) -> bool {
        (self.least..=self.greatest).contains(&place)
    }
}

impl Object {
    /// Notes that a pass has looked for it at a place.
    fn passed(&mut self, place: i64, direction: Direction) {
        match self.tracked.last_mut() {
            Some(last)
                if last.direction == direction && (last.least - 1..=last.greatest + 1).contains(&place) =>
            {
                (last.least, last.greatest) = (last.least.min(place), last.greatest.max(place));
            }
            _ => self.tracked.push(Stretch { least: place, greatest: place, direction }),
        }
        if let [older @ .., last] = &self.tracked[..]
            && older.iter().any(|older| older.least >= last.least && older.greatest <= last.greatest)
        {
            // What the latest covers says nothing any more.
            let (last, count) = (*last, self.tracked.len());
            let mut index = 0;
            self.tracked.retain(|older| {
                index += 1;
                index == count || older.least < last.least || older.greatest > last.greatest
            });
        }
    }
}

/// Frames with the objects on them, one after the other; see [`Predictor::propagate`]. Behind an error there is none.
pub struct Prediction<'a> {
    predictor: &'a mut Predictor,
    look: Look,
    left: Option<usize>,
    is_done: bool,
}

impl Iterator for Prediction<'_> {
    type Item = Result<PredictedFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done || self.left == Some(0) {
            return None;
        }
        let frame = self.step().transpose();
        self.left = self.left.map(|left| left - 1);
        self.is_done = !matches!(frame, Some(Ok(_)));
        frame
    }
}

impl Prediction<'_> {
    fn step(&mut self) -> Result<Option<PredictedFrame>> {
        let (look, predictor) = (self.look, &mut *self.predictor);
        let banks = predictor.objects.values().map(|object| &object.bank);
        predictor.aside.hold(&predictor.follower, banks, true)?;
        let Some(frame) = predictor.source.next()? else { return Ok(None) };
        let Some(place) = predictor.source.place(frame.number) else {
            return Err(Error::usage(format!(
                "the source gives frame {}, and has no place for it",
                frame.number
            )));
        };
        let mut image = None;
        let mut found = Vec::new();
        // An error leaves all objects as they were after the frame before.
        for (&id, object) in &predictor.objects {
            let said = object.bank.conditioning.get(&place).and_then(|kept| kept.found.clone());
            match said {
                Some(said) => found.push((id, said, None)),
                None if object.bank.is_empty() => {}
                None => {
                    let image = match &mut image {
                        Some(image) => image,
                        None => image.insert(predictor.follower.image(&frame.pixels)?),
                    };
                    let _promise = predictor.follower.admit(&object.bank, look)?;
                    let features = predictor.follower.attend(image, &object.bank, place, look)?;
                    let followed = predictor.follower.follow(&features)?;
                    let kept = predictor.follower.keep(image, &followed, false, true)?;
                    found.push((id, followed, Some(kept)));
                }
            }
        }
        let near: Vec<i64> = predictor.begun_at.iter().copied().chain([look.next(place)]).collect();
        let rule = *predictor.follower.rule();
        let mut objects = Vec::with_capacity(found.len());
        for (id, found, kept) in found {
            objects.push(predictor.predicted(id, kept.is_none(), found));
            let Some(object) = predictor.objects.get_mut(&id) else { continue };
            if let Some(kept) = kept {
                object.bank.others.insert(place, kept);
            }
            object.passed(place, look.direction);
            object.bank.keep_near(&near, &rule);
        }
        Ok(Some(PredictedFrame { frame, objects }))
    }
}
