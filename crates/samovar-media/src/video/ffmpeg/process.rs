//! One run of ffmpeg: a child that decodes, a thread that reads its words, a thread that reads its pixels.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use samovar_geometry::{Image, Size};

use super::log::{self, Announced, Line};
use super::pixels::Pixels;
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::{ColourSpace, DecodeLimits, RgbImage};
use crate::video::ahead::Ahead;
use crate::video::process_group::own_group;

/// What a run is to do.
#[derive(Debug, Clone)]
pub(super) struct Order<'o> {
    pub(super) program: &'o OsStr,
    /// With `file:` before it.
    pub(super) input: &'o OsStr,
    pub(super) limits: DecodeLimits,
    /// What values mean that are no sRGB.
    pub(super) space: Option<ColourSpace>,
    /// Seconds from the file's start where decoding begins: frames before it are left out.
    pub(super) from: Option<f64>,
    /// Whether frames come with pixels, or are counted only.
    pub(super) with_pixels: bool,
    /// Whether one thread decodes, which is slow, keeps lines whole, and has the same frames every time.
    pub(super) is_alone: bool,
    /// Whether this ffmpeg is one before 5.1, which calls an option otherwise.
    pub(super) is_old: bool,
}

impl Order<'_> {
    fn arguments(&self) -> Vec<OsString> {
        // The log's form is what `log.rs` reads. Only local files are opened, whatever the file's content names. Time stamps
        // stay the file's own, from its start, also behind a seek.
        let max_pixels = self.limits.max_pixels.min(i32::MAX as u64).to_string();
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |more: &[&str]| arguments.extend(more.iter().map(OsString::from));
        add(&[
            "-nostdin",
            "-hide_banner",
            "-nostats",
            "-loglevel",
            "level+info",
            "-copyts",
            "-start_at_zero",
        ]);
        if let Some(from) = self.from {
            add(&["-ss", &format!("{from:.6}")]);
        }
        if self.is_alone {
            add(&["-threads", "1"]);
        }
        add(&["-protocol_whitelist", "file", "-max_pixels:v", &max_pixels, "-i"]);
        arguments.push(self.input.to_owned());
        let mut add = |more: &[&str]| arguments.extend(more.iter().map(OsString::from));
        // `V`: no cover pictures of songs.
        add(&["-map", "0:V:0", "-an", "-sn", "-dn"]);
        add(if self.is_old { &["-vsync", "passthrough"] } else { &["-fps_mode", "passthrough"] });
        match self.with_pixels {
            true => {
                let filters = "showinfo,scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp";
                let format = Pixels::format(self.space);
                add(&["-vf", filters, "-f", "rawvideo", "-pix_fmt", format, "pipe:1"]);
            }
            false => add(&["-vf", "showinfo", "-f", "null", "-"]),
        }
        arguments
    }
}

/// What comes of a run, in order.
#[derive(Debug)]
pub(super) enum Decoded {
    /// A frame; without pixels where they were not ordered.
    Frame(Announced, Option<RgbImage>),
    /// Picture data is lost about here.
    Damage(String),
    /// A frame that cannot be taken: too large, or no memory for it.
    Refused(MediaError),
    /// What was said of a frame was lost: complaints of several threads cut it in two. Nothing comes any more.
    Lost,
    /// A frame was announced, and its pixels did not come.
    Cut,
}

/// What the words of a run have told so far.
#[derive(Debug, Default, Clone)]
pub(super) struct Told {
    pub(super) time_base: Option<f64>,
    pub(super) frame_rate: Option<f64>,
    pub(super) duration: Option<f64>,
    is_full_range: Option<bool>,
    /// The last complaints.
    pub(super) errors: VecDeque<String>,
}

/// A run. Dropping it ends the child and both threads.
#[derive(Debug)]
pub(super) struct Run {
    child: Child,
    ahead: Option<Ahead<Decoded>>,
    words: Option<JoinHandle<()>>,
    told: Arc<Mutex<Told>>,
}

/// Frames announced before their pixels are read; ffmpeg's own queues hold fewer.
const MAX_ANNOUNCED: usize = 4096;

