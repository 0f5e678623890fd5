//! A part of a shot: from a frame, to a frame, every n-th, so many.

use samovar_geometry::{Image, Size};

use super::source::{Direction, Frame, FrameNumber, FrameSource};
use crate::error::{MediaError, MediaErrorKind, Result};

/// Which frames of a shot are taken. By default all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRange {
    /// The first frame, or where it is missing the next one that is there.
    pub start: Option<FrameNumber>,
    /// The last frame, itself included.
    pub end: Option<FrameNumber>,
    /// 1 for every frame, 2 for every second of those there are, ...
    pub every_nth: usize,
    /// No more than so many frames: of 10, at most 10 are taken.
    pub max_frames: Option<usize>,
}

impl Default for FrameRange {
    fn default() -> Self {
        Self { start: None, end: None, every_nth: 1, max_frames: None }
    }
}

impl FrameRange {
    /// Refuses ranges that can select nothing: [`MediaErrorKind::Mismatch`].
    pub fn check(&self) -> Result<()> {
        let what = match *self {
            Self { every_nth: 0, .. } => "every 0th frame is none".to_owned(),
            Self { max_frames: Some(0), .. } => "at most 0 frames are none".to_owned(),
            Self { start: Some(start), end: Some(end), .. } if start > end => {
                format!("the range begins with frame {start} and ends before it, with {end}")
            }
            _ => return Ok(()),
        };
        Err(MediaError::mismatch(what)
            .advise("take a range with a frame in it (--start, --end, --every-nth, --max-frames)"))
    }

    /// Whether every frame of a shot is taken.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a frame lies between start and end.
    pub(super) fn contains(&self, number: FrameNumber) -> bool {
        self.start.is_none_or(|start| start <= number) && self.end.is_none_or(|end| number <= end)
    }

    pub(super) fn selects_nothing(&self, first: FrameNumber, last: FrameNumber) -> MediaError {
        let bound = |number: Option<FrameNumber>, other| number.unwrap_or(other);
        let what = format!(
            "there is no frame from {} to {}: the shot goes from {first} to {last}",
            bound(self.start, first),
            bound(self.end, last)
        );
        MediaError::new(MediaErrorKind::NoSuchFrame, what)
            .advise("take a range with a frame in it (--start, --end)")
    }
}

/// The part of a source that a range selects. The others are decoded where the source knows no way around them, and not given.
#[derive(Debug)]
pub struct Ranged<S> {
    source: S,
    /// Place of the first frame taken, in the source.
    first: i64,
    /// Place in the source beyond which none is taken.
    last: i64,
    step: i64,
    has_begun: bool,
}

impl<S: FrameSource> Ranged<S> {
    /// The frames of `source` that `range` selects.
    ///
    /// # Errors
    /// As [`FrameRange::check`]; [`MediaErrorKind::NoSuchFrame`] for a range without frames, which a video may have to be decoded for to
    /// know.
    pub fn new(mut source: S, range: &FrameRange) -> Result<Self> {
        range.check()?;
        let step = i64::try_from(range.every_nth).unwrap_or(i64::MAX);
        let first = range.start.map_or(0, |start| place_of_first(&source, |number| number >= start));
        let mut last = match range.end {
            Some(end) => place_of_first(&source, |number| number > end) - 1,
            None => i64::MAX,
        };
        if let Some(most) = range.max_frames {
            let steps = i64::try_from(most - 1).unwrap_or(i64::MAX);
            last = last.min(first.saturating_add(steps.saturating_mul(step)));
        }
        let needed = usize::try_from(first).unwrap_or(usize::MAX).saturating_add(1);
        let is_there = last >= first && (first == 0 || source.count_up_to(needed)? >= needed);
        if !is_there {
            let count = source.count_up_to(usize::MAX)? as i64;
            let number = |place| source.number_at(place).unwrap_or(place);
            return Err(range.selects_nothing(number(0), number(count - 1)));
        }
        Ok(Self { source, first, last, step, has_begun: first == 0 })
    }

