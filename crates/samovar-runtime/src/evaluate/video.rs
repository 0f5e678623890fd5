//! Masks of videos held against known ones: J, F and J&F, as the DAVIS 2017 challenge measures them.
//!
//! J is the IoU of an object in a frame, 1 where it is neither there nor found; F its boundary F, matched within 0.8 % of the
//! picture's diagonal. Both are averaged over the frames of an object, then over all objects of all sequences; J&F is the mean
//! of both (Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation"; davis2017-evaluation is the code).
//!
//! A tracker is given an object's first mask, so the frame that first shows an object does not count, nor, as in DAVIS, a
//! sequence's last one.

mod frames;
mod statistics;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use samovar_media::mask::{Boundary, davis_reach};
use samovar_media::{BitMask, DecodeLimits};
use serde::Serialize;

use crate::error::{Error, Result};
use frames::{Folder, Frame, FrameName, SequenceFolder, Truth, VOID};

pub use statistics::Statistics;

/// Most objects of a sequence, as in a label map of 8 bits.
pub const MAX_OBJECTS: usize = 255;

/// Figures of an object, or their mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct VideoFigures {
    /// Mean of both means.
    #[serde(rename = "J&F")]
    pub j_and_f: f64,
    /// Region similarity, the IoU.
    #[serde(rename = "J")]
    pub j: Statistics,
    /// Boundary F.
    #[serde(rename = "F")]
    pub f: Statistics,
}

impl VideoFigures {
    fn mean(all: &[Self]) -> Self {
        let j = Statistics::mean(&all.iter().map(|one| one.j).collect::<Vec<_>>());
        let f = Statistics::mean(&all.iter().map(|one| one.f).collect::<Vec<_>>());
        Self { j_and_f: (j.mean + f.mean) / 2.0, j, f }
    }
}

/// Figures of one object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ObjectFigures {
    /// Frames that count.
    pub frames: usize,
    /// Over these frames.
    #[serde(flatten)]
    pub figures: VideoFigures,
}

