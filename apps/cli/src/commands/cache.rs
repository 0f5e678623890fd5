//! `samovar cache`: what is kept from one run to the next.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use samovar::LazyImage;
use samovar::feature_cache::key_of_pixels;
use samovar::memory::bytes;
use samovar::resources::cache::{Selection, Store, content_keys};
use samovar::resources::instruments::Events;
use serde_json::json;

use super::segment::print;
use crate::cache_args::open_store;
use crate::failure::usage;
use crate::model_args::resolve;
use crate::say::{counted, one_line};
use crate::settings::Settings;

/// Show, check and clear what is kept of images from one run to the next
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Print one JSON document on stdout
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Where the cache is, how much is in it, and how much may be
    Stats,
    /// Remove what is kept: all of it, or of an image, of a model, or what was not used for long
    #[command(after_help = CLEAR_EXAMPLES)]
    Clear {
        /// Only what was made of this image
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
        /// Only what was made by this model
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        /// Only what was not used for so long: 30d, 12h, 90m, 45s
        #[arg(long, value_name = "AGE", value_parser = age)]
        unused_for: Option<Duration>,
    },
    /// Read everything and remove what is damaged
    Verify,
}

const EXAMPLES: &str = "\
Examples:
  samovar cache stats
  samovar cache clear --unused-for 30d
  samovar cache verify

The cache holds what models found in images, so that another prompt on the same picture is answered at once. All of it can be made \
again. SAMOVAR_CACHE is its folder, SAMOVAR_CACHE_SIZE how much it may take; what was not used for longest goes first.";

const CLEAR_EXAMPLES: &str = "\
Examples:
  samovar cache clear
  samovar cache clear --image photo.jpg
  samovar cache clear --model facebook/sam-vit-base --unused-for 7d";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let Some(store) = open_store(&Settings::here(None)?, Events::default()) else {
        return Err(usage("no folder for caches: set SAMOVAR_CACHE"));
    };
    match &args.action {
        Action::Stats => stats(&store, args.json),
        Action::Clear { image, model, unused_for } => {
            let keys = content_keys(&store, true);
            let image = image
                .as_ref()
                .map(|path| -> Result<_> { Ok(key_of_pixels(&*LazyImage::open(path).pixels()?)) });
            let model = model.as_ref().map(|name| -> Result<_> { Ok(resolve(name)?.key(&keys)?) });
            let (image, model) = (image.transpose()?, model.transpose()?);
            clear(&store, &Selection { kind: None, image, model, unused_for: *unused_for }, args.json)
        }
        Action::Verify => verify(&store, args.json),
    }
}

fn stats(store: &Arc<Store>, as_json: bool) -> Result<()> {
    let Some(disk) = store.disk_options() else { return Ok(()) };
    let usage = store.disk_usage();
    let all: u64 = usage.values().map(|(_, bytes)| bytes).sum();
    if as_json {
        let kinds: serde_json::Map<_, _> = usage
            .into_iter()
            .map(|(kind, (entries, bytes))| (kind, json!({"entries": entries, "bytes": bytes})))
            .collect();
        return print(&json!({
            "folder": disk.folder.display().to_string(), "budget_bytes": disk.budget_bytes, "bytes": all, "kinds": kinds,
        }));
    }
    let (held, budget) = (bytes(all as usize), bytes(disk.budget_bytes as usize));
    writeln!(std::io::stdout(), "{}: {held} of {budget}", one_line(&disk.folder.display().to_string()))?;
    for (kind, (entries, held)) in usage {
        let word = if entries == 1 { "entry" } else { "entries" };
        writeln!(
            std::io::stdout(),
            "  {kind:10} {entries:7} {word:7} {:>10}",
            bytes(held as usize).to_string()
        )?;
    }
    Ok(())
}

fn clear(store: &Arc<Store>, selection: &Selection, as_json: bool) -> Result<()> {
    let (entries, freed) = store.clear(selection);
    if as_json {
        return print(&json!({"removed": entries, "bytes": freed}));
    }
    writeln!(
        std::io::stdout(),
        "removed {}, {}",
        counted(entries, "entry", "entries"),
        bytes(freed as usize)
    )?;
    Ok(())
}

fn verify(store: &Arc<Store>, as_json: bool) -> Result<()> {
    let found = store.verify();
    if as_json {
        let removed: Vec<_> = found
            .removed
            .iter()
            .map(|(path, why)| json!({"file": path.display().to_string(), "why": why}))
            .collect();
        return print(&json!({"sound": found.sound, "bytes": found.sound_bytes, "removed": removed}));
    }
    for (path, why) in &found.removed {
        writeln!(std::io::stdout(), "removed \"{}\": {why}", one_line(&path.display().to_string()))?;
    }
    writeln!(
        std::io::stdout(),
        "{} sound, {}; removed {}",
        counted(found.sound, "entry is", "entries are"),
        bytes(found.sound_bytes as usize),
        found.removed.len()
    )?;
    Ok(())
}

fn age(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and d, h, m or s, as 30d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(expected)?;
    let number: u64 = number.parse().map_err(|_| expected())?;
    let seconds = match unit {
        "d" => 24 * 60 * 60,
        "h" => 60 * 60,
        "m" => 60,
        "s" => 1,
        _ => return Err(expected()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(expected)
}
