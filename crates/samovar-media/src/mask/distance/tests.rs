//! Against looking at every pair of pixels.

use proptest::prelude::*;
use samovar_geometry::Size;

use super::*;
use crate::golden;

proptest! {
    #[test]
    fn the_deepest_point_is_the_one_found_by_brute_force(seed: u32, width in 1u32..40, height in 1u32..30,
                                                         density in 150u32..=256) {
        let mask = golden::speckle(seed, height, width, density);
        let mut best: Option<(Point<Image>, i64)> = None;
        let (w, h) = (i64::from(width), i64::from(height));
        for y in 0..h {
            for x in 0..w {
                let on = |x: i64, y: i64| x >= 0 && y >= 0 && mask.get(x as u32, y as u32);
                let nearest = (-1..=h)
                    .flat_map(|cy| (-1..=w).map(move |cx| (cx, cy)))
                    .filter(|&(cx, cy)| !on(cx, cy))
                    .map(|(cx, cy)| (cx - x) * (cx - x) + (cy - y) * (cy - y))
                    .min()
                    .unwrap();
                if on(x, y) && best.is_none_or(|(_, deepest)| nearest > deepest) {
                    best = Some((Point::new(x as f64, y as f64), nearest));
                }
            }
        }
        prop_assert_eq!(deepest_point(&mask), best.map(|(point, square)| (point, (square as f64).sqrt())));
    }
}

#[test]
fn the_middle_of_a_square() {
    let mask = BitMask::from_fn(Size::new(100, 100), |x, y| (10..61).contains(&x) && (20..71).contains(&y));
    assert_eq!(deepest_point(&mask), Some((Point::new(35.0, 45.0), 26.0)));
    assert_eq!(deepest_point(&BitMask::full(Size::new(1, 1))), Some((Point::new(0.0, 0.0), 1.0)));
    assert_eq!(deepest_point(&BitMask::new(Size::new(9, 9))), None);
}
