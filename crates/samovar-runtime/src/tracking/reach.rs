//! Which prompts reach a frame, and from where on an object has to be followed anew.

use samovar_geometry::Point;
use samovar_media::BitMask;
use samovar_resources::contents::{Key, KeyBuilder};

use super::carrier::ObjectId;
use super::log::{Pass, TrackLog};
use crate::prompt::{MaskPrompt, Prompt, PromptPoint};

impl Pass {
    /// Where a frame stands among those of the pass: the later, the more.
    pub(super) fn rank(self, frame: i64) -> i64 {
        match self {
            Self::Forward => frame,
            Self::Backward => -frame,
        }
    }
}

/// A hash of all that a prompt says.
pub(super) fn key_of_prompt(prompt: &Prompt) -> Key {
    let numbers =
        |numbers: &[f64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let points = prompt.points.iter().flat_map(|&PromptPoint { at: Point { x, y, .. }, positive }| {
        numbers(&[x, y, f64::from(u8::from(positive))])
    });
    let key = KeyBuilder::new("samovar prompt 1").part("points", points.collect::<Vec<u8>>());
    let key = match prompt.bounds {
        Some(bounds) => key.part("box", numbers(&[bounds.x0, bounds.y0, bounds.x1, bounds.y1])),
        None => key,
    };
    let key = match &prompt.mask {
        Some(MaskPrompt::Mask(mask)) => key.part("mask", key_of_mask(mask).as_bytes()),
        Some(MaskPrompt::Logits(logits)) => {
            key.part("logits", logits.iter().flat_map(|logit| logit.to_le_bytes()).collect::<Vec<u8>>())
        }
        None => key,
    };
    key.part("multimask", [u8::from(prompt.multimask)]).finish()
}

/// A hash of a mask.
pub(super) fn key_of_mask(mask: &BitMask) -> Key {
    let size: Vec<u8> = [mask.width(), mask.height()].into_iter().flat_map(u32::to_le_bytes).collect();
    let bytes = |row: &[u64]| row.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let rows = (0..mask.height()).map(|y| bytes(mask.row(y)));
    rows.fold(KeyBuilder::new("samovar mask 1").part("size", size), |key, row| key.part("row", row)).finish()
}

/// What one object is in a pass.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    pub(super) object: ObjectId,
    pub(super) pass: Pass,
    /// Frames with prompts or masks that are fixed, in the order of the pass, and the key of all that reaches from each on.
    keys: Vec<(i64, Key)>,
    /// The frame from whose state it can be gone on with.
    pub(super) state: Option<i64>,
}

impl Reach {
    /// `fixed` are frames and the hashes of what is said about them; `base` is the key of all else.
    pub(super) fn of(
        object: ObjectId,
        pass: Pass,
        base: Key,
        fixed: impl Iterator<Item = (i64, Key)>,
        log: &TrackLog,
    ) -> Option<Self> {
        let mut fixed: Vec<(i64, Key)> = fixed.collect();
        fixed.sort_by_key(|(frame, _)| pass.rank(*frame));
        let mut key = base;
        for (frame, own) in &mut fixed {
            let parts = KeyBuilder::new("samovar track 1").part("before", key.as_bytes());
            key = parts.part("frame", frame.to_le_bytes()).part("prompt", own.as_bytes()).finish();
            *own = key;
        }
        let mut reach = Self { object, pass, keys: fixed, state: None };
        reach.first()?;
        let mut recorded: Vec<(i64, Key)> = log.frames(object, pass).collect();
        let mut states: Vec<(i64, Key)> = log.states(object, pass).collect();
        if pass == Pass::Backward {
            recorded.reverse();
            states.reverse();
        }
        let is_sound = |(frame, key): &&(i64, Key)| reach.key(*frame) == Some(*key);
        let within = recorded.iter().filter(|(frame, _)| reach.key(*frame).is_some());
        let kept_to = within.take_while(is_sound).last().map(|(frame, _)| *frame);
        let state = kept_to.and_then(|last| {
            let mut before = states.iter().filter(|(frame, _)| pass.rank(*frame) <= pass.rank(last));
            before.rfind(is_sound).map(|(frame, _)| *frame)
        });
        reach.state = state;
        Some(reach)
    }

    /// The first frame of the pass in which the object can be.
    pub(super) fn first(&self) -> Option<i64> {
        self.keys.first().map(|(frame, _)| *frame)
    }

    /// Of all that reaches a frame; `None` before the first prompt.
    pub(super) fn key(&self, frame: i64) -> Option<Key> {
        let reaches = |(at, _): &&(i64, Key)| self.pass.rank(*at) <= self.pass.rank(frame);
        self.keys.iter().take_while(reaches).last().map(|(_, key)| *key)
    }

    /// Whether it has to be followed in a frame, rather than read.
    pub(super) fn is_open(&self, frame: i64) -> bool {
        let rank = |frame: i64| self.pass.rank(frame);
        match (self.state, self.first()) {
            (Some(state), _) => rank(frame) > rank(state),
            (None, Some(first)) => rank(frame) >= rank(first),
            (None, None) => false,
        }
    }

    /// The frame at which the pass has to begin for it: that of its state, or of its first prompt.
    pub(super) fn begins(&self) -> Option<i64> {
        self.state.or_else(|| self.first())
    }
}
