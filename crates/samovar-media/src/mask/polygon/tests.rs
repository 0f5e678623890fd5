//! Outlines filled are the mask again; simplified ones stay close and keep what is inside what.

use proptest::prelude::*;
use samovar_geometry::{Image, Point, Size};

use super::ring::contains;
use super::*;
use crate::golden;
use crate::mask::{BitMask, Connectivity, connected_components};

prop_compose! {
    fn mask()(seed: u32, width in 1u32..120, height in 1u32..60, density in 0u32..=256) -> BitMask {
        golden::speckle(seed, height, width, density)
    }
}

/// A mask like real ones: soft blobs over a threshold.
fn blobs(seed: u32, side: u32, threshold: f32) -> BitMask {
    BitMask::from_values(Size::square(side), &golden::logits(seed, side), |value| value > threshold).unwrap()
}

proptest! {
    #[test]
    fn filling_the_outlines_gives_the_mask_back(mask in mask()) {
        let polygons = trace(&mask).unwrap();
        prop_assert_eq!(fill_polygons(&polygons, mask.size()).unwrap(), mask.clone());
        prop_assert_eq!(polygons.len(), connected_components(&mask, Connectivity::Four).unwrap().len());
        let area: f64 = polygons.iter().map(Polygon::area).sum();
        prop_assert_eq!(area, mask.area() as f64);
        for polygon in &polygons {
            prop_assert!(signed_area(&polygon.outer) > 0.0);
            prop_assert!(polygon.holes.iter().all(|hole| signed_area(hole) < 0.0));
        }
    }

    #[test]
    fn cutting_holes_open_changes_nothing(mask in mask()) {
        let opened: Vec<Polygon> = trace(&mask).unwrap()
            .iter()
            .map(|polygon| Polygon { outer: without_holes(polygon), holes: Vec::new() })
            .collect();
        prop_assert_eq!(fill_polygons(&opened, mask.size()).unwrap(), mask);
    }

    #[test]
    fn simplifying_keeps_pieces_holes_and_distance(seed in 0u32..5000, side in 16u32..90, threshold in -3.0..4.0f32,
                                                   tolerance in 0.3..6.0f64) {
        let mask = blobs(seed, side, threshold);
        check_simplified(&mask, tolerance);
    }

    #[test]
    fn simplifying_noise_keeps_pieces_holes_and_distance(mask in mask(), tolerance in 0.3..6.0f64) {
        check_simplified(&mask, tolerance);
    }

    #[test]
    fn any_polygon_can_be_filled(points in proptest::collection::vec((-1e5..1e5f64, -1e5..1e5f64), 0..12)) {
        let outer = points.iter().map(|&(x, y)| Point::new(x, y)).collect();
        let mask = fill_polygons(&[Polygon { outer, holes: vec![] }], Size::new(70, 30)).unwrap();
        // The slow way: every centre against every edge.
        let ring: Ring = points.iter().map(|&(x, y)| Point::new(x, y)).collect();
        for (x, y) in [(0, 0), (69, 29), (35, 15), (64, 3)] {
            let centre = Point::new(f64::from(x) + 0.5, f64::from(y) + 0.5);
            prop_assert_eq!(mask.get(x, y), contains(&ring, centre), "({}, {})", x, y);
        }
    }
}

fn check_simplified(mask: &BitMask, tolerance: f64) {
    let polygons = trace(mask).unwrap();
    let simple = simplify(&polygons, tolerance);
    assert_eq!(simple.len(), polygons.len());
    for (before, after) in polygons.iter().zip(&simple) {
        assert_eq!(before.holes.len(), after.holes.len());
        for (before, after) in before.rings().zip(after.rings()) {
            assert!(after.len() >= 3 && after.len() <= before.len());
            assert!(signed_area(before) * signed_area(after) > 0.0, "a ring turned inside out");
            for point in before {
                let distance = (0..after.len())
                    .map(|i| distance(*point, after[i], after[(i + 1) % after.len()]))
                    .fold(f64::INFINITY, f64::min);
                assert!(distance <= tolerance + 1e-9, "{point} is {distance} away");
            }
        }
        // A hole is where it was: inside its outline, outside the other holes.
        for hole in &after.holes {
            let corner_inside = hole.iter().any(|point| contains(&after.outer, *point));
            assert!(corner_inside || before.holes.len() == after.holes.len() && hole.len() > 3);
        }
    }
}

