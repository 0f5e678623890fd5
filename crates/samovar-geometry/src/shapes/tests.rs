//! Boxes, points and sizes keep their promises at the edges.

use super::*;
use crate::frame::Image;

type B = Box2<Image>;

#[test]
fn a_drag_in_any_direction_gives_the_same_box() {
    let (a, b) = (Point::<Image>::new(10.0, 2.0), Point::new(3.0, 7.0));
    assert_eq!(Box2::from_corners(a, b), B::new(3.0, 2.0, 10.0, 7.0));
    assert_eq!(Box2::from_corners(b, a), Box2::from_corners(a, b));
}

#[test]
fn iou_of_known_boxes() {
    let a = B::new(0.0, 0.0, 10.0, 10.0);
    assert_eq!(a.iou(a), 1.0);
    assert_eq!(a.iou(B::new(5.0, 0.0, 15.0, 10.0)), 50.0 / 150.0);
    assert_eq!(a.iou(B::new(10.0, 0.0, 20.0, 10.0)), 0.0, "touching boxes share no area");
    assert_eq!(a.iou(B::new(30.0, 30.0, 40.0, 40.0)), 0.0);
    assert_eq!(B::default().iou(B::default()), 0.0, "no NaN from empty boxes");
}

#[test]
fn clamping_keeps_what_is_inside() {
    let size = Size::<Image>::new(100, 50);
    assert_eq!(B::new(-5.0, 10.0, 120.0, 60.0).clamped(size), B::new(0.0, 10.0, 100.0, 50.0));
    assert_eq!(Point::<Image>::new(-1.0, 51.0).clamped(size), Point::new(0.0, 50.0));
}

#[test]
fn non_finite_numbers_are_found() {
    assert!(!Point::<Image>::new(f64::NAN, 0.0).is_finite());
    assert!(!B::new(0.0, 0.0, f64::INFINITY, 1.0).is_finite());
    assert!(B::new(0.0, -3.0, 1e9, 1.0).is_finite());
}

#[test]
fn the_largest_size_does_not_overflow() {
    assert_eq!(Size::<Image>::square(u32::MAX).area(), u64::from(u32::MAX) * u64::from(u32::MAX));
    assert!(Size::<Image>::new(0, 7).is_empty());
}
