//! What the frames of a shot show: whose masks are others than they were when a run last came to its end, and where to look.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use samovar::resources::contents::Key;
use samovar::resources::journal::{JournalOptions, JournalWriter};
use samovar::tracking::{ObjectId, Signal, TrackedFrame};
use samovar::{BitMask, Rle};
use serde::{Deserialize, Serialize};

use crate::record::in_words;

/// Name of the record of what frames show, in the folder of results.
const RECORD: &str = ".samovar-track-shown.jsonl";

/// What is shown of each object: a number that tells its mask from others, 0 where it is not seen.
type Masks = Vec<(ObjectId, u64)>;

/// A line of the record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// What a frame shows, and what should be looked at there.
    Frame(i64, Masks, Vec<Signal>),
    /// Nothing is shown of a frame any more.
    Gone(i64),
    /// All changes so far were told.
    Told,
}

#[derive(Debug)]
struct Frame {
    masks: Masks,
    signals: Vec<Signal>,
}

/// What the record says.
#[derive(Debug, Default)]
struct Said {
    frames: BTreeMap<i64, Frame>,
    /// Of frames that show something else since all was told last: what they did then.
    before: BTreeMap<i64, Masks>,
}

impl Said {
    fn take(&mut self, line: Line) {
        match line {
            Line::Frame(number, masks, signals) => {
                let frame = Frame { masks, signals };
                let is_another = |before: &Frame| before.masks != frame.masks;
                if self.frames.get(&number).is_some_and(is_another)
                    && let Some(before) = self.frames.remove(&number)
                {
                    self.before.entry(number).or_insert(before.masks);
                }
                self.frames.insert(number, frame);
            }
            Line::Gone(number) => {
                self.frames.remove(&number);
                self.before.remove(&number);
            }
            Line::Told => self.before.clear(),
        }
    }
}

/// An object, in all frames of the shot.
#[derive(Default)]
pub struct Sighted {
    /// Those in which it can be.
    pub frames: usize,
    /// Those in which it is.
    pub visible: usize,
}

/// The record of one folder of results.
pub struct Shown {
    journal: JournalWriter,
    said: Said,
}

/// A number that tells a mask from others; 0 of an empty one.
fn mark(mask: &BitMask) -> Result<u64> {
    if mask.is_empty() {
        return Ok(0);
    }
    let counts = Rle::from_mask(mask)?;
    let counts: Vec<u8> = counts.counts().iter().flat_map(|count| count.to_le_bytes()).collect();
    let key = Key::of_content(&counts);
    Ok(key.as_bytes().first_chunk().map_or(1, |first| u64::from_le_bytes(*first).max(1)))
}

impl Shown {
    /// Opens it, or begins one.
    pub fn open(folder: &Path) -> Result<Self> {
        let (path, mut said) = (folder.join(RECORD), Said::default());
        // A line that is damaged tells of one frame, whose masks count as unknown.
        let opened = JournalWriter::open(&path, JournalOptions::default(), |line| said.take(line));
        let opened = opened.with_context(|| {
            format!("\"{}\": the record of what frames show cannot be used", path.display())
        });
        let (journal, _) = opened.map_err(|error| in_words(error, folder))?;
        Ok(Self { journal, said })
    }

    fn note(&mut self, line: Line) -> Result<()> {
        let path = || format!("\"{}\"", self.journal.path().display());
        self.journal.append(&line).with_context(path)?;
        self.said.take(line);
        Ok(())
    }

    /// Whether it is known what a frame shows.
    pub fn has(&self, number: i64) -> bool {
        self.said.frames.contains_key(&number)
    }

    /// Where each object is, among these frames.
    pub fn sighted(&self, frames: &BTreeSet<i64>) -> BTreeMap<ObjectId, Sighted> {
        let mut objects: BTreeMap<ObjectId, Sighted> = BTreeMap::new();
        let masks =
            frames.iter().filter_map(|number| self.said.frames.get(number)).flat_map(|frame| &frame.masks);
        for &(object, mark) in masks {
            let seen = objects.entry(object).or_default();
            seen.frames += 1;
            seen.visible += usize::from(mark != 0);
        }
        objects
    }

    /// What should be looked at in frames up to this one, by ascending numbers.
    pub fn signals(&self, last: i64) -> impl Iterator<Item = &Signal> {
        self.said.frames.range(..=last).flat_map(|(_, frame)| &frame.signals)
    }

    /// Takes what a frame shows now.
    pub fn take(&mut self, frame: &TrackedFrame, signals: &[Signal]) -> Result<()> {
        let masks = frame.objects.iter().map(|object| Ok((object.object, mark(object.mask.mask())?)));
        let (number, masks) = (frame.number, masks.collect::<Result<_>>()?);
        let is_same = |before: &Frame| before.masks == masks && before.signals == signals;
        match self.said.frames.get(&number).is_some_and(is_same) {
            true => Ok(()),
            false => self.note(Line::Frame(number, masks, signals.to_vec())),
        }
    }

    /// Takes what should be looked at in a frame that shows what it did.
    pub fn look_at(&mut self, number: i64, signals: &[Signal]) -> Result<()> {
        match self.said.frames.get(&number).filter(|before| before.signals != signals) {
            Some(frame) => {
                let line = Line::Frame(number, frame.masks.clone(), signals.to_vec());
                self.note(line)
            }
            None => Ok(()),
        }
    }

    /// Lets go of the frames of which nothing is shown any more, and says which these are.
    pub fn keep_only(&mut self, given: &BTreeSet<i64>) -> Result<Vec<i64>> {
        let gone: Vec<i64> =
            self.said.frames.keys().copied().filter(|number| !given.contains(number)).collect();
        gone.iter().try_for_each(|&number| self.note(Line::Gone(number)))?;
        Ok(gone)
    }

    /// Frames with an object whose mask is another than when all was told last, or that is not followed any more.
    pub fn changed(&self) -> BTreeSet<i64> {
        let is_changed = |(number, before): &(&i64, &Masks)| {
            let now = self.said.frames.get(number).map_or(&[][..], |frame| &frame.masks);
            before.iter().any(|one| !now.contains(one))
        };
        self.said.before.iter().filter(is_changed).map(|(&number, _)| number).collect()
    }

    /// Takes note that all changes were told.
    pub fn told(&mut self) -> Result<()> {
        if self.said.before.is_empty() { Ok(()) } else { self.note(Line::Told) }
    }
}
