//! Points, boxes and sizes, each in one frame.

use std::marker::PhantomData;

use crate::frame::Frame;

/// A position in frame `F`. May lie outside the frame; see [`Point::clamped`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point<F: Frame> {
    /// Distance from the left edge, in pixels of `F`.
    pub x: f64,
    /// Distance from the top edge, in pixels of `F`.
    pub y: f64,
    frame: PhantomData<F>,
}

impl<F: Frame> Point<F> {
    /// The point at (`x`, `y`).
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y, frame: PhantomData }
    }

    /// The nearest point inside a frame of this size (edges included).
    pub fn clamped(self, size: Size<F>) -> Self {
        Self::new(self.x.clamp(0.0, f64::from(size.width)), self.y.clamp(0.0, f64::from(size.height)))
    }

    /// Whether both coordinates are finite numbers. Anything from outside must be asked this once.
    pub fn is_finite(self) -> bool {
        self.x.is_finite() && self.y.is_finite()
    }

    /// Euclidean distance, in pixels of `F`.
    pub fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }
}

/// An axis-aligned box in frame `F`, from its top left (`x0`, `y0`) to its bottom right corner (`x1`, `y1`).
///
/// As a plain box it is half-open and its width is `x1 - x0`. Tight boxes of masks follow upstream instead and name
/// the *last* pixel (`samovar_media::BitMask::tight_box` says so); the type is the same, because the models take both
/// as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Box2<F: Frame> {
    /// Left edge.
    pub x0: f64,
    /// Top edge.
    pub y0: f64,
    /// Right edge.
    pub x1: f64,
    /// Bottom edge.
    pub y1: f64,
    frame: PhantomData<F>,
}

impl<F: Frame> Box2<F> {
    /// The box with these edges, taken as given.
    pub const fn new(x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        Self { x0, y0, x1, y1, frame: PhantomData }
    }

    /// The box spanned by two opposite corners in any order, as a mouse drag gives them.
    pub fn from_corners(a: Point<F>, b: Point<F>) -> Self {
        Self::new(a.x.min(b.x), a.y.min(b.y), a.x.max(b.x), a.y.max(b.y))
    }

    /// The box that covers a whole frame of this size.
    pub fn whole(size: Size<F>) -> Self {
        Self::new(0.0, 0.0, f64::from(size.width), f64::from(size.height))
    }

    /// `x1 - x0`; negative if the edges are swapped.
    pub fn width(self) -> f64 {
        self.x1 - self.x0
    }

    /// `y1 - y0`; negative if the edges are swapped.
    pub fn height(self) -> f64 {
        self.y1 - self.y0
    }

    /// Width times height; zero for an empty or swapped box.
    pub fn area(self) -> f64 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// The middle of the box.
    pub fn centre(self) -> Point<F> {
        Point::new((self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0)
    }

    /// Top left and bottom right corner.
    pub fn corners(self) -> [Point<F>; 2] {
        [Point::new(self.x0, self.y0), Point::new(self.x1, self.y1)]
    }

    /// Whether the point lies inside, edges included.
    pub fn contains(self, point: Point<F>) -> bool {
        (self.x0..=self.x1).contains(&point.x) && (self.y0..=self.y1).contains(&point.y)
    }

    /// The common part of two boxes; `None` if they do not even touch.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let common = Self::new(
            self.x0.max(other.x0),
            self.y0.max(other.y0),
            self.x1.min(other.x1),
            self.y1.min(other.y1),
        );
        (common.x0 <= common.x1 && common.y0 <= common.y1).then_some(common)
    }

    /// The smallest box around both.
    pub fn union(self, other: Self) -> Self {
        Self::new(self.x0.min(other.x0), self.y0.min(other.y0), self.x1.max(other.x1), self.y1.max(other.y1))
    }

    /// Intersection over union of the areas; zero when both are empty.
    pub fn iou(self, other: Self) -> f64 {
        let common = self.intersection(other).map_or(0.0, Self::area);
        let total = self.area() + other.area() - common;
        if total > 0.0 { common / total } else { 0.0 }
    }

    /// The part of the box inside a frame of this size.
    pub fn clamped(self, size: Size<F>) -> Self {
        let [a, b] = self.corners().map(|corner| corner.clamped(size));
        Self::new(a.x, a.y, b.x, b.y)
    }

    /// Whether all four edges are finite numbers.
    pub fn is_finite(self) -> bool {
        self.corners().iter().all(|corner| corner.is_finite())
    }
}

/// Whole pixels across and down in frame `F`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Size<F: Frame> {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    frame: PhantomData<F>,
}

impl<F: Frame> Size<F> {
    /// A size of `width` by `height`.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height, frame: PhantomData }
    }

    /// A square.
    pub const fn square(side: u32) -> Self {
        Self::new(side, side)
    }

    /// Number of pixels; cannot overflow.
    pub const fn area(self) -> u64 {
        self.width as u64 * self.height as u64
    }

    /// Whether there is no pixel at all.
    pub const fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// The longer of the two sides.
    pub fn longest_side(self) -> u32 {
        self.width.max(self.height)
    }

    /// The same numbers in another frame, where that is what is meant (a display at 1:1, say).
    pub const fn as_frame<G: Frame>(self) -> Size<G> {
        Size::new(self.width, self.height)
    }
}

impl<F: Frame> std::fmt::Display for Size<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl<F: Frame> std::fmt::Display for Point<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}, {}) in the {} frame", self.x, self.y, F::NAME)
    }
}

impl<F: Frame> std::fmt::Display for Box2<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}, {})..({}, {}) in the {} frame", self.x0, self.y0, self.x1, self.y1, F::NAME)
    }
}

#[cfg(test)]
mod tests;
