//! Following objects with a model that has a memory (SAM 2): what was found on earlier frames is kept as maps and vectors, and taken into
//! the features of the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use samovar_geometry::{Image, Size};
use samovar_media::video::{Direction, Frame};
use samovar_media::{BitMask, Upscaler};
use samovar_models::{TrackedImage, TrackedMask as Answer};
use samovar_tensor::{DType, Shape, Tensor};

use super::bank::{Bank, Kept, Look};
use super::carrier::{Ask, Carrier, Found, ObjectId};
use super::mask::{Region, RegionLogits, TrackedMask};
use super::step::{Aside, Follower};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::prompt::Prompt;
use crate::segmentation::tell_of_masks;

/// Frames with prompts that a frame is shown, the nearest, unless the model says fewer.
const CONDITIONING_AT_MOST: usize = 8;

/// First bytes of a saved state.
const MARK: &[u8; 8] = b"smvmem1\n";

/// Follows the objects of one shot in one direction by what is remembered of them.
pub(crate) struct Remembering {
    follower: Follower,
    look: Look,
    upscaler: Arc<Upscaler>,
    objects: BTreeMap<ObjectId, Bank>,
    /// The frames that came, counted: places in banks.
    now: i64,
    aside: Aside,
}

impl Remembering {
    /// For frames of this size, of a shot of at least `frames`, as far as that is counted.
    ///
    /// # Errors
    /// [`Error::Usage`] for a model without a tracker, [`Error::DoesNotFit`].
    pub(crate) fn new(
        model: &Model,
        size: Size<Image>,
        count: impl FnOnce(usize) -> Result<usize>,
    ) -> Result<Self> {
        let follower = Follower::new(model)?;
        let rule = follower.rule();
        let look = Look {
            // Places are counted in the direction of travel.
            direction: Direction::Forward,
            conditioning_at_most: Some(rule.conditioning_at_most.unwrap_or(CONDITIONING_AT_MOST)),
            pointers_at_most: count(rule.pointers)?.min(rule.pointers),
        };
        let upscaler = Arc::new(Upscaler::new(model.grid_size(), model.resize_rule(), size)?);
        Ok(Self { follower, look, upscaler, objects: BTreeMap::new(), now: 0, aside: Aside::default() })
    }

    /// What a prompt is answered with. Clicks on an object that is followed already correct what is found there; a box or a mask asks
    /// anew, as on a first frame.
    fn answer(
        &self,
        image: &mut TrackedImage,
        bank: &Bank,
        prompt: &Prompt,
        size: Size<Image>,
    ) -> Result<Answer> {
        let asks_anew = prompt.bounds.is_some() || prompt.mask.is_some();
        if bank.is_empty() || asks_anew {
            let features = image.features().clone();
            return self.follower.answer(&features, image, prompt, size, None);
        }
        let features = self.follower.attend(image, bank, self.now, self.look)?;
        let before = self.follower.follow(&features)?;
        self.follower.answer(&features, image, prompt, size, Some(&before))
    }

    /// An answer as a mask in the frame; one that was given is that mask.
    fn mask(&self, answer: &Answer, given: Option<&BitMask>, size: Size<Image>) -> Result<TrackedMask> {
        if let Some(given) = given {
            return Ok(TrackedMask::new(given.clone(), None));
        }
        let model = &self.follower.model;
        let logits = model.device().download(&answer.logits)?.wait()?;
        model.check_finite(logits.f32()?)?;
        tell_of_masks(model.engine().events(), model.device(), 1);
        let logits = RegionLogits::rounded(Region::whole(size), logits.f32()?, Arc::clone(&self.upscaler));
        let mask = logits.mask(size, model.engine().threads())?;
        Ok(TrackedMask::new(mask, Some(logits)))
    }
}

