//! `samovar bench load`: latencies while several threads prompt one held engine (row E6).

use std::time::Duration;

use anyhow::Result;
use samovar::resources::instruments::Latencies;

use super::args::TableArgs;
use super::column::{Expected, Place};
use super::document::{NO_COMMAND, number};
use super::photographs::FULL_HD;
use super::table::{Row, Table, Unit};

/// The table, and how many prompts.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    table: TableArgs,
    /// Prompts of each thread [default: 200, with --quick 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    requests: Option<u32>,
}

/// Prompts of a program that needs a process for each.
const PROCESSES: usize = 5;

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let place = Place::new(&args.table)?;
    let quick = args.table.quick;
    let size = if quick { (320, 240) } else { FULL_HD };
    place.photograph("photo.jpg", size, 0, &[])?;
    let clients: &[usize] = if quick { &[1, 2] } else { &[1, 2, 4, 8] };
    let list = clients.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let requests = args.requests.unwrap_or(if quick { 5 } else { 200 }).to_string();
    const COLUMNS: [(&str, &str, Unit); 5] = [
        ("P50", "p50_s", Unit::Seconds),
        ("P95", "p95_s", Unit::Seconds),
        ("P99", "p99_s", Unit::Seconds),
        ("prompts", "per_s", Unit::PerSecond),
        ("memory beside the image", "spike_bytes", Unit::Bytes),
    ];
    let mut rows: Vec<Row> = Vec::new();
    for clients in clients {
        let threads = if *clients == 1 { "1 thread".to_owned() } else { format!("{clients} threads") };
        rows.extend(COLUMNS.map(|(name, _, unit)| Row::new(format!("{threads}: {name}"), unit)));
    }
    let point = format!("{},{}", size.0 / 2, size.1 / 2);
    let mut has_processes = false;
    for repeat in 1..=place.repeat {
        for kind in place.kinds() {
            place.say(&format!("run {repeat} of {}: {}", place.repeat, kind.name()));
            let worker = ["bench", "worker", "clients", "--picture", "photo.jpg", "--at-once", &list];
            let arguments = [&worker[..], &["--rounds", &requests]].concat();
            if let Some(run) = place.done_if_known(kind, &arguments, "cache", Expected::Document)? {
                for (clients, rows) in clients.iter().zip(rows.chunks_mut(COLUMNS.len())) {
                    let found = &run.document[clients.to_string()];
                    for ((_, key, _), row) in COLUMNS.iter().zip(rows) {
                        row.add(kind, number(found, key)?);
                    }
                }
                continue;
            }
            // It can be asked for a process for each prompt.
            has_processes = true;
            let mut latencies = Latencies::default();
            let mut all_s = 0.0;
            for _ in 0..PROCESSES {
                place.clear("cut.png")?;
                let segment = ["segment", "photo.jpg", "--point", &point, "--out", "cut.png"];
                let run = place.done(kind, &segment, "cache", Expected::File("cut.png"))?;
                latencies.record(Duration::from_secs_f64(run.wall_s));
                all_s += run.wall_s;
            }
            let quantiles = latencies.quantiles();
            let seconds = [quantiles.p50, quantiles.p95, quantiles.p99].map(|time| time.as_secs_f64());
            let (one, more) = rows.split_at_mut(COLUMNS.len());
            one.iter_mut().zip(seconds).for_each(|(row, seconds)| row.add(kind, seconds));
            one[3].add(kind, PROCESSES as f64 / all_s);
            one[4..].iter_mut().chain(more).for_each(|row| row.cannot(kind, NO_COMMAND));
        }
    }
    let mut notes =
        vec![format!("{requests} prompts of each thread, one click and one mask of the image's size each")];
    if has_processes {
        notes.push(format!(
            "before: it holds no engine for prompts; what it can be asked for is a process for each, which loads the model and encodes the \
             image: {PROCESSES} of them, one after the other"
        ));
    }
    let table = Table::new("load", &args.table, rows, notes)?;
    drop(place);
    table.finish(&args.table)
}
