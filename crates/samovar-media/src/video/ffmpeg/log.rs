//! What ffmpeg says while it decodes: a line per frame from its filter `showinfo`, and errors. None of it is trusted.

use samovar_geometry::{Image, Size};

use super::pixels::white_of;

/// A frame, as announced before its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced {
    /// Its number in this run, from 0: where one is missing, a word was lost.
    pub(super) number: u64,
    /// Presentation time in units of the [time base](Line::TimeBase); `None` where the file has none.
    pub(super) time_stamp: Option<i64>,
    /// After rotation.
    pub(super) size: Size<Image>,
    /// White, where 16 bits of RGB are made of it: of a video in the range of video, and in the full range.
    pub(super) whites: [u16; 2],
    /// Adler-32 of the decoded planes, before they become RGB.
    pub(super) checksum: u32,
    /// Whether nothing before it was needed to decode it.
    pub(super) is_key: bool,
}

/// A line that means something.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Line {
    Frame(Announced),
    /// Seconds per unit of the time stamps that follow, and frames a second, as far as the file says so.
    TimeBase(f64, Option<f64>),
    /// Seconds, by the file's header.
    Duration(f64),
    /// A video in the file or of what is made of it, and whether its values have the full range.
    Video(bool),
    /// Picture data is lost, or may be: of which frame is not known.
    Damage(String),
    /// Anything else that went wrong.
    Error(String),
}

/// What is said where picture data is lost: by ffmpeg itself, and by decoders that paint something in its place.
const DAMAGE: [&str; 10] = [
    "corrupt decoded frame",
    "corrupt input packet",
    "Error while decoding stream",
    "Error submitting packet to decoder",
    "Error submitting a packet to the decoder",
    "Decoding error",
    "partial file",
    "File ended prematurely",
    "error while decoding MB",
    "concealing ",
];

/// What decoders call an error, and pictures are good.
const HARMLESS: [&str; 7] =
    ["mmco: ", "co located POCs", "number of reference frames", "SEI", "VUI", "APP fields", "EOI missing"];

/// Who calls errors what has nothing to do with what is read: parsers, and what frames go through behind the decoder.
const OTHERS: [&str; 7] = ["NULL", "null", "rawvideo", "swscaler", "Parsed_", "auto_scale", "graph"];

/// Those that read containers, by the beginnings of their names.
const CONTAINERS: [&str; 14] = [
    "mov,mp4", "matroska", "mpegts", "mpeg", "avi", "asf", "flv", "ogg", "mxf", "nut", "gxf", "rm", "dv",
    "ivf",
];

/// What is wrong with a file itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complaint {
    /// It ends before its end.
    Cut,
    /// A part of it makes no sense, so that packets may be missing.
    Missing,
}

/// What a line, written with `-loglevel level+info`, says about the file itself, if it does.
pub(super) fn complaint_about_file(line: &str) -> Option<Complaint> {
    let is_header = line.starts_with("[info]");
    if !is_header && ["File ended prematurely", "partial file"].iter().any(|said| line.contains(said)) {
        return Some(Complaint::Cut);
    }
    let is_by_container =
        context(line).is_some_and(|name| CONTAINERS.iter().any(|one| name.starts_with(one)));
    let is_missing = is_by_container && (line.contains("] [error] ") || line.contains("Packet corrupt"));
    is_missing.then_some(Complaint::Missing)
}

/// Whether a decoder lost picture data when it said this, with ffmpeg's number for how bad it is.
pub(super) fn tells_of_damage(level: Option<i32>, message: &str) -> bool {
    const ERROR: i32 = 16;
    let is_error = level.is_some_and(|level| level <= ERROR);
    let is_harmless = || HARMLESS.iter().any(|harmless| message.contains(harmless));
    DAMAGE.iter().any(|damage| message.contains(damage)) || (is_error && !is_harmless())
}

/// Who says it: `h264` of `[h264 @ 0x55] [error] text`.
fn context(line: &str) -> Option<&str> {
    let (tag, _) = line.strip_prefix('[')?.split_once("] ")?;
    tag.split_once(" @ ").map(|(name, _)| name)
}

