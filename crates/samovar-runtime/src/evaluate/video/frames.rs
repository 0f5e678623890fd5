//! Masks of videos: folders as DAVIS and YouTube-VOS keep them, a folder for each object, or a segpack of frames.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use samovar_media::segpack::{SegpackHeader, SegpackLimits, SegpackReader};
use samovar_media::{BitMask, DecodeLimits, LabelMap};

use crate::error::{Error, Result};

/// Label of pixels that are nobody's in DAVIS; where it is a sequence's only label it is the object, as in DAVIS 2016.
pub(super) const VOID: u16 = 255;

/// Names told in a message.
const TOLD: usize = 5;

/// A frame's name, ordered by number where it is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FrameName {
    /// Digits without leading zeros: their count first, so that 10 comes after 9.
    number: Option<(usize, String)>,
    pub(super) name: String,
}

impl FrameName {
    pub(super) fn new(name: &str) -> Self {
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        let digits = name.trim_start_matches('0');
        Self { number: is_number.then(|| (digits.len(), digits.to_owned())), name: name.to_owned() }
    }
}

/// The masks of one frame.
pub(super) enum Frame {
    /// A label for each object.
    Map(LabelMap),
    /// A file for each object: whatever is not 0 is the object.
    Files(BTreeMap<u16, PathBuf>),
}

impl Frame {
    /// The objects that are seen, rising.
    pub(super) fn objects(&self, limits: &DecodeLimits) -> Result<Vec<u16>> {
        match self {
            Self::Map(map) => {
                let mut seen = vec![false; 1 << 16];
                map.labels().iter().for_each(|&label| seen[usize::from(label)] = true);
                Ok((1..=u16::MAX).filter(|&label| seen[usize::from(label)]).collect())
            }
            Self::Files(files) => {
                let mut objects = Vec::new();
                for (&object, path) in files {
                    if !any_label(&read_labels(path, limits)?).is_empty() {
                        objects.push(object);
                    }
                }
                Ok(objects)
            }
        }
    }

    /// The pixels of an object; `None` where there is no file for it.
    pub(super) fn mask(&self, object: u16, limits: &DecodeLimits) -> Result<Option<BitMask>> {
        Ok(match self {
            Self::Map(map) => Some(map.mask(object)),
            Self::Files(files) => match files.get(&object) {
                Some(path) => Some(any_label(&read_labels(path, limits)?)),
                None => None,
            },
        })
    }
}

/// The pixels with a label.
fn any_label(map: &LabelMap) -> BitMask {
    map.mask(0).inverted()
}

fn read_labels(path: &Path, limits: &DecodeLimits) -> Result<LabelMap> {
    let bytes = std::fs::metadata(path).and_then(|metadata| match metadata.len() > limits.max_bytes {
        true => Err(std::io::Error::other(format!("the file has more than {} bytes", limits.max_bytes))),
        false => std::fs::read(path),
    });
    let bytes = bytes.map_err(|error| Error::io(path, "cannot be read", error))?;
    Ok(samovar_media::mask::decode_labels(&bytes, limits).map_err(|error| error.at(path))?)
}

/// Masks of videos in a folder: a folder for each sequence, or the frames of one alone.
pub(super) struct Folder {
    root: PathBuf,
    is_one_sequence: bool,
}

impl Folder {
    /// # Errors
    /// [`Error::File`] for a folder with neither PNG files nor folders, or with both.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let Listing { files, folders } = Listing::of(root)?;
        match (files.is_empty(), folders.is_empty()) {
            (true, true) => Err(Error::file(
                root,
                "there are neither PNG files nor folders with them; name the folder whose folders are the sequences",
            )),
            (false, false) => Err(Error::file(
                root,
                "there are PNG files beside folders; name a folder that has only sequences, or only frames",
            )),
            (files, _) => Ok(Self { root: root.to_owned(), is_one_sequence: !files }),
        }
    }

    /// The sequences' names.
    fn sequences(&self) -> Result<Vec<String>> {
        if self.is_one_sequence {
            let name = self.root.canonicalize().ok();
            let name = name.as_deref().unwrap_or(&self.root).file_name();
            return Ok(vec![name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())]);
        }
        let folders = Listing::of(&self.root)?.folders;
        Ok(folders.into_iter().filter(|name| !name.starts_with('.')).collect())
    }

    /// Where the frames of a sequence are. Frames that lie in the folder itself have no sequence's name: they belong to whatever
    /// is `the_only` one.
    pub(super) fn sequence(&self, name: &str, the_only: bool) -> Result<SequenceFolder> {
        let place = match (self.is_one_sequence, the_only) {
            (false, _) => self.root.join(name),
            (true, true) => self.root.clone(),
            (true, false) => {
                let what = "the frames of one sequence lie here, the truth has several; name a folder with a folder for each";
                return Err(Error::file(&self.root, what));
            }
        };
        if !place.is_dir() {
            let there: Vec<String> =
                self.sequences()?.iter().take(TOLD).map(|name| format!("\"{name}\"")).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            return Err(Error::file(
                place,
                format!(
                    "there are no masks of the truth's sequence \"{name}\", which has its folder here (those there: {there}); \
                     make them, or measure against a truth of the sequences that you have"
                ),
            ));
        }
        SequenceFolder::open(&place)
    }
}

