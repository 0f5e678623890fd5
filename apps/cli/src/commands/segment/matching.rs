//! Which images the names in a file of prompts mean.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use crate::inputs::InputImage;

/// Most folders of an image's path that a name may give beside the file's own.
const MAX_FOLDERS: usize = 15;
/// Images told in one message.
const TOLD: usize = 3;

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The image of this number.
    One(usize),
    /// Any of several images, shown.
    Several(String),
    /// No image.
    None,
}

/// Images by every name they may have.
///
/// A name means, the first that holds: the image with this path in the folder that was named on the command line; the image at
/// this path, from the current folder or from that of the prompts; the image whose path in its folder is the same text in another
/// Unicode form; the one image whose path ends so. `\` is read as `/` where nothing is called so otherwise. Upper and lower
/// case differ, as they do on most file systems, but are good enough for a suggestion.
pub struct ImageNames<'a> {
    images: &'a [InputImage],
    /// Folders that relative names may start from.
    folders: Vec<PathBuf>,
    in_folder: HashMap<PathBuf, usize>,
    located: HashMap<PathBuf, usize>,
    in_folder_composed: HashMap<String, Vec<usize>>,
    by_ending: HashMap<String, Vec<usize>>,
    /// By file name, without regard to case; and by file name without its ending.
    alike: HashMap<String, Vec<usize>>,
    places: Places,
}

impl<'a> ImageNames<'a> {
    /// The images of a run.
    pub fn new(images: &'a [InputImage]) -> Self {
        let mut names = Self {
            images,
            folders: vec![PathBuf::new()],
            in_folder: HashMap::new(),
            located: HashMap::new(),
            in_folder_composed: HashMap::new(),
            by_ending: HashMap::new(),
            alike: HashMap::new(),
            places: Places::default(),
        };
        for (number, image) in images.iter().enumerate() {
            names.in_folder.insert(plain(&image.in_folder), number);
            names.in_folder_composed.entry(composed(&image.in_folder)).or_default().push(number);
            if let Some(place) = names.places.of(&image.path) {
                names.located.insert(place, number);
            }
            let whole = composed(&image.path);
            let starts = whole.rmatch_indices('/').map(|(at, _)| at + 1);
            for start in starts.take(MAX_FOLDERS + 1).chain((!whole.starts_with('/')).then_some(0)) {
                names.by_ending.entry(whole[start..].to_owned()).or_default().push(number);
            }
            let file = Path::new(&whole).file_name().unwrap_or_default();
            let folded = [file, Path::new(file).file_stem().unwrap_or_default()].map(folded);
            names.alike.entry(folded[0].clone()).or_default().push(number);
            if folded[1] != folded[0] {
                names.alike.entry(folded[1].clone()).or_default().push(number);
            }
        }
        names
    }

    /// From here on names are those in this file of prompts.
    pub fn start_beside(&mut self, prompts: &Path) {
        self.folders = vec![PathBuf::new(), prompts.parent().unwrap_or(Path::new("")).to_owned()];
    }

    /// What a name means. `is_beside` says that it is from a kind of file whose names start from its own folder, as labelme's: what
    /// is there then comes first.
    pub fn meaning(&mut self, name: &str, is_beside: bool) -> Meaning {
        let slashes = name.replace('\\', "/");
        for name in [name, &slashes] {
            if is_beside && let Some(folder) = self.folders.last() {
                let place = folder.join(name);
                if let Some(&number) = self.places.of(&place).and_then(|place| self.located.get(&place)) {
                    return Meaning::One(number);
                }
                // The file is about that picture, and not about another one of this name.
                if place.is_file() {
                    return Meaning::None;
                }
            }
            let path = plain(Path::new(name));
            if let Some(&number) = self.in_folder.get(&path).or_else(|| self.in_folder.get(&collapsed(&path)))
            {
                return Meaning::One(number);
            }
            for folder in &self.folders {
                let place = self.places.of(&folder.join(name));
                if let Some(&number) = place.and_then(|place| self.located.get(&place)) {
                    return Meaning::One(number);
                }
            }
            let composed = composed(&collapsed(&path));
            let found = self.in_folder_composed.get(&composed).or_else(|| self.by_ending.get(&composed));
            match found.map(Vec::as_slice) {
                Some([number]) => return Meaning::One(*number),
                Some(numbers) => return Meaning::Several(self.shown(numbers)),
                None => {}
            }
        }
        Meaning::None
    }

    /// Whether there is a file of this name all the same, which is no image of this run.
    pub fn is_elsewhere(&self, name: &str) -> bool {
        let names = [name.to_owned(), name.replace('\\', "/")];
        names.iter().any(|name| self.folders.iter().any(|folder| folder.join(name).is_file()))
    }

    /// An image that is called nearly so: in another case, in another folder, with another ending. Looks at all images of
    /// one name: for messages, which tell a few.
    pub fn nearly(&self, name: &str) -> Option<String> {
        let name = name.trim().replace('\\', "/");
        let file = Path::new(&name).file_name()?;
        let stem = Path::new(file).file_stem()?;
        let numbers = self.alike.get(&folded(file)).or_else(|| self.alike.get(&folded(stem)))?;
        // Of several the one in the same folders.
        let whole = folded(name.as_ref());
        let best = numbers.iter().find(|&&number| folded(self.images[number].in_folder.as_ref()) == whole);
        best.or(numbers.first()).map(|&number| self.shown(&[number]))
    }

    fn shown(&self, numbers: &[usize]) -> String {
        let name = |&number: &usize| format!("\"{}\"", self.images[number].in_folder.display());
        let mut shown: Vec<String> = numbers.iter().take(TOLD).map(name).collect();
        // One relative name in several folders says nothing.
        if shown.windows(2).any(|pair| pair[0] == pair[1]) {
            let name = |&number: &usize| format!("\"{}\"", self.images[number].path.display());
            shown = numbers.iter().take(TOLD).map(name).collect();
        }
        let more = numbers.len() - shown.len();
        shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    }
}

/// Where files are: the folder by its one name, the file by its own, because an image may be a link.
#[derive(Debug, Default)]
struct Places {
    folders: HashMap<PathBuf, Option<PathBuf>>,
}

impl Places {
    fn of(&mut self, file: &Path) -> Option<PathBuf> {
        let name = file.file_name()?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !self.folders.contains_key(folder) {
            self.folders.insert(folder.to_owned(), std::fs::canonicalize(folder).ok());
        }
        self.folders[folder].as_ref().map(|folder| folder.join(name))
    }
}

/// By its parts, so that `./photo.jpg` is `photo.jpg`.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// Without the detours, so that `a/../photo.jpg` is `photo.jpg`.
fn collapsed(path: &Path) -> PathBuf {
    let mut parts: Vec<Component> = Vec::new();
    for part in path.components() {
        match (part, parts.last()) {
            (Component::ParentDir, Some(Component::Normal(_))) => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.into_iter().collect()
}

/// As text with `/` in Unicode's composed form. Some systems and tools decompose letters with marks.
fn composed(path: &Path) -> String {
    let parts: Vec<String> = plain(path)
        .components()
        .map(|part| match part {
            Component::RootDir => String::new(),
            part => part.as_os_str().to_string_lossy().nfc().collect(),
        })
        .collect();
    parts.join("/")
}

/// The same without regard to case.
fn folded(name: &std::ffi::OsStr) -> String {
    name.to_string_lossy().replace('\\', "/").nfc().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests;
