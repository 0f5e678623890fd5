//! A video with the masks drawn on the frames, to look at.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use samovar::media::video::{Direction, check_video, write_video};
use samovar::tracking::{FrameKeys, Shot, TrackedFrame};

use super::output;
use crate::failure::usage;
use crate::made::Made;
use crate::{interrupt, progress};

fn ffmpeg() -> &'static OsStr {
    "ffmpeg".as_ref()
}

/// Frames a second.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=1000.0).contains(rate));
    rate.ok_or_else(|| "expected frames a second, as 24 or 23.976".to_owned())
}

/// Refuses what cannot be written, before time is spent on what would be in it.
pub fn check(place: &Path) -> Result<()> {
    check_video(place, ffmpeg()).map_err(|error| usage(error.to_string()))
}

/// Writes it from what was found, forward, whichever way that was; results are where they belong by then. `fps` is for frames without times, and
/// `refine` has masks as they are to be shown.
pub fn write(
    place: &Path,
    fps: f64,
    shot: &mut Shot,
    keys: &FrameKeys,
    refine: impl Fn(&mut TrackedFrame) -> Result<()>,
) -> Result<()> {
    let source = shot.source();
    source.start(None, Direction::Forward)?;
    let (size, rate) = (source.size(), source.frame_rate().unwrap_or(fps));
    if size.width % 2 + size.height % 2 > 0 {
        let (width, height) = (size.width.next_multiple_of(2), size.height.next_multiple_of(2));
        say!(
            "note: the preview is {width}x{height}: videos have even sides, and a row or column of black is added to frames of {size}"
        );
    }
    let bar = progress::items(source.expected_frames().unwrap_or(0), "frames of the preview");
    let mut began = None;
    write_video(place, size, rate, ffmpeg(), |video| {
        let mut index = 0;
        while let Some(frame) = shot.source().next()? {
            if interrupt::asked() {
                return Err(anyhow!(
                    "stopped; all results are kept, and the same command writes \"{}\"",
                    place.display()
                ));
            }
            // Of sequences with gaps and of every n-th frame, the numbers have the pace.
            let place = shot.source().place(frame.number).unwrap_or(index);
            let time = frame.time.unwrap_or(place as f64 / rate);
            let objects = shot.known(keys, frame.number)?;
            let mut tracked =
                TrackedFrame { number: frame.number, time: frame.time, pixels: frame.pixels, objects };
            refine(&mut tracked)?;
            video.add(&output::drawn(&tracked)?, time - *began.get_or_insert(time))?;
            index += 1;
            bar.item_ended(Duration::ZERO, false);
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    Made::here().remember(place);
    say!("{}", place.display());
    Ok(())
}
