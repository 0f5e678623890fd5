//! `samovar bench pressure`: runs under memory limits, none of which may fail (row A8, "OOM crashes of 100 runs").

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use samovar::memory::bytes;

use super::args::TableArgs;
use super::column::{Expected, Kind, Place};
use super::table::{Row, Table, Unit};
use crate::failure::usage;

/// The table, and how many runs.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    table: TableArgs,
    /// Runs, each under a limit of its own [default: 100, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: Option<u32>,
}

/// Pictures of a run.
const PICTURES: usize = 3;

/// Their size.
const SIZE: (u32, u32) = (1280, 960);

/// What is asked of each: boxes all over it.
const BOXES: usize = 8;

/// Numbers that are the same in every run: Marsaglia's xorshift.
struct Draws(u64);

impl Draws {
    /// In 0..1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if args.table.model.engine.memory.is_some() {
        return Err(usage("--memory is what this bench draws; leave it out"));
    }
    let place = Place::new(&args.table)?;
    let runs = args.runs.unwrap_or(if args.table.quick { 3 } else { 100 });
    place.photograph("pictures", SIZE, PICTURES, &["--different", "3"])?;
    let boxes: Vec<String> = (0..BOXES as u32)
        .map(|number| {
            let (x, y) = (number % 4 * SIZE.0 / 4, number / 4 * SIZE.1 / 2);
            format!("{x},{y},{},{}", x + SIZE.0 / 4, y + SIZE.1 / 2)
        })
        .collect();
    let mut arguments = vec!["segment", "pictures", "--format", "coco", "--out", "out"];
    boxes.iter().for_each(|bounds| arguments.extend(["--box", bounds]));

    place.say("what the plan says");
    let plan = ["plan", "pictures/00000.jpg", "--json"];
    let plan = place.done(Kind::On, &plan, "cache", Expected::Document)?.document;
    let least = plan["picture"]["peak_bytes"]["masks"].as_f64();
    let least = least.ok_or_else(|| anyhow!("the plan tells no peak of a picture"))?;
    let mut whole: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    let mut most = least;
    for kind in place.kinds() {
        place.clear("out")?;
        place.say("runs without a limit");
        let run = place.done(kind, &arguments, "cache", Expected::Folder("out", PICTURES))?;
        if kind == Kind::On {
            most = run.peak_bytes.max(1.05 * least);
        }
        let found = results(&place);
        if found.iter().any(|found| masks(found).is_none_or(|masks| masks.len() != BOXES)) {
            return Err(anyhow!(
                "{}: without a limit there are not {BOXES} masks of each picture",
                kind.name()
            ));
        }
        whole.insert(kind.name(), found);
    }

    let mut failed = Row::new(format!("failures of {runs} runs"), Unit::Count).claiming("12, then 0");
    let mut lost = Row::new(format!("results lost or changed, of {}", runs as usize * PICTURES), Unit::Count);
    let mut wall = Row::new("a run", Unit::Seconds);
    let mut peak = Row::new("a run, peak memory", Unit::Bytes);
    let mut counts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let mut notes = vec![format!(
        "{PICTURES} pictures of {}x{} with {BOXES} boxes each; limits from {} (what `samovar plan` says) to {} (the peak of a run \
         without a limit)",
        SIZE.0,
        SIZE.1,
        bytes(least as usize),
        bytes(most as usize)
    )];
    let mut draws = Draws(0x9E37_79B9_7F4A_7C15);
    for run_number in 1..=runs {
        let limit = (least + (most - least) * draws.next()).ceil() as u64;
        for kind in place.kinds() {
            place.say(&format!("run {run_number} of {runs}: {}", kind.name()));
            place.clear("out")?;
            let limit = limit.to_string();
            let run = place.run(kind, &[&arguments[..], &["--memory", &limit]].concat(), "cache")?;
            let (failures, losses) = counts.entry(kind.name()).or_default();
            let missing = missing(&whole[kind.name()], &results(&place));
            *losses += missing as f64;
            wall.add(kind, run.wall_s);
            peak.add(kind, run.peak_bytes);
            if let Some(failure) = run.failure {
                *failures += 1.0;
                if *failures == 1.0 {
                    notes.push(format!("with {}: {failure}", bytes(limit.parse().unwrap_or(0))));
                }
            }
        }
    }
    for kind in place.kinds() {
        let (failures, losses) = counts.get(kind.name()).copied().unwrap_or_default();
        failed.add(kind, failures);
        lost.add(kind, losses);
    }
    let table = Table::new("pressure", &args.table, vec![failed, lost, wall, peak], notes)?;
    drop(place);
    table.finish(&args.table)
}

/// What a run wrote, picture by picture; empty where there is nothing.
fn results(place: &Place) -> Vec<Vec<u8>> {
    let result =
        |number: usize| std::fs::read(place.path(&format!("out/{number:05}.json"))).unwrap_or_default();
    (0..PICTURES).map(result).collect()
}

/// How many results are not as they are without a limit. Scores may differ in their last digits, as the sizes of batches do.
fn missing(whole: &[Vec<u8>], found: &[Vec<u8>]) -> usize {
    whole
        .iter()
        .zip(found)
        .filter(|(whole, found)| masks(found).is_none() || masks(whole) != masks(found))
        .count()
}

fn masks(bytes: &[u8]) -> Option<Vec<serde_json::Value>> {
    let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    Some(document["annotations"].as_array()?.iter().map(|one| one["segmentation"].clone()).collect())
}
