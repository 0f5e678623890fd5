//! Both ways through a source that only goes forward.

use samovar_geometry::{Image, Size};

use super::source::{Direction, Frame, FrameNumber, FrameSource, no_such_frame};
use crate::error::{MediaError, Result};

/// A source that goes forward from any frame, made to go backward too: blocks of frames are read forward and given from their ends.
/// Numbers count from 0 without gaps, as those of a video.
#[derive(Debug)]
pub struct Reversed<S> {
    source: S,
    frames_per_block: usize,
    backward: Option<Backward>,
}

/// Where a way back stands.
#[derive(Debug)]
struct Backward {
    /// Frames read and not given, the next one last.
    block: Vec<Frame>,
    /// What is wrong with the frame before the block.
    error: Option<MediaError>,
    /// Frames from this number on are read.
    end: FrameNumber,
}

impl<S: FrameSource> Reversed<S> {
    /// Both ways through `source`, backward in blocks of at most so many bytes, though of one frame at least.
    pub fn new(source: S, max_bytes: u64) -> Self {
        /// A block is decoded before its first frame is given: longer ones would make one wait.
        const MAX_FRAMES: u64 = 64;
        let frame_bytes = source.size().area().saturating_mul(3).max(1);
        let frames_per_block = (max_bytes / frame_bytes).clamp(1, MAX_FRAMES) as usize;
        Self { source, frames_per_block, backward: None }
    }

    /// The frame before `end`, which a block is read for.
    fn read_block(&mut self, end: FrameNumber) -> Result<Option<Frame>> {
        let mut first = (end - self.frames_per_block as i64).max(0);
        let (mut block, mut failed) = (Vec::new(), None);
        if end > first {
            self.source.start(Some(first), Direction::Forward)?;
        }
        let mut number = first;
        while number < end {
            let failure = match self.source.next() {
                Ok(Some(frame)) => {
                    number = frame.number + 1;
                    block.push(frame);
                    continue;
                }
                Ok(None) => {
                    MediaError::damaged(format!("frame {number} was there before, and is not there any more"))
                }
                Err(error) => error,
            };
            // What is behind the frame comes before it, on the way back.
            block.clear();
            first = number;
            number += 1;
            if number < end && self.source.start(Some(number), Direction::Forward).is_err() {
                number = end;
            }
            failed = Some(failure);
        }
        match (block.pop(), failed) {
            (Some(frame), error) => {
                self.backward = Some(Backward { block, error, end: first });
                Ok(Some(frame))
            }
            (None, Some(error)) => {
                self.backward = Some(Backward { block, error: None, end: 0 });
                Err(error)
            }
            (None, None) => Ok(None),
        }
    }
}

impl<S: FrameSource> FrameSource for Reversed<S> {
    fn size(&self) -> Size<Image> {
        self.source.size()
    }

    fn start(&mut self, from: Option<FrameNumber>, direction: Direction) -> Result<()> {
        if direction == Direction::Forward {
            self.source.start(from, direction)?;
            self.backward = None;
            return Ok(());
        }
        let number = match from {
            Some(number) => {
                let wanted = usize::try_from(number).map_or(0, |index| index.saturating_add(1));
                let count = self.source.count_up_to(wanted)?;
                if wanted == 0 || count < wanted {
                    let last = self.source.count_up_to(usize::MAX)? as FrameNumber - 1;
                    return Err(no_such_frame(number, 0, last));
                }
                number
            }
            None => self.source.count_up_to(usize::MAX)? as FrameNumber - 1,
        };
        let next = self.backward.as_ref().and_then(|backward| backward.block.last());
        if next.is_none_or(|frame| frame.number != number) {
            self.backward = Some(Backward { block: Vec::new(), error: None, end: number + 1 });
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        let Some(backward) = &mut self.backward else { return self.source.next() };
        if let Some(frame) = backward.block.pop() {
            return Ok(Some(frame));
        }
        if let Some(error) = backward.error.take() {
            backward.end = 0;
            return Err(error);
        }
        let end = backward.end;
        self.read_block(end)
    }

    fn within(&self) -> Option<&dyn FrameSource> {
        Some(&self.source)
    }

    fn within_mut(&mut self) -> Option<&mut dyn FrameSource> {
        Some(&mut self.source)
    }

    fn held_bytes(&self, direction: Direction) -> u64 {
        let block = self.size().area().saturating_mul(3 * (self.frames_per_block as u64 - 1));
        let ahead = self.source.held_bytes(Direction::Forward);
        if direction == Direction::Forward { ahead } else { ahead.saturating_add(block) }
    }
}

#[cfg(test)]
mod tests;
