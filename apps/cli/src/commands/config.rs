//! `samovar config`: presets, what settings come to, and what this machine would do best with.

mod suggest;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgMatches, Command, FromArgMatches};
use samovar::memory::bytes;
use serde_json::{Value as Json, json};

use super::segment::print;
use crate::failure::usage;
use crate::say::one_line;
use crate::settings::{AUTO, BUILT_IN, BuiltIn, Kind, OFF, SETTINGS, Settings, Value};

/// Presets: list, show and print them, and have one made for this machine
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Name the presets that are part of samovar
    List {
        /// Print one JSON document on stdout
        #[arg(long)]
        json: bool,
    },
    /// Print a preset's file, to be copied and changed
    Print {
        /// A name of `samovar config list`
        #[arg(value_name = "NAME")]
        preset: String,
    },
    /// Show all settings as preset, environment and flags leave them, and which of these said it
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// A name of `samovar config list`, or a TOML file
        #[arg(long, value_name = "NAME|FILE.toml")]
        preset: Option<String>,
        #[command(flatten)]
        flags: Flags,
        /// Print one JSON document on stdout
        #[arg(long)]
        json: bool,
    },
    /// Measure this machine and write a preset for it, with the reason for each value
    Suggest {
        /// File to write; stdout if not given
        #[arg(long, short, value_name = "FILE.toml")]
        out: Option<PathBuf>,
        /// Write over a file that is there
        #[arg(long, requires = "out")]
        overwrite: bool,
    },
}

const EXAMPLES: &str = "\
Examples:
  samovar config list
  samovar config show --preset memory-constrained
  samovar config print cpu > my.toml
  samovar config suggest --out my.toml                  a few seconds
  samovar segment photo.jpg --point 420,300 --preset my.toml
  SAMOVAR_PRESET=my.toml samovar everything photos/ --out masks/

A preset is a TOML file of settings with a comment on each. A variable of the environment goes before what the preset says, and a \
flag before both. A name that is no setting is an error with file and line. docs/presets.md describes all settings.";

const SHOW_EXAMPLES: &str = "\
Examples:
  samovar config show
  samovar config show --preset gpu-12gb --threads 4
  SAMOVAR_MEMORY=2GB samovar config show --preset my.toml --json";

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    match &args.action {
        Action::List { json } => list(*json),
        Action::Print { preset } => print_file(preset),
        Action::Show { preset, flags, json } => show(preset.as_deref(), flags, *json),
        Action::Suggest { out, overwrite } => suggest::run(out.as_deref(), *overwrite),
    }
}

fn list(as_json: bool) -> Result<()> {
    if as_json {
        let presets = BUILT_IN.iter().map(|one| json!({ "name": one.name, "purpose": one.purpose() }));
        return print(&json!({ "presets": presets.collect::<Vec<_>>() }));
    }
    let mut out = std::io::stdout().lock();
    for preset in BUILT_IN {
        writeln!(out, "{:20} {}", preset.name, preset.purpose())?;
    }
    Ok(())
}

fn print_file(name: &str) -> Result<()> {
    let Some(preset) = BuiltIn::find(name) else {
        let names = BUILT_IN.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
        return Err(usage(format!("no preset is called {name:?}; presets are {names}")));
    };
    Ok(std::io::stdout().lock().write_all(preset.text.as_bytes())?)
}

fn show(preset: Option<&str>, flags: &Flags, as_json: bool) -> Result<()> {
    let settings = Settings::here(preset)?;
    let settings =
        flags.given.iter().fold(settings, |settings, (key, text)| settings.with_flag(key, Some(text)));
    if as_json {
        let documents: Vec<Json> = settings.values().iter().map(document).collect();
        return print(&json!({ "settings": documents }));
    }
    let mut out = std::io::stdout().lock();
    for value in settings.values() {
        let setting = value.setting;
        let source = one_line(&value.source.to_string());
        writeln!(out, "{:18} {:12} {source}", setting.key, shown(value))?;
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    let count = || value.text.parse().ok().map(|count: usize| bytes(count).to_string());
    match value.setting.kind {
        Kind::Bytes | Kind::BytesOrAuto => count().unwrap_or_else(|| value.text.clone()),
        _ => value.text.clone(),
    }
}

fn document(value: &Value) -> Json {
    let setting = value.setting;
    json!({
        "key": setting.key, "value": value.text, "source": value.source.document(), "default": setting.default,
        "meaning": setting.meaning, "expected": setting.kind.expected(),
        "auto_means": (setting.default == AUTO).then_some(setting.auto_means),
        "variable": setting.variable, "flag": setting.flag.map(|flag| format!("--{flag}")),
    })
}

/// The flags of all settings that have one.
#[derive(Debug, Clone)]
struct Flags {
    given: Vec<(&'static str, String)>,
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        // Those of a command that has all of them, with their parsers: what is refused there is refused here.
        let everything = super::everything::Args::augment_args(Command::new("everything"));
        SETTINGS.iter().fold(command, |command, setting| {
            let argument = everything.get_arguments().find(|argument| argument.get_long() == setting.flag);
            let Some(argument) = argument.filter(|_| setting.flag.is_some()) else { return command };
            let help = format!("{} [default: {}]", setting.meaning, setting.default_in_words());
            command.arg(argument.clone().id(setting.key).help(help.clone()).long_help(help))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = SETTINGS.iter().filter(|setting| setting.flag.is_some());
        let given = flags.filter_map(|setting| {
            let text = match setting.kind {
                Kind::Switch => matches.get_flag(setting.key).then(|| OFF.to_owned()),
                _ => matches
                    .get_raw(setting.key)
                    .and_then(|mut texts| Some(texts.next()?.to_str()?.to_owned())),
            };
            // As presets write it.
            Some((setting.key, text.map(|text| setting.kind.check(&text).unwrap_or(text))?))
        });
        Ok(Self { given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
