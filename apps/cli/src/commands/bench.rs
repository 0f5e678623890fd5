//! `samovar bench`: tables of what work takes on this machine, with optimisations and without, and beside another samovar.

mod again;
mod args;
mod batch;
mod column;
mod compare;
mod document;
mod folder;
mod journal;
mod load;
mod photographs;
mod pressure;
mod single;
mod table;
mod track;
mod worker;

use std::time::Instant;

use anyhow::Result;
use clap::Subcommand;

use args::TableArgs;

/// Measure how long work takes on this machine: single operations, and tables with optimisations off and on
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// From normalised pixels to an encoded image
    Encode(single::Args),
    /// From one click to three masks of low-resolution logits, on an encoded image
    Decode(single::Args),
    /// From a decoded frame to the masks of objects that are followed and long known, with the time of each part of the model
    Track(track::Args),
    /// The document's table: load, single image, batch of 10, peak memory; the same image again; frames that repeat
    Document(document::Args),
    /// Images and prompts at once: latency against throughput, and where batching does not pay
    Batch(TableArgs),
    /// Latencies (P50, P95, P99) while several threads prompt one held engine
    Load(load::Args),
    /// Runs under memory limits drawn between the plan's least and the default peak; counts failures
    Pressure(pressure::Args),
    /// `samovar segment` twice on one picture, a process each: with an empty cache, and again
    Segment(TableArgs),
    /// A folder of 12-megapixel photographs from start to end: wall time against processor time
    Folder(folder::Args),
    /// What the record of a folder of results costs per image, and how long it takes to read again
    Journal(journal::Args),
    /// Compare two saved runs, with their noise
    Compare(compare::Args),
    /// Pictures for the tables
    #[command(hide = true)]
    Photographs(photographs::Args),
    /// What the tables start in processes of their own
    #[command(hide = true)]
    Worker(worker::Args),
}

const EXAMPLES: &str = "\
Examples:
  samovar bench encode --model facebook/sam-vit-base --threads 2 --repeat 5 --json
  samovar bench track --model sam2.1_hiera_tiny.pt --objects 5
  samovar bench document --baseline ./samovar-before --save today.json
  samovar bench folder --images 1000
  samovar bench pressure --runs 100
  samovar bench compare before.json today.json

In the tables \"off\" is `--no-optimizations`, \"on\" the defaults, and a baseline's column the same work by the other binary. Runs of \
all columns take turns, so that what else the machine does meets them alike; every run is a process of its own, whose peak memory \
is reported. The claims are those of the documents that ask for the table, on their machines.

encode, decode and track: load time runs from the start of the process until the model is ready. Peak memory is that of the whole process.";

/// Runs the command.
pub fn run(args: &Args, process_start: Instant) -> Result<()> {
    match &args.what {
        What::Encode(args) => single::run(args, single::What::Encode, process_start),
        What::Decode(args) => single::run(args, single::What::Decode, process_start),
        What::Track(args) => track::run(args, process_start),
        What::Document(args) => document::run(args),
        What::Batch(args) => batch::run(args),
        What::Load(args) => load::run(args),
        What::Pressure(args) => pressure::run(args),
        What::Segment(args) => again::run(args),
        What::Folder(args) => folder::run(args),
        What::Journal(args) => journal::run(args),
        What::Compare(args) => compare::run(args),
        What::Photographs(args) => photographs::run(args),
        What::Worker(args) => worker::run(args),
    }
}
