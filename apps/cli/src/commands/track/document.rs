//! COCO's document of a video, in the form of YouTube-VIS: for each object lists with an entry per frame.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result};
use samovar::media::write::CocoSegmentation;
use samovar::tracking::{ObjectId, TrackedFrame};
use samovar::{BitMask, Image, Rle, Size};
use serde_json::json;

use super::prompts::Labels;
use crate::results::Categories;

/// Lists grow in files of their own, so that memory does not grow with the shot.
#[derive(Default)]
pub struct Document {
    lists: BTreeMap<ObjectId, List>,
    frames: Vec<i64>,
    size: Option<Size<Image>>,
}

impl Document {
    /// Adds a frame, next to those before in either direction.
    pub fn add(&mut self, frame: &TrackedFrame) -> Result<()> {
        for object in &frame.objects {
            let list = match self.lists.entry(object.object) {
                Entry::Occupied(list) => list.into_mut(),
                Entry::Vacant(place) => place.insert(List::new()?),
            };
            list.fill_up(self.frames.len())?;
            list.add(object.mask.mask())?;
        }
        self.frames.push(frame.number);
        self.size = Some(frame.pixels.size());
        Ok(())
    }

    /// Writes it, in the order of the frames' numbers. `file_name` is the name of a frame's file.
    pub fn fill(
        mut self,
        file: &mut impl Write,
        name: &str,
        labels: &Labels,
        file_name: impl Fn(i64) -> String,
    ) -> Result<()> {
        let size = self.size.unwrap_or(Size::new(1, 1));
        let is_backward = self.frames.first() > self.frames.last();
        if is_backward {
            self.frames.reverse();
        }
        let names: Vec<String> = self.frames.iter().map(|&frame| file_name(frame)).collect();
        let video = json!({
            "id": 1, "name": name, "width": size.width, "height": size.height, "length": self.frames.len(),
            "file_names": names, "frames": self.frames,
        });
        let mut categories = Categories::default();
        let mut heads = Vec::new();
        for &object in self.lists.keys() {
            let category = categories.number(labels.get(&object).map(String::as_str));
            heads.push(json!({
                "id": object, "video_id": 1, "category_id": category, "iscrowd": 0,
                "width": size.width, "height": size.height, "length": self.frames.len(),
            }));
        }
        let head = json!({
            "info": { "description": "masks of a video by samovar" }, "videos": [video], "categories": categories.finish(),
        });
        write!(file, "{},\"annotations\":[", open(&head)?)?;
        for (index, (head, list)) in heads.iter().zip(self.lists.values_mut()).enumerate() {
            list.fill_up(self.frames.len())?;
            let comma = if index > 0 { "," } else { "" };
            write!(file, "{comma}{}", open(head)?)?;
            let length = list.end()?;
            for field in [Field::Segmentation, Field::Box, Field::Area] {
                write!(file, ",\"{}\":[", field.name())?;
                list.write(file, field, length, is_backward)?;
                write!(file, "]")?;
            }
            write!(file, "}}")?;
        }
        Ok(write!(file, "]}}")?)
    }
}

/// An object of JSON without its end.
fn open(object: &serde_json::Value) -> Result<String> {
    let mut text = serde_json::to_string(object)?;
    text.pop();
    Ok(text)
}

/// What is listed of an object.
#[derive(Debug, Clone, Copy)]
enum Field {
    Segmentation,
    Box,
    Area,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Segmentation => "segmentations",
            Self::Box => "bboxes",
            Self::Area => "areas",
        }
    }
}

/// The masks of an object, one after the other: length of the run lengths, these as JSON, the box, the area, and the length again, so
/// that it can be read from either end. Nothing where it is not seen.
struct List {
    file: BufWriter<File>,
    count: usize,
}

/// Bytes of an entry beside its run lengths: two lengths, a box and an area.
const FRAME_BYTES: u64 = 2 * 4 + 4 * 4 + 8;

impl List {
    fn new() -> Result<Self> {
        let file = tempfile::tempfile().context("the list of an object's masks cannot be kept")?;
        Ok(Self { file: BufWriter::new(file), count: 0 })
    }

    /// Frames in which it is not seen, up to so many.
    fn fill_up(&mut self, count: usize) -> Result<()> {
        while self.count < count {
            self.add_entry(&[], [0; 4], 0)?;
        }
        Ok(())
    }

    fn add(&mut self, mask: &BitMask) -> Result<()> {
        let Some([x0, y0, x1, y1]) = mask.pixel_bounds() else { return self.add_entry(&[], [0; 4], 0) };
        let segmentation = serde_json::to_vec(&CocoSegmentation::compressed_rle(&Rle::from_mask(mask)?))?;
        self.add_entry(&segmentation, [x0, y0, x1 - x0, y1 - y0], mask.area())
    }

    fn add_entry(&mut self, segmentation: &[u8], bounds: [u32; 4], area: u64) -> Result<()> {
        let length =
            u32::try_from(segmentation.len()).context("a mask is too long for a list")?.to_le_bytes();
        self.file.write_all(&length)?;
        self.file.write_all(segmentation)?;
        bounds.iter().try_for_each(|side| self.file.write_all(&side.to_le_bytes()))?;
        self.file.write_all(&area.to_le_bytes())?;
        self.file.write_all(&length)?;
        self.count += 1;
        Ok(())
    }

    /// Bytes that it has.
    fn end(&mut self) -> Result<u64> {
        Ok(self.file.stream_position()?)
    }

    /// Writes one field of all entries, of a list of so many bytes.
    fn write(&mut self, to: &mut impl Write, field: Field, length: u64, is_backward: bool) -> Result<()> {
        self.file.flush()?;
        let mut file = BufReader::new(self.file.get_mut());
        let (mut segmentation, mut at) = (Vec::new(), if is_backward { length } else { 0 });
        for index in 0..self.count {
            if is_backward {
                file.seek(SeekFrom::Start(at - 4))?;
                at -= u64::from(u32::from_le_bytes(take(&mut file)?)) + FRAME_BYTES;
            }
            file.seek(SeekFrom::Start(at))?;
            segmentation.resize(u32::from_le_bytes(take(&mut file)?) as usize, 0);
            file.read_exact(&mut segmentation)?;
            let mut bounds = [0; 4];
            for side in &mut bounds {
                *side = u32::from_le_bytes(take(&mut file)?);
            }
            let area = u64::from_le_bytes(take(&mut file)?);
            if !is_backward {
                at += segmentation.len() as u64 + FRAME_BYTES;
            }
            if index > 0 {
                write!(to, ",")?;
            }
            match field {
                _ if segmentation.is_empty() => write!(to, "null")?,
                Field::Segmentation => to.write_all(&segmentation)?,
                Field::Box => write!(to, "{}", json!(bounds))?,
                Field::Area => write!(to, "{area}")?,
            }
        }
        Ok(())
    }
}

fn take<const BYTES: usize>(file: &mut impl Read) -> Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
