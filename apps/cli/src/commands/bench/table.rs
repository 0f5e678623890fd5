//! A table of samples: printed in the documents' form, saved, read again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use samovar::memory::bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::args::TableArgs;
use super::column::{Kind, machine};
use crate::commands::segment::print;
use crate::inputs::read_small;
use crate::made::Made;
use crate::outputs::Files;

/// What samples count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Seconds,
    Bytes,
    PerSecond,
    /// A number of things that should be few.
    Count,
    /// A ratio that should be small.
    Ratio,
}

impl Unit {
    /// In words.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds if value < 1e-3 => format!("{:.0} us", value * 1e6),
            Unit::Seconds if value < 1.0 => format!("{:.1} ms", value * 1e3),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Bytes => bytes(value as usize).to_string(),
            Unit::PerSecond if value < 10.0 => format!("{value:.2} /s"),
            Unit::PerSecond => format!("{value:.1} /s"),
            Unit::Count => format!("{value}"),
            Unit::Ratio => format!("{value:.2}"),
        }
    }

    /// How many times better `b` is than `a`.
    fn times(self, a: f64, b: f64) -> Option<f64> {
        let times = if self == Unit::PerSecond { b / a } else { a / b };
        times.is_finite().then_some(times)
    }

    /// The ratio of two cells as the documents write it: `2.02x`, and for bytes `-33 %`.
    pub fn ratio(self, a: f64, b: f64) -> String {
        match self {
            Unit::Bytes if a > 0.0 => format!("{:+.0} %", 100.0 * (b / a - 1.0)),
            Unit::Count | Unit::Ratio => String::new(),
            _ => self.times(a, b).map_or(String::new(), |times| format!("{times:.2}x")),
        }
    }
}

/// One line of a table: samples by column.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub what: String,
    pub unit: Unit,
    pub columns: BTreeMap<String, Vec<f64>>,
    /// What stands in a column instead of samples: why there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instead: BTreeMap<String, String>,
    /// What a document says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
}

impl Row {
    pub fn new(what: impl Into<String>, unit: Unit) -> Self {
        Self { what: what.into(), unit, columns: BTreeMap::new(), instead: BTreeMap::new(), claim: None }
    }

    pub fn claiming(self, claim: &str) -> Self {
        Self { claim: Some(claim.to_owned()), ..self }
    }

    /// One more sample.
    pub fn add(&mut self, column: Kind, sample: f64) {
        self.columns.entry(column.name().to_owned()).or_default().push(sample);
    }

    /// Notes that there can be no sample.
    pub fn cannot(&mut self, column: Kind, why: &str) {
        self.instead.insert(column.name().to_owned(), why.to_owned());
    }

    /// The median of a column.
    pub fn median(&self, column: Kind) -> Option<f64> {
        self.columns.get(column.name()).and_then(|samples| median(samples))
    }
}

/// The middle of some samples; `None` of none.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

/// Half of what lies between the smallest and the largest sample.
pub fn spread(samples: &[f64]) -> f64 {
    let (least, most) =
        samples.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &x| (a.min(x), b.max(x)));
    if samples.is_empty() { 0.0 } else { (most - least) / 2.0 }
}

/// Largest saved run that is read.
const MAX_BYTES: u64 = 16 << 20;

/// A run of a bench.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    /// Which bench.
    pub bench: String,
    /// The program that made it.
    pub version: String,
    /// Seconds since 1970.
    pub time: u64,
    pub machine: Value,
    pub model: String,
    /// What preset, environment and flags set, by key.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    #[serde(default)]
    pub quick: bool,
    pub rows: Vec<Row>,
    /// What is to be said below.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Table {
    pub fn new(bench: &str, args: &TableArgs, rows: Vec<Row>, notes: Vec<String>) -> Result<Self> {
        let settings = args.model.settings()?;
        // Each column has its own.
        let settings = settings.values().iter().filter(|value| value.setting.key != "optimizations");
        Ok(Self {
            bench: bench.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            machine: machine(args)?,
            model: args.model.model.clone(),
            settings: settings.map(|value| (value.setting.key.to_owned(), value.text.clone())).collect(),
            quick: args.quick,
            rows,
            notes,
        })
    }

    /// Reads a saved run.
    ///
    /// # Errors
    /// What is no file, or a larger one than any run, and what is no run.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_small(path, MAX_BYTES, "a run of `samovar bench --save` is compared")?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("\"{}\": expected a run of `samovar bench --save`", path.display()))
    }

    /// Prints it, and saves it if that was asked for.
    pub fn finish(&self, args: &TableArgs) -> Result<()> {
        if let Some(save) = &args.save {
            let made = Made::here();
            let mut files = Files::remembered_by(&made);
            files.add(save, &serde_json::to_vec_pretty(self)?)?;
            files.finish()?;
        }
        match args.json {
            true => print(&serde_json::to_value(self)?)?,
            false => self.write(io::stdout().lock())?,
        }
        if let Some(save) = &args.save {
            say!("{}", save.display());
        }
        Ok(())
    }

    fn write(&self, mut out: impl Write) -> io::Result<()> {
        let machine = |key: &str| self.machine[key].as_str().unwrap_or_default().to_owned();
        let threads = &self.machine["threads"];
        writeln!(
            out,
            "bench {}: {}, {threads} threads, {}\n",
            self.bench,
            self.model,
            machine("instructions")
        )?;
        let has_claims = self.rows.iter().any(|row| row.claim.is_some());
        let has = |kind: Kind| {
            let name = kind.name();
            self.rows.iter().any(|row| row.columns.contains_key(name) || row.instead.contains_key(name))
        };
        let mut head = vec![String::new(), "off".into(), "on".into(), "off/on".into()];
        if has_claims {
            head.push("claimed".into());
        }
        if has(Kind::Before) {
            head.extend(["before".into(), "before/on".into()]);
        }
        let line = |row: &Row| {
            let cell = |kind: Kind| match row.columns.get(kind.name()) {
                Some(samples) if samples.len() > 1 => {
                    let middle = median(samples).unwrap_or_default();
                    let noise = 100.0 * spread(samples) / middle.max(f64::MIN_POSITIVE);
                    let noise = if middle > 0.0 { format!(" ±{noise:.0}%") } else { String::new() };
                    format!("{}{noise}", row.unit.show(middle))
                }
                Some(samples) => row.unit.show(samples.first().copied().unwrap_or_default()),
                None => row.instead.get(kind.name()).cloned().unwrap_or_else(|| "-".into()),
            };
            let against = |kind: Kind| match (row.median(kind), row.median(Kind::On)) {
                (Some(other), Some(on)) => row.unit.ratio(other, on),
                _ => String::new(),
            };
            let mut cells = vec![row.what.clone(), cell(Kind::Off), cell(Kind::On), against(Kind::Off)];
            if has_claims {
                cells.push(row.claim.clone().unwrap_or_default());
            }
            if has(Kind::Before) {
                cells.extend([cell(Kind::Before), against(Kind::Before)]);
            }
            cells
        };
        let lines: Vec<Vec<String>> = std::iter::once(head).chain(self.rows.iter().map(line)).collect();
        write_columns(&mut out, &lines)?;
        self.notes.iter().try_for_each(|note| writeln!(out, "\n{note}"))
    }
}

/// Cells below each other, the first of each line to the left, as wide as the widest.
pub fn write_columns(mut out: impl Write, lines: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines.iter().map(Vec::len).max().unwrap_or(0)).map(width).collect();
    for line in lines {
        let mut text = String::new();
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            text += &if column == 0 { format!("{cell:width$}") } else { format!("  {cell:>width$}") };
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}
