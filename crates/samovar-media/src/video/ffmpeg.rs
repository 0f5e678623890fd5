//! Videos, as far as the system's `ffmpeg` reads them: streamed from a child process, never unpacked to disk.
//!
//! Frames are counted by decoding, never by the header. Of every frame that went by, its time stamp and a checksum of what was
//! decoded are kept (24 bytes); so a way back is a new child that begins at a time stamp, and is believed only where the frames
//! that come are the frames that were: else it is decoded from the beginning.
//!
//! Complaints begin a [`Survey`], which tells frame by frame what is wrong; from then on one thread decodes, so that the frames that come are
//! those of the survey.

mod log;
mod pixels;
mod process;
mod refusals;
mod survey;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use samovar_geometry::{Image, Size};

use self::log::Announced;
use self::pixels::Pixels;
use self::process::{Decoded, Order, Run};
use self::refusals::{check_file, nothing_decoded, stopped};
use self::survey::Survey;
use super::ahead::FRAMES_AHEAD;
use super::source::{Direction, Frame, FrameNumber, FrameSource, check_size, no_such_frame};
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::{ColourSpace, DecodeLimits, RgbImage};

/// A video file, read by the program `ffmpeg`, forward; [`Reversed`](super::Reversed) makes it go backward too.
///
/// Frames count from 0, as they are decoded and shown: turned as the file says, none dropped and none repeated where the frame rate
/// varies. Their times are the file's. Where picture data is lost, frames that are damaged, those that are made of them and those that are missing
/// are errors of their own, and keep their numbers as far as the file tells of them; the video goes on behind.
#[derive(Debug)]
pub struct VideoFile {
    path: PathBuf,
    program: OsString,
    limits: DecodeLimits,
    /// What values mean, if that is no sRGB.
    space: Option<ColourSpace>,
    is_old: bool,
    /// Whether one thread decodes: a word was lost where several do, or there is a survey.
    is_alone: bool,
    size: Size<Image>,
    time_base: Option<f64>,
    frame_rate: Option<f64>,
    expected: Option<u64>,
    /// Frames that went by, or that a survey tells of.
    known: Vec<Known>,
    /// Frames that cannot be had, and what is wrong with them.
    damaged: BTreeMap<usize, String>,
    /// What is wrong with the frames of a video that ffmpeg complained of.
    survey: Option<Survey>,
    /// What is to be added to the time stamps of the survey.
    survey_offset: i64,
    /// Of how many frames of the survey was taken over what it knows.
    learnt: usize,
    /// Frames of the video, once its end was seen.
    count: Option<usize>,
    /// Index of the frame that comes next.
    position: usize,
    has_failed: bool,
    run: Option<Decoding>,
    notes: Vec<String>,
}

/// What is kept of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Known {
    time_stamp: Option<i64>,
    /// `None` until it went by.
    checksum: Option<u32>,
}

impl From<&Announced> for Known {
    fn from(frame: &Announced) -> Self {
        Self { time_stamp: frame.time_stamp, checksum: Some(frame.checksum) }
    }
}

/// A child under way.
#[derive(Debug)]
struct Decoding {
    run: Run,
    /// Index of the frame that it gives next, or of one before that.
    index: usize,
    /// How many frames come before it of one thread that decodes the whole video: more than `index`, or fewer, where there is damage.
    came: usize,
    /// Whether it began behind the file's beginning, so that its frames are compared with those known.
    is_sought: bool,
    /// Whether it gave a frame that is known.
    has_arrived: bool,
    /// A frame that is decoded already, and its index is `index - 1`.
    peeked: Option<(Announced, RgbImage)>,
}

/// What a child has next.
enum Next {
    Frame(Announced, RgbImage),
    End,
}

impl VideoFile {
    /// A video, its frames within these limits. Decodes the first frame. `program` is the name or path of `ffmpeg`.
    ///
    /// # Errors
    /// - [`MediaErrorKind::MissingProgram`] without `ffmpeg`, [`MediaErrorKind::NotFound`] without the file.
    /// - [`MediaErrorKind::Unsupported`] for what has no video in it, or is no file; [`MediaErrorKind::Empty`] for a video without frames.
    /// - [`MediaErrorKind::Damaged`] where `ffmpeg` makes nothing of it, in its words.
    pub fn open(path: &Path, program: &OsStr, limits: &DecodeLimits) -> Result<Self> {
        Self::open_as(path, program, limits, None)
    }