/// Figures of one sequence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SequenceFigures {
    /// Frames with known masks.
    pub frames: usize,
    /// Mean over its objects.
    #[serde(flatten)]
    pub mean: VideoFigures,
    /// Each object, by its label.
    pub objects: BTreeMap<u16, ObjectFigures>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoEvaluation {
    /// The masks that were measured.
    pub masks: PathBuf,
    /// The known ones.
    pub truth: PathBuf,
    /// Whether all sequences were done; `false` after a stop.
    pub complete: bool,
    /// Whether first and last frames count too.
    pub all_frames: bool,
    /// Objects that were measured.
    pub objects: usize,
    /// Mean over all objects of all sequences.
    pub mean: VideoFigures,
    /// Each sequence, by name.
    pub sequences: BTreeMap<String, SequenceFigures>,
    /// Objects, as `sequence/label`, of which no frame counts, as they are first seen in the last one or the last but one.
    pub not_measured: Vec<String>,
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoProgress {
    /// Frames done.
    pub frames: usize,
    /// Frames there are.
    pub of_frames: usize,
}

/// Holds the masks in `found` against those in `truth`.
///
/// `found` is a folder with a folder for each sequence, or the frames of the only one; frames are PNG files named as those of
/// the truth, label maps (by palette or greyscale) or, in a folder for each object named by its label, masks. `truth` is such a
/// folder or a segpack of frames. Label 255 is void, which counts as background, or the object where it is a sequence's only
/// label. With `all_frames` no frame is left out.
///
/// `progress` is told after every frame, of which there are 0 until all names are known; [`ControlFlow::Break`] stops the work, and the finished sequences come back with
/// `complete: false`.
///
/// # Errors
/// [`Error::File`] and [`Error::Media`] for what cannot be read or does not belong together: a frame without masks, masks of
/// another size, an object that the truth does not have, more than [`MAX_OBJECTS`] objects. [`Error::Stopped`] when it was
/// stopped before the first sequence was done.
pub fn evaluate_video(
    found: &Path,
    truth: &Path,
    all_frames: bool,
    limits: &DecodeLimits,
    progress: &mut dyn FnMut(VideoProgress) -> ControlFlow<()>,
) -> Result<VideoEvaluation> {
    let (source, results) = (Truth::open(truth)?, Folder::open(found)?);
    let mut sequences = survey(&source, truth, limits, progress)?;
    let of_frames = sequences.values().map(|sequence| sequence.frames.len()).sum();
    let the_only = sequences.len() == 1;
    let (mut frames, mut stopped) = (0, false);
    let mut at_hand: Option<(String, SequenceFolder)> = None;
    source.visit(limits, &mut |name, frame, masks| {
        if at_hand.as_ref().is_none_or(|(at_hand, _)| at_hand != name) {
            at_hand = Some((name.to_owned(), results.sequence(name, the_only)?));
        }
        if let (Some(sequence), Some((_, folder))) = (sequences.get_mut(name), &at_hand) {
            sequence.measure(folder, frame, &masks, all_frames, limits)?;
        }
        frames += 1;
        stopped = progress(VideoProgress { frames, of_frames }).is_break() && frames < of_frames;
        Ok(if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    summary(found, truth, all_frames, sequences, stopped)
}

/// A sequence of the truth, and what was measured of it so far.
#[derive(Default)]
struct Sequence {
    frames: BTreeSet<FrameName>,
    /// Objects, and the frame that first shows each.
    objects: BTreeMap<u16, FrameName>,
    /// Whether its only label is [`VOID`], which then is object 1.
    is_white: bool,
    done: usize,
    /// J and F by object and frame.
    values: BTreeMap<u16, BTreeMap<FrameName, (f64, f64)>>,
}

/// What is in the truth.
fn survey(
    source: &Truth,
    truth: &Path,
    limits: &DecodeLimits,
    progress: &mut dyn FnMut(VideoProgress) -> ControlFlow<()>,
) -> Result<BTreeMap<String, Sequence>> {
    let mut sequences: BTreeMap<String, Sequence> = BTreeMap::new();
    source.visit(limits, &mut |name, frame, masks| {
        let sequence = sequences.entry(name.to_owned()).or_default();
        for object in masks.objects(limits)? {
            match sequence.objects.get(&object) {
                Some(first) if *first <= frame => {}
                _ => drop(sequence.objects.insert(object, frame.clone())),
            }
            if sequence.objects.len() > MAX_OBJECTS + 1 {
                let what = format!("{name} has more than {MAX_OBJECTS} objects; more cannot be measured");
                return Err(Error::file(truth, what));
            }
        }
        if !sequence.frames.insert(frame.clone()) {
            return Err(Error::file(truth, format!("{name} has two frames {}", frame.name)));
        }
        if progress(VideoProgress { frames: 0, of_frames: 0 }).is_break() {
            return Err(Error::Stopped);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for sequence in sequences.values_mut() {
        let only = sequence.objects.len() == 1;
        if let Some(first) = sequence.objects.remove(&VOID).filter(|_| only) {
            sequence.is_white = true;
            sequence.objects.insert(1, first);
        }
    }
    Ok(sequences)
}

impl Sequence {
    /// Whether a frame counts for an object that `first` shows.
    fn counts(&self, frame: &FrameName, first: &FrameName, all_frames: bool) -> bool {
        all_frames || (frame > first && Some(frame) < self.frames.last())
    }

    fn measure(
        &mut self,
        folder: &SequenceFolder,
        frame: FrameName,
        truth: &Frame,
        all_frames: bool,
        limits: &DecodeLimits,
    ) -> Result<()> {
        self.done += 1;
        let counting: Vec<u16> = self
            .objects
            .iter()
            .filter(|(_, first)| self.counts(&frame, first, all_frames))
            .map(|(&object, _)| object)
            .collect();
        if counting.is_empty() {
            return Ok(());
        }
        let wrong = |what: String| Error::file(folder.path(&frame), what);
        if !folder.frames.contains(&frame) {
            return Err(wrong("there is no such file; every frame of the truth needs its masks".into()));
        }
        let masks = folder.read(&frame, limits)?;
        // One object may be drawn white on black, whatever its label.
        let seen = masks.objects(limits)?;
        let drawn_white = self.objects.len() == 1 && seen == [VOID];
        let strange = seen.iter().find(|object| !drawn_white && !self.objects.contains_key(object));
        if let Some(object) = strange {
            let known: Vec<String> = self.objects.keys().map(u16::to_string).collect();
            let what =
                format!("there is an object {object}, which the truth does not have: {}", known.join(", "));
            return Err(wrong(what));
        }
        for object in counting {
            let own = masks.mask(if drawn_white { VOID } else { object }, limits)?;
            let own =
                own.ok_or_else(|| wrong(format!("object {object} has no such file in a folder of its own")))?;
            let label = if self.is_white { VOID } else { object };
            let truth = truth.mask(label, limits)?.unwrap_or_else(|| BitMask::new(own.size()));
            if own.size() != truth.size() {
                return Err(wrong(format!("the mask is {}, the truth {}", own.size(), truth.size())));
            }
            let values = (region_similarity(&own, &truth)?, boundary_f(&own, &truth)?);
            self.values.entry(object).or_default().insert(frame.clone(), values);
        }
        Ok(())
    }

    fn figures(&self, object: u16) -> Option<ObjectFigures> {
        let values = self.values.get(&object).filter(|values| !values.is_empty())?;
        let (j, f): (Vec<f64>, Vec<f64>) = values.values().copied().unzip();
        let (j, f) = (Statistics::of(&j), Statistics::of(&f));
        let figures = VideoFigures { j_and_f: (j.mean + f.mean) / 2.0, j, f };
        Some(ObjectFigures { frames: values.len(), figures })
    }
}

/// J: the IoU, 1 where both are empty.
fn region_similarity(found: &BitMask, truth: &BitMask) -> Result<f64> {
    Ok(if found.is_empty() && truth.is_empty() { 1.0 } else { found.iou(truth)? })
}

/// F, within 0.8 % of the diagonal.
fn boundary_f(found: &BitMask, truth: &BitMask) -> Result<f64> {
    let reach = davis_reach(truth.size());
    Ok(Boundary::new(found, reach).f(&Boundary::new(truth, reach))?)
}

fn summary(
    found: &Path,
    truth: &Path,
    all_frames: bool,
    sequences: BTreeMap<String, Sequence>,
    stopped: bool,
) -> Result<VideoEvaluation> {
    let (mut measured, mut not_measured, mut all) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (name, sequence) in sequences {
        if sequence.done < sequence.frames.len() {
            continue;
        }
        let mut objects = BTreeMap::new();
        for &object in sequence.objects.keys() {
            match sequence.figures(object) {
                Some(figures) => drop(objects.insert(object, figures)),
                None => not_measured.push(format!("{name}/{object}")),
            }
        }
        if objects.is_empty() {
            continue;
        }
        let figures: Vec<VideoFigures> = objects.values().map(|object| object.figures).collect();
        let mean = VideoFigures::mean(&figures);
        all.extend(figures);
        measured.insert(name, SequenceFigures { frames: sequence.frames.len(), mean, objects });
    }
    if measured.is_empty() {
        return Err(if stopped {
            Error::Stopped
        } else {
            Error::file(truth, "no object is seen in a frame that counts; with --all-frames all count")
        });
    }
    Ok(VideoEvaluation {
        masks: found.to_owned(),
        truth: truth.to_owned(),
        complete: !stopped,
        all_frames,
        objects: all.len(),
        mean: VideoFigures::mean(&all),
        sequences: measured,
        not_measured,
    })
}

#[cfg(test)]
mod tests;
