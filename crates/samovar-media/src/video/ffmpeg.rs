//! Videos, as far as the system's `ffmpeg` reads them: streamed from a child process, never unpacked to disk.
//!
//! Frames are counted by decoding, never by the header. Of every frame that went by, its time stamp and a checksum of what was
//! decoded are kept (24 bytes); so a way back is a new child that begins at a time stamp, and is believed only where the frames
//! that come are the frames that were: else it is decoded from the beginning.

mod log;
mod pixels;
mod process;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use samovar_geometry::{Image, Size};

use self::log::Announced;
use self::pixels::Pixels;
use self::process::{Decoded, Order, Run, Told};
use super::ahead::FRAMES_AHEAD;
use super::source::{Direction, Frame, FrameNumber, FrameSource, check_size, no_such_frame};
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::{ColourSpace, DecodeLimits, RgbImage};

/// A video file, read by the program `ffmpeg`, forward; [`Reversed`](super::Reversed) makes it go backward too.
///
/// Frames count from 0, as they are decoded and shown: turned as the file says, none dropped and none repeated where the frame rate
/// varies. Their times are the file's. Where picture data is lost, the frame near it is an error, and the video goes on behind.
#[derive(Debug)]
pub struct VideoFile {
    path: PathBuf,
    program: OsString,
    limits: DecodeLimits,
    /// What values mean, if that is no sRGB.
    space: Option<ColourSpace>,
    is_old: bool,
    /// Whether a word was lost where several threads decode, so that one does.
    is_alone: bool,
    size: Size<Image>,
    time_base: Option<f64>,
    frame_rate: Option<f64>,
    expected: Option<u64>,
    /// Frames that went by.
    known: Vec<Known>,
    /// Frames near which picture data is lost, and ffmpeg's words for it.
    damaged: BTreeMap<usize, String>,
    /// Frames of the video, once its end was seen.
    count: Option<usize>,
    /// Index of the frame that comes next.
    position: usize,
    has_failed: bool,
    run: Option<Decoding>,
    notes: Vec<String>,
}

/// What is kept of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    time_stamp: Option<i64>,
    checksum: u32,
}

impl From<&Announced> for Known {
    fn from(frame: &Announced) -> Self {
        Self { time_stamp: frame.time_stamp, checksum: frame.checksum }
    }
}

