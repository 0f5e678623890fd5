//! What the files of a folder are, by their content; and the words for those that are left out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use samovar::media::ImageFormat;
use samovar::media::image::{foreign_by_ending, foreign_by_start};

/// What a file of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An image that can be read, or that says so by its ending: if it is damaged, that is worth an error.
    Image,
    /// An image of this format, which is not read.
    Foreign(&'static str),
    /// A link to what is not there.
    BrokenLink,
    /// A link to a folder; it could lead in circles.
    FolderLink,
    /// Anything else.
    Other,
}

impl Kind {
    /// Looks at the first bytes, then at the ending.
    pub fn of(path: &Path) -> Self {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("").to_ascii_lowercase();
        let is_called_image = ImageFormat::EXTENSIONS.contains(&ending.as_str());
        match fs::metadata(path) {
            Err(_) if path.is_symlink() => return Self::BrokenLink,
            Ok(found) if found.is_dir() => return Self::FolderLink,
            // Opening a pipe would wait for its writer.
            Ok(found) if !found.is_file() => return Self::Other,
            _ => {}
        }
        let mut start = Vec::new();
        let read = File::open(path).and_then(|file| file.take(32).read_to_end(&mut start));
        let by_ending = foreign_by_ending(&ending);
        match ImageFormat::of_start(&start) {
            _ if is_called_image || read.is_err() && by_ending.is_some() => Self::Image,
            // A camera's raw file is a TIFF, and its first page a thumbnail.
            Some(ImageFormat::Tiff) if by_ending.is_some() => Self::Foreign(by_ending.unwrap_or_default()),
            // Two bytes, with which a text may begin as well.
            Some(ImageFormat::Pnm | ImageFormat::Bmp) => Self::Other,
            Some(_) => Self::Image,
            None => foreign_by_start(&start).or(by_ending).map_or(Self::Other, Self::Foreign),
        }
    }

    fn describe(self, count: usize) -> String {
        let s = if count == 1 { "" } else { "s" };
        match self {
            Self::Image => format!("{count} image{s}"),
            Self::Foreign(name) => format!("{count} of {name}, which is not read"),
            Self::BrokenLink => format!("{count} broken link{s}"),
            Self::FolderLink => format!("{count} link{s} to folders"),
            Self::Other => format!("{count} that {} no image{s}", if count == 1 { "is" } else { "are" }),
        }
    }
}

/// Names told of each kind.
const NAMES: usize = 3;

/// Files of folders that are no images that can be read, counted by kind.
#[derive(Debug, Default)]
pub struct LeftOut {
    kinds: BTreeMap<Kind, (usize, Vec<String>)>,
}

impl LeftOut {
    /// One more, by its name in the folder.
    pub fn add(&mut self, kind: Kind, name: &Path) {
        let (count, names) = self.kinds.entry(kind).or_default();
        *count += 1;
        if names.len() < NAMES {
            names.push(name.display().to_string());
        }
    }

    /// How many of each kind, the first by name, and what to do; nothing if there are none.
    pub fn describe(&self) -> Option<String> {
        let kind = |(kind, (count, names)): (&Kind, &(usize, Vec<String>))| {
            let more = if *count > names.len() { ", …" } else { "" };
            format!("{} ({}{more})", kind.describe(*count), names.join(", "))
        };
        let kinds: Vec<String> = self.kinds.iter().map(kind).collect();
        let has_foreign = self.kinds.keys().any(|kind| matches!(kind, Kind::Foreign(_)));
        let advice = if has_foreign { "; convert images to PNG or JPEG" } else { "" };
        (!kinds.is_empty()).then(|| format!("{}{advice}", kinds.join("; ")))
    }
}
