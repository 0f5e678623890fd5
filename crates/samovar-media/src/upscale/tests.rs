//! Against torch's two enlargements, and the shortcut against computing every pixel.

use proptest::prelude::*;
use samovar_geometry::{ResizeRule, Size};
use serde::Deserialize;

use super::*;
use crate::error::MediaErrorKind;
use crate::golden;
use crate::mask::{BitMask, Rle};

#[derive(Debug, Deserialize)]
struct Case {
    seed: u32,
    side: u32,
    canvas: Option<u32>,
    width: u32,
    height: u32,
    above_zero: u64,
    above_high: u64,
    above_low: u64,
    coco: String,
    rows: Vec<u32>,
    columns: Vec<usize>,
    values: Vec<Vec<f32>>,
}

impl Case {
    fn upscaler(&self) -> Upscaler {
        let rule = match self.canvas {
            Some(target) => ResizeRule::LongestSide { target },
            None => ResizeRule::Exact { width: 1024, height: 1024 },
        };
        Upscaler::new(Size::square(self.side), rule, Size::new(self.width, self.height)).unwrap()
    }
}

/// Largest difference to torch's values, relative to the largest logit: the order of additions, nothing else.
const CLOSE: f32 = 1e-6;

#[test]
fn values_and_masks_are_torchs() {
    let cases: Vec<Case> = golden::cases("upscale.json");
    assert!(cases.len() >= 13);
    let mut worst = 0f32;
    for case in &cases {
        let logits = golden::logits(case.seed, case.side);
        let scale = logits.iter().fold(0f32, |scale, value| scale.max(value.abs()));
        let upscaler = case.upscaler();
        let prepared = upscaler.prepare(&logits).unwrap();
        for (&y, expected) in case.rows.iter().zip(&case.values) {
            let mut row = vec![f32::NAN; case.width as usize];
            prepared.logit_rows(y..y + 1, &mut row).unwrap();
            for (&x, &expected) in case.columns.iter().zip(expected) {
                worst = worst.max((row[x] - expected).abs() / scale);
                assert!(
                    (row[x] - expected).abs() <= CLOSE * scale,
                    "({x}, {y}): {} {expected} {case:?}",
                    row[x]
                );
            }
        }
        let measured = prepared.measured_mask(0.0, 1.0, 1).unwrap();
        let size = Size::new(case.width, case.height);
        let expected = Rle::from_coco_string(size, &case.coco).unwrap().to_mask().unwrap();
        assert_eq!(measured.mask, expected, "{}x{} from {}", case.width, case.height, case.side);
        assert_eq!(
            (measured.area, measured.area_above_high, measured.area_above_low),
            (case.above_zero, case.above_high, case.above_low)
        );
        assert_eq!(measured.tight_box, expected.tight_box());
        assert_eq!(prepared.mask(0.0, 1).unwrap(), expected);
    }
    println!("largest difference, relative to the largest logit: {worst:e}");
}

#[test]
fn threads_change_nothing() {
    let logits = golden::logits(5, 64);
    let rule = ResizeRule::LongestSide { target: 256 };
    let upscaler = Upscaler::new(Size::square(64), rule, Size::new(301, 199)).unwrap();
    let alone = upscaler.measured_mask(&logits, 0.0, 1.0, 1).unwrap();
    assert!(alone.area > 0, "the test must have something to compare");
    for threads in [0, 2, 5, 1000] {
        assert_eq!(upscaler.measured_mask(&logits, 0.0, 1.0, threads).unwrap(), alone, "{threads} threads");
    }
}

