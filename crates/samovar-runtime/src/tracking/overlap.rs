//! Masks of a frame that share no pixel, and masks without holes and islands.

use std::cmp::Ordering;

use samovar_media::{BitMask, Connectivity, components_outside, connected_components};
use serde::{Deserialize, Serialize};

use super::mask::{LogitRows, RegionLogits, TrackedMask};
use super::tracked::TrackedObject;
use crate::error::{Error, Result};

/// How the masks of a frame are shown. By default as they were found.
///
/// Masks that are locked ([`Shot::lock`](super::Shot::lock)) stay as they are whatever the rules, and others give way to them; what two of them share,
/// both have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskRules {
    /// Objects share no pixel: each that several claim goes to one of them, to a mask that somebody gave before one that was found, then to the
    /// higher logit, enlarged to the frame and not rounded to a mask, then to the lower number.
    pub no_overlap: bool,
    /// Holes of at most so many pixels are filled: parts of what is not in the mask, connected over edges only, that do not touch the
    /// border of the picture. Where objects share no pixel, with pixels that no other has.
    pub fill_holes: u64,
    /// Islands of at most so many pixels are removed: parts of the mask, connected over edges and corners. Also the whole of it, which leaves an
    /// empty mask.
    pub remove_islands: u64,
}

impl MaskRules {
    /// Has the masks of a frame follow the rules. Holes are filled and islands removed before overlaps are decided, so that another object may be
    /// in a hole, and again behind that: what was cut may have left some.
    ///
    /// # Errors
    /// [`Error::Usage`] for masks of different sizes, [`Error::Media`] when memory runs out.
    pub fn apply(&self, objects: &mut [TrackedObject]) -> Result<()> {
        let Self { no_overlap, fill_holes, remove_islands } = *self;
        if fill_holes > 0 || remove_islands > 0 {
            for object in objects.iter_mut().filter(|object| !object.is_locked) {
                *object.mask.mask_mut() = tidy_up(object.mask.mask(), fill_holes, remove_islands)?;
            }
        }
        if no_overlap {
            separate(objects)?;
            self.tidy_up_apart(objects)?;
        }
        Ok(())
    }

    /// Fills holes and removes islands of masks that share no pixel, and go on to share none: by ascending numbers, and again with the pixels
    /// that islands have left.
    fn tidy_up_apart(&self, objects: &mut [TrackedObject]) -> Result<()> {
        let mut order: Vec<usize> = (0..objects.len()).filter(|&index| !objects[index].is_locked).collect();
        order.sort_by_key(|&index| objects[index].object);
        for (fill, remove) in [(self.fill_holes, self.remove_islands), (self.fill_holes, 0)] {
            if fill == 0 && remove == 0 {
                continue;
            }
            let Some(first) = objects.first() else { return Ok(()) };
            let mut taken = BitMask::try_new(first.mask.mask().size())?;
            for object in objects.iter() {
                taken.union_with(object.mask.mask())?;
            }
            for &index in &order {
                let before = objects[index].mask.mask();
                let mut mask = tidy_up(before, fill, 0)?;
                let mut others = taken.try_clone()?;
                others.subtract(before)?;
                mask.subtract(&others)?;
                mask = tidy_up(&mask, 0, remove)?;
                taken.subtract(before)?;
                taken.union_with(&mask)?;
                *objects[index].mask.mask_mut() = mask;
            }
        }
        Ok(())
    }
}

/// Has each pixel that several objects claim go to one of them; nothing else changes.
///
/// Only rows in which masks meet are enlarged, and only of those that do.
///
/// # Errors
/// [`Error::Usage`] for masks of different sizes, [`Error::Media`] when memory runs out.
fn separate(objects: &mut [TrackedObject]) -> Result<()> {
    let mut objects: Vec<&mut TrackedObject> = objects.iter_mut().collect();
    // Locked ones first: of equal claims the first one's counts.
    objects.sort_by_key(|tracked| (!tracked.is_locked, tracked.object));
    let locked = objects.iter().filter(|tracked| tracked.is_locked).count();
    separate_masks(&mut objects.into_iter().map(|tracked| &mut tracked.mask).collect::<Vec<_>>(), locked)
}