impl Carrier for Remembering {
    fn step(&mut self, frame: &Frame, asked: &[(ObjectId, Ask)]) -> Result<Vec<Found>> {
        let (size, rule) = (frame.pixels.size(), *self.follower.rule());
        self.aside.hold(&self.follower, self.objects.values(), false)?;
        let mut image = None;
        let mut all = Vec::with_capacity(asked.len());
        for &(object, ask) in asked {
            let image = match &mut image {
                Some(image) => image,
                None => image.insert(self.follower.image(&frame.pixels)?),
            };
            let nothing = Bank::default();
            let bank = self.objects.get(&object).unwrap_or(&nothing);
            let _promise = self.follower.admit(bank, self.look)?;
            let (answer, given, is_prompted) = match ask {
                Ask::Answer(prompt) => (self.answer(image, bank, prompt, size)?, prompt.only_mask(), true),
                Ask::Adopt(mask) => (self.follower.adopt(image, mask)?, Some(mask), true),
                Ask::Follow if bank.is_empty() => {
                    return Err(Error::usage(format!("object {object} was never shown")));
                }
                Ask::Follow => {
                    let features = self.follower.attend(image, bank, self.now, self.look)?;
                    (self.follower.follow(&features)?, None, false)
                }
            };
            let kept = self.follower.keep(image, &answer, is_prompted, false)?;
            let mask = self.mask(&answer, given, size)?;
            let (iou_score, object_score) = (answer.iou_score, Some(answer.object_score));
            all.push((Found { object, mask, iou_score, object_score }, kept, is_prompted));
        }
        let (now, next) = (self.now, self.look.next(self.now));
        self.now = next;
        let keep = |(found, kept, is_prompted): (Found, Kept, bool)| {
            let bank = self.objects.entry(found.object).or_default();
            let frames = if is_prompted { &mut bank.conditioning } else { &mut bank.others };
            frames.insert(now, kept);
            bank.keep_near(&[next], &rule);
            bank.keep_conditioning(next, &rule, self.look);
            found
        };
        Ok(all.into_iter().map(keep).collect())
    }

    fn save(&self, object: ObjectId) -> Result<Vec<u8>> {
        let Some(bank) = self.objects.get(&object) else { return Ok(Vec::new()) };
        let mut bytes = MARK.to_vec();
        for (frames, is_prompted) in [(&bank.conditioning, true), (&bank.others, false)] {
            for (place, Kept { memory, pointer, .. }) in frames {
                let memory = memory.as_ref().and_then(Tensor::raw);
                bytes.extend([u8::from(is_prompted), u8::from(memory.is_some())]);
                bytes.extend((self.now - place).to_le_bytes());
                bytes.extend(pointer.iter().flat_map(|number| number.to_le_bytes()));
                bytes.extend(memory.unwrap_or_default());
            }
        }
        Ok(bytes)
    }

    fn restore(&mut self, object: ObjectId, saved: &[u8]) -> Result<()> {
        let bank = self.read(saved).ok_or_else(|| Error::usage("a saved state of another kind"))?;
        self.objects.insert(object, bank);
        Ok(())
    }
}

impl Remembering {
    /// A bank that was saved, as long ago as that was; `None` for other bytes.
    fn read(&self, saved: &[u8]) -> Option<Bank> {
        let rule = self.follower.rule();
        let shape = Shape::new(&[rule.memory_tokens, rule.memory_channels]);
        let mut bank = Bank::default();
        if saved.is_empty() {
            return Some(bank);
        }
        let rest = &mut saved.strip_prefix(MARK)?;
        while !rest.is_empty() {
            let &[is_prompted, has_memory] = take(rest, 2)? else { return None };
            let ago = i64::from_le_bytes(take(rest, 8)?.try_into().ok()?);
            let pointer = take(rest, rule.pointer_channels * size_of::<f32>())?.as_chunks::<4>().0;
            let memory = match has_memory {
                1 => {
                    let bytes = Arc::new(take(rest, shape.len() * DType::BF16.size_bytes())?.to_vec());
                    Some(Tensor::from_weights(bytes, 0, shape, DType::BF16).ok()?)
                }
                _ => None,
            };
            let pointer: Vec<f32> = pointer.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let frames = if is_prompted == 1 { &mut bank.conditioning } else { &mut bank.others };
            let place = self.now.checked_sub(ago).filter(|place| *place < self.now)?;
            frames.insert(place, Kept { memory, pointer, found: None });
        }
        Some(bank)
    }
}

/// The next bytes, if there are so many.
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
#[path = "remembering_tests.rs"]
mod tests;
