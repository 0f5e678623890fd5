//! Boundaries against davis2017-evaluation's own figures, and against distances counted pixel by pixel.

use serde::Deserialize;

use super::*;
use crate::golden;

fn f(a: &BitMask, b: &BitMask, reach: u32) -> f64 {
    Boundary::new(a, reach).f(&Boundary::new(b, reach)).unwrap()
}

#[derive(Deserialize)]
struct Case {
    height: u32,
    width: u32,
    /// Seed and density of the two masks.
    found: (u32, u32),
    truth: (u32, u32),
    /// Pixels, or `null` for 0.8 % of the diagonal.
    reach: Option<u32>,
    f: f64,
}

#[test]
fn boundary_f_is_that_of_the_davis_evaluation() {
    let cases: Vec<Case> = golden::cases("../measures/boundary.json");
    assert!(cases.len() >= 20);
    for case in &cases {
        let mask = |(seed, density)| golden::speckle(seed, case.height, case.width, density);
        let reach = case.reach.unwrap_or_else(|| davis_reach(Size::new(case.width, case.height)));
        let found = f(&mask(case.found), &mask(case.truth), reach);
        assert!((found - case.f).abs() < 1e-12, "{found} for {} at {reach}", case.f);
    }
}

#[test]
fn what_is_near_is_what_is_within_the_distance() {
    for (width, height, reach) in [(1, 1, 3), (63, 9, 1), (64, 7, 2), (65, 11, 5), (130, 40, 19), (5, 70, 0)]
    {
        let mask = golden::speckle(3, height, width, 9);
        let far =
            |x: u32, y: u32, x1: u32, y1: u32| x.abs_diff(x1).pow(2) + y.abs_diff(y1).pow(2) > reach * reach;
        let near = BitMask::from_fn(mask.size(), |x, y| {
            (0..height).any(|y1| (0..width).any(|x1| mask.get(x1, y1) && !far(x, y, x1, y1)))
        });
        assert_eq!(dilated(&mask, reach), near, "{width}x{height}, {reach}");
    }
}

#[test]
fn masks_without_a_boundary_match_each_other_only() {
    let size = Size::new(70, 30);
    let square = BitMask::from_fn(size, |x, y| (20..50).contains(&x) && (5..20).contains(&y));
    let (none, all) = (BitMask::new(size), BitMask::full(size));
    assert_eq!((f(&none, &none, 2), f(&none, &all, 2), f(&all, &all, 2)), (1.0, 1.0, 1.0));
    assert_eq!((f(&square, &square, 2), f(&square, &none, 2), f(&all, &square, 2)), (1.0, 0.0, 0.0));
    assert!(Boundary::new(&none, 2).f(&Boundary::new(&BitMask::new(Size::new(3, 3)), 2)).is_err());
    assert!(
        Boundary::new(&BitMask::new(Size::new(0, 0)), 2)
            .f(&Boundary::new(&BitMask::new(Size::new(0, 0)), 2))
            .is_ok()
    );
}

#[test]
fn the_reach_grows_with_the_picture() {
    assert_eq!(davis_reach(Size::new(854, 480)), 8);
    assert_eq!(davis_reach(Size::new(400, 300)), 4);
    assert_eq!(davis_reach(Size::new(1, 1)), 1);
}
