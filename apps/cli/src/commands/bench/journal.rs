//! `bench journal`: what the record of a folder of results costs per image, and how long it takes to read again.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use samovar::memory::{bytes, peak_resident_bytes};
use samovar::resources::contents::Key;
use serde_json::json;

use crate::commands::segment::print;
use crate::contents::Contents;
use crate::record::{self, Record};
use crate::{interrupt, progress};

/// Images whose notes are made durable together, as in a folder of small results.
const GROUP: usize = 256;

/// What is noted of a job of many images
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Images of the job
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    items: u32,
    /// Folder to write in, on the disk that is to be measured [default: that of temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the table.
pub fn run(args: &Args) -> Result<()> {
    let parent = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    interrupt::catch_all();
    let folder = interrupt::Folder::new_in(&parent)?;
    let Measured { write_s, journal_bytes, read_s } = measure(args, folder.path())?;
    drop(folder);
    let items = f64::from(args.items);
    if args.json {
        return print(&json!({
            "items": args.items, "seconds_per_item": write_s / items, "journal_bytes": journal_bytes, "resume_s": read_s,
            "peak_rss_bytes": peak_resident_bytes(),
        }));
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} images, each with one result; {GROUP} of them are made durable together", args.items)?;
    writeln!(out, "{:18} {:.1} us", "noted, per image", 1e6 * write_s / items)?;
    writeln!(out, "{:18} {:.2} s, of {}", "read again", read_s, bytes(usize::try_from(journal_bytes)?))?;
    writeln!(out, "{:18} {}", "peak memory", bytes(peak_resident_bytes()))?;
    Ok(())
}

struct Measured {
    write_s: f64,
    journal_bytes: u64,
    read_s: f64,
}

fn measure(args: &Args, folder: &std::path::Path) -> Result<Measured> {
    let items = args.items as usize;
    let bar = progress::items(u64::from(args.items), "images");
    let mut record = Record::open(folder, None, &Contents::default())?;
    record.begin(items, 0, Vec::new())?;
    let began = Instant::now();
    for first in (0..items).step_by(GROUP) {
        interrupt::check()?;
        let group = first..items.min(first + GROUP);
        let name = |number: usize| format!("photographs/{number:07}");
        for number in group.clone() {
            let key = Key::of_content(&number.to_le_bytes());
            record.announce(vec![(format!("{}.png", name(number)), key)], Some((name(number), key)))?;
        }
        record.sync()?;
        for number in group.clone() {
            let image = format!("/data/of/somebody/photographs/{number:07}.jpg").into();
            record.is_done(&name(number), &[format!("{}.png", name(number))], image, 40)?;
        }
        bar.inc(group.len() as u64);
    }
    record.sync()?;
    let write_s = began.elapsed().as_secs_f64();
    interrupt::check()?;
    bar.finish_and_clear();
    drop(record);
    let journal_bytes = std::fs::metadata(folder.join(record::RECORD_FILE))?.len();
    let began = Instant::now();
    let record = Record::open(folder, None, &Contents::default())?;
    let read_s = began.elapsed().as_secs_f64();
    let last = format!("photographs/{:07}", items - 1);
    record.done(&last).context("what was noted is not there")?;
    Ok(Measured { write_s, journal_bytes, read_s })
}
