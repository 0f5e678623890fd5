//! `samovar doctor`: what this machine can do, and what each precision costs and saves on it.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use samovar::certificate::{Bounds, Case, Certificate, LEAST_MASKS, PendingCase, Store, certify, processor};
use samovar::devices::{self, DeviceCertificate, DeviceChoice, DeviceKind, DeviceList, DeviceReport, Speed};
use samovar::media::mask::{LabelRegion, deepest_point};
use samovar::media::segpack::{SegpackLimits, SegpackReader, SegpackRecord};
use samovar::memory::{Memory, bytes};
use samovar::source::ModelSource;
use samovar::{Box2, DecodeLimits, LazyImage, PictureBytes, PictureUse, Precision};
use serde_json::json;

use super::segment::print;
use crate::environment;
use crate::failure::{describe, usage};
use crate::model_args::{EngineArgs, resolve};
use crate::{inputs, interrupt, progress};

/// Check this machine, and measure what each dtype costs and saves on it
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// `nano`, an id of `samovar models`, a Hugging Face folder, or a checkpoint file
    #[arg(long, short, value_name = "MODEL", default_value = "nano")]
    model: String,
    #[command(flatten)]
    engine: EngineArgs,
    /// Pictures to compare masks on: images, folders or .segpack files; made ones if not given
    #[arg(long, value_name = "PATH", num_args = 1..)]
    images: Vec<PathBuf>,
    /// At most so many pictures, spread over all that are given
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only these, as int8,f16 [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    dtype: Vec<Precision>,
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  samovar doctor
  samovar doctor --model facebook/sam-vit-base --images photos/
  samovar doctor --images dev.segpack --limit 100 --dtype int8

Graphics cards are listed with what their drivers say (software drivers only where --device names one). Cards are measured with nano beside the processors, and \
`--device auto` takes the best that computes the same, and products faster; that certificate is kept, too.

Every dtype takes its turn on every picture: time of encoding and of one prompt, memory, the cosine of the mask logits \
with those of f32, and the IoU of the masks. A dtype that takes more than 1.05x the time of f32, or whose masks are beyond \
the bounds, is refused by --dtype from then on, on this machine and for this model, unless --force-dtype. Each also follows objects through a \
made clip; one whose masks have a J&F below 0.95 with those of f32 there is refused by `track`. Fewer than 20 \
masks certify nothing. With a .segpack the prompts are clicks into and \
boxes around its objects; with images, two clicks and a box around the middle.";

/// How long the processor's peak is measured.
const PEAK_TIME: Duration = Duration::from_millis(200);

/// Objects of one picture of a pack that are asked for.
const OBJECTS_PER_PICTURE: usize = 3;

/// Smallest side of an object that is asked for, in pixels.
const LEAST_SIDE: f64 = 12.0;

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let engine = args.engine.engine()?;
    let source = resolve(&args.model)?;
    let peak = match engine.cpu() {
        Ok(cpu) => cpu.measure_peak(PEAK_TIME),
        Err(_) => Speed::measure(engine.device())?.flop_per_s,
    };
    let cards = cards(args)?;
    let memory = Memory::now();
    let precisions = if args.dtype.is_empty() { Precision::ALL.to_vec() } else { args.dtype.clone() };
    let limit = args.limit as usize;
    let cases = cases(&args.images, limit, engine.decode_limits())?;
    let (mut count, mut cases) = cases;
    let mut done = 0;
    interrupt::catch_saying("stopping after the picture at hand; nothing is certified");
    let bar = progress::items(count as u64, "pictures");
    bar.watch(&engine);
    let bounds = Bounds::default();
    let certificates = certify(&engine, &source, &precisions, &mut cases, count, &bounds, &mut |progress| {
        done = progress.done;
        bar.set_position(done as u64);
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    bar.finish_and_clear();
    count = done;
    // Half a comparison is no certificate, and neither is one of next to nothing.
    let enough = (certificates.len() == 1 || certificates[0].masks >= LEAST_MASKS) && !interrupt::asked();
    let folder = environment::cache_folder().filter(|_| enough);
    let store = folder.map(|folder| Store::of(&source, &engine, &folder));
    let kept = store.as_ref().map_or(Ok(()), |store| keep(store, &certificates));
    let store = store.filter(|_| kept.is_ok());
    report(args, &engine, &source, peak, memory, count, &bounds, &certificates, store.as_ref(), &cards)?;
    if let Err(error) = kept {
        say!("warning: this could not be kept, and --dtype will not know of it: {}", describe(&error));
    } else if !enough {
        say!("nothing was kept; give more pictures, or let it run to the end");
    }
    Ok(())
}

/// Prints what was found.
fn report(
    args: &Args,
    engine: &samovar::Engine,
    source: &ModelSource,
    peak: f64,
    memory: Memory,
    count: usize,
    bounds: &Bounds,
    certificates: &[Certificate],
    store: Option<&Store>,
    cards: &Cards,
) -> Result<()> {
    if args.json {
        return print(&json!({
            "processor": processor(), "simd": engine.instructions(), "threads": engine.threads(),
            "peak_gflop_per_s": peak / 1e9, "memory_total_bytes": memory.total_bytes,
            "memory_available_bytes": memory.available_bytes, "memory_budget_bytes": engine.budget_bytes(),
            "device": engine.device().name(), "devices": cards.document(),
            "model": source.name(), "pictures": count, "bounds": bounds, "certificates": certificates,
            "kept_in": store.map(|store| store.file().display().to_string()),
        }));
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "processor   {}", processor())?;
    writeln!(
        out,
        "            {} threads, {}, peak in f32 {:.0} GFLOP/s",
        engine.threads(),
        engine.instructions(),
        peak / 1e9
    )?;
    writeln!(
        out,
        "memory      {} of {} free, budget {}",
        bytes(memory.available_bytes),
        bytes(memory.total_bytes),
        bytes(engine.budget_bytes())
    )?;
    cards.write(&mut out)?;
    writeln!(out, "model       {}, {count} pictures, {} masks\n", source.name(), certificates[0].masks)?;
    writeln!(
        out,
        "{:6} {:>11} {:>6} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}  verdict",
        "dtype",
        "encode ms",
        "x f32",
        "decode ms",
        "weights",
        "peak",
        "cosine",
        "mean IoU",
        "worst IoU",
        "track J&F"
    )?;
    for one in certificates {
        writeln!(
            out,
            "{:6} {:>11.2} {:>6.2} {:>10.2} {:>9} {:>9} {:>9.5} {:>9.4} {:>9.4} {:>9}  {}",
            one.dtype,
            one.encode_s * 1e3,
            one.time_ratio,
            one.decode_s * 1e3,
            bytes(one.weight_bytes).to_string(),
            bytes(one.peak_bytes).to_string(),
            one.logits_cosine,
            one.mean_iou,
            one.worst_iou,
            one.followed.as_ref().map_or_else(|| "-".to_owned(), |one| format!("{:.4}", one.j_and_f)),
            if one.masks < LEAST_MASKS && !one.refused.is_empty() {
                one.refused.join("; ")
            } else if one.refused.is_empty() {
                match one.followed.as_ref().filter(|followed| !followed.refused.is_empty()) {
                    Some(followed) => format!("good, refused for `track`: {}", followed.refused.join("; ")),
                    None => "good".to_owned(),
                }
            } else {
                format!("refused: {}", one.refused.join("; "))
            }
        )?;
    }
    Ok(())
}

/// Devices beside the processors, each with what was measured of it.
struct Cards {
    found: Vec<(DeviceReport, Option<samovar::Result<DeviceCertificate>>)>,
    absent: Option<String>,
}

/// Asks the drivers, and measures the cards anew; drivers for tests are listed and not measured, unless that is what is to compute.
fn cards(args: &Args) -> Result<Cards> {
    let cache = environment::cache_folder();
    let options = args.engine.options()?;
    let chosen = args.engine.settings()?.word("device");
    // Drivers stay in memory once they were asked, those for tests with more than a small model takes.
    let list = match devices::has_card() || matches!(chosen, Some(DeviceChoice::Card { .. })) {
        true => devices::list(),
        false => DeviceList { devices: Vec::new(), absent: Some("no graphics card".to_owned()) },
    };
    let measured = |card: DeviceReport| {
        let is_measured =
            card.unusable.is_none() && (card.kind != DeviceKind::Software || chosen == Some(card.choice));
        let certificate = is_measured.then(|| devices::measure(&card, cache.as_deref(), &options));
        (card, certificate)
    };
    Ok(Cards { found: list.devices.into_iter().map(measured).collect(), absent: list.absent })
}

impl Cards {
    fn document(&self) -> serde_json::Value {
        let of = |(card, certificate): &(DeviceReport, Option<samovar::Result<DeviceCertificate>>)| {
            json!({
                "device": card.choice.to_string(), "name": card.name, "driver": card.driver,
                "kind": card.kind.name(), "memory_bytes": card.memory_bytes, "f16": card.has_f16,
                "subgroups": card.subgroups, "matrix_units": card.matrix_units,
                "timestamps": card.has_timestamps, "unusable": card.unusable,
                "certificate": certificate.as_ref().and_then(|one| one.as_ref().ok()),
                "failed": certificate.as_ref().and_then(|one| one.as_ref().err()).map(ToString::to_string),
            })
        };
        self.found.iter().map(of).collect()
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        if let Some(absent) = &self.absent {
            writeln!(out, "devices     {absent}")?;
        }
        for (card, certificate) in &self.found {
            let mut has = vec![card.kind.name().to_owned()];
            has.extend(card.memory_bytes.map(|count| bytes(count as usize).to_string()));
            has.extend(card.has_f16.then(|| "f16".to_owned()));
            has.extend(card.subgroups.map(|[least, most]| match least == most {
                true => format!("subgroups of {least}"),
                false => format!("subgroups of {least} to {most}"),
            }));
            has.extend(card.matrix_units.iter().map(|[m, n, k]| format!("matrices {m}x{n}x{k}")));
            has.extend(card.has_timestamps.then(|| "timestamps".to_owned()));
            writeln!(out, "{:11} {} ({})", card.choice.to_string(), card.name, card.driver)?;
            writeln!(out, "            {}", has.join(", "))?;
            let verdict = match (&card.unusable, certificate) {
                (Some(why), _) => format!("cannot be used: {why}"),
                (None, None) => "not measured: taken only with --device and --force-device".to_owned(),
                (None, Some(Err(error))) => format!("cannot be used: {error}"),
                (None, Some(Ok(found))) => {
                    let speed = found.speed;
                    let verdict = match found.against() {
                        None => "good".to_owned(),
                        Some(why) => format!("not taken by auto: {why}"),
                    };
                    format!(
                        "peak in f32 {:.0} GFLOP/s, {:.0} GB/s, worst IoU {:.4}, cosine {:.6}: {verdict}",
                        speed.flop_per_s / 1e9,
                        speed.bytes_per_s / 1e9,
                        found.agreement.worst_iou,
                        found.agreement.logits_cosine
                    )
                }
            };
            writeln!(out, "            {verdict}")?;
        }
        Ok(())
    }
}

/// Puts new certificates in the place of old ones of the same dtype.
fn keep(store: &Store, certificates: &[Certificate]) -> Result<()> {
    let mut all = store.read();
    all.retain(|old| certificates.iter().all(|new| new.dtype != old.dtype));
    all.extend_from_slice(certificates);
    Ok(store.write(&all)?)
}

type Cases = Box<dyn Iterator<Item = samovar::Result<PendingCase<'static>>>>;

/// Every so-manieth of the pictures named, `limit` at most.
fn cases(paths: &[PathBuf], limit: usize, limits: &DecodeLimits) -> Result<(usize, Cases)> {
    let is_pack = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "segpack");
    let limits = *limits;
    match paths {
        [] => Ok((limit, Box::new((0..limit as u32).map(|number| Ok(PendingCase::made(number)))))),
        [pack] if is_pack(pack) => of_pack(pack, limit, limits),
        paths if paths.iter().any(is_pack) => {
            Err(usage("--images takes one .segpack, or images and folders"))
        }
        paths => {
            let inputs = inputs::list(paths, true)?;
            inputs.report_left_out();
            let images = inputs.images;
            let step = images.len().div_ceil(limit);
            let chosen: Vec<_> = images.into_iter().step_by(step).collect();
            let count = chosen.len();
            // One picture that cannot be read is no reason to measure nothing.
            let cases = chosen.into_iter().filter_map(move |input| {
                let image = LazyImage::open_within(&input.path, limits);
                let name = format!("\"{}\"", input.path.display());
                let left_out = |error: &dyn std::fmt::Display| say!("left out: {error}");
                let metadata = image.metadata().inspect_err(|error| left_out(error)).ok()?;
                let open =
                    move || Ok(image.pixels().inspect_err(|error| left_out(error)).ok().map(Case::central));
                let needs = PictureBytes::of(&metadata, PictureUse::Masks);
                Some(Ok(PendingCase { name, needs, open: Box::new(open) }))
            });
            Ok((count, Box::new(cases)))
        }
    }
}

fn of_pack(pack: &Path, limit: usize, limits: DecodeLimits) -> Result<(usize, Cases)> {
    let open = || SegpackReader::open(pack, SegpackLimits::default());
    let mut all = 0;
    for record in open()? {
        record.with_context(|| format!("\"{}\"", pack.display()))?;
        all += 1;
    }
    let step = usize::max(all, 1).div_ceil(limit);
    let cases = open()?.step_by(step).map(move |record| {
        let record = record?;
        let needs = PictureBytes::of(&record.metadata(&limits)?, PictureUse::Labels);
        let name = format!("\"{}\"", record.header.id);
        Ok(PendingCase { name, needs, open: Box::new(move || case_of(&record, &limits).map(Some)) })
    });
    Ok((all.div_ceil(step), Box::new(cases)))
}

/// A picture of a pack, with its largest objects.
fn case_of(record: &SegpackRecord, limits: &DecodeLimits) -> samovar::Result<Case> {
    let image = record.image(limits)?;
    let mut objects: Vec<_> = Vec::new();
    for layer in 0..record.header.layers.len() {
        let labels = record.labels(layer, limits)?;
        let mut regions = labels.regions();
        regions.sort_by_key(|region| std::cmp::Reverse(region.area));
        let side = |from: u32, to: u32| f64::from(to - from);
        regions.retain(|&LabelRegion { bounds: [x0, y0, x1, y1], .. }| {
            side(x0, x1).min(side(y0, y1)) >= LEAST_SIDE
        });
        regions.truncate(OBJECTS_PER_PICTURE);
        let chosen: Vec<u16> = regions.iter().map(|region| region.label).collect();
        for (region, mask) in regions.iter().zip(labels.masks_of(&chosen)) {
            let Some((inside, _)) = deepest_point(&mask) else { continue };
            let [x0, y0, x1, y1] = region.bounds.map(f64::from);
            objects.push((region.area, (inside, Box2::new(x0, y0, x1, y1))));
        }
    }
    // The largest ones; of specks a pixel more or less decides the IoU.
    objects.sort_by_key(|(area, _)| std::cmp::Reverse(*area));
    let large = objects.into_iter().map(|(_, object)| object);
    Ok(Case::of_objects(image, &large.take(OBJECTS_PER_PICTURE).collect::<Vec<_>>()))
}
