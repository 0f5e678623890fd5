//! Scale and offset per axis from one frame to another; frames are checked by the compiler.

use std::marker::PhantomData;
use std::ops::Mul;

use crate::frame::Frame;
use crate::shapes::{Box2, Point, Size};

/// Takes coordinates of frame `From` to frame `To`: `to = from * scale + offset`, per axis.
///
/// Name values after both ends, target first, so that composition reads like the arithmetic:
/// `let grid_from_image = grid_from_input * input_from_image;`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform<From: Frame, To: Frame> {
    scale_x: f64,
    scale_y: f64,
    offset_x: f64,
    offset_y: f64,
    frames: PhantomData<(From, To)>,
}

impl<F: Frame> Transform<F, F> {
    /// The transform that changes nothing.
    pub const fn identity() -> Self {
        Self::scale_offset(1.0, 1.0, 0.0, 0.0)
    }
}

impl<From: Frame, To: Frame> Transform<From, To> {
    /// `x * scale_x + offset_x`, `y * scale_y + offset_y`.
    pub const fn scale_offset(scale_x: f64, scale_y: f64, offset_x: f64, offset_y: f64) -> Self {
        Self { scale_x, scale_y, offset_x, offset_y, frames: PhantomData }
    }

    /// Stretches a whole frame of one size onto a whole frame of another. Each axis has its own factor,
    /// `to.width / from.width`, exactly as upstream computes it. Both sizes must have pixels; an empty `from` is taken
    /// as one pixel, so that no infinity can enter.
    pub fn stretch(from: Size<From>, to: Size<To>) -> Self {
        let ratio = |to: u32, from: u32| f64::from(to) / f64::from(from.max(1));
        Self::scale_offset(ratio(to.width, from.width), ratio(to.height, from.height), 0.0, 0.0)
    }

    /// Pixels of `To` per pixel of `From`, along x and y.
    pub const fn scale(self) -> (f64, f64) {
        (self.scale_x, self.scale_y)
    }

    /// Where the origin of `From` lies in `To`.
    pub const fn offset(self) -> (f64, f64) {
        (self.offset_x, self.offset_y)
    }

    /// A point of `From` in `To`.
    pub fn apply(self, point: Point<From>) -> Point<To> {
        Point::new(point.x * self.scale_x + self.offset_x, point.y * self.scale_y + self.offset_y)
    }

    /// A box of `From` in `To`, corner by corner.
    pub fn apply_box(self, b: Box2<From>) -> Box2<To> {
        let [top_left, bottom_right] = b.corners().map(|corner| self.apply(corner));
        Box2::new(top_left.x, top_left.y, bottom_right.x, bottom_right.y)
    }

    /// The way back; `None` if a scale is zero or not finite, so that no coordinate can become NaN.
    pub fn inverse(self) -> Option<Transform<To, From>> {
        let (scale_x, scale_y) = (self.scale_x.recip(), self.scale_y.recip());
        let offsets_are_finite = self.offset_x.is_finite() && self.offset_y.is_finite();
        let scales_are_usable = [scale_x, scale_y, self.scale_x, self.scale_y].iter().all(|s| s.is_normal());
        (offsets_are_finite && scales_are_usable).then(|| {
            Transform::scale_offset(scale_x, scale_y, -self.offset_x * scale_x, -self.offset_y * scale_y)
        })
    }

    /// First `self`, then `next`; the same as `next * self`.
    pub fn then<Last: Frame>(self, next: Transform<To, Last>) -> Transform<From, Last> {
        Transform::scale_offset(
            self.scale_x * next.scale_x,
            self.scale_y * next.scale_y,
            self.offset_x * next.scale_x + next.offset_x,
            self.offset_y * next.scale_y + next.offset_y,
        )
    }
}

impl<From: Frame, To: Frame> Mul<Point<From>> for Transform<From, To> {
    type Output = Point<To>;

    fn mul(self, point: Point<From>) -> Point<To> {
        self.apply(point)
    }
}

impl<From: Frame, To: Frame> Mul<Box2<From>> for Transform<From, To> {
    type Output = Box2<To>;

    fn mul(self, b: Box2<From>) -> Box2<To> {
        self.apply_box(b)
    }
}

impl<A: Frame, B: Frame, C: Frame> Mul<Transform<A, B>> for Transform<B, C> {
    type Output = Transform<A, C>;

    fn mul(self, first: Transform<A, B>) -> Transform<A, C> {
        first.then(self)
    }
}

#[cfg(test)]
mod tests;
