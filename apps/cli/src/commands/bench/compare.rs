//! `samovar bench compare`: two saved runs, and what of their difference is more than noise.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use super::table::{Row, Table, Unit, median, write_columns};
use crate::commands::segment::print;
use crate::failure::usage;
use crate::say::one_line;

/// Two runs of the same bench.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A run of `samovar bench --save`
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// Another one of the same bench
    #[arg(value_name = "B.json")]
    after: PathBuf,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// A change counts beyond this many times its noise.
const COUNTS: f64 = 3.0;

/// Samples from which noise is known.
const LEAST_SAMPLES: usize = 3;

/// What became of a cell.
#[derive(Debug, PartialEq)]
enum Verdict {
    Unknown,
    Same,
    Better,
    Worse,
}

impl Verdict {
    fn words(&self) -> &'static str {
        match self {
            Verdict::Unknown => "too few runs to know the noise",
            Verdict::Same => "no difference",
            Verdict::Better => "better",
            Verdict::Worse => "worse",
        }
    }

    fn of(unit: Unit, before: &[f64], after: &[f64]) -> Self {
        let (Some(a), Some(b)) = (median(before), median(after)) else { return Verdict::Unknown };
        let is_counted = unit == Unit::Count;
        if !is_counted && before.len().min(after.len()) < LEAST_SAMPLES {
            return Verdict::Unknown;
        }
        let noise = deviation(before).max(deviation(after));
        if (b - a).abs() <= COUNTS * noise {
            return Verdict::Same;
        }
        if (b > a) == (unit == Unit::PerSecond) { Verdict::Better } else { Verdict::Worse }
    }
}

/// The median of the distances to the median: noise that one bad run does not change.
fn deviation(samples: &[f64]) -> f64 {
    let middle = median(samples).unwrap_or_default();
    let distances: Vec<f64> = samples.iter().map(|sample| (sample - middle).abs()).collect();
    median(&distances).unwrap_or_default()
}

/// What else than the program is not the same in two runs, in words: `dtype (auto, int8)`.
fn differences(before: &Table, after: &Table) -> Vec<String> {
    let mut words = Vec::new();
    let mut add = |what: &str, a: &str, b: &str| {
        if a != b {
            words.push(format!("{what} ({}, {})", one_line(a), one_line(b)));
        }
    };
    add("model", &before.model, &after.model);
    let size = |table: &Table| if table.quick { "--quick" } else { "whole" };
    add("size", size(before), size(after));
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "unknown".to_owned(),
    };
    let machines = [&before.machine, &after.machine].map(|machine| machine.as_object());
    let keys: BTreeSet<&String> = machines.iter().flatten().flat_map(|machine| machine.keys()).collect();
    for key in keys {
        let [a, b] = machines.map(|machine| text(machine.and_then(|machine| machine.get(key))));
        let what = key.trim_end_matches("_bytes");
        add(&format!("machine: {what}"), &a, &b);
    }
    let keys: BTreeSet<&String> = before.settings.keys().chain(after.settings.keys()).collect();
    for key in keys {
        let of = |table: &Table| table.settings.get(key).cloned().unwrap_or_else(|| "unknown".to_owned());
        add(key, &of(before), &of(after));
    }
    words
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let [before, after] = [Table::read(&args.before)?, Table::read(&args.after)?];
    if before.bench != after.bench {
        let names = (&before.bench, &after.bench);
        return Err(usage(format!(
            "one is of bench {}, the other of bench {}; compare like with like",
            names.0, names.1
        )));
    }
    let differences = differences(&before, &after);
    for words in &differences {
        say!("note: the runs differ in {words}");
    }
    let mut lines = vec![["", "column", "A", "B", "A/B", ""].map(str::to_owned).to_vec()];
    let mut document: Vec<Value> = Vec::new();
    let pairs = before
        .rows
        .iter()
        .filter_map(|row| Some((row, after.rows.iter().find(|other| other.what == row.what)?)));
    for (row, other) in pairs.clone() {
        for (column, samples) in &row.columns {
            let Some(others) = other.columns.get(column) else { continue };
            let (Some(a), Some(b)) = (median(samples), median(others)) else { continue };
            let verdict = Verdict::of(row.unit, samples, others);
            let shown = |value: f64, samples: &[f64]| {
                format!("{} ±{}", row.unit.show(value), row.unit.show(deviation(samples)))
            };
            lines.push(vec![
                row.what.clone(),
                column.clone(),
                shown(a, samples),
                shown(b, others),
                row.unit.ratio(a, b),
                verdict.words().to_owned(),
            ]);
            document.push(json!({
                "what": row.what, "column": column, "a": a, "b": b, "a_noise": deviation(samples),
                "b_noise": deviation(others), "verdict": verdict.words(),
            }));
        }
    }
    let alone = |row: &&Row| !pairs.clone().any(|(own, _)| own.what == row.what);
    for row in before.rows.iter().filter(alone) {
        say!("note: \"{}\" is in the first run alone", row.what);
    }
    match args.json {
        true => print(&json!({ "bench": before.bench, "differences": differences, "rows": document })),
        false => Ok(write_columns(std::io::stdout().lock(), &lines)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_beyond_three_times_its_noise() {
        let of = |unit, before: &[f64], after: &[f64]| Verdict::of(unit, before, after);
        let quiet = [1.0, 1.01, 0.99, 1.0];
        assert_eq!(of(Unit::Seconds, &quiet, &[1.01, 1.02, 1.0, 1.01]), Verdict::Same);
        assert_eq!(of(Unit::Seconds, &quiet, &[1.5, 1.51, 1.49]), Verdict::Worse);
        assert_eq!(of(Unit::Seconds, &quiet, &[0.5, 0.51, 0.49]), Verdict::Better);
        assert_eq!(of(Unit::PerSecond, &quiet, &[1.5, 1.51, 1.49]), Verdict::Better);
        assert_eq!(
            of(Unit::Seconds, &[1.0, 1.4, 0.7], &[1.5, 1.51, 1.49]),
            Verdict::Same,
            "noise of the first"
        );
        assert_eq!(of(Unit::Seconds, &[1.0, 1.0], &[9.0, 9.0, 9.0]), Verdict::Unknown);
        assert_eq!(of(Unit::Count, &[0.0], &[1.0]), Verdict::Worse);
        assert_eq!(of(Unit::Count, &[0.0], &[0.0]), Verdict::Same);
    }
}