    /// The same, with values that mean this; read with 16 bits, unless they are sRGB, and shown with 8. `None`: sRGB.
    ///
    /// # Errors
    /// As [`VideoFile::open`].
    pub fn open_as(
        path: &Path,
        program: &OsStr,
        limits: &DecodeLimits,
        space: Option<ColourSpace>,
    ) -> Result<Self> {
        check_file(path).map_err(|error| error.at(path))?;
        let mut video = Self {
            path: path.to_path_buf(),
            program: program.to_owned(),
            limits: *limits,
            space: space.filter(|space| *space != ColourSpace::Srgb),
            is_old: false,
            is_alone: false,
            size: Size::new(0, 0),
            time_base: None,
            frame_rate: None,
            expected: None,
            known: Vec::new(),
            damaged: BTreeMap::new(),
            survey: None,
            survey_offset: 0,
            learnt: 0,
            count: None,
            position: 0,
            has_failed: false,
            run: None,
            notes: Vec::new(),
        };
        video.look().map_err(|error| error.at(path))?;
        Ok(video)
    }

    /// Decodes the first frame, and learns size and times.
    fn look(&mut self) -> Result<()> {
        let mut decoding = self.begin(0)?;
        let mut complaint = None;
        loop {
            match decoding.run.next() {
                // What several threads complain of may be about a later frame.
                Some(Decoded::Frame(..)) if complaint.is_some() && !self.is_alone => {
                    (self.is_alone, complaint) = (true, None);
                    decoding = self.begin(0)?;
                }
                Some(Decoded::Frame(frame, Some(pixels))) => {
                    let told = decoding.run.told();
                    let seconds_and_rate = told.duration.zip(told.frame_rate);
                    let expected = seconds_and_rate.map(|(seconds, rate)| (seconds * rate).round() as u64);
                    (self.size, self.time_base) = (frame.size, told.time_base);
                    self.frame_rate = told.frame_rate;
                    self.expected = expected.filter(|frames| *frames > 0);
                    if self.is_alone {
                        return self.begin_survey(frame.time_stamp, complaint.as_deref());
                    }
                    self.known.push(Known::from(&frame));
                    (decoding.index, decoding.came) = (1, 1);
                    decoding.peeked = Some((frame, pixels));
                    self.run = Some(decoding);
                    return Ok(());
                }
                Some(Decoded::Damage(text)) => complaint = Some(text),
                Some(Decoded::Refused(error)) => return Err(error),
                Some(Decoded::Frame(_, None) | Decoded::Cut | Decoded::Lost) | None => {
                    let (status, told) = decoding.run.ended()?;
                    if self.is_old || !told.errors.iter().any(|text| text.contains("fps_mode")) {
                        return Err(nothing_decoded(status, &told, &self.limits));
                    }
                    self.is_old = true;
                    decoding = self.begin(0)?;
                }
            }
        }
    }

    /// Has a survey tell which frames are good; `first` is the time stamp of the first that comes, and `complaint` what was said before it.
    fn begin_survey(&mut self, first: Option<i64>, complaint: Option<&str>) -> Result<()> {
        let mut survey =
            Survey::begin(&self.program, &self.input(), self.limits.max_pixels, complaint.is_some())?;
        let shown_at = survey.came(0).and_then(|came| came.shown_at);
        let offset = first.zip(shown_at).map(|(here, there)| here.saturating_sub(there));
        self.survey_offset = offset.unwrap_or(0);
        if let (Some(text), true) = (complaint, survey.begins_in_the_middle()) {
            // Recordings that begin in the middle of something are usual.
            self.notes = vec![format!("the video begins with data that cannot be decoded ({text})")];
        }
        (self.survey, self.run, self.is_alone) = (Some(survey), None, true);
        self.learn();
        Ok(())
    }

    /// A survey where something is complained of behind the first frame.
    fn survey_from_here(&mut self) -> Result<()> {
        if self.survey.is_some() {
            return Ok(());
        }
        let Known { time_stamp, .. } = self.known.first().copied().unwrap_or_default();
        self.begin_survey(time_stamp, None)
    }

    /// Takes over what the survey knows.
    fn learn(&mut self) {
        let Some(survey) = &self.survey else { return };
        let slots = survey.slots();
        for (index, slot) in slots.iter().enumerate().skip(self.learnt) {
            if let Some(damage) = &slot.damage {
                self.damaged.insert(index, damage.clone());
            }
            if index >= self.known.len() {
                let time_stamp = slot.time_stamp.map(|time| time.saturating_add(self.survey_offset));
                self.known.push(Known { time_stamp, checksum: None });
            }
        }
        self.learnt = slots.len();
    }

