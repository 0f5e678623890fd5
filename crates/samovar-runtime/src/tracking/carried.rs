//! Following objects with a model that has no memory: the last mask is carried on by optical flow, and what it covers then and looks
//! like the object is asked of the model again, in a crop around it (DIS flow as in Kroeger et al. 2016; the prompt as in SAM-PT
//! and its kin; [`Appearance`] for what it looks like).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use samovar_geometry::{Box2, Grid, Image, Motion, Point, ResizeRule, Size};
use samovar_media::flow::{DenseFlow, Flow, Grey};
use samovar_media::mask::deepest_point;
use samovar_media::video::Frame;
use samovar_media::{BitMask, Connectivity, RgbImage, connected_components};

use super::appearance::{Appearance, Look, resampled};
use super::carrier::{Ask, Carrier, Found, ObjectId};
use super::mask::{Region, RegionLogits, TrackedMask};
use super::patch::{CERTAIN, Patch};
use crate::error::{Error, Result};
use crate::model::{Embedding, Model};
use crate::prompt::{MaskPrompt, Prompt};
use crate::segmentation::PredictedMask;

/// The crop is this many times as wide and high as what was carried, square.
const CROP_SCALE: f64 = 2.0;
/// Least side of a crop, in pixels of the flow.
const LEAST_CROP: f64 = 96.0;

/// Flow is found in pictures that fit into this, which is DAVIS's 480p.
pub(crate) const FLOW_WITHIN: Size<Motion> = Size::new(854, 480);

/// Parts of an answer of which less was carried there are other things.
const LEAST_SHARED: f64 = 0.2;
/// Parts that look so much less like the object than the part that does most are other things: of the way from -1 to 1, a fifth.
const LEAST_ALIKE: f64 = 0.4;
/// A part of less than this share of all is no measure of the others.
const LEAST_MEASURE: f64 = 0.1;

/// An object as it is followed.
#[derive(Debug, Clone)]
struct Followed {
    patch: Patch,
    /// `None` where it was never seen with anything around it.
    appearance: Option<Appearance>,
}

/// A part of a frame that was encoded.
struct Seen<'f> {
    region: Region,
    pixels: Cow<'f, RgbImage>,
    embedding: Embedding,
}

/// What is asked of a region, by the cells of the model's grid.
struct Asked {
    region: Region,
    grid: Size<Grid>,
    /// Cells per pixel.
    scale: (f64, f64),
    logits: Vec<f32>,
    /// How much each cell looks like the object.
    alike: Option<Vec<f32>>,
}

/// Carries the masks of one shot in one direction.
pub(crate) struct Carried {
    model: Model,
    flow: DenseFlow,
    before: Option<Grey>,
    objects: BTreeMap<ObjectId, Followed>,
}

impl Carried {
    pub(crate) fn new(model: &Model) -> Self {
        Self { model: model.clone(), flow: DenseFlow::default(), before: None, objects: BTreeMap::new() }
    }

    /// Answers a prompt on the whole frame, or corrects what was carried there.
    fn answer(
        &self,
        frame: &RgbImage,
        prompt: &Prompt,
        carried: Option<&Patch>,
    ) -> Result<(TrackedMask, f32)> {
        let asks_anew = prompt.bounds.is_some() || prompt.mask.is_some();
        if let Some(carried) = carried.filter(|carried| !asks_anew && carried.bounds().is_some()) {
            let clicks = prompt.points.iter().map(|point| point.at);
            if let Some(region) = self.region(frame.size(), carried, clicks) {
                let correction = Prompt {
                    mask: Some(MaskPrompt::Logits(self.prompt_logits(carried, frame.size(), region))),
                    ..in_region(prompt, region)
                };
                return self.ask(frame.size(), &self.see(frame, region)?, &correction);
            }
        }
        if let Some(mask) = prompt.only_mask() {
            return Ok((TrackedMask::new(mask.clone(), None), 1.0));
        }
        self.ask(frame.size(), &self.see(frame, Region::whole(frame.size()))?, prompt)
    }

