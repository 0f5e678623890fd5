//! Following objects with a model that has no memory: the last mask is carried on by optical flow, and what it covers then is
//! asked of the model again, in a crop around it (DIS flow as in Kroeger et al. 2016; the prompt as in SAM-PT and its kin).

use std::collections::BTreeMap;
use std::sync::Arc;

use samovar_geometry::{Box2, Grid, Image, Motion, Point, ResizeRule, Size};
use samovar_media::flow::{DenseFlow, Flow, Grey};
use samovar_media::mask::deepest_point;
use samovar_media::video::Frame;
use samovar_media::{BitMask, Connectivity, RgbImage, connected_components};

use super::carrier::{Ask, Carrier, Found, ObjectId};
use super::mask::{Region, RegionLogits, TrackedMask};
use super::patch::Patch;
use crate::error::{Error, Result};
use crate::model::Model;
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

/// Carries the masks of one shot in one direction.
pub(crate) struct Carried {
    model: Model,
    flow: DenseFlow,
    before: Option<Grey>,
    objects: BTreeMap<ObjectId, Patch>,
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
                return self.ask(frame, region, &correction);
            }
        }
        if let (Some(MaskPrompt::Mask(mask)), true, None) =
            (&prompt.mask, prompt.points.is_empty(), prompt.bounds)
        {
            return Ok((TrackedMask::new(mask.clone(), None), 1.0));
        }
        self.ask(frame, Region::whole(frame.size()), prompt)
    }

    /// Finds again what was carried.
    fn follow(&self, frame: &RgbImage, carried: &Patch) -> Result<(TrackedMask, f32)> {
        let nothing = || Ok((TrackedMask::new(BitMask::try_new(frame.size())?, None), 0.0));
        let Some(region) = self.region(frame.size(), carried, std::iter::empty()) else { return nothing() };
        let logits = self.prompt_logits(carried, frame.size(), region);
        let (grid, rule) = (self.model.grid_size(), self.model.resize_rule());
        let Some(prompt) = prompt_of(&logits, grid, rule, region.size) else { return nothing() };
        let (found, iou_score) =
            self.ask(frame, region, &Prompt { mask: Some(MaskPrompt::Logits(logits)), ..prompt })?;
        let mask = connected_to(found.mask(), carried);
        Ok((found.with_mask(mask), iou_score))
    }

    /// `prompt` is in pixels of the region.
    fn ask(&self, frame: &RgbImage, region: Region, prompt: &Prompt) -> Result<(TrackedMask, f32)> {
        let Region { x0, y0, size } = region;
        let embedding = match region == Region::whole(frame.size()) {
            true => self.model.embed_pixels(frame)?,
            false => self.model.embed_pixels(&frame.crop(x0, y0, x0 + size.width, y0 + size.height)?)?,
        };
        let answer = embedding.segment(prompt)?;
        let best: &PredictedMask = answer.best();
        let logits = RegionLogits::rounded(region, best.logits()?, Arc::clone(embedding.upscaler()));
        let drawn = logits.mask(frame.size(), self.model.engine().threads())?;
        let mask = match best.cleanup() {
            // Its points are in the region.
            Some(cleanup) => cleanup.apply(&drawn.cropped(x0, y0, size)).placed(frame.size(), x0, y0),
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

/// The parts of a mask that lie on what was carried: a thing that looks alike and is near is answered too, and is another.
fn connected_to(mask: &BitMask, carried: &Patch) -> BitMask {
    let parts = connected_components(mask, Connectivity::Eight);
    if parts.len() < 2 {
        return mask.clone();
    }
    let (across, down) = carried.pixels_of(mask.size());
    let mut shared = vec![0u64; parts.len()];
    parts.for_each_run(|part, y, x0, x1| {
        let y = (f64::from(y) / down) as i64;
        shared[part] +=
            (x0..x1).filter(|&x| carried.at((f64::from(x) / across) as i64, y) > 0.0).count() as u64;
    });
    let is_kept = |part: usize| shared[part] as f64 >= LEAST_SHARED * parts.all()[part].area as f64;
    // If all of them are elsewhere, it moved fast.
    match (0..parts.len()).any(is_kept) {
        true => parts.mask_of(is_kept),
        false => mask.clone(),
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
            let carried = self.objects.get(&object).map(|patch| match &flow {
                Some(flow) => patch.carried(flow),
                None => patch.clone(),
            });
            let (mask, iou_score) = match ask {
                Ask::Answer(prompt) => self.answer(pixels, prompt, carried.as_ref())?,
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
            self.objects.insert(object, patch);
            all.push(Found { object, mask, iou_score, object_score: None });
        }
        self.before = Some(grey);
        Ok(all)
    }

    fn save(&self, object: ObjectId) -> Result<Vec<u8>> {
        self.objects.get(&object).map_or_else(|| Ok(Vec::new()), |patch| Ok(patch.to_bytes()))
    }

    fn restore(&mut self, object: ObjectId, saved: &[u8]) -> Result<()> {
        let patch = Patch::from_bytes(saved);
        self.objects.insert(object, patch.ok_or_else(|| Error::usage("a saved state of another kind"))?);
        Ok(())
    }
}
