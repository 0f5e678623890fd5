//! Places that `track` writes to: nothing there takes the place of what it reads, of what it has not made, or of another of its files.

use std::path::{Path, PathBuf};

use anyhow::Result;
use samovar::media::video::FrameSource;

use super::output::is_name_of_a_result;
use super::prompts::Prompts;
use super::{Args, preview};
use crate::failure::usage;
use crate::inputs::{Sources, canonical};
use crate::made::Made;
use crate::outputs::check_place;

/// All that is read.
pub fn sources(args: &Args, prompts: &Prompts, frames: &dyn FrameSource) -> Sources {
    let frames = frame_files(frames);
    let files = frames.iter().chain(prompts.masks()).map(PathBuf::as_path);
    // Not all that lies in a folder of frames is one.
    let video = Some(args.frames.as_path()).filter(|video| !video.is_dir());
    Sources::of(files.chain(video).chain([Path::new(&args.model.model)]).chain(args.prompt.files()))
}

/// The files of all frames of a sequence, those outside the range too.
fn frame_files(frames: &dyn FrameSource) -> Vec<PathBuf> {
    let mut all = frames;
    while let Some(within) = all.within() {
        all = within;
    }
    (0..).map_while(|place| all.file(all.number_at(place)?)).collect()
}

/// Refuses what must not be written, before time is spent on what would be in it.
pub fn check(args: &Args, sources: &Sources) -> Result<()> {
    let files = [("--logits", &args.logits), ("--signals", &args.signals), ("--preview", &args.preview)];
    let mut taken: Vec<(&str, PathBuf)> = Vec::new();
    for (flag, place) in files {
        let Some(place) = place else { continue };
        if flag == "--preview" {
            preview::check(place)?;
        }
        let (shown, at) = (place.display(), canonical(place));
        let in_results = args.out.as_ref().and_then(|out| at.strip_prefix(canonical(out)).ok());
        if in_results.is_some_and(|name| is_name_of_a_result(args.format, name)) {
            return Err(usage(format!(
                "\"{shown}\" has the name of a result in --out, and {flag} would take its place; name another file"
            )));
        }
        // The folder of results may be one that is made meanwhile.
        let comes = flag != "--logits" && in_results.is_some_and(|name| name.components().count() == 1);
        if !comes || at.parent().is_some_and(Path::exists) {
            check_place(place, &format!("{flag} takes a file"), sources)?;
        }
        if let Some((other, _)) = taken.iter().find(|(_, other)| *other == at) {
            return Err(usage(format!("\"{shown}\" is for {other} and for {flag}; name two files")));
        }
        Made::here().check(std::slice::from_ref(place), flag, args.overwrite)?;
        taken.push((flag, at));
    }
    Ok(())
}
