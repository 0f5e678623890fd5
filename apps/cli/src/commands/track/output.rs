//! What is written of each frame.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use samovar::files;
use samovar::media::LabelMap;
use samovar::media::mask::LabelPainter;
use samovar::media::write::{
    CocoSegmentation, Overlay, encode_cut_out_png, encode_label_png, encode_mask_png, encode_rgb_png,
};
use samovar::resources::contents::Key;
use samovar::tracking::{ObjectId, Signal, TrackedFrame};
use samovar::{BitMask, Image, PictureUse, RgbImage, Size};
use serde_json::json;

use crate::results::overlay_style;

/// What to write of each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A label map per frame: greyscale PNG, 0 where there is no object, else its number
    Labels,
    /// A folder per object with a mask per frame: greyscale PNG, 0 and 255
    Png,
    /// A folder per object with a cut-out per frame, soft edges on nothing: RGBA PNG
    Cutout,
    /// The frames with the masks drawn on them: PNG
    Overlay,
    /// A JSON file per frame: {"frame": 0, "objects": [{"object": 1, "score": 0.9, "segmentation": {COCO run lengths}}]}
    Rle,
    /// One JSON file, annotations.json, in the form of YouTube-VIS: videos, and for each object a list of run lengths, one per
    /// frame or null
    CocoVideo,
}

impl Format {
    fn ending(self) -> &'static str {
        match self {
            Self::Rle => "json",
            _ => "png",
        }
    }

    /// What is made of a frame.
    pub fn picture_use(self) -> PictureUse {
        match self {
            // Two bytes a pixel, too.
            Self::Labels | Self::Cutout => PictureUse::CutOut,
            Self::Overlay => PictureUse::Overlay,
            Self::Png | Self::Rle | Self::CocoVideo => PictureUse::Masks,
        }
    }

    fn has_folders(self) -> bool {
        matches!(self, Self::Png | Self::Cutout)
    }
}

/// Name of the record of what was written, in the folder of results.
const WRITTEN: &str = ".samovar-track-written";
/// Name of COCO's document.
const DOCUMENT: &str = "annotations.json";

/// Whether a file in the folder of results may be one of them, or a record of them.
pub fn is_name_of_a_result(format: Format, name: &Path) -> bool {
    let file = name.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_of_a_frame = || {
        let (stem, ending) = file.rsplit_once('.').unwrap_or_default();
        stem.parse::<i64>().is_ok() && ending.eq_ignore_ascii_case(format.ending())
    };
    match format {
        _ if file.starts_with(".samovar") => true,
        Format::CocoVideo => file.eq_ignore_ascii_case(DOCUMENT),
        _ => is_of_a_frame(),
    }
}

/// What was written of a frame.
struct Written {
    /// What it was made of.
    key: Key,
    /// What should be looked at there.
    signals: Vec<Signal>,
}

impl Written {
    /// From a line of the record: the frame, a key, and signals as JSON where there are some. `None` for a line that a kill cut short.
    fn parse(line: &str) -> Option<(i64, Self)> {
        let (frame, rest) = line.split_once(' ')?;
        let (key, signals) = rest.split_once(' ').unwrap_or((rest, "[]"));
        let written = Self { key: key.parse().ok()?, signals: serde_json::from_str(signals).ok()? };
        Some((frame.parse().ok()?, written))
    }
}

/// The folder of results.
pub struct Output {
    folder: PathBuf,
    format: Format,
    /// Digits of frame numbers in names.
    digits: usize,
    written: HashMap<i64, Written>,
    record: BufWriter<File>,
    document: Option<Document>,
    /// How many files this run has written.
    pub files: usize,
}

impl Output {
    /// A folder, made if it is not there.
    pub fn open(folder: &Path, format: Format, digits: usize) -> Result<Self> {
        files::make_folder(folder)?;
        files::sweep(folder);
        let path = folder.join(WRITTEN);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let written = before.lines().filter_map(Written::parse).collect();
        let record = File::options().append(true).create(true).open(&path);
        let mut record = BufWriter::new(record.with_context(|| format!("\"{}\"", path.display()))?);
        if !before.is_empty() && !before.ends_with('\n') {
            writeln!(record)?;
        }
        Ok(Self { folder: folder.to_owned(), format, digits, written, record, document: None, files: 0 })
    }

