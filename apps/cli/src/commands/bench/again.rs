//! `samovar bench segment`: one picture by one process, and again by another.

use anyhow::Result;

use super::args::TableArgs;
use super::column::{Expected, Kind, Place};
use super::photographs::FULL_HD;
use super::table::{Row, Table, Unit};

/// Runs the command.
pub fn run(args: &TableArgs) -> Result<()> {
    let place = Place::new(args)?;
    let size = if args.quick { (320, 240) } else { FULL_HD };
    place.photograph("photo.jpg", size, 0, &[])?;
    let mut first = Row::new("first process", Unit::Seconds);
    let mut second = Row::new("second process", Unit::Seconds).claiming("16x");
    let mut peak = Row::new("second process, peak memory", Unit::Bytes);
    let points =
        [0.5, 0.4].map(|share| format!("{:.0},{:.0}", f64::from(size.0) * share, f64::from(size.1) * share));
    for repeat in 1..=place.repeat {
        for kind in place.kinds() {
            place.say(&format!("run {repeat} of {}: {}", place.repeat, kind.name()));
            place.clear("cache")?;
            // Another point, as one who was not content with the first mask.
            let [before, after] = points.each_ref().map(|point| {
                place.clear("cut.png")?;
                let arguments = ["segment", "photo.jpg", "--point", point, "--out", "cut.png"];
                place.done(kind, &arguments, "cache", Expected::File("cut.png"))
            });
            let after = after?;
            first.add(kind, before?.wall_s);
            second.add(kind, after.wall_s);
            peak.add(kind, after.peak_bytes);
        }
    }
    let again = |kind: Kind| Some(first.median(kind)? / second.median(kind)?);
    let ratio = |kind: Kind| again(kind).map(|ratio| format!("{} {ratio:.1}x", kind.name()));
    let ratios: Vec<String> = place.kinds().filter_map(ratio).collect();
    let notes = vec![format!("first process against second: {}", ratios.join(", "))];
    let table = Table::new("segment", args, vec![first, second, peak], notes)?;
    drop(place);
    table.finish(args)
}
