//! Settings: what a preset, the environment and the flags of a command say together, and which of them said it.

mod kind;
mod preset;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;
use samovar::memory::parse_bytes;
use serde_json::{Value as Json, json};

use crate::environment;
use crate::failure::usage;

pub use kind::{AUTO, Kind, OFF, ON, parse_pixels, parse_seconds};
pub use preset::{BUILT_IN, BuiltIn, Preset};
pub use table::{SETTINGS, Setting};

/// Who said it. Each goes before those above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody.
    Default,
    /// A preset.
    Preset {
        /// Its file.
        file: String,
        /// The line there, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset { file, line } => write!(f, "{file}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

impl Source {
    /// As a JSON object.
    pub fn document(&self) -> Json {
        match self {
            Self::Default => json!({ "from": "default" }),
            Self::Preset { file, line } => json!({ "from": "preset", "file": file, "line": line }),
            Self::Variable(name) => json!({ "from": "environment", "variable": name }),
            Self::Flag(name) => json!({ "from": "flag", "flag": format!("--{name}") }),
        }
    }
}

/// The value of one setting.
#[derive(Debug, Clone)]
pub struct Value {
    /// Which one.
    pub setting: &'static Setting,
    /// Its text, which the setting's kind has checked.
    pub text: String,
    /// Who said it.
    pub source: Source,
}

/// A value for each setting.
#[derive(Debug, Clone)]
pub struct Settings {
    values: Vec<Value>,
}

impl Settings {
    /// The defaults, a preset if there is one, and the environment over it.
    ///
    /// # Errors
    /// Unknown presets, and what they or variables say that means nothing.
    pub fn here(preset: Option<&str>) -> Result<Self> {
        let named = preset.map(str::to_owned).or_else(environment::preset);
        let preset = named.map(|name| Preset::read(&name)).transpose()?;
        Self::of(preset.as_ref(), environment::settings())
    }

    fn of(preset: Option<&Preset>, variables: Vec<(&'static Setting, String)>) -> Result<Self> {
        let default = |setting| Value { setting, text: setting.default.to_owned(), source: Source::Default };
        let mut settings = Self { values: SETTINGS.iter().map(default).collect() };
        if let Some(preset) = preset {
            for (setting, text, line) in &preset.values {
                let source = Source::Preset { file: preset.file.clone(), line: *line };
                settings.set(setting, text.clone(), source);
            }
        }
        for (setting, text) in variables {
            let name = setting.variable;
            let kept = setting
                .kind
                .check(&text)
                .map_err(|expected| usage(format!("{name} is `{}`; {expected}", text.trim())))?;
            settings.set(setting, kept, Source::Variable(name));
        }
        settings.check_levels()?;
        Ok(settings)
    }

    /// Refuses levels of memory out of order, which would leave out what the lower one does.
    fn check_levels(&self) -> Result<()> {
        let levels = ["memory_pressure", "memory_warning", "memory_critical"].map(|key| self.value(key));
        for pair in levels.windows(2) {
            let (lower, upper) = (pair[0], pair[1]);
            if self.share(lower.setting.key) <= self.share(upper.setting.key) {
                continue;
            }
            let said = |value: &Value| format!("{} is `{}`", value.setting.key, value.text);
            // Whoever said one of them can say another.
            let (first, second) =
                if lower.source == Source::Default { (upper, lower) } else { (lower, upper) };
            return Err(usage(format!(
                "{}: {}, and {} ({}); expected memory_pressure up to memory_warning up to memory_critical",
                first.source,
                said(first),
                said(second),
                second.source
            )));
        }
        Ok(())
    }

    /// With what a flag says, if it was given.
    pub fn with_flag(mut self, key: &str, given: Option<impl fmt::Display>) -> Self {
        let setting = Setting::find(key).expect("the key is in the table");
        if let (Some(text), Some(flag)) = (given, setting.flag) {
            self.set(setting, text.to_string(), Source::Flag(flag));
        }
        self
    }

    fn set(&mut self, setting: &'static Setting, text: String, source: Source) {
        *self.value_mut(setting.key) = Value { setting, text, source };
    }

    fn value_mut(&mut self, key: &str) -> &mut Value {
        let found = self.values.iter_mut().find(|value| value.setting.key == key);
        found.expect("the key is in the table")
    }

    /// All of them, in the order of the table.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value of a key of the table.
    pub fn value(&self, key: &str) -> &Value {
        let found = self.values.iter().find(|value| value.setting.key == key);
        found.expect("the key is in the table")
    }

    /// Its text; `None` for `auto`.
    fn text(&self, key: &str) -> Option<&str> {
        Some(self.value(key).text.as_str()).filter(|text| *text != AUTO)
    }

    /// A number; `None` for `auto`.
    pub fn count(&self, key: &str) -> Option<usize> {
        self.text(key)?.parse().ok()
    }

    /// A number of bytes; `None` for `auto`.
    pub fn bytes(&self, key: &str) -> Option<usize> {
        parse_bytes(self.text(key)?)
    }

    /// A number of pixels.
    pub fn pixels(&self, key: &str) -> Option<u64> {
        parse_pixels(self.text(key)?)
    }

    /// A share.
    pub fn share(&self, key: &str) -> Option<f64> {
        self.text(key)?.parse().ok()
    }

    /// A time; `None` for one that never comes.
    pub fn seconds(&self, key: &str) -> Option<Duration> {
        parse_seconds(self.text(key)?)
    }

    /// Whether a switch is on.
    pub fn is_on(&self, key: &str) -> bool {
        self.value(key).text == kind::ON
    }

    /// One of several words; `None` for `auto`.
    pub fn word<T: FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }
}