    /// Asks the survey, if there is one, for what becomes of this frame; whether there is such a frame.
    fn survey_to(&mut self, index: usize) -> bool {
        let Some(survey) = &mut self.survey else { return true };
        let is_there = survey.slot(index).is_some();
        self.learn();
        if !is_there {
            self.count = Some(self.known.len());
        }
        is_there
    }

    fn order<'o>(&'o self, input: &'o OsStr) -> Order<'o> {
        Order {
            program: &self.program,
            input,
            limits: self.limits,
            space: self.space,
            from: None,
            with_pixels: true,
            is_alone: self.is_alone,
            is_old: self.is_old,
        }
    }

    /// `file:` keeps names that look like options or addresses from being taken as such.
    fn input(&self) -> OsString {
        let mut input = OsString::from("file:");
        input.push(&self.path);
        input
    }

    /// A child whose next frame is this one, or one before it.
    fn begin(&self, index: usize) -> Result<Decoding> {
        let input = self.input();
        // What is damaged is not known again.
        let is_good =
            |index: &usize| self.known[*index].checksum.is_some() && !self.damaged.contains_key(index);
        let index = match self.known.len() {
            0 => 0,
            len => (0..=index.min(len - 1)).rev().find(is_good).unwrap_or(0),
        };
        let came = match &self.survey {
            Some(survey) => survey.slots().get(index).and_then(|slot| slot.came),
            None => Some(index),
        };
        let from = came.and(self.seconds_before(index));
        let run = Run::begin(&Order { from, ..self.order(&input) })?;
        let (index, came) = if from.is_some() { (index, came.unwrap_or(0)) } else { (0, 0) };
        Ok(Decoding { run, index, came, is_sought: from.is_some(), has_arrived: false, peeked: None })
    }

    /// A time between a known frame and the one before it, if both have one.
    fn seconds_before(&self, index: usize) -> Option<f64> {
        let stamp = |index: usize| self.known.get(index)?.time_stamp;
        let (before, at) = (stamp(index.checked_sub(1)?)?, stamp(index)?);
        let seconds = (before as f64 + at as f64) / 2.0 * self.time_base?;
        (before < at && seconds > 0.0).then_some(seconds)
    }

    /// The next good frame of the child, which goes by.
    fn advance(&mut self, wanted: usize) -> Result<Next> {
        loop {
            let Some(decoding) = &mut self.run else {
                self.survey_to(wanted);
                self.run = Some(self.begin(wanted)?);
                continue;
            };
            if let Some((frame, pixels)) = decoding.peeked.take() {
                return Ok(Next::Frame(frame, pixels));
            }
            match decoding.run.next() {
                Some(Decoded::Frame(frame, Some(pixels))) => {
                    let Some(index) = self.place_of(&frame)? else { continue };
                    check_size(index as FrameNumber, frame.size, self.size)?;
                    return Ok(Next::Frame(frame, pixels));
                }
                Some(Decoded::Lost) if !self.is_alone => {
                    (self.is_alone, self.run) = (true, None);
                }
                Some(Decoded::Lost) => {
                    let text = "what ffmpeg said of it was lost among its complaints";
                    self.damaged.insert(decoding.index, text.to_owned());
                }
                Some(Decoded::Damage(_)) => self.survey_from_here()?,
                Some(Decoded::Refused(error)) => {
                    let error = error.of_part(format!("frame {}", decoding.index));
                    self.run = None;
                    return Err(error);
                }
                Some(Decoded::Frame(_, None) | Decoded::Cut) | None => {
                    let (index, is_sought) = (decoding.index, decoding.is_sought);
                    let Some(Decoding { run, .. }) = self.run.take() else { continue };
                    let (status, told) = run.ended()?;
                    let more_went_by = || self.known.iter().skip(index).any(|known| known.checksum.is_some());
                    if is_sought && status.code().is_some() && more_went_by() {
                        self.restart()?;
                        continue;
                    }
                    if !status.success() {
                        return Err(stopped(index, status, &told));
                    }
                    self.end(index);
                    return Ok(Next::End);
                }
            }
        }
    }

