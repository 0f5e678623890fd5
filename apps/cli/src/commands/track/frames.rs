//! Where frames come from.

use std::path::{Path, PathBuf};

use anyhow::Result;
use samovar::DecodeLimits;
use samovar::media::video::{self, FrameNumber, FrameRange, FrameSource, VideoOptions};

use crate::failure::usage;

/// Which frames are taken.
#[derive(clap::Args, Debug, Clone)]
pub struct RangeArgs {
    /// The first frame, by the sequence's own number
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    start: Option<FrameNumber>,
    /// The last frame
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    end: Option<FrameNumber>,
    /// Every Nth of the frames, from the first on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every_nth: u32,
    /// So many frames at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_frames: Option<u32>,
}

impl RangeArgs {
    fn range(&self) -> FrameRange {
        FrameRange {
            start: self.start,
            end: self.end,
            every_nth: self.every_nth as usize,
            max_frames: self.max_frames.map(|most| most as usize),
        }
    }

    /// What of it decides which frames follow each other: where it ends does not.
    pub fn key(&self) -> String {
        format!("{:?} {}", self.start, self.every_nth)
    }
}

/// Opens frames, of which those of the range are taken.
pub fn open(path: &Path, range: &RangeArgs, limits: &DecodeLimits) -> Result<Box<dyn FrameSource>> {
    let options = VideoOptions { limits: *limits, range: range.range(), ..VideoOptions::default() };
    Ok(video::open(path, &options)?)
}

/// The number of the first frame.
pub fn first(frames: &dyn FrameSource) -> Result<FrameNumber> {
    frames.number_at(0).ok_or_else(|| usage("there are no frames"))
}

/// How many digits the frames' numbers have in names: as many as the sequence's own, and five for videos and plain numbers.
pub fn digits(path: &Path, first: FrameNumber) -> usize {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let hashes = name.chars().filter(|&c| c == '#').count();
    let percent = name.split_once("%0").and_then(|(_, rest)| rest.split_once('d')?.0.parse().ok());
    let own = if hashes > 1 { hashes } else { percent.unwrap_or(0) };
    match own {
        0 if (1000..10_000).contains(&first) => 4,
        0 => 5,
        own => own.min(20),
    }
}

/// The files that frames are read from, as far as names tell.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let inside = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect()
    };
    let mut files: Vec<PathBuf> = match (path.is_dir(), path.is_file(), path.parent()) {
        (true, ..) => inside(path),
        (_, true, _) => vec![path.to_owned()],
        (.., Some(parent)) if !parent.as_os_str().is_empty() => inside(parent),
        _ => inside(Path::new(".")),
    };
    files.sort();
    files
}
