//! Where the frames of a shot come from: a video, a pattern, or a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use samovar::media::image::ColourSpace;
use samovar::media::video::{
    self, Direction, FrameNotes, FrameNumber, FrameRange, FrameSource, VideoOptions, is_video,
};
use samovar::media::{MediaError, MediaErrorKind};
use samovar::{DecodeLimits, Image, LazyImage, RgbImage, Size};

use crate::failure::usage;
use crate::inputs::InputImage;
use crate::progress;

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
    /// All frames.
    pub const ALL: Self = Self { start: None, end: None, every_nth: 1, max_frames: None };

    fn range(&self) -> FrameRange {
        FrameRange {
            start: self.start,
            end: self.end,
            every_nth: self.every_nth as usize,
            max_frames: self.max_frames.map(|most| most as usize),
        }
    }

    /// Whether anything was said.
    pub fn is_given(&self) -> bool {
        !self.range().is_everything()
    }

    /// Why a frame that lies before the first or behind the last does.
    fn beyond(&self, number: FrameNumber) -> Option<String> {
        match (self.start, self.end) {
            (Some(start), _) if number < start => Some(format!("it lies before --start {start}")),
            (_, Some(end)) if number > end => Some(format!("it lies behind --end {end}")),
            _ => None,
        }
    }

    /// Why a frame of the shot between these is not taken.
    fn passes_over(&self) -> String {
        match (self.every_nth, self.max_frames) {
            (1, most) => format!("it lies behind the frames of --max-frames {}", most.unwrap_or(u32::MAX)),
            (nth, None) => format!("--every-nth {nth} passes it over"),
            (nth, Some(most)) => {
                format!("--every-nth {nth} passes it over, or it lies behind --max-frames {most}")
            }
        }
    }

    /// What of it decides which frames follow each other: where it ends does not.
    pub fn key(&self) -> String {
        format!("{:?} {}", self.start, self.every_nth)
    }
}

/// Opens frames, of which those of the range are taken. On the way back through a video blocks of so many bytes are held, if that is said.
pub fn open(
    path: &Path,
    range: &RangeArgs,
    limits: &DecodeLimits,
    space: Option<ColourSpace>,
    backward_bytes: Option<u64>,
) -> Result<Box<dyn FrameSource>> {
    let usual = VideoOptions::default();
    let backward_bytes = backward_bytes.unwrap_or(usual.backward_bytes);
    let options = VideoOptions { limits: *limits, range: range.range(), space, backward_bytes, ..usual };
    Ok(video::open(path, &options)?)
}

/// The number of the first frame.
pub fn first(frames: &dyn FrameSource) -> Result<FrameNumber> {
    frames.number_at(0).ok_or_else(|| usage("there are no frames"))
}

/// Where a frame is that somebody names.
pub enum Named {
    /// Among those that are taken.
    Taken,
    /// In the shot, and left out for this reason.
    LeftOut(String),
    /// Nowhere, for this reason.
    Nowhere(String),
}

