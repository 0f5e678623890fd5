//! What is asked of an image: points, a box, a mask, in pixels of the image.

use samovar_geometry::{Box2, Grid, Image, Point, ResizeRule, Size};
use samovar_media::BitMask;
use samovar_models::{MaskChoice, MaskRule};

use crate::error::{Error, Result};

/// Logits that stand for "certainly inside" and "certainly outside" in a mask prompt.
const CERTAIN: f32 = 10.0;

/// Most points one prompt may have.
pub const MAX_POINTS: usize = 4096;

/// A click.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PromptPoint {
    /// Where, in pixels of the image; the centre of the first pixel is at 0.5.
    pub at: Point<Image>,
    /// Whether the object is there (or is not).
    pub positive: bool,
}

/// A mask from before, to be refined.
#[derive(Debug, Clone, PartialEq)]
pub enum MaskPrompt {
    /// A mask in the size of the image.
    Mask(BitMask),
    /// Low-resolution logits as a model gave them ([`crate::PredictedMask::logits`]).
    Logits(Vec<f32>),
}

/// One question about an image: which object is meant.
///
/// ```
/// use samovar_runtime::Prompt;
///
/// let prompt = Prompt::default().point(420.0, 300.0).without(80.0, 40.0);
/// assert_eq!(prompt.points.len(), 2);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prompt {
    /// Clicks on the object and beside it.
    pub points: Vec<PromptPoint>,
    /// A box around the object.
    pub bounds: Option<Box2<Image>>,
    /// A mask from before.
    pub mask: Option<MaskPrompt>,
    /// Answer with all three masks an ambiguous prompt may mean, instead of the likeliest.
    pub multimask: bool,
}

impl Prompt {
    /// Adds a click on the object.
    #[must_use]
    pub fn point(mut self, x: f64, y: f64) -> Self {
        self.points.push(PromptPoint { at: Point::new(x, y), positive: true });
        self
    }

    /// Adds a click beside the object.
    #[must_use]
    pub fn without(mut self, x: f64, y: f64) -> Self {
        self.points.push(PromptPoint { at: Point::new(x, y), positive: false });
        self
    }

    /// Sets a box around the object, by any two opposite corners.
    #[must_use]
    pub fn within(mut self, x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        self.bounds = Some(Box2::from_corners(Point::new(x0, y0), Point::new(x1, y1)));
        self
    }

    /// Sets a mask from before, in the size of the image.
    #[must_use]
    pub fn refine(mut self, mask: BitMask) -> Self {
        self.mask = Some(MaskPrompt::Mask(mask));
        self
    }

    /// Asks for all three masks.
    #[must_use]
    pub fn multimask(mut self) -> Self {
        self.multimask = true;
        self
    }

    /// The mask, if that is all there is.
    pub(crate) fn only_mask(&self) -> Option<&BitMask> {
        match &self.mask {
            Some(MaskPrompt::Mask(mask)) if self.points.is_empty() && self.bounds.is_none() => Some(mask),
            _ => None,
        }
    }

    /// Whether a single click is all there is, which may mean a thing or its parts.
    pub fn is_one_click(&self) -> bool {
        let [click] = self.points.as_slice() else { return false };
        click.positive && self.bounds.is_none() && self.mask.is_none()
    }

    /// Which of a model's masks answers this prompt.
    pub fn choice(&self, rule: MaskRule) -> MaskChoice {
        match (self.multimask, self.is_one_click()) {
            (true, _) => MaskChoice::BestOfMultimask,
            (false, true) => rule.one_click,
            (false, false) => rule.otherwise,
        }
    }

    /// Checks that the prompt means something on an image of this size, for a model with these low-resolution logits.
    ///
    /// # Errors
    /// [`Error::Usage`] for a prompt without content, outside the image, or with a mask of another size.
    pub fn check(&self, image: Size<Image>, grid: Size<Grid>) -> Result<()> {
        self.check_image(image)?;
        match &self.mask {
            Some(MaskPrompt::Logits(logits)) if logits.len() as u64 != grid.area() => Err(Error::usage(
                format!("{} logits in the mask prompt; the model's masks have {grid}", logits.len()),
            )),
            _ => Ok(()),
        }
    }

