//! Composition, inversion and the order of frames, on random transforms.

use proptest::prelude::*;

use super::*;
use crate::frame::{Grid, Image, Input};

fn scale() -> impl Strategy<Value = f64> {
    // Anything a resize of real pictures can give, up- and down-scaling alike.
    (1u32..20_000, 1u32..20_000).prop_map(|(to, from)| f64::from(to) / f64::from(from))
}

fn offset() -> impl Strategy<Value = f64> {
    -5_000.0..5_000.0f64
}

prop_compose! {
    fn transform()(sx in scale(), sy in scale(), ox in offset(), oy in offset()) -> (f64, f64, f64, f64) {
        (sx, sy, ox, oy)
    }
}

proptest! {
    #[test]
    fn there_and_back_is_the_same_point((sx, sy, ox, oy) in transform(), x in 0.0..20_000.0, y in 0.0..20_000.0) {
        let input_from_image = Transform::<Image, Input>::scale_offset(sx, sy, ox, oy);
        let image_from_input = input_from_image.inverse().unwrap();
        let point = Point::<Image>::new(x, y);
        let back = image_from_input * (input_from_image * point);
        // One part in 10^9 of the largest number on the way: f64 leaves six more digits.
        let slack = 1e-9 * (20_000.0 + 5_000.0 / sx.min(sy));
        prop_assert!(back.distance(point) <= slack, "{point} came back as {back}");
    }

    #[test]
    fn composing_is_applying_twice((ax, ay, aox, aoy) in transform(), (bx, by, box_, boy) in transform(),
                                   x in 0.0..20_000.0, y in 0.0..20_000.0) {
        let input_from_image = Transform::<Image, Input>::scale_offset(ax, ay, aox, aoy);
        let grid_from_input = Transform::<Input, Grid>::scale_offset(bx, by, box_, boy);
        let grid_from_image = grid_from_input * input_from_image;
        let point = Point::<Image>::new(x, y);
        let (once, twice) = (grid_from_image * point, grid_from_input * (input_from_image * point));
        let size = twice.x.abs().max(twice.y.abs()).max((aox * bx).abs()).max((aoy * by).abs()).max(1.0);
        prop_assert!(once.distance(twice) <= 1e-9 * size, "{once} against {twice}");
    }

    #[test]
    fn a_box_moves_with_its_corners((sx, sy, ox, oy) in transform()) {
        let t = Transform::<Image, Input>::scale_offset(sx, sy, ox, oy);
        let b = Box2::<Image>::new(1.0, 2.0, 30.0, 40.0);
        prop_assert_eq!((t * b).corners(), b.corners().map(|corner| t * corner));
    }
}

#[test]
fn a_flat_transform_has_no_way_back() {
    for (sx, sy, ox) in
        [(0.0, 1.0, 0.0), (1.0, f64::NAN, 0.0), (f64::INFINITY, 1.0, 0.0), (1.0, 1.0, f64::NAN)]
    {
        assert!(Transform::<Image, Input>::scale_offset(sx, sy, ox, 0.0).inverse().is_none());
    }
}

#[test]
fn stretching_maps_edge_to_edge() {
    let t = Transform::stretch(Size::<Image>::new(3, 7), Size::<Input>::new(1024, 439));
    let corner = t * Point::new(3.0, 7.0);
    assert!(corner.distance(Point::new(1024.0, 439.0)) < 1e-9);
    assert_eq!(t * Point::new(0.0, 0.0), Point::new(0.0, 0.0));
}
