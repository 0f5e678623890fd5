//! How deep inside a mask each pixel lies; the first click of every evaluation protocol is the deepest one.

use samovar_geometry::{Image, Point};

use super::bits::BitMask;

/// The set pixel farthest from any pixel that is not set (the surroundings of the picture count as not set), and its
/// distance from pixel to pixel, Euclidean and exact. Of several the first, row by row. `None` for an empty mask.
///
/// Equal to the largest value of OpenCV's `distanceTransform(DIST_L2, DIST_MASK_PRECISE)` on the mask with one clear
/// pixel around it. The point is the pixel's index, as prompts are given, not its centre.
pub fn deepest_point(mask: &BitMask) -> Option<(Point<Image>, f64)> {
    let [x0, y0, x1, y1] = mask.pixel_bounds()?;
    let (width, height) = ((x1 - x0) as usize, (y1 - y0) as usize);
    // Down the columns first: distance to the nearest clear pixel above or below. Clear surroundings bound it.
    let mut vertical = vec![0u32; width * height];
    for x in 0..width {
        let mut distance = 0;
        for y in 0..height {
            distance = if mask.get(x0 + x as u32, y0 + y as u32) { distance + 1 } else { 0 };
            vertical[y * width + x] = distance;
        }
        distance = 0;
        for y in (0..height).rev() {
            let here = &mut vertical[y * width + x];
            distance = if *here == 0 { 0 } else { distance + 1 };
            *here = (*here).min(distance);
        }
    }
    // Then along each row: the lower envelope of the parabolas that those distances stand for.
    let mut best: Option<(Point<Image>, u64)> = None;
    let mut squares = vec![0u64; width + 2];
    let mut envelope = Envelope::default();
    for (y, row) in vertical.chunks_exact(width).enumerate() {
        // One clear pixel on either side.
        for (square, &distance) in squares[1..].iter_mut().zip(row) {
            *square = u64::from(distance) * u64::from(distance);
        }
        envelope.build(&squares);
        for x in 0..width {
            if row[x] == 0 {
                continue;
            }
            let square = envelope.at(x + 1, &squares);
            if best.is_none_or(|(_, deepest)| square > deepest) {
                let point = Point::new(f64::from(x0) + x as f64, f64::from(y0) + y as f64);
                best = Some((point, square));
            }
        }
    }
    best.map(|(point, square)| (point, (square as f64).sqrt()))
}

/// For each position of a row, which position `q` minimises `(x - q)^2 + squares[q]` (Felzenszwalb and Huttenlocher).
#[derive(Default)]
struct Envelope {
    positions: Vec<usize>,
    /// Where each position takes over from the one before.
    starts: Vec<f64>,
    cursor: usize,
}

impl Envelope {
    fn build(&mut self, squares: &[u64]) {
        self.positions.clear();
        self.starts.clear();
        self.cursor = 0;
        for (q, &square) in squares.iter().enumerate() {
            let height = |at: usize, square: u64| square as f64 + (at * at) as f64;
            let mut start = f64::NEG_INFINITY;
            while let Some(&p) = self.positions.last() {
                start = (height(q, square) - height(p, squares[p])) / (2 * (q - p)) as f64;
                if start > self.starts[self.starts.len() - 1] {
                    break;
                }
                self.positions.pop();
                self.starts.pop();
                start = f64::NEG_INFINITY;
            }
            self.positions.push(q);
            self.starts.push(start);
        }
    }

    /// Must be asked from left to right.
    fn at(&mut self, x: usize, squares: &[u64]) -> u64 {
        while self.starts.get(self.cursor + 1).is_some_and(|&start| start <= x as f64) {
            self.cursor += 1;
        }
        let q = self.positions[self.cursor];
        (x.abs_diff(q) * x.abs_diff(q)) as u64 + squares[q]
    }
}

#[cfg(test)]
mod tests;
