//! What is wrong with a damaged video, frame by frame: from `ffprobe`, which comes with `ffmpeg` and tells what each packet was good for.
//!
//! What ffmpeg says while several threads decode comes some frames early, and what it says of a packet does not name the frame. ffprobe decodes
//! with one thread, and lists packets, frames and complaints in their order, so the answer is the same every time. It goes ahead of whoever asks by
//! what a pipe holds.

mod verdicts;

use std::ffi::{OsStr, OsString};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use self::verdicts::{Beforehand, Packet, Shown, Verdicts};
pub(super) use self::verdicts::{Came, Slot};
use super::log::{self, Complaint};
use super::process::{missing, next_line};
use crate::error::{MediaError, Result};
use crate::video::process_group::own_group;

/// Longer lines of the programs are cut.
const MAX_LINE: usize = 2048;

/// A survey under way. Dropping it ends the child.
#[derive(Debug)]
pub(super) struct Survey {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    verdicts: Verdicts,
    line: Vec<u8>,
    section: Section,
}

/// What the lines belong to.
#[derive(Debug, Default)]
enum Section {
    #[default]
    None,
    Packet(Packet),
    Frame(Shown),
    /// A complaint within a frame: its level is not known yet.
    Log(Shown, Option<i32>),
}

impl Survey {
    /// A survey from the video's beginning. `input` has `file:` before it; `begins_damaged` if ffmpeg with one thread complained before the first
    /// frame.
    ///
    /// # Errors
    /// [`MediaErrorKind::MissingProgram`](crate::error::MediaErrorKind) without `ffprobe` beside `ffmpeg`.
    pub(super) fn begin(
        ffmpeg: &OsStr,
        input: &OsStr,
        max_pixels: u64,
        begins_damaged: bool,
    ) -> Result<Self> {
        let beforehand = Beforehand { begins_damaged, ..look_at_packets(ffmpeg, input)? };
        let program = ffprobe_beside(ffmpeg);
        let mut command = Command::new(&program);
        // `show_log` 32: also what is painted over.
        command.args(["-hide_banner", "-v", "quiet", "-protocol_whitelist", "file", "-threads", "1"]);
        command.args(["-select_streams", "V:0", "-show_log", "32", "-of", "default", "-show_entries"]);
        command
            .arg("packet=pts,dts,flags:frame=pts,pkt_pts,best_effort_timestamp,key_frame:log=level,message");
        command.args(["-max_pixels", &max_pixels.min(i32::MAX as u64).to_string(), "-i"]).arg(input);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = own_group(&mut command).spawn().map_err(|error| {
            let told = "which frames of a damaged video are good is told by the program ffprobe";
            missing(told, &program, error)
        })?;
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Self {
            child,
            stdout,
            verdicts: Verdicts::new(beforehand),
            line: Vec::new(),
            section: Section::None,
        })
    }

    /// A frame by its number, once it is known what becomes of it; `None` behind the last.
    pub(super) fn slot(&mut self, index: usize) -> Option<&Slot> {
        while self.verdicts.slots().len() <= index && self.step() {}
        self.verdicts.slots().get(index)
    }

    /// What becomes of the frame that comes as number `index` of those that come; `None` behind the last.
    pub(super) fn came(&mut self, index: usize) -> Option<Came> {
        while self.verdicts.came().len() <= index && self.step() {}
        self.verdicts.came().get(index).copied()
    }

    /// Whether the file has no key frame at its beginning, as recordings of what is broadcast. Known once a frame came.
    pub(super) fn begins_in_the_middle(&self) -> bool {
        self.verdicts.begins_in_the_middle()
    }

    /// The frames that it is known of what becomes of them.
    pub(super) fn slots(&self) -> &[Slot] {
        self.verdicts.slots()
    }

    /// Takes a line; whether there was one.
    fn step(&mut self) -> bool {
        let Some(stdout) = &mut self.stdout else { return false };
        if !next_line(stdout, &mut self.line, MAX_LINE) {
            self.stdout = None;
            let _ = self.child.wait();
            self.verdicts.end();
            return false;
        }
        let line = String::from_utf8_lossy(&self.line);
        self.section = match (std::mem::take(&mut self.section), line.trim_end()) {
            (_, "[PACKET]") => Section::Packet(Packet::default()),
            (_, "[FRAME]") => Section::Frame(Shown::default()),
            (Section::Packet(packet), "[/PACKET]") => {
                self.verdicts.packet(packet);
                Section::None
            }
            (Section::Frame(frame), "[/FRAME]") => {
                self.verdicts.frame(frame);
                Section::None
            }
            (Section::Frame(frame), "[LOG]") => Section::Log(frame, None),
            (Section::Log(frame, _), "[/LOG]") => Section::Frame(frame),
            (section, line) => match line.split_once('=') {
                Some((key, value)) => section.with(key, value),
                None => section,
            },
        };
        true
    }
}

