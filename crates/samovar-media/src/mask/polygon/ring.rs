//! Closed lines, and pieces with holes made of them.

use samovar_geometry::{Image, Point};

/// A closed line; the last point is joined to the first and not repeated.
pub type Ring = Vec<Point<Image>>;

/// One connected piece: its outline and the outlines of its holes. Outlines run clockwise as seen (x right, y down),
/// holes the other way round.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Polygon {
    /// The outline.
    pub outer: Ring,
    /// The holes in it.
    pub holes: Vec<Ring>,
}

impl Polygon {
    /// All rings, the outline first.
    pub fn rings(&self) -> impl Iterator<Item = &Ring> {
        std::iter::once(&self.outer).chain(&self.holes)
    }

    /// Area of the outline less that of the holes.
    pub fn area(&self) -> f64 {
        let holes: f64 = self.holes.iter().map(|hole| signed_area(hole).abs()).sum();
        signed_area(&self.outer).abs() - holes
    }
}

/// The shoelace formula: positive if the ring runs clockwise as seen.
pub fn signed_area(ring: &[Point<Image>]) -> f64 {
    let Some(&last) = ring.last() else { return 0.0 };
    let mut before = last;
    let mut twice = 0.0;
    for &point in ring {
        twice += before.x * point.y - point.x * before.y;
        before = point;
    }
    twice / 2.0
}

/// Whether the point is inside the ring (even-odd rule; on the line itself either answer may come).
pub(crate) fn contains(ring: &[Point<Image>], point: Point<Image>) -> bool {
    let Some(&last) = ring.last() else { return false };
    let mut before = last;
    let mut inside = false;
    for &next in ring {
        if (before.y > point.y) != (next.y > point.y) {
            let x = before.x + (point.y - before.y) / (next.y - before.y) * (next.x - before.x);
            inside ^= point.x < x;
        }
        before = next;
    }
    inside
}