impl Run {
    pub(super) fn begin(order: &Order<'_>) -> Result<Self> {
        let mut command = Command::new(order.program);
        command
            .args(order.arguments())
            .stdin(Stdio::null())
            .stdout(if order.with_pixels { Stdio::piped() } else { Stdio::null() })
            .stderr(Stdio::piped());
        let mut child = own_group(&mut command)
            .spawn()
            .map_err(|error| missing("videos are read with the program ffmpeg", order.program, error))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let told = Arc::new(Mutex::new(Told::default()));
        // From here on dropping it ends the child.
        let mut run = Self { child, ahead: None, words: None, told: Arc::clone(&told) };
        let (sender, announced) = sync_channel(MAX_ANNOUNCED);
        let heard = Arc::clone(&told);
        let listen = move || listen(stderr, &sender, &heard);
        run.words =
            Some(thread::Builder::new().name("samovar-ffmpeg".into()).spawn(listen).map_err(|error| {
                let what = format!("the system gives no thread for decoding: {error}");
                MediaError::new(MediaErrorKind::OutOfMemory, what).caused_by(error)
            })?);
        let pixels = Pixels::new(order.limits, order.space);
        let mut reader =
            Reader { announced, stdout, pixels, told, before: None, number: 0, has_ended: false };
        run.ahead = Some(Ahead::new(move || reader.next())?);
        Ok(run)
    }

    /// What comes next, or `None` when the child has no more to give.
    pub(super) fn next(&mut self) -> Option<Decoded> {
        self.ahead.as_mut()?.next()
    }

    /// What was told so far.
    pub(super) fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the child ended, and everything that it told; behind the last frame.
    pub(super) fn ended(mut self) -> Result<(ExitStatus, Told)> {
        drop(self.ahead.take());
        if let Some(words) = self.words.take() {
            let _ = words.join();
        }
        let status = self.child.wait().map_err(MediaError::read)?;
        Ok((status, self.told()))
    }

    #[cfg(test)]
    pub(super) fn child_id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Their pipes have ended now.
        drop(self.ahead.take());
        if let Some(words) = self.words.take() {
            let _ = words.join();
        }
    }
}

/// The error for a program that cannot be started; `need` is what it is needed for.
pub(super) fn missing(need: &str, program: &OsStr, error: std::io::Error) -> MediaError {
    let program = program.to_string_lossy();
    if error.kind() == std::io::ErrorKind::NotFound {
        let what = format!("{need}, and there is no {program}");
        return MediaError::new(MediaErrorKind::MissingProgram, what).caused_by(error);
    }
    MediaError::new(MediaErrorKind::MissingProgram, format!("{program} cannot be started: {error}"))
        .caused_by(error)
}

/// Reads the child's words to their end.
fn listen(stderr: Option<ChildStderr>, sender: &SyncSender<Line>, told: &Mutex<Told>) {
    /// The rest of longer lines is left out.
    const MAX_LINE: usize = 2048;
    const MAX_ERRORS: usize = 8;
    let Some(stderr) = stderr else { return };
    let mut words = BufReader::new(stderr);
    let mut line = Vec::new();
    // Thousands of complaints about one frame are one.
    let mut is_damaged = false;
    while next_line(&mut words, &mut line, MAX_LINE) {
        let Some(meaning) = log::parse(&String::from_utf8_lossy(&line)) else { continue };
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let event = match meaning {
            Line::TimeBase(base, rate) => {
                (told.time_base, told.frame_rate) = (Some(base), rate);
                None
            }
            Line::Duration(seconds) => {
                told.duration.get_or_insert(seconds);
                None
            }
            // What the file holds is told first, then what is made of it.
            Line::Video(is_full_range) => {
                told.is_full_range.get_or_insert(is_full_range);
                None
            }
            Line::Error(text) => {
                told.errors.push_back(text);
                None
            }
            Line::Damage(text) => {
                told.errors.push_back(text.clone());
                (!std::mem::replace(&mut is_damaged, true)).then_some(Line::Damage(text))
            }
            Line::Frame(frame) => {
                is_damaged = false;
                Some(Line::Frame(frame))
            }
        };
        if told.errors.len() > MAX_ERRORS {
            told.errors.pop_front();
        }
        drop(told);
        // Where nobody listens any more, the words are still taken, so that the child does not wait for it.
        if let Some(event) = event {
            let _ = sender.send(event);
        }
    }
}

