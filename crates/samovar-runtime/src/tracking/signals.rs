//! "Look here": frames on which an object was probably lost, told as they pass, so that one knows which frame to fix next.
//!
//! | kind | an object's mask against the frames that it comes from |
//! |---|---|
//! | score | its score is below 0, or more than 3 below the median of the last 8; without object scores, the IoU score more than 0.25 |
//! | area | \|ln(area / median of the last 5)\| is over 0.4 |
//! | flicker | IoU of the frames on both sides over 0.7, with each of them below 0.4 |
//! | swap | two objects' IoU with the mask that the other one had exceeds that with their own |
//! | vanished, appeared | there is none any more, or one again |
//!
//! What lasts is told once, where it begins. A vanished object's score and two swapped objects' areas are not told besides. A frame on
//! which somebody said where the object is needs no look, unless nothing came of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use samovar_geometry::Size;
use samovar_media::BitMask;
use serde::{Deserialize, Serialize};

use super::carrier::ObjectId;
use super::tracked::TrackedObject;

/// A score counts as fallen against the median of so many.
const SCORES: usize = 8;
/// Fewer tell nothing about what is usual.
const LEAST_SCORES: usize = 3;
/// An object score, a logit, fell if it is more than this below.
const OBJECT_SCORE_DROP: f64 = 3.0;
/// An IoU score fell if it is more than this below.
const IOU_SCORE_DROP: f64 = 0.25;
/// An area jumps against the median of so many.
const AREAS: usize = 5;
/// Most of the logarithm of a ratio of areas: 1.5 times, or two thirds.
const AREA_JUMP: f64 = 0.4;
/// Frames on both sides of a flicker agree more than this.
const FLICKER_AROUND: f64 = 0.7;
/// And the one between them less than this with either.
const FLICKER_BETWEEN: f64 = 0.4;
/// By how much the IoU with the other's mask exceeds that with one's own. Two masks of one thing agree with each other as they do with
/// themselves, give or take some pixels.
const SWAP_MARGIN: f64 = 0.1;
/// It may be another object, or may not.
const APPEARED_SEVERITY: f64 = 0.5;

/// What is suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    /// The score fell.
    Score,
    /// The area jumps.
    Area,
    /// The mask is another for one frame.
    Flicker,
    /// Two objects take each other's place.
    Swap,
    /// Nothing is found of it any more.
    Vanished,
    /// It is found again.
    Appeared,
}

/// A frame to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// The sequence's own number.
    pub frame: i64,
    /// Whose mask; of two that swap the lower number.
    pub object: ObjectId,
    /// What is suspicious.
    pub kind: SignalKind,
    /// The other one of a swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<ObjectId>,
    /// 0 to 1. For score, area, flicker and swap 0.5 is just over the limit. An object that vanishes within the picture has more than 0.5, one at
    /// its border, which may have left it, less; either the more, the less it had shrunk before.
    pub severity: f32,
    /// The same for people.
    pub words: String,
}

/// An object in a frame, as [`Signals::take`] wants it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Which one.
    pub object: ObjectId,
    /// Where it is.
    pub mask: &'a BitMask,
    /// The model's estimate of the mask's IoU with the object, about 0..1.
    pub iou_score: f32,
    /// The logit of its being there at all, of models that say so.
    pub object_score: Option<f32>,
    /// Whether something was said about it on this frame.
    pub is_prompted: bool,
}

impl<'a> From<&'a TrackedObject> for Seen<'a> {
    fn from(tracked: &'a TrackedObject) -> Self {
        let &TrackedObject { object, ref mask, iou_score, object_score, is_prompted, .. } = tracked;
        Self { object, mask: mask.mask(), iou_score, object_score, is_prompted }
    }
}

/// Watches the frames of one walk, in either direction. Of each object it holds two masks and a few numbers, however long the walk.
#[derive(Debug, Default)]
pub struct Signals {
    objects: BTreeMap<ObjectId, Past>,
}

impl Signals {
    /// Nothing was seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next frame in the direction of travel, and tells what is suspicious there, or, of a flicker, on the frame before it. Objects
    /// that are not in a frame are forgotten.
    pub fn take(&mut self, frame: i64, objects: &[Seen<'_>]) -> Vec<Signal> {
        let now_of = |seen: &Seen<'_>| {
            let cut = Cut::of(seen.mask);
            let own = self.objects.get(&seen.object).map_or(0.0, |past| cut.iou(&past.last));
            (seen.object, cut, own)
        };
        let now: Vec<(ObjectId, Cut, f64)> = objects.iter().map(now_of).collect();
        let prompted: BTreeSet<ObjectId> =
            objects.iter().filter(|seen| seen.is_prompted).map(|seen| seen.object).collect();
        let mut signals = self.swaps(frame, &now, &prompted);
        let swapped: BTreeSet<ObjectId> =
            signals.iter().flat_map(|swap| [Some(swap.object), swap.other]).flatten().collect();
        let mut pasts = BTreeMap::new();
        for (seen, (object, cut, own)) in objects.iter().zip(now) {
            let step = Step { frame, seen, own, is_swapped: swapped.contains(&object) };
            let past = self.objects.remove(&object);
            pasts.insert(object, step.take(past, cut, &mut signals));
        }
        self.objects = pasts;
        signals
    }

