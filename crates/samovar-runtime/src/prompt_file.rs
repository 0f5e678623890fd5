//! Prompts for one or many images as a JSON document:
//! `{"prompts": [{"image": "a.jpg", "points": [[420, 300, 1]], "box": [x0, y0, x1, y1], "mask": "a.png", "label": "cup"}]}`, a
//! COCO data set, or a file of labelme. Which of them it is, its content says.

mod base64;
mod coco;
mod entry;
mod labelme;
mod number;
mod text;

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

pub use self::entry::{PromptEntry, Segmentation};
use crate::error::{Error, Result};

/// Most bytes a document may have; all instances of COCO's train2017 have 448 million.
pub const MAX_BYTES: usize = 512 << 20;

const EXPECTED: &str = r#"{"prompts": [{"image": "a.jpg", "points": [[x, y, 1]], "box": [x0, y0, x1, y1], "mask": "a.png"}]}, a COCO data set or a file of labelme"#;

/// The document.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PromptFile {
    /// One entry per object.
    pub prompts: Vec<PromptEntry>,
    /// Masks of videos that stay as an earlier run found them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locked: Vec<LockedFrames>,
    /// What it was written as.
    #[serde(skip)]
    pub kind: PromptFileKind,
    /// What of it is no prompt, in words.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// Frames on which an object's mask stays as it was found.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LockedFrames {
    /// Which object.
    pub object: u32,
    /// The frames.
    pub frames: Vec<i64>,
}

/// What a document was written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PromptFileKind {
    /// A list of prompts.
    #[default]
    Prompts,
    /// A COCO data set.
    Coco,
    /// A file of labelme.
    Labelme,
}

impl PromptFileKind {
    /// Where an entry stands in its document, [`PromptEntry::row`] of it.
    pub fn place(self, row: usize) -> String {
        match self {
            Self::Prompts => format!("prompt {}", row + 1),
            Self::Coco => format!("annotations[{row}]"),
            Self::Labelme => format!("shapes[{row}]"),
        }
    }

    /// Whether images are named from the folder that the document lies in, as labelme does, and not from that of the data set.
    pub fn names_start_beside_it(self) -> bool {
        self == Self::Labelme
    }

    fn of(keys: &Keys) -> Result<Self> {
        let has = |key: &str| keys.names.iter().any(|name| name == key);
        match () {
            () if has("prompts") => Ok(Self::Prompts),
            () if has("shapes") => Ok(Self::Labelme),
            () if has("annotations") && has("images") => Ok(Self::Coco),
            () if has("annotations") => Err(Error::usage(
                "`annotations` without the `images` of a COCO data set, which say what files they are of",
            )),
            () if keys.is_list => Err(Error::NoPrompts(format!(
                "a list; a list of prompts is to stand in {{\"prompts\": [...]}}; results in COCO's form name no files, put them into `annotations` of the data set; expected {EXPECTED}"
            ))),
            () => {
                let names = keys.names.iter().take(TOLD_KEYS).map(|name| format!("`{name}`"));
                let names = names.collect::<Vec<_>>().join(", ");
                let has = if names.is_empty() { "nothing".to_owned() } else { names };
                Err(Error::NoPrompts(format!("it has {has}; expected {EXPECTED}")))
            }
        }
    }
}

/// Keys told in an error, and characters of each.
const TOLD_KEYS: usize = 4;
const MAX_KEY_CHARACTERS: usize = 40;
/// Keys of a document that are looked at.
const MAX_KEYS: usize = 64;

/// The keys of a document.
struct Keys {
    names: Vec<String>,
    is_list: bool,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;
        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a document")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if names.len() < MAX_KEYS {
                        names.push(name.chars().take(MAX_KEY_CHARACTERS).collect());
                    }
                }
                Ok(Keys { names, is_list: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Keys, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Keys { names: Vec::new(), is_list: true })
            }
        }
        deserializer.deserialize_any(KeysVisitor)
    }
}

impl PromptFile {
    /// Reads a document, in UTF-8 or with a mark in UTF-16.
    ///
    /// # Errors
    /// [`Error::NoPrompts`] for another document, or one without prompts, [`Error::Usage`] for what is no JSON or longer than [`MAX_BYTES`], and, with its place, for an entry
    /// without a prompt, with too many points or with a third number that is neither 0 nor 1.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() > MAX_BYTES {
            return Err(Error::usage(format!(
                "{} bytes are too many for a file of prompts, at most {MAX_BYTES} are read; split it by images",
                json.len()
            )));
        }
        let json = text::of_bytes(json)?;
        let kind = PromptFileKind::of(&text::read(&json, EXPECTED)?)?;
        let mut file = match kind {
            PromptFileKind::Prompts => {
                let mut file: Self = text::read(&json, EXPECTED)?;
                file.prompts.iter_mut().enumerate().for_each(|(row, entry)| entry.row = row);
                file
            }
            PromptFileKind::Coco => {
                let (prompts, notes) = coco::parse(&json)?;
                Self { prompts, kind, notes, ..Self::default() }
            }
            PromptFileKind::Labelme => {
                let (prompts, notes) = labelme::parse(&json)?;
                Self { prompts, kind, notes, ..Self::default() }
            }
        };
        if file.prompts.is_empty() {
            let notes: String = file.notes.drain(..).map(|note| format!(" ({note})")).collect();
            return Err(Error::NoPrompts(format!("no prompts in this file{notes}; expected {EXPECTED}")));
        }
        for entry in &file.prompts {
            entry.check().map_err(|what| Error::usage(format!("{}: {what}", kind.place(entry.row))))?;
        }
        Ok(file)
    }
}

#[cfg(test)]
#[path = "prompt_file_tests.rs"]
mod tests;
