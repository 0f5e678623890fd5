//! Round trips between display, image and input, exact to half a pixel, on random sizes, zooms and pans.

use proptest::prelude::*;

use super::*;

const SAM: ResizeRule = ResizeRule::LongestSide { target: 1024 };

prop_compose! {
    fn view()(iw in 1u32..9_000, ih in 1u32..9_000, dw in 1u32..4_000, dh in 1u32..4_000,
              zoom in 0.1..50.0f64, dx in -2_000.0..2_000.0f64, dy in -2_000.0..2_000.0f64, exact: bool)
              -> ScalingManager {
        let rule = if exact { ResizeRule::Exact { width: 1008, height: 1008 } } else { SAM };
        ScalingManager::new(Size::new(iw, ih), Size::new(dw, dh), rule)
            .zoomed(zoom, Point::new(f64::from(dw) / 3.0, f64::from(dh) / 3.0))
            .panned(dx, dy)
    }
}

proptest! {
    #[test]
    fn points_and_boxes_come_back(view in view(), u in 0.0..1.0f64, v in 0.0..1.0f64) {
        let size = view.image_size();
        let point = Point::<Image>::new(u * f64::from(size.width), v * f64::from(size.height));
        let via_display = view.image_from_display() * (view.display_from_image() * point);
        let via_input = view.image_from_input() * (view.input_from_image() * point);
        let around = view.image_from_input()
            * (view.input_from_display() * (view.display_from_input() * (view.input_from_image() * point)));
        for back in [via_display, via_input, around] {
            prop_assert!(back.distance(point) < 0.5e-3, "{point} came back as {back}");
        }
        let b = Box2::from_corners(Point::new(0.0, 0.0), point);
        let back = view.image_from_display() * (view.display_from_image() * b);
        prop_assert!(back.corners()[1].distance(point) < 0.5e-3);
    }

    #[test]
    fn the_aspect_ratio_is_kept_and_the_picture_fits(iw in 1u32..9_000, ih in 1u32..9_000,
                                                     dw in 1u32..4_000, dh in 1u32..4_000) {
        let view = ScalingManager::new(Size::new(iw, ih), Size::new(dw, dh), SAM);
        let (sx, sy) = view.display_from_image().scale();
        prop_assert_eq!(sx, sy);
        let shown = view.display_from_image() * Box2::whole(view.image_size());
        prop_assert!(shown.x0 >= -1e-9 && shown.y0 >= -1e-9);
        prop_assert!(shown.x1 <= f64::from(dw) + 1e-6 && shown.y1 <= f64::from(dh) + 1e-6);
        let touches = (shown.width() - f64::from(dw)).abs() < 1e-6 || (shown.height() - f64::from(dh)).abs() < 1e-6;
        prop_assert!(touches, "as large as fits");
    }

    #[test]
    fn zooming_keeps_the_fixed_point(view in view(), factor in 0.2..5.0f64, x in 0.0..4_000.0, y in 0.0..4_000.0) {
        let fixed = Point::<Display>::new(x, y);
        let before = view.image_from_display() * fixed;
        let after = view.zoomed(factor, fixed).image_from_display() * fixed;
        let size = before.x.abs().max(before.y.abs()).max(1.0);
        prop_assert!(before.distance(after) < 1e-6 * size, "{before} moved to {after}");
    }

    #[test]
    fn a_mask_enlarged_and_reduced_is_the_same_mask(w in 1u32..40, h in 1u32..40, factor in 1u32..5, seed: u64) {
        // A display at least as large as the image holds every image pixel, so the way back loses nothing.
        let view = ScalingManager::new(Size::new(w, h), Size::new(w * factor + 3, h * factor + 1), SAM);
        let mask: Vec<bool> = (0..w * h).map(|i| (seed.rotate_left(i % 64) ^ (u64::from(i) * 0x9e37_79b9)) & 4 != 0)
            .collect();
        let shown = view.mask_to_display(&mask, false).unwrap();
        prop_assert_eq!(view.mask_from_display(&shown, false).unwrap(), mask);
    }
}

#[test]
fn a_click_in_the_margin_hits_nothing() {
    let view = ScalingManager::new(Size::new(200, 100), Size::new(100, 100), SAM);
    assert_eq!(view.click_in_image(Point::new(50.0, 50.0)), Some(Point::new(100.0, 50.0)));
    assert_eq!(view.click_in_image(Point::new(50.0, 10.0)), None);
    assert_eq!(view.click_in_image(Point::new(100.0, 50.0)), None, "the right edge is already outside");
    assert_eq!(view.click_in_image(Point::new(f64::NAN, 50.0)), None);
}

#[test]
fn a_mask_moves_by_at_most_half_a_pixel() {
    // A vertical edge at column 333 of 1000, shown at 0.3 of the size: the edge must be within half a display pixel.
    let view = ScalingManager::new(Size::new(1000, 10), Size::new(300, 3), SAM);
    let mask: Vec<bool> = (0..10 * 1000).map(|i| i % 1000 >= 333).collect();
    let shown = view.mask_to_display(&mask, false).unwrap();
    let edge_in_display = shown[..300].iter().position(|&on| on).unwrap() as f64;
    let true_edge = (view.display_from_image() * Point::new(333.0, 0.0)).x;
    assert!((edge_in_display - true_edge).abs() <= 0.5, "{edge_in_display} against {true_edge}");
}

#[test]
fn padding_is_filled_with_the_given_value() {
    let view = ScalingManager::new(Size::new(2, 1), Size::new(2, 1), ResizeRule::LongestSide { target: 4 });
    let input = view.mask_to_input(&[1u8, 2], 9).unwrap();
    assert_eq!(input, [1, 1, 2, 2, 1, 1, 2, 2, 9, 9, 9, 9, 9, 9, 9, 9]);
    assert_eq!(view.mask_from_input(&input, 0).unwrap(), [1, 2]);
}

#[test]
fn a_mask_of_the_wrong_length_is_refused() {
    let view = ScalingManager::new(Size::new(4, 4), Size::new(8, 8), SAM);
    assert_eq!(view.mask_to_display(&[0u8; 15], 0), None);
}

#[test]
fn senseless_sizes_and_zooms_do_no_harm() {
    let view = ScalingManager::new(Size::new(0, 0), Size::new(0, 0), SAM);
    assert!((view.input_from_display() * Point::new(0.0, 0.0)).is_finite());
    for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(view.zoomed(factor, Point::new(0.0, 0.0)), view);
    }
    let far = (0..100).fold(view, |view, _| view.zoomed(10.0, Point::new(0.0, 0.0)));
    assert!((far.image_from_display() * Point::new(1.0, 1.0)).is_finite());
}