    /// Place among the taken frames of a place in the source.
    fn taken(&self, place: i64) -> Option<i64> {
        let behind = place.checked_sub(self.first).filter(|behind| *behind >= 0 && place <= self.last)?;
        (behind % self.step == 0).then_some(behind / self.step)
    }
}

/// Place of the first frame whose number is so, or the number of places, where numbers are so from some place on.
fn place_of_first(source: &impl FrameSource, is_so: impl Fn(FrameNumber) -> bool) -> i64 {
    let is_so = |place: i64| source.number_at(place).is_none_or(&is_so);
    let (mut before, mut at) = (-1i64, 1i64);
    while !is_so(at) {
        if at > i64::MAX / 2 {
            return i64::MAX;
        }
        (before, at) = (at, at * 2);
    }
    while at - before > 1 {
        let middle = before + (at - before) / 2;
        if is_so(middle) {
            at = middle;
        } else {
            before = middle;
        }
    }
    at
}

impl<S: FrameSource> FrameSource for Ranged<S> {
    fn size(&self) -> Size<Image> {
        self.source.size()
    }

    fn start(&mut self, from: Option<FrameNumber>, direction: Direction) -> Result<()> {
        let number = match (from, direction) {
            (Some(number), _) => Some(number),
            (None, Direction::Forward) => self.number_at(0),
            (None, Direction::Backward) => {
                self.count_up_to(usize::MAX)?.checked_sub(1).and_then(|last| self.number_at(last as i64))
            }
        };
        if let Some(number) = number.filter(|&number| self.place(number).is_none()) {
            let what = format!("frame {number} is not among those taken");
            let advice = "name another, or change the range (--start, --end, --every-nth, --max-frames)";
            return Err(MediaError::new(MediaErrorKind::NoSuchFrame, what).advise(advice));
        }
        self.source.start(number, direction)?;
        self.has_begun = true;
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        if !self.has_begun {
            self.start(None, Direction::Forward)?;
        }
        while let Some(frame) = self.source.next()? {
            let Some(place) = self.source.place(frame.number) else { continue };
            if self.taken(place).is_some() {
                return Ok(Some(frame));
            }
            if !(self.first..=self.last).contains(&place) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn within(&self) -> Option<&dyn FrameSource> {
        Some(&self.source)
    }

    fn within_mut(&mut self) -> Option<&mut dyn FrameSource> {
        Some(&mut self.source)
    }

    fn place(&self, number: FrameNumber) -> Option<i64> {
        self.taken(self.source.place(number)?)
    }

    fn number_at(&self, place: i64) -> Option<FrameNumber> {
        let place = self.first.checked_add(place.checked_mul(self.step)?)?;
        self.taken(place).and_then(|_| self.source.number_at(place))
    }

    fn count_up_to(&mut self, most: usize) -> Result<usize> {
        let Some(steps) = most.checked_sub(1) else { return Ok(0) };
        let steps = i64::try_from(steps).unwrap_or(i64::MAX);
        let last = self.last.min(self.first.saturating_add(steps.saturating_mul(self.step)));
        let needed = usize::try_from(last.saturating_add(1)).unwrap_or(usize::MAX);
        let count = self.source.count_up_to(needed)? as i64;
        Ok(if count > self.first { ((count - 1 - self.first) / self.step + 1) as usize } else { 0 })
    }

    fn expected_frames(&self) -> Option<u64> {
        let by_range = (self.last < i64::MAX).then(|| self.last.saturating_add(1));
        let source = self.source.expected_frames().and_then(|frames| i64::try_from(frames).ok());
        let end = match (by_range, source) {
            (Some(range), Some(source)) => range.min(source),
            (range, source) => range.or(source)?,
        };
        Some(((end - 1 - self.first) / self.step + 1).max(1) as u64)
    }

    fn frame_rate(&self) -> Option<f64> {
        self.source.frame_rate().map(|rate| rate / self.step as f64)
    }
}

#[cfg(test)]
mod tests;
