//! Frames of 8 bits whose values are no sRGB, shown as sRGB.

use std::path::PathBuf;
use std::sync::Arc;

use samovar_geometry::{Image, Size};

use super::source::{Direction, Frame, FrameNumber, FrameSource};
use crate::error::Result;
use crate::image::{ColourSpace, RgbImage, View};

/// A source whose values mean something else than sRGB, made so: as a camera's logarithmic video.
pub struct Viewed<S> {
    source: S,
    space: ColourSpace,
    view: View,
}

impl<S: FrameSource> Viewed<S> {
    /// The frames of `source`, whose values are in this space.
    pub fn new(source: S, space: ColourSpace) -> Self {
        Self { source, space, view: View::new(space, None) }
    }
}

impl<S: FrameSource> FrameSource for Viewed<S> {
    fn size(&self) -> Size<Image> {
        self.source.size()
    }

    fn start(&mut self, from: Option<FrameNumber>, direction: Direction) -> Result<()> {
        self.source.start(from, direction)
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        let Some(frame) = self.source.next()? else { return Ok(None) };
        let (shown, _) = self.view.of_integers(frame.pixels.pixels(), u16::from(u8::MAX), 3)?;
        Ok(Some(Frame { pixels: Arc::new(RgbImage::from_raw(frame.pixels.size(), shown)?), ..frame }))
    }

    fn place(&self, number: FrameNumber) -> Option<i64> {
        self.source.place(number)
    }

    fn number_at(&self, place: i64) -> Option<FrameNumber> {
        self.source.number_at(place)
    }

    fn count_up_to(&mut self, most: usize) -> Result<usize> {
        self.source.count_up_to(most)
    }

    fn expected_frames(&self) -> Option<u64> {
        self.source.expected_frames()
    }

    fn frame_rate(&self) -> Option<f64> {
        self.source.frame_rate()
    }

    fn file(&self, number: FrameNumber) -> Option<PathBuf> {
        self.source.file(number)
    }

    fn held_bytes(&self, direction: Direction) -> u64 {
        // The frame as it came, while it is made another.
        self.source.held_bytes(direction).saturating_add(self.size().area().saturating_mul(3))
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.source.notes();
        notes.push(self.space.note());
        notes
    }
}
