//! `samovar job`: how far the work in a folder of results is.

use std::fmt::Write as _;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use indicatif::HumanDuration;
use serde_json::{Value, json};

use super::segment::print;
use crate::contents::Contents;
use crate::failure::usage;
use crate::outputs::write_stdout;
use crate::record::{self, Failed, Run, Said};
use crate::result_folder::{JOB_FILE, JobFile};
use crate::say::one_line;

/// Show how far the work in a folder of results is, also while it runs
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// What is done, what failed and why, and how long the rest will take
    Status {
        /// A folder that `segment` or `everything` writes to
        folder: PathBuf,
        /// Print one JSON document on stdout, with all failures
        #[arg(long)]
        json: bool,
    },
}

const EXAMPLES: &str = "\
Examples:
  samovar job status masks/
  watch -n 5 samovar job status masks/
  samovar job status masks/ --json | jq -r '.failed[].image'

It reads the journal of the folder and disturbs no run. Images that failed are tried again with --retry-failed, or by themselves once \
they have changed.";

/// Failures that people are told of.
const TOLD: usize = 20;

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let Action::Status { folder, json } = &args.action;
    let status = Status::of(folder)?;
    if *json { print(&status.document()) } else { write_stdout(status.words().as_bytes()) }
}

/// How far a job is.
struct Status<'a> {
    folder: &'a Path,
    job: JobFile,
    is_at_work: bool,
    said: Said,
    /// All images, as the last runs counted them; `None` before any has begun.
    images: Option<usize>,
    /// Of the runs that are at work, or were last.
    rate: Option<f64>,
}

impl<'a> Status<'a> {
    fn of(folder: &'a Path) -> Result<Self> {
        let path = folder.join(JOB_FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if [NotFound, NotADirectory].contains(&error.kind()) => {
                let shown = folder.display();
                return Err(usage(format!(
                    "\"{shown}\" is no folder of results: there is no {JOB_FILE} in it; `segment` and `everything` make one \
                     where --out is a folder"
                )));
            }
            Err(error) => return Err(error).with_context(|| format!("\"{}\"", path.display())),
        };
        let job = JobFile::of(folder, &bytes)?;
        if job.command == "track" {
            return Err(usage(format!(
                "\"{}\" is a folder of `track`, which has a record of its own; the same command of `track` goes on there, and tells what is \
                 known and what is new",
                folder.display()
            )));
        }
        // Before the journals are read: a run that ends meanwhile is not missed.
        let is_at_work = record::is_at_work(folder);
        let said = record::read(folder, &Contents::default())?;
        let images = images_of(said.runs());
        let rate = rate_of(said.runs(), is_at_work);
        Ok(Self { folder, job, is_at_work, said, images, rate })
    }

    /// Images that are done as the last runs want them: others of this folder may be there no more, or are to be done anew.
    fn done(&self) -> usize {
        let done = latest(self.said.runs()).map(|run| run.begin.done + run.done).sum::<usize>();
        done.min(self.images.unwrap_or(done))
    }

    fn left(&self) -> Option<usize> {
        Some(self.images?.saturating_sub(self.done() + self.said.failed().len()))
    }

    fn time_left(&self) -> Option<Duration> {
        let rate = self.rate.filter(|&rate| rate > 0.0 && self.is_at_work)?;
        Duration::try_from_secs_f64(self.left()? as f64 / rate).ok()
    }

    fn failed(&self) -> Vec<&Failed> {
        let mut failed: Vec<&Failed> = self.said.failed().values().collect();
        failed.sort_by(|a, b| a.image.cmp(&b.image));
        failed
    }

    fn document(&self) -> Value {
        let failed = self.failed().into_iter();
        let failed: Vec<Value> = failed
            .map(|failed| json!({ "image": failed.image.display().to_string(), "error": failed.error }))
            .collect();
        json!({
            "folder": self.folder.display().to_string(), "command": self.job.command, "parameters": self.job.parameters,
            "at_work": self.is_at_work, "images": self.images, "done": self.done(), "left": self.left(),
            "failed": failed, "images_per_second": self.rate,
            "seconds_left": self.time_left().map(|left| left.as_secs_f64()),
            "damaged_lines": self.said.new_damaged_lines(),
        })
    }

    fn words(&self) -> String {
        let model = self.job.parameters["model"].as_str().unwrap_or("?");
        let at_work = if self.is_at_work { "at work" } else { "nobody is at work" };
        let mut words = format!(
            "{}: {} with {}, {at_work}\n",
            one_line(&self.folder.display().to_string()),
            one_line(&self.job.command),
            one_line(model)
        );
        let (done, failed) = (self.done(), self.failed());
        let of = self.images.map_or_else(String::new, |images| format!(" of {images}"));
        let share = self.images.filter(|&images| images > 0);
        let share = share
            .map_or_else(String::new, |images| format!(" ({:.1} %)", 100.0 * done as f64 / images as f64));
        let left = self.left().map_or_else(String::new, |left| format!(", {left} left"));
        let _ = writeln!(words, "{done}{of} images done{share}, {} failed{left}", failed.len());
        if let Some(rate) = self.rate {
            let left =
                self.time_left().map_or_else(String::new, |left| format!(", {} left", HumanDuration(left)));
            let _ = writeln!(words, "{rate:.2} images a second{left}");
        }
        let parts: Vec<String> = latest(self.said.runs())
            .filter_map(|run| run.begin.shard)
            .map(|shard| shard.to_string())
            .collect();
        if !parts.is_empty() {
            let _ = writeln!(words, "of parts {}", parts.join(", "));
        }
        let _ = match self.said.new_damaged_lines() {
            0 => Ok(()),
            1 => writeln!(words, "1 line of the record is damaged; the next run finds out anew what it said"),
            lines => {
                writeln!(
                    words,
                    "{lines} lines of the record are damaged; the next run finds out anew what they said"
                )
            }
        };
        for failed in failed.iter().take(TOLD) {
            let image = one_line(&failed.image.display().to_string());
            let error = one_line(&failed.error);
            let _ = match error.contains(&image) {
                true => writeln!(words, "failed: {error}"),
                false => writeln!(words, "failed: \"{image}\": {error}"),
            };
        }
        if failed.len() > TOLD {
            let _ = writeln!(words, "and {} more, which --json tells", failed.len() - TOLD);
        }
        words
    }
}

/// The last run on all images, or the last runs on each part of them.
fn latest(runs: &[Run]) -> impl Iterator<Item = &Run> {
    let last = runs.iter().max_by(|a, b| a.begin.at.total_cmp(&b.begin.at));
    let parts = last.map(|run| run.begin.shard.map(|shard| shard.of));
    runs.iter().filter(move |run| Some(run.begin.shard.map(|shard| shard.of)) == parts)
}

/// All images: of the last run on all of them, or of the last runs on each part together.
fn images_of(runs: &[Run]) -> Option<usize> {
    let mut latest = latest(runs).peekable();
    latest.peek()?;
    Some(latest.map(|run| run.begin.images).sum())
}

/// Images a second of the last run, or of the last runs on all parts.
fn rate_of(runs: &[Run], is_at_work: bool) -> Option<f64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    let rates = latest(runs).filter(|run| run.done > 0).map(|run| {
        let end = if is_at_work { now } else { run.last_written };
        run.done as f64 / (end - run.begin.at).max(1e-3)
    });
    let rates: Vec<f64> = rates.collect();
    (!rates.is_empty()).then(|| rates.iter().sum())
}
