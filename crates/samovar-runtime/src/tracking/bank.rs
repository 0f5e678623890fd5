//! What is kept of one object, and which of it a frame is shown: a tracker's memory.
//!
//! Places are those of [`FrameSource::place`](samovar_media::video::FrameSource::place): their differences are distances in frames.

use std::collections::BTreeMap;

use samovar_media::video::Direction;
use samovar_models::{MemoryPlace, TrackedMask, TrackingRule};
use samovar_tensor::Tensor;

/// What is kept of an object on a frame.
#[derive(Clone)]
pub(crate) struct Kept {
    /// Its map in bf16, as upstream keeps it, while it may be looked at.
    pub(crate) memory: Option<Tensor>,
    pub(crate) pointer: Vec<f32>,
    /// What was found, where it may be asked for again.
    pub(crate) found: Option<TrackedMask>,
}

/// All that is kept of an object, by place.
#[derive(Clone, Default)]
pub(crate) struct Bank {
    /// Frames with prompts.
    pub(crate) conditioning: BTreeMap<i64, Kept>,
    pub(crate) others: BTreeMap<i64, Kept>,
}

/// What a frame is shown of a bank, by place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) memories: Vec<(i64, MemoryPlace)>,
    /// With how many frames before they were made.
    pub(crate) pointers: Vec<(i64, i64)>,
}

/// How a pass looks back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) direction: Direction,
    pub(crate) conditioning_at_most: Option<usize>,
    /// [`samovar_models::ObjectPast::pointers_at_most`].
    pub(crate) pointers_at_most: usize,
}

impl Look {
    /// The place behind another on the way.
    pub(crate) fn next(&self, place: i64) -> i64 {
        match self.direction {
            Direction::Forward => place + 1,
            Direction::Backward => place - 1,
        }
    }

    /// How many frames of the way lie between an earlier place and a later one.
    pub(crate) fn travelled(&self, from: i64, to: i64) -> i64 {
        match self.direction {
            Direction::Forward => to - from,
            Direction::Backward => from - to,
        }
    }
}

impl Bank {
    /// What was kept at a place.
    pub(crate) fn at(&self, place: i64) -> Option<&Kept> {
        self.others.get(&place).or_else(|| self.conditioning.get(&place))
    }

    /// Whether there is anything to attend to.
    pub(crate) fn is_empty(&self) -> bool {
        self.conditioning.is_empty()
    }

    /// Bytes of all that is kept.
    pub(crate) fn size_bytes(&self) -> usize {
        let of = |kept: &Kept| {
            let tensors = kept.memory.iter().chain(kept.found.iter().map(|found| &found.logits));
            let pointers = 1 + usize::from(kept.found.is_some());
            tensors.map(Tensor::size_bytes).sum::<usize>() + pointers * size_of_val(&kept.pointer[..])
        };
        self.conditioning.values().chain(self.others.values()).map(of).sum()
    }

    /// What the frame at a place is shown (`_prepare_memory_conditioned_features` in `sam2_base.py` upstream): the nearest frames with
    /// prompts, the last few others, and pointers of what has been travelled. Frames with prompts that are too many count among the
    /// others.
    pub(crate) fn choose(&self, place: i64, rule: &TrackingRule, look: Look) -> Chosen {
        let selected = nearest(&self.conditioning, place, look.conditioning_at_most);
        let before = |frames: i64| match look.direction {
            Direction::Forward => place - frames,
            Direction::Backward => place + frames,
        };
        let is_other = |at: &i64| {
            self.others.contains_key(at) || (self.conditioning.contains_key(at) && !selected.contains(at))
        };
        let mut chosen = Chosen::default();
        for &at in &selected {
            chosen.memories.push((at, MemoryPlace::Conditioning));
            let distance = look.travelled(at, place);
            if distance >= 0 {
                chosen.pointers.push((at, distance));
            }
        }
        let last = |most: usize| (1..=most as i64).map(move |frames| (before(frames), frames));
        for (at, frames) in last(rule.recent).filter(|(at, _)| is_other(at)) {
            if self.at(at).is_some_and(|kept| kept.memory.is_some()) {
                chosen.memories.push((at, MemoryPlace::Recent(frames as usize)));
            }
        }
        let most = look.pointers_at_most.saturating_sub(1);
        chosen.pointers.extend(last(most).filter(|(at, _)| is_other(at)));
        chosen
    }

    /// Lets go of all but what frames at some places may be shown, on either side: maps as far as recent ones are, all else as far as
    /// pointers. Frames with prompts stay.
    pub(crate) fn keep_near(&mut self, places: &[i64], rule: &TrackingRule) {
        let near = |place: i64, most: usize| places.iter().any(|near| (near - place).abs() <= most as i64);
        self.others.retain(|&place, kept| {
            if !near(place, rule.recent) {
                kept.memory = None;
            }
            near(place, rule.pointers.saturating_sub(1))
        });
    }

    /// Lets go of frames with prompts that no later frame of a pass can be shown, as at most so many are chosen, all of them passed.
    pub(crate) fn keep_conditioning(&mut self, place: i64, rule: &TrackingRule, look: Look) {
        let Some(most) = look.conditioning_at_most else { return };
        let nearest = nearest(&self.conditioning, place, Some(most));
        let is_near = |at: i64| (place - at).abs() <= rule.pointers.max(rule.recent) as i64;
        self.conditioning.retain(|&at, _| nearest.contains(&at) || is_near(at));
    }
}

/// `select_closest_cond_frames` upstream: the nearest before, the nearest from here on, then whichever are nearest.
fn nearest(conditioning: &BTreeMap<i64, Kept>, place: i64, at_most: Option<usize>) -> Vec<i64> {
    let all = || conditioning.keys().copied();
    let Some(most) = at_most.filter(|most| *most < conditioning.len()) else { return all().collect() };
    let before = all().rev().find(|at| *at < place);
    let from_here = all().find(|at| *at >= place);
    let mut selected: Vec<i64> = before.into_iter().chain(from_here).take(most).collect();
    let mut rest: Vec<i64> = all().filter(|at| !selected.contains(at)).collect();
    rest.sort_by_key(|at| (at - place).abs());
    selected.extend(rest.into_iter().take(most - selected.len()));
    // In the order they lie in: sums come out the same, however they were found.
    selected.sort_unstable();
    selected
}

#[cfg(test)]
#[path = "bank_tests.rs"]
mod tests;
