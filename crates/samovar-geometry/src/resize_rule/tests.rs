//! Resized sizes against upstream's `get_preprocess_shape`, and the transforms that follow from them.

use proptest::prelude::*;

use super::*;
use crate::shapes::Point;

const SAM: ResizeRule = ResizeRule::LongestSide { target: 1024 };

#[test]
fn sizes_match_upstream() {
    // (width, height) -> (width, height) from segment_anything.utils.transforms.ResizeLongestSide(1024).
    let cases = [
        ((1024, 1024), (1024, 1024)),
        ((1920, 1080), (1024, 576)),
        ((1080, 1920), (576, 1024)),
        ((640, 480), (1024, 768)),
        ((3, 7), (439, 1024)),
        ((1, 1), (1024, 1024)),
        ((1000, 333), (1024, 341)),
        ((333, 1000), (341, 1024)),
        ((2048, 1023), (1024, 512)), // 511.5 + 0.5 rounds up
        ((2048, 1), (1024, 1)),      // 0.5 + 0.5
        ((5000, 1), (1024, 1)),      // upstream gives 0 here and fails
        ((1801, 1201), (1024, 683)),
    ];
    for ((width, height), (new_width, new_height)) in cases {
        let resized = SAM.resized(Size::new(width, height));
        assert_eq!((resized.width, resized.height), (new_width, new_height), "{width}x{height}");
    }
}

#[test]
fn an_exact_rule_takes_the_whole_canvas() {
    let rule = ResizeRule::Exact { width: 1024, height: 1024 };
    let image = Size::new(640, 360);
    assert_eq!(rule.resized(image), rule.canvas());
    assert_eq!(rule.input_from_image(image) * Point::new(320.0, 90.0), Point::new(512.0, 256.0));
}

#[test]
fn the_grid_covers_the_padding_too() {
    let grid_from_image = SAM.grid_from_image(Size::new(2048, 1024), Size::square(256));
    assert_eq!(grid_from_image * Point::new(2048.0, 1024.0), Point::new(256.0, 128.0));
}

proptest! {
    #[test]
    fn the_longest_side_is_the_target(width in 1u32..30_000, height in 1u32..30_000, target in 1u32..4096) {
        let resized = ResizeRule::LongestSide { target }.resized(Size::new(width, height));
        prop_assert_eq!(resized.longest_side(), target);
        // The other side keeps the aspect ratio to half a pixel, or is the one pixel it cannot go below.
        let scale = f64::from(target) / f64::from(width.max(height));
        for (new, old) in [(resized.width, width), (resized.height, height)] {
            let ideal = f64::from(old) * scale;
            prop_assert!((f64::from(new) - ideal).abs() <= 0.5 + 1e-9 || new == 1, "{ideal} became {new}");
        }
    }

    #[test]
    fn the_image_lands_on_the_canvas(width in 1u32..30_000, height in 1u32..30_000) {
        let size = Size::<Image>::new(width, height);
        let far = SAM.input_from_image(size) * Point::new(f64::from(width), f64::from(height));
        let resized = SAM.resized(size);
        prop_assert!(far.distance(Point::new(f64::from(resized.width), f64::from(resized.height))) < 1e-6);
    }
}
