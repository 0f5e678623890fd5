//! Following objects with a model that has no memory: the last mask is carried on by optical flow, and what it covers then and looks
//! like the object is asked of the model again, in a crop around it (DIS flow as in Kroeger et al. 2016; the prompt as in SAM-PT
//! and its kin; [`Appearance`] for what it looks like).
//!
//! Where the answer looks like something else ([`Standing`]), the object is searched in the rest of the frame, a crop in each; elsewhere
//! the answer is looked at again, closer. So the model is asked twice a frame at most.

use std::collections::BTreeMap;

use samovar_geometry::{Box2, Image, Motion, Point, Size};
use samovar_media::flow::{DenseFlow, Flow, Grey};
use samovar_media::video::Frame;
use samovar_media::{BitMask, RgbImage};

use super::appearance::{Appearance, resampled};
use super::asked::{Asked, keep_strongest_part};
use super::carrier::{Ask, Carrier, Found, ObjectId};
use super::mask::{Region, RegionLogits, TrackedMask};
use super::patch::{CERTAIN, Patch};
use super::standing::{Sight, Standing};
use super::view::{LEAST_CROP, Seen, Viewer};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::prompt::{MaskPrompt, Prompt};

/// The crop is this many times as wide and high as what was carried, square.
const CROP_SCALE: f64 = 2.0;
/// That around what was found, which is looked at closer.
const CLOSER_SCALE: f64 = 1.5;

/// Flow is found in pictures that fit into this, which is DAVIS's 480p.
pub(crate) const FLOW_WITHIN: Size<Motion> = Size::new(854, 480);

/// An object as it is followed.
#[derive(Debug, Clone)]
struct Followed {
    patch: Patch,
    /// `None` where it was never seen with anything around it.
    appearance: Option<Appearance>,
    /// `None` where it looks like what is around it.
    standing: Option<Standing>,
}

/// Carries the masks of one shot in one direction.
pub(crate) struct Carried {
    viewer: Viewer,
    flow: DenseFlow,
    before: Option<Grey>,
    objects: BTreeMap<ObjectId, Followed>,
}

impl Carried {
    pub(crate) fn new(model: &Model) -> Self {
        let viewer = Viewer { model: model.clone() };
        Self { viewer, flow: DenseFlow::default(), before: None, objects: BTreeMap::new() }
    }

    /// Answers a prompt on the whole frame, or corrects what was carried there.
    fn answer(
        &self,
        frame: &RgbImage,
        prompt: &Prompt,
        carried: Option<&Patch>,
        size: Size<Motion>,
    ) -> Result<(TrackedMask, f32)> {
        let viewer = &self.viewer;
        if let Some(carried) = carried.filter(|carried| is_correction(prompt, carried))
            && let Some(bounds) = carried.bounds()
        {
            let clicks = prompt.points.iter().map(|point| point.at);
            let bounds = (bounds, carried.pixels_of(frame.size()));
            if let Some(region) = viewer.region(frame.size(), bounds, CROP_SCALE, clicks) {
                let carried = viewer.prompt_logits(carried, frame.size(), region);
                let correction =
                    Prompt { mask: Some(MaskPrompt::Logits(carried)), ..in_region(prompt, region) };
                return viewer.ask(frame.size(), &viewer.see(frame, region)?, &correction, None);
            }
        }
        if let Some(mask) = prompt.only_mask() {
            return Ok((TrackedMask::new(mask.clone(), None), 1.0));
        }
        let whole = viewer.see(frame, Region::whole(frame.size()))?;
        let (found, iou_score) = viewer.ask(frame.size(), &whole, prompt, None)?;
        drop(whole);
        let again = self.answer_in_crop(frame, prompt, &found, size)?;
        Ok(again.unwrap_or((found, iou_score)))
    }

    /// A prompt that was answered on the whole frame, answered again in a crop: of something small the first answer is rough, and
    /// may be a part of it.
    fn answer_in_crop(
        &self,
        frame: &RgbImage,
        prompt: &Prompt,
        found: &TrackedMask,
        size: Size<Motion>,
    ) -> Result<Option<(TrackedMask, f32)>> {
        let viewer = &self.viewer;
        let Some(logits) = found.logits() else { return Ok(None) };
        let patch = Patch::of_logits(logits, found.mask(), size, &viewer.model)?;
        let Some(mut bounds) = patch.bounds() else { return Ok(None) };
        let (across, down) = pixels_of(frame.size(), size);
        let within = prompt.bounds.map(|within| within.clamped(frame.size()));
        if let Some(Box2 { x0, y0, x1, y1, .. }) = within {
            bounds = Box2::new(
                bounds.x0.min(x0 / across),
                bounds.y0.min(y0 / down),
                bounds.x1.max(x1 / across),
                bounds.y1.max(y1 / down),
            );
        }
        let clicks = prompt.points.iter().map(|point| point.at);
        let region = viewer.region(frame.size(), (bounds, (across, down)), CROP_SCALE, clicks);
        let Some(region) = region.filter(|&region| region != Region::whole(frame.size())) else {
            return Ok(None);
        };
        let asked = viewer.asked(region, viewer.prompt_logits(&patch, frame.size(), region), None);
        let Some(derived) = asked.prompt() else { return Ok(None) };
        let said = in_region(prompt, region);
        let points = if said.points.is_empty() { derived.points } else { said.points };
        let again = Prompt { points, bounds: said.bounds.or(derived.bounds), mask: derived.mask, ..said };
        viewer.ask(frame.size(), &viewer.see(frame, region)?, &again, None).map(Some)
    }

