//! Where the generator's time goes, and which thresholds suit a model.
//!
//!     cargo run --release --example everything -- steps MODEL IMAGE [THREADS]
//!     cargo run --release --example everything -- thresholds MODEL SEGPACK [EVERY_NTH] [POINTS_PER_SIDE] [OFFSET]

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use samovar_geometry::{Box2, Image, Point};
use samovar_media::segpack::{SegpackLimits, SegpackReader};
use samovar_media::{BitMask, DecodeLimits, LazyImage, nms};
use samovar_models::{MaskOutput, PromptBatch};
use samovar_runtime::automatic::{AutomaticOptions, generate};
use samovar_runtime::{Engine, Model, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["steps", model, image, rest @ ..] => {
            steps(model, image, rest.first().map_or(Ok(0), |text| text.parse())?)
        }
        ["thresholds", model, pack, rest @ ..] => {
            let nth = rest.first().map_or(Ok(1), |text| text.parse())?;
            let points = rest.get(1).map_or(Ok(16), |text| text.parse())?;
            let offset = rest.get(2).map_or(Ok(1.0), |text| text.parse())?;
            thresholds(model, Path::new(pack), nth, points, offset)
        }
        _ => Err("expected `steps MODEL IMAGE [THREADS]` or `thresholds MODEL SEGPACK [EVERY_NTH] [POINTS]`"
            .into()),
    }
}

fn load(model: &str, threads: usize) -> Result<Model, Box<dyn Error>> {
    Ok(Engine::new(Options { threads, ..Options::default() })?.load(model)?)
}

