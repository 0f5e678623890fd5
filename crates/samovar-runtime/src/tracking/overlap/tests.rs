use std::sync::Arc;

use samovar_geometry::{Image, ResizeRule, Size};
use samovar_media::Upscaler;

use super::super::mask::Region;
use super::*;
use crate::tracking::{News, ObjectId};

fn frame() -> Size<Image> {
    Size::new(150, 70)
}

/// Numbers without an order, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// -8 to 8.
    fn logit(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 27) as f32 - 8.0
    }
}

fn logits_of(region: Region, seed: u64) -> RegionLogits {
    let grid = Size::new(12, 10);
    let rule = ResizeRule::Exact { width: 48, height: 40 };
    let mut numbers = Numbers(seed);
    let logits: Vec<f32> = (0..grid.area()).map(|_| numbers.logit()).collect();
    let upscaler = Upscaler::new(grid, rule, region.size).unwrap();
    RegionLogits::rounded(region, &logits, Arc::new(upscaler))
}

fn object(number: ObjectId, mask: TrackedMask) -> TrackedObject {
    let (iou_score, object_score) = (0.9, None);
    TrackedObject {
        object: number,
        mask,
        iou_score,
        object_score,
        is_prompted: false,
        is_locked: false,
        news: News::Found,
    }
}

fn found(number: ObjectId, region: Region) -> TrackedObject {
    let logits = logits_of(region, u64::from(number));
    object(number, TrackedMask::new(logits.mask(frame(), 1).unwrap(), Some(logits)))
}

fn given(number: ObjectId, mask: BitMask) -> TrackedObject {
    object(number, TrackedMask::new(mask, None))
}

/// The logits of a whole frame, as large as it is; least where there are none.
fn enlarged(mask: &TrackedMask) -> Vec<f32> {
    let logits = mask.logits().unwrap();
    let Region { x0, y0, size } = logits.region;
    let upscaler =
        Upscaler::new(Size::new(12, 10), ResizeRule::Exact { width: 48, height: 40 }, size).unwrap();
    let mut part = vec![0.0; size.area() as usize];
    upscaler.prepare(&logits.to_f32()).unwrap().logit_rows(0..size.height, &mut part).unwrap();
    let mut whole = vec![f32::NEG_INFINITY; frame().area() as usize];
    for (y, row) in (y0..).zip(part.chunks_exact(size.width as usize)) {
        let start = (y * frame().width + x0) as usize;
        whole[start..start + row.len()].copy_from_slice(row);
    }
    whole
}

fn regions() -> [Region; 4] {
    let part = |x0, y0, width, height| Region { x0, y0, size: Size::new(width, height) };
    [Region::whole(frame()), part(20, 10, 90, 50), Region::whole(frame()), part(71, 33, 79, 37)]
}

#[test]
fn each_contested_pixel_is_that_of_the_highest_logit_and_no_other_changes() {
    let before: Vec<TrackedObject> =
        (1..).zip(regions()).map(|(number, region)| found(number, region)).collect();
    let mut after = before.clone();
    // In whatever order they come.
    after.reverse();
    separate(&mut after).unwrap();
    after.reverse();
    let logits: Vec<Vec<f32>> = before.iter().map(|object| enlarged(&object.mask)).collect();
    let mut contested = 0;
    for (x, y) in (0..frame().height).flat_map(|y| (0..frame().width).map(move |x| (x, y))) {
        let at = (y * frame().width + x) as usize;
        let claims: Vec<usize> = (0..before.len()).filter(|&i| before[i].mask.mask().get(x, y)).collect();
        let owners: Vec<usize> = (0..after.len()).filter(|&i| after[i].mask.mask().get(x, y)).collect();
        contested += usize::from(claims.len() > 1);
        let highest = claims.iter().map(|&index| logits[index][at]).fold(f32::NEG_INFINITY, f32::max);
        let expected = claims.into_iter().find(|&index| logits[index][at] == highest);
        assert_eq!(owners, Vec::from_iter(expected), "({x}, {y})");
    }
    assert!(contested > 2000, "{contested} pixels");
    // Soft edges follow the mask.
    for object in &after {
        let (alpha, mask) = (object.mask.alpha().unwrap(), object.mask.mask());
        let over: Vec<bool> = alpha.values().iter().map(|&value| value > 127).collect();
        assert!(over == mask.to_bools(), "object {}", object.object);
    }
}

#[test]
fn masks_that_do_not_meet_stay_as_they_are() {
    let left = found(1, Region { x0: 0, y0: 0, size: Size::new(70, 70) });
    let right = found(2, Region { x0: 70, y0: 0, size: Size::new(80, 70) });
    let mut objects = vec![left, right, given(3, BitMask::new(frame()))];
    let before = objects.clone();
    separate(&mut objects).unwrap();
    for (before, after) in before.iter().zip(&objects) {
        assert_eq!(before.mask.mask(), after.mask.mask());
    }
    assert!(objects[0].mask.mask().area() > 0 && objects[1].mask.mask().area() > 0);
    separate(&mut []).unwrap();
}

