//! What is to be said of frames themselves, once for all of a shot.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::source::FrameNumber;

/// Notes of frames ([`RgbImage::notes`](crate::RgbImage::notes)), such as what a viewing transform cut off, and of how many.
#[derive(Debug, Default)]
pub struct FrameNotes {
    notes: BTreeMap<String, BTreeSet<FrameNumber>>,
}

impl FrameNotes {
    /// Takes those of a frame; of one that comes again they count once.
    pub fn take(&mut self, number: FrameNumber, notes: &[String]) {
        /// Notes that tell numbers of their own frame are told apart no further.
        const MOST: usize = 8;
        for note in notes {
            if let Some(frames) = self.notes.get_mut(note) {
                frames.insert(number);
            } else if self.notes.len() < MOST {
                self.notes.insert(note.clone(), BTreeSet::from([number]));
            }
        }
    }

    /// Each in words, with the number of its frames.
    pub fn words(&self) -> Vec<String> {
        let words = |(note, frames): (&String, &BTreeSet<FrameNumber>)| match (frames.len(), frames.first()) {
            (1, Some(frame)) => format!("{note}, in frame {frame}"),
            (count, first) => format!("{note}, in {count} frames, first in {}", first.unwrap_or(&0)),
        };
        self.notes.iter().map(words).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_said_once_with_the_number_of_its_frames() {
        let mut all = FrameNotes::default();
        let [over, below] = ["over", "below"].map(str::to_owned);
        for number in [1004, 1003, 1002, 1003] {
            all.take(number, std::slice::from_ref(&over));
        }
        all.take(1003, &[below, over]);
        all.take(1005, &[]);
        assert_eq!(all.words(), ["below, in frame 1003", "over, in 3 frames, first in 1002"]);
        (0..99).for_each(|number| all.take(number, &[format!("largest {number}")]));
        assert!(all.words().len() < 10);
    }
}
