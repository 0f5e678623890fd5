//! What was measured as tables for people.

use std::io::{self, Write};

use anyhow::Result;
use samovar::evaluate::{BOUNDARY_REACH, ByPrompt, Evaluation, Figures};

/// A column: its head, and its figure of a row.
type Column = (String, Box<dyn Fn(&Figures) -> f64>);

/// The columns of a kind of figure.
fn columns(clicks: usize, kind: fn(&Figures) -> &ByPrompt) -> Vec<Column> {
    let mut columns: Vec<Column> = vec![
        ("1 click".into(), Box::new(move |figures| kind(figures).one_click)),
        ("best of 3".into(), Box::new(move |figures| kind(figures).best_of_three)),
        ("box".into(), Box::new(move |figures| kind(figures).boxed)),
    ];
    for count in [2, 3, 5, 10, clicks] {
        let head = format!("{count} clicks");
        if count <= clicks && count > 1 && columns.iter().all(|(other, _)| *other != head) {
            columns.push((head, Box::new(move |figures| kind(figures).clicks[count - 1])));
        }
    }
    columns.push(("bare box".into(), Box::new(move |figures| kind(figures).bare_box)));
    columns.push(("flood".into(), Box::new(move |figures| kind(figures).flood_fill)));
    columns
}

/// Clicks it takes.
fn click_columns() -> Vec<Column> {
    vec![
        ("to 0.80".into(), Box::new(|figures| figures.clicks_to.iou_80)),
        ("to 0.90".into(), Box::new(|figures| figures.clicks_to.iou_90)),
    ]
}

/// Prints all of it.
pub fn print(found: &Evaluation, out: &mut impl Write) -> Result<()> {
    if !found.complete {
        writeln!(out, "PARTIAL: stopped before the end; the pictures that were done:\n")?;
    }
    let Evaluation { model, pictures, masks, seconds, .. } = found;
    let sources = found.sources.len();
    let seed = found.seed.map_or_else(String::new, |seed| format!(", drawn with seed {seed}"));
    writeln!(
        out,
        "{model} on {}: {pictures} pictures, {masks} masks, {sources} sources{seed}, {seconds:.0} s\n",
        found.pack.display()
    )?;
    let clicks = found.mean.iou.clicks.len();
    let mut columns_of_iou = columns(clicks, |figures| &figures.iou);
    columns_of_iou.extend(click_columns());
    block("IoU by", &columns_of_iou, found, out)?;
    writeln!(out)?;
    block("boundary F by", &columns(clicks, |figures| &figures.boundary_f), found, out)?;
    writeln!(
        out,
        "\n`best of 3`: of the three masks one click may mean, the best by the truth. `to 0.80`: clicks until that IoU, \
         {clicks} where it is\nnever reached. Boundary F: boundaries within {BOUNDARY_REACH} pixels match. Without a model: `bare box` \
         is the exact box taken as the\nmask, `flood` a flood fill from the first click."
    )?;
    match &found.reference {
        Some(reference) => {
            let count = reference.tools.values().map(|tool| tool.masks).max().unwrap_or(0);
            writeln!(
                out,
                "\nNot measured in this run: OpenCV {} on {count} masks of this pack, one per picture \
                 (dev/peers/grabcut.py):",
                reference.opencv
            )?;
            for (name, tool) in &reference.tools {
                writeln!(out, "  {name:27} {:.3}", tool.mean_over_sources)?;
            }
        }
        None => writeln!(
            out,
            "\nGrabCut was not measured on this pack; `dev/peers/run.py masks` does that, with the same prompts."
        )?,
    }
    if !found.complete {
        writeln!(out, "\nPARTIAL: these are no figures of the whole; run it again to the end.")?;
    }
    Ok(())
}

/// A table of means, a line for each source.
fn block(what: &str, columns: &[Column], found: &Evaluation, out: &mut impl Write) -> Result<()> {
    const MEAN: &str = "mean over sources";
    let width = found.sources.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(MEAN.len());
    write!(out, "{what:width$} {:>6}", "masks")?;
    columns.iter().try_for_each(|(head, _)| write!(out, " {head:>9}"))?;
    writeln!(out)?;
    let mut row = |name: &str, masks: usize, figures: &Figures| -> io::Result<()> {
        write!(out, "{name:width$} {masks:>6}")?;
        for (head, figure) in columns {
            let digits = if head.starts_with("to ") { 2 } else { 3 };
            write!(out, " {:>9.digits$}", figure(figures))?;
        }
        writeln!(out)
    };
    for (name, source) in &found.sources {
        row(name, source.masks, &source.figures)?;
    }
    Ok(row(MEAN, found.masks, &found.mean)?)
}