    /// Finds again what was carried.
    fn follow(&self, frame: &RgbImage, object: &Followed) -> Result<(TrackedMask, f32)> {
        let nothing = || Ok((TrackedMask::new(BitMask::try_new(frame.size())?, None), 0.0));
        let Some(region) = self.region(frame.size(), &object.patch, std::iter::empty()) else {
            return nothing();
        };
        let seen = self.see(frame, region)?;
        let mut logits = self.prompt_logits(&object.patch, frame.size(), region);
        let alike = match &object.appearance {
            Some(appearance) => Some(self.alike(appearance, &seen)?),
            None => None,
        };
        // What was carried for certain and looks like anything but the object is as likely as not.
        for (logit, alike) in logits.iter_mut().zip(alike.iter().flatten()) {
            *logit = (*logit + CERTAIN * alike).clamp(-CERTAIN, CERTAIN);
        }
        let (grid, rule) = (self.model.grid_size(), self.model.resize_rule());
        let scale = rule.grid_from_image(region.size, grid).scale();
        let Some(prompt) = prompt_of(&logits, grid, rule, region.size) else { return nothing() };
        let prompt = Prompt { mask: Some(MaskPrompt::Logits(logits.clone())), ..prompt };
        let (found, iou_score) = self.ask(frame.size(), &seen, &prompt)?;
        let mask = Asked { region, grid, scale, logits, alike }.parts_of(found.mask());
        Ok((found.with_mask(mask), iou_score))
    }

    fn see<'f>(&self, frame: &'f RgbImage, region: Region) -> Result<Seen<'f>> {
        let Region { x0, y0, size } = region;
        let pixels = match region == Region::whole(frame.size()) {
            true => Cow::Borrowed(frame),
            false => Cow::Owned(frame.crop(x0, y0, x0 + size.width, y0 + size.height)?),
        };
        Ok(Seen { region, embedding: self.model.embed_pixels(&pixels)?, pixels })
    }

    /// For each cell of the model's grid over a region how much it looks like an object.
    fn alike(&self, appearance: &Appearance, seen: &Seen) -> Result<Vec<f32>> {
        let look = Look::new(&self.model, &seen.pixels, &seen.embedding)?;
        Ok(resampled(&appearance.of(&look), look.grid(), self.model.grid_size()))
    }

    /// What an object looks like that has this mask; `None` where there is no telling it from what is around it.
    fn learn(&self, frame: &RgbImage, mask: &BitMask, size: Size<Motion>) -> Result<Option<Appearance>> {
        let patch = Patch::of_mask(mask, size);
        let Some(region) = self.region(frame.size(), &patch, std::iter::empty()) else { return Ok(None) };
        let seen = self.see(frame, region)?;
        let look = Look::new(&self.model, &seen.pixels, &seen.embedding)?;
        let logits = patch.on_grid(frame.size(), region, self.model.resize_rule(), look.grid());
        let covered: Vec<f32> = logits.iter().map(|logit| (logit / CERTAIN + 1.0) / 2.0).collect();
        Ok(Appearance::learn(&look, &covered))
    }

    /// `prompt` is in pixels of the region.
    fn ask(&self, frame: Size<Image>, seen: &Seen, prompt: &Prompt) -> Result<(TrackedMask, f32)> {
        let (Region { x0, y0, size }, embedding) = (seen.region, &seen.embedding);
        let answer = embedding.segment(prompt)?;
        let best: &PredictedMask = answer.best();
        let logits = RegionLogits::rounded(seen.region, best.logits()?, Arc::clone(embedding.upscaler()));
        let drawn = logits.mask(frame, self.model.engine().threads())?;
        let mask = match best.cleanup() {
            // Its points are in the region.
            Some(cleanup) => cleanup.apply(&drawn.cropped(x0, y0, size)).placed(frame, x0, y0),
            None => drawn,
        };
        Ok((TrackedMask::new(mask, Some(logits)), best.iou_score))
    }

    /// The crop around what was carried and what was clicked; `None` if nothing is in the frame.
    fn region(
        &self,
        frame: Size<Image>,
        carried: &Patch,
        clicks: impl Iterator<Item = Point<Image>>,
    ) -> Option<Region> {
        let (across, down) = carried.pixels_of(frame);
        let Box2 { x0, y0, x1, y1, .. } = carried.bounds()?;
        let side = (CROP_SCALE * (x1 - x0).max(y1 - y0)).max(LEAST_CROP);
        let (cx, cy) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
        let mut edges = [
            (cx - side / 2.0) * across,
            (cy - side / 2.0) * down,
            (cx + side / 2.0) * across,
            (cy + side / 2.0) * down,
        ];
        for Point { x, y, .. } in clicks {
            let (near_x, near_y) = (side / 8.0 * across, side / 8.0 * down);
            edges = [
                edges[0].min(x - near_x),
                edges[1].min(y - near_y),
                edges[2].max(x + near_x),
                edges[3].max(y + near_y),
            ];
        }
        let start = |at: f64| at.floor().max(0.0) as u32;
        let end = |at: f64, whole: u32| (at.ceil().max(0.0) as u32).min(whole);
        let (x0, y0) = (start(edges[0]), start(edges[1]));
        let (x1, y1) = (end(edges[2], frame.width), end(edges[3], frame.height));
        (x1 > x0 && y1 > y0).then(|| Region { x0, y0, size: Size::new(x1 - x0, y1 - y0) })
    }

    /// What was carried, as the model takes it: logits of its grid over a region.
    fn prompt_logits(&self, carried: &Patch, frame: Size<Image>, region: Region) -> Vec<f32> {
        carried.on_grid(frame, region, self.model.resize_rule(), self.model.grid_size())
    }
}

