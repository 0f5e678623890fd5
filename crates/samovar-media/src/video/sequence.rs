//! Image sequences: a folder of pictures, or those of a pattern, as a source of frames.

mod names;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use samovar_geometry::{Image, Size};

use self::names::{Pattern, frames_of, gaps, unique};
use super::ahead::{Ahead, FRAMES_AHEAD};
use super::range::FrameRange;
use super::source::{Direction, Frame, FrameNumber, FrameSource, Position, check_size, no_such_frame};
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::{
    ColourSpace, DecodeLimits, ImageFormat, RangeOfShot, decode_frame, foreign_by_ending, how_to_convert,
    read_metadata, values_of,
};

/// Whether a path means an image sequence by its name: `shot.####.png`, `shot.%04d.png`. A file that is called so is a file.
pub fn is_pattern(path: &Path) -> bool {
    path.file_name().is_some_and(|name| !matches!(Pattern::parse(name), Ok(None))) && !path.is_file()
}

/// A folder of pictures, or those of a pattern in one. A frame is decoded when it is asked for, or a little before.
///
/// Frames have the numbers in their names (`shot.1001.png` is 1001), whichever they begin with and whichever are missing. A
/// picture that cannot be read is an error of its frame, and the shot goes on behind it.
#[derive(Debug)]
pub struct Sequence {
    files: Arc<Files>,
    notes: Vec<String>,
    position: Position,
    ahead: Option<Ahead<Result<Frame>>>,
}

/// What the thread that decodes shares.
#[derive(Debug)]
struct Files {
    folder: PathBuf,
    /// By ascending number, at least one.
    frames: Vec<(FrameNumber, OsString)>,
    size: Size<Image>,
    /// What decoding the first of them takes at its worst moment.
    decoding_bytes: u64,
    limits: DecodeLimits,
    /// Of frames with 16 bits a sample that do not say how many they use.
    range: Option<RangeOfShot>,
    /// What values mean, where somebody says so.
    space: Option<ColourSpace>,
    /// How they are taken.
    value_notes: Vec<String>,
}

impl Files {
    fn new(
        folder: PathBuf,
        frames: Vec<(FrameNumber, OsString)>,
        limits: &DecodeLimits,
        space: Option<ColourSpace>,
    ) -> Result<Self> {
        let (size, value_notes) = (Size::new(0, 0), Vec::new());
        let mut files = Self {
            folder,
            frames,
            size,
            decoding_bytes: 0,
            limits: *limits,
            range: None,
            space,
            value_notes,
        };
        let header = |index| read_metadata(&files.path(index), limits);
        let first =
            (0..files.frames.len()).find_map(|index| header(index).ok()).map_or_else(|| header(0), Ok)?;
        (files.size, files.decoding_bytes) = (first.size, first.decoding_bytes);
        Ok(files)
    }

    /// Decides what values mean and on one range for all frames by some of them, and says it.
    fn look_at_values(&mut self) {
        /// Frames looked at, evenly over the shot, where the first says that there is something to decide.
        const LOOKED_AT: usize = 5;
        let last = self.frames.len() - 1;
        let values = |index| values_of(&self.path(index), &self.limits).ok();
        let largest = |index| values(index)?.largest_unstated;
        let Some(first) = values(0) else { return };
        let space_note = match self.space {
            Some(space) => Some(space.note()),
            None => first.is_linear.then(|| "frames are linear light, shown as sRGB".to_owned()),
        };
        let range = first.largest_unstated.map(|mut most| {
            for step in 1..LOOKED_AT.min(self.frames.len()) {
                most = most.max(largest(last * step / (LOOKED_AT - 1).min(last)).unwrap_or(0));
            }
            RangeOfShot::of(most)
        });
        let range_note = range.as_ref().and_then(|(_, note)| note.clone());
        self.range = range.map(|(range, _)| range);
        self.value_notes = space_note.into_iter().chain(range_note).collect();
    }

    fn path(&self, index: usize) -> PathBuf {
        self.folder.join(&self.frames[index].1)
    }

    fn decode(&self, index: usize) -> Result<Frame> {
        let number = self.frames[index].0;
        let path = self.path(index);
        let pixels = decode_frame(&path, &self.limits, self.range, self.space)
            .map_err(|error| error.of_part(format!("frame {number}")))?;
        check_size(number, pixels.size(), self.size).map_err(|error| error.at(path))?;
        Ok(Frame { number, time: None, pixels: Arc::new(pixels) })
    }
}