    /// Index of a frame that came of the child; `None` if it is not good, or not asked for.
    fn place_of(&mut self, frame: &Announced) -> Result<Option<usize>> {
        let Some(decoding) = &mut self.run else { return Ok(None) };
        let seen = Known::from(frame);
        let is_early = |known: &Known| seen.time_stamp.zip(known.time_stamp).is_some_and(|(a, b)| a < b);
        // A way that ends a little early is a way all the same.
        if decoding.is_sought && !decoding.has_arrived && self.known.get(decoding.index).is_some_and(is_early)
        {
            return Ok(None);
        }
        let index = match &mut self.survey {
            None => decoding.index,
            Some(survey) => {
                let came = survey.came(decoding.came).filter(|came| came.is_key == frame.is_key);
                decoding.came += 1;
                let index = came.and_then(|came| came.slot);
                // What comes of damaged data depends on where decoding began.
                if decoding.is_sought && index != Some(decoding.index) {
                    self.restart()?;
                    return Ok(None);
                }
                let Some(index) = index else { return Ok(None) };
                index
            }
        };
        self.learn();
        let Some(decoding) = &mut self.run else { return Ok(None) };
        match self.known.get_mut(index) {
            None => self.known.push(seen),
            Some(known) if decoding.is_sought && known.checksum.is_some() && *known != seen => {
                self.restart()?;
                return Ok(None);
            }
            Some(known) => *known = seen,
        }
        (decoding.index, decoding.has_arrived) = (index + 1, true);
        Ok(Some(index))
    }

    /// The child has ended as it should, behind the frames before this one.
    fn end(&mut self, index: usize) {
        self.survey_to(usize::MAX);
        let count = if self.survey.is_some() { self.known.len() } else { index };
        self.count = Some(self.count.map_or(count, |before| before.max(count)));
        for left in index..self.known.len() {
            let text = || "ffmpeg gave no picture for it".to_owned();
            self.damaged.entry(left).or_insert_with(text);
        }
    }

    /// A child from the very beginning, where a way to a time stamp led elsewhere.
    fn restart(&mut self) -> Result<()> {
        let input = self.input();
        let run = Run::begin(&self.order(&input))?;
        self.run =
            Some(Decoding { run, index: 0, came: 0, is_sought: false, has_arrived: false, peeked: None });
        Ok(())
    }

    /// An error for a frame that cannot be had.
    fn check_undamaged(&self, index: usize) -> Result<()> {
        let Some(text) = self.damaged.get(&index) else { return Ok(()) };
        let time = self.known.get(index).and_then(|known| self.time(known.time_stamp));
        let time = time.map(|seconds| format!(" ({seconds:.2} s)")).unwrap_or_default();
        Err(MediaError::damaged(format!("frame {index}{time} of the video is not good: {text}"))
            .advise("go around it (--start, --end), or get the file again from where it came from"))
    }

    fn time(&self, time_stamp: Option<i64>) -> Option<f64> {
        Some(time_stamp? as f64 * self.time_base?)
    }

    /// The frame at the position, which moves behind it.
    fn decoded(&mut self) -> Result<Option<Frame>> {
        loop {
            self.survey_to(self.position);
            self.check_undamaged(self.position)?;
            if self.count.is_some_and(|count| self.position >= count) {
                return Ok(None);
            }
            let Next::Frame(frame, pixels) = self.advance(self.position)? else { continue };
            let index = self.run.as_ref().map_or(self.position, |decoding| decoding.index - 1);
            if index > self.position {
                self.damaged.insert(self.position, "ffmpeg gave no picture for it".to_owned());
                if let Some(decoding) = &mut self.run {
                    decoding.peeked = Some((frame, pixels));
                }
            } else if index == self.position {
                self.position = index + 1;
                let (number, time) = (index as FrameNumber, self.time(frame.time_stamp));
                return Ok(Some(Frame { number, time, pixels: Arc::new(pixels) }));
            }
        }
    }

    /// Decodes to a frame that comes, and leaves it to be given. Whether it exists.
    fn reach(&mut self, index: usize) -> Result<bool> {
        if self.count.is_some_and(|count| index >= count) {
            return Ok(false);
        }
        if self.run.as_ref().is_some_and(|decoding| decoding.next_index() > index) {
            self.run = None;
        }
        loop {
            if self.survey.is_some() {
                return Ok(self.survey_to(index));
            }
            match self.advance(index)? {
                Next::End => return Ok(false),
                Next::Frame(frame, pixels) => {
                    if let Some(decoding) = self.run.as_mut().filter(|decoding| decoding.index > index) {
                        decoding.peeked = Some((frame, pixels));
                        return Ok(true);
                    }
                }
            }
        }
    }

