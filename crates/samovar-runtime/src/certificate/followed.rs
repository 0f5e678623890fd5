//! What a precision does to objects that are followed: a made clip, and its masks held against those of f32.

use samovar_geometry::{Image, Size};
use samovar_media::mask::{Boundary, davis_reach};
use samovar_media::video::FramesInMemory;
use samovar_media::{BitMask, RgbImage};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Model;
use crate::prompt::Prompt;
use crate::tracking::{Direction, ShotOptions};

/// Masks with fewer pixels than this say little: a few pixels decide their IoU. They count among the logits only.
pub const LEAST_AREA: u64 = 64;

const SIZE: Size<Image> = Size::new(320, 240);
/// One more than memories are shown, so that a bank is full in the last.
const FRAMES: usize = 9;
/// Masks of f32 that show an object; with fewer there is nothing to be held against.
const LEAST_SHOWN: usize = 6;

/// How far objects that were followed stray from where f32 has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    /// Mean of region similarity J and boundary F against f32's masks, as the DAVIS evaluation has them.
    pub j_and_f: f64,
    /// The worst of any object in any frame.
    pub worst: f64,
    /// Masks compared.
    pub masks: usize,
    /// What is wrong with it; nothing if objects may be followed in this precision.
    pub refused: Vec<String>,
}

/// A made clip: discs that move over a shaded ground.
pub(super) struct Clip;

/// A disc in the first frame: centre, radius, pixels that it moves in a frame, colour.
struct Disc {
    centre: [f64; 2],
    radius: f64,
    moves: [f64; 2],
    colour: [f64; 3],
}

const DISCS: [Disc; 2] = [
    Disc { centre: [80.0, 80.0], radius: 34.0, moves: [5.0, 2.0], colour: [214.0, 60.0, 40.0] },
    Disc { centre: [230.0, 160.0], radius: 42.0, moves: [-4.0, -3.0], colour: [240.0, 210.0, 70.0] },
];

impl Clip {
    /// Objects that are followed: of models that ask the encoder once for each, one.
    pub(super) fn objects(has_memory: bool) -> usize {
        if has_memory { DISCS.len() } else { 1 }
    }

    /// Bytes of its frames.
    pub(super) fn bytes() -> usize {
        FRAMES * SIZE.area() as usize * 3
    }

    pub(super) fn frames() -> Result<FramesInMemory> {
        Ok(FramesInMemory::new(0, (0..FRAMES).map(frame).collect())?)
    }

    /// What a model finds of the objects behind the first frame, frame by frame; `None` where the precision is too narrow for it.
    pub(super) fn follow(model: &Model) -> Result<Option<Vec<BitMask>>> {
        let mut shot = model.open_video(Box::new(Self::frames()?), &ShotOptions::default())?;
        for (object, Disc { centre: [x, y], radius, .. }) in
            (1..).zip(&DISCS[..Self::objects(model.can_track())])
        {
            let prompt =
                Prompt::default().within(x - radius, y - radius, x + radius, y + radius).point(*x, *y);
            shot.prompt(0, object, &prompt)?;
        }
        let mut masks = Vec::new();
        let walk = match shot.propagate(Direction::Forward) {
            Err(Error::NotFinite { .. }) => return Ok(None),
            walk => walk?,
        };
        for found in walk.skip(1) {
            match found {
                Err(Error::NotFinite { .. }) => return Ok(None),
                found => masks.extend(found?.objects.into_iter().map(|object| object.mask.mask().clone())),
            }
        }
        Ok(Some(masks))
    }
}

fn frame(index: usize) -> RgbImage {
    RgbImage::from_fn(SIZE, |x, y| {
        let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
        let shade = 60.0 + 0.2 * x + 0.15 * y;
        let is_inside = |disc: &&Disc| {
            let at = |axis: usize| disc.centre[axis] + disc.moves[axis] * index as f64;
            (x - at(0)).hypot(y - at(1)) < disc.radius
        };
        match DISCS.iter().find(is_inside) {
            Some(disc) => disc.colour.map(|colour| (0.85 * colour + 0.1 * shade) as u8),
            None => [shade as u8, (shade * 0.8) as u8, (255.0 - shade) as u8],
        }
    })
}

impl Followed {
    /// Holds masks against those of f32, with the least J&F that is good enough; `None` where f32 itself loses the objects.
    pub(super) fn of(
        expected: &[BitMask],
        found: Option<&[BitMask]>,
        least_j_and_f: f64,
    ) -> Result<Option<Self>> {
        let is_shown = |mask: &BitMask| mask.area() >= LEAST_AREA;
        if expected.iter().filter(|mask| is_shown(mask)).count() < LEAST_SHOWN {
            return Ok(None);
        }
        let Some(found) = found.filter(|found| found.len() == expected.len()) else {
            let refused = vec!["objects that are followed have numbers that are not finite".to_owned()];
            return Ok(Some(Self { j_and_f: 0.0, worst: 0.0, masks: 0, refused }));
        };
        let mut figures = Vec::with_capacity(found.len());
        for (expected, found) in expected.iter().zip(found) {
            if !is_shown(expected) && !is_shown(found) {
                continue;
            }
            let reach = davis_reach(expected.size());
            let f = Boundary::new(expected, reach).f(&Boundary::new(found, reach))?;
            figures.push((expected.iou(found)? + f) / 2.0);
        }
        let j_and_f = figures.iter().sum::<f64>() / figures.len() as f64;
        let worst = figures.iter().copied().fold(f64::NAN, f64::min);
        let mut refused = Vec::new();
        if j_and_f.is_nan() || j_and_f < least_j_and_f {
            refused.push(format!("J&F {j_and_f:.4} of objects that are followed is below {least_j_and_f}"));
        }
        Ok(Some(Self { j_and_f, worst, masks: figures.len(), refused }))
    }
}

#[cfg(test)]
#[path = "followed_tests.rs"]
mod tests;