/// Milliseconds per point of each step, in batches of several sizes, and of the whole.
fn steps(model: &str, image: &str, threads: usize) -> Result<(), Box<dyn Error>> {
    let model = load(model, threads)?;
    let image = LazyImage::open(image).pixels()?;
    let start = Instant::now();
    let embedding = model.embed_pixels(&image)?;
    println!("encode {:8.1} ms, {} threads", milliseconds(start), model.engine().threads());
    let segmenter = model.network().promptable_segmenter()?;
    let (device, features) = (model.engine().device(), embedding.features());
    let side = f64::from(model.input_size().width);
    println!("per point: score, draw, measure (all three masks), ms");
    for batch in [1, 2, 4, 8, 16, 32, 64] {
        let mut spent = [0.0; 3];
        let batches = (64 / batch).max(2);
        for index in 0..=batches {
            let at = |i: usize| Point::new((i % 8) as f64 / 8.0 * side, (i / 8 % 8) as f64 / 8.0 * side);
            let prompts = PromptBatch {
                prompts: batch,
                points: (0..batch).map(|i| at(index * batch + i)).collect(),
                labels: vec![1; batch],
                output: MaskOutput::Multimask,
                ..PromptBatch::default()
            };
            let start = Instant::now();
            let scored = segmenter.score(device, features, &prompts)?;
            let score = milliseconds(start);
            let start = Instant::now();
            let logits = segmenter.draw(device, features, scored)?;
            let draw = milliseconds(start);
            let values = logits.f32()?;
            let cells = model.grid_size().area() as usize;
            let start = Instant::now();
            for mask in values.chunks_exact(cells) {
                embedding.upscaler().measured_mask(mask, 0.0, 1.0, 1)?;
            }
            let measure = milliseconds(start);
            // The first batch takes its memory from the system; later ones find it in the pool.
            if index > 0 {
                spent.iter_mut().zip([score, draw, measure]).for_each(|(sum, time)| *sum += time);
            }
        }
        let [score, draw, measure] = spent.map(|time| time / (batches * batch) as f64);
        println!("  {batch:3} at once {score:8.3} {draw:8.3} {measure:8.3}");
    }
    for points_per_batch in [4, 8, 16, 32] {
        let options =
            AutomaticOptions { points_per_side: 16, points_per_batch, ..AutomaticOptions::for_model(&model) };
        let (mut stages, mut encoded) = (Default::default(), None);
        let start = Instant::now();
        let masks = generate(&model, &image, &options, &mut |progress| {
            stages = progress.stages;
            if progress.points_done > 0 && encoded.is_none() {
                encoded = Some((Instant::now(), progress.points_done));
            }
            ControlFlow::Continue(())
        })?;
        let all = milliseconds(start);
        let points = stages.candidates / 3;
        let per_point = encoded.map_or(0.0, |(at, done)| milliseconds(at) / (points - done).max(1) as f64);
        println!(
            "generate, {points_per_batch:2} at once: {all:.0} ms, {per_point:.3} ms per point, {} masks {stages:?}",
            masks.len()
        );
    }
    Ok(())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// A mask that was found, before any threshold.
struct Found {
    iou: f32,
    stability: f32,
    bounds: Box2<Image>,
    /// IoU with each true mask.
    overlaps: Vec<f64>,
}

#[derive(Default, Clone, Copy)]
struct Score {
    images: f64,
    masks: f64,
    truths: f64,
    recall_50: f64,
    recall_75: f64,
    best: f64,
    /// On pictures where everything is labelled: masks, and those that match one.
    counted: f64,
    right: f64,
}

/// Recall and precision for many pairs of thresholds, from one pass without any.
fn thresholds(
    model: &str,
    pack: &Path,
    nth: usize,
    points_per_side: usize,
    offset: f32,
) -> Result<(), Box<dyn Error>> {
    let model = load(model, 0)?;
    let limits = DecodeLimits::default();
    let options = AutomaticOptions {
        points_per_side,
        pred_iou_thresh: 0.0,
        stability_score_thresh: 0.0,
        stability_score_offset: offset,
        box_nms_thresh: 1.0,
        ..AutomaticOptions::default()
    };
    let mut table: BTreeMap<(u32, u32, u32), Score> = BTreeMap::new();
    let mut quantiles: Vec<(f32, f32)> = Vec::new();
    for record in SegpackReader::open(pack, SegpackLimits::default())?.step_by(nth) {
        let record = record?;
        let image = record.image(&limits)?;
        let mut truths: Vec<BitMask> = Vec::new();
        for layer in 0..record.layer_bytes.len() {
            truths.extend(record.labels(layer, &limits)?.masks().into_iter().map(|(_, mask)| mask));
        }
        truths.retain(|mask| mask.area() * 1000 >= mask.size().area());
        if truths.is_empty() {
            continue;
        }
        let masks = generate(&model, &image, &options, &mut |_| ControlFlow::Continue(()))?;
        let found: Vec<Found> = masks
            .iter()
            .map(|mask| {
                let bits = mask.mask.to_mask().unwrap();
                let overlaps = truths.iter().map(|truth| truth.iou(&bits).unwrap_or(0.0)).collect();
                Found {
                    iou: mask.predicted_iou,
                    stability: mask.stability_score,
                    bounds: mask.bbox,
                    overlaps,
                }
            })
            .collect();
        quantiles.extend(found.iter().map(|found| (found.iou, found.stability)));
        for iou in [40, 50, 55, 60, 65, 70, 75, 80, 88] {
            for stability in [0, 70, 80, 85, 90, 95] {
                for overlap in [60, 70, 80] {
                    let at = |percent: u32| percent as f32 / 100.0;
                    let kept: Vec<&Found> = found
                        .iter()
                        .filter(|found| {
                            found.iou > at(iou) && (stability == 0 || found.stability >= at(stability))
                        })
                        .collect();
                    let boxes: Vec<_> = kept.iter().map(|found| found.bounds).collect();
                    let scores: Vec<_> = kept.iter().map(|found| found.iou).collect();
                    let kept: Vec<&Found> =
                        nms(&boxes, &scores, at(overlap)).into_iter().map(|index| kept[index]).collect();
                    let score = table.entry((iou, stability, overlap)).or_default();
                    score.images += 1.0;
                    score.masks += kept.len() as f64;
                    for truth in 0..truths.len() {
                        let best = kept.iter().map(|found| found.overlaps[truth]).fold(0.0, f64::max);
                        // Every picture counts the same, however many masks it has.
                        let share = 1.0 / truths.len() as f64;
                        score.truths += share;
                        score.best += share * best;
                        score.recall_50 += if best > 0.5 { share } else { 0.0 };
                        score.recall_75 += if best > 0.75 { share } else { 0.0 };
                    }
                    let dense = record
                        .header
                        .layers
                        .iter()
                        .any(|layer| layer.kind == "panoptic" || layer.kind == "regions");
                    if dense {
                        score.counted += kept.len() as f64;
                        let right = |found: &&&Found| found.overlaps.iter().any(|&overlap| overlap > 0.5);
                        score.right += kept.iter().filter(right).count() as f64;
                    }
                }
            }
        }
    }
    quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
    let quantile = |share: f64| quantiles[((quantiles.len() - 1) as f64 * share) as usize].0;
    println!(
        "predicted IoU, deciles: {:.2?}",
        (1..10).map(|i| quantile(f64::from(i) / 10.0)).collect::<Vec<_>>()
    );
    println!(" iou  stab  nms   masks  R50   R75  best  precision (dense pictures)");
    for ((iou, stability, overlap), score) in table {
        let Score { images, masks, truths, recall_50, recall_75, best, counted, right } = score;
        println!(
            "0.{iou} 0.{stability:02} 0.{overlap} {:7.1} {:.3} {:.3} {:.3} {:.3}",
            masks / images,
            recall_50 / truths,
            recall_75 / truths,
            best / truths,
            right / counted
        );
    }
    Ok(())
}
