//! The table, and the names that follow from it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;

use super::format::Holds;
use super::*;

fn args(separate: bool) -> FormatArgs {
    FormatArgs { format: None, separate, tolerance: 0.5, outlines: false }
}

#[test]
fn every_format_stands_in_its_own_row() {
    for &format in Format::value_variants() {
        let value = format.to_possible_value().unwrap();
        assert_eq!(value.get_name(), format.name());
        assert!(value.get_help().is_some_and(|help| !help.to_string().is_empty()));
        assert!(format.ending().ends_with(format.file_ending()));
        assert_eq!(Format::from_str(format.name(), false), Ok(format));
    }
    assert_eq!(Format::value_variants().len(), 7);
}

#[test]
fn masks_without_number_have_a_folder_of_their_own() {
    for &format in Format::value_variants() {
        for separate in [false, true] {
            let writer = Writer::of_many(&args(separate), format, json!(null));
            let in_folder = match format.holds() {
                Holds::One => true,
                Holds::All => false,
                Holds::List | Holds::Many => separate,
            };
            assert_eq!(writer.layout == Layout::Folder, in_folder, "{format:?}");
        }
    }
}

/// Names of images that are made to be mistaken for each other's results.
#[test]
fn no_result_is_called_as_another_images() {
    let images = ["a", "a.masks", "a.masks/1", "a.cutouts/1", "a/1", "1", "a-1", "masks", "a.masks/masks"];
    for &format in Format::value_variants() {
        let writer = Writer::of_many(&args(true), format, json!(null));
        let mut seen = HashSet::new();
        for image in images {
            let place = writer.name_in_folder(image);
            let numbered = (1..4).map(|number| place.join(format!("{number}.{}", format.file_ending())));
            let files: Vec<PathBuf> = match writer.layout {
                Layout::Folder => numbered.chain(writer.files(&place, 0)).collect(),
                _ => writer.files(&place, 3),
            };
            for file in files {
                assert!(seen.insert(file.clone()), "{format:?}: {} twice", file.display());
            }
        }
        // A file of one image is not a folder of another.
        let folders: HashSet<&Path> = seen.iter().flat_map(|file| file.ancestors().skip(1)).collect();
        assert!(seen.iter().all(|file| !folders.contains(file.as_path())), "{format:?}");
    }
}

#[test]
fn numbered_names_are_known_before() {
    let writer = Writer::of_prompts(&args(true), Format::Png, true, json!(null));
    let names = |masks| writer.files(Path::new("out/a.b.png"), masks);
    assert_eq!(names(1), [PathBuf::from("out/a.b.png")]);
    assert_eq!(names(2), [PathBuf::from("out/a.b-1.png"), PathBuf::from("out/a.b-2.png")]);
    let coco = Writer::of_prompts(&args(true), Format::Coco, true, json!(null));
    assert_eq!(coco.files(Path::new("a.json"), 5), [PathBuf::from("a.json")]);
}
