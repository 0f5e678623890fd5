//! Why a video is not read, or not to its end, in words.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitStatus;

use super::process::Told;
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::DecodeLimits;

/// Refuses what is no file, and names that could pass for words of ffmpeg's.
pub(super) fn check_file(path: &Path) -> Result<()> {
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
pub(super) fn nothing_decoded(status: ExitStatus, told: &Told, limits: &DecodeLimits) -> MediaError {
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
pub(super) fn stopped(index: usize, status: ExitStatus, told: &Told) -> MediaError {
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