    /// Finds again what was carried.
    fn follow(
        &self,
        frame: &RgbImage,
        object: &mut Followed,
        size: Size<Motion>,
    ) -> Result<(TrackedMask, f32)> {
        let asked = match self.viewer.around(frame.size(), &object.patch, CROP_SCALE) {
            Some(region) => self.ask_carried(frame, object, region)?,
            None => None,
        };
        let sight = asked.as_ref().and_then(|(asked, found, _)| sight_of(asked, found.mask(), size));
        let answer = asked.as_ref().map(|(_, found, _)| found.mask());
        if let (Some(appearance), Some(standing)) = (&object.appearance, &mut object.standing)
            && standing.is_lost(sight.as_ref())
        {
            if let Some(again) = self.search(frame, (appearance, standing), (answer, sight), size)? {
                return Ok(again);
            }
        } else if let Some((asked, found, _)) = &asked {
            let closer = self.closer(frame, asked, found, size)?;
            let mask = closer.as_ref().map_or(found, |(closer, _)| closer).mask();
            if let (Some(standing), Some(sight)) = (&mut object.standing, sight_of(asked, mask, size)) {
                standing.see(&sight);
            }
            if let Some(closer) = closer {
                return Ok(closer);
            }
        }
        match asked {
            Some((_, found, iou_score)) => Ok((found, iou_score)),
            None => Ok((TrackedMask::new(BitMask::try_new(frame.size())?, None), 0.0)),
        }
    }

    /// What was carried into a region and looks like the object is asked of the model; `None` if that is nothing.
    fn ask_carried(
        &self,
        frame: &RgbImage,
        object: &Followed,
        region: Region,
    ) -> Result<Option<(Asked, TrackedMask, f32)>> {
        let seen = self.viewer.see(frame, region)?;
        let mut logits = self.viewer.prompt_logits(&object.patch, frame.size(), region);
        let alike = match &object.appearance {
            Some(appearance) => Some(self.viewer.alike(appearance, &seen)?),
            None => None,
        };
        // What was carried for certain and looks like anything but the object is as likely as not.
        for (logit, alike) in logits.iter_mut().zip(alike.iter().flatten()) {
            *logit = (*logit + CERTAIN * alike).clamp(-CERTAIN, CERTAIN);
        }
        self.parts_found(frame.size(), &seen, logits, alike)
    }

    /// What a model answers to logits, as far as it is the object.
    fn parts_found(
        &self,
        frame: Size<Image>,
        seen: &Seen,
        logits: Vec<f32>,
        alike: Option<Vec<f32>>,
    ) -> Result<Option<(Asked, TrackedMask, f32)>> {
        let asked = self.viewer.asked(seen.region, logits, alike);
        let Some(prompt) = asked.prompt() else { return Ok(None) };
        let (found, iou_score) = self.viewer.ask(frame, seen, &prompt, None)?;
        let mask = asked.parts_of(found.mask())?;
        Ok(Some((asked, found.with_mask(mask), iou_score)))
    }

    /// Looks at what was found again in a crop close around it, and takes the mean of both answers.
    fn closer(
        &self,
        frame: &RgbImage,
        asked: &Asked,
        found: &TrackedMask,
        size: Size<Motion>,
    ) -> Result<Option<(TrackedMask, f32)>> {
        let viewer = &self.viewer;
        let Some(found_logits) = found.logits() else { return Ok(None) };
        let whole = BitMask::full(frame.size());
        let patch = |logits: &RegionLogits, mask| Patch::of_logits(logits, mask, size, &viewer.model);
        let answered = patch(found_logits, found.mask())?;
        let region = viewer.around(frame.size(), &answered, CLOSER_SCALE);
        let Some(region) = region.filter(|&region| region != asked.region) else { return Ok(None) };
        let on_grid = |patch: Patch| viewer.prompt_logits(&patch, frame.size(), region);
        let answered = on_grid(answered);
        let mut logits = on_grid(patch(&found_logits.with_values(&asked.logits), &whole)?);
        // What was certainly not answered, or is no part of the object, is not asked again.
        for (logit, &answered) in logits.iter_mut().zip(&answered) {
            if answered <= -CERTAIN {
                *logit = -CERTAIN;
            }
        }
        let near = viewer.asked(region, logits, None);
        let Some(prompt) = near.prompt() else { return Ok(None) };
        let seen = viewer.see(frame, region)?;
        let (closer, iou_score) = viewer.ask(frame.size(), &seen, &prompt, Some(&answered))?;
        let mask = asked.parts_of(closer.mask())?;
        Ok(Some((closer.with_mask(mask), iou_score)))
    }