    #[cfg(test)]
    fn child_id(&self) -> Option<u32> {
        self.run.as_ref().map(|decoding| decoding.run.child_id())
    }
}

impl Decoding {
    /// Index of the frame that is given next.
    fn next_index(&self) -> usize {
        self.index - usize::from(self.peeked.is_some())
    }
}

impl FrameSource for VideoFile {
    fn size(&self) -> Size<Image> {
        self.size
    }

    fn start(&mut self, from: Option<FrameNumber>, direction: Direction) -> Result<()> {
        /// Frames that are rather decoded and dropped than a new child begun.
        const NEAR: usize = 48;
        let refused = |what: String| MediaError::new(MediaErrorKind::NoSuchFrame, what).at(&self.path);
        if direction == Direction::Backward {
            return Err(refused("a video is decoded forward".to_owned()));
        }
        let number = from.unwrap_or(0);
        let index = usize::try_from(number)
            .map_err(|_| refused(format!("there is no frame {number}: a video counts from 0")))?;
        if index >= self.known.len() && !self.reach(index).map_err(|error| error.at(&self.path))? {
            let last = self.count.unwrap_or(self.known.len()) as FrameNumber - 1;
            return Err(no_such_frame(number, 0, last).at(&self.path));
        }
        let is_near = |decoding: &Decoding| {
            let next = decoding.next_index();
            next <= index && (index - next <= NEAR || self.seconds_before(index).is_none())
        };
        if !self.run.as_ref().is_some_and(is_near) {
            self.run = None;
        }
        (self.position, self.has_failed) = (index, false);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        if self.has_failed {
            return Ok(None);
        }
        let next = self.decoded();
        self.has_failed = next.is_err();
        next.map_err(|error| error.at(&self.path))
    }

    fn place(&self, number: FrameNumber) -> Option<i64> {
        let is_there = |index: usize| self.count.is_none_or(|count| index < count);
        usize::try_from(number).is_ok_and(is_there).then_some(number)
    }

    fn number_at(&self, place: i64) -> Option<FrameNumber> {
        self.place(place)
    }

    fn count_up_to(&mut self, most: usize) -> Result<usize> {
        if let Some(count) = self.count {
            return Ok(count.min(most));
        }
        if self.known.len() >= most {
            return Ok(most);
        }
        // A child of its own, without pixels: what is decoded already stays for who asks next.
        let input = self.input();
        let mut run = Run::begin(&Order { with_pixels: false, ..self.order(&input) })?;
        let mut index = 0;
        while index < most && self.survey.is_none() {
            match run.next() {
                Some(Decoded::Frame(frame, _)) => {
                    if index == self.known.len() {
                        self.known.push(Known::from(&frame));
                    }
                    index += 1;
                }
                Some(Decoded::Damage(_)) => self.survey_from_here().map_err(|error| error.at(&self.path))?,
                Some(Decoded::Refused(error)) => return Err(error.at(&self.path)),
                Some(Decoded::Lost) if !self.is_alone => {
                    self.is_alone = true;
                    run = Run::begin(&Order { with_pixels: false, ..self.order(&input) })?;
                    index = 0;
                }
                Some(Decoded::Cut | Decoded::Lost) | None => {
                    let (status, told) = run.ended()?;
                    if !status.success() {
                        return Err(stopped(index, status, &told).at(&self.path));
                    }
                    self.count = Some(index);
                    return Ok(index);
                }
            }
        }
        self.survey_to(most.saturating_sub(1));
        Ok(self.known.len().min(most))
    }

    fn expected_frames(&self) -> Option<u64> {
        self.count.map(|count| count as u64).or(self.expected)
    }

    fn frame_rate(&self) -> Option<f64> {
        self.frame_rate
    }

    fn held_bytes(&self, _direction: Direction) -> u64 {
        let viewing = if self.space.is_some() { Pixels::VIEWING_BYTES } else { 0 };
        self.size.area().saturating_mul(3 * FRAMES_AHEAD as u64).saturating_add(viewing)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.iter().cloned().chain(self.space.map(ColourSpace::note)).collect()
    }
}

#[cfg(test)]
mod tests;