#[test]
fn a_given_mask_wins_over_found_ones_and_the_lower_number_over_the_higher() {
    let block = |x0: u32, x1: u32| BitMask::from_fn(frame(), |x, y| (x0..x1).contains(&x) && y < 40);
    let mut objects = [found(1, Region::whole(frame())), given(7, block(30, 90)), given(5, block(80, 120))];
    let drawn = objects[0].mask.mask().clone();
    separate(&mut objects).unwrap();
    let [of_model, seven, five] = objects.map(|object| object.mask.mask().clone());
    assert_eq!((seven, five), (block(30, 80), block(80, 120)));
    let mut expected = drawn.clone();
    expected.subtract(&block(30, 120)).unwrap();
    assert_eq!(of_model, expected);
    assert_ne!(expected, drawn);
    // The very same logits.
    let logits = logits_of(Region::whole(frame()), 3);
    let twin =
        |number| object(number, TrackedMask::new(logits.mask(frame(), 1).unwrap(), Some(logits.clone())));
    let mut twins = [twin(9), twin(4)];
    separate(&mut twins).unwrap();
    assert!(twins[0].mask.mask().is_empty());
    assert_eq!(twins[1].mask.mask(), &logits.mask(frame(), 1).unwrap());
}

#[test]
fn a_filled_hole_goes_to_the_object_in_it() {
    let outer = found(1, Region::whole(frame()));
    let logits = outer.mask.logits().cloned();
    // All of the frame, also where its logits are below 0.
    let filled = object(1, TrackedMask::new(BitMask::full(frame()), logits));
    let holes = outer.mask.mask().inverted();
    let mut inner = found(2, Region::whole(frame()));
    let mut within = inner.mask.mask().clone();
    within.intersect_with(&holes).unwrap();
    inner.mask = inner.mask.with_mask(within.clone());
    let mut objects = [filled, inner];
    separate(&mut objects).unwrap();
    assert_eq!(objects[1].mask.mask(), &within);
    assert!(!within.is_empty());
    assert_eq!(objects[0].mask.mask(), &within.inverted());
}

fn block(x0: u32, x1: u32, y0: u32, y1: u32) -> BitMask {
    BitMask::from_fn(frame(), |x, y| (x0..x1).contains(&x) && (y0..y1).contains(&y))
}

#[test]
fn a_locked_mask_stays_as_it_is_and_others_give_way() {
    let lone = |x: u32, y: u32| (x, y) == (2, 2);
    let hole = |x: u32, y: u32| (x, y) == (60, 20);
    let held = BitMask::from_fn(frame(), |x, y| {
        lone(x, y) || (40..80).contains(&x) && (10..30).contains(&y) && !hole(x, y)
    });
    // Whichever number it has, and whether somebody drew the other.
    for number in [1, 9] {
        let mut locked = found(number, Region::whole(frame()));
        locked.mask = locked.mask.with_mask(held.clone());
        locked.is_locked = true;
        let mut objects = [given(5, block(60, 120, 0, 40)), locked, found(6, Region::whole(frame()))];
        MaskRules { no_overlap: true, fill_holes: 9, remove_islands: 9 }.apply(&mut objects).unwrap();
        assert_eq!(objects[1].mask.mask(), &held);
        for other in [0, 2] {
            assert_eq!(objects[other].mask.mask().intersection_area(&held).unwrap(), 0);
        }
        assert_eq!(objects[0].mask.mask().area(), 60 * 40 - 20 * 20, "what is in the hole is an island");
    }
    let two = |number| TrackedObject { is_locked: true, ..given(number, block(10, 20, 10, 20)) };
    let mut both = [two(1), two(2)];
    MaskRules { no_overlap: true, ..MaskRules::default() }.apply(&mut both).unwrap();
    assert!(both.iter().all(|locked| locked.mask.mask() == &block(10, 20, 10, 20)));
}

#[test]
fn holes_and_islands_that_a_cut_leaves_go_too_and_nothing_overlaps() {
    // The second is cut by the first but for three pixels at its end; the first has a hole where a spot of the second wins.
    let stripe = block(20, 60, 20, 40);
    let mut crossing = block(30, 33, 10, 43);
    crossing.union_with(&block(50, 51, 30, 31)).unwrap();
    let mut given = [given(1, stripe.clone()), given(2, crossing)];
    let rules = MaskRules { no_overlap: true, fill_holes: 12, remove_islands: 12 };
    rules.apply(&mut given).unwrap();
    assert_eq!(given[0].mask.mask(), &stripe);
    assert_eq!(given[1].mask.mask(), &block(30, 33, 10, 20), "the 9 pixels behind are an island");
    // Of noise nothing is left, whatever is cut.
    for seed in 0..6 {
        let mut objects: Vec<TrackedObject> =
            (1..).zip(regions()).map(|(number, region)| found(number + seed * 4, region)).collect();
        let rules = MaskRules { no_overlap: true, fill_holes: 40, remove_islands: 40 };
        rules.apply(&mut objects).unwrap();
        let mut all = BitMask::new(frame());
        for object in &objects {
            let mask = object.mask.mask();
            assert_eq!(all.intersection_area(mask).unwrap(), 0);
            all.union_with(mask).unwrap();
            let parts = connected_components(mask, Connectivity::Eight).unwrap();
            assert!(parts.all().iter().all(|part| part.area > 40), "an island");
        }
        for object in &objects {
            let holes = connected_components(&object.mask.mask().inverted(), Connectivity::Four).unwrap();
            let mut free = Vec::new();
            holes.for_each_run(|hole, y, x0, x1| {
                if (x0..x1).any(|x| !all.get(x, y)) {
                    free.push(hole);
                }
            });
            for hole in free.into_iter().map(|hole| &holes.all()[hole]) {
                let [left, top, right, bottom] = hole.bounds;
                let at_border = left == 0 || top == 0 || right == frame().width || bottom == frame().height;
                assert!(at_border || hole.area > 40, "a hole that nobody is in");
            }
        }
    }
}