    /// Looks for a lost object in a part of the frame, in each frame another; `None` if it is not there.
    fn search(
        &self,
        frame: &RgbImage,
        (appearance, standing): (&Appearance, &mut Standing),
        (answer, sight): (Option<&BitMask>, Option<Sight>),
        size: Size<Motion>,
    ) -> Result<Option<(TrackedMask, f32)>> {
        let place = (standing.search(size, CROP_SCALE, LEAST_CROP), pixels_of(frame.size(), size));
        let Some(region) = self.viewer.region(frame.size(), place, 1.0, std::iter::empty()) else {
            return Ok(None);
        };
        let seen = self.viewer.see(frame, region)?;
        let alike = self.viewer.alike(appearance, &seen)?;
        let certain = |&alike: &f32| (CERTAIN * standing.certainty(alike)).clamp(-CERTAIN, CERTAIN);
        let mut logits: Vec<f32> = alike.iter().map(certain).collect();
        keep_strongest_part(&mut logits, self.viewer.model.grid_size())?;
        let Some((asked, found, iou_score)) = self.parts_found(frame.size(), &seen, logits, Some(alike))?
        else {
            return Ok(None);
        };
        let Some(again) = sight_of(&asked, found.mask(), size) else { return Ok(None) };
        let (across, down) = pixels_of(frame.size(), size);
        let shared = match answer {
            Some(answer) => found.mask().intersection_area(answer)? as f64 / (across * down),
            None => 0.0,
        };
        if !standing.is_found(&again, sight.as_ref(), shared) {
            return Ok(None);
        }
        standing.see(&again);
        Ok(Some((found, iou_score)))
    }

    /// What an object looks like that has this mask, beside what is known of it; `None` where there is no telling it from what is
    /// around it.
    fn learn(
        &self,
        frame: &RgbImage,
        mask: &BitMask,
        size: Size<Motion>,
        known: Option<&Appearance>,
    ) -> Result<Option<(Appearance, Option<Standing>)>> {
        let (viewer, model) = (&self.viewer, &self.viewer.model);
        let patch = Patch::of_mask(mask, size);
        let Some(region) = viewer.around(frame.size(), &patch, CROP_SCALE) else { return Ok(None) };
        let seen = viewer.see(frame, region)?;
        let look = viewer.look(&seen)?;
        let sight = |appearance: &Appearance| {
            let alike = resampled(&appearance.of(&look), look.grid(), model.grid_size());
            sight_of(&viewer.asked(region, Vec::new(), Some(alike)), mask, size)
        };
        let logits = patch.on_grid(frame.size(), region, model.resize_rule(), look.grid());
        let covered: Vec<f32> = logits.iter().map(|logit| (logit / CERTAIN + 1.0) / 2.0).collect();
        let Some(learnt) = Appearance::learn(&look, &covered) else { return Ok(None) };
        // Where this looks like anything but the object, what was followed before was another.
        let known = known.filter(|known| sight(known).is_some_and(|sight| sight.alike > 0.0));
        let appearance = known.map_or_else(|| learnt.clone(), |known| known.joined(&learnt));
        let standing = sight(&appearance).and_then(|sight| Standing::new(&sight));
        Ok(Some((appearance, standing)))
    }
}

/// Pixels of a frame per pixel of the flow, across and down.
fn pixels_of(frame: Size<Image>, size: Size<Motion>) -> (f64, f64) {
    (
        f64::from(frame.width) / f64::from(size.width.max(1)),
        f64::from(frame.height) / f64::from(size.height.max(1)),
    )
}

/// A mask in a region of which is known what looks like the object.
fn sight_of(asked: &Asked, mask: &BitMask, size: Size<Motion>) -> Option<Sight> {
    let (across, down) = pixels_of(mask.size(), size);
    let Box2 { x0, y0, x1, y1, .. } = mask.tight_box()?;
    Some(Sight {
        alike: asked.likeness(mask)?,
        area: mask.area() as f64 / (across * down),
        bounds: Box2::new(x0 / across, y0 / down, x1 / across, y1 / down),
    })
}

