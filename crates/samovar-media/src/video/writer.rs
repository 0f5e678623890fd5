//! Videos for people to look at, written by the system's `ffmpeg`: frames go to a child process one by one, each with its time, and the
//! file appears whole or not at all.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use samovar_geometry::{Image, Size};

use super::matroska;
use super::process_group::own_group;
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::RgbImage;

/// Containers that can be written, by ending, and their names for ffmpeg.
const CONTAINERS: [(&str, &str); 5] =
    [("mp4", "mp4"), ("m4v", "mp4"), ("mov", "mov"), ("mkv", "matroska"), ("webm", "webm")];

/// A video that is being written.
pub struct VideoWriter {
    child: Child,
    /// `None` once all is said.
    stdin: Option<ChildStdin>,
    words: Option<JoinHandle<()>>,
    said: Arc<Mutex<VecDeque<String>>>,
    size: Size<Image>,
    /// Presentation time of the frame before, in microseconds.
    last: Option<u64>,
    path: PathBuf,
}

/// Refuses what cannot be written: endings of other containers, and all of it where there is no `ffmpeg`.
///
/// # Errors
/// [`MediaErrorKind::Unsupported`], [`MediaErrorKind::MissingProgram`].
pub fn check_video(path: &Path, ffmpeg: &OsStr) -> Result<()> {
    container_of(path)?;
    let mut program = Command::new(ffmpeg);
    program.arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match program.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(missing(ffmpeg, &format!("it ends with {status}"))),
        Err(error) => Err(missing(ffmpeg, &error.to_string())),
    }
}

/// Whether this ffmpeg is one before 5.1, which calls an option otherwise.
fn is_old(ffmpeg: &OsStr) -> bool {
    let mut program = Command::new(ffmpeg);
    program.args(["-nostdin", "-v", "quiet", "-f", "lavfi", "-i", "color=size=16x16", "-frames:v", "1"]);
    program.args(["-fps_mode", "vfr", "-f", "null", "-"]);
    let status = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| !status.success())
}

fn missing(ffmpeg: &OsStr, why: &str) -> MediaError {
    let what = format!(
        "videos are written with the program {}, which cannot be run: {why}",
        ffmpeg.to_string_lossy()
    );
    MediaError::new(MediaErrorKind::MissingProgram, what)
}

fn container_of(path: &Path) -> Result<&'static str> {
    let ending =
        path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase).unwrap_or_default();
    let found = CONTAINERS.iter().find(|(known, _)| *known == ending).map(|(_, container)| *container);
    found.ok_or_else(|| {
        let endings = CONTAINERS.map(|(ending, _)| format!(".{ending}")).join(", ");
        MediaError::new(MediaErrorKind::Unsupported, format!("a video is written as {endings}"))
            .advise("give it one of these endings")
            .at(path)
    })
}

/// Writes a video of frames of this size, whole or not at all; `fill` gives the frames. `rate` is how many frames a second there are
/// about, where their times do not say it: it decides how long the last one is seen.
///
/// # Errors
/// What `fill` answers; [`MediaErrorKind::Write`] where ffmpeg ends before the video does, in its words, as on a full disk; what
/// [`check_video`] has.
pub fn write_video<E: From<MediaError>>(
    path: &Path,
    size: Size<Image>,
    rate: f64,
    ffmpeg: &OsStr,
    fill: impl FnOnce(&mut VideoWriter) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let container = container_of(path)?;
    let place = samovar_files::check_place(path).map_err(MediaError::from)?;
    let mut answer = Ok(());
    let placed = samovar_files::replace_with(&place, |temporary| {
        // Locked, so that nobody takes it for the rest of a run that was killed.
        let file = OpenOptions::new().write(true).create_new(true).open(temporary)?;
        let _ = file.try_lock();
        answer = VideoWriter::begin(temporary, container, size, rate, ffmpeg, path)
            .map_err(E::from)
            .and_then(|mut writer| {
                fill(&mut writer)?;
                Ok(writer.finish()?)
            });
        if answer.is_err() { Err(io::ErrorKind::Other.into()) } else { file.sync_all() }
    });
    answer?;
    Ok(placed.map_err(MediaError::from)?)
}