/// The next line without its end, or its first bytes; whether there is one.
pub(super) fn next_line(words: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> bool {
    line.clear();
    let mut has_any = false;
    loop {
        let Ok(buffer) = words.fill_buf() else { return has_any };
        if buffer.is_empty() {
            return has_any;
        }
        has_any = true;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let taken = &buffer[..end.unwrap_or(buffer.len())];
        line.extend_from_slice(&taken[..taken.len().min(most - line.len())]);
        let used = end.map_or(buffer.len(), |end| end + 1);
        words.consume(used);
        if end.is_some() {
            return true;
        }
    }
}

/// Reads what was announced.
struct Reader {
    announced: Receiver<Line>,
    stdout: Option<ChildStdout>,
    pixels: Pixels,
    told: Arc<Mutex<Told>>,
    /// Size and white of the frame before.
    before: Option<(Size<Image>, u16)>,
    /// Of the frame that comes next.
    number: u64,
    has_ended: bool,
}

/// So long without a word about a frame, and its pixels may be waiting all the same: threads of ffmpeg cut each other's lines in two.
const SILENCE: Duration = Duration::from_secs(5);
/// Pixels that are there, and still nothing about them: the word was lost.
const LOST: Duration = Duration::from_secs(2);

impl Reader {
    fn next(&mut self) -> Option<Decoded> {
        if self.has_ended {
            return None;
        }
        // Lines that mean nothing here are not sent.
        let announced = match self.announced.recv_timeout(SILENCE) {
            Ok(announced) => announced,
            Err(silence) => match self.before.filter(|_| self.stdout.is_some()) {
                Some((size, white)) => return self.next_unannounced(size, white),
                None if silence == RecvTimeoutError::Timeout => self.announced.recv().ok()?,
                None => return None,
            },
        };
        let frame = match announced {
            Line::Frame(frame) => frame,
            Line::Damage(text) => return Some(Decoded::Damage(text)),
            _ => return None,
        };
        // Where the form of the frames changes, the filter begins anew.
        if frame.number == 0 {
            self.number = 0;
        }
        if frame.number != self.number {
            self.has_ended = true;
            return Some(Decoded::Lost);
        }
        self.number += 1;
        let Some(stdout) = &mut self.stdout else { return Some(Decoded::Frame(frame, None)) };
        // Told before the first frame.
        let is_full_range = self.told.lock().unwrap_or_else(PoisonError::into_inner).is_full_range;
        let white = frame.whites[usize::from(is_full_range == Some(true))];
        self.before = Some((frame.size, white));
        let decoded = self.pixels.next(stdout, frame.size, white);
        self.has_ended = !matches!(decoded, Ok(Some(_)));
        Some(match decoded {
            Ok(Some(pixels)) => Decoded::Frame(frame, Some(pixels)),
            Ok(None) => Decoded::Cut,
            Err(error) => Decoded::Refused(error),
        })
    }
}

impl Reader {
    /// The next frame, whose word has not come: ffmpeg is slow, waits for its pixels to be read, or has ended and its word was lost.
    fn next_unannounced(&mut self, size: Size<Image>, white: u16) -> Option<Decoded> {
        let stdout = self.stdout.as_mut()?;
        let decoded = self.pixels.next(stdout, size, white);
        let announced = self.announced.recv_timeout(LOST);
        self.has_ended = true;
        Some(match (decoded, announced) {
            (Ok(Some(pixels)), Ok(Line::Frame(frame)))
                if (frame.size, frame.number) == (size, self.number) =>
            {
                (self.has_ended, self.number) = (false, self.number + 1);
                Decoded::Frame(frame, Some(pixels))
            }
            (_, Ok(Line::Damage(text))) => Decoded::Damage(text),
            (Ok(Some(_)), _) => Decoded::Lost,
            (Ok(None), Err(RecvTimeoutError::Disconnected)) => return None,
            (Ok(None), _) => Decoded::Cut,
            (Err(error), _) => Decoded::Refused(error),
        })
    }
}
