//! What was found, frame by frame, in a file: what a later run need not do again, and where it can go on.
//!
//! ```text
//! magic[16]  record*        record: length u32 LE of the rest, CRC-32 u32 LE of the rest, length u16 LE of the header, header (JSON), body
//! ```
//! Records are only ever appended; of several on one object, frame and pass the last counts. A record that a kill cut short ends
//! the file, and a damaged one is as if it were not there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;
use samovar_geometry::{Grid, ResizeRule, Size};
use samovar_media::{BitMask, Rle};
use samovar_resources::contents::Key;
use serde::{Deserialize, Serialize};

use super::carrier::{Found, ObjectId};
use super::mask::{Region, RegionLogits, TrackedMask};
use crate::error::{Error, Result};

const MAGIC: &[u8; 16] = b"samovar track 1\n";
/// Most bytes of a record: a mask of 268 million pixels that is all noise has as many.
const MAX_RECORD_BYTES: u32 = 1 << 30;
const MAX_HEADER_BYTES: usize = 4096;

/// In which direction frames are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Pass {
    #[serde(rename = "f")]
    Forward,
    #[serde(rename = "b")]
    Backward,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "found")]
    Found,
    #[serde(rename = "state")]
    State,
}

/// What a record says about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Header {
    kind: Kind,
    object: ObjectId,
    frame: i64,
    pass: Pass,
    /// Of all that it depends on.
    key: Key,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<FoundHeader>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct FoundHeader {
    size: [u32; 2],
    iou: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object_score: Option<f32>,
    /// Bytes of the mask's run lengths; logits follow.
    rle_bytes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<[u32; 4]>,
    /// Whether it is a mask that stays as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    locked: bool,
}

/// Where a record lies, and what it depends on.
#[derive(Debug, Clone, Copy)]
struct Place {
    key: Key,
    /// Of the header's length in it.
    start: u64,
    length: u32,
}

/// The records of an object in a pass, by frame.
type Places = BTreeMap<(ObjectId, Pass, i64), Place>;

/// The file.
pub(crate) struct TrackLog {
    path: PathBuf,
    file: File,
    end: u64,
    found: Places,
    states: Places,
    /// What logits are over.
    grid: (Size<Grid>, ResizeRule),
    /// Damaged records that were left out.
    pub(crate) damaged: usize,
}

impl TrackLog {
    /// The log in a file, made if it is not there.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read and written, or is none of this kind.
    pub(crate) fn open(path: &Path, grid: (Size<Grid>, ResizeRule)) -> Result<Self> {
        let failed = |what: &str| {
            let what = format!("what was tracked cannot be kept here: {what}");
            move |error| Error::File { path: path.to_owned(), what, source: Some(error) }
        };
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(failed("the file cannot be opened"))?;
        file.try_lock().map_err(|_| Error::File {
            path: path.to_owned(),
            what: "another run of samovar tracks here; let it end, or choose another folder".into(),
            source: None,
        })?;
        let length = file.metadata().map_err(failed("the file cannot be read"))?.len();
        let (found, states) = (Places::new(), Places::new());
        if length < MAGIC.len() as u64 {
            file.set_len(0).and_then(|()| file.write_all(MAGIC)).map_err(failed("it cannot be written"))?;
            let end = MAGIC.len() as u64;
            return Ok(Self { path: path.to_owned(), file, end, found, states, grid, damaged: 0 });
        }
        let mut log = Self { path: path.to_owned(), file, end: 0, found, states, grid, damaged: 0 };
        log.read_index(length)?;
        Ok(log)
    }

    fn failed(&self, error: std::io::Error) -> Error {
        let what = match error.kind() {
            std::io::ErrorKind::StorageFull => "the disk is full; make room there",
            _ => "what was tracked cannot be kept or read here",
        };
        Error::File { path: self.path.clone(), what: what.into(), source: Some(error) }
    }