/// The meaning of a line written with `-loglevel level+info`.
pub(super) fn parse(line: &str) -> Option<Line> {
    if let Some(said) = said_by_showinfo(line) {
        return of_showinfo(said);
    }
    if let Some(duration) = line.strip_prefix("[info]   Duration: ") {
        return parse_duration(duration.split(',').next()?).map(Line::Duration);
    }
    if let Some((_, video)) =
        line.strip_prefix("[info]   Stream #0:").and_then(|stream| stream.split_once(": Video: "))
    {
        // A cover picture is not what is read.
        return (!video.contains("(attached pic)"))
            .then(|| Line::Video(video.contains("(pc,") || video.contains("(pc)")));
    }
    if line.starts_with("[info]") {
        return None;
    }
    let is_error = ["[error]", "[fatal]", "[panic]"].iter().any(|level| line.contains(level));
    let is_of_reading = context(line)
        .is_some_and(|name| !name.contains('#') && !OTHERS.iter().any(|other| name.starts_with(other)));
    // An error of ffmpeg itself is not one of its decoder.
    let level = (is_error && is_of_reading).then_some(0);
    if tells_of_damage(level, line) {
        return Some(Line::Damage(without_addresses(line)));
    }
    is_error.then(|| Line::Error(without_addresses(line)))
}

/// What the filter says, in a line of its own. Metadata cannot pass for it: ffmpeg indents that.
fn said_by_showinfo(line: &str) -> Option<&str> {
    let (name, said) = line.strip_prefix('[')?.split_once("] ")?;
    let (name, _address) = name.split_once(" @ ")?;
    name.contains("showinfo").then(|| said.strip_prefix("[info] ").unwrap_or(said))
}

fn of_showinfo(said: &str) -> Option<Line> {
    if let Some(config) = said.strip_prefix("config in time_base: ") {
        let (base, rate) = config.split_once(", frame_rate: ").unwrap_or((config, ""));
        return Some(Line::TimeBase(parse_ratio(base)?, parse_ratio(rate)));
    }
    let fields = said.strip_prefix("n:")?;
    let number = fields.split_whitespace().next()?.parse().ok()?;
    let time_stamp = match field(fields, " pts:")? {
        "NOPTS" => None,
        number => Some(number.parse().ok()?),
    };
    let (width, height) = field(fields, " s:")?.split_once('x')?;
    let size = Size::new(width.parse().ok()?, height.parse().ok()?);
    let checksum = u32::from_str_radix(field(fields, " checksum:")?, 16).ok()?;
    let format = field(fields, " fmt:").unwrap_or_default();
    let whites = [false, true].map(|is_full_range| white_of(format, is_full_range));
    let is_key = field(fields, " iskey:") == Some("1");
    Some(Line::Frame(Announced { number, time_stamp, size, whites, checksum, is_key }))
}

/// The word behind a name, which may be padded.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text[text.find(name)? + name.len()..].split_whitespace().next()
}

fn parse_ratio(text: &str) -> Option<f64> {
    let (over, under) = text.trim().split_once('/')?;
    let (over, under): (u32, u32) = (over.parse().ok()?, under.parse().ok()?);
    (over > 0 && under > 0).then(|| f64::from(over) / f64::from(under))
}

/// `00:01:02.50` in seconds.
fn parse_duration(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let mut parts = 0;
    for part in text.trim().splitn(3, ':') {
        let part: f64 = part.parse().ok().filter(|part: &f64| part.is_finite() && *part >= 0.0)?;
        (seconds, parts) = (seconds * 60.0 + part, parts + 1);
    }
    (parts == 3).then_some(seconds)
}

/// A complaint for people: `[h264 @ 0x55] [error] text` becomes `h264: text`.
pub(super) fn without_addresses(line: &str) -> String {
    /// Longer ones are cut.
    const MAX_CHARS: usize = 300;
    let mut rest = line;
    let mut by = "";
    while let Some((tag, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        if let Some((name, _)) = tag.split_once(" @ ") {
            by = name;
        }
        rest = behind;
    }
    let text = if by.is_empty() { rest.to_owned() } else { format!("{by}: {rest}") };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests;