impl VideoWriter {
    fn begin(
        temporary: &Path,
        container: &str,
        size: Size<Image>,
        rate: f64,
        ffmpeg: &OsStr,
        path: &Path,
    ) -> Result<Self> {
        // Sides are made even by a row or column of black, as the usual halved colours want it; what the colours mean is said in the file.
        let filters = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int,format=yuv420p,\
                       pad=ceil(iw/2)*2:ceil(ih/2)*2";
        let mut command = Command::new(ffmpeg);
        command.args([
            "-nostdin",
            "-hide_banner",
            "-nostats",
            "-loglevel",
            "error",
            "-xerror",
            "-y",
            "-f",
            "matroska",
            "-i",
            "pipe:0",
        ]);
        command.args(["-map", "0:v:0", "-vf", filters, "-q:v", "3"]);
        command.args([
            "-colorspace",
            "bt709",
            "-color_primaries",
            "bt709",
            "-color_trc",
            "iec61966-2-1",
            "-color_range",
            "tv",
        ]);
        // The times of frames as they are, none of them dropped or repeated.
        command.args([if is_old(ffmpeg) { "-vsync" } else { "-fps_mode" }, "vfr", "-enc_time_base", "-1"]);
        if container == "mp4" || container == "mov" {
            command.args(["-movflags", "+faststart"]);
        }
        let mut target = std::ffi::OsString::from("file:");
        target.push(temporary);
        command.args(["-f", container]).arg(target);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child =
            own_group(&mut command).spawn().map_err(|error| missing(ffmpeg, &error.to_string()))?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let (stderr, heard) = (child.stderr.take(), Arc::clone(&said));
        let stdin = child.stdin.take();
        let mut writer = Self { child, stdin, words: None, said, size, last: None, path: path.to_owned() };
        let listen = move || {
            /// The last ones say why it ended.
            const KEPT: usize = 8;
            let lines = stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).split(b'\n'));
            for line in lines.map_while(io::Result::ok) {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push_back(String::from_utf8_lossy(&line).trim().chars().take(300).collect());
                if heard.len() > KEPT {
                    heard.pop_front();
                }
            }
        };
        let words = thread::Builder::new().name("samovar-ffmpeg".into()).spawn(listen);
        writer.words = Some(words.map_err(|error| {
            MediaError::new(MediaErrorKind::OutOfMemory, format!("the system gives no thread: {error}"))
        })?);
        writer.send(&matroska::header(size, rate))?;
        Ok(writer)
    }

    /// Adds a frame that is seen from this time on, in seconds; a time that is not behind that of the frame before is taken for a little later.
    ///
    /// # Errors
    /// [`MediaErrorKind::Mismatch`] for a frame of another size, [`MediaErrorKind::Write`] where ffmpeg has ended.
    pub fn add(&mut self, pixels: &RgbImage, seconds: f64) -> Result<()> {
        if pixels.size() != self.size {
            let what = format!("a frame of {} in a video of {}", pixels.size(), self.size);
            return Err(MediaError::mismatch(what).at(&self.path));
        }
        let least = self.last.map_or(0, |last| last + 1000);
        let at = ((seconds.max(0.0) * 1e6).round() as u64).max(least);
        self.last = Some(at);
        self.send(&matroska::block_header(at, pixels.pixels().len() as u64))?;
        self.send(pixels.pixels())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent =
            self.stdin.as_mut().map_or(Err(io::ErrorKind::BrokenPipe.into()), |stdin| stdin.write_all(bytes));
        match sent {
            Ok(()) => Ok(()),
            // It has ended, and says why.
            Err(error) => Err(self.ended().err().unwrap_or_else(|| {
                MediaError::new(MediaErrorKind::Write, format!("ffmpeg takes no more frames: {error}"))
                    .at(&self.path)
            })),
        }
    }

    fn finish(mut self) -> Result<()> {
        if self.last.is_none() {
            return Err(MediaError::new(MediaErrorKind::Empty, "a video without frames").at(&self.path));
        }
        self.ended()
    }

    /// Lets the child come to its end; why it did not, if so.
    fn ended(&mut self) -> Result<()> {
        drop(self.stdin.take());
        let status = self.child.wait().map_err(MediaError::read)?;
        if let Some(words) = self.words.take() {
            let _ = words.join();
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let any = |signs: &[&str]| said.iter().any(|line| signs.iter().any(|sign| line.contains(sign)));
        // The last bytes may fail, and the exit code be 0 all the same.
        if status.success() && !any(&["Error writing trailer", "Error closing file"]) {
            return Ok(());
        }
        let is_full = any(&["No space left", "Disk quota exceeded"]);
        let words = said.back().map_or_else(String::new, |line| format!(": {line}"));
        let what = match (is_full, status.code()) {
            (true, _) => "the disk is full".to_owned(),
            (false, Some(0)) => format!("ffmpeg could not write it{words}"),
            (false, Some(code)) => format!("ffmpeg gave up with exit code {code}{words}"),
            (false, None) => format!("ffmpeg was killed ({status})"),
        };
        Err(MediaError::new(MediaErrorKind::Write, what).at(&self.path))
    }
}

impl Drop for VideoWriter {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Both fail only for a child that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(words) = self.words.take() {
            let _ = words.join();
        }
    }
}

#[cfg(test)]
mod tests;
