//! Segpacks: many pictures with label maps in one file, read one after another.
//!
//! Little endian. 8 bytes `SEGPACK1`, then records: u32 length and a JSON header; u32 length and a JPEG; u8 number of
//! label layers; for each u32 length and a PNG label map (see [`LabelMap`]).

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde::Deserialize;

use crate::error::{MediaError, MediaErrorKind, Result};
use crate::image::{DecodeLimits, ImageMetadata, RgbImage, decode_bytes, metadata_of_bytes};
use crate::mask::{LabelMap, decode_labels};

const MAGIC: &[u8; 8] = b"SEGPACK1";

/// The largest record parts that will be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegpackLimits {
    /// Most bytes of a JSON header.
    pub max_header_bytes: u32,
    /// Most bytes of an encoded picture or label map.
    pub max_image_bytes: u32,
}

impl Default for SegpackLimits {
    /// 1 MiB and 64 MiB.
    fn default() -> Self {
        Self { max_header_bytes: 1 << 20, max_image_bytes: 64 << 20 }
    }
}

/// What a record says about itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SegpackHeader {
    /// Name of the picture, unique within its source.
    pub id: String,
    /// The data set it is from.
    pub src: String,
    /// Pixels across.
    pub w: u32,
    /// Pixels down.
    pub h: u32,
    /// The licence its source states.
    #[serde(default)]
    pub lic: String,
    /// What each label layer is.
    #[serde(default)]
    pub layers: Vec<SegpackLayer>,
    /// Only some objects are labelled, so the rest is no background.
    #[serde(default)]
    pub partial: bool,
    /// Whatever else the header says.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// What a label layer is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SegpackLayer {
    /// `binary`, `instances`, `panoptic`, `regions`, `parts`, `components`, `stuff`.
    pub kind: String,
    /// Whatever else the header says of this layer.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// One picture with its label layers, still encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct SegpackRecord {
    /// The header.
    pub header: SegpackHeader,
    /// The picture, a JPEG.
    pub image_bytes: Vec<u8>,
    /// The label maps, PNGs, in the order of [`SegpackHeader::layers`].
    pub layer_bytes: Vec<Vec<u8>>,
}

impl SegpackRecord {
    /// Size of the picture and what decoding it takes, from its own first bytes.
    pub fn metadata(&self, limits: &DecodeLimits) -> Result<ImageMetadata> {
        metadata_of_bytes(&self.image_bytes, limits).map_err(|error| error.at(&self.header.id))
    }

    /// Bytes of the picture and its layers, encoded.
    pub fn encoded_bytes(&self) -> usize {
        self.image_bytes.len() + self.layer_bytes.iter().map(Vec::len).sum::<usize>()
    }

    /// The picture's pixels.
    pub fn image(&self, limits: &DecodeLimits) -> Result<RgbImage> {
        decode_bytes(&self.image_bytes, limits).map_err(|error| error.at(&self.header.id))
    }

    /// The labels of layer `index`, which must exist.
    pub fn labels(&self, index: usize, limits: &DecodeLimits) -> Result<LabelMap> {
        let Some(bytes) = self.layer_bytes.get(index) else {
            let what = format!(
                "there are {} label layers, number {index} is not among them",
                self.layer_bytes.len()
            );
            return Err(MediaError::mismatch(what).at(&self.header.id));
        };
        decode_labels(bytes, limits).map_err(|error| error.at(&self.header.id))
    }
}

/// The records of a segpack, one after another. After an error there are no more.
#[derive(Debug)]
pub struct SegpackReader<R> {
    source: R,
    limits: SegpackLimits,
    /// Records read so far, to say in errors which one is broken.
    count: u64,
    ended: bool,
}

impl SegpackReader<BufReader<File>> {
    /// Opens a segpack file.
    pub fn open(path: &Path, limits: SegpackLimits) -> Result<Self> {
        let file = File::open(path).map_err(|error| MediaError::read(error).at(path))?;
        Self::new(BufReader::with_capacity(1 << 18, file), limits).map_err(|error| error.at(path))
    }
}

impl<R: Read> SegpackReader<R> {
    /// Reads a segpack from anywhere; wants a buffered source.
    pub fn new(mut source: R, limits: SegpackLimits) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        source.read_exact(&mut magic).map_err(MediaError::read)?;
        if &magic != MAGIC {
            let what = "this is no segpack: it does not begin with SEGPACK1";
            return Err(
                MediaError::new(MediaErrorKind::Unsupported, what).advise("check that it is the right file")
            );
        }
        Ok(Self { source, limits, count: 0, ended: false })
    }

    fn read_record(&mut self) -> Result<Option<SegpackRecord>> {
        let mut length = [0; 4];
        // The end of the file between two records is the end; anywhere else it is damage.
        match self.source.read(&mut length[..1]).map_err(MediaError::read)? {
            0 => return Ok(None),
            _ => self.source.read_exact(&mut length[1..]).map_err(MediaError::read)?,
        }
        let header = self.read_block(u32::from_le_bytes(length), self.limits.max_header_bytes, "header")?;
        let header: SegpackHeader = serde_json::from_slice(&header)
            .map_err(|error| MediaError::damaged(format!("the header is not as expected: {error}")))?;
        let image_bytes = self.read_sized("picture")?;
        let mut layer_count = [0];
        self.source.read_exact(&mut layer_count).map_err(MediaError::read)?;
        let mut layer_bytes = Vec::new();
        for _ in 0..layer_count[0] {
            layer_bytes.push(self.read_sized("label map")?);
        }
        if header.layers.len() != layer_bytes.len() {
            return Err(MediaError::damaged(format!(
                "the header names {} label layers, {} follow",
                header.layers.len(),
                layer_bytes.len()
            )));
        }
        Ok(Some(SegpackRecord { header, image_bytes, layer_bytes }))
    }

    fn read_sized(&mut self, what: &str) -> Result<Vec<u8>> {
        let mut length = [0; 4];
        self.source.read_exact(&mut length).map_err(MediaError::read)?;
        self.read_block(u32::from_le_bytes(length), self.limits.max_image_bytes, what)
    }

    fn read_block(&mut self, length: u32, limit: u32, what: &str) -> Result<Vec<u8>> {
        if length > limit {
            let message = format!("a {what} claims {length} bytes, the limit is {limit}");
            return Err(MediaError::too_large(message));
        }
        // Grows as data comes, so a length that lies costs nothing.
        let mut block = Vec::new();
        self.source.by_ref().take(u64::from(length)).read_to_end(&mut block).map_err(MediaError::read)?;
        if block.len() != length as usize {
            return Err(MediaError::damaged(format!(
                "the {what} ends after {} of {length} bytes",
                block.len()
            )));
        }
        Ok(block)
    }
}

impl<R: Read> Iterator for SegpackReader<R> {
    type Item = Result<SegpackRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = self.read_record().transpose();
        self.ended = !matches!(record, Some(Ok(_)));
        self.count += 1;
        let number = self.count;
        record.map(|record| record.map_err(|error| error.at(format!("record {number}"))))
    }
}

#[cfg(test)]
mod tests;