/// The masks of one video.
pub(super) struct SequenceFolder {
    folder: PathBuf,
    /// Folders of objects; empty where label maps hold them all.
    objects: BTreeMap<u16, PathBuf>,
    pub(super) frames: BTreeSet<FrameName>,
}

impl SequenceFolder {
    fn open(folder: &Path) -> Result<Self> {
        let Listing { files, folders } = Listing::of(folder)?;
        if !files.is_empty() {
            let frames = files.iter().map(|name| FrameName::new(name)).collect();
            return Ok(Self { folder: folder.to_owned(), objects: BTreeMap::new(), frames });
        }
        let mut sequence =
            Self { folder: folder.to_owned(), objects: BTreeMap::new(), frames: BTreeSet::new() };
        for name in folders {
            let place = folder.join(&name);
            let Some(object) = name.parse().ok().filter(|&object| object > 0) else {
                return Err(Error::file(
                    place,
                    "a folder of one object's masks is named by its number, from 1; a sequence holds these or PNG files",
                ));
            };
            sequence.frames.extend(Listing::of(&place)?.files.iter().map(|name| FrameName::new(name)));
            if let Some(other) = sequence.objects.insert(object, place) {
                return Err(Error::file(other, format!("there are two folders for object {object}")));
            }
        }
        if sequence.frames.is_empty() {
            return Err(Error::file(folder, "there are no PNG files"));
        }
        Ok(sequence)
    }

    /// The file of a frame's masks.
    pub(super) fn path(&self, frame: &FrameName) -> PathBuf {
        self.folder.join(format!("{}.png", frame.name))
    }

    pub(super) fn read(&self, frame: &FrameName, limits: &DecodeLimits) -> Result<Frame> {
        if self.objects.is_empty() {
            return Ok(Frame::Map(read_labels(&self.path(frame), limits)?));
        }
        let file = format!("{}.png", frame.name);
        let files = self.objects.iter().map(|(&object, folder)| (object, folder.join(&file)));
        Ok(Frame::Files(files.filter(|(_, path)| path.exists()).collect()))
    }
}

/// The names in a folder: PNG files without their ending, and folders.
struct Listing {
    files: BTreeSet<String>,
    folders: BTreeSet<String>,
}

impl Listing {
    fn of(folder: &Path) -> Result<Self> {
        let failed = |error| Error::io(folder, "the folder cannot be read", error);
        let mut listing = Self { files: BTreeSet::new(), folders: BTreeSet::new() };
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if path.is_dir() {
                listing.folders.insert(name.to_owned());
            } else if let Some(stem) = name.strip_suffix(".png").filter(|stem| !stem.starts_with('.')) {
                listing.files.insert(stem.to_owned());
            }
        }
        Ok(listing)
    }
}

/// Where the true masks are.
pub(super) enum Truth {
    Folder(Folder),
    Pack(PathBuf),
}

/// Takes a sequence's name, a frame's, and its masks.
pub(super) type EachFrame<'a> = dyn FnMut(&str, FrameName, Frame) -> Result<ControlFlow<()>> + 'a;

impl Truth {
    pub(super) fn open(path: &Path) -> Result<Self> {
        if path.is_dir() { Ok(Self::Folder(Folder::open(path)?)) } else { Ok(Self::Pack(path.to_owned())) }
    }

    /// Shows every frame: its sequence, its name, its masks. Ends early when told so.
    pub(super) fn visit(&self, limits: &DecodeLimits, each: &mut EachFrame<'_>) -> Result<()> {
        match self {
            Self::Folder(folder) => {
                for name in folder.sequences()? {
                    let sequence = folder.sequence(&name, true)?;
                    for frame in &sequence.frames {
                        let masks = sequence.read(frame, limits)?;
                        if each(&name, frame.clone(), masks)?.is_break() {
                            return Ok(());
                        }
                    }
                }
            }
            Self::Pack(pack) => {
                let records = SegpackReader::open(pack, SegpackLimits::default())?;
                for record in records {
                    let record = record.map_err(|error| error.at(pack))?;
                    let (sequence, frame) = frame_of(&record.header)
                        .ok_or_else(|| Error::file(pack, no_frame(&record.header)))?;
                    if record.layer_bytes.len() != 1 {
                        let what = format!(
                            "{} has {} label layers; a frame of a video has one",
                            record.header.id,
                            record.layer_bytes.len()
                        );
                        return Err(Error::file(pack, what));
                    }
                    let labels = record.labels(0, limits).map_err(|error| error.at(pack))?;
                    if each(&sequence, frame, Frame::Map(labels))?.is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Sequence and frame of a record: `seq`, and the last part of its id or `frame` in five digits.
fn frame_of(header: &SegpackHeader) -> Option<(String, FrameName)> {
    let sequence = header.other.get("seq")?.as_str()?;
    let number = header.other.get("frame")?.as_u64()?;
    let name = match header.id.strip_prefix(sequence).and_then(|rest| rest.strip_prefix('/')) {
        Some(name) => name.to_owned(),
        None => format!("{number:05}"),
    };
    (is_plain(sequence) && is_plain(&name)).then(|| (sequence.to_owned(), FrameName::new(&name)))
}

/// Names in a pack are anybody's; only those of one file or folder may be looked for.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

fn no_frame(header: &SegpackHeader) -> String {
    format!(
        "{} names no frame of a video (\"seq\", a plain name, and \"frame\", a number); this pack holds pictures, which are \
         measured without --masks",
        header.id
    )
}
