//! `samovar models`: what is known, what is here, and fetching the rest.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use samovar::hub::Hub;
use samovar::memory::bytes;
use samovar::source::{FILES, OPTIONAL_FILES, REVISION, is_embedded, is_here, split_revision};
use samovar::{CATALOGUE, CatalogueEntry};
use serde_json::{Value, json};

use super::segment::print;
use crate::failure::usage;
use crate::{environment, interrupt, progress};

/// List the models samovar knows, and fetch them
#[derive(clap::Args, Debug)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", environment::hub_help()))]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print one JSON document on stdout
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// List the models samovar knows and which are on this machine
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Fetch a model's files from the Hugging Face hub; goes on where an earlier fetch stopped
    #[command(after_help = PULL_EXAMPLES)]
    Pull {
        /// An id of the list, or any other hub repository with config.json and model.safetensors; as MODEL@REVISION, or
        /// with --revision
        model: String,
        /// Branch, tag or commit [default: main]
        #[arg(long)]
        revision: Option<String>,
    },
}

const LIST_EXAMPLES: &str = "\
Examples:
  samovar models list
  samovar models list --json | jq -r '.models[] | select(.state == \"here\") | .id'

Under `state`, \"embedded\" is in the program, \"here\" in the cache, \"to fetch\" comes with `samovar models pull`, and \"by \
file\" is a file of the authors to be named as --model.";

const PULL_EXAMPLES: &str = "\
Examples:
  samovar models pull facebook/sam-vit-base
  samovar models pull owner/name --revision v2      then: --model owner/name@v2

Ctrl-C stops; what was fetched is kept, and the next pull goes on from there.";

/// Silence of a server after which the wait is told.
const PATIENCE: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  samovar models
  samovar models pull facebook/sam-vit-base

Files go to the cache that Hugging Face's own tools use. Every file is checked against the hub's checksum.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    match &args.action {
        None | Some(Action::List) => list(args.json),
        Some(Action::Pull { model, revision }) => pull(model, revision.as_deref(), args.json),
    }
}

fn state(entry: &CatalogueEntry) -> &'static str {
    match (is_embedded(entry), is_here(entry, &environment::hub_cache())) {
        (true, _) => "embedded",
        (false, true) => "here",
        (false, false) if entry.files.is_empty() => "by file",
        (false, false) => "to fetch",
    }
}

fn list(as_json: bool) -> Result<()> {
    if as_json {
        let models: Vec<Value> = CATALOGUE
            .iter()
            .map(|entry| {
                json!({
                    "id": entry.id, "aliases": entry.aliases, "family": entry.family.to_string(),
                    "title": entry.title, "licence": entry.licence, "source": entry.source,
                    "original_files": entry.original_files, "parameters": entry.parameters,
                    "download_bytes": entry.download_bytes, "state": state(entry),
                })
            })
            .collect();
        return print(&json!({ "models": models }));
    }
    let mut out = std::io::stdout().lock();
    let width = CATALOGUE.iter().map(|entry| entry.id.len()).max().unwrap_or(0);
    writeln!(
        out,
        "{:width$} {:9} {:>10} {:>10}  {:11} what",
        "model", "state", "parameters", "download", "licence"
    )?;
    for entry in CATALOGUE {
        let parameters = format!("{:.1} M", entry.parameters as f64 / 1e6);
        let download = match entry.download_bytes {
            0 => "-".to_owned(),
            count => bytes(count as usize).to_string(),
        };
        writeln!(
            out,
            "{:width$} {:9} {parameters:>10} {download:>10}  {:11} {}",
            entry.id,
            state(entry),
            entry.licence,
            entry.title
        )?;
    }
    writeln!(
        out,
        "\n\"to fetch\": samovar models pull MODEL. \"by file\": get {} from its authors, then --model FILE.\n\
         Folders and files of other models of these families work as well: --model DIR|FILE.",
        CATALOGUE
            .iter()
            .filter(|entry| state(entry) == "by file")
            .flat_map(|entry| entry.original_files)
            .copied()
            .collect::<Vec<_>>()
            .join(", ")
    )?;
    Ok(())
}

fn pull(model: &str, revision: Option<&str>, as_json: bool) -> Result<()> {
    let (model, of_name) = split_revision(model);
    if of_name.is_some() && revision.is_some() {
        return Err(usage("two revisions; give it as MODEL@REVISION or as --revision, not both"));
    }
    let asked = revision.or(of_name);
    let revision = asked.unwrap_or(REVISION);
    let entry = CatalogueEntry::find(model);
    let (repository, files): (&str, &[&str]) = match entry {
        Some(entry) if is_embedded(entry) => {
            say!("`{}` is part of the program; nothing to fetch", entry.id);
            return if as_json { print(&json!({ "model": entry.id, "path": null })) } else { Ok(()) };
        }
        Some(entry) if entry.files.is_empty() => {
            return Err(usage(format!(
                "`{}` is in no hub repository; get {} from {} and give that file as --model",
                entry.id,
                entry.original_files.join(" or "),
                entry.source
            )));
        }
        Some(entry) => (entry.id, entry.files),
        None if model.split('/').filter(|part| !part.is_empty()).count() == 2 => (model, FILES),
        None => {
            return Err(usage(format!(
                "no model is called `{model}`; see `samovar models`, or name a hub repository as owner/name"
            )));
        }
    };
    interrupt::catch_saying("stopping; what was fetched is kept");
    let bar = progress::of_bytes();
    let (mut moved, mut last, mut told) = (Instant::now(), None, false);
    let hub = Hub::new(environment::hub_options());
    let folder = hub.pull_with_optional(repository, revision, files, OPTIONAL_FILES, &mut |progress| {
        let now = Some((progress.file.to_owned(), progress.all_done_bytes));
        if last != now {
            (moved, last, told) = (Instant::now(), now, false);
        }
        if moved.elapsed() > PATIENCE && !told {
            told = true;
            bar.suspend(|| say!("{repository} {}: waiting for the server", progress.file));
        }
        bar.set_length(progress.all_total_bytes);
        bar.set_position(progress.all_done_bytes);
        bar.set_message(progress.file);
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let folder = folder.with_context(|| format!("fetching {repository}"))?;
    if as_json {
        return print(&json!({ "model": repository, "path": folder.display().to_string() }));
    }
    let name = asked.map_or(repository.to_owned(), |revision| format!("{repository}@{revision}"));
    say!("{repository} is in {}; use it as --model {name}", folder.display());
    Ok(())
}
