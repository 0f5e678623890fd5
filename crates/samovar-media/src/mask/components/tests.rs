//! Against OpenCV through upstream's `remove_small_regions`, and against a flood fill.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::golden;
use crate::mask::Rle;

#[derive(Debug, Deserialize)]
struct Case {
    seed: u32,
    width: u32,
    height: u32,
    density: u32,
    mode: String,
    threshold: f64,
    changed: bool,
    coco: String,
}

#[test]
fn small_regions_go_as_upstream() {
    let cases: Vec<Case> = golden::cases("small_regions.json");
    assert!(cases.iter().any(|case| case.changed) && cases.iter().any(|case| !case.changed));
    for case in cases {
        let mut cleaned = golden::speckle(case.seed, case.height, case.width, case.density);
        let what = if case.mode == "holes" { SmallRegions::Holes } else { SmallRegions::Islands };
        let changed = remove_small_regions(&mut cleaned, case.threshold, what).unwrap();
        assert_eq!(Rle::from_mask(&cleaned).unwrap().to_coco_string(), case.coco, "{case:?}");
        assert_eq!(changed, case.changed, "{case:?}");
    }
}

/// The slow way: paints one component after another.
fn flood_fill(mask: &BitMask, connectivity: Connectivity) -> Vec<u64> {
    let mut left = mask.clone();
    let mut areas = Vec::new();
    for y in 0..mask.height() {
        for x in 0..mask.width() {
            if !left.get(x, y) {
                continue;
            }
            let mut open = vec![(i64::from(x), i64::from(y))];
            left.set(x, y, false);
            let mut area = 0;
            while let Some((x, y)) = open.pop() {
                area += 1;
                for (dx, dy) in [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)] {
                    let (nx, ny) = (x + dx, y + dy);
                    let near = connectivity == Connectivity::Eight || dx == 0 || dy == 0;
                    if near && nx >= 0 && ny >= 0 && left.get(nx as u32, ny as u32) {
                        left.set(nx as u32, ny as u32, false);
                        open.push((nx, ny));
                    }
                }
            }
            areas.push(area);
        }
    }
    areas
}

proptest! {
    #[test]
    fn components_are_those_of_a_flood_fill(seed: u32, width in 1u32..140, height in 1u32..60, density in 0u32..200) {
        let mask = golden::speckle(seed, height, width, density);
        for connectivity in [Connectivity::Four, Connectivity::Eight] {
            let components = connected_components(&mask, connectivity).unwrap();
            let areas: Vec<u64> = components.all().iter().map(|component| component.area).collect();
            prop_assert_eq!(&areas, &flood_fill(&mask, connectivity));
            prop_assert_eq!(&components.mask_of(|_| true).unwrap(), &mask);
            for (index, component) in components.all().iter().enumerate() {
                let own = components.mask_of(|other| other == index).unwrap();
                let mut kept = mask.clone();
                components.retain(&mut kept, |other| other == index);
                prop_assert_eq!(&own, &kept);
                prop_assert_eq!(own.area(), component.area);
                prop_assert_eq!(own.pixel_bounds(), Some(component.bounds));
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_outside_is_found_and_the_mask_stays(seed: u32, width in 0u32..140, height in 0u32..60, density in 0u32..256) {
        let mask = golden::speckle(seed, height, width, density);
        let mut turned = mask.clone();
        let outside = components_outside(&mut turned, Connectivity::Four).unwrap();
        prop_assert_eq!(&turned, &mask);
        let union = outside.mask_of(|_| true).unwrap();
        prop_assert_eq!(union.area() + mask.area(), u64::from(width) * u64::from(height));
        prop_assert_eq!(union.intersection_area(&mask).unwrap(), 0);
        prop_assert_eq!(&union, &mask.inverted());
    }
}

#[test]
fn nothing_has_no_components() {
    let components = connected_components(&BitMask::new(Size::new(10, 10)), Connectivity::Eight).unwrap();
    assert!(components.is_empty());
    assert!(connected_components(&BitMask::new(Size::new(0, 0)), Connectivity::Four).unwrap().is_empty());
}
