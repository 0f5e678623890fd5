//! Maps that are carried along with the flow.

use super::*;

const SIZE: Size<Motion> = Size::new(8, 4);

fn flow(u: f32, v: f32) -> Flow {
    let area = SIZE.area() as usize;
    Flow { size: SIZE, u: vec![u; area], v: vec![v; area] }
}

/// A ramp of tenths to the right, and of ones downwards.
fn ramp() -> Patch {
    let values = (0..32).map(|at| (at % 8) as f32 / 10.0 + (at / 8) as f32).collect();
    Patch::new(SIZE, Region::whole(SIZE), values)
}

#[test]
fn a_map_without_motion_stays_to_the_bit() {
    assert_eq!(ramp().carried(&flow(0.0, 0.0)), ramp());
    let part = Patch::of_mask(&BitMask::from_fn(Size::new(8, 4), |x, y| x > 2 && y == 1), SIZE);
    assert_eq!(part.region, Region { x0: 3, y0: 1, size: Size::new(5, 1) }, "only what matters is held");
    assert_eq!(part.carried(&flow(0.0, 0.0)), part);
}

#[test]
fn a_map_is_looked_up_where_its_pixels_come_from() {
    let (before, near) = (ramp(), |a: f32, b: f32| (a - b).abs() < 1e-5);
    let whole = before.carried(&flow(1.0, -1.0));
    let halves = before.carried(&flow(0.5, 0.0));
    for (x, y) in (0..4).flat_map(|y| (0..8).map(move |x| (x, y))) {
        assert!(
            near(whole.at(x, y), before.at(x + 1, y - 1)),
            "{x}, {y}: what is beyond the edge is nothing"
        );
        let expected = (before.at(x, y) + before.at(x + 1, y)) / 2.0;
        assert!(near(halves.at(x, y), expected), "{x}, {y}: between two pixels");
    }
    assert_eq!((whole.at(7, 2), whole.at(3, 0)), (-CERTAIN, -CERTAIN));
}

#[test]
fn a_map_that_moves_out_of_the_frame_is_gone_and_one_of_another_size_stays() {
    let gone = ramp().carried(&flow(f32::MAX, -f32::MAX));
    assert!(gone.values.is_empty() && gone.bounds().is_none());
    assert_eq!(gone.carried(&flow(-1.0, 0.0)), gone);
    let other = Flow { size: Size::new(4, 8), ..flow(1.0, 1.0) };
    assert_eq!(ramp().carried(&other), ramp());
}