    fn read_index(&mut self, length: u64) -> Result<()> {
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        let mut magic = [0; MAGIC.len()];
        let is_ours = reader.read_exact(&mut magic).is_ok() && &magic == MAGIC;
        if !is_ours {
            let what = "this is no record of tracking, or of another version; move it away".to_owned();
            return Err(Error::File { path: self.path.clone(), what, source: None });
        }
        let mut at = MAGIC.len() as u64;
        let mut record = Vec::new();
        loop {
            let mut start = [0; 8];
            if at + 8 > length || reader.read_exact(&mut start).is_err() {
                break;
            }
            let word =
                |at: usize| u32::from_le_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]);
            let (bytes, checksum) = (word(0), word(4));
            if bytes > MAX_RECORD_BYTES || at + 8 + u64::from(bytes) > length {
                break;
            }
            record.clear();
            record
                .try_reserve(bytes as usize)
                .map_err(|_| self.failed(std::io::ErrorKind::OutOfMemory.into()))?;
            if (&mut reader).take(u64::from(bytes)).read_to_end(&mut record).is_err()
                || record.len() != bytes as usize
            {
                break;
            }
            let place = |key| Place { key, start: at + 8, length: bytes };
            match header_of(&record).filter(|_| crc32fast::hash(&record) == checksum) {
                Some((header, _)) => {
                    let at = (header.object, header.pass, header.frame);
                    let places = if header.kind == Kind::Found { &mut self.found } else { &mut self.states };
                    places.insert(at, place(header.key));
                }
                None => self.damaged += 1,
            }
            at += 8 + u64::from(bytes);
        }
        drop(reader);
        if at < length {
            self.damaged += 1;
        }
        self.end = at;
        Ok(())
    }

    fn append(&mut self, header: &Header, body: &[&[u8]]) -> Result<()> {
        let described = serde_json::to_vec(header).unwrap_or_default();
        // Length and checksum are those of what stands behind them.
        let mut whole = vec![0; 8];
        whole.extend_from_slice(&(described.len() as u16).to_le_bytes());
        whole.extend_from_slice(&described);
        body.iter().for_each(|part| whole.extend_from_slice(part));
        let (start, record) = whole.split_at_mut(8);
        start[..4].copy_from_slice(&(record.len() as u32).to_le_bytes());
        start[4..].copy_from_slice(&crc32fast::hash(record).to_le_bytes());
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&whole));
        if let Err(error) = written {
            // What was written of it would be found damaged.
            let _ = self.file.set_len(self.end);
            return Err(self.failed(error));
        }
        let place = Place { key: header.key, start: self.end + 8, length: whole.len() as u32 - 8 };
        self.end += whole.len() as u64;
        let places = if header.kind == Kind::Found { &mut self.found } else { &mut self.states };
        places.insert((header.object, header.pass, header.frame), place);
        Ok(())
    }

    /// Keeps what was found.
    pub(crate) fn keep(
        &mut self,
        found: &Found,
        is_locked: bool,
        frame: i64,
        pass: Pass,
        key: Key,
    ) -> Result<()> {
        let rle = Rle::from_mask(found.mask.mask())?;
        let mut counts = Vec::new();
        rle.counts().iter().for_each(|&count| write_varint(&mut counts, count));
        let size = rle.size();
        let logits = found.mask.logits();
        let values: Vec<u8> = logits
            .iter()
            .flat_map(|logits| logits.values.iter())
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let region = |logits: &RegionLogits| {
            let Region { x0, y0, size } = logits.region;
            [x0, y0, size.width, size.height]
        };
        let header = Header {
            kind: Kind::Found,
            object: found.object,
            frame,
            pass,
            key,
            found: Some(FoundHeader {
                size: [size.width, size.height],
                iou: found.iou_score,
                object_score: found.object_score,
                rle_bytes: counts.len(),
                region: logits.map(region),
                locked: is_locked,
            }),
        };
        self.append(&header, &[&counts, &values])
    }

    /// Keeps where an object can be gone on with, and has all before it on the disk.
    pub(crate) fn keep_state(
        &mut self,
        object: ObjectId,
        frame: i64,
        pass: Pass,
        key: Key,
        state: &[u8],
    ) -> Result<()> {
        let header = Header { kind: Kind::State, object, frame, pass, key, found: None };
        self.append(&header, &[state])
    }

    /// Has all that was kept on the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| self.failed(error))
    }

    /// Whether something was found that depends on this very key.
    pub(crate) fn has(&self, object: ObjectId, frame: i64, pass: Pass, key: Key) -> bool {
        self.found.get(&(object, pass, frame)).is_some_and(|place| place.key == key)
    }

    /// The frames of an object in a pass, ascending, and what each depends on.
    pub(crate) fn frames(&self, object: ObjectId, pass: Pass) -> impl DoubleEndedIterator<Item = (i64, Key)> {
        let all = self.found.range((object, pass, i64::MIN)..=(object, pass, i64::MAX));
        all.map(|(&(.., frame), place)| (frame, place.key))
    }

    /// Where an object can be gone on with, ascending.
    pub(crate) fn states(&self, object: ObjectId, pass: Pass) -> impl DoubleEndedIterator<Item = (i64, Key)> {
        let all = self.states.range((object, pass, i64::MIN)..=(object, pass, i64::MAX));
        all.map(|(&(.., frame), place)| (frame, place.key))
    }

    /// What was found, whatever it depends on; `None` where nothing was, or the record is damaged.
    pub(crate) fn found(&mut self, object: ObjectId, frame: i64, pass: Pass) -> Result<Option<Found>> {
        let Some(&place) = self.found.get(&(object, pass, frame)) else { return Ok(None) };
        let record = self.read(place)?;
        let Some((header, body)) = header_of(&record) else { return Ok(None) };
        Ok(header.found.and_then(|found| self.parse(object, &found, body)))
    }

    /// Whether what was found of an object in a frame is a mask that stays as it is.
    pub(crate) fn is_locked(&mut self, object: ObjectId, frame: i64, pass: Pass) -> Result<bool> {
        let Some(&place) = self.found.get(&(object, pass, frame)) else { return Ok(false) };
        let record = self.read(place)?;
        Ok(header_of(&record).and_then(|(header, _)| header.found).is_some_and(|found| found.locked))
    }

    /// What was saved of an object in a frame.
    pub(crate) fn state(&mut self, object: ObjectId, frame: i64, pass: Pass) -> Result<Option<Vec<u8>>> {
        let Some(&place) = self.states.get(&(object, pass, frame)) else { return Ok(None) };
        let record = self.read(place)?;
        Ok(header_of(&record).map(|(_, body)| body.to_vec()))
    }

    fn read(&mut self, place: Place) -> Result<Vec<u8>> {
        let mut record = Vec::new();
        let read = self.file.seek(SeekFrom::Start(place.start));
        let read = read.and_then(|_| (&mut self.file).take(u64::from(place.length)).read_to_end(&mut record));
        read.map_err(|error| self.failed(error))?;
        Ok(record)
    }

    fn parse(&self, object: ObjectId, header: &FoundHeader, body: &[u8]) -> Option<Found> {
        let size = Size::new(header.size[0], header.size[1]);
        let (counts, values) = body.split_at_checked(header.rle_bytes)?;
        let mask: BitMask = Rle::from_counts(size, read_varints(counts)?).ok()?.to_mask().ok()?;
        let logits = match header.region {
            None => None,
            Some([x0, y0, width, height]) => {
                let region = Region { x0, y0, size: Size::new(width, height) };
                let values: Arc<[f16]> =
                    values.as_chunks::<2>().0.iter().map(|two| f16::from_le_bytes(*two)).collect();
                let is_whole = region.is_within(size) && values.len() as u64 == self.grid.0.area();
                Some(is_whole.then(|| RegionLogits::of_record(region, values, self.grid).ok()).flatten()?)
            }
        };
        let (iou_score, object_score) = (header.iou, header.object_score);
        Some(Found { object, mask: TrackedMask::new(mask, logits), iou_score, object_score })
    }
}

fn header_of(record: &[u8]) -> Option<(Header, &[u8])> {
    let (length, rest) = record.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length));
    let (header, body) = rest.split_at_checked(length).filter(|_| length <= MAX_HEADER_BYTES)?;
    Some((serde_json::from_slice(header).ok()?, body))
}

fn write_varint(bytes: &mut Vec<u8>, mut count: u32) {
    while count >= 0x80 {
        bytes.push(count as u8 | 0x80);
        count >>= 7;
    }
    bytes.push(count as u8);
}

fn read_varints(bytes: &[u8]) -> Option<Vec<u32>> {
    let (mut counts, mut count, mut shift) = (Vec::new(), 0u64, 0);
    for &byte in bytes {
        count |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            counts.push(u32::try_from(count).ok()?);
            (count, shift) = (0, 0);
        } else if shift > 28 {
            return None;
        }
    }
    (shift == 0).then_some(counts)
}
