//! A shot whose frames may be damaged: those that cannot be read are passed over and named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use samovar_geometry::{Image, Size};

use super::frame_notes::FrameNotes;
use super::source::{Direction, Frame, FrameNumber, FrameSource};
use crate::error::{MediaError, MediaErrorKind, Result};

/// Frames that were passed over, with the reason, and what is to be said of those that were not; shared with whoever tells of them.
#[derive(Debug, Clone, Default)]
pub struct Skipped {
    list: Arc<Mutex<List>>,
}

#[derive(Debug, Default)]
struct List {
    /// Why, by their numbers.
    frames: BTreeMap<FrameNumber, String>,
    /// Those that were not told of yet, in the order in which they were passed over.
    news: Vec<FrameNumber>,
    notes: FrameNotes,
}

impl Skipped {
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By their numbers.
    pub fn frames(&self) -> BTreeMap<FrameNumber, String> {
        self.list().frames.clone()
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.list().frames.len()
    }

    /// The reasons of those that were passed over since this was asked last; of a frame that was passed over again the first time only.
    pub fn news(&self) -> Vec<String> {
        let List { frames, news, .. } = &mut *self.list();
        news.drain(..).filter_map(|number| frames.get(&number).cloned()).collect()
    }

    /// What is to be said of the frames that came, each thing once.
    pub fn notes(&self) -> Vec<String> {
        self.list().notes.words()
    }

    fn add(&self, number: FrameNumber, reason: String) {
        let List { frames, news, .. } = &mut *self.list();
        if frames.insert(number, reason).is_none() {
            news.push(number);
        }
    }
}

/// A source that goes on behind a frame that is damaged, missing, of another size or of a kind that is not read; the frame does not come. What
/// ends a source for good, as a program that was killed or a machine without memory, is an error as before.
pub struct Skipping<S> {
    source: S,
    skipped: Skipped,
    /// Frames that nothing can be done without.
    needed: BTreeSet<FrameNumber>,
    direction: Direction,
    /// Place of the frame that comes next.
    next: i64,
}

impl<S: FrameSource> Skipping<S> {
    /// The frames of `source`, of which those that are `needed` are errors if they cannot be read.
    pub fn new(source: S, needed: BTreeSet<FrameNumber>) -> Self {
        Self { source, skipped: Skipped::default(), needed, direction: Direction::Forward, next: 0 }
    }

    /// What is passed over, now and later.
    pub fn skipped(&self) -> Skipped {
        self.skipped.clone()
    }

    fn step(&self) -> i64 {
        match self.direction {
            Direction::Forward => 1,
            Direction::Backward => -1,
        }
    }
}

/// Whether a frame fails for what it is itself.
fn is_of_the_frame(error: &MediaError) -> bool {
    use MediaErrorKind::{Damaged, Empty, Mismatch, NotFound, TooLarge, Unsupported};
    matches!(error.kind(), Damaged | Empty | Mismatch | NotFound | TooLarge | Unsupported)
}

impl<S: FrameSource> FrameSource for Skipping<S> {
    fn size(&self) -> Size<Image> {
        self.source.size()
    }

    fn start(&mut self, from: Option<FrameNumber>, direction: Direction) -> Result<()> {
        self.source.start(from, direction)?;
        self.direction = direction;
        self.next = match (from, direction) {
            (Some(number), _) => self.source.place(number).unwrap_or(0),
            (None, Direction::Forward) => 0,
            (None, Direction::Backward) => self.source.count_up_to(usize::MAX)? as i64 - 1,
        };
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            let error = match self.source.next() {
                Ok(Some(frame)) => {
                    self.skipped.list().notes.take(frame.number, frame.pixels.notes());
                    self.next = self.source.place(frame.number).unwrap_or(self.next) + self.step();
                    return Ok(Some(frame));
                }
                Ok(None) => return Ok(None),
                Err(error) => error,
            };
            let number = self.source.number_at(self.next).filter(|_| is_of_the_frame(&error));
            let Some(number) = number.filter(|number| !self.needed.contains(number)) else {
                return Err(error);
            };
            self.skipped.add(number, error.to_string());
            self.next += self.step();
            let Some(number) = self.source.number_at(self.next) else { return Ok(None) };
            match self.source.start(Some(number), self.direction) {
                // The damage was behind the last frame.
                Err(error) if error.kind() == MediaErrorKind::NoSuchFrame => return Ok(None),
                started => started?,
            }
        }
    }

    fn within(&self) -> Option<&dyn FrameSource> {
        Some(&self.source)
    }

    fn within_mut(&mut self) -> Option<&mut dyn FrameSource> {
        Some(&mut self.source)
    }
}

#[cfg(test)]
mod tests;
