//! `samovar bench document`: the tables of document 000 on this machine (row A8).

use anyhow::{Result, anyhow};
use serde_json::Value;

use super::args::TableArgs;
use super::column::{Expected, Kind, Place};
use super::photographs::FULL_HD;
use super::table::{Row, Table, Unit};

/// The table, and how long it may be.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    table: TableArgs,
    /// Frames of the row in which four of five repeat [default: 100, with --quick 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(5..=100_000))]
    frames: Option<u32>,
}

/// Of five frames, how many show something new.
const NEW_OF_FIVE: usize = 1;

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let place = Place::new(&args.table)?;
    let size = if args.table.quick { (320, 240) } else { FULL_HD };
    let frames = args.frames.unwrap_or(if args.table.quick { 5 } else { 100 }) as usize;
    place.photograph("one.jpg", size, 0, &[])?;
    place.photograph("ten", size, 10, &["--different", "10"])?;
    let new = (frames * NEW_OF_FIVE / 5).to_string();
    place.photograph("frames", size, frames, &["--different", &new, "--repeats"])?;

    // One picture all the time: what is followed stays where it is.
    place.photograph("shot", size, frames, &["--different", "1", "--repeats"])?;

    let seconds = |what: &str| Row::new(what, Unit::Seconds);
    let mut video = seconds(&format!("video of {frames} frames, process")).claiming("1.98x");
    let mut video_again = seconds("  ... again, all of it known");
    let mut load = seconds("load the model").claiming("1.03x");
    let mut single = seconds("one image, process").claiming("1.14x");
    let mut ten = seconds("10 images, process").claiming("2.02x");
    let mut memory = Row::new("10 images, peak memory", Unit::Bytes).claiming("-33 %");
    let mut repeats = seconds(&format!("{frames} frames, 4 of 5 repeat")).claiming("3.8x");
    let mut ram = seconds("same image again, memory").claiming("16x");
    let mut disk = seconds("same image again, disk").claiming("16x");
    let mut ram_encoding = seconds("  ... its encoding, memory");
    let mut disk_encoding = seconds("  ... its encoding, disk");
    let mut clean_up = seconds("clean-up").claiming("0.5 s");
    let point = format!("{},{}", size.0 / 2, size.1 / 2);
    let bounds = format!("{},{},{},{}", size.0 / 4, size.1 / 4, size.0 * 3 / 4, size.1 * 3 / 4);
    let mut is_kept_on_disk = true;
    for repeat in 1..=place.repeat {
        for kind in place.kinds() {
            let say =
                |what: &str| place.say(&format!("run {repeat} of {}: {}, {what}", place.repeat, kind.name()));
            let fresh = || -> Result<()> {
                ["cache", "out", "one.png", "video"].iter().try_for_each(|name| place.clear(name))
            };
            say("load");
            let encode = ["bench", "encode", "--repeat", "1", "--json"];
            let run = place.done(kind, &encode, "cache", Expected::Document)?;
            load.add(kind, number(&run.document, "load_s")?);
            fresh()?;
            say("one image");
            let one = ["segment", "one.jpg", "--point", &point, "--out", "one.png"];
            let run = place.done(kind, &one, "cache", Expected::File("one.png"))?;
            single.add(kind, run.wall_s);
            fresh()?;
            say("10 images");
            let folder = ["--point", &point, "--format", "png", "--out", "out"];
            let folder_of = |name: &'static str| [&["segment", name], &folder[..]].concat();
            let run = place.done(kind, &folder_of("ten"), "cache", Expected::Folder("out", 10))?;
            ten.add(kind, run.wall_s);
            memory.add(kind, run.peak_bytes);
            fresh()?;
            say("frames");
            let cache: &[&str] = if kind == Kind::On { &["--cache", "on"] } else { &[] };
            let arguments = [&folder_of("frames")[..], cache].concat();
            let run = place.done(kind, &arguments, "cache", Expected::Folder("out", frames))?;
            repeats.add(kind, run.wall_s);
            fresh()?;
            for (row, what) in [(&mut video, "video"), (&mut video_again, "video again")] {
                say(what);
                let track = ["track", "shot", "--box", &bounds, "--direction", "forward", "--out", "video"];
                match place.done_if_known(kind, &track, "cache", Expected::Folder("video", frames))? {
                    Some(run) => row.add(kind, run.wall_s),
                    None => row.cannot(kind, NO_COMMAND),
                }
            }
            fresh()?;
            say("the same image again");
            let again = ["bench", "worker", "again", "--picture", "one.jpg"];
            let run = place.done_if_known(kind, &again, "cache", Expected::Document)?;
            let keeps = kind != Kind::Off;
            // Without a cache "again" is the first time once more.
            for (row, key) in [
                (&mut ram, if keeps { "memory_s" } else { "cold_s" }),
                (&mut disk, if keeps { "disk_s" } else { "cold_s" }),
                (&mut ram_encoding, if keeps { "memory_encoding_s" } else { "cold_encoding_s" }),
                (&mut disk_encoding, if keeps { "disk_encoding_s" } else { "cold_encoding_s" }),
                (&mut clean_up, "clean_up_s"),
            ] {
                match &run {
                    Some(run) => row.add(kind, number(&run.document, key)?),
                    None => row.cannot(kind, NO_COMMAND),
                }
            }
            is_kept_on_disk &=
                kind != Kind::On || run.is_some_and(|run| run.document["is_kept_on_disk"] == true);
            fresh()?;
        }
    }
    let mut notes = vec!["failures under memory limits: samovar bench pressure".into()];
    if !is_kept_on_disk {
        notes.push(
            "encoding is too quick for the disk to gain: this model's features are kept in memory alone"
                .into(),
        );
    }
    let rows = vec![
        load,
        single,
        ten,
        memory,
        ram,
        ram_encoding,
        disk,
        disk_encoding,
        repeats,
        video,
        video_again,
        clean_up,
    ];
    let table = Table::new("document", &args.table, rows, notes)?;
    drop(place);
    table.finish(&args.table)
}

/// What stands in a column whose program does not know what it is asked for.
pub const NO_COMMAND: &str = "no such command";

/// A number of a run's document.
///
/// # Errors
/// When it is not there.
pub fn number(document: &Value, key: &str) -> Result<f64> {
    document[key]
        .as_f64()
        .ok_or_else(|| anyhow!("a run's document tells no number called {key}: is it a samovar's?"))
}
