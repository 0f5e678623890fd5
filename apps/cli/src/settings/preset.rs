//! Presets: named files of settings, in the binary or written by a user.

use std::path::PathBuf;

use anyhow::Result;
use toml::de::{DeTable, DeValue};

use super::table::{SETTINGS, Setting};
use crate::failure::usage;
use crate::inputs;
use crate::meant::nearest;

/// Largest preset that is read.
const MAX_PRESET_BYTES: u64 = 1 << 20;

/// Where presets are described.
const TAKES: &str = "--preset takes a name of `samovar config list`, or a TOML file";

/// A preset that is part of the binary.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// What `--preset` calls it.
    pub name: &'static str,
    /// Its TOML.
    pub text: &'static str,
}

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        &[$(BuiltIn { name: $name, text: include_str!(concat!("../../presets/", $name, ".toml")) }),+]
    };
}

/// All of them.
pub const BUILT_IN: &[BuiltIn] =
    built_in!["gpu-24gb", "gpu-16gb", "gpu-12gb", "gpu-8gb", "cpu", "high-throughput", "memory-constrained",];

impl BuiltIn {
    /// The one of a name.
    pub fn find(name: &str) -> Option<&'static Self> {
        BUILT_IN.iter().find(|preset| preset.name == name)
    }

    /// What it is for: the first line of its file.
    pub fn purpose(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }
}

/// What a preset says.
#[derive(Debug)]
pub struct Preset {
    /// The file, as people are told of it: `gpu-24gb.toml` of the binary, or a path.
    pub file: String,
    /// Each setting with its value and the line it stands in.
    pub values: Vec<(&'static Setting, String, usize)>,
}

impl Preset {
    /// The preset of a name or a path.
    ///
    /// # Errors
    /// Unknown names, files that cannot be read, and what [`Preset::parse`] refuses: all of them wrong usage.
    pub fn read(name: &str) -> Result<Self> {
        if let Some(known) = BuiltIn::find(name) {
            return Self::parse(&format!("{name}.toml"), known.text);
        }
        let path = PathBuf::from(name);
        let is_path = path.components().count() > 1 || path.extension().is_some() || path.is_file();
        if !is_path {
            return Err(unknown_name(name));
        }
        let bytes = inputs::read_small(&path, MAX_PRESET_BYTES, TAKES)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| usage(format!("\"{name}\": this is no text in UTF-8; {TAKES}")))?;
        Self::parse(name, &text)
    }

    /// Reads the TOML of `file`.
    ///
    /// # Errors
    /// What is no TOML, unknown keys, and values that mean nothing, with file and line.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        // Told once per value, so lines are found by their starts.
        let starts: Vec<usize> =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let line_of = |at: usize| starts.partition_point(|&start| start <= at);
        let refusal = |at: usize, what: String| usage(format!("{file}:{}: {what}", line_of(at)));
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            refusal(at, error.message().to_owned())
        })?;
        let mut values = Vec::new();
        for (key, value) in table.get_ref() {
            let at = key.span().start;
            let key: &str = key.get_ref();
            let Some(setting) = Setting::find(key) else {
                return Err(refusal(at, unknown_key(key)));
            };
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) if number.radix() == 10 => number.as_str().replace('_', ""),
                DeValue::Float(number) => number.as_str().replace('_', ""),
                DeValue::Boolean(is_on) => is_on.to_string(),
                _ => String::new(),
            };
            let kept = setting.kind.check(&text).map_err(|expected| {
                let shown = if text.is_empty() { "no value of it".to_owned() } else { format!("`{text}`") };
                refusal(value.span().start, format!("{key} is {shown}; {expected}"))
            })?;
            values.push((setting, kept, line_of(at)));
        }
        values.sort_by_key(|(_, _, line)| *line);
        Ok(Self { file: file.to_owned(), values })
    }
}

fn unknown_key(key: &str) -> String {
    let keys = SETTINGS.iter().map(|setting| setting.key);
    // What flags and variables are called is a good guess of what keys are called.
    let plain = key.to_lowercase().replace('-', "_").trim_start_matches("samovar_").to_owned();
    match nearest(&plain, keys.clone()) {
        Some(near) => format!("no setting is called `{key}`; did you mean `{near}`?"),
        None => format!(
            "no setting is called `{key}`; settings are {}",
            keys.map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn unknown_name(name: &str) -> anyhow::Error {
    let names = || BUILT_IN.iter().map(|preset| preset.name);
    let hint = nearest(name, names()).map(|near| format!("did you mean {near}? "));
    let all = names().collect::<Vec<_>>().join(", ");
    usage(format!(
        "no preset is called {name:?}; {}presets are {all}, and --preset takes a TOML file too",
        hint.unwrap_or_default()
    ))
}