    /// Frames of which something was written.
    pub fn frames(&self) -> impl Iterator<Item = i64> + '_ {
        self.written.keys().copied()
    }

    fn name(&self, frame: i64) -> String {
        let sign = if frame < 0 { "-" } else { "" };
        format!("{sign}{:0digits$}.{}", frame.unsigned_abs(), self.format.ending(), digits = self.digits)
    }

    fn files_of(&self, frame: i64, objects: impl Iterator<Item = ObjectId>) -> Vec<PathBuf> {
        let name = self.name(frame);
        match self.format.has_folders() {
            true => objects.map(|object| self.folder.join(object.to_string()).join(&name)).collect(),
            false => vec![self.folder.join(name)],
        }
    }

    /// Whether what was made of this is there.
    pub fn has(&self, frame: i64, key: Key, objects: impl Iterator<Item = ObjectId>) -> bool {
        self.format != Format::CocoVideo
            && self.written.get(&frame).is_some_and(|written| written.key == key)
            && self.files_of(frame, objects).iter().all(|file| file.is_file())
    }

    /// What an earlier run said about frames, by ascending numbers.
    pub fn signals(&self) -> impl Iterator<Item = (i64, &[Signal])> {
        let mut frames: Vec<(i64, &[Signal])> =
            self.written.iter().map(|(&frame, written)| (frame, &written.signals[..])).collect();
        frames.sort_unstable_by_key(|(frame, _)| *frame);
        frames.into_iter()
    }

    /// Removes what an earlier run wrote of a frame about objects that are not there any more.
    fn remove_others(&self, frame: &TrackedFrame) -> Result<()> {
        let name = self.name(frame.number);
        let is_there = |number: ObjectId| frame.objects.iter().any(|object| object.object == number);
        for entry in std::fs::read_dir(&self.folder)?.flatten() {
            let number = entry.file_name().to_str().and_then(|name| name.parse::<ObjectId>().ok());
            let stale = entry.path().join(&name);
            if number.is_some_and(|number| !is_there(number)) && stale.is_file() {
                std::fs::remove_file(&stale).with_context(|| format!("\"{}\"", stale.display()))?;
                // The last of an object takes its folder with it.
                let _ = std::fs::remove_dir(entry.path());
            }
        }
        Ok(())
    }

    /// Writes a frame, and keeps what should be looked at there.
    pub fn write(&mut self, frame: &TrackedFrame, key: Key, signals: &[Signal]) -> Result<()> {
        let masks = || frame.objects.iter().map(|object| (object.object, object.mask.mask()));
        if self.format == Format::CocoVideo {
            return self.document.get_or_insert_default().add(frame);
        }
        let places = self.files_of(frame.number, frame.objects.iter().map(|object| object.object));
        let all: Vec<Vec<u8>> = match self.format {
            Format::Labels => vec![encode_label_png(&label_map(frame.pixels.size(), masks())?)?],
            Format::Png => masks().map(|(_, mask)| Ok(encode_mask_png(mask)?)).collect::<Result<_>>()?,
            Format::Cutout => {
                let cut_out = |object: &samovar::tracking::TrackedObject| {
                    Ok(encode_cut_out_png(&frame.pixels, &object.mask.alpha()?)?)
                };
                frame.objects.iter().map(cut_out).collect::<Result<_>>()?
            }
            Format::Overlay => vec![overlay(frame)?],
            Format::Rle | Format::CocoVideo => {
                let objects = frame.objects.iter().map(|object| {
                    json!({
                        "object": object.object, "iou_score": object.iou_score,
                        "object_score": object.object_score, "prompted": object.is_prompted,
                        "area": object.mask.mask().area(),
                        "segmentation": CocoSegmentation::compressed_rle(&samovar::Rle::from_mask(object.mask.mask())),
                    })
                });
                let document = json!({ "frame": frame.number, "time": frame.time, "objects": objects.collect::<Vec<_>>() });
                vec![serde_json::to_vec(&document)?]
            }
        };
        for (place, bytes) in places.iter().zip(&all) {
            if self.format.has_folders() {
                files::make_folder(place.parent().unwrap_or(&self.folder))?;
            }
            let mut file = files::AtomicFile::create(place)?;
            file.write_all(bytes).with_context(|| format!("\"{}\"", place.display()))?;
            file.commit_unsynced()?;
            self.files += 1;
        }
        if self.format.has_folders() && self.written.contains_key(&frame.number) {
            self.remove_others(frame)?;
        }
        self.keep(frame.number, key, signals)
    }

    /// Keeps what was written of a frame, and what should be looked at there, if it is not known already.
    pub fn keep(&mut self, frame: i64, key: Key, signals: &[Signal]) -> Result<()> {
        let is_same = |before: &Written| before.key == key && before.signals == signals;
        if self.written.get(&frame).is_some_and(is_same) {
            return Ok(());
        }
        match signals {
            [] => writeln!(self.record, "{frame} {key}")?,
            _ => writeln!(self.record, "{frame} {key} {}", serde_json::to_string(signals)?)?,
        }
        self.record.flush().with_context(|| format!("\"{}\"", self.folder.join(WRITTEN).display()))?;
        self.written.insert(frame, Written { key, signals: signals.to_vec() });
        Ok(())
    }

    /// Ends the documents of the whole shot; tells which there are.
    pub fn finish(self, name: &str) -> Result<Option<PathBuf>> {
        self.document.map(|document| document.finish(&self.folder, name, self.digits)).transpose()
    }
}

