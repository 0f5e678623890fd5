//! Walks along the pixels' edges.

use samovar_geometry::Point;

use super::ring::{Polygon, Ring, signed_area};
use crate::error::Result;
use crate::mask::bits::BitMask;
use crate::mask::components::{Connectivity, connected_components};

/// The outlines of a mask: one polygon per 4-connected piece (pieces that touch only at a corner are separate), in
/// the order of a row-by-row scan. All coordinates are whole numbers: corners of pixels.
///
/// # Errors
/// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
pub fn trace(mask: &BitMask) -> Result<Vec<Polygon>> {
    let pieces = connected_components(mask, Connectivity::Four)?;
    let mut polygons = vec![Polygon::default(); pieces.len()];
    let piece_at = PieceIndex::new(&pieces, mask.height());
    // Every ring has a top edge (a set pixel under a clear one). Those not yet walked along are the places to start.
    let mut unwalked = BitMask::try_new(mask.size())?;
    for y in 0..mask.height() {
        let above: Option<Vec<u64>> = (y > 0).then(|| mask.row(y - 1).to_vec());
        for (index, word) in unwalked.row_mut(y).iter_mut().enumerate() {
            *word = mask.row(y)[index] & !above.as_ref().map_or(0, |above| above[index]);
        }
    }
    for y in 0..mask.height() {
        for index in 0..unwalked.words_per_row() {
            while unwalked.row(y)[index] != 0 {
                let x = index as u32 * 64 + unwalked.row(y)[index].trailing_zeros();
                let ring = walk(mask, &mut unwalked, x, y);
                let polygon = &mut polygons[piece_at.find(x, y)];
                if signed_area(&ring) > 0.0 { polygon.outer = ring } else { polygon.holes.push(ring) }
            }
        }
    }
    Ok(polygons)
}

/// Which piece a set pixel belongs to.
struct PieceIndex {
    /// (first column, piece) of every run, row by row.
    runs: Vec<(u32, usize)>,
    row_starts: Vec<usize>,
}

impl PieceIndex {
    fn new(pieces: &crate::mask::components::Components, height: u32) -> Self {
        let mut runs = Vec::new();
        let mut row_starts = Vec::with_capacity(height as usize + 1);
        pieces.for_each_run(|piece, y, x0, _| {
            while row_starts.len() <= y as usize {
                row_starts.push(runs.len());
            }
            runs.push((x0, piece));
        });
        row_starts.resize(height as usize + 1, runs.len());
        Self { runs, row_starts }
    }

    fn find(&self, x: u32, y: u32) -> usize {
        let row = &self.runs[self.row_starts[y as usize]..self.row_starts[y as usize + 1]];
        row[row.partition_point(|run| run.0 <= x) - 1].1
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Heading {
    Right,
    Down,
    Left,
    Up,
}

/// Walks once around, the mask on the right-hand side, starting along the top edge of pixel (x, y).
fn walk(mask: &BitMask, unwalked: &mut BitMask, x: u32, y: u32) -> Ring {
    let is_set = |x: i64, y: i64| x >= 0 && y >= 0 && mask.get(x as u32, y as u32);
    let mut ring = Ring::new();
    let (mut x, mut y) = (i64::from(x), i64::from(y));
    let mut heading = Heading::Right;
    let start = (x, y, heading);
    loop {
        match heading {
            Heading::Right => {
                unwalked.set(x as u32, y as u32, false);
                x += 1;
            }
            Heading::Down => y += 1,
            Heading::Left => x -= 1,
            Heading::Up => y -= 1,
        }
        // The two pixels ahead of this corner.
        let (ahead_left, ahead_right) = match heading {
            Heading::Right => (is_set(x, y - 1), is_set(x, y)),
            Heading::Down => (is_set(x, y), is_set(x - 1, y)),
            Heading::Left => (is_set(x - 1, y), is_set(x - 1, y - 1)),
            Heading::Up => (is_set(x - 1, y - 1), is_set(x, y - 1)),
        };
        // Right first: at a corner where two pixels touch diagonally this keeps to the same pixel.
        let turned = if !ahead_right {
            match heading {
                Heading::Right => Heading::Down,
                Heading::Down => Heading::Left,
                Heading::Left => Heading::Up,
                Heading::Up => Heading::Right,
            }
        } else if !ahead_left {
            heading
        } else {
            match heading {
                Heading::Right => Heading::Up,
                Heading::Up => Heading::Left,
                Heading::Left => Heading::Down,
                Heading::Down => Heading::Right,
            }
        };
        if turned != heading {
            ring.push(Point::new(x as f64, y as f64));
            heading = turned;
        }
        if (x, y, heading) == start {
            return ring;
        }
    }
}
