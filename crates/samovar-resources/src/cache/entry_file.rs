//! One entry on disk: what it is, its bytes, and a checksum of both.
//!
//! ```text
//! magic[8]  length of the header u32 LE  header (JSON)  payload  BLAKE3 of everything before [32]
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use samovar_files::AtomicFile;
use serde::{Deserialize, Serialize};

use crate::contents::{Key, Origin};

const MAGIC: &[u8; 8] = b"samovar\x01";
const CHECKSUM_BYTES: usize = 32;
const MAX_HEADER_BYTES: u32 = 4096;

/// What an entry says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) kind: String,
    pub(super) key: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) model: Option<String>,
    /// Seconds that making it took.
    pub(super) cost_seconds: f64,
    pub(super) payload_bytes: u64,
}

impl Header {
    pub(super) fn new(
        kind: &str,
        key: &Key,
        origin: &Origin,
        cost_seconds: f64,
        payload_bytes: usize,
    ) -> Self {
        let text = |key: &Key| key.to_string();
        Self {
            kind: kind.to_owned(),
            key: key.to_string(),
            image: origin.image.as_ref().map(text),
            model: origin.model.as_ref().map(text),
            cost_seconds,
            payload_bytes: payload_bytes as u64,
        }
    }
}

/// Writes an entry whole or not at all. After a power cut it may be damaged, which reading notices.
pub(super) fn write(path: &Path, header: &Header, payload: &[u8]) -> samovar_files::Result<()> {
    let described = serde_json::to_vec(header).unwrap_or_default();
    let mut checksum = blake3::Hasher::new();
    let mut file = AtomicFile::create(path)?;
    let length = (described.len() as u32).to_le_bytes();
    for part in [&MAGIC[..], &length, &described, payload] {
        checksum.update(part);
        file.write_all(part).map_err(|error| samovar_files::Error::io(path, error))?;
    }
    let checksum = checksum.finalize();
    file.write_all(checksum.as_bytes()).map_err(|error| samovar_files::Error::io(path, error))?;
    file.commit_unsynced()
}

/// Opens what may be an entry, and waits for nobody: whoever opens a named pipe waits for its other end, maybe for ever.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    }
    options.open(path)
}

/// The header alone, unchecked: good enough to choose what goes, not to serve from.
pub(super) fn read_header(path: &Path) -> Option<Header> {
    let mut file = open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut start = [0; 12];
    file.read_exact(&mut start).ok()?;
    let length = header_length(&start)?;
    let mut described = vec![0; length];
    file.read_exact(&mut described).ok()?;
    serde_json::from_slice(&described).ok()
}

fn header_length(start: &[u8]) -> Option<usize> {
    let (magic, length) = start.get(..12)?.split_at(8);
    let length = u32::from_le_bytes(length.try_into().ok()?);
    (magic == MAGIC && length <= MAX_HEADER_BYTES).then_some(length as usize)
}

/// An entry that was read, whole and sound.
pub(super) struct Sound {
    pub(super) header: Header,
    bytes: Vec<u8>,
    payload_at: usize,
}

impl Sound {
    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[self.payload_at..self.bytes.len() - CHECKSUM_BYTES]
    }
}

/// What became of reading an entry.
pub(super) enum ReadEntry {
    /// There is none, or it cannot be read now.
    Absent,
    /// It is there and is not what was written.
    Damaged(&'static str),
    /// It is whole.
    Sound(Sound),
}

/// Reads and checks an entry of at most `max_bytes`.
pub(super) fn read(path: &Path, max_bytes: u64) -> ReadEntry {
    let Ok(file) = open(path) else { return ReadEntry::Absent };
    let Ok(found) = file.metadata() else { return ReadEntry::Absent };
    if !found.is_file() {
        return ReadEntry::Damaged("no file");
    }
    if found.len() > max_bytes {
        return ReadEntry::Damaged("too large");
    }
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(found.len() as usize).is_err() {
        return ReadEntry::Absent;
    }
    if file.take(max_bytes).read_to_end(&mut bytes).is_err() {
        return ReadEntry::Absent;
    }
    match check(&bytes) {
        Ok((header, payload_at)) => ReadEntry::Sound(Sound { header, bytes, payload_at }),
        Err(why) => ReadEntry::Damaged(why),
    }
}

/// The header, and where the payload begins.
fn check(bytes: &[u8]) -> Result<(Header, usize), &'static str> {
    let length = header_length(bytes).ok_or("no entry of a cache")?;
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or("cut short")?;
    if blake3::hash(content).as_bytes() != checksum {
        return Err("its checksum is another");
    }
    let payload_at = 12 + length;
    let described = content.get(12..payload_at).ok_or("cut short")?;
    let header: Header = serde_json::from_slice(described).map_err(|_| "its header makes no sense")?;
    if header.payload_bytes != (content.len() - payload_at) as u64 {
        return Err("its length is another");
    }
    Ok((header, payload_at))
}
