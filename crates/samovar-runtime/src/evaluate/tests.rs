//! Packs of drawn discs, which nano finds; figures that do not depend on how the work was shared out.

use std::sync::atomic::{AtomicUsize, Ordering};

use samovar_geometry::Size;
use samovar_media::write::{encode_label_png, encode_rgb_png};
use samovar_media::{BitMask, LabelMap, RgbImage};
use tempfile::TempDir;

use super::protocol::with_next_click;
use super::*;
use crate::engine::{Engine, Options};
use crate::prompt::Prompt;

fn block(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

/// A red and a yellow disc on blue, and a speck too small to count; a record's bytes.
fn record(source: &str, id: &str, shift: u32) -> Vec<u8> {
    let size = Size::new(160, 120);
    let inside = |x: u32, y: u32, cx: u32, r: f64| {
        (f64::from(x) - f64::from(cx + shift)).hypot(f64::from(y) - 60.0) < r
    };
    let label = |x: u32, y: u32| match (x, y) {
        _ if inside(x, y, 40, 26.0) => 1,
        _ if inside(x, y, 110, 18.0) => 2,
        (2..4, 2..4) => 3,
        _ => 0u16,
    };
    let colours = [[30, 60, 160], [210, 40, 30], [240, 220, 40], [255, 255, 255]];
    let image = RgbImage::from_fn(size, |x, y| colours[usize::from(label(x, y))]);
    let labels = (0..120).flat_map(|y| (0..160).map(move |x| (x, y))).map(|(x, y)| label(x, y)).collect();
    let labels = LabelMap::from_raw(size, labels).unwrap();
    let header = format!(
        r#"{{"id":"{id}","src":"{source}","w":160,"h":120,"lic":"CC0","layers":[{{"kind":"instances"}}]}}"#
    );
    [
        block(header.as_bytes()),
        block(&encode_rgb_png(&image).unwrap()),
        vec![1],
        block(&encode_label_png(&labels).unwrap()),
    ]
    .concat()
}

fn pack_of(records: &[Vec<u8>]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.segpack");
    std::fs::write(&path, [b"SEGPACK1".to_vec(), records.concat()].concat()).unwrap();
    (folder, path)
}

/// Two pictures of one source, one of another.
fn pack() -> (TempDir, PathBuf) {
    pack_of(&[record("discs", "a", 0), record("discs", "b", 7), record("more", "a", 3)])
}

fn nano(threads: usize) -> Model {
    Engine::new(Options { threads, ..Options::default() }).unwrap().load("nano").unwrap()
}

fn go_on(_: EvaluateProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Without a look at single masks.
fn evaluate(
    model: &Model,
    pack: &Path,
    options: &EvaluateOptions,
    progress: &(dyn Fn(EvaluateProgress) -> ControlFlow<()> + Sync),
) -> Result<Evaluation> {
    super::evaluate(model, pack, options, progress, &mut |_| ControlFlow::Continue(()))
}

fn few_clicks() -> EvaluateOptions {
    EvaluateOptions { clicks: 3, worst_per_source: 1, ..EvaluateOptions::default() }
}

#[test]
fn discs_are_found_and_counted_whoever_does_the_work() {
    let (_folder, path) = pack();
    let masks = AtomicUsize::new(0);
    let count = |progress: EvaluateProgress| {
        masks.fetch_max(progress.masks, Ordering::Relaxed);
        assert_eq!(progress.of_pictures, 3);
        ControlFlow::Continue(())
    };
    let alone = evaluate(&nano(1), &path, &few_clicks(), &count).unwrap();
    assert!(alone.complete && alone.whole_pack && alone.reference.is_none());
    assert_eq!((alone.pictures, alone.masks, masks.into_inner()), (3, 6, 6));
    assert_eq!((alone.sources["discs"].pictures, alone.sources["more"].masks), (2, 2));
    let mean = &alone.mean;
    // One click on a flat drawing may mean disc or ground; the three masks have both.
    let (iou, boundary) = (&mean.iou, &mean.boundary_f);
    assert!(iou.best_of_three > 0.9 && iou.boxed > 0.9 && iou.clicks[2] > 0.9, "{mean:?}");
    assert!(iou.flood_fill > 0.99 && boundary.flood_fill > 0.99, "one colour: {mean:?}");
    assert!((0.7..0.85).contains(&iou.bare_box), "a disc fills pi / 4 of its box: {mean:?}");
    assert!((0.1..0.8).contains(&boundary.bare_box), "a disc touches its box in four places: {mean:?}");
    assert!(boundary.boxed > 0.9 && boundary.clicks[2] > 0.8, "{mean:?}");
    assert_eq!((iou.clicks.len(), iou.clicks[0]), (3, iou.one_click));
    assert_eq!((boundary.clicks.len(), boundary.clicks[0]), (3, boundary.one_click));
    let of_sources = Figures::mean(alone.sources.values().map(|source| &source.figures));
    assert_eq!(of_sources, alone.mean);

    let together = evaluate(&nano(3), &path, &few_clicks(), &go_on).unwrap();
    assert_eq!(together.mean, alone.mean);
    let names = |evaluation: &Evaluation| format!("{:?}", evaluation.worst);
    assert_eq!(names(&together), names(&alone));
    assert_eq!(alone.worst.len(), 4, "one click and one box for each source");
    let mut drawn = Vec::new();
    let draw = |one: &WorstMask, overlay: &RgbImage| -> Result<()> {
        assert_eq!(overlay.size(), Size::new(160, 120));
        drawn.push(format!("{one:?}"));
        Ok(())
    };
    draw_worst(&alone.worst, &path, &nano(1), draw).unwrap();
    drawn.sort();
    let mut expected: Vec<String> = alone.worst.iter().map(|one| format!("{one:?}")).collect();
    expected.sort();
    assert_eq!(drawn, expected);
}

#[test]
fn masks_come_one_by_one_in_the_order_of_the_pack_and_their_means_are_the_figures() {
    let (_folder, path) = pack();
    let mut masks: Vec<MaskFigures> = Vec::new();
    let mut each = |mask: &MaskFigures| {
        masks.push(mask.clone());
        ControlFlow::Continue(())
    };
    let found = super::evaluate(&nano(3), &path, &few_clicks(), &go_on, &mut each).unwrap();
    let names: Vec<String> = masks
        .iter()
        .map(|mask| format!("{}/{}/{}-{}", mask.source, mask.picture, mask.layer, mask.label))
        .collect();
    assert_eq!(
        names,
        ["discs/a/0-1", "discs/a/0-2", "discs/b/0-1", "discs/b/0-2", "more/a/0-1", "more/a/0-2"]
    );
    let first = &masks[0];
    assert_eq!((first.clicks.len(), first.clicks[0].positive), (3, true));
    assert!((first.area as f64 - std::f64::consts::PI * 26.0 * 26.0).abs() < 30.0, "{first:?}");
    assert_eq!((first.share, first.bounds), (first.area as f64 / 19200.0, [15, 35, 66, 86]));
    assert!((f64::from(first.clicks[0].x) - 40.0).abs() < 2.0, "{first:?}");
    assert!(
        first.boxed.bounds.iter().zip(first.bounds).all(|(a, b)| (a - f64::from(b)).abs() <= 0.05 * 51.0)
    );
    let mean = |source: &str, figure: &dyn Fn(&MaskFigures) -> f64| {
        let of_source: Vec<f64> = masks.iter().filter(|mask| mask.source == source).map(figure).collect();
        of_source.iter().sum::<f64>() / of_source.len() as f64
    };
    let discs = &found.sources["discs"].figures;
    assert_eq!(discs.boundary_f.boxed, mean("discs", &|mask| mask.boxed.answer.agreement.boundary_f));
    assert_eq!(discs.iou.clicks[2], mean("discs", &|mask| mask.clicks[2].answer.agreement.iou));
    assert!(masks.iter().all(|mask| (0.0..=1.2).contains(&mask.boxed.answer.predicted_iou)));

    let mut seen = 0;
    let mut stop = |_: &MaskFigures| {
        seen += 1;
        ControlFlow::Break(())
    };
    let partial = super::evaluate(&nano(1), &path, &few_clicks(), &go_on, &mut stop).unwrap();
    assert!(!partial.complete);
    assert_eq!(seen, partial.masks);
}

#[test]
fn a_sample_asks_the_same_as_the_whole() {
    let (_folder, path) = pack();
    let model = nano(1);
    let limited = EvaluateOptions { pictures_per_source: Some(1), ..few_clicks() };
    let mut chosen = Vec::new();
    let mut each = |mask: &MaskFigures| {
        chosen.push((mask.source.clone(), mask.picture.clone()));
        ControlFlow::Continue(())
    };
    let sample = super::evaluate(&model, &path, &limited, &go_on, &mut each).unwrap();
    let shift = if chosen.contains(&("discs".into(), "a".into())) { ("a", 0) } else { ("b", 7) };
    let (_other, the_same) = pack_of(&[record("discs", shift.0, shift.1), record("more", "a", 3)]);
    let whole = evaluate(&model, &the_same, &few_clicks(), &go_on).unwrap();
    assert_eq!(sample.mean, whole.mean);
    assert!(sample.complete && !sample.whole_pack && whole.whole_pack);
    assert_eq!((sample.seed, whole.seed), (Some(0), None));

    let one_mask = EvaluateOptions { masks_per_picture: Some(1), ..few_clicks() };
    let sample = evaluate(&model, &path, &one_mask, &go_on).unwrap();
    assert_eq!((sample.pictures, sample.masks, sample.whole_pack), (3, 3, false));
}

#[test]
fn the_same_seed_draws_the_same_pictures_from_all_of_a_source_and_keeps_them_when_the_pack_grows() {
    let names = |count: usize| -> Vec<Vec<u8>> {
        (0..count)
            .flat_map(|i| ["many", "some"].map(|source| record(source, &format!("picture {i}"), 0)))
            .collect()
    };
    let model = nano(1);
    let places = |path: &Path, most: usize, seed: u64| {
        let options = EvaluateOptions { pictures_per_source: Some(most), seed, ..EvaluateOptions::default() };
        let survey = Survey::of(&model, path, &options).unwrap();
        let mut records = Records::open(path, &survey).unwrap();
        let mut places = Vec::new();
        while let Some((number, place, _)) = records.next().unwrap() {
            assert_eq!(number, places.len());
            places.push(place);
        }
        assert_eq!(places.len(), survey.chosen());
        places
    };
    let (_folder, path) = pack_of(&names(60));
    let drawn = places(&path, 6, 0);
    assert_eq!((drawn.len(), drawn.iter().filter(|&place| place % 2 == 0).count()), (12, 6));
    assert!(drawn.is_sorted() && drawn[0] < 60 && drawn[11] >= 60, "from all of the pack: {drawn:?}");
    assert_eq!(places(&path, 6, 0), drawn);
    assert_ne!(places(&path, 6, 1), drawn);
    let more = places(&path, 8, 0);
    assert!(drawn.iter().all(|place| more.contains(place)), "a larger sample holds the smaller one");
    assert_eq!(places(&path, 100, 3), (0..120).collect::<Vec<_>>());

    let (_longer, longer) = pack_of(&names(66));
    let grown = places(&longer, 6, 0);
    let new = grown.iter().filter(|&&place| place >= 120).count();
    let kept = grown.iter().filter(|place| drawn.contains(place)).count();
    assert_eq!(kept + new, 12, "only new pictures take the place of others: {drawn:?} {grown:?}");
    assert!(kept >= 8, "{drawn:?} {grown:?}");
}

#[test]
fn a_stop_keeps_what_is_finished_and_says_so() {
    let (_folder, path) = pack();
    let stop_after = |pictures: usize| {
        let progress = move |progress: EvaluateProgress| match progress.pictures < pictures {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        evaluate(&nano(2), &path, &few_clicks(), &progress)
    };
    let partial = stop_after(1).unwrap();
    assert!(!partial.complete && !partial.whole_pack);
    assert_eq!((partial.pictures, partial.sources.len()), (1, 1));
    assert!(matches!(stop_after(0), Err(Error::Stopped)));
}

#[test]
fn what_cannot_be_measured_is_an_error() {
    let (_folder, path) = pack();
    let model = nano(1);
    for options in [
        EvaluateOptions { clicks: 0, ..few_clicks() },
        EvaluateOptions { clicks: MAX_CLICKS + 1, ..few_clicks() },
        EvaluateOptions { pictures_per_source: Some(0), ..few_clicks() },
        EvaluateOptions { masks_per_picture: Some(0), ..few_clicks() },
    ] {
        assert!(matches!(evaluate(&model, &path, &options, &go_on), Err(Error::Usage(_))), "{options:?}");
    }
    let (_empty, empty) = pack_of(&[]);
    let error = evaluate(&model, &empty, &few_clicks(), &go_on).unwrap_err().to_string();
    assert!(error.contains("tiny.segpack") && error.contains("nothing to measure"), "{error}");
    let mut torn = record("discs", "b", 0);
    torn.truncate(torn.len() - 3);
    let (_torn, torn) = pack_of(&[record("discs", "a", 0), torn]);
    let error = evaluate(&model, &torn, &few_clicks(), &go_on).unwrap_err().to_string();
    assert!(error.contains("record 2"), "{error}");
    assert!(evaluate(&model, Path::new("nowhere.segpack"), &few_clicks(), &go_on).is_err());
}

/// The label layer of another picture must not be taken for this one's.
#[test]
fn layers_of_another_size_are_refused() {
    let size = Size::new(8, 8);
    let image = encode_rgb_png(&RgbImage::from_fn(size, |_, _| [9; 3])).unwrap();
    let labels = encode_label_png(&LabelMap::from_raw(Size::new(4, 4), vec![1; 16]).unwrap()).unwrap();
    let header = br#"{"id":"a","src":"s","w":8,"h":8,"layers":[{"kind":"binary"}]}"#;
    let (_folder, path) = pack_of(&[[block(header), block(&image), vec![1], block(&labels)].concat()]);
    let error = evaluate(&nano(1), &path, &few_clicks(), &go_on).unwrap_err().to_string();
    assert!(error.contains("s/a") && error.contains("damaged"), "{error}");
}

#[test]
fn the_next_click_goes_into_the_larger_error() {
    let size = Size::new(100, 100);
    let square = |x0: u32, side: u32| BitMask::from_fn(size, |x, y| x.wrapping_sub(x0) < side && y < side);
    let next = |found: &BitMask, truth: &BitMask| {
        let prompt = with_next_click(Prompt::default(), found, truth).unwrap();
        let point = prompt.points[0];
        (point.at.x, point.at.y, point.positive)
    };
    // Nothing yet: the first pixel of the square's middle; the picture's edge is a border too.
    assert_eq!(next(&BitMask::new(size), &square(10, 21)), (20.0, 10.0, true));
    assert_eq!(next(&square(40, 31), &square(10, 21)), (55.0, 15.0, false));
    assert_eq!(next(&square(40, 9), &square(10, 21)), (20.0, 10.0, true));
    // Nothing wrong: the object again.
    assert_eq!(next(&square(10, 21), &square(10, 21)), (20.0, 10.0, true));
}

#[test]
fn clicks_are_counted_until_the_iou_is_reached() {
    let counted = figures::ClicksTo::of(&[0.5, 0.82, 0.79, 0.9]);
    assert_eq!((counted.iou_80, counted.iou_85, counted.iou_90), (2.0, 4.0, 4.0));
    let never = figures::ClicksTo::of(&[0.1, 0.2]);
    assert_eq!((never.iou_80, never.iou_90), (2.0, 2.0));
}

#[test]
fn flood_fill_is_the_connected_pixels_of_like_colour() {
    // Three levels of grey in blotches; the outer two are too far apart.
    let size = Size::new(45, 37);
    let mut state = 7u64;
    let noise: Vec<u8> = (0..45 * 37)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            [0, 20, 40, 60][(state >> 60) as usize % 4]
        })
        .collect();
    let image = RgbImage::from_fn(size, |x, y| [noise[(y * 45 + x) as usize], 10, 200]);
    for (x, y) in [(0, 0), (44, 36), (20, 18), (7, 30)] {
        let seed = image.pixel(x, y)[0];
        let alike = |x: u32, y: u32| image.pixel(x, y)[0].abs_diff(seed) <= baselines::TOLERANCE;
        let mut reached = BitMask::new(size);
        let mut open = vec![(x, y)];
        while let Some((x, y)) = open.pop() {
            if x >= 45 || y >= 37 || reached.get(x, y) || !alike(x, y) {
                continue;
            }
            reached.set(x, y, true);
            open.extend([(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)]);
        }
        assert_eq!(baselines::flood_fill(&image, x, y), reached, "from {x},{y}");
    }
    assert!(baselines::flood_fill(&image, 45, 0).is_empty());
}

#[test]
fn the_reference_table_is_for_its_own_pack_only() {
    let table: ReferenceTable = serde_json::from_str(include_str!("reference.json")).unwrap();
    let fingerprint = u64::from_str_radix(&table.fingerprint, 16).unwrap();
    assert_eq!(ReferenceTable::of_pack(fingerprint).as_ref(), Some(&table));
    assert_eq!(ReferenceTable::of_pack(fingerprint ^ 1), None);
    assert!(table.tools.values().all(|tool| tool.masks > 0 && tool.mean_over_sources < 1.0));
}