impl Asked {
    /// The cell that a pixel of the frame lies in, if it is in the region.
    fn cell(&self, x: u32, y: u32) -> Option<usize> {
        let at = |pixel: u32, start: u32, extent: u32, scale: f64, cells: u32| {
            let pixel = pixel.checked_sub(start).filter(|&pixel| pixel < extent)?;
            Some((((f64::from(pixel) + 0.5) * scale) as u32).min(cells - 1) as usize)
        };
        let Region { x0, y0, size } = self.region;
        let column = at(x, x0, size.width, self.scale.0, self.grid.width)?;
        Some(at(y, y0, size.height, self.scale.1, self.grid.height)? * self.grid.width as usize + column)
    }

    /// The parts of an answer that lie on what was asked and look like the object: a thing that is near and looks much alike is
    /// answered too, and is another.
    fn parts_of(&self, mask: &BitMask) -> BitMask {
        let parts = connected_components(mask, Connectivity::Eight);
        if parts.len() < 2 {
            return mask.clone();
        }
        let (mut shared, mut alike) = (vec![0u64; parts.len()], vec![0.0f64; parts.len()]);
        parts.for_each_run(|part, y, x0, x1| {
            for cell in (x0..x1).filter_map(|x| self.cell(x, y)) {
                shared[part] += u64::from(self.logits[cell] > 0.0);
                alike[part] += self.alike.as_ref().map_or(0.0, |alike| f64::from(alike[cell]));
            }
        });
        let area = |part: usize| parts.all()[part].area as f64;
        let mut kept: Vec<bool> =
            (0..parts.len()).map(|part| shared[part] as f64 >= LEAST_SHARED * area(part)).collect();
        if !kept.contains(&true) {
            // If all of them are elsewhere, it moved fast.
            kept.fill(true);
        }
        let all: f64 = (0..parts.len()).filter(|&part| kept[part]).map(area).sum();
        let most = (0..parts.len())
            .filter(|&part| kept[part] && area(part) >= LEAST_MEASURE * all)
            .map(|part| alike[part] / area(part))
            .fold(f64::NEG_INFINITY, f64::max);
        parts.mask_of(|part| kept[part] && alike[part] / area(part) >= most - LEAST_ALIKE)
    }
}

/// The mask that says all of an object. What is answered to a click is too rough to learn from: what it has too much or too
/// little would stay so, while following mends it.
fn given(ask: Ask<'_>) -> Option<&BitMask> {
    match ask {
        Ask::Adopt(mask) => Some(mask),
        Ask::Answer(prompt) => prompt.only_mask(),
        Ask::Follow => None,
    }
}

