//! `samovar bench load`: latencies while several threads prompt one held engine (row E6).

use anyhow::Result;

use super::args::TableArgs;
use super::column::{Kind, Place};
use super::document::number;
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

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let place = Place::new(&args.table)?;
    let quick = args.table.quick;
    place.photograph("photo.jpg", if quick { (320, 240) } else { FULL_HD }, 0, &[])?;
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
    for repeat in 1..=place.repeat {
        for kind in place.kinds().filter(|&kind| kind != Kind::Before) {
            place.say(&format!("run {repeat} of {}: {}", place.repeat, kind.name()));
            let worker = ["bench", "worker", "clients", "--picture", "photo.jpg", "--at-once", &list];
            let run = place.done(kind, &[&worker[..], &["--rounds", &requests]].concat(), "cache")?;
            for (clients, rows) in clients.iter().zip(rows.chunks_mut(COLUMNS.len())) {
                let found = &run.document[clients.to_string()];
                for ((_, key, _), row) in COLUMNS.iter().zip(rows) {
                    row.add(kind, number(found, key));
                }
            }
        }
    }
    let notes =
        vec![format!("{requests} prompts of each thread, one click and one mask of the image's size each")];
    let table = Table::new("load", &args.table, rows, notes)?;
    drop(place);
    table.finish(&args.table)
}