impl Sequence {
    /// The sequence in a folder, or of a pattern: in the file's name a run of `#`, or `%d` or `%04d`. Reads names and the first
    /// picture, and a few more where they decide on a range of values; within these limits.
    ///
    /// # Errors
    /// - [`MediaErrorKind::NotFound`] where there is no such folder, or no file of the pattern.
    /// - [`MediaErrorKind::Mismatch`] for several sequences in one folder, or two files of one number.
    /// - [`MediaErrorKind::Unsupported`] for formats that are not read.
    /// - The first picture's error where no picture has a header that can be read.
    pub fn open(path: &Path, limits: &DecodeLimits) -> Result<Self> {
        Self::open_as(path, limits, None)
    }

    /// The same, with values that mean this. `None`: OpenEXR and TIFFs of floating point are linear light, everything else is sRGB.
    ///
    /// # Errors
    /// As [`Sequence::open`].
    pub fn open_as(path: &Path, limits: &DecodeLimits, space: Option<ColourSpace>) -> Result<Self> {
        Self::opened(path, limits, space).map_err(|error| error.at(path))
    }

    fn opened(path: &Path, limits: &DecodeLimits, space: Option<ColourSpace>) -> Result<Self> {
        let mut notes = Vec::new();
        let (folder, frames) = if path.is_dir() {
            (path.to_path_buf(), of_folder(path, &mut notes)?)
        } else {
            let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new(".")).to_path_buf();
            let frames = of_pattern(path, &folder)?;
            (folder, frames)
        };
        notes.extend(gaps(&frames));
        Ok(Self::of(Files::new(folder, frames, limits, space)?, notes))
    }

    fn of(mut files: Files, notes: Vec<String>) -> Self {
        files.look_at_values();
        let position = Position::first(files.frames.len(), Direction::Forward);
        Self { files: Arc::new(files), notes, position, ahead: None }
    }

    /// The part of the sequence that a range selects; the other pictures are not looked at.
    ///
    /// # Errors
    /// As [`FrameRange::check`], and [`MediaErrorKind::NoSuchFrame`] for a range without frames.
    pub fn within(self, range: &FrameRange) -> Result<Self> {
        range.check()?;
        if range.is_everything() {
            return Ok(self);
        }
        let Files { folder, frames, limits, space, .. } = &*self.files;
        let (first, last) = (frames[0].0, frames[frames.len() - 1].0);
        let selected = frames.iter().filter(|frame| range.contains(frame.0)).step_by(range.every_nth);
        let frames: Vec<_> = selected.take(range.max_frames.unwrap_or(usize::MAX)).cloned().collect();
        if frames.is_empty() {
            return Err(range.selects_nothing(first, last).at(folder));
        }
        Ok(Self::of(Files::new(folder.clone(), frames, limits, *space)?, self.notes))
    }

    /// Numbers of the frames, ascending.
    pub fn numbers(&self) -> impl ExactSizeIterator<Item = FrameNumber> {
        self.files.frames.iter().map(|frame| frame.0)
    }

    /// Decodes ahead, from a frame on.
    fn ahead(&self, mut position: Position) -> Result<Ahead<Result<Frame>>> {
        let files = Arc::clone(&self.files);
        Ahead::new(move || {
            let frame = files.decode(position.take(files.frames.len())?);
            if frame.is_err() {
                position.end();
            }
            Some(frame)
        })
    }
}

impl FrameSource for Sequence {
    fn size(&self) -> Size<Image> {
        self.files.size
    }

