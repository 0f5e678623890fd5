//! What `everything` writes: COCO documents, overlays, and one document for a whole folder.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use samovar::automatic::{self, AutomaticMask, AutomaticOptions};
use samovar::files;
use samovar::media::write::{CocoDataset, Overlay, encode_rgb_png};
use samovar::{Model, RgbImage};
use serde_json::{Value, json};

use super::super::segment::{json_line, style_for};
use crate::failure::usage;
use crate::inputs::InputImage;
use crate::outputs::Files;
use crate::result_folder::ResultFolder;

/// The file of a folder's results that has all of them.
pub const MERGED: &str = "annotations.json";

/// The masks of one image, and what made them.
pub struct Report<'a> {
    /// The model.
    pub model: &'a Model,
    /// The parameters.
    pub options: &'a AutomaticOptions,
    /// The masks.
    pub masks: &'a [AutomaticMask],
    /// The image.
    pub image: &'a RgbImage,
}

impl Report<'_> {
    /// COCO, with model and parameters under `info`.
    pub fn document(&self, file_name: &str) -> Value {
        let mut document = json!(automatic::coco(self.masks, file_name, self.image.size()));
        document["info"] = json!({
            "description": "automatic masks by samovar",
            "model": self.model.name(),
            "parameters": self.options,
        });
        document
    }

    /// The files of an image: its document, and its overlay if it gets one.
    pub fn write(
        &self,
        mut files: Files,
        out: Option<&Path>,
        document: &Value,
        overlay: Option<&Path>,
    ) -> Result<Vec<PathBuf>> {
        if let Some(overlay) = overlay {
            files.add(overlay, &self.overlay()?)?;
        }
        if let Some(out) = out {
            files.add(out, &json_line(document)?)?;
        }
        files.finish()
    }

    /// The image with its masks, large ones first so that small ones show, as PNG.
    pub fn overlay(&self) -> Result<Vec<u8>> {
        let mut masks: Vec<&AutomaticMask> = self.masks.iter().collect();
        masks.sort_by_key(|mask| Reverse(mask.area));
        let mut overlay = Overlay::new(self.image, style_for(self.image));
        for mask in masks {
            overlay.add(&mask.mask.to_mask())?;
        }
        Ok(encode_rgb_png(&overlay.finish())?)
    }
}

/// `masks/photo.json` has its overlay in `masks/photo.overlay.png`.
pub fn overlay_of(document: &Path) -> PathBuf {
    document.with_extension("overlay.png")
}

/// Refuses names of pictures for the document.
pub fn check_file(out: &Path) -> Result<()> {
    let ending = out.extension().and_then(|ending| ending.to_str()).unwrap_or("").to_ascii_lowercase();
    if ["png", "jpg", "jpeg", "webp", "tif", "tiff", "bmp", "gif"].contains(&ending.as_str()) {
        return Err(usage(format!(
            "\"{}\": --out takes a .json file, or a folder; --overlay writes a picture beside it",
            out.display()
        )));
    }
    Ok(())
}

/// Name of an image in its own document.
pub fn file_name(input: &InputImage) -> String {
    input.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Name of an image among others: with the way to it from the folder that was named.
pub fn name_in_folder(input: &InputImage) -> String {
    let parts = input.in_folder.components().map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

/// All results in one document, images and annotations numbered anew. Holds one result at a time.
pub fn merge(folder: &ResultFolder, results: &[(&InputImage, PathBuf)]) -> Result<()> {
    let read = |path: &Path| -> Result<CocoDataset> {
        let named =
            || format!("\"{}\" is damaged; run again with --overwrite to make it anew", path.display());
        serde_json::from_slice(&std::fs::read(path).with_context(named)?).with_context(named)
    };
    let mut images = Vec::with_capacity(results.len());
    let mut categories = Vec::new();
    let mut info = Value::Null;
    for (id, (input, path)) in (1u64..).zip(results) {
        let dataset = read(path)?;
        let image = dataset.images.into_iter().next();
        images.extend(image.map(|image| {
            json!({
                "id": id, "file_name": name_in_folder(input), "width": image.width, "height": image.height,
            })
        }));
        (categories, info) = (dataset.categories, dataset.info);
    }
    folder.write_together(MERGED, |file| {
        let unwritten = |error| files::Error::io(&folder.place(MERGED.as_ref()), error);
        write!(
            file,
            "{{\"info\":{info},\"images\":{},\"categories\":{},\"annotations\":[",
            json!(images),
            json!(categories)
        )
        .map_err(unwritten)?;
        let mut annotation_id = 0u64;
        for (image_id, (_, path)) in (1u64..).zip(results) {
            for mut annotation in read(path)?.annotations {
                let comma = if annotation_id > 0 { "," } else { "" };
                annotation_id += 1;
                (annotation.id, annotation.image_id) = (annotation_id, image_id);
                write!(file, "{comma}{}", json!(annotation)).map_err(unwritten)?;
            }
        }
        Ok(writeln!(file, "]}}").map_err(unwritten)?)
    })
}
