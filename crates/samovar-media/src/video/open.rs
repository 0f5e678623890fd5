//! Whatever a path names, as a source of frames.

use std::ffi::OsString;
use std::path::Path;

use super::ffmpeg::VideoFile;
use super::range::{FrameRange, Ranged};
use super::reversed::Reversed;
use super::sequence::{Sequence, is_pattern};
use super::source::FrameSource;
use crate::error::{MediaError, Result};
use crate::image::{ColourSpace, DecodeLimits, ImageFormat};

/// How shots are read.
#[derive(Debug, Clone)]
pub struct VideoOptions {
    /// Of every frame.
    pub limits: DecodeLimits,
    /// Which frames.
    pub range: FrameRange,
    /// What values mean, where somebody says so. `None`: OpenEXR and TIFFs of floating point are linear light, everything else is sRGB.
    pub space: Option<ColourSpace>,
    /// Name or path of the program `ffmpeg`.
    pub ffmpeg: OsString,
    /// Most bytes of frames that are held to go backward through a video.
    pub backward_bytes: u64,
}

impl Default for VideoOptions {
    fn default() -> Self {
        Self {
            limits: DecodeLimits::default(),
            range: FrameRange::default(),
            space: None,
            ffmpeg: "ffmpeg".into(),
            backward_bytes: 256 << 20,
        }
    }
}

/// Endings (lower case) of files that are videos, for those who take pictures too. Anything else may be one as well.
const VIDEO_ENDINGS: [&str; 25] = [
    "mp4", "m4v", "mov", "qt", "mkv", "webm", "avi", "mxf", "mpg", "mpeg", "m2v", "ts", "mts", "m2ts", "wmv",
    "asf", "flv", "f4v", "3gp", "3g2", "ogv", "vob", "y4m", "dv", "nut",
];

/// Whether a path means a shot by its name: an ending of videos, or the pattern of a sequence. A folder does not: it may hold pictures
/// of anything.
pub fn is_video(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    is_pattern(path) || ending.is_some_and(|ending| VIDEO_ENDINGS.contains(&&ending[..]))
}

/// The frames of a folder, of a pattern (`shot.####.png`, `shot.%04d.png`), or of a video.
///
/// # Errors
/// Those of [`Sequence::open_as`], [`VideoFile::open_as`] and [`Ranged::new`]; [`MediaErrorKind::Mismatch`](crate::error::MediaErrorKind) for a single picture, with the
/// pattern of the sequence that it is part of.
pub fn open(path: &Path, options: &VideoOptions) -> Result<Box<dyn FrameSource>> {
    options.range.check()?;
    if path.is_dir() || is_pattern(path) {
        return Ok(Box::new(
            Sequence::open_as(path, &options.limits, options.space)?.within(&options.range)?,
        ));
    }
    if is_single_picture(path) {
        let what = "this is one picture, not a shot";
        let name = pattern_around(path).unwrap_or_else(|| "shot.####.png".to_owned());
        let advice = format!("name the folder, or a pattern ({name})");
        return Err(MediaError::mismatch(what).advise(advice).at(path));
    }
    let video = VideoFile::open_as(path, &options.ffmpeg, &options.limits, options.space)?;
    let video = Reversed::new(video, options.backward_bytes);
    Ok(Box::new(Ranged::new(video, &options.range).map_err(|error| error.at(path))?))
}

/// Whether a file is a picture by its ending. Of those that may be animated, ffmpeg reads GIF and APNG.
fn is_single_picture(path: &Path) -> bool {
    let Some(ending) = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase)
    else {
        return false;
    };
    ImageFormat::EXTENSIONS.contains(&&ending[..]) && !["gif", "apng"].contains(&&ending[..])
}

/// The name of a picture with its last group of digits as `#`.
fn pattern_around(path: &Path) -> Option<String> {
    let (stem, ending) = (path.file_stem()?.to_str()?, path.extension()?.to_str()?);
    let end = stem.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = stem[..end]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |before| before + stem[before..].chars().next().map_or(1, char::len_utf8));
    Some(format!("{}{}{}.{ending}", &stem[..start], "#".repeat(end - start), &stem[end..]))
}

#[cfg(test)]
mod tests;