/// A child under way.
#[derive(Debug)]
struct Decoding {
    run: Run,
    /// Index of the frame that it gives next.
    index: usize,
    /// Whether it began behind the file's beginning, so that its frames are compared with those known.
    is_sought: bool,
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
        loop {
            match decoding.run.next() {
                Some(Decoded::Frame(frame, Some(pixels))) => {
                    let told = decoding.run.told();
                    let seconds_and_rate = told.duration.zip(told.frame_rate);
                    let expected = seconds_and_rate.map(|(seconds, rate)| (seconds * rate).round() as u64);
                    (self.size, self.time_base) = (frame.size, told.time_base);
                    self.frame_rate = told.frame_rate;
                    self.expected = expected.filter(|frames| *frames > 0);
                    self.known.push(Known::from(&frame));
                    decoding.index = 1;
                    decoding.peeked = Some((frame, pixels));
                    self.run = Some(decoding);
                    return Ok(());
                }
                // Recordings that begin in the middle of something are usual.
                Some(Decoded::Damage(text)) => {
                    self.notes = vec![format!("the video begins with data that cannot be decoded ({text})")];
                }
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
        let from = self.seconds_before(index);
        let run = Run::begin(&Order { from, ..self.order(&input) })?;
        let is_sought = from.is_some();
        Ok(Decoding { run, index: if is_sought { index } else { 0 }, is_sought, peeked: None })
    }

    /// A time between a known frame and the one before it, if both have one.
    fn seconds_before(&self, index: usize) -> Option<f64> {
        let stamp = |index: usize| self.known.get(index)?.time_stamp;
        let (before, at) = (stamp(index.checked_sub(1)?)?, stamp(index)?);
        let seconds = (before as f64 + at as f64) / 2.0 * self.time_base?;
        (before < at && seconds > 0.0).then_some(seconds)
    }

    /// The next frame of the child, which goes by; damage is noted for who asks for the frame.
    fn advance(&mut self, wanted: usize) -> Result<Next> {
        loop {
            let Some(decoding) = &mut self.run else {
                self.run = Some(self.begin(wanted.min(self.known.len().saturating_sub(1)))?);
                continue;
            };
            if let Some((frame, pixels)) = decoding.peeked.take() {
                return Ok(Next::Frame(frame, pixels));
            }
            let decoded = decoding.run.next();
            let is_known = decoding.index < self.known.len();
            match decoded {
                Some(Decoded::Frame(frame, Some(pixels))) => {
                    let index = decoding.index;
                    let seen = Known::from(&frame);
                    match self.known.get(index) {
                        None => self.known.push(seen),
                        Some(known) if decoding.is_sought && *known != seen => {
                            // A way that ends a little early is a way all the same.
                            let is_early = seen.time_stamp.zip(known.time_stamp).is_some_and(|(a, b)| a < b);
                            if !is_early {
                                self.restart()?;
                            }
                            continue;
                        }
                        Some(_) => {}
                    }
                    decoding.index += 1;
                    check_size(index as FrameNumber, frame.size, self.size)?;
                    return Ok(Next::Frame(frame, pixels));
                }
                Some(Decoded::Lost) if !self.is_alone => {
                    (self.is_alone, self.run) = (true, None);
                }
                Some(Decoded::Lost) => {
                    let text = "what ffmpeg said of a frame was lost among its complaints";
                    self.damaged.insert(decoding.index, text.to_owned());
                }
                // Told of the first time that anything came by here.
                Some(Decoded::Damage(_)) if is_known => {}
                Some(Decoded::Damage(text)) => {
                    self.damaged.insert(decoding.index, text);
                }
                Some(Decoded::Refused(error)) => {
                    let error = error.of_part(format!("frame {}", decoding.index));
                    self.run = None;
                    return Err(error);
                }
                Some(Decoded::Frame(_, None) | Decoded::Cut) | None => {
                    let (index, is_sought) = (decoding.index, decoding.is_sought);
                    let Some(Decoding { run, .. }) = self.run.take() else { continue };
                    let (status, told) = run.ended()?;
                    if is_sought && is_known && status.code().is_some() {
                        self.restart()?;
                        continue;
                    }
                    if !status.success() {
                        return Err(stopped(index, status, &told));
                    }
                    self.count = Some(self.count.map_or(index, |count| count.max(index)));
                    return Ok(Next::End);
                }
            }
        }
    }

    /// A child from the very beginning, where a way to a time stamp led elsewhere.
    fn restart(&mut self) -> Result<()> {
        let input = self.input();
        let run = Run::begin(&self.order(&input))?;
        self.run = Some(Decoding { run, index: 0, is_sought: false, peeked: None });
        Ok(())
    }

    /// An error for a frame near which picture data is lost.
    fn check_undamaged(&self, index: usize) -> Result<()> {
        let Some(text) = self.damaged.get(&index) else { return Ok(()) };
        let before = index.checked_sub(1).and_then(|before| self.known.get(before));
        let time = before.and_then(|known| self.time(known.time_stamp));
        let time = time.map(|seconds| format!(" ({seconds:.2} s)")).unwrap_or_default();
        Err(MediaError::damaged(format!("the video is damaged near frame {index}{time}: {text}")).advise(format!(
            "frames before it are good: end there (--end {}), go on behind it, or mend the file: `ffmpeg -i IN -c:v ffv1 OUT.mkv`",
            index.saturating_sub(1)
        )))
    }

    fn time(&self, time_stamp: Option<i64>) -> Option<f64> {
        Some(time_stamp? as f64 * self.time_base?)
    }

    /// The frame at the position, which moves behind it. Damage behind the last frame is an error where the next would be.
    fn decoded(&mut self) -> Result<Option<Frame>> {
        self.check_undamaged(self.position)?;
        if self.count.is_some_and(|count| self.position >= count) {
            return Ok(None);
        }
        loop {
            let next = self.advance(self.position)?;
            let index = self.run.as_ref().map_or(self.position, |decoding| decoding.index - 1);
            if index < self.position {
                continue;
            }
            self.check_undamaged(self.position)?;
            let Next::Frame(frame, pixels) = next else { return Ok(None) };
            self.position = index + 1;
            let (number, time) = (index as FrameNumber, self.time(frame.time_stamp));
            return Ok(Some(Frame { number, time, pixels: Arc::new(pixels) }));
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
        while index < most {
            match run.next() {
                Some(Decoded::Frame(frame, _)) => {
                    if index == self.known.len() {
                        self.known.push(Known::from(&frame));
                    }
                    index += 1;
                }
                // Told of when the frame is asked for.
                Some(Decoded::Damage(text)) => {
                    if index == self.known.len() {
                        self.damaged.insert(index, text);
                    }
                }
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
        Ok(most)
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

/// Refuses what is no file, and names that could pass for words of ffmpeg's.
fn check_file(path: &Path) -> Result<()> {
    let metadata = path.metadata().map_err(MediaError::read)?;
    if !metadata.is_file() {
        let what = "this is no file, and videos are read from files";
        return Err(MediaError::new(MediaErrorKind::Unsupported, what).advise("name a video file"));
    }
    if is_list(path)? {
        let what = "this is a list of videos, which may name any files and never end";
        return Err(MediaError::new(MediaErrorKind::Unsupported, what)
            .advise("name one of them, or make one of all: `ffmpeg -i LIST -c copy OUT.mkv`"));
    }
    if path.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control) {
        let what = "the name has control characters in it, such as a line break";
        return Err(MediaError::new(MediaErrorKind::Unsupported, what).advise("rename it"));
    }
    Ok(())
}

/// Whether a file is a playlist (HLS, DASH, ffmpeg's own): for a live one, ffmpeg waits for more for ever.
fn is_list(path: &Path) -> Result<bool> {
    const START_BYTES: u64 = 4096;
    let mut start = Vec::new();
    let file = File::open(path).map_err(MediaError::read)?;
    file.take(START_BYTES).read_to_end(&mut start).map_err(MediaError::read)?;
    let holds = |text: &[u8]| start.windows(text.len()).any(|window| window == text);
    Ok(holds(b"#EXTM3U") || holds(b"ffconcat version") || holds(b"<MPD"))
}

/// Why there is no first frame.
fn nothing_decoded(status: ExitStatus, told: &Told, limits: &DecodeLimits) -> MediaError {
    let says = |text: &str| told.errors.iter().any(|error| error.contains(text));
    if says("matches no streams") {
        let what = "there is no video in this file (sound only?)";
        return MediaError::new(MediaErrorKind::Unsupported, what)
            .advise("name a file with a video in it; `ffprobe FILE` lists what one holds");
    }
    if says("max pixel count") || says("max_pixels") {
        return MediaError::too_large(format!("its frames have more than {} pixels", limits.max_pixels));
    }
    if status.success() && told.errors.is_empty() {
        return MediaError::new(MediaErrorKind::Empty, "this video has no frame")
            .advise("get the file again from where it came from");
    }
    let reason = told.errors.front().map_or_else(|| how_it_ended(status), Clone::clone);
    MediaError::damaged(format!("ffmpeg cannot read it: {reason}"))
        .advise("check the file with `ffprobe FILE`, or get it again from where it came from")
}

/// Why there are no more frames, though the video is not at its end.
fn stopped(index: usize, status: ExitStatus, told: &Told) -> MediaError {
    let reason = told.errors.back().map_or_else(String::new, |text| format!(": {text}"));
    let what = format!("{} before frame {index}{reason}", how_it_ended(status));
    MediaError::new(MediaErrorKind::Read, what).advise(
        "frames before it are good; run it again, and check free memory and the file (`ffprobe FILE`)",
    )
}

fn how_it_ended(status: ExitStatus) -> String {
    match status.code() {
        Some(0) => "ffmpeg stopped in the middle of a frame".to_owned(),
        Some(code) => format!("ffmpeg gave up with exit code {code}"),
        None => format!("ffmpeg was killed ({status})"),
    }
}

#[cfg(test)]
mod tests;