    /// Each pair once.
    fn swaps(&self, frame: i64, now: &[(ObjectId, Cut, f64)], prompted: &BTreeSet<ObjectId>) -> Vec<Signal> {
        let past_of = |object: &ObjectId| self.objects.get(object).filter(|past| past.last.area > 0);
        let followed = now.iter().filter(|(object, cut, _)| cut.area > 0 && !prompted.contains(object));
        let followed: Vec<_> =
            followed.filter_map(|(object, cut, own)| Some((*object, cut, own, past_of(object)?))).collect();
        let mut swaps = Vec::new();
        for (index, &(object, cut, own, past)) in followed.iter().enumerate() {
            for &(other, others_cut, others_own, others_past) in &followed[index + 1..] {
                let gain = cut.iou(&others_past.last) - own;
                if gain <= SWAP_MARGIN {
                    continue;
                }
                let gain = gain.min(others_cut.iou(&past.last) - others_own);
                if gain > SWAP_MARGIN {
                    let (first, second) = (object.min(other), object.max(other));
                    swaps.push(Signal {
                        frame,
                        object: first,
                        kind: SignalKind::Swap,
                        other: Some(second),
                        severity: (0.5 + 0.5 * gain) as f32,
                        words: format!("it takes the place of object {second}, and that one its place"),
                    });
                }
            }
        }
        swaps
    }
}

/// What is kept of an object.
#[derive(Debug)]
struct Past {
    /// Of `last`.
    frame: i64,
    last: Cut,
    before: Option<Cut>,
    /// IoU of those two.
    shared: f64,
    /// Whether `last` is no flicker: it was told of, or of the frame before it, that it swapped or flickered, or somebody said so.
    is_settled: bool,
    scores: Recent<SCORES>,
    is_low: bool,
    areas: Recent<AREAS>,
    is_jumping: bool,
}

/// An object in the frame that is taken.
struct Step<'a> {
    frame: i64,
    seen: &'a Seen<'a>,
    /// IoU with its last mask.
    own: f64,
    is_swapped: bool,
}

impl Step<'_> {
    fn take(&self, past: Option<Past>, cut: Cut, signals: &mut Vec<Signal>) -> Past {
        let mut tell = |frame: i64, kind: SignalKind, severity: f64, words: String| {
            let (object, severity) = (self.seen.object, severity.clamp(0.0, 1.0) as f32);
            signals.push(Signal { frame, object, kind, other: None, severity, words });
        };
        let is_new = past.is_none();
        let mut past = past.unwrap_or_else(|| Past {
            frame: self.frame,
            last: Cut::default(),
            before: None,
            shared: 0.0,
            is_settled: true,
            scores: Recent::default(),
            is_low: false,
            areas: Recent::default(),
            is_jumping: false,
        });
        let is_prompted = self.seen.is_prompted;
        let had_vanished = past.last.area == 0;
        let vanishes = !is_new && !had_vanished && cut.area == 0;

        let flickers = !past.is_settled && self.flickers(&past, &cut);
        if flickers {
            let words = "the mask is another on this one frame than on both beside it".to_owned();
            tell(past.frame, SignalKind::Flicker, 1.0 - 1.25 * past.shared.max(self.own), words);
        }
        if vanishes {
            let left = past.last.area as f64 / past.areas.most();
            let severity = if past.last.is_at_border(self.seen.mask) { left / 2.0 } else { 0.5 + left / 2.0 };
            tell(self.frame, SignalKind::Vanished, severity, "nothing is found of it any more".into());
        } else if had_vanished && !is_new && cut.area > 0 && !is_prompted {
            tell(self.frame, SignalKind::Appeared, APPEARED_SEVERITY, "it is found again".into());
        }

        let fall = self.fall(&past, cut.area > 0);
        if let Some((severity, words)) = fall.as_ref().filter(|_| !past.is_low && !vanishes) {
            tell(self.frame, SignalKind::Score, *severity, words.clone());
        }
        past.is_low = fall.is_some();
        if !is_prompted && cut.area > 0 {
            past.scores.push(self.score().0);
        }

        if is_prompted || self.is_swapped || cut.area == 0 {
            past.areas.clear();
            past.is_jumping = false;
        }
        // What comes back into sight grows until all of it is seen.
        past.is_jumping |= had_vanished && !is_new && !is_prompted;
        if let Some(usual) = past.areas.median() {
            let ratio = cut.area as f64 / usual;
            let jump = ratio.ln().abs() / AREA_JUMP;
            if jump > 1.0 && !past.is_jumping {
                let words = format!("the area is {ratio:.2} times what it was");
                tell(self.frame, SignalKind::Area, over_limit(jump), words);
            }
            past.is_jumping = jump > 1.0;
        }
        if cut.area > 0 {
            past.areas.push(cut.area as f64);
        }

        past.before = Some(std::mem::replace(&mut past.last, cut)).filter(|_| !is_new);
        Past {
            frame: self.frame,
            shared: self.own,
            is_settled: is_new || is_prompted || flickers || self.is_swapped,
            ..past
        }
    }

    /// Whether the last mask is unlike this one and the one before it, and these are alike.
    fn flickers(&self, past: &Past, cut: &Cut) -> bool {
        past.last.area > 0
            && past.shared < FLICKER_BETWEEN
            && self.own < FLICKER_BETWEEN
            && past.before.as_ref().is_some_and(|before| before.iou(cut) > FLICKER_AROUND)
    }

    /// The score, and how much less than usual is too little.
    fn score(&self) -> (f64, f64) {
        match self.seen.object_score {
            Some(score) => (f64::from(score), OBJECT_SCORE_DROP),
            None => (f64::from(self.seen.iou_score), IOU_SCORE_DROP),
        }
    }

    /// Severity and words, if the score is low.
    fn fall(&self, past: &Past, is_there: bool) -> Option<(f64, String)> {
        let (score, most) = self.score();
        // Given masks have a score that no model gave.
        let usual = past
            .scores
            .median()
            .filter(|_| is_there && !self.seen.is_prompted && past.scores.0.len() >= LEAST_SCORES);
        let fallen = usual.map(|usual| (usual - score) / most).filter(|&fallen| fallen > 1.0);
        if self.seen.object_score.is_some_and(|score| score < 0.0) {
            let severity = over_limit(fallen.unwrap_or(1.0).max(1.0 - score / most));
            return Some((severity, format!("the model does not see it, score {score:.2}")));
        }
        let usual = usual?;
        Some((over_limit(fallen?), format!("the score falls to {score:.2} from {usual:.2}")))
    }
}

