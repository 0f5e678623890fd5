//! What a source of frames is, and the simplest one: frames that are in memory already.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use samovar_geometry::{Image, Size};

use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::RgbImage;

/// A frame's own number: 1001 in `shot.1001.exr`, counted from 0 in a video.
pub type FrameNumber = i64;

/// Which way frames are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// By ascending numbers.
    Forward,
    /// By descending numbers.
    Backward,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        })
    }
}

/// A frame of a shot, decoded and upright.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The shot's own number for it.
    pub number: FrameNumber,
    /// Presentation time in seconds, where the source knows one.
    pub time: Option<f64>,
    /// All frames of a source have the size [`FrameSource::size`].
    pub pixels: Arc<RgbImage>,
}

/// Where frames come from, one at a time, so that a decoder or a camera can feed it.
///
/// A pass begins with [`start`](FrameSource::start) and is read with [`next`](FrameSource::next) until that gives `None` or
/// an error. Without `start`, the first pass goes forward from the first frame.
pub trait FrameSource: Send {
    /// Size of every frame (after rotation).
    fn size(&self) -> Size<Image>;

    /// From now on `next` gives frames in this direction, the first of them `from` (`None`: the shot's first, or its last when
    /// backward). May be called at any time; with the frame that would come next anyway nothing is decoded anew. Also goes
    /// past a frame whose decoding failed.
    ///
    /// # Errors
    /// [`MediaErrorKind::NoSuchFrame`] for a frame that the source does not have or a way that it cannot go (a camera: backward, or to
    /// anything but the frame that comes next).
    fn start(&mut self, from: Option<FrameNumber>, direction: Direction) -> Result<()>;

    /// The next frame, or `None` behind the last. An error names the frame and ends the pass; what was given before stays good.
    fn next(&mut self) -> Result<Option<Frame>>;

    /// The source that this one takes its frames from, if there is one: what is not overridden below is what that source says. With
    /// [`within_mut`](FrameSource::within_mut), or neither.
    fn within(&self) -> Option<&dyn FrameSource> {
        None
    }

    /// The same.
    fn within_mut(&mut self) -> Option<&mut dyn FrameSource> {
        None
    }

    /// Place of a frame among the frames of the shot, the first of which has 0: differences of places are distances in travelled
    /// frames. `None`: no such frame. Where the end is not known yet, `Some` for any number that may come. Unless overridden the
    /// number itself, right for numbers from 0 without gaps.
    fn place(&self, number: FrameNumber) -> Option<i64> {
        match self.within() {
            Some(source) => source.place(number),
            None => (number >= 0).then_some(number),
        }
    }

    /// The number of the frame at a place, as [`place`](FrameSource::place) gives it. `None`: no such place. Unless overridden the place itself.
    fn number_at(&self, place: i64) -> Option<FrameNumber> {
        match self.within() {
            Some(source) => source.number_at(place),
            None => (place >= 0).then_some(place),
        }
    }

    /// The least of the number of frames of the shot and `most`. May decode as many to know. Unless overridden `most`, right
    /// for streams.
    fn count_up_to(&mut self, most: usize) -> Result<usize> {
        self.within_mut().map_or(Ok(most), |source| source.count_up_to(most))
    }

    /// About how many frames there are, as far as that is known without decoding; for progress.
    fn expected_frames(&self) -> Option<u64> {
        self.within()?.expected_frames()
    }

    /// Frames a second, where the source says so: of varying rates about.
    fn frame_rate(&self) -> Option<f64> {
        self.within()?.frame_rate()
    }

    /// The file that a frame is read from, where it has one of its own. Unless overridden none.
    fn file(&self, number: FrameNumber) -> Option<PathBuf> {
        self.within()?.file(number)
    }

    /// Bytes of frames that it holds at its worst moment on a way in this direction, with what decoding takes and without the frame that
    /// [`next`](FrameSource::next) gave last. Unless overridden that of one frame and of its decoder's.
    fn held_bytes(&self, direction: Direction) -> u64 {
        match self.within() {
            Some(source) => source.held_bytes(direction),
            None => self.size().area().saturating_mul(6),
        }
    }

    /// What the user should know of how the shot is read (gaps in the numbers, a viewing transform), each a phrase for people.
    fn notes(&self) -> Vec<String> {
        self.within().map_or_else(Vec::new, FrameSource::notes)
    }
}

impl FrameSource for Box<dyn FrameSource> {
    fn size(&self) -> Size<Image> {
        (**self).size()
    }

    fn start(&mut self, from: Option<FrameNumber>, direction: Direction) -> Result<()> {
        (**self).start(from, direction)
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        (**self).next()
    }

