//! Packed bits against the obvious way, at widths on both sides of a word.

use proptest::prelude::*;

use super::*;
use crate::golden;

prop_compose! {
    fn mask()(seed: u32, width in 0u32..150, height in 0u32..40, density in 0u32..=256) -> BitMask {
        golden::speckle(seed, height, width, density)
    }
}

/// Every bit beyond the width is zero.
fn is_clean(mask: &BitMask) -> bool {
    let used = mask.width() % 64;
    used == 0 || (0..mask.height()).all(|y| mask.row(y).last().is_none_or(|word| word >> used == 0))
}

proptest! {
    #[test]
    fn counting_is_counting(mask in mask()) {
        let bools = mask.to_bools();
        prop_assert_eq!(mask.area(), bools.iter().filter(|on| **on).count() as u64);
        prop_assert_eq!(&BitMask::from_values(mask.size(), &bools, |on| on).unwrap(), &mask);
        prop_assert_eq!(&BitMask::from_bytes(mask.size(), &mask.to_bytes(255)).unwrap(), &mask);
        prop_assert_eq!(mask.inverted().area(), mask.size().area() - mask.area());
        prop_assert!(is_clean(&mask) && is_clean(&mask.inverted()));
        prop_assert_eq!(mask.is_empty(), mask.area() == 0);
    }

    #[test]
    fn bounds_are_the_outermost_pixels(mask in mask()) {
        let set: Vec<(u32, u32)> = (0..mask.height())
            .flat_map(|y| (0..mask.width()).map(move |x| (x, y)))
            .filter(|&(x, y)| mask.get(x, y))
            .collect();
        let expected = set.iter().map(|p| p.0).min().map(|x0| {
            let x1 = set.iter().map(|p| p.0).max().unwrap() + 1;
            [x0, set[0].1, x1, set[set.len() - 1].1 + 1]
        });
        prop_assert_eq!(mask.pixel_bounds(), expected);
    }

    #[test]
    fn runs_rebuild_the_mask(mask in mask()) {
        let mut rebuilt = BitMask::new(mask.size());
        for y in 0..mask.height() {
            let runs: Vec<(u32, u32)> = mask.runs(y).collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].1 < pair[1].0), "runs must not touch");
            for (x0, x1) in runs {
                rebuilt.set_run(y, x0, x1);
            }
        }
        prop_assert_eq!(rebuilt, mask);
    }

    #[test]
    fn sets_are_sets(a in mask(), seed: u32) {
        let b = golden::speckle(seed, a.height(), a.width(), 90);
        let (mut union, mut common, mut rest) = (a.clone(), a.clone(), a.clone());
        union.union_with(&b).unwrap();
        common.intersect_with(&b).unwrap();
        rest.subtract(&b).unwrap();
        prop_assert_eq!(union.area() + common.area(), a.area() + b.area());
        prop_assert_eq!(rest.area() + common.area(), a.area());
        prop_assert_eq!(a.intersection_area(&b).unwrap(), common.area());
        let iou = a.iou(&b).unwrap();
        let expected = if union.is_empty() { 0.0 } else { common.area() as f64 / union.area() as f64 };
        prop_assert_eq!(iou, expected);
    }

    #[test]
    fn a_crop_put_back_is_the_part_it_was(mask in mask(), x0 in 0u32..160, y0 in 0u32..50, w in 0u32..160, h in 0u32..50) {
        let part = mask.cropped(x0, y0, Size::new(w, h));
        prop_assert!(is_clean(&part));
        let inside = |x: u32, y: u32| x >= x0 && x - x0 < w && y >= y0 && y - y0 < h;
        let expected = BitMask::from_fn(mask.size(), |x, y| mask.get(x, y) && inside(x, y));
        prop_assert_eq!(part.placed(mask.size(), x0, y0).unwrap(), expected);
    }
}

#[test]
fn pixels_outside_are_never_set() {
    let mut mask = BitMask::new(Size::new(65, 2));
    mask.set(65, 0, true);
    mask.set(0, 2, true);
    mask.set_run(1, 60, 200);
    mask.set_run(9, 0, 5);
    assert_eq!(mask.area(), 5);
    assert!(!mask.get(65, 1) && !mask.get(0, 7) && mask.get(64, 1));
    mask.set(64, 1, false);
    assert_eq!(mask.pixel_bounds(), Some([60, 1, 64, 2]));
    let far = BitMask::full(Size::new(3, 3)).placed(Size::new(5, 5), u32::MAX, u32::MAX - 1).unwrap();
    assert!(far.is_empty());
}

#[test]
fn one_pixel_has_a_box_without_width() {
    let mask = BitMask::from_fn(Size::new(9, 9), |x, y| (x, y) == (4, 7));
    assert_eq!(mask.tight_box(), Some(Box2::new(4.0, 7.0, 4.0, 7.0)));
    assert_eq!(BitMask::new(Size::new(9, 9)).tight_box(), None);
}

#[test]
fn masks_of_different_sizes_do_not_mix() {
    let (a, b) = (BitMask::full(Size::new(4, 4)), BitMask::full(Size::new(4, 5)));
    assert!(a.iou(&b).is_err() && a.clone().union_with(&b).is_err());
    assert!(BitMask::from_bytes(Size::new(4, 4), &[0; 15]).is_err());
}
