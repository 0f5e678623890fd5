//! `samovar models`: what is known, what is here, and fetching the rest.

use std::io::Write;
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use samovar::hub::{Hub, HubOptions};
use samovar::memory::bytes;
use samovar::source::{REVISION, is_embedded, is_here};
use samovar::{CATALOGUE, CatalogueEntry};
use serde_json::{Value, json};

use super::segment::print;
use crate::failure::usage;
use crate::{interrupt, progress};

/// List the models samovar knows, and fetch them
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
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
    List,
    /// Fetch a model's files from the Hugging Face hub; goes on where an earlier fetch stopped
    Pull {
        /// An id of the list, or any other hub repository with config.json and model.safetensors
        model: String,
        /// Branch, tag or commit
        #[arg(long, default_value = REVISION)]
        revision: String,
    },
}

const EXAMPLES: &str = "\
Examples:
  samovar models
  samovar models pull facebook/sam-vit-base

Files go to the cache that Hugging Face's own tools use: HF_HUB_CACHE, or HF_HOME, or ~/.cache/huggingface. HF_ENDPOINT
names another server, HF_TOKEN your access. Every file is checked against the hub's checksum.";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    match &args.action {
        None | Some(Action::List) => list(args.json),
        Some(Action::Pull { model, revision }) => pull(model, revision, args.json),
    }
}

fn state(entry: &CatalogueEntry) -> &'static str {
    match (is_embedded(entry), is_here(entry)) {
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
    writeln!(
        out,
        "{:24} {:9} {:>10} {:>10}  {:11} what",
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
            "{:24} {:9} {parameters:>10} {download:>10}  {:11} {}",
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

fn pull(model: &str, revision: &str, as_json: bool) -> Result<()> {
    let entry = CatalogueEntry::find(model);
    let (repository, files): (&str, &[&str]) = match entry {
        Some(entry) if is_embedded(entry) => {
            eprintln!("`{}` is part of the program; nothing to fetch", entry.id);
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
        None if model.split('/').filter(|part| !part.is_empty()).count() == 2 => {
            (model, &["config.json", "model.safetensors"])
        }
        None => {
            return Err(usage(format!(
                "no model is called `{model}`; see `samovar models`, or name a hub repository as owner/name"
            )));
        }
    };
    interrupt::catch();
    let bar = progress::bytes();
    let folder = Hub::new(HubOptions::from_env()).pull(repository, revision, files, &mut |progress| {
        bar.set_length(progress.all_total_bytes);
        bar.set_position(progress.all_done_bytes);
        bar.set_message(progress.file.to_owned());
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let folder = folder.with_context(|| format!("fetching {repository}"))?;
    if as_json {
        return print(&json!({ "model": repository, "path": folder.display().to_string() }));
    }
    eprintln!("{repository} is in {}", folder.display());
    Ok(())
}