    fn within(&self) -> Option<&dyn FrameSource> {
        Some(&**self)
    }

    fn within_mut(&mut self) -> Option<&mut dyn FrameSource> {
        Some(&mut **self)
    }
}

/// Where a pass stands in a list of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Index of the frame that comes next, among `len`; beyond either end there is none.
    pub(super) index: i64,
    pub(super) direction: Direction,
}

impl Position {
    /// The first frame of a list of `len` in this direction.
    pub(super) fn first(len: usize, direction: Direction) -> Self {
        let index = match direction {
            Direction::Forward => 0,
            Direction::Backward => len as i64 - 1,
        };
        Self { index, direction }
    }

    /// Index of the frame that comes next, if there is one; the position moves behind it.
    pub(super) fn take(&mut self, len: usize) -> Option<usize> {
        let index = usize::try_from(self.index).ok().filter(|&index| index < len)?;
        self.index += match self.direction {
            Direction::Forward => 1,
            Direction::Backward => -1,
        };
        Some(index)
    }

    /// Behind the last frame.
    pub(super) fn end(&mut self) {
        self.index = match self.direction {
            Direction::Forward => i64::MAX,
            Direction::Backward => -1,
        };
    }
}

/// Frames that are in memory already.
#[derive(Debug)]
pub struct FramesInMemory {
    first: FrameNumber,
    frames: Vec<Arc<RgbImage>>,
    position: Position,
}

impl FramesInMemory {
    /// These frames, numbered from `first`.
    ///
    /// # Errors
    /// [`MediaErrorKind::Empty`] for no frames, [`MediaErrorKind::Mismatch`] for frames of several sizes, or numbers that go too far.
    pub fn new(first: FrameNumber, frames: Vec<RgbImage>) -> Result<Self> {
        let Some(size) = frames.first().map(RgbImage::size) else {
            return Err(MediaError::new(MediaErrorKind::Empty, "a shot without frames").advise("give it one"));
        };
        if first.checked_add_unsigned(frames.len() as u64).is_none() {
            return Err(MediaError::mismatch(format!(
                "there is no frame number {} after {first}",
                frames.len()
            )));
        }
        for (number, frame) in (first..).zip(&frames) {
            check_size(number, frame.size(), size)?;
        }
        let position = Position::first(frames.len(), Direction::Forward);
        Ok(Self { first, frames: frames.into_iter().map(Arc::new).collect(), position })
    }
}

impl FrameSource for FramesInMemory {
    fn size(&self) -> Size<Image> {
        self.frames[0].size()
    }

    fn start(&mut self, from: Option<FrameNumber>, direction: Direction) -> Result<()> {
        let mut position = Position::first(self.frames.len(), direction);
        if let Some(number) = from {
            let last = self.first + (self.frames.len() as i64 - 1);
            position.index = self.place(number).ok_or_else(|| no_such_frame(number, self.first, last))?;
        }
        self.position = position;
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        Ok(self.position.take(self.frames.len()).map(|index| Frame {
            number: self.first + index as i64,
            time: None,
            pixels: Arc::clone(&self.frames[index]),
        }))
    }

    fn place(&self, number: FrameNumber) -> Option<i64> {
        let place = number.checked_sub(self.first)?;
        (0..self.frames.len() as i64).contains(&place).then_some(place)
    }

    fn number_at(&self, place: i64) -> Option<FrameNumber> {
        (0..self.frames.len() as i64).contains(&place).then(|| self.first + place)
    }

    fn count_up_to(&mut self, most: usize) -> Result<usize> {
        Ok(self.frames.len().min(most))
    }

    fn expected_frames(&self) -> Option<u64> {
        Some(self.frames.len() as u64)
    }
}

/// Refuses a frame whose size is not that of the shot.
pub(super) fn check_size(number: FrameNumber, size: Size<Image>, expected: Size<Image>) -> Result<()> {
    if size == expected {
        return Ok(());
    }
    let what = format!("frame {number} is {size} pixels, the shot's first {expected}");
    Err(MediaError::mismatch(what).advise("bring all frames to one size, or leave this one out"))
}

/// The error for a frame that a shot does not have.
pub(super) fn no_such_frame(number: FrameNumber, first: FrameNumber, last: FrameNumber) -> MediaError {
    let what = if (first..=last).contains(&number) {
        format!("frame {number} is missing between {first} and {last}")
    } else {
        format!("there is no frame {number}: the shot goes from {first} to {last}")
    };
    MediaError::new(MediaErrorKind::NoSuchFrame, what)
}

#[cfg(test)]
mod tests;
