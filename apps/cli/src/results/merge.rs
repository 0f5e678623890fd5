//! COCO documents of many images in one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use samovar::files;
use samovar::media::write::CocoDataset;
use serde_json::{Value, json};

use crate::result_folder::ResultFolder;

/// The COCO documents of many images, each with the name its image has there, in one of this name: images and annotations
/// numbered anew. Holds one document at a time.
pub fn merge(folder: &ResultFolder, merged: &str, results: &[(String, PathBuf)]) -> Result<()> {
    let read = |path: &Path| -> Result<CocoDataset> {
        let named =
            || format!("\"{}\" is damaged; run again with --overwrite to make it anew", path.display());
        serde_json::from_slice(&std::fs::read(path).with_context(named)?).with_context(named)
    };
    let mut images = Vec::with_capacity(results.len());
    let mut categories = Vec::new();
    let mut info = Value::Null;
    for (id, (name, path)) in (1u64..).zip(results) {
        let dataset = read(path)?;
        let image = dataset.images.into_iter().next();
        images.extend(image.map(|image| {
            json!({
                "id": id, "file_name": name, "width": image.width, "height": image.height,
            })
        }));
        (categories, info) = (dataset.categories, dataset.info);
    }
    folder.write_together(merged, |file| {
        let unwritten = |error| files::Error::io(&folder.place(merged.as_ref()), error);
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