#[test]
fn masks_of_different_frames_are_refused() {
    let mut objects = [given(1, BitMask::full(frame())), given(2, BitMask::full(Size::new(150, 71)))];
    let error = separate(&mut objects).unwrap_err().to_string();
    assert!(error.contains("150x70") && error.contains("150x71"), "{error}");
    assert_eq!(objects[0].mask.mask(), &BitMask::full(frame()), "nothing was changed");
}

/// The pixels that are reached from one over pixels of the same value, and whether one of them is at the border.
fn flooded(mask: &BitMask, x: u32, y: u32, diagonally: bool) -> (Vec<(u32, u32)>, bool) {
    let is_set = mask.get(x, y);
    let (mut reached, mut at_border) = (vec![(x, y)], false);
    let mut seen = BitMask::new(mask.size());
    seen.set(x, y, true);
    let mut next = 0;
    while let Some(&(x, y)) = reached.get(next) {
        next += 1;
        at_border |= x == 0 || y == 0 || x + 1 == mask.width() || y + 1 == mask.height();
        for (dx, dy) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dx, dy))) {
            let (x, y) = (x.wrapping_add_signed(dx), y.wrapping_add_signed(dy));
            let is_inside = x < mask.width() && y < mask.height();
            if is_inside && (diagonally || dx == 0 || dy == 0) && mask.get(x, y) == is_set && !seen.get(x, y)
            {
                seen.set(x, y, true);
                reached.push((x, y));
            }
        }
    }
    (reached, at_border)
}

#[test]
fn holes_and_islands_are_those_of_a_flood_fill() {
    let mut numbers = Numbers(5);
    let (mut filled, mut removed) = (0, 0);
    for round in 0..40u64 {
        let size = Size::new(3 + (numbers.next() % 70) as u32, 3 + (numbers.next() % 30) as u32);
        let density = 3 + numbers.next() % 5;
        let mask = BitMask::from_fn(size, |_, _| numbers.next() % 10 < density);
        let (fill_holes, remove_islands) = (round % 5, round / 5 % 4);
        let all = || (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y)));
        let mut expected = mask.clone();
        for (x, y) in all().filter(|&(x, y)| !mask.get(x, y)) {
            let (hole, at_border) = flooded(&mask, x, y, false);
            if !at_border && hole.len() as u64 <= fill_holes {
                expected.set(x, y, true);
                filled += 1;
            }
        }
        let with_holes_filled = expected.clone();
        for (x, y) in all().filter(|&(x, y)| with_holes_filled.get(x, y)) {
            if flooded(&with_holes_filled, x, y, true).0.len() as u64 <= remove_islands {
                expected.set(x, y, false);
                removed += 1;
            }
        }
        assert_eq!(tidy_up(&mask, fill_holes, remove_islands).unwrap(), expected, "round {round}");
    }
    assert!(filled > 100 && removed > 100, "{filled} and {removed}");
}

#[test]
fn what_is_asked_of_holes_and_islands_is_always_done() {
    let ring = |x: u32, y: u32| (10..15).contains(&x) && (10..15).contains(&y) && (x, y) != (12, 12);
    let mask = BitMask::from_fn(frame(), |x, y| ring(x, y) || (x, y) == (100, 3));
    assert_eq!(tidy_up(&mask, 0, 0).unwrap(), mask);
    // The ring has 24 pixels, and 25 with its hole filled.
    assert_eq!(tidy_up(&mask, 1, 24).unwrap().area(), 25);
    assert!(tidy_up(&mask, 0, 24).unwrap().is_empty(), "also the largest");
    assert_eq!(tidy_up(&mask, 1, 1).unwrap().area(), 25);
    // Nothing and everything have no holes.
    assert!(tidy_up(&BitMask::new(frame()), u64::MAX, 0).unwrap().is_empty());
    assert_eq!(tidy_up(&BitMask::full(frame()), u64::MAX, 100).unwrap().area(), frame().area());
    assert!(tidy_up(&BitMask::full(frame()), u64::MAX, u64::MAX).unwrap().is_empty());
    // A gap at the border is none either.
    let open = BitMask::from_fn(frame(), |x, _| x > 0);
    assert_eq!(tidy_up(&open, u64::MAX, 0).unwrap(), open);
}
