//! Masks of a frame that share no pixel, and masks without holes and islands.

use samovar_media::{BitMask, Connectivity, components_outside, connected_components};

use super::carrier::ObjectId;
use super::mask::{LogitRows, RegionLogits, TrackedMask};
use super::shot::TrackedObject;
use crate::error::{Error, Result};

/// Has each pixel that several objects claim go to one of them: to a mask that somebody gave before one that was found, then to the
/// higher logit, enlarged to the frame and not rounded to a mask, then to the lower number. Nothing else changes. Holes that are to be
/// filled ([`tidy_up`]) are filled before: another object may be in one.
///
/// Only rows in which masks meet are enlarged, and only of those that do.
///
/// # Errors
/// [`Error::Usage`] for masks of different sizes, [`Error::Media`] when memory runs out.
pub fn separate(objects: &mut [TrackedObject]) -> Result<()> {
    let mut masks: Vec<(ObjectId, &mut TrackedMask)> =
        objects.iter_mut().map(|tracked| (tracked.object, &mut tracked.mask)).collect();
    masks.sort_by_key(|&(object, _)| object);
    separate_masks(&mut masks.into_iter().map(|(_, mask)| mask).collect::<Vec<_>>())
}

/// Of equal claims the first one's counts.
fn separate_masks(masks: &mut [&mut TrackedMask]) -> Result<()> {
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
                    let claim = Claim { mask: index, logit };
                    owners[x as usize] = owners[x as usize].or(claim);
                }
            });
        }
        for &index in &claiming {
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
    logit: f32,
}

impl Claim {
    const NOBODY: Self = Self { mask: usize::MAX, logit: f32::NEG_INFINITY };

    fn or(self, later: Self) -> Self {
        let is_free = self.mask == Self::NOBODY.mask;
        if is_free || later.logit > self.logit { later } else { self }
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

/// The mask without holes of at most `fill_holes` pixels, and then without islands of at most `remove_islands`; 0 is none.
///
/// An island is a part of the mask, connected over edges and corners; a hole is a part of what is not in the mask, connected over edges
/// only, that does not touch the border of the picture. Both always go when it is asked, unlike in
/// [`samovar_media::mask::remove_small_regions`]: an object that is but one small island goes too, and leaves an empty mask.
///
/// # Errors
/// [`Error::OutOfMemory`](crate::Error).
pub fn tidy_up(mask: &BitMask, fill_holes: u64, remove_islands: u64) -> Result<BitMask> {
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