/// Logits that fall by one per pixel across a straight edge: the ramp is two pixels wide and its middle is the edge.
#[test]
fn alpha_is_a_ramp_across_the_edge() {
    let logits: Vec<f32> = (0..64 * 64).map(|i| 20.3 - (i % 64) as f32).collect();
    let rule = ResizeRule::Exact { width: 64, height: 64 };
    let upscaler = Upscaler::new(Size::square(64), rule, Size::new(64, 64)).unwrap();
    let alpha = upscaler.prepare(&logits).unwrap().alpha().unwrap();
    let row: Vec<u8> = alpha.values()[64 * 30..][18..24].to_vec();
    // Pixel 20 has the logit 0.3: 0.3 pixels inside.
    assert_eq!(
        row,
        [255, 255, (255.0 * (0.5 + 0.15f32)).round() as u8, (255.0 * 0.15f32).round() as u8, 0, 0]
    );
}

#[test]
fn alpha_is_the_mask_with_a_soft_edge() {
    let logits = golden::logits(6, 64);
    let rule = ResizeRule::Exact { width: 256, height: 256 };
    let upscaler = Upscaler::new(Size::square(64), rule, Size::new(150, 70)).unwrap();
    let prepared = upscaler.prepare(&logits).unwrap();
    let alpha = prepared.alpha().unwrap();
    let over_half: Vec<bool> = alpha.values().iter().map(|&alpha| alpha > 127).collect();
    assert_eq!(over_half, prepared.mask(0.0, 1).unwrap().to_bools());
    let levels: std::collections::BTreeSet<u8> = alpha.values().iter().copied().collect();
    assert!(levels.len() > 50 && levels.contains(&0) && levels.contains(&255), "soft, but not only");
}

proptest! {
    #[test]
    fn skipping_words_never_changes_a_bit(seed in 0u32..1000, width in 1u32..300, height in 1u32..200,
                                          threshold in -7.0..7.0f32, offset in -1.0..2.0f32, exact: bool) {
        let logits = golden::logits(seed, 32);
        let rule = if exact { ResizeRule::Exact { width: 128, height: 128 } } else { ResizeRule::LongestSide { target: 128 } };
        let upscaler = Upscaler::new(Size::square(32), rule, Size::new(width, height)).unwrap();
        let prepared = upscaler.prepare(&logits).unwrap();
        let measured = prepared.measured_mask(threshold, offset, 1).unwrap();
        let mut full = vec![0.0; width as usize * height as usize];
        prepared.logit_rows(0..height, &mut full).unwrap();
        let over = |t: f32| full.iter().filter(|&&value| value > t).count() as u64;
        prop_assert_eq!(&measured.mask, &BitMask::from_values(Size::new(width, height), &full, |v| v > threshold).unwrap());
        prop_assert_eq!(measured.area, over(threshold));
        prop_assert_eq!(measured.area_above_high, over(threshold + offset));
        prop_assert_eq!(measured.area_above_low, over(threshold - offset));
    }
}

#[test]
fn rounding_at_the_threshold_is_left_to_the_pixels() {
    // Flat logits exactly at the threshold: whether a pixel's sum rounds above it is for the sum to say.
    let mut above = 0;
    for step in 1..40u16 {
        let logit = f32::from(step) * 0.37;
        let logits = vec![logit; 32 * 32];
        let upscaler =
            Upscaler::new(Size::square(32), ResizeRule::LongestSide { target: 128 }, Size::new(150, 90))
                .unwrap();
        let prepared = upscaler.prepare(&logits).unwrap();
        let mut full = vec![0.0; 150 * 90];
        prepared.logit_rows(0..90, &mut full).unwrap();
        let expected = BitMask::from_values(Size::new(150, 90), &full, |value| value > logit).unwrap();
        above += expected.area();
        assert_eq!(prepared.mask(logit, 1).unwrap(), expected, "all logits {logit}");
    }
    assert!(above > 0, "some sums must round up, or this shows nothing");
}

#[test]
fn stability_of_known_masks() {
    let rule = ResizeRule::Exact { width: 2, height: 2 };
    let upscaler = Upscaler::new(Size::square(2), rule, Size::square(2)).unwrap();
    let stability =
        |logits: [f32; 4]| upscaler.measured_mask(&logits, 0.0, 1.0, 1).unwrap().stability_score();
    assert_eq!(stability([5.0, 5.0, 0.5, -5.0]), 2.0 / 3.0);
    assert_eq!(stability([5.0; 4]), 1.0);
    assert!(stability([-5.0; 4]).is_nan(), "0 / 0, as upstream");
    // Without an offset both counts are the area.
    let measured = upscaler.measured_mask(&[5.0, 5.0, 0.5, -5.0], 0.0, 0.0, 1).unwrap();
    assert_eq!((measured.area_above_high, measured.area_above_low), (3, 3));
}

