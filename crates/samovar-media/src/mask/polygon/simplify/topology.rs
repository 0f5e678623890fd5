//! Did simplifying change what crosses, touches or contains what? Neighbours are found by a grid of cells, so that
//! even masks of pure noise take seconds.

use std::collections::HashMap;

use samovar_geometry::{Image, Point};

use crate::mask::polygon::ring::{Ring, contains};

/// A square of the plane.
type Cell = (u32, u32);

/// The rings as they were, ready to be compared with simplified ones.
pub(super) struct Topology<'a> {
    originals: &'a [&'a Ring],
    cells: Cells,
    /// By cell: a point of each ring that touches no other ring. A ring that touches others with every point has
    /// none; it will not move, nor will what it touches.
    free_points: HashMap<Cell, Vec<(Point<Image>, usize)>>,
}

impl<'a> Topology<'a> {
    pub(super) fn new(originals: &'a [&'a Ring], pinned: &[Vec<bool>]) -> Self {
        let cells = Cells::around(originals);
        let mut free_points: HashMap<Cell, Vec<(Point<Image>, usize)>> = HashMap::new();
        for (index, (ring, pinned)) in originals.iter().zip(pinned).enumerate() {
            if let Some(free) = (0..ring.len()).find(|&at| !pinned[at]) {
                let point = ring[free];
                free_points.entry(cells.at(point)).or_default().push((point, index));
            }
        }
        Self { originals, cells, free_points }
    }

    /// The rings whose kept points break the topology.
    pub(super) fn broken_by(&self, kept: &[Vec<usize>]) -> Vec<usize> {
        let mut guilty = self.in_conflict(kept);
        guilty.extend((0..kept.len()).filter(|&ring| self.has_swallowed(ring, &kept[ring])));
        guilty
    }

    /// Rings with a line that crosses, touches or runs along another one, other than from corner to corner.
    fn in_conflict(&self, kept: &[Vec<usize>]) -> Vec<usize> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut by_cell: HashMap<Cell, Vec<u32>> = HashMap::new();
        for (index, (ring, kept)) in self.originals.iter().zip(kept).enumerate() {
            for (i, &start) in kept.iter().enumerate() {
                let (a, b) = (ring[start], ring[kept[(i + 1) % kept.len()]]);
                self.cells.along(a, b, |cell| by_cell.entry(cell).or_default().push(segments.len() as u32));
                segments.push(Segment { a, b, ring: index });
            }
        }
        let mut guilty = Vec::new();
        for neighbours in by_cell.values() {
            for (position, &first) in neighbours.iter().enumerate() {
                for &second in &neighbours[..position] {
                    let (first, second) = (segments[first as usize], segments[second as usize]);
                    if first.conflicts_with(second) {
                        guilty.extend([first.ring, second.ring]);
                    }
                }
            }
        }
        guilty
    }

    /// Whether the ring has passed over another one as a whole, taking it in or leaving it out: then that other ring
    /// lies between a new line and the points it stands for.
    fn has_swallowed(&self, index: usize, kept: &[usize]) -> bool {
        let ring = self.originals[index];
        kept.iter().enumerate().any(|(i, &start)| {
            // The ring's first point is always kept, so the last stretch ends there.
            let end = kept.get(i + 1).copied().unwrap_or(ring.len());
            if end - start == 1 {
                return false;
            }
            let mut replaced = ring[start..end].to_vec();
            replaced.push(ring[end % ring.len()]);
            let mut swallowed = false;
            self.cells.over(&replaced, |cell| {
                let points = self.free_points.get(&cell).map_or(&[][..], Vec::as_slice);
                swallowed |=
                    points.iter().any(|(point, other)| *other != index && contains(&replaced, *point));
            });
            swallowed
        })
    }
}

/// A grid over all rings.
struct Cells {
    x0: f64,
    y0: f64,
    side: f64,
}

