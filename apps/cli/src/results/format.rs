//! The table of formats: help, endings and layouts are read from it.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use samovar::PictureUse;

use crate::failure::usage;

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RGBA pictures.
    Cutout,
    /// Binary masks.
    Png,
    /// One number per pixel.
    Labels,
    /// The image with masks drawn on it.
    Overlay,
    /// COCO run lengths.
    Rle,
    /// A COCO data set.
    Coco,
    /// Outlines.
    Polygon,
}

/// What a file of a format has of several masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// One mask; several are joined to one, or have a file each.
    One,
    /// A list, one mask after the other, for masks that are not to be joined.
    List,
    /// All masks, told apart, or one mask in a file of its own.
    Many,
    /// All masks, told apart; a file for each would say no more.
    All,
}

/// A format's row.
#[derive(Debug)]
struct Row {
    format: Format,
    name: &'static str,
    file_ending: &'static str,
    /// Ending of a file that was not named by the user; tells what is in it.
    ending: &'static str,
    /// Ending of a folder with a file for each mask.
    folder: &'static str,
    holds: Holds,
    help: &'static str,
}

const fn row(format: Format, names: [&'static str; 4], holds: Holds, help: &'static str) -> Row {
    let [name, file_ending, ending, folder] = names;
    Row { format, name, file_ending, ending, folder, holds, help }
}

/// In the order of [`Format`].
const TABLE: [Row; 7] = [
    row(
        Format::Cutout,
        ["cutout", "png", "cutout.png", "cutouts"],
        Holds::One,
        "The object with soft edges on nothing: RGBA PNG",
    ),
    row(
        Format::Png,
        ["png", "png", "mask.png", "masks"],
        Holds::One,
        "Binary mask: greyscale PNG, 0 and 255",
    ),
    row(
        Format::Labels,
        ["labels", "png", "labels.png", "labels"],
        Holds::All,
        "Label map: greyscale PNG, 0 where there is no mask, else its number; smaller masks show over larger ones",
    ),
    row(
        Format::Overlay,
        ["overlay", "png", "overlay.png", "overlays"],
        Holds::Many,
        "The image with the masks drawn on it: PNG",
    ),
    row(
        Format::Rle,
        ["rle", "json", "rle.json", "rle"],
        Holds::List,
        "COCO run lengths: {\"size\": [height, width], \"counts\": \"...\"}",
    ),
    row(
        Format::Coco,
        ["coco", "json", "coco.json", "coco"],
        Holds::All,
        "A COCO data set with one annotation per mask: JSON",
    ),
    row(
        Format::Polygon,
        ["polygon", "json", "polygon.json", "polygons"],
        Holds::List,
        "Outlines with holes and parts: JSON",
    ),
];

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Format; TABLE.len()] = {
            let mut all = [Format::Cutout; TABLE.len()];
            let mut index = 0;
            while index < TABLE.len() {
                all[index] = TABLE[index].format;
                index += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.row().name).help(self.row().help))
    }
}

impl Format {
    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Ending of its files.
    pub fn file_ending(self) -> &'static str {
        self.row().file_ending
    }

    /// Ending of a file that was not named by the user; tells what is in it.
    pub fn ending(self) -> &'static str {
        self.row().ending
    }

    /// Ending of a folder that has a file for each mask.
    pub fn folder_ending(self) -> &'static str {
        self.row().folder
    }

    /// What is made of the picture at its own size, for files of it.
    pub fn picture_use(self) -> PictureUse {
        match self {
            Format::Cutout => PictureUse::CutOut,
            Format::Overlay => PictureUse::Overlay,
            Format::Labels => PictureUse::Labels,
            Format::Polygon => PictureUse::Outlines,
            Format::Png | Format::Rle | Format::Coco => PictureUse::Masks,
        }
    }

    /// What a file of it has of several masks.
    pub fn holds(self) -> Holds {
        self.row().holds
    }

    /// Refuses a file for one image whose ending says something else. Endings that say nothing are taken.
    pub fn check_ending(self, out: &Path) -> Result<()> {
        match ending_of(out).as_str() {
            ending if ending == self.file_ending() => Ok(()),
            // Nothing is lost by another ending, but PNG in a .jpg helps nobody.
            "png" | "json" | "jpg" | "jpeg" | "webp" | "tif" | "tiff" | "bmp" | "gif" => {
                let (name, file_ending) = (self.name(), self.file_ending());
                Err(usage(format!("\"{}\": {name} is written as .{file_ending}", out.display())))
            }
            _ => Ok(()),
        }
    }
}

/// The ending of a file's name, in small letters.
pub fn ending_of(path: &Path) -> String {
    path.extension().and_then(|ending| ending.to_str()).unwrap_or("").to_ascii_lowercase()
}

/// What to write, and how.
#[derive(clap::Args, Debug, Clone)]
pub struct FormatArgs {
    /// What to write [default: by the ending of --out, .json coco; else cutout for prompts, coco for everything]
    #[arg(long, short, value_enum)]
    pub format: Option<Format>,
    /// One file per mask, numbered, instead of all in one; coco and labels tell masks apart as they are
    #[arg(long)]
    pub separate: bool,
    /// How far outlines may stray from the mask's edge, in pixels (polygon and coco outlines); 0 is exact
    #[arg(long, value_name = "PIXELS", default_value_t = DEFAULT_TOLERANCE)]
    pub tolerance: f64,
    /// COCO with outlines instead of run lengths
    #[arg(long)]
    pub outlines: bool,
}

const DEFAULT_TOLERANCE: f64 = 0.5;

impl FormatArgs {
    /// Refuses numbers that make no sense.
    pub fn check(&self) -> Result<()> {
        match self.tolerance >= 0.0 && self.tolerance.is_finite() {
            true => Ok(()),
            false => Err(usage(format!("--tolerance is {}; expected pixels, 0 or more", self.tolerance))),
        }
    }
}