/// Whether a prompt is about what was carried: clicks alone are, if it is not nothing.
fn is_correction(prompt: &Prompt, carried: &Patch) -> bool {
    prompt.bounds.is_none() && prompt.mask.is_none() && carried.bounds().is_some()
}

/// Points and box in pixels of a region.
fn in_region(prompt: &Prompt, region: Region) -> Prompt {
    let mut prompt = prompt.clone();
    let (left, top) = (f64::from(region.x0), f64::from(region.y0));
    for point in &mut prompt.points {
        point.at = Point::new(point.at.x - left, point.at.y - top);
    }
    prompt.bounds = prompt.bounds.map(|Box2 { x0, y0, x1, y1, .. }| {
        Box2::new(x0 - left, y0 - top, x1 - left, y1 - top).clamped(region.size)
    });
    prompt
}

impl Carrier for Carried {
    fn step(&mut self, frame: &Frame, asked: &[(ObjectId, Ask)]) -> Result<Vec<Found>> {
        let pixels = &*frame.pixels;
        let grey = Grey::of(pixels, FLOW_WITHIN, self.viewer.model.engine().threads())?;
        let flow: Option<Flow> = match &self.before {
            Some(before) if !self.objects.is_empty() && before.size() == grey.size() => {
                Some(self.flow.between(&grey, before)?)
            }
            _ => None,
        };
        let mut all = Vec::with_capacity(asked.len());
        for &(object, ask) in asked {
            let mut carried = self.objects.get(&object).cloned();
            if let (Some(carried), Some(flow)) = (&mut carried, &flow) {
                carried.patch = carried.patch.carried(flow);
            }
            // Corrections and what was found again are not learnt from: mistakes would teach themselves.
            let mut shows_all = matches!(ask, Ask::Adopt(_));
            let (mask, iou_score) = match ask {
                Ask::Answer(prompt) => {
                    let patch = carried.as_ref().map(|object| &object.patch);
                    shows_all = !patch.is_some_and(|patch| is_correction(prompt, patch));
                    self.answer(pixels, prompt, patch, grey.size())?
                }
                Ask::Adopt(mask) => (TrackedMask::new(mask.clone(), None), 1.0),
                Ask::Follow => match &mut carried {
                    Some(carried) => self.follow(pixels, carried, grey.size())?,
                    None => return Err(Error::usage(format!("object {object} was never shown"))),
                },
            };
            let patch = match mask.logits() {
                Some(logits) => Patch::of_logits(logits, mask.mask(), grey.size(), &self.viewer.model)?,
                None => Patch::of_mask(mask.mask(), grey.size()),
            };
            let (mut appearance, mut standing) =
                carried.map_or((None, None), |carried| (carried.appearance, carried.standing));
            if shows_all
                && let Some(learnt) = self.learn(pixels, mask.mask(), grey.size(), appearance.as_ref())?
            {
                (appearance, standing) = (Some(learnt.0), learnt.1);
            }
            self.objects.insert(object, Followed { patch, appearance, standing });
            all.push(Found { object, mask, iou_score, object_score: None });
        }
        self.before = Some(grey);
        Ok(all)
    }

    fn save(&self, object: ObjectId) -> Result<Vec<u8>> {
        let Some(Followed { patch, appearance, standing }) = self.objects.get(&object) else {
            return Ok(Vec::new());
        };
        let mut bytes = vec![u8::from(appearance.is_some()), u8::from(standing.is_some())];
        bytes.extend(appearance.iter().flat_map(Appearance::to_bytes));
        bytes.extend(standing.iter().flat_map(|standing| standing.to_bytes()));
        bytes.extend(patch.to_bytes());
        Ok(bytes)
    }

    fn restore(&mut self, object: ObjectId, saved: &[u8]) -> Result<()> {
        let followed =
            Followed::from_bytes(saved).ok_or_else(|| Error::usage("a saved state of another kind"))?;
        self.objects.insert(object, followed);
        Ok(())
    }
}

impl Followed {
    /// As it was saved; `None` for bytes that are none.
    fn from_bytes(saved: &[u8]) -> Option<Self> {
        let (&[has_appearance, has_standing], rest) = saved.split_first_chunk::<2>()?;
        let (appearance, rest) = match has_appearance {
            0 => (None, rest),
            1 => Appearance::from_bytes(rest).map(|(appearance, rest)| (Some(appearance), rest))?,
            _ => return None,
        };
        let (standing, rest) = match has_standing {
            0 => (None, rest),
            1 => Standing::from_bytes(rest).map(|(standing, rest)| (Some(standing), rest))?,
            _ => return None,
        };
        Some(Self { patch: Patch::from_bytes(rest)?, appearance, standing })
    }
}
