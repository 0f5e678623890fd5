//! What is written of each frame.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
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

use super::document::Document;
use super::prompts::Labels;
use super::shown::{Shown, Sighted};
use crate::contents::Contents;
use crate::inputs::Sources;
use crate::outputs::{HashedFile, keep_aside, remove, say_changed};
use crate::record::{Own, Record, State};
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
    /// A JSON file per frame: {"frame": 0, "time": 0.0, "objects": [{"object": 1, "label": "dog", "iou_score": 0.9, "object_score": 7.1,
    /// "prompted": false, "area": 420, "segmentation": {COCO run lengths}}]}; null for what is not known, no label where none was given
    Rle,
    /// One JSON file, annotations.json, in the form of YouTube-VIS: videos, categories (the labels of prompts), and for each object
    /// segmentations (run lengths), bboxes and areas, one per frame or null
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

/// The folder of results.
pub struct Output {
    folder: PathBuf,
    format: Format,
    /// Digits of frame numbers in names.
    digits: usize,
    /// Whether what is not as this program wrote it is written over.
    overwrite: bool,
    /// What is read.
    sources: Sources,
    labels: Labels,
    record: Record,
    has_begun: bool,
    shown: Shown,
    document: Option<Document>,
    /// Frames that this command gives.
    given: BTreeSet<i64>,
    /// Others, which an earlier one gave.
    removed: BTreeSet<i64>,
    /// Objects that an earlier command had, and the given frames of which their masks went.
    removed_objects: BTreeMap<ObjectId, BTreeSet<i64>>,
    /// Files that somebody has changed and that would be written again as they were.
    kept: BTreeSet<String>,
    /// Frames that could not be read, as far as that is noted.
    unread: BTreeSet<i64>,
    /// How many files this run has written.
    pub files: usize,
}

/// What the record calls the files of a frame together.
fn record_name(frame: i64) -> String {
    frame.to_string()
}

impl Output {
    /// A folder, made if it is not there. No result is written or removed yet.
    pub fn open(
        folder: &Path,
        format: Format,
        digits: usize,
        overwrite: bool,
        sources: Sources,
        labels: Labels,
    ) -> Result<Self> {
        files::make_folder(folder)?;
        files::sweep(folder);
        Ok(Self {
            folder: folder.to_owned(),
            format,
            digits,
            overwrite,
            sources,
            labels,
            record: Record::open(folder, None, &Contents::default())?,
            has_begun: false,
            shown: Shown::open(folder)?,
            document: None,
            given: BTreeSet::new(),
            removed: BTreeSet::new(),
            removed_objects: BTreeMap::new(),
            kept: BTreeSet::new(),
            unread: BTreeSet::new(),
            files: 0,
        })
    }