impl Section {
    /// With another field.
    fn with(self, key: &str, value: &str) -> Self {
        match (self, key) {
            (Self::Packet(packet), "pts") => {
                Self::Packet(Packet { time_stamp: value.parse().ok(), ..packet })
            }
            (Self::Packet(packet), "dts") => {
                Self::Packet(Packet { decoding_time: value.parse().ok(), ..packet })
            }
            (Self::Packet(packet), "flags") => Self::Packet(Packet {
                is_key: value.contains('K'),
                is_corrupt: value.contains('C'),
                ..packet
            }),
            (Self::Frame(frame), "pts" | "pkt_pts") => {
                Self::Frame(Shown { time_stamp: value.parse().ok().or(frame.time_stamp), ..frame })
            }
            (Self::Frame(frame), "best_effort_timestamp") => {
                Self::Frame(Shown { shown_at: value.parse().ok(), ..frame })
            }
            (Self::Frame(frame), "key_frame") => Self::Frame(Shown { is_key: value == "1", ..frame }),
            (Self::Log(frame, _), "level") => Self::Log(frame, value.parse().ok()),
            (Self::Log(mut frame, level), "message") => {
                if frame.complaint.is_none() && log::tells_of_damage(level, value) {
                    frame.complaint = Some(log::without_addresses(value));
                }
                Self::Log(frame, level)
            }
            (section, _) => section,
        }
    }
}

impl Drop for Survey {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the file's packets without decoding any: whether the file itself makes sense.
fn look_at_packets(ffmpeg: &OsStr, input: &OsStr) -> Result<Beforehand> {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info"]);
    command.args(["-protocol_whitelist", "file", "-i"]).arg(input);
    command.args(["-map", "0:V:0", "-c", "copy", "-f", "null", "-"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = own_group(&mut command).spawn().map_err(MediaError::read)?;
    let mut beforehand = Beforehand::default();
    let mut words = child.stderr.take().map(BufReader::new);
    let mut line = Vec::new();
    while words.as_mut().is_some_and(|words| next_line(words, &mut line, MAX_LINE)) {
        match log::complaint_about_file(&String::from_utf8_lossy(&line)) {
            Some(Complaint::Cut) => beforehand.is_cut = true,
            Some(Complaint::Missing) => beforehand.misses_packets = true,
            None => {}
        }
    }
    child.wait().map_err(MediaError::read)?;
    Ok(beforehand)
}

/// The program that comes with this one.
fn ffprobe_beside(ffmpeg: &OsStr) -> OsString {
    let path = Path::new(ffmpeg);
    let name = path.file_name().and_then(OsStr::to_str).filter(|name| name.contains("ffmpeg"));
    let name = name.map_or_else(|| "ffprobe".to_owned(), |name| name.replace("ffmpeg", "ffprobe"));
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.join(name).into_os_string(),
        _ => PathBuf::from(name).into_os_string(),
    }
}
