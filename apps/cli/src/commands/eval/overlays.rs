//! The worst answers as pictures.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use samovar::evaluate::{WorstMask, draw_worst};
use samovar::files;
use samovar::media::write::encode_rgb_png;
use samovar::{Model, RgbImage};

use crate::outputs::Files;

pub fn write(folder: &Path, worst: &[WorstMask], pack: &Path, model: &Model) -> Result<()> {
    files::make_folder(folder)?;
    files::sweep(folder);
    let (mut overlays, mut taken) = (Files::default(), HashSet::new());
    draw_worst(worst, pack, model, |one: &WorstMask, overlay: &RgbImage| -> Result<()> {
        let name = free_name(one, &mut taken);
        overlays.add(&folder.join(name), &encode_rgb_png(overlay)?)
    })?;
    overlays.finish()?;
    say!("{} overlays in {}", worst.len(), folder.display());
    Ok(())
}

/// A name that no other overlay has: what is taken out of two names may leave them alike.
fn free_name(one: &WorstMask, taken: &mut HashSet<String>) -> String {
    let (source, picture) = (file_name_part(&one.source), file_name_part(&one.picture));
    let name = format!("{source}_{}_{:.3}_{picture}_{}", one.prompt.kind(), one.iou, one.mask);
    let mut number = 1;
    loop {
        let free = if number == 1 { format!("{name}.png") } else { format!("{name}_{number}.png") };
        // Some file systems take upper and lower case for the same.
        if taken.insert(free.to_lowercase()) {
            return free;
        }
        number += 1;
    }
}

/// Names in a pack are anybody's: only what is harmless in a file's name stays, and not too much of it.
fn file_name_part(name: &str) -> String {
    let harmless = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    name.chars().take(60).map(harmless).collect()
}
