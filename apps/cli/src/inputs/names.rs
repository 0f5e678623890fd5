//! Names of results: no two images may have one in common, on any file system.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

/// A name without what some file systems do not tell apart: upper and lower case, and forms of Unicode.
pub fn folded(name: &str) -> String {
    name.nfc().flat_map(char::to_lowercase).collect()
}

/// A name as text. Bytes that are none are written as `%E9`, so that names which differ stay different.
pub fn readable(name: &Path) -> String {
    let mut text = String::new();
    for chunk in name.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    text
}

/// Two images whose results would take each other's place, and the place.
pub struct Clash {
    /// Their numbers.
    pub images: [usize; 2],
    /// A result of the second.
    pub file: PathBuf,
}

/// All clashes among the results of images, given by image, where names are the same if `fold` makes them so.
pub fn clashes(files: impl Iterator<Item = Vec<PathBuf>>, fold: impl Fn(&str) -> String) -> Vec<Clash> {
    let mut owners: HashMap<String, usize> = HashMap::new();
    let mut folders: HashMap<String, usize> = HashMap::new();
    let mut clashes = Vec::new();
    for (number, files) in files.enumerate() {
        let mut own = HashSet::new();
        for file in files {
            let mut clash = |with: Option<&usize>| {
                if let Some(&other) = with.filter(|&&other| other != number) {
                    clashes.push(Clash { images: [other, number], file: file.clone() });
                }
            };
            let name = fold(&file.to_string_lossy());
            clash(owners.get(&name));
            clash(folders.get(&name));
            // A file cannot be where another one's folder is.
            for folder in file.ancestors().skip(1).filter(|folder| *folder != Path::new("")) {
                let folder = fold(&folder.to_string_lossy());
                clash(owners.get(&folder));
                own.insert(folder);
            }
            owners.entry(name).or_insert(number);
        }
        for folder in own {
            folders.entry(folder).or_insert(number);
        }
    }
    clashes
}

/// Whether names that differ in case alone are one name in this folder, or the nearest that is there on the way to it.
pub fn ignores_case(folder: &Path) -> bool {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = absolute.ancestors().find(|folder| folder.is_dir());
    let Some((parent, name)) = there.and_then(|there| Some((there.parent()?, there.file_name()?.to_str()?)))
    else {
        return cfg!(any(windows, target_os = "macos"));
    };
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    let swapped: String = name.chars().map(swap).collect();
    let one_name = |name: &str| std::fs::canonicalize(parent.join(name)).ok();
    if swapped == name {
        return cfg!(any(windows, target_os = "macos"));
    }
    one_name(&swapped).is_some_and(|other| Some(other) == one_name(name))
}
