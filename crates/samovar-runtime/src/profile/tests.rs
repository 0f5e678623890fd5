use samovar_geometry::Size;
use samovar_media::RgbImage;
use samovar_tensor::{Cost, Precision};

use super::*;
use crate::{Engine, Options, Prompt};

fn engine(precision: Option<Precision>) -> Engine {
    Engine::new(Options { threads: 2, precision, ..Options::default() }).unwrap()
}

/// Two rounds, watched, with all their calls.
fn profiled(engine: &Engine) -> Arc<Profiler> {
    watched(engine, true)
}

fn watched(engine: &Engine, keeps_calls: bool) -> Arc<Profiler> {
    let model = engine.load("nano").unwrap();
    let profiler = Profiler::recording(engine.device().pool(), keeps_calls);
    let model = model.on(&engine.with_instrument(profiler.clone()));
    let image = RgbImage::from_fn(Size::new(90, 60), |x, y| [x as u8, y as u8, 7]);
    let click = Prompt::default().point(40.0, 30.0);
    let work = || model.embed_pixels(&image)?.segment(&click)?.best().mask();
    work().unwrap();
    profiler.take();
    for _ in 0..2 {
        profiler.round(work).unwrap();
    }
    profiler
}

#[test]
fn spans_nest_and_stages_add_up() {
    let engine = engine(None);
    let profiler = profiled(&engine);
    let (rounds, whole) = profiler.rounds();
    let stages = profiler.stages();
    let names: Vec<_> = stages.iter().map(|stage| stage.name).collect();
    assert_eq!((rounds, names), (2, vec!["preprocess", "encoder", "decoder", "postprocess"]));
    let of_stages: Duration = stages.iter().map(|stage| stage.duration).sum();
    assert!(of_stages <= whole && of_stages > whole / 2, "{of_stages:?} of {whole:?}");
    assert!(stages.iter().all(|stage| stage.peak_bytes > 1 << 20), "{stages:?}");

    let trace = profiler.trace("test");
    let mut holders: Vec<(&str, Duration)> = Vec::new();
    let mut operators = 0;
    for span in trace.ordered() {
        holders.retain(|(_, end)| *end > span.start);
        assert!(holders.iter().all(|(_, end)| *end >= span.end()), "{span:?} lies across {holders:?}");
        let expected: &[&str] = match span.category {
            "round" => &[],
            "stage" => &["round"],
            _ => &["round", "stage"],
        };
        operators += u64::from(span.category == "operator");
        let around: Vec<_> = holders.iter().map(|(category, _)| *category).collect();
        assert_eq!(around, expected, "{span:?}");
        holders.push((span.category, span.end()));
    }
    let counted: u64 = profiler.take().values().map(|time| time.calls).sum();
    assert_eq!(operators, counted, "the round that does not count is left out of both");
    assert_eq!(trace.samples.len(), 2 * operators as usize);
}

/// Records grew with the rounds though no trace was asked for, and stages were cut off where there were too many.
#[test]
fn stages_add_up_without_a_record_of_every_call() {
    let engine = engine(None);
    let profiler = watched(&engine, false);
    let names: Vec<_> = profiler.stages().iter().map(|stage| stage.name).collect();
    assert_eq!((profiler.rounds().0, names), (2, vec!["preprocess", "encoder", "decoder", "postprocess"]));
    assert!(profiler.trace("test").spans.iter().all(|span| span.category == "round"));
    let one = profiler.stages();
    let span = Span {
        op: "linear",
        stage: "encoder",
        output: [1, 2].into(),
        cost: Cost::default(),
        duration: Duration::from_nanos(1),
    };
    profiler.round(|| (0..(1 << 18) + 10).for_each(|_| profiler.record(&span)));
    let all = profiler.stages();
    assert_eq!(all.len(), one.len());
    assert!(all[1].duration > one[1].duration && all[2] == one[2], "{one:?} {all:?}");
    assert!(all[1].duration <= profiler.rounds().1);
}

#[test]
fn roofs_are_those_of_the_kind_of_numbers() {
    let limit = Duration::from_millis(2);
    let engine = engine(None);
    let f32 = Roofline::measure(&engine, Precision::F32, limit).unwrap();
    assert!(f32.ceilings.f32_per_s > 1e8 && f32.ceilings.bytes_per_s > 1e8 && f32.ceilings.int8_per_s > 1e8);
    assert!(f32.call_s > 0.0 && f32.call_s < 1e-2);
    assert_eq!(f32.peak("linear").0, "f32");
    let int8 = Roofline { precision: Precision::Int8, ..f32 };
    assert!(int8.peak("linear").1 >= f32.peak("linear").1);
    assert_eq!(int8.peak("layer_norm"), f32.peak("layer_norm"));
    let roof = |operations, bytes, calls| {
        let time = OperatorTime { calls, cost: Cost { operations, bytes }, ..OperatorTime::default() };
        f32.roof("linear", &time).bound
    };
    assert_eq!(roof(1 << 40, 1, 1), Bound::Compute);
    assert_eq!(roof(1, 1 << 40, 1), Bound::Memory);
    assert_eq!(roof(1, 1, 1), Bound::Overhead);
}

/// What watching costs: the time of one report times the reports of an image, against the work they are about; and where
/// nobody watches, the whole way through the door, of which looking for a watcher is the least part.
#[test]
fn watching_costs_less_than_three_percent_and_half_a_percent_when_nobody_does() {
    let engine = engine(None);
    let profiler = profiled(&engine);
    let (rounds, whole) = profiler.rounds();
    let calls: u64 = profiler.take().values().map(|time| time.calls).sum();
    let per_round = (calls / rounds as u64) as f64;
    let span = Span {
        op: "linear",
        stage: "encoder",
        output: [1, 2].into(),
        cost: Cost::default(),
        duration: Duration::ZERO,
    };
    const REPORTS: u32 = 5000;
    let start = std::time::Instant::now();
    (0..REPORTS).for_each(|_| profiler.record(&span));
    let per_image = whole.as_secs_f64() / rounds as f64;
    let share = start.elapsed().as_secs_f64() / f64::from(REPORTS) * per_round / per_image;
    assert!(share < 0.03, "{:.2} % of an image", 100.0 * share);
    let unwatched = ceilings::door_seconds(engine.device()).unwrap() * per_round / per_image;
    assert!(unwatched < 0.005, "{:.2} % of an image", 100.0 * unwatched);
    println!("watched {:.3} %, unwatched {:.3} %, {per_round} calls", 100.0 * share, 100.0 * unwatched);
}