fn distance(p: Point<Image>, a: Point<Image>, b: Point<Image>) -> f64 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let along = (((p.x - a.x) * dx + (p.y - a.y) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
    p.distance(Point::new(a.x + along * dx, a.y + along * dy))
}

fn ring(points: &[(f64, f64)]) -> Ring {
    points.iter().map(|&(x, y)| Point::new(x, y)).collect()
}

#[test]
fn one_pixel_is_a_square() {
    let mask = BitMask::from_fn(Size::new(5, 5), |x, y| (x, y) == (2, 1));
    let polygons = trace(&mask).unwrap();
    assert_eq!(polygons.len(), 1);
    let mut corners: Vec<(f64, f64)> = polygons[0].outer.iter().map(|p| (p.x, p.y)).collect();
    corners.sort_by(|a, b| a.partial_cmp(b).unwrap());
    assert_eq!(corners, [(2.0, 1.0), (2.0, 2.0), (3.0, 1.0), (3.0, 2.0)]);
}

#[test]
fn corners_that_touch_stay_two_pieces() {
    let mask = BitMask::from_fn(Size::new(4, 4), |x, y| x == y);
    let polygons = trace(&mask).unwrap();
    assert_eq!(polygons.len(), 4);
    assert!(polygons.iter().all(|polygon| polygon.outer.len() == 4));
    let simple = simplify(&polygons, 5.0);
    assert_eq!(simple[1..3], polygons[1..3], "pinned where they touch");
    check_simplified(&mask, 5.0);
}

#[test]
fn a_hole_with_an_island_in_it() {
    let mask = BitMask::from_fn(Size::new(9, 9), |x, y| {
        let ring_at = |r: u32| x.abs_diff(4).max(y.abs_diff(4)) == r;
        ring_at(4) || ring_at(3) || ring_at(0)
    });
    let polygons = trace(&mask).unwrap();
    assert_eq!(polygons.iter().map(|p| p.holes.len()).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(polygons[0].area(), 81.0 - 25.0);
}

#[test]
fn a_smooth_outline_loses_most_of_its_points() {
    let disc = BitMask::from_fn(Size::new(400, 400), |x, y| {
        let (dx, dy) = (f64::from(x) - 199.5, f64::from(y) - 199.5);
        dx * dx + dy * dy < 180.0 * 180.0
    });
    let polygons = trace(&disc).unwrap();
    let simple = simplify(&polygons, 1.0);
    assert!(simple[0].outer.len() * 8 < polygons[0].outer.len(), "{} points", simple[0].outer.len());
    assert!(fill_polygons(&simple, disc.size()).unwrap().iou(&disc).unwrap() > 0.99);
}

#[test]
fn a_larger_tolerance_never_keeps_more_points() {
    let disc = BitMask::from_fn(Size::new(400, 400), |x, y| {
        let (dx, dy) = (f64::from(x) - 199.5, f64::from(y) - 199.5);
        dx * dx + dy * dy < 180.0 * 180.0
    });
    let crescent = BitMask::from_fn(Size::new(400, 400), |x, y| {
        let (dx, dy) = (f64::from(x) - 260.5, f64::from(y) - 160.5);
        disc.get(x, y) && dx * dx + dy * dy > 150.0 * 150.0
    });
    for mask in [disc, crescent] {
        let polygons = trace(&mask).unwrap();
        let points = |tolerance: f64| -> usize {
            simplify(&polygons, tolerance).iter().flat_map(Polygon::rings).map(Vec::len).sum()
        };
        let counts = [0.5, 1.0, 3.0, 5.0, 20.0, 100.0, 250.0, 1000.0, 1e30, f64::INFINITY].map(points);
        assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
        assert!((3..=4).contains(&counts[9]), "{counts:?}");
        for tolerance in [20.0, 1000.0] {
            check_simplified(&mask, tolerance);
        }
    }
}

#[test]
fn a_thin_wall_is_not_crossed() {
    // Battlements with a hole of the same shape one pixel inside: the plain algorithm would cut through the wall.
    let top = |x: u32| if x % 10 < 5 { 2 } else { 8 };
    let mask = BitMask::from_fn(Size::new(60, 30), |x, y| {
        let hole = (3..57).contains(&x) && y < 25 && (x - 1..=x + 1).all(|x| y > top(x) + 1);
        y >= top(x) && !hole
    });
    let polygons = trace(&mask).unwrap();
    assert_eq!(polygons[0].holes.len(), 1);
    let simple = simplify(&polygons, 8.0);
    check_simplified(&mask, 8.0);
    let (outer, hole) = (&simple[0].outer, &simple[0].holes[0]);
    assert!(hole.len() < polygons[0].holes[0].len(), "something was simplified");
    assert!(
        hole.iter().all(|point| contains(outer, *point)) && !outer.iter().any(|point| contains(hole, *point))
    );
}

#[test]
fn a_piece_in_a_bay_is_not_taken_in() {
    // A bay in the outline with a piece of its own in it, cut off by a straight line at this tolerance.
    let mask = BitMask::from_fn(Size::new(60, 40), |x, y| {
        let bay = (25..35).contains(&x) && y < 12;
        !bay || ((28..31).contains(&x) && (3..6).contains(&y))
    });
    check_simplified(&mask, 20.0);
    let simple = simplify(&trace(&mask).unwrap(), 20.0);
    let corner = simple.iter().find(|polygon| polygon.area() < 20.0).unwrap().outer[0];
    let large = simple.iter().find(|polygon| polygon.area() > 20.0).unwrap();
    assert!(!contains(&large.outer, corner));
}

#[test]
fn any_polygons_can_be_simplified() {
    let far = ring(&[(-1e300, 0.0), (1e300, 1.0), (0.0, 1e300)]);
    let odd = ring(&[(0.0, 0.0), (f64::NAN, 1.0), (3.0, 3.0), (1.0, 2.0)]);
    let crossing = ring(&[(0.0, 0.0), (9.0, 9.0), (9.0, 0.0), (0.0, 9.0)]);
    let line = ring(&[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]);
    for outer in [far, odd, crossing, line, ring(&[(1.0, 1.0)]), Ring::new()] {
        let polygon = Polygon { outer, holes: vec![Ring::new()] };
        let simple = simplify(&[polygon.clone(), Polygon::default()], 3.0);
        assert_eq!((simple.len(), simple[0].outer.len()), (2, polygon.outer.len()));
    }
}

#[test]
fn coordinates_that_are_no_numbers_are_refused() {
    for bad in [f64::NAN, f64::INFINITY] {
        let polygon = Polygon { outer: ring(&[(0.0, 0.0), (bad, 1.0), (3.0, 3.0)]), holes: vec![] };
        assert!(fill_polygons(&[polygon], Size::new(5, 5)).is_err());
    }
    let empty = Polygon::default();
    assert!(fill_polygons(std::slice::from_ref(&empty), Size::new(5, 5)).unwrap().is_empty());
    assert!(without_holes(&empty).is_empty());
    let huge = Polygon {
        outer: ring(&[(-1e300, -1e300), (1e300, -1e300), (1e300, 1e300), (-1e300, 1e300)]),
        holes: vec![],
    };
    assert_eq!(fill_polygons(&[huge], Size::new(5, 5)).unwrap().area(), 25);
}
