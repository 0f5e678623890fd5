//! How an object was while it was followed for certain: what tells that it was lost, where to look for it then, and whether what is
//! found there is it.

use samovar_geometry::{Box2, Motion, Point, Size};

/// How much of what is new a running mean takes in.
const SHARE_OF_NEW: f64 = 0.2;
/// Lost is what looks less like the object than this share of how it did.
const LOST: f64 = 0.5;
/// Found again is what looks like the object by this share of how it did.
const FOUND: f64 = 0.8;
/// Found again is what is at most so many times as large as it was, and at least the reverse.
const MOST_LARGER: f64 = 3.0;
/// An answer so many times as large as the object was is the object and more.
const SPILT: f64 = 2.0;
/// What has more of itself in the answer is a part of it.
const MOST_SHARED: f64 = 0.5;

/// A mask, by what one can tell it is the object or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sight {
    /// How much it looks like the object, -1 to 1.
    pub(super) alike: f64,
    /// In pixels of the flow.
    pub(super) area: f64,
    /// Around it.
    pub(super) bounds: Box2<Motion>,
}

/// How an object is when it is seen: running means, and where it was last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Standing {
    alike: f64,
    area: f64,
    /// Of the longer side of its box.
    side: f64,
    at: Point<Motion>,
    /// How many frames it has been lost.
    lost_for: u32,
}

fn middle(bounds: Box2<Motion>) -> Point<Motion> {
    Point::new((bounds.x0 + bounds.x1) / 2.0, (bounds.y0 + bounds.y1) / 2.0)
}

fn longer_side(bounds: Box2<Motion>) -> f64 {
    (bounds.x1 - bounds.x0).max(bounds.y1 - bounds.y0)
}

impl Standing {
    /// As it was first seen; `None` where it looks no more like itself than like what is around it.
    pub(super) fn new(first: &Sight) -> Option<Self> {
        let Sight { alike, area, bounds } = *first;
        let (side, at) = (longer_side(bounds), middle(bounds));
        (alike > 0.0 && area > 0.0).then_some(Self { alike, area, side, at, lost_for: 0 })
    }

    /// Whether what was answered is something else.
    pub(super) fn is_lost(&self, answer: Option<&Sight>) -> bool {
        answer.is_none_or(|answer| answer.alike < LOST * self.alike)
    }

    /// It was seen again.
    pub(super) fn see(&mut self, sight: &Sight) {
        for (mean, new) in [
            (&mut self.alike, sight.alike),
            (&mut self.area, sight.area),
            (&mut self.side, longer_side(sight.bounds)),
        ] {
            *mean += SHARE_OF_NEW * (new - *mean);
        }
        (self.at, self.lost_for) = (middle(sight.bounds), 0);
    }

    /// How much a cell looks like the object, as a logit that is 1 for what does as it used to and 0 for half of that.
    pub(super) fn certainty(&self, alike: f32) -> f32 {
        let half = self.alike as f32 / 2.0;
        (alike - half) / half
    }

    /// Where to look for it in this frame: a square of `scale` times its side. In so many frames all of the picture is looked at, the
    /// nearest places first.
    pub(super) fn search(&mut self, picture: Size<Motion>, scale: f64, least: f64) -> Box2<Motion> {
        let side = (scale * self.side).max(least);
        // Neighbours share a half.
        let starts = |whole: u32| {
            let room = (f64::from(whole) - side).max(0.0);
            let steps = (room / (side / 2.0)).ceil();
            (0..=steps as u32).map(move |step| room * f64::from(step) / steps.max(1.0))
        };
        let distance = |&(x, y): &(f64, f64)| {
            (x + side / 2.0 - self.at.x).powi(2) + (y + side / 2.0 - self.at.y).powi(2)
        };
        let mut places: Vec<(f64, f64)> =
            starts(picture.height).flat_map(|y| starts(picture.width).map(move |x| (x, y))).collect();
        places.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
        let (x, y) = places[self.lost_for as usize % places.len()];
        self.lost_for = self.lost_for.wrapping_add(1);
        Box2::new(x, y, x + side, y + side)
    }

    /// Whether what was found is the object and not the answer, of which `shared` is in what was found.
    pub(super) fn is_found(&self, found: &Sight, answer: Option<&Sight>, shared: f64) -> bool {
        let larger = found.area / self.area;
        let is_another = shared < MOST_SHARED * found.area;
        let has_spilt = answer.is_some_and(|answer| answer.area > SPILT * self.area);
        found.alike > FOUND * self.alike
            && larger < MOST_LARGER
            && larger > 1.0 / MOST_LARGER
            && (is_another || has_spilt)
    }

    /// For a file: six numbers, little endian.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let Self { alike, area, side, at, lost_for } = self;
        let numbers = [alike, area, side, at.x, at.y, f64::from(lost_for)];
        numbers.into_iter().flat_map(f64::to_le_bytes).collect()
    }

    /// The reverse, with what follows; `None` for bytes that are none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (bytes, rest) = bytes.split_at_checked(6 * size_of::<f64>())?;
        let mut numbers = bytes.as_chunks::<8>().0.iter().map(|eight| f64::from_le_bytes(*eight));
        let mut number = || numbers.next().filter(|number| number.is_finite());
        let (alike, area, side) = (number()?, number()?, number()?);
        let (at, lost_for) = (Point::new(number()?, number()?), number()? as u32);
        (alike > 0.0 && area > 0.0 && side >= 0.0).then_some((Self { alike, area, side, at, lost_for }, rest))
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