impl Cells {
    fn around(rings: &[&Ring]) -> Self {
        let [x0, y0, x1, y1] = bounds(rings.iter().copied().flatten());
        // Lines of outlines are short: small cells, but not so many that a line across all of them is slow.
        let side = (x1 - x0).max(y1 - y0) / 1024.0;
        Self { x0, y0, side: if side.is_finite() { side.max(8.0) } else { f64::MAX } }
    }

    fn column(&self, x: f64) -> u32 {
        ((x - self.x0) / self.side) as u32
    }

    fn row(&self, y: f64) -> u32 {
        ((y - self.y0) / self.side) as u32
    }

    fn at(&self, point: Point<Image>) -> Cell {
        (self.column(point.x), self.row(point.y))
    }

    /// Every cell that the line from `a` to `b` passes, and perhaps a few beside it.
    fn along(&self, a: Point<Image>, b: Point<Image>, mut f: impl FnMut(Cell)) {
        let (top, bottom) = if a.y <= b.y { (a, b) } else { (b, a) };
        for row in self.row(top.y)..=self.row(bottom.y) {
            // The line between this row's upper and lower edge.
            let x_at = |y: f64| {
                let share = ((y - top.y) / (bottom.y - top.y)).clamp(0.0, 1.0);
                top.x + share * (bottom.x - top.x)
            };
            let (from, to) = if top.y == bottom.y {
                (top.x, bottom.x)
            } else {
                let upper = self.y0 + f64::from(row) * self.side;
                (x_at(upper), x_at(upper + self.side))
            };
            // A little wider, so that rounding cannot lose a cell.
            let slack = self.side * 1e-6;
            let first = self.column(from.min(to) - slack);
            for column in first..=self.column(from.max(to) + slack) {
                f((column, row));
            }
        }
    }

    /// Every cell of the box around these points.
    fn over(&self, points: &[Point<Image>], mut f: impl FnMut(Cell)) {
        let [x0, y0, x1, y1] = bounds(points);
        for row in self.row(y0)..=self.row(y1) {
            for column in self.column(x0)..=self.column(x1) {
                f((column, row));
            }
        }
    }
}

fn bounds<'p>(points: impl IntoIterator<Item = &'p Point<Image>>) -> [f64; 4] {
    let none = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    points.into_iter().fold(none, |b, p| [b[0].min(p.x), b[1].min(p.y), b[2].max(p.x), b[3].max(p.y)])
}

#[derive(Clone, Copy)]
struct Segment {
    a: Point<Image>,
    b: Point<Image>,
    ring: usize,
}

impl Segment {
    /// Whether the two lines share more than corners.
    fn conflicts_with(self, other: Self) -> bool {
        let (s, t) = (self, other);
        let (ta, tb, sa, sb) = (s.side_of(t.a), s.side_of(t.b), t.side_of(s.a), t.side_of(s.b));
        let crosses = ta * tb < 0.0 && sa * sb < 0.0;
        let touches = (ta == 0.0 && s.spans(t.a))
            || (tb == 0.0 && s.spans(t.b))
            || (sa == 0.0 && t.spans(s.a))
            || (sb == 0.0 && t.spans(s.b));
        let same = (s.a == t.a && s.b == t.b) || (s.a == t.b && s.b == t.a);
        crosses || touches || same
    }

    /// Positive on one side of the line, negative on the other; exact for corners of pixels.
    fn side_of(self, p: Point<Image>) -> f64 {
        (self.b.x - self.a.x) * (p.y - self.a.y) - (self.b.y - self.a.y) * (p.x - self.a.x)
    }

    /// Whether a point known to be on the endless line lies between the ends, which do not count.
    fn spans(self, p: Point<Image>) -> bool {
        p != self.a
            && p != self.b
            && (p.x - self.a.x) * (p.x - self.b.x) <= 0.0
            && (p.y - self.a.y) * (p.y - self.b.y) <= 0.0
    }
}
