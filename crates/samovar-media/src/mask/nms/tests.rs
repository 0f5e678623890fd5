//! Against torchvision, ties included.

use samovar_geometry::Image;
use serde::Deserialize;

use super::*;
use crate::golden;

#[derive(Debug, Deserialize)]
struct Case {
    seed: u32,
    count: u32,
    categories: usize,
    threshold: f32,
    keep: Vec<usize>,
}

#[test]
fn the_same_boxes_stay_in_the_same_order_as_in_torchvision() {
    let cases: Vec<Case> = golden::cases("nms.json");
    assert!(cases.iter().any(|case| case.keep.len() < case.count as usize));
    for case in cases {
        let raw = golden::noise(case.seed, case.count, 6, 1);
        let (mut boxes, mut scores, mut categories) = (Vec::new(), Vec::new(), Vec::new());
        for row in raw.chunks_exact(6) {
            let [x, y, w, h] = [row[0], row[1], row[2], row[3]].map(f64::from);
            boxes.push(Box2::<Image>::new(x, y, x + w / 2.0, y + h / 2.0));
            scores.push((f32::from(row[4]) / 8.0).floor() / 32.0);
            categories.push(usize::from(row[5]) % case.categories);
        }
        assert_eq!(batched_nms(&boxes, &scores, &categories, case.threshold), case.keep, "{case:?}");
        if case.categories == 1 {
            assert_eq!(nms(&boxes, &scores, case.threshold), case.keep);
        }
    }
}

#[test]
fn exactly_the_threshold_is_not_over_it() {
    let boxes = [Box2::<Image>::new(0.0, 0.0, 2.0, 1.0), Box2::new(1.0, 0.0, 3.0, 1.0)];
    assert_eq!(nms(&boxes, &[0.5, 0.9], 1.0 / 3.0), [1, 0], "IoU is one third");
    assert_eq!(nms(&boxes, &[0.5, 0.9], 0.33), [1]);
}

#[test]
fn equal_scores_keep_their_order_and_nan_comes_first() {
    let far = |i: usize| Box2::<Image>::new(i as f64 * 10.0, 0.0, i as f64 * 10.0 + 1.0, 1.0);
    let boxes: Vec<_> = (0..4).map(far).collect();
    assert_eq!(nms(&boxes, &[0.0, -0.0, f32::NAN, 0.0], 0.5), [2, 0, 1, 3]);
    assert!(nms::<Image>(&[], &[], 0.5).is_empty());
}

#[test]
fn the_same_box_without_area_stayed_any_number_of_times() {
    // The box of a picture of one pixel, and two lines of one pixel's width.
    let boxes: Vec<Box2<Image>> = [[0, 0, 0, 0], [0, 0, 0, 0], [3, 1, 3, 9], [3, 1, 3, 9], [3, 1, 3, 8]]
        .map(|[x0, y0, x1, y1]| Box2::new(x0.into(), y0.into(), x1.into(), y1.into()))
        .to_vec();
    assert_eq!(nms(&boxes, &[0.5, 0.9, 0.8, 0.7, 0.6], 0.7), [1, 2, 4]);
}