#[test]
fn logits_that_are_no_numbers_do_no_harm() {
    let rule = ResizeRule::LongestSide { target: 64 };
    let upscaler = Upscaler::new(Size::square(16), rule, Size::new(100, 80)).unwrap();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut logits = golden::logits(1, 16);
        logits[100..120].fill(value);
        let measured = upscaler.measured_mask(&logits, 0.0, 1.0, 1).unwrap();
        assert!(measured.area <= 8000);
        let _ = upscaler.prepare(&logits).unwrap().alpha().unwrap();
    }
    let nothing = upscaler.measured_mask(&vec![f32::NEG_INFINITY; 256], 0.0, 1.0, 1).unwrap();
    assert_eq!((nothing.area, nothing.tight_box), (0, None));
}

#[test]
fn sizes_that_do_not_belong_together_are_refused() {
    let rule = ResizeRule::LongestSide { target: 64 };
    let upscaler = Upscaler::new(Size::square(16), rule, Size::new(10, 8)).unwrap();
    assert_eq!(upscaler.prepare(&[0.0; 255]).unwrap_err().kind(), MediaErrorKind::Mismatch);
    let logits = [0.0; 256];
    let prepared = upscaler.prepare(&logits).unwrap();
    assert!(prepared.logit_rows(0..9, &mut [0.0; 90]).is_err(), "beyond the last row");
    assert!(prepared.logit_rows(0..2, &mut [0.0; 19]).is_err());
    assert!(Upscaler::new(Size::square(0), rule, Size::new(10, 8)).is_err());
    assert!(Upscaler::new(Size::square(16), rule, Size::new(0, 8)).is_err());
    assert!(Upscaler::new(Size::square(65), rule, Size::new(10, 8)).is_err(), "grid finer than the canvas");
}

/// `cargo test --release -p samovar-media -- --ignored --nocapture bench_`
#[test]
#[ignore = "a measurement, not a check"]
fn bench_measured_mask() {
    let rule = ResizeRule::LongestSide { target: 1024 };
    let upscaler = Upscaler::new(Size::square(256), rule, Size::new(1920, 1080)).unwrap();
    let rough: Vec<f32> = golden::noise(1, 256, 256, 1).iter().map(|&v| f32::from(v) - 128.0).collect();
    for (name, logits) in [("blobs", golden::logits(100, 256)), ("nothing but edges", rough)] {
        let mut best = f64::INFINITY;
        for _ in 0..20 {
            let start = std::time::Instant::now();
            std::hint::black_box(upscaler.measured_mask(&logits, 0.0, 1.0, 1).unwrap());
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("256x256 -> 1920x1080 with stability, one thread, {name}: {:.3} ms", best * 1e3);
    }
}

#[test]
fn softened_edges_are_those_of_the_mask() {
    for size in [Size::new(1, 1), Size::new(70, 5), Size::new(3, 90), Size::new(40, 30)] {
        let mask = BitMask::from_fn(size, |x, y| (x / 7 + y / 5) % 2 == 0);
        let soft = AlphaMask::softened(&mask);
        assert_eq!(BitMask::from_values(size, soft.values(), |alpha: u8| alpha > 127).unwrap(), mask);
    }
    let size = Size::new(9, 3);
    let soft = AlphaMask::softened(&BitMask::from_fn(size, |x, _| x < 4));
    assert_eq!(soft.values()[..9], [255, 255, 255, 191, 63, 0, 0, 0, 0]);
    assert!(AlphaMask::softened(&BitMask::full(size)).values().iter().all(|&alpha| alpha == 255));
}
