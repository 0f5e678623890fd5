//! `samovar eval --masks`: masks of videos.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Result;
use samovar::DecodeLimits;
use samovar::evaluate::video::{VideoEvaluation, VideoFigures, VideoProgress, evaluate_video};

use crate::commands::segment::print;
use crate::say::one_line;
use crate::{interrupt, progress};

pub fn run(masks: &Path, truth: &Path, all_frames: bool, json: bool) -> Result<()> {
    interrupt::catch_saying("stopping; the sequences that were done are shown");
    let mut bar = progress::spinner("reading the true masks");
    let mut is_bar = false;
    let mut watch = |progress: VideoProgress| {
        if progress.of_frames > 0 && !is_bar {
            let bar_of_frames = progress::items(progress.of_frames as u64, "frames");
            std::mem::replace(&mut bar, bar_of_frames).finish_and_clear();
            is_bar = true;
        }
        bar.set_position(progress.frames as u64);
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let found = evaluate_video(masks, truth, all_frames, &DecodeLimits::default(), &mut watch);
    bar.finish_and_clear();
    let found = found?;
    if json {
        print(&serde_json::to_value(&found)?)?;
    } else {
        table(&found, &mut io::stdout().lock())?;
    }
    // Whoever reads the exit code alone must not take a part for the whole.
    if found.complete { Ok(()) } else { Err(samovar::Error::Stopped.into()) }
}

fn table(found: &VideoEvaluation, out: &mut impl Write) -> io::Result<()> {
    const MEAN: &str = "mean over objects";
    if !found.complete {
        writeln!(out, "PARTIAL: stopped before the end; the sequences that were done:\n")?;
    }
    let left_out =
        if found.all_frames { "all frames" } else { "without an object's first and the last frame" };
    let (masks, truth) = (found.masks.display(), found.truth.display());
    let (sequences, objects) = (found.sequences.len(), found.objects);
    writeln!(out, "{masks} against {truth}: {sequences} sequences, {objects} objects, {left_out}\n")?;
    let names = found.sequences.iter().flat_map(|(name, sequence)| {
        sequence.objects.iter().map(move |(object, figures)| (format!("{name}/{object}"), figures))
    });
    let rows: Vec<_> = names.collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(MEAN.len());
    let heads = ["frames", "J&F", "J", "recall", "decay", "F", "recall", "decay"];
    write!(out, "{:width$}", "sequence/object")?;
    heads.iter().try_for_each(|head| write!(out, " {head:>7}"))?;
    writeln!(out)?;
    let mut row = |name: &str, frames: usize, figures: &VideoFigures| {
        let VideoFigures { j_and_f, j, f } = figures;
        write!(out, "{name:width$} {frames:>7}")?;
        for figure in [*j_and_f, j.mean, j.recall, j.decay, f.mean, f.recall, f.decay] {
            write!(out, " {figure:>7.3}")?;
        }
        writeln!(out)
    };
    for (name, object) in &rows {
        row(name, object.frames, &object.figures)?;
    }
    row(MEAN, rows.iter().map(|(_, object)| object.frames).sum(), &found.mean)?;
    if !found.not_measured.is_empty() {
        let names = one_line(&found.not_measured.join(", "));
        writeln!(out, "\nNot measured, as no frame of them counts: {names}")?;
    }
    if !found.complete {
        writeln!(out, "\nPARTIAL: these are no figures of the whole; run it again to the end.")?;
    }
    Ok(())
}