fn label_map<'a>(
    size: Size<Image>,
    masks: impl Iterator<Item = (ObjectId, &'a BitMask)>,
) -> Result<LabelMap> {
    let mut labels = LabelPainter::new(size);
    for (object, mask) in masks {
        labels.add_as(u16::try_from(object)?, mask)?;
    }
    Ok(labels.finish())
}

/// The frame with its masks as PNG.
fn overlay(frame: &TrackedFrame) -> Result<Vec<u8>> {
    Ok(encode_rgb_png(&drawn(frame)?)?)
}

/// The frame with its masks; each object has one colour throughout.
pub fn drawn(frame: &TrackedFrame) -> Result<RgbImage> {
    let mut overlay = Overlay::new(&frame.pixels, overlay_style(&frame.pixels));
    let mut next = 1;
    for object in &frame.objects {
        // Colours go by the number of the mask.
        while next < object.object {
            overlay.add(&BitMask::new(frame.pixels.size()))?;
            next += 1;
        }
        overlay.add(object.mask.mask())?;
        next = object.object + 1;
    }
    Ok(overlay.finish())
}

/// COCO's document of a video: lists per object, which grow in files of their own, so that memory does not grow with the shot.
#[derive(Default)]
struct Document {
    lists: BTreeMap<ObjectId, (BufWriter<File>, usize)>,
    frames: Vec<i64>,
    size: Option<Size<Image>>,
}

impl Document {
    fn add(&mut self, frame: &TrackedFrame) -> Result<()> {
        for object in &frame.objects {
            let (list, count) = match self.lists.entry(object.object) {
                Entry::Occupied(list) => list.into_mut(),
                Entry::Vacant(place) => {
                    let list =
                        tempfile::tempfile().context("the list of an object's masks cannot be kept")?;
                    place.insert((BufWriter::new(list), 0))
                }
            };
            while *count < self.frames.len() {
                list.write_all(if *count > 0 { b",null" } else { b"null" })?;
                *count += 1;
            }
            if *count > 0 {
                list.write_all(b",")?;
            }
            match object.mask.mask().is_empty() {
                true => list.write_all(b"null")?,
                false => serde_json::to_writer(
                    &mut *list,
                    &CocoSegmentation::compressed_rle(&samovar::Rle::from_mask(object.mask.mask())),
                )?,
            }
            *count += 1;
        }
        self.frames.push(frame.number);
        self.size = Some(frame.pixels.size());
        Ok(())
    }

    fn finish(self, folder: &Path, name: &str, digits: usize) -> Result<PathBuf> {
        let path = folder.join(DOCUMENT);
        let size = self.size.unwrap_or(Size::new(1, 1));
        let mut file = files::AtomicFile::create(&path)?;
        let names: Vec<String> = self.frames.iter().map(|frame| format!("{frame:0digits$}")).collect();
        let video = json!({
            "id": 1, "name": name, "width": size.width, "height": size.height, "length": self.frames.len(),
            "file_names": names, "frames": self.frames,
        });
        let head = json!({ "info": { "description": "masks of a video by samovar" } });
        let mut head = serde_json::to_string(&head)?;
        head.pop();
        write!(
            file,
            "{head},\"videos\":[{video}],\"categories\":[{{\"id\":1,\"name\":\"object\"}}],\"annotations\":["
        )?;
        for (index, (object, (list, mut count))) in self.lists.into_iter().enumerate() {
            let mut list = list.into_inner().map_err(|error| error.into_error())?;
            let comma = if index > 0 { "," } else { "" };
            write!(
                file,
                "{comma}{{\"id\":{object},\"video_id\":1,\"category_id\":1,\"iscrowd\":0,\"width\":{},\"height\":{},\"segmentations\":[",
                size.width, size.height
            )?;
            list.seek(SeekFrom::Start(0))?;
            std::io::copy(&mut list, &mut file)?;
            while count < self.frames.len() {
                write!(file, "{}null", if count > 0 { "," } else { "" })?;
                count += 1;
            }
            write!(file, "]}}")?;
        }
        write!(file, "]}}")?;
        file.commit()?;
        Ok(path)
    }
}
