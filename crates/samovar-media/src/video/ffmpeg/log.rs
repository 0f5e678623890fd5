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
    /// Picture data is lost: what comes may be wrong, or frames are missing.
    Damage(String),
    /// Anything else that went wrong.
    Error(String),
}

/// What is said where picture data is lost: by ffmpeg itself, and by decoders that paint something in its place. What else decoders
/// complain of is often about nothing.
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
    let is_header = line.starts_with("[info]");
    if !is_header && DAMAGE.iter().any(|damage| line.contains(damage)) {
        return Some(Line::Damage(without_addresses(line)));
    }
    let is_error = !is_header && ["[error]", "[fatal]", "[panic]"].iter().any(|level| line.contains(level));
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
    Some(Line::Frame(Announced { number, time_stamp, size, whites, checksum }))
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
fn without_addresses(line: &str) -> String {
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