/// Where a frame is, of those of a range. `whole` opens all of the shot, where that has to be asked.
pub fn named(
    frames: &mut dyn FrameSource,
    range: &RangeArgs,
    number: FrameNumber,
    whole: impl FnOnce() -> Result<Box<dyn FrameSource>>,
) -> Result<Named> {
    if let Some(why) = range.beyond(number) {
        return Ok(Named::LeftOut(why));
    }
    let Some(place) = frames.place(number) else {
        let whole = whole()?;
        if whole.place(number).is_some() {
            return Ok(Named::LeftOut(range.passes_over()));
        }
        let first = whole.number_at(0).unwrap_or(0);
        let count = whole.expected_frames().and_then(|count| i64::try_from(count).ok());
        let last = count.and_then(|count| whole.number_at(count - 1));
        return Ok(Named::Nowhere(match last.filter(|_| whole.file(first).is_some()) {
            Some(last) if (first..=last).contains(&number) => {
                format!("it is missing in the shot, which goes from {first} to {last}")
            }
            Some(last) => format!("the shot goes from {first} to {last}"),
            None => format!("the shot begins with {first}"),
        }));
    };
    // A video's end is known once it was decoded as far: it is, where the frame lies behind what is expected.
    let needed = u64::try_from(place).unwrap_or(0).saturating_add(1);
    if frames.expected_frames().is_some_and(|count| count >= needed) {
        return Ok(Named::Taken);
    }
    let count = frames.count_up_to(usize::try_from(needed).unwrap_or(usize::MAX))?;
    if count as u64 >= needed {
        return Ok(Named::Taken);
    }
    let last = frames.number_at(count as i64 - 1).unwrap_or(0);
    Ok(Named::Nowhere(format!("the last frame is {last}")))
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

/// Bytes of frames that are there before somebody asks for them, as they are taken one by one: with what decoding takes, and one that waits for
/// whoever is late.
pub fn ahead_bytes(frames: &dyn FrameSource) -> usize {
    let one = frames.size().area().saturating_mul(3);
    usize::try_from(frames.held_bytes(Direction::Forward).saturating_add(one)).unwrap_or(usize::MAX)
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

/// The frames of a shot as pictures of a list, for work that takes each for itself. Decoded in their order as they are asked for, whoever
/// asks first; what was taken and is asked for again is decoded again.
pub struct Shot {
    /// One a frame, in order.
    pub images: Vec<InputImage>,
    /// What the user should know of how it is read.
    pub notes: Vec<String>,
    /// Bytes of the frames that are decoded before they are asked for, with what decoding takes.
    pub ahead_bytes: usize,
    size: Size<Image>,
    numbers: BTreeMap<String, FrameNumber>,
    stream: Arc<Mutex<Stream>>,
}

impl Shot {
    /// The shot that arguments name, by an ending of videos, a pattern, or a folder with a range; `None` of images.
    ///
    /// # Errors
    /// Of a video beside others, and of a range without frames to take it of.
    pub fn named(
        paths: &[PathBuf],
        range: &RangeArgs,
        limits: &DecodeLimits,
        space: Option<ColourSpace>,
    ) -> Result<Option<Self>> {
        let is_shot = |path: &PathBuf| is_video(path) || range.is_given() && path.is_dir();
        match paths {
            [path] if is_shot(path) => {
                let shot = Self::open(path, range, limits, space)?;
                shot.notes.iter().for_each(|note| say!("note: \"{}\": {note}", path.display()));
                Ok(Some(shot))
            }
            images => match images.iter().find(|path| is_video(path)) {
                Some(path) => Err(usage(format!(
                    "\"{}\" is a video, which stands alone; give each a command and an --out of its own",
                    path.display()
                ))),
                None if range.is_given() => Err(usage(
                    "--start, --end, --every-nth and --max-frames are for a video, a pattern (shot.####.png) or one folder",
                )),
                None => Ok(None),
            },
        }
    }

    /// The frames of a range. Those of a video are counted by decoding it once, without its pixels.
    pub fn open(
        path: &Path,
        range: &RangeArgs,
        limits: &DecodeLimits,
        space: Option<ColourSpace>,
    ) -> Result<Self> {
        let mut source = open(path, range, limits, space, None)?;
        let first = first(&*source)?;
        let wait = progress::spinner(&format!("counting the frames of {}", path.display()));
        let count = source.count_up_to(usize::MAX)?;
        wait.finish_and_clear();
        let digits = digits(path, first);
        let image = |number: FrameNumber| {
            let sign = if number < 0 { "-" } else { "" };
            let result_name = format!("{sign}{:0digits$}", number.unsigned_abs());
            match source.file(number) {
                Some(file) => {
                    let in_folder = file.file_name().map(PathBuf::from).unwrap_or_default();
                    InputImage { path: file, in_folder, result_name, frame: None }
                }
                None => {
                    let in_folder = PathBuf::from(&result_name);
                    InputImage { path: path.to_owned(), in_folder, result_name, frame: Some(number) }
                }
            }
        };
        let all: Vec<FrameNumber> = (0..count as i64).filter_map(|place| source.number_at(place)).collect();
        let images: Vec<InputImage> = all.iter().map(|&number| image(number)).collect();
        let numbers = images.iter().map(|image| image.result_name.clone()).zip(all).collect();
        let (size, notes, ahead_bytes) = (source.size(), source.notes(), ahead_bytes(&*source));
        let stream = Stream {
            source,
            wanted: BTreeSet::new(),
            at: FrameNumber::MIN,
            waiting: BTreeMap::new(),
            notes: FrameNotes::default(),
        };
        Ok(Self { images, notes, ahead_bytes, size, numbers, stream: Arc::new(Mutex::new(stream)) })
    }

    /// Says which frames will be asked for; the others are passed over.
    pub fn expect<'i>(&self, images: impl Iterator<Item = &'i InputImage>) {
        let wanted = images.filter_map(|image| self.numbers.get(&image.result_name).copied()).collect();
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).wanted = wanted;
    }

    /// What is to be said of the frames that were decoded, each thing once.
    pub fn frame_notes(&self) -> Vec<String> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).notes.words()
    }

    /// A frame, decoded when its pixels are asked for.
    pub fn image(&self, input: &InputImage) -> LazyImage {
        let (number, stream) = (self.numbers.get(&input.result_name).copied(), Arc::clone(&self.stream));
        LazyImage::from_loader(self.size, move || {
            let gone = || MediaError::new(MediaErrorKind::NoSuchFrame, "the shot has no such frame");
            stream.lock().unwrap_or_else(PoisonError::into_inner).take(number.ok_or_else(gone)?)
        })
    }
}

