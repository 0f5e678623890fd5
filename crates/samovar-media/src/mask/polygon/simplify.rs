//! Fewer points, same shape: Douglas-Peucker that never changes what is inside what.

use std::collections::HashMap;

use samovar_geometry::{Image, Point};

use super::{Polygon, Ring, contains, signed_area};

/// Attempts to find tolerances that keep the topology before giving up and returning the outlines as they were.
const MAX_ROUNDS: usize = 32;

/// The polygons with fewer points, no point of an outline farther than `tolerance` pixels from the new line.
///
/// Rings keep at least three points, do not cross themselves or each other, and stay inside and outside of what they
/// were inside and outside of; where the tolerance would break that, the rings concerned get a smaller one. For
/// polygons made by [`trace`](super::trace) that holds of the result; polygons that cross from the start stay so.
pub fn simplify(polygons: &[Polygon], tolerance: f64) -> Vec<Polygon> {
    if tolerance.is_nan() || tolerance <= 0.0 {
        return polygons.to_vec();
    }
    let originals: Vec<&Ring> = polygons.iter().flat_map(Polygon::rings).collect();
    let pinned = pinned_points(&originals);
    let mut tolerances = vec![tolerance; originals.len()];
    let mut rings: Vec<Ring> = Vec::new();
    for round in 0..=MAX_ROUNDS {
        if round == MAX_ROUNDS {
            return polygons.to_vec();
        }
        rings = (0..originals.len())
            .map(|index| simplify_ring(originals[index], &pinned[index], tolerances[index]))
            .collect();
        let mut guilty = rings_in_conflict(&rings);
        guilty.extend(rings_that_swallowed(&originals, &rings, &pinned));
        // Rings that are as they were cannot get any better.
        guilty.retain(|&ring| tolerances[ring] > 0.0);
        if guilty.is_empty() {
            break;
        }
        guilty.sort_unstable();
        guilty.dedup();
        for ring in guilty {
            // Below half a pixel only points on straight lines could go, and there are none.
            tolerances[ring] = if tolerances[ring] > 0.5 { tolerances[ring] / 2.0 } else { 0.0 };
        }
    }
    let mut rings = rings.into_iter();
    polygons
        .iter()
        .map(|polygon| Polygon {
            outer: rings.next().unwrap_or_default(),
            holes: rings.by_ref().take(polygon.holes.len()).collect(),
        })
        .collect()
}

/// Where rings touch (themselves or each other) in a corner, that point and its neighbours stay, so that they go on
/// touching and do not start to cross.
fn pinned_points(rings: &[&Ring]) -> Vec<Vec<bool>> {
    let key = |point: &Point<Image>| (point.x.to_bits(), point.y.to_bits());
    let mut uses: HashMap<(u64, u64), u32> = HashMap::new();
    for point in rings.iter().copied().flatten() {
        *uses.entry(key(point)).or_default() += 1;
    }
    let pins_of = |ring: &&Ring| {
        let shared: Vec<bool> = ring.iter().map(|point| uses[&key(point)] > 1).collect();
        let count = ring.len();
        (0..count).map(|i| shared[i] || shared[(i + 1) % count] || shared[(i + count - 1) % count]).collect()
    };
    rings.iter().map(pins_of).collect()
}

fn simplify_ring(ring: &Ring, pinned: &[bool], tolerance: f64) -> Ring {
    if ring.len() <= 3 || tolerance <= 0.0 {
        return ring.clone();
    }
    // Two points that stay in any case: the first, and the one farthest from it.
    let farthest = (0..ring.len())
        .max_by(|&a, &b| ring[0].distance(ring[a]).total_cmp(&ring[0].distance(ring[b])))
        .unwrap_or(0);
    let mut keep = pinned.to_vec();
    keep[0] = true;
    keep[farthest] = true;
    let anchors: Vec<usize> = (0..ring.len()).filter(|&index| keep[index]).collect();
    for (position, &start) in anchors.iter().enumerate() {
        let end = anchors.get(position + 1).copied().unwrap_or(ring.len());
        keep_far_points(ring, start, end, tolerance, &mut keep);
    }
    let kept: Ring = ring.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(point, _)| *point).collect();
    // Small rings at large tolerances can collapse or turn inside out.
    let is_sound = kept.len() >= 3 && signed_area(&kept) * signed_area(ring) > 0.0;
    if is_sound { kept } else { ring.clone() }
}

