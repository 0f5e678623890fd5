//! Holes cut open: COCO polygons know none, so each hole is joined to the outline by a line of no width.

use samovar_geometry::Point;

use super::ring::{Polygon, Ring};

/// The polygon as one ring that encloses the same area: from each hole's leftmost point a bridge goes straight left
/// to the nearest line, there and back.
pub fn without_holes(polygon: &Polygon) -> Ring {
    let mut ring = polygon.outer.clone();
    let mut holes: Vec<(usize, &Ring)> = Vec::new();
    for hole in &polygon.holes {
        let leftmost = (0..hole.len()).min_by(|&a, &b| hole[a].x.total_cmp(&hole[b].x));
        holes.extend(leftmost.map(|start| (start, hole)));
    }
    // From left to right: what a hole's bridge meets is the outline or a hole that is already part of the ring.
    holes.sort_by(|a, b| a.1[a.0].x.total_cmp(&b.1[b.0].x));
    for (start, hole) in holes {
        let from = hole[start];
        let Some((edge, landing)) = nearest_left(&ring, from.x, from.y) else { continue };
        let mut bridged = Ring::with_capacity(ring.len() + hole.len() + 3);
        bridged.extend_from_slice(&ring[..=edge]);
        bridged.push(landing);
        bridged.extend_from_slice(&hole[start..]);
        bridged.extend_from_slice(&hole[..=start]);
        bridged.push(landing);
        bridged.extend_from_slice(&ring[edge + 1..]);
        ring = bridged;
    }
    ring
}

/// The edge (by its first point) nearest to the left of (x, y), and where on it the bridge lands.
fn nearest_left(ring: &Ring, x: f64, y: f64) -> Option<(usize, Point<samovar_geometry::Image>)> {
    let mut best: Option<(usize, f64)> = None;
    for edge in 0..ring.len() {
        let (a, b) = (ring[edge], ring[(edge + 1) % ring.len()]);
        if a.y == b.y || y < a.y.min(b.y) || y > a.y.max(b.y) {
            continue;
        }
        let at = a.x + (y - a.y) / (b.y - a.y) * (b.x - a.x);
        if at <= x && best.is_none_or(|(_, nearest)| at > nearest) {
            best = Some((edge, at));
        }
    }
    best.map(|(edge, at)| (edge, Point::new(at, y)))
}