/// Frames on their way to those that ask for them.
struct Stream {
    source: Box<dyn FrameSource>,
    /// Frames that somebody will ask for, and that were not decoded yet.
    wanted: BTreeSet<FrameNumber>,
    /// Frames before this one went by.
    at: FrameNumber,
    /// Decoded for those that are at it and did not ask before the one behind.
    waiting: BTreeMap<FrameNumber, samovar::media::Result<Arc<RgbImage>>>,
    /// What is to be said of frames.
    notes: FrameNotes,
}

impl Stream {
    fn take(&mut self, number: FrameNumber) -> samovar::media::Result<Arc<RgbImage>> {
        if let Some(frame) = self.waiting.remove(&number) {
            return frame;
        }
        if !self.wanted.contains(&number) {
            return self.decode(number);
        }
        loop {
            let next = self.wanted.range(self.at..).next().copied().unwrap_or(number);
            let frame = self.decode(next);
            self.wanted.remove(&next);
            self.at = next.saturating_add(1);
            if next == number {
                return frame;
            }
            self.waiting.insert(next, frame);
        }
    }

    fn decode(&mut self, number: FrameNumber) -> samovar::media::Result<Arc<RgbImage>> {
        let mut decode = || {
            self.source.start(Some(number), Direction::Forward)?;
            let frame = self.source.next()?.filter(|frame| frame.number == number);
            let gone = || {
                let what = format!("frame {number} was there before, and is not there any more");
                MediaError::new(MediaErrorKind::Damaged, what)
            };
            frame.map(|frame| frame.pixels).ok_or_else(gone)
        };
        let pixels = match decode() {
            // The program that decodes may have been killed, and may live the next time.
            Err(error) if error.kind() == MediaErrorKind::Read => decode(),
            decoded => decoded,
        }?;
        self.notes.take(number, pixels.notes());
        // Not once more with each frame.
        Ok(match pixels.notes() {
            [] => pixels,
            _ => Arc::new(Arc::unwrap_or_clone(pixels).without_notes()),
        })
    }
}