/// Douglas-Peucker between two kept points; `end` may be the ring's length, meaning its first point.
fn keep_far_points(ring: &Ring, start: usize, end: usize, tolerance: f64, keep: &mut [bool]) {
    let mut open = vec![(start, end)];
    while let Some((start, end)) = open.pop() {
        let (a, b) = (ring[start], ring[end % ring.len()]);
        let mut farthest = (start, tolerance);
        for index in start + 1..end {
            let distance = distance_to_segment(ring[index], a, b);
            if distance > farthest.1 {
                farthest = (index, distance);
            }
        }
        if farthest.0 != start {
            keep[farthest.0] = true;
            open.extend([(start, farthest.0), (farthest.0, end)]);
        }
    }
}

fn distance_to_segment(p: Point<Image>, a: Point<Image>, b: Point<Image>) -> f64 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let length_squared = dx * dx + dy * dy;
    let along =
        if length_squared == 0.0 { 0.0 } else { ((p.x - a.x) * dx + (p.y - a.y) * dy) / length_squared };
    let along = along.clamp(0.0, 1.0);
    p.distance(Point::new(a.x + along * dx, a.y + along * dy))
}

#[derive(Clone, Copy)]
struct Segment {
    a: Point<Image>,
    b: Point<Image>,
    ring: usize,
}

/// Rings with a line that crosses, touches or runs along another one, other than from corner to corner.
fn rings_in_conflict(rings: &[Ring]) -> Vec<usize> {
    let mut segments = Vec::new();
    for (index, ring) in rings.iter().enumerate() {
        for (i, &a) in ring.iter().enumerate() {
            segments.push(Segment { a, b: ring[(i + 1) % ring.len()], ring: index });
        }
    }
    // From left to right, each against those whose x range has begun and not ended.
    segments.sort_by(|s, t| s.a.x.min(s.b.x).total_cmp(&t.a.x.min(t.b.x)));
    let mut guilty = Vec::new();
    let mut active: Vec<Segment> = Vec::new();
    for &segment in &segments {
        let left = segment.a.x.min(segment.b.x);
        active.retain(|other| other.a.x.max(other.b.x) >= left);
        for other in &active {
            if in_conflict(segment, *other) {
                guilty.extend([segment.ring, other.ring]);
            }
        }
        active.push(segment);
    }
    guilty
}

fn in_conflict(s: Segment, t: Segment) -> bool {
    let (low, high) = (s.a.y.min(s.b.y), s.a.y.max(s.b.y));
    if t.a.y.max(t.b.y) < low || t.a.y.min(t.b.y) > high {
        return false;
    }
    let side =
        |s: Segment, p: Point<Image>| (s.b.x - s.a.x) * (p.y - s.a.y) - (s.b.y - s.a.y) * (p.x - s.a.x);
    let (ta, tb, sa, sb) = (side(s, t.a), side(s, t.b), side(t, s.a), side(t, s.b));
    let crosses = ta * tb < 0.0 && sa * sb < 0.0;
    let strictly_within = |s: Segment, p: Point<Image>| {
        p != s.a && p != s.b && (p.x - s.a.x) * (p.x - s.b.x) <= 0.0 && (p.y - s.a.y) * (p.y - s.b.y) <= 0.0
    };
    let touches = (ta == 0.0 && strictly_within(s, t.a))
        || (tb == 0.0 && strictly_within(s, t.b))
        || (sa == 0.0 && strictly_within(t, s.a))
        || (sb == 0.0 && strictly_within(t, s.b));
    let same = (s.a == t.a && s.b == t.b) || (s.a == t.b && s.b == t.a);
    crosses || touches || same
}

/// Rings that have passed over another ring as a whole, taking it in or leaving it out.
fn rings_that_swallowed(originals: &[&Ring], rings: &[Ring], pinned: &[Vec<bool>]) -> Vec<usize> {
    let boxes: Vec<[f64; 4]> = originals.iter().map(|ring| bounds(ring)).collect();
    let mut guilty = Vec::new();
    for (inner, ring) in rings.iter().enumerate() {
        // A point of this ring that touches no other; a ring pinned as a whole has not moved, nor has what it touches.
        let free =
            originals[inner].iter().zip(&pinned[inner]).find(|(point, pin)| !**pin && ring.contains(point));
        let Some((&point, _)) = free else { continue };
        for outer in 0..rings.len() {
            let [x0, y0, x1, y1] = boxes[outer];
            if outer == inner || point.x < x0 || point.x > x1 || point.y < y0 || point.y > y1 {
                continue;
            }
            if rings[outer].len() != originals[outer].len()
                && contains(originals[outer], point) != contains(&rings[outer], point)
            {
                guilty.push(outer);
            }
        }
    }
    guilty
}

fn bounds(ring: &[Point<Image>]) -> [f64; 4] {
    ring.iter().fold([f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY], |b, p| {
        [b[0].min(p.x), b[1].min(p.y), b[2].max(p.x), b[3].max(p.y)]
    })
}
