//! `samovar bench batch`: how many at once, against latency and throughput (row E6, document 004's table).

use anyhow::Result;
use samovar::planning::PROMPTS_AT_ONCE;

use super::args::TableArgs;
use super::column::{Expected, Kind, Place};
use super::document::{NO_COMMAND, number};
use super::photographs::FULL_HD;
use super::table::{Row, Table, Unit};

/// Gains below this are none.
const PAYS: f64 = 1.05;

/// Images of a folder whose images are under way together.
const IMAGES: usize = 8;

/// What stands in a column whose program cannot be told how many images to take.
const NO_OPTION: &str = "no such option";

/// Latency and throughput of so many at once.
struct Pair {
    at_once: usize,
    latency: Row,
    throughput: Row,
}

impl Pair {
    fn new(at_once: usize, one: &str) -> Self {
        let what = if at_once == 1 { format!("1 {one}") } else { format!("{at_once} {one}s at once") };
        Self {
            at_once,
            latency: Row::new(format!("{what}: latency"), Unit::Seconds),
            throughput: Row::new(format!("{what}: {one}s"), Unit::PerSecond),
        }
    }

    fn cannot(&mut self, column: Kind, why: &str) {
        self.latency.cannot(column, why);
        self.throughput.cannot(column, why);
    }

    fn add(&mut self, column: Kind, latency_s: f64, per_s: f64) {
        self.latency.add(column, latency_s);
        self.throughput.add(column, per_s);
    }

    fn per_s(&self) -> f64 {
        self.throughput.median(Kind::On).unwrap_or(f64::NAN)
    }
}

/// Where it pays to take several at once, and where not.
fn verdict(what: &str, pairs: &[Pair]) -> Option<String> {
    let one = pairs.first()?.per_s();
    let best = pairs.iter().skip(1).max_by(|a, b| a.per_s().total_cmp(&b.per_s()))?;
    let gain = best.per_s() / one;
    Some(match gain >= PAYS {
        true => format!("{what}: {} at once pay, {gain:.2} times the throughput of one by one", best.at_once),
        false => {
            format!("{what}: batching does not pay, {gain:.2} times the throughput of one by one at best")
        }
    })
}

/// Runs the command.
pub fn run(args: &TableArgs) -> Result<()> {
    let place = Place::new(args)?;
    let size = if args.quick { (320, 240) } else { FULL_HD };
    place.photograph("images", size, IMAGES, &["--different", "8"])?;
    let pairs = |sizes: &[usize], one: &str| -> Vec<Pair> {
        sizes.iter().map(|&at_once| Pair::new(at_once, one)).collect()
    };
    let mut prompts = pairs(if args.quick { &[1, 4] } else { &[1, 2, 4, 8, 16, 32] }, "prompt");
    let mut images = pairs(if args.quick { &[1, 2] } else { &[1, 2, 3, 4] }, "image");
    let list = prompts.iter().map(|pair| pair.at_once.to_string()).collect::<Vec<_>>().join(",");
    let point = format!("{},{}", size.0 / 2, size.1 / 2);
    let mut has_own_decode = false;
    for repeat in 1..=place.repeat {
        for kind in place.kinds() {
            let say =
                |what: &str| place.say(&format!("run {repeat} of {}: {}, {what}", place.repeat, kind.name()));
            say("prompts");
            let worker = ["bench", "worker", "prompts", "--picture", "images/00000.jpg", "--at-once", &list];
            match place.done_if_known(kind, &worker, "cache", Expected::Document)? {
                Some(run) => {
                    for pair in &mut prompts {
                        let found = &run.document[pair.at_once.to_string()];
                        pair.add(kind, number(found, "latency_s")?, number(found, "per_s")?);
                    }
                }
                // It can be asked for one prompt on a held engine.
                None => {
                    has_own_decode = true;
                    let decode = ["bench", "decode", "--repeat", "5", "--json"];
                    let run = place.done(kind, &decode, "cache", Expected::Document)?;
                    let latency_s = number(&run.document, "median_s")?;
                    for pair in &mut prompts {
                        match pair.at_once {
                            1 => pair.add(kind, latency_s, 1.0 / latency_s.max(1e-9)),
                            _ => pair.cannot(kind, NO_COMMAND),
                        }
                    }
                }
            }
            for pair in &mut images {
                say(&format!("{} images at once", pair.at_once));
                place.clear("out")?;
                let at_once = pair.at_once.to_string();
                let folder = ["segment", "images", "--point", &point, "--format", "coco", "--out", "out"];
                let limited = [&folder[..], &["--images-at-once", &at_once]].concat();
                let expected = Expected::Folder("out", IMAGES);
                let run = match place.done_if_known(kind, &limited, "cache", expected)? {
                    None if pair.at_once == 1 => Some(place.done(kind, &folder, "cache", expected)?),
                    run => run,
                };
                let Some(run) = run else {
                    pair.cannot(kind, NO_OPTION);
                    continue;
                };
                let per_s = IMAGES as f64 / run.wall_s;
                // By Little's law; without optimisations there is one at a time, whatever was asked for.
                let under_way = if kind == Kind::Off { 1 } else { pair.at_once };
                pair.add(kind, under_way as f64 / per_s, per_s);
            }
        }
    }
    let verdicts = [verdict("prompts", &prompts), verdict("images", &images)];
    let mut notes: Vec<String> = verdicts.into_iter().flatten().collect();
    notes.push(format!(
        "prompts at once are one call on a held engine, which answers {PROMPTS_AT_ONCE} together at most; images at once are a folder of \
         {IMAGES}, a process that loads the model"
    ));
    if has_own_decode {
        notes.push(
            "before: it knows no several prompts in one call and no --images-at-once; 1 prompt is its `bench decode` (three masks, none \
             drawn), 1 image its `segment` on the folder, as it comes"
                .into(),
        );
    }
    let rows = prompts.into_iter().chain(images).flat_map(|pair| [pair.latency, pair.throughput]).collect();
    let table = Table::new("batch", args, rows, notes)?;
    drop(place);
    table.finish(args)
}