    /// The part of [`Prompt::check`] that takes no model.
    ///
    /// # Errors
    /// As [`Prompt::check`].
    pub fn check_image(&self, image: Size<Image>) -> Result<()> {
        if self.points.is_empty() && self.bounds.is_none() && self.mask.is_none() {
            return Err(Error::usage("an empty prompt; give a point, a box or a mask"));
        }
        if self.points.len() > MAX_POINTS {
            let what = format!("{} points in one prompt; at most {MAX_POINTS} are taken", self.points.len());
            return Err(Error::usage(what));
        }
        let whole = Box2::whole(image);
        for PromptPoint { at, .. } in &self.points {
            if !at.is_finite() || !whole.contains(*at) {
                return Err(Error::usage(format!(
                    "point {},{} is outside the image of {image}; x runs from 0 to {}, y from 0 to {}",
                    at.x, at.y, image.width, image.height
                )));
            }
        }
        if let Some(bounds) = self.bounds {
            let inside = bounds.is_finite().then(|| bounds.intersection(whole)).flatten();
            if inside.is_none_or(|inside| inside.area() <= 0.0) {
                return Err(Error::usage(format!(
                    "box {},{},{},{} has no area inside the image of {image}; give x0,y0,x1,y1 in pixels",
                    bounds.x0, bounds.y0, bounds.x1, bounds.y1
                )));
            }
        }
        match &self.mask {
            Some(MaskPrompt::Mask(mask)) if mask.size() != image => Err(Error::usage(format!(
                "the mask prompt is {} and the image {image}; they must have the same size",
                mask.size()
            ))),
            Some(MaskPrompt::Mask(mask)) if mask.is_empty() => {
                Err(Error::usage("the mask prompt is empty; nothing in it is white"))
            }
            Some(MaskPrompt::Logits(logits)) if logits.iter().any(|logit| !logit.is_finite()) => {
                Err(Error::usage("the logits of the mask prompt are not all finite"))
            }
            _ => Ok(()),
        }
    }
}

/// Low-resolution logits of a mask: each cell by the share of its pixels that are in the mask, cells of the padding
/// outside.
pub(crate) fn logits_of_mask(mask: &BitMask, rule: ResizeRule, grid: Size<Grid>) -> Vec<f32> {
    let size = mask.size();
    let to_grid = rule.grid_from_image(size, grid);
    let (cells_per_x, cells_per_y) = to_grid.scale();
    let (columns, rows) = (grid.width as usize, grid.height as usize);
    let mut covered = vec![0f64; columns * rows];
    // Pixel x lies between grid coordinates x * scale and (x + 1) * scale; it spreads over at most a few cells.
    let spread = |pixel: u32, scale: f64, cells: usize| -> Vec<(usize, f64)> {
        let (from, to) = (f64::from(pixel) * scale, f64::from(pixel + 1) * scale);
        (from.floor() as usize..=to.floor() as usize)
            .filter(|&cell| cell < cells)
            .map(|cell| (cell, to.min((cell + 1) as f64) - from.max(cell as f64)))
            .filter(|&(_, share)| share > 0.0)
            .collect()
    };
    let across: Vec<_> = (0..size.width).map(|x| spread(x, cells_per_x, columns)).collect();
    for y in 0..size.height {
        let mut row = vec![0f64; columns];
        for (x0, x1) in mask.runs(y) {
            for pixel in &across[x0 as usize..x1 as usize] {
                pixel.iter().for_each(|&(cell, share)| row[cell] += share);
            }
        }
        for (cell, share) in spread(y, cells_per_y, rows) {
            let into = &mut covered[cell * columns..][..columns];
            into.iter_mut().zip(&row).for_each(|(sum, value)| *sum += share * value);
        }
    }
    covered.iter().map(|&share| CERTAIN * (2.0 * share.min(1.0) as f32 - 1.0)).collect()
}

#[cfg(test)]
#[path = "prompt_tests.rs"]
mod tests;
