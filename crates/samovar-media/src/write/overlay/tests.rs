//! What an overlay changes and what it leaves.

use samovar_geometry::Size;

use super::*;
use crate::golden;

#[test]
fn only_the_mask_is_tinted_and_only_its_edge_is_a_line() {
    let image = golden::smooth_image(1, 40, 90);
    let mask = BitMask::from_fn(image.size(), |x, y| (10..80).contains(&x) && (5..30).contains(&y));
    let style = OverlayStyle { tint: 0.5, line_width: 2 };
    let drawn = draw_overlay(&image, &[&mask], &style).unwrap();
    let colour = palette_colour(0);
    for y in 0..40u32 {
        for x in 0..90u32 {
            let deep = (12..78).contains(&x) && (7..28).contains(&y);
            let before = image.pixel(x, y);
            let expected = match (mask.get(x, y), deep) {
                (false, _) => before,
                (true, false) => colour,
                (true, true) => std::array::from_fn(|c| {
                    ((u32::from(before[c]) + u32::from(colour[c])) as f64 / 2.0).round() as u8
                }),
            };
            assert_eq!(drawn.pixel(x, y), expected, "({x}, {y})");
        }
    }
}

#[test]
fn erosion_is_that_of_the_four_neighbours() {
    for (width, height) in [(1, 1), (63, 5), (64, 5), (65, 5), (130, 40)] {
        let mask = golden::speckle(7, height, width, 200);
        let at = |x: i64, y: i64| {
            let outside = x < 0 || y < 0 || x >= i64::from(width) || y >= i64::from(height);
            outside || mask.get(x as u32, y as u32)
        };
        let expected = BitMask::from_fn(Size::new(width, height), |x, y| {
            let (x, y) = (i64::from(x), i64::from(y));
            at(x, y) && at(x - 1, y) && at(x + 1, y) && at(x, y - 1) && at(x, y + 1)
        });
        assert_eq!(eroded(&mask).unwrap(), expected, "{width}x{height}");
    }
}

#[test]
fn many_masks_have_many_colours() {
    let colours: std::collections::BTreeSet<[u8; 3]> = (0..64).map(palette_colour).collect();
    assert_eq!(colours.len(), 64);
    for index in 0..64 {
        let (a, b) = (palette_colour(index), palette_colour(index + 1));
        let distance: u32 = (0..3).map(|c| u32::from(a[c].abs_diff(b[c]))).sum();
        assert!(distance > 100, "masks {index} and the next look alike: {a:?} {b:?}");
    }
}

#[test]
fn a_mask_of_another_size_is_refused() {
    let image = golden::smooth_image(1, 4, 4);
    let mask = BitMask::full(Size::new(5, 4));
    assert!(draw_overlay(&image, &[&mask], &OverlayStyle::default()).is_err());
}
