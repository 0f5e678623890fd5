//! Places that `track` writes to: nothing there takes the place of what it reads, of what it has not made, or of another of its files.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use samovar::media::ImageFormat;
use serde_json::json;

use super::args::Args;
use super::output::is_name_of_a_result;
use super::preview;
use super::prompts::Prompts;
use crate::failure::usage;
use crate::frames;
use crate::inputs::{Sources, canonical};
use crate::made::Made;
use crate::outputs::check_place;
use crate::result_folder::{JOB_FILE, JobFile};
use crate::results::ending_of;

/// All that is read.
pub fn sources(args: &Args, prompts: &Prompts) -> Sources {
    // Not all that lies beside frames is one.
    let is_picture = |file: &PathBuf| ImageFormat::EXTENSIONS.contains(&&*ending_of(file));
    let video = args.frames.is_file().then(|| args.frames.clone());
    let frames: Vec<PathBuf> =
        frames::files(&args.frames).into_iter().filter(is_picture).chain(video).collect();
    let files = frames.iter().chain(prompts.masks()).map(PathBuf::as_path);
    let log = args.cache.log.as_deref();
    Sources::of(files.chain([Path::new(&args.model.model)]).chain(log).chain(args.prompt.files()))
}

/// Refuses what must not be written, before time is spent on what would be in it.
pub fn check(args: &Args, sources: &Sources) -> Result<()> {
    if let Some(out) = &args.out {
        check_folder(args, out, sources)?;
    }
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

/// What makes the results.
fn job(args: &Args) -> JobFile {
    let frames = std::fs::canonicalize(&args.frames).unwrap_or_else(|_| args.frames.clone());
    let parameters = json!({
        "format": args.format.to_possible_value().map(|value| value.get_name().to_owned()),
        "frames": frames.to_string_lossy(), "model": args.model.model,
    });
    JobFile::new("track", parameters)
}

/// Refuses folders of frames, and of results of others.
fn check_folder(args: &Args, out: &Path, sources: &Sources) -> Result<()> {
    let shown = out.display();
    if out.exists() && !out.is_dir() {
        return Err(usage(format!("\"{shown}\" is a file; --out takes a folder here")));
    }
    let is_inside = |folder: &Path| {
        let whole = |path: &Path| std::fs::canonicalize(path).ok();
        whole(folder).is_some() && whole(folder) == whole(out)
    };
    if is_inside(&args.frames) || args.frames.parent().is_some_and(is_inside) {
        return Err(usage(format!("\"{shown}\" holds the frames; choose another folder")));
    }
    sources.check_folder(out)?;
    if args.overwrite || !out.exists() {
        return Ok(());
    }
    let Ok(before) = std::fs::read(out.join(JOB_FILE)) else {
        // Records alone are of a run that found no room for the rest.
        let is_record = |name: &str| name.starts_with(".samovar") || name.ends_with(".samovar-tmp");
        let mut entries = std::fs::read_dir(out)?.flatten();
        return match entries.all(|entry| entry.file_name().to_str().is_some_and(is_record)) {
            true => Ok(()),
            false => Err(usage(format!(
                "\"{shown}\" holds other files, and none of samovar's jobs; choose another folder, or --overwrite"
            ))),
        };
    };
    let (before, now) = (JobFile::of(out, &before)?, job(args));
    if before == now {
        return Ok(());
    }
    let difference = match now.difference_to(&before) {
        none if none.is_empty() => " (of another version of samovar)".to_owned(),
        difference => difference,
    };
    Err(usage(format!(
        "\"{shown}\" holds results of other frames, another model, command or format{difference}; choose another folder, or --overwrite"
    )))
}

/// Says in the folder of results what makes them.
pub fn write_job(args: &Args, out: &Path) -> Result<()> {
    Ok(samovar::media::write::write_json(&out.join(JOB_FILE), &job(args))?)
}
