//! `samovar bench batch`: how many at once, against latency and throughput (row E6, document 004's table).

use anyhow::Result;

use super::args::TableArgs;
use super::column::{Kind, Place};
use super::document::number;
use super::photographs::{FULL_HD, write_one};
use super::table::{Row, Table, Unit};

/// Gains below this are none.
const PAYS: f64 = 1.05;

/// Runs the command.
pub fn run(args: &TableArgs) -> Result<()> {
    let place = Place::new(args)?;
    let size = if args.quick { (320, 240) } else { FULL_HD };
    write_one(&place.path("photo.jpg"), size, 1)?;
    let prompts: &[usize] = if args.quick { &[1, 4] } else { &[1, 2, 4, 8, 16, 32] };
    let images: &[usize] = if args.quick { &[1, 2] } else { &[1, 2, 4] };
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for (task, unit, sizes) in [("prompts", "prompt", prompts), ("images", "image", images)] {
        let list = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let mut own: Vec<(Row, Row)> = sizes
            .iter()
            .map(|&at_once| {
                let what =
                    if at_once == 1 { format!("1 {unit}") } else { format!("{at_once} {task} at once") };
                let throughput = Row::new(format!("{what}: {task}"), Unit::PerSecond);
                (Row::new(format!("{what}: latency"), Unit::Seconds), throughput)
            })
            .collect();
        for repeat in 1..=place.repeat {
            for kind in place.kinds().filter(|&kind| kind != Kind::Before) {
                place.say(&format!("run {repeat} of {}: {}, {task}", place.repeat, kind.name()));
                let arguments = ["bench", "worker", task, "--picture", "photo.jpg", "--at-once", &list];
                let run = place.done(kind, &arguments, "cache")?;
                for (at_once, (latency, throughput)) in sizes.iter().zip(&mut own) {
                    let found = &run.document[at_once.to_string()];
                    latency.add(kind, number(found, "latency_s"));
                    throughput.add(kind, number(found, "per_s"));
                }
            }
        }
        let rate = |row: &(Row, Row)| row.1.median(Kind::On).unwrap_or(f64::NAN);
        let one = own.first().map_or(f64::NAN, rate);
        let best = sizes.iter().zip(&own).max_by(|a, b| rate(a.1).total_cmp(&rate(b.1)));
        if let Some((&at_once, row)) = best {
            let gain = rate(row) / one;
            notes.push(match gain >= PAYS {
                true => {
                    format!("{task}: {at_once} at once pay, {gain:.2} times the throughput of one by one")
                }
                false => format!(
                    "{task}: batching does not pay, {gain:.2} times the throughput of one by one at best"
                ),
            });
        }
        rows.extend(own.into_iter().flat_map(|(latency, throughput)| [latency, throughput]));
    }
    notes.push(
        "prompts at once are one call; images at once are as many threads on one held engine, whose operators take turns \
         on all processors"
            .into(),
    );
    let table = Table::new("batch", args, rows, notes)?;
    drop(place);
    table.finish(args)
}