    fn start(&mut self, from: Option<FrameNumber>, direction: Direction) -> Result<()> {
        let frames = &self.files.frames;
        let mut position = Position::first(frames.len(), direction);
        if let Some(number) = from {
            let (first, last) = (frames[0].0, frames[frames.len() - 1].0);
            position.index = self.place(number).ok_or_else(|| no_such_frame(number, first, last))?;
        }
        if position != self.position {
            self.ahead = None;
            self.position = position;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Frame>> {
        let before = self.position;
        let Some(index) = self.position.take(self.files.frames.len()) else { return Ok(None) };
        if self.ahead.is_none() {
            self.ahead = Some(self.ahead(before)?);
        }
        let frame = self.ahead.as_mut().and_then(Ahead::next).unwrap_or_else(|| {
            let what = format!("frame {}: the decoder gave up", self.files.frames[index].0);
            Err(MediaError::damaged(what).at(self.files.path(index)))
        });
        if frame.is_err() {
            self.ahead = None;
            self.position.end();
        }
        frame.map(Some)
    }

    fn place(&self, number: FrameNumber) -> Option<i64> {
        let index = self.files.frames.binary_search_by_key(&number, |frame| frame.0).ok()?;
        Some(index as i64)
    }

    fn number_at(&self, place: i64) -> Option<FrameNumber> {
        Some(self.files.frames.get(usize::try_from(place).ok()?)?.0)
    }

    fn count_up_to(&mut self, most: usize) -> Result<usize> {
        Ok(self.files.frames.len().min(most))
    }

    fn expected_frames(&self) -> Option<u64> {
        Some(self.files.frames.len() as u64)
    }

    fn file(&self, number: FrameNumber) -> Option<PathBuf> {
        self.place(number).map(|place| self.files.path(place as usize))
    }

    fn held_bytes(&self, _direction: Direction) -> u64 {
        let frame = self.files.size.area().saturating_mul(3);
        let decoding = self.files.decoding_bytes.max(frame);
        frame.saturating_mul(FRAMES_AHEAD as u64 - 1).saturating_add(decoding)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.iter().chain(&self.files.value_notes).cloned().collect()
    }
}

/// The ending of a name, in lower case.
fn ending(name: &OsString) -> Option<String> {
    Path::new(name).extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase)
}

/// Names of the files in a folder, but for hidden ones.
fn names_in(folder: &Path) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(MediaError::read)? {
        let entry = entry.map_err(MediaError::read)?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    Ok(names)
}

fn of_folder(folder: &Path, notes: &mut Vec<String>) -> Result<Vec<(FrameNumber, OsString)>> {
    let names = names_in(folder)?;
    let foreign = |name: &OsString| foreign_by_ending(&ending(name)?);
    let (pictures, others): (Vec<_>, Vec<_>) = names
        .into_iter()
        .partition(|name| ending(name).is_some_and(|ending| ImageFormat::EXTENSIONS.contains(&&ending[..])));
    let unread = others.iter().filter_map(foreign).next();
    let unread_count = others.iter().filter(|name| foreign(name).is_some()).count();
    if pictures.is_empty() {
        return Err(match unread {
            Some(format) => not_read(unread_count, format),
            None => MediaError::new(MediaErrorKind::NotFound, "there is no picture in this folder").advise(
                "name a folder of PNG, JPEG, TIFF or OpenEXR pictures, or a pattern (FOLDER/shot.####.png)",
            ),
        });
    }
    if let Some(format) = unread {
        notes.push(format!("{unread_count} pictures of formats that are not read ({format}) are left out"));
    }
    let listed = frames_of(pictures)?;
    if !listed.are_numbered {
        notes.push("the names have no numbers: frames are counted from 0, in alphabetical order".to_owned());
    }
    if listed.left_out > 0 {
        notes.push(format!("{} pictures whose names have no number are left out", listed.left_out));
    }
    Ok(listed.frames)
}

fn of_pattern(path: &Path, folder: &Path) -> Result<Vec<(FrameNumber, OsString)>> {
    let pattern = match path.file_name().map(Pattern::parse).transpose()?.flatten() {
        Some(pattern) => pattern,
        None if path.exists() => {
            let what = "this is one picture, not a sequence";
            return Err(MediaError::mismatch(what).advise("name the folder, or a pattern (shot.####.png)"));
        }
        None => return Err(MediaError::new(MediaErrorKind::NotFound, "there is no such folder")),
    };
    let names = names_in(folder).map_err(|error| error.at(folder))?;
    let numbered = names.into_iter().filter_map(|name| Some((pattern.number(&name)?, name)));
    let frames = unique(numbered.collect())?;
    let Some((_, name)) = frames.first() else {
        let what = format!("no file in {} is called {pattern}", folder.display());
        return Err(MediaError::new(MediaErrorKind::NotFound, what)
            .advise("check folder and name; #### stands for at least four digits, # for any number"));
    };
    match ending(name).as_deref().and_then(foreign_by_ending) {
        Some(format) => Err(not_read(frames.len(), format)),
        None => Ok(frames),
    }
}

fn not_read(count: usize, format: &str) -> MediaError {
    let what = format!("these are {count} pictures of a format that is not read here: {format}");
    MediaError::new(MediaErrorKind::Unsupported, what).advise(how_to_convert(format))
}

#[cfg(test)]
mod tests;
