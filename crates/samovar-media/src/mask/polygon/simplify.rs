//! Fewer points, same shape: Douglas-Peucker that never changes what is inside what.

mod topology;

use std::collections::HashMap;

use samovar_geometry::{Image, Point};

use super::ring::{Polygon, Ring, signed_area};
use topology::Topology;

/// Attempts to find tolerances that keep the topology before rings that break it are left as they were.
const MAX_ROUNDS: usize = 32;

/// Attempts to find a tolerance at which a ring encloses something, before it is left as it was. A few do; a ring that
/// winds like a spiral takes more.
const MAX_STEPS: usize = 256;

/// The polygons with fewer points, no point of an outline farther than `tolerance` pixels from the new line.
///
/// Rings keep at least three points, do not cross themselves or each other, and stay inside and outside of what they
/// were inside and outside of; where the tolerance would break that, the rings concerned get a smaller one. For
/// polygons made by [`trace`](super::trace) that holds of the result; polygons that cross from the start, or have
/// coordinates that are no numbers, come back as they are.
pub fn simplify(polygons: &[Polygon], tolerance: f64) -> Vec<Polygon> {
    let originals: Vec<&Ring> = polygons.iter().flat_map(Polygon::rings).collect();
    let all_finite = originals.iter().copied().flatten().all(|point| point.is_finite());
    if tolerance.is_nan() || tolerance <= 0.0 || !all_finite {
        return polygons.to_vec();
    }
    let pinned = pinned_points(&originals);
    let topology = Topology::new(&originals, &pinned);
    let mut tolerances: Vec<f64> = originals.iter().map(|ring| tolerance.min(extent(ring))).collect();
    let mut kept: Vec<Vec<usize>> = (0..originals.len())
        .map(|ring| kept_points(originals[ring], &pinned[ring], tolerances[ring]))
        .collect();
    for round in 0.. {
        let mut guilty = topology.broken_by(&kept);
        // Rings that are as they were cannot get any better.
        guilty.retain(|&ring| tolerances[ring] > 0.0);
        if guilty.is_empty() {
            break;
        }
        if round == 2 * MAX_ROUNDS {
            return polygons.to_vec();
        }
        guilty.sort_unstable();
        guilty.dedup();
        for ring in guilty {
            // Below half a pixel only points on straight lines could go, and there are none.
            let can_shrink = tolerances[ring] > 0.5 && round < MAX_ROUNDS;
            tolerances[ring] = if can_shrink { tolerances[ring] / 2.0 } else { 0.0 };
            kept[ring] = kept_points(originals[ring], &pinned[ring], tolerances[ring]);
        }
    }
    let mut rings = originals.iter().zip(&kept).map(|(ring, kept)| kept.iter().map(|&at| ring[at]).collect());
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

/// No point of a ring is farther than this from any line between two of its points.
fn extent(ring: &Ring) -> f64 {
    2.0 * ring.iter().map(|&point| ring[0].distance(point)).fold(0.0, f64::max)
}

/// Which points of a ring stay; the first always does.
fn kept_points(ring: &Ring, pinned: &[bool], tolerance: f64) -> Vec<usize> {
    let all = || (0..ring.len()).collect();
    if ring.len() <= 3 || tolerance <= 0.0 {
        return all();
    }
    // Two points that stay in any case: the first, and the one farthest from it.
    let farthest = (0..ring.len())
        .max_by(|&a, &b| ring[0].distance(ring[a]).total_cmp(&ring[0].distance(ring[b])))
        .unwrap_or(0);
    let mut keep = pinned.to_vec();
    keep[0] = true;
    keep[farthest] = true;
    let anchors: Vec<usize> = (0..ring.len()).filter(|&index| keep[index]).collect();
    let mut tolerance = tolerance;
    for _ in 0..MAX_STEPS {
        let mut keep = keep.clone();
        let mut dropped = 0f64;
        for (position, &start) in anchors.iter().enumerate() {
            let end = anchors.get(position + 1).copied().unwrap_or(ring.len());
            dropped = dropped.max(keep_far_points(ring, start, end, tolerance, &mut keep));
        }
        let kept: Vec<usize> = (0..ring.len()).filter(|&index| keep[index]).collect();
        // Small rings at large tolerances can collapse or turn inside out.
        let simple: Ring = kept.iter().map(|&index| ring[index]).collect();
        if kept.len() >= 3 && signed_area(&simple) * signed_area(ring) > 0.0 {
            return kept;
        }
        // The next smaller tolerance that keeps more. Larger tolerances pass the same ones on their way down, so they
        // never keep more points than this one.
        tolerance = dropped.next_down();
        if tolerance <= 0.0 {
            break;
        }
    }
    all()
}

/// Douglas-Peucker between two kept points; `end` may be the ring's length, meaning its first point. Tells how far the
/// farthest point is that was not kept though it might have been the next.
fn keep_far_points(ring: &Ring, start: usize, end: usize, tolerance: f64, keep: &mut [bool]) -> f64 {
    let mut dropped = 0f64;
    let mut open = vec![(start, end)];
    while let Some((start, end)) = open.pop() {
        let (a, b) = (ring[start], ring[end % ring.len()]);
        let mut farthest = (start, 0.0);
        for index in start + 1..end {
            let distance = distance_to_segment(ring[index], a, b);
            if distance > farthest.1 {
                farthest = (index, distance);
            }
        }
        if farthest.1 > tolerance {
            keep[farthest.0] = true;
            open.extend([(start, farthest.0), (farthest.0, end)]);
        } else {
            dropped = dropped.max(farthest.1);
        }
    }
    dropped
}

fn distance_to_segment(p: Point<Image>, a: Point<Image>, b: Point<Image>) -> f64 {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let length_squared = dx * dx + dy * dy;
    let along =
        if length_squared == 0.0 { 0.0 } else { ((p.x - a.x) * dx + (p.y - a.y) * dy) / length_squared };
    let along = along.clamp(0.0, 1.0);
    p.distance(Point::new(a.x + along * dx, a.y + along * dy))
}