/// Points in pixels of a region.
fn in_region(prompt: &Prompt, region: Region) -> Prompt {
    let mut prompt = prompt.clone();
    for point in &mut prompt.points {
        point.at = Point::new(point.at.x - f64::from(region.x0), point.at.y - f64::from(region.y0));
    }
    prompt
}

/// The box of what is positive and its deepest point, in pixels of an image of this size; `None` if nothing is.
fn prompt_of(logits: &[f32], grid: Size<Grid>, rule: ResizeRule, image: Size<Image>) -> Option<Prompt> {
    let cells =
        BitMask::from_values(Size::new(grid.width, grid.height), logits, |logit: f32| logit > 0.0).ok()?;
    let [x0, y0, x1, y1] = cells.pixel_bounds()?;
    let (deepest, _) = deepest_point(&cells)?;
    let (across, down) = rule.grid_from_image(image, grid).scale();
    let within = |at: f64, whole: u32| at.clamp(0.0, f64::from(whole) - 0.5);
    let place = |x: f64, y: f64| (within(x / across, image.width), within(y / down, image.height));
    let (left, top) = place(f64::from(x0), f64::from(y0));
    let (right, bottom) = place(f64::from(x1), f64::from(y1));
    let (x, y) = place(deepest.x + 0.5, deepest.y + 0.5);
    Some(Prompt::default().point(x, y).within(left, top, right.max(left + 0.5), bottom.max(top + 0.5)))
}

impl Carrier for Carried {
    fn step(&mut self, frame: &Frame, asked: &[(ObjectId, Ask)]) -> Result<Vec<Found>> {
        let pixels = &*frame.pixels;
        let grey = Grey::of(pixels, FLOW_WITHIN, self.model.engine().threads())?;
        let flow: Option<Flow> = match &self.before {
            Some(before) if !self.objects.is_empty() && before.size() == grey.size() => {
                Some(self.flow.between(&grey, before)?)
            }
            _ => None,
        };
        let mut all = Vec::with_capacity(asked.len());
        for &(object, ask) in asked {
            let carried = self.objects.get(&object).map(|object| match &flow {
                Some(flow) => {
                    Followed { patch: object.patch.carried(flow), appearance: object.appearance.clone() }
                }
                None => object.clone(),
            });
            let (mask, iou_score) = match ask {
                Ask::Answer(prompt) => {
                    self.answer(pixels, prompt, carried.as_ref().map(|object| &object.patch))?
                }
                Ask::Adopt(mask) => (TrackedMask::new(mask.clone(), None), 1.0),
                Ask::Follow => match &carried {
                    Some(carried) => self.follow(pixels, carried)?,
                    None => return Err(Error::usage(format!("object {object} was never shown"))),
                },
            };
            let patch = match mask.logits() {
                Some(logits) => Patch::of_logits(logits, mask.mask(), grey.size(), &self.model)?,
                None => Patch::of_mask(mask.mask(), grey.size()),
            };
            let mut appearance = carried.and_then(|carried| carried.appearance);
            if let Some(mask) = given(ask)
                && let Some(learnt) = self.learn(pixels, mask, grey.size())?
            {
                appearance = Some(appearance.map_or(learnt.clone(), |before| before.joined(&learnt)));
            }
            self.objects.insert(object, Followed { patch, appearance });
            all.push(Found { object, mask, iou_score, object_score: None });
        }
        self.before = Some(grey);
        Ok(all)
    }

    fn save(&self, object: ObjectId) -> Result<Vec<u8>> {
        let Some(object) = self.objects.get(&object) else { return Ok(Vec::new()) };
        let mut bytes = object.appearance.clone().unwrap_or_default().to_bytes();
        bytes.extend(object.patch.to_bytes());
        Ok(bytes)
    }

    fn restore(&mut self, object: ObjectId, saved: &[u8]) -> Result<()> {
        let followed = Appearance::from_bytes(saved).and_then(|(appearance, rest)| {
            let appearance = Some(appearance).filter(|appearance| *appearance != Appearance::default());
            Some(Followed { patch: Patch::from_bytes(rest)?, appearance })
        });
        self.objects.insert(object, followed.ok_or_else(|| Error::usage("a saved state of another kind"))?);
        Ok(())
    }
}

#[cfg(test)]
#[path = "carried_tests.rs"]
mod tests;