/// Of equal claims the first one's counts; the first masks, `locked` of them, win over the others and lose nothing.
fn separate_masks(masks: &mut [&mut TrackedMask], locked: usize) -> Result<()> {
    let Some(size) = masks.first().map(|mask| mask.mask().size()) else { return Ok(()) };
    if let Some(other) = masks.iter().map(|mask| mask.mask().size()).find(|&other| other != size) {
        return Err(Error::usage(format!("masks of {size} and of {other} are not of one frame")));
    }
    let mut meeting = Meeting::default();
    let mut meets: Vec<bool> = vec![false; masks.len()];
    let mut contested = Vec::new();
    for y in 0..size.height {
        if meeting.find(masks, y) {
            contested.push(y);
            meets
                .iter_mut()
                .zip(masks.iter())
                .for_each(|(meets, mask)| *meets |= meeting.has(mask.mask(), y));
        }
    }
    let claiming: Vec<usize> = (0..masks.len()).filter(|&index| meets[index]).collect();
    let logits: Vec<Option<RegionLogits>> =
        claiming.iter().map(|&index| masks[index].logits().cloned()).collect();
    let values: Vec<Vec<f32>> =
        logits.iter().map(|logits| logits.as_ref().map_or_else(Vec::new, RegionLogits::to_f32)).collect();
    let rows = logits
        .iter()
        .zip(&values)
        .map(|(logits, values)| logits.as_ref().map(|logits| logits.rows(values)).transpose());
    let mut rows: Vec<Option<LogitRows<'_>>> = rows.collect::<Result<_>>()?;
    let mut owners: Vec<Claim> = vec![Claim::NOBODY; size.width as usize];
    for y in contested {
        meeting.find(masks, y);
        meeting.for_each_pixel(|x| owners[x as usize] = Claim::NOBODY);
        for (&index, rows) in claiming.iter().zip(&mut rows) {
            let mask = masks[index].mask();
            if !meeting.has(mask, y) {
                continue;
            }
            let row = match rows {
                Some(rows) => Some(rows.row(y)?),
                None => None,
            };
            meeting.for_each_pixel(|x| {
                if mask.get(x, y) {
                    let logit = row.as_ref().map_or(f32::INFINITY, |row| row.at(x));
                    let claim = Claim { mask: index, is_locked: index < locked, logit };
                    owners[x as usize] = owners[x as usize].or(claim);
                }
            });
        }
        for &index in claiming.iter().filter(|&&index| index >= locked) {
            let mask = masks[index].mask_mut();
            meeting.for_each_pixel(|x| {
                if owners[x as usize].mask != index {
                    mask.set(x, y, false);
                }
            });
        }
    }
    Ok(())
}

/// Who has a pixel so far.
#[derive(Debug, Clone, Copy)]
struct Claim {
    mask: usize,
    is_locked: bool,
    logit: f32,
}

impl Claim {
    const NOBODY: Self = Self { mask: usize::MAX, is_locked: false, logit: f32::NEG_INFINITY };

    fn or(self, later: Self) -> Self {
        let is_free = self.mask == Self::NOBODY.mask;
        let is_better = match later.is_locked.cmp(&self.is_locked) {
            Ordering::Equal => later.logit > self.logit,
            order => order == Ordering::Greater,
        };
        if is_free || is_better { later } else { self }
    }
}

/// The pixels of a row that are in several masks, as words of a [`BitMask`].
#[derive(Debug, Default)]
struct Meeting {
    once: Vec<u64>,
    again: Vec<u64>,
}

impl Meeting {
    /// Whether there are any in row `y` of these.
    fn find(&mut self, masks: &[&mut TrackedMask], y: u32) -> bool {
        let words = masks.first().map_or(0, |mask| mask.mask().words_per_row());
        for row in [&mut self.once, &mut self.again] {
            row.clear();
            row.resize(words, 0);
        }
        for mask in masks {
            for ((once, again), &word) in self.once.iter_mut().zip(&mut self.again).zip(mask.mask().row(y)) {
                *again |= *once & word;
                *once |= word;
            }
        }
        self.again.iter().any(|&word| word != 0)
    }

    /// Whether one of them is in this mask.
    fn has(&self, mask: &BitMask, y: u32) -> bool {
        self.again.iter().zip(mask.row(y)).any(|(again, word)| again & word != 0)
    }

    fn for_each_pixel(&self, mut f: impl FnMut(u32)) {
        for (index, &word) in (0..).zip(&self.again) {
            let mut left = word;
            while left != 0 {
                f(index * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
    }
}

/// The mask without holes of at most `fill_holes` pixels, and then without islands of at most `remove_islands`; 0 is none. Both always go when it is
/// asked, unlike in [`samovar_media::mask::remove_small_regions`].
fn tidy_up(mask: &BitMask, fill_holes: u64, remove_islands: u64) -> Result<BitMask> {
    let mut tidy = mask.try_clone()?;
    if fill_holes > 0 {
        let gaps = components_outside(&mut tidy, Connectivity::Four)?;
        gaps.for_each_run(|gap, y, x0, x1| {
            let of = &gaps.all()[gap];
            let [left, top, right, bottom] = of.bounds;
            let at_border = left == 0 || top == 0 || right == mask.width() || bottom == mask.height();
            if !at_border && of.area <= fill_holes {
                tidy.set_run(y, x0, x1);
            }
        });
    }
    if remove_islands > 0 {
        let parts = connected_components(&tidy, Connectivity::Eight)?;
        parts.retain(&mut tidy, |part| parts.all()[part].area > remove_islands);
    }
    Ok(tidy)
}

#[cfg(test)]
mod tests;
