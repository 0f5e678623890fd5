//! `samovar bench folder`: photographs from files to results, wall time against the time of the processors.

use anyhow::Result;

use super::args::TableArgs;
use super::column::{Expected, Place};
use super::photographs::LARGE;
use super::table::{Row, Table, Unit};

/// The table, and how many photographs.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    table: TableArgs,
    /// Photographs, several numbers for several folders [default: 10, with --quick 3]; 4 MB of disk each
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    images: Vec<u32>,
    /// What is written: png, cutout, coco, labels or overlay
    #[arg(long, value_name = "FORMAT", default_value = "png")]
    format: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let place = Place::new(&args.table)?;
    let size = if args.table.quick { (640, 480) } else { LARGE };
    let counts = match &args.images[..] {
        [] if args.table.quick => vec![3],
        [] => vec![10],
        given => given.to_vec(),
    };
    let point = format!("{},{}", size.0 / 2, size.1 / 2);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut rows = Vec::new();
    for count in counts {
        place.say(&format!("making {count} photographs"));
        place.clear("photographs")?;
        place.photograph("photographs", size, count as usize, &["--different", "10"])?;
        let mut wall = Row::new(format!("{count} photographs"), Unit::Seconds).claiming("2.02x");
        let mut rate = Row::new("  photographs", Unit::PerSecond);
        let mut processors = Row::new(format!("  processor time / {cores}"), Unit::Seconds);
        let mut ratio = Row::new("  wall time of that", Unit::Ratio);
        let mut peak = Row::new("  peak memory", Unit::Bytes);
        for repeat in 1..=place.repeat {
            for kind in place.kinds() {
                place.say(&format!("{count} photographs, run {repeat} of {}: {}", place.repeat, kind.name()));
                place.clear("out")?;
                let arguments =
                    ["segment", "photographs", "--point", &point, "--format", &args.format, "--out", "out"];
                let run = place.done(kind, &arguments, "cache", Expected::Folder("out", count as usize))?;
                let shared_s = run.processor_s / cores as f64;
                wall.add(kind, run.wall_s);
                rate.add(kind, f64::from(count) / run.wall_s);
                processors.add(kind, shared_s);
                ratio.add(kind, run.wall_s / shared_s.max(1e-9));
                peak.add(kind, run.peak_bytes);
            }
        }
        rows.extend([wall, rate, processors, ratio, peak]);
    }
    let notes = vec![format!(
        "{}x{}, --format {}; processor time is that of all threads of the process, loading included",
        size.0, size.1, args.format
    )];
    let table = Table::new("folder", &args.table, rows, notes)?;
    drop(place);
    table.finish(&args.table)
}