    /// Before the first change: a run that has nothing to do writes nothing, and needs no room on the disk.
    fn begin(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.has_begun, true) {
            true => Ok(()),
            false => self.record.begin(0, 0, Vec::new()),
        }
    }

    fn name(&self, frame: i64) -> String {
        let sign = if frame < 0 { "-" } else { "" };
        format!("{sign}{:0digits$}.{}", frame.unsigned_abs(), self.format.ending(), digits = self.digits)
    }

    fn files_of(&self, frame: i64, objects: impl Iterator<Item = ObjectId>) -> Vec<String> {
        let name = self.name(frame);
        match self.format.has_folders() {
            true => objects.map(|object| format!("{object}/{name}")).collect(),
            false => vec![name],
        }
    }

    /// Whether what was made of this is there, and would be written again as it is. What somebody has changed of it stays.
    pub fn is_known(&mut self, frame: i64, key: Key) -> bool {
        if self.format == Format::CocoVideo || !self.shown.has(frame) {
            return false;
        }
        let done = self.record.done(&record_name(frame)).filter(|done| done.made_by == key);
        let Some(changed) = done.and_then(|done| self.record.changed_of(&done)) else { return false };
        if self.overwrite && !changed.is_empty() {
            return false;
        }
        self.kept.extend(changed);
        self.given.insert(frame);
        true
    }

    /// Why a frame could not be read by an earlier run, if that was of this.
    pub fn unread_before(&self, frame: i64, key: Key) -> Option<String> {
        self.record.failed(&record_name(frame), &key)
    }

    /// Takes note of frames that cannot be read.
    pub fn are_unread(
        &mut self,
        frames: &BTreeMap<i64, String>,
        key: impl Fn(i64) -> Key,
        source: &Path,
    ) -> Result<()> {
        for (&frame, why) in frames {
            if self.unread.insert(frame) {
                self.begin()?;
                let (name, source) = (record_name(frame), source.to_owned());
                self.record.has_failed(&name, key(frame), source, why.clone())?;
            }
        }
        Ok(())
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Frames that this command gives.
    pub fn given(&self) -> &BTreeSet<i64> {
        &self.given
    }

    /// Frames that an earlier command gave and this one does not.
    pub fn removed(&self) -> &BTreeSet<i64> {
        &self.removed
    }

    /// Objects with files of their own that an earlier command had and this one has not, and the frames of this one whose masks of them
    /// went.
    pub fn removed_objects(&self) -> &BTreeMap<ObjectId, BTreeSet<i64>> {
        &self.removed_objects
    }

    /// Frames whose masks are others than when a run last came to its end.
    pub fn changed(&self) -> BTreeSet<i64> {
        self.shown.changed()
    }

    /// What objects are called.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Where each object is.
    pub fn sighted(&self) -> BTreeMap<ObjectId, Sighted> {
        self.shown.sighted(&self.given)
    }

    /// What an earlier run said about frames up to this one, by ascending numbers.
    pub fn signals(&self, last: i64) -> impl Iterator<Item = &Signal> {
        self.shown.signals(last)
    }

    /// Removes what an earlier run wrote and this one does not, or keeps it under another name if somebody has changed it.
    fn remove(&mut self, frame: i64, own: &Own) -> Result<()> {
        let place = self.folder.join(&own.file);
        match self.record.state(&own.file) {
            State::Absent | State::Foreign => return Ok(()),
            State::Changed => keep_aside(&place)?,
            State::Ours => remove(std::slice::from_ref(&place))?,
        }
        let object = own.file.split_once('/').and_then(|(object, _)| object.parse().ok());
        match object.filter(|_| self.given.contains(&frame)) {
            Some(object) => self.removed_objects.entry(object).or_default().insert(frame),
            None => self.removed.insert(frame),
        };
        if let Some(folder) = place.parent().filter(|folder| *folder != self.folder) {
            // The last of an object takes its folder with it.
            let _ = std::fs::remove_dir(folder);
        }
        Ok(())
    }

    /// Writes a frame, and keeps what should be looked at there.
    pub fn write(&mut self, frame: &TrackedFrame, key: Key, signals: &[Signal]) -> Result<()> {
        self.given.insert(frame.number);
        let masks = || frame.objects.iter().map(|object| (object.object, object.mask.mask()));
        if self.format == Format::CocoVideo {
            self.document.get_or_insert_default().add(frame)?;
            return self.shown.take(frame, signals);
        }
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
                    let rle = samovar::Rle::from_mask(object.mask.mask())?;
                    let mut one = json!({
                        "object": object.object, "iou_score": object.iou_score,
                        "object_score": object.object_score, "prompted": object.is_prompted,
                        "area": object.mask.mask().area(),
                        "segmentation": CocoSegmentation::compressed_rle(&rle),
                    });
                    if let Some(label) = self.labels.get(&object.object) {
                        one["label"] = label.as_str().into();
                    }
                    Ok(one)
                });
                let document = json!({ "frame": frame.number, "time": frame.time, "objects": objects.collect::<Result<Vec<_>>>()? });
                vec![serde_json::to_vec(&document)?]
            }
        };
        let names = self.files_of(frame.number, frame.objects.iter().map(|object| object.object));
        let before = self.record.done(&record_name(frame.number));
        self.begin()?;
        self.record.check_place()?;
        let (mut group, mut keys) = (files::Group::default(), Vec::new());
        for (name, bytes) in names.iter().zip(&all) {
            let place = self.folder.join(name);
            self.sources.check_file(&place)?;
            if self.format.has_folders() {
                files::make_folder(place.parent().unwrap_or(&self.folder))?;
            }
            self.make_room(name)?;
            group.write(&place, bytes)?;
            keys.push((name.clone(), Key::of_content(bytes)));
        }
        let name = record_name(frame.number);
        self.record.announce(keys, Some((name.clone(), key)))?;
        group.place()?;
        self.files += names.len();
        let obsolete = before.into_iter().flat_map(|before| before.files);
        obsolete
            .filter(|own| !names.contains(&own.file))
            .try_for_each(|own| self.remove(frame.number, &own))?;
        self.record.is_done(&name, &names, PathBuf::new(), 0)?;
        self.shown.take(frame, signals)
    }

    /// Keeps what is not as this program wrote it, and in the way.
    fn make_room(&self, name: &str) -> Result<()> {
        match self.record.state(name) {
            State::Changed | State::Foreign if !self.overwrite => keep_aside(&self.folder.join(name)),
            _ => Ok(()),
        }
    }

    /// Takes what should be looked at in a frame that [is known](Output::is_known).
    pub fn look_at(&mut self, frame: i64, signals: &[Signal]) -> Result<()> {
        self.shown.look_at(frame, signals)
    }

    /// Ends the document of the whole shot, and removes what this command does not give; tells which document there is.
    /// `file` is the file that a frame is read from, where it has one of its own.
    pub fn finish(&mut self, name: &str, file: impl Fn(i64) -> Option<PathBuf>) -> Result<Option<PathBuf>> {
        let document = match self.document.take() {
            Some(document) => Some(self.put(document, name, file)?),
            None => None,
        };
        for name in self.record.names() {
            let Some(frame) = name.parse().ok().filter(|frame| !self.given.contains(frame)) else { continue };
            let files = self.record.done(&name).into_iter().flat_map(|done| done.files);
            files.collect::<Vec<_>>().iter().try_for_each(|own| self.remove(frame, own))?;
        }
        // Those in a document of all had no files of their own.
        self.removed.extend(self.shown.keep_only(&self.given)?);
        say_changed(&self.kept.iter().cloned().collect::<Vec<_>>());
        Ok(document)
    }

    fn put(
        &mut self,
        document: Document,
        name: &str,
        file_of: impl Fn(i64) -> Option<PathBuf>,
    ) -> Result<PathBuf> {
        let path = self.folder.join(DOCUMENT);
        self.sources.check_file(&path)?;
        self.begin()?;
        self.record.check_place()?;
        let mut file = HashedFile::create(&path)?;
        let digits = self.digits;
        let file_name = |frame: i64| match file_of(frame) {
            Some(file) => file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            None => format!("{frame:0digits$}"),
        };
        document.fill(&mut file, name, &self.labels, file_name)?;
        if !self.overwrite
            && self.record.state(DOCUMENT) == State::Changed
            && self.record.wrote(DOCUMENT, file.key())
        {
            // There is nothing new in it.
            self.kept.insert(DOCUMENT.to_owned());
            return Ok(path);
        }
        self.make_room(DOCUMENT)?;
        self.record.put(DOCUMENT, file)?;
        self.files += 1;
        Ok(path)
    }

    /// Takes note that what has changed was told.
    pub fn told(&mut self) -> Result<()> {
        self.shown.told()?;
        if self.has_begun { self.record.sync() } else { Ok(()) }
    }
}

fn label_map<'a>(
    size: Size<Image>,
    masks: impl Iterator<Item = (ObjectId, &'a BitMask)>,
) -> Result<LabelMap> {
    let mut labels = LabelPainter::new(size)?;
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
    let mut overlay = Overlay::new(&frame.pixels, overlay_style(&frame.pixels))?;
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