/// Severity of what is so many times its limit.
fn over_limit(times: f64) -> f64 {
    times / (1.0 + times)
}

/// The last so many numbers.
#[derive(Debug, Default)]
struct Recent<const N: usize>(VecDeque<f64>);

impl<const N: usize> Recent<N> {
    fn push(&mut self, number: f64) {
        if number.is_finite() {
            self.0.truncate(N - 1);
            self.0.push_front(number);
        }
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    /// `None` of none.
    fn median(&self) -> Option<f64> {
        let mut sorted: Vec<f64> = self.0.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
        Some((low + high) / 2.0)
    }

    /// At least 1.
    fn most(&self) -> f64 {
        self.0.iter().fold(1.0, |most, &number| number.max(most))
    }
}

/// A mask without the empty rows and columns around it.
#[derive(Debug)]
struct Cut {
    /// Half-open: `[x0, y0, x1, y1]`.
    bounds: [u32; 4],
    mask: BitMask,
    area: u64,
}

impl Default for Cut {
    fn default() -> Self {
        Self { bounds: [0; 4], mask: BitMask::new(Size::new(0, 0)), area: 0 }
    }
}

impl Cut {
    fn of(mask: &BitMask) -> Self {
        let Some(bounds) = mask.pixel_bounds() else { return Self::default() };
        let [x0, y0, x1, y1] = bounds;
        Self { bounds, mask: mask.cropped(x0, y0, Size::new(x1 - x0, y1 - y0)), area: mask.area() }
    }

    /// Whether it touches the border of the frame that this is a mask of.
    fn is_at_border(&self, frame: &BitMask) -> bool {
        let [x0, y0, x1, y1] = self.bounds;
        x0 == 0 || y0 == 0 || x1 >= frame.width() || y1 >= frame.height()
    }

    /// Intersection over union; 0 if both are empty.
    fn iou(&self, other: &Self) -> f64 {
        let ([ax0, ay0, ax1, ay1], [bx0, by0, bx1, by1]) = (self.bounds, other.bounds);
        let [x0, y0, x1, y1] = [ax0.max(bx0), ay0.max(by0), ax1.min(bx1), ay1.min(by1)];
        if x0 >= x1 || y0 >= y1 {
            return 0.0;
        }
        let part = |cut: &Self| {
            cut.mask.cropped(x0 - cut.bounds[0], y0 - cut.bounds[1], Size::new(x1 - x0, y1 - y0))
        };
        // Of one size, so that it does not fail.
        let common = part(self).intersection_area(&part(other)).unwrap_or(0);
        common as f64 / (self.area + other.area - common) as f64
    }
}

/// The worst of all signals of a walk.
#[derive(Debug, Clone, Serialize)]
pub struct SignalSummary {
    total: u64,
    signals: Vec<Signal>,
    #[serde(skip)]
    most: usize,
}

impl SignalSummary {
    /// Keeps at most so many.
    pub fn new(most: usize) -> Self {
        Self { total: 0, signals: Vec::new(), most }
    }

    /// Adds one; the least severe goes if there are too many, of equal ones the latest.
    pub fn add(&mut self, signal: Signal) {
        self.total += 1;
        let at = self.signals.partition_point(|kept| kept.severity >= signal.severity);
        if at < self.most {
            self.signals.truncate(self.most - 1);
            self.signals.insert(at, signal);
        }
    }

    /// The worst, most severe first.
    pub fn signals(&self) -> &[Signal] {
        &self.signals
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests;
