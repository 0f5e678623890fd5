//! Both pictures at one size of the pyramid, what the search wants of them, and the ways between sizes.

use crate::error::Result;
use crate::room::{room, zeros};
use crate::simd::multiversion;

/// Side of the patches that are searched for, in pixels.
pub(super) const PATCH: usize = 8;

/// Pixels that the second picture goes on beyond its edges, so that any patch which touches it can be read.
pub(super) const BORDER: usize = PATCH;

/// Two pictures of `width` by `height` pixels, numbers of 0..=255 as `f32`, row by row.
pub(super) struct Level {
    pub(super) width: usize,
    pub(super) height: usize,
    /// The first picture.
    pub(super) from: Vec<f32>,
    /// Eight times its slope along x and y (Sobel's operator).
    pub(super) slope_x: Vec<f32>,
    pub(super) slope_y: Vec<f32>,
    /// The second picture, its edges repeated [`BORDER`] times all round.
    pub(super) to: Vec<f32>,
    /// Flow from the first to the second, in pixels of this level.
    pub(super) u: Vec<f32>,
    pub(super) v: Vec<f32>,
}

impl Level {
    /// A level of zeros.
    pub(super) fn new(width: usize, height: usize) -> Result<Self> {
        let area = width * height;
        Ok(Self {
            width,
            height,
            from: zeros(area)?,
            slope_x: zeros(area)?,
            slope_y: zeros(area)?,
            to: zeros((width + 2 * BORDER) * (height + 2 * BORDER))?,
            u: zeros(area)?,
            v: zeros(area)?,
        })
    }

    /// Pixels of a row of the second picture with its borders.
    pub(super) fn to_stride(&self) -> usize {
        self.width + 2 * BORDER
    }

    /// Fills borders and slopes, once both pictures are there.
    pub(super) fn finish(&mut self) {
        let (width, stride) = (self.width, self.to_stride());
        for row in self.to.chunks_exact_mut(stride).skip(BORDER).take(self.height) {
            let (first, last) = (row[BORDER], row[BORDER + width - 1]);
            row[..BORDER].fill(first);
            row[BORDER + width..].fill(last);
        }
        let bottom = BORDER + self.height - 1;
        for border in 0..BORDER {
            self.to.copy_within(BORDER * stride..(BORDER + 1) * stride, border * stride);
            self.to.copy_within(bottom * stride..(bottom + 1) * stride, (bottom + 1 + border) * stride);
        }
        for y in 0..self.height {
            // Beyond the edges the picture is mirrored, the edge itself not repeated.
            let [above, here, below] = [y.abs_diff(1), y, mirrored(y + 1, self.height)]
                .map(|y| &self.from[y.min(self.height - 1) * width..][..width]);
            let slopes = y * width..(y + 1) * width;
            sobel(above, here, below, &mut self.slope_x[slopes.clone()], &mut self.slope_y[slopes]);
        }
    }
}

/// An index one beyond the end, mirrored.
fn mirrored(index: usize, len: usize) -> usize {
    if index < len { index } else { len.saturating_sub(2) }
}

multiversion! {
    /// Sobel's operator on the middle one of three rows.
    fn sobel(above: &[f32], here: &[f32], below: &[f32], slope_x: &mut [f32], slope_y: &mut [f32]) {
        let width = here.len();
        let (above, below) = (&above[..width], &below[..width]);
        let (slope_x, slope_y) = (&mut slope_x[..width], &mut slope_y[..width]);
        let down = |x: usize| below[x] - above[x];
        let smooth = |x: usize| above[x] + 2.0 * here[x] + below[x];
        for x in 1..width.saturating_sub(1) {
            slope_x[x] = smooth(x + 1) - smooth(x - 1);
            slope_y[x] = down(x - 1) + 2.0 * down(x) + down(x + 1);
        }
        for x in [0, width - 1] {
            let (left, right) = (x.abs_diff(1).min(width - 1), mirrored(x + 1, width));
            slope_x[x] = smooth(right) - smooth(left);
            slope_y[x] = down(left) + 2.0 * down(x) + down(right);
        }
    }
}

/// Weights with which pixels are averaged along one axis: for each result the first pixel and how many.
struct Shares {
    firsts: Vec<(u32, u32)>,
    weights: Vec<f32>,
}

/// Most pixels that a result covers, a part of the first and of the last included: less than three are made one.
const TAPS: usize = 4;

impl Shares {
    fn new(from: usize, to: usize) -> Result<Self> {
        let mut shares = Self { firsts: room(to)?, weights: room(to * TAPS)? };
        for position in 0..to {
            // Edges in units of 1 / to of a pixel, in whole numbers.
            let (start, end) = (position * from, (position + 1) * from);
            let (first, last) = (start / to, end.div_ceil(to));
            shares.firsts.push((first as u32, (last - first) as u32));
            for tap in first..first + TAPS {
                let covered = end.min((tap + 1) * to).saturating_sub(start.max(tap * to));
                shares.weights.push((covered as f64 / from as f64) as f32);
            }
        }
        Ok(shares)
    }
}

/// How one size of a picture becomes about half of it: each result is the mean of the area it covers, rounded to a whole
/// number.
pub(super) struct Halving {
    across: Shares,
    down: Shares,
    /// A row of means along y.
    row: Vec<f32>,
    is_exact: bool,
}

impl Halving {
    /// Between sizes that are less than three times as large and twice as large at least.
    pub(super) fn new(from: [usize; 2], to: [usize; 2]) -> Result<Self> {
        debug_assert!((0..2).all(|axis| from[axis] / to[axis] == 2));
        let is_exact = from == to.map(|side| side * 2);
        let shares = |axis: usize| Shares::new(from[axis], to[axis]);
        Ok(Self { across: shares(0)?, down: shares(1)?, row: zeros(from[0])?, is_exact })
    }

    /// `source` starts rows every `source_stride` values, `target` every `target_stride`.
    pub(super) fn reduce<T: Copy + Into<f32>>(
        &mut self,
        source: &[T],
        source_stride: usize,
        target: &mut [f32],
        target_stride: usize,
    ) {
        let width = self.row.len();
        for (y, &(first, count)) in self.down.firsts.iter().enumerate() {
            let weights = &self.down.weights[y * TAPS..][..TAPS];
            let output = &mut target[y * target_stride..][..self.across.firsts.len()];
            let rows = |tap: usize| &source[(first as usize + tap) * source_stride..][..width];
            if self.is_exact {
                for ((to, above), below) in
                    output.iter_mut().zip(rows(0).as_chunks::<2>().0).zip(rows(1).as_chunks::<2>().0)
                {
                    let sum = above[0].into() + above[1].into() + below[0].into() + below[1].into();
                    *to = rounded(sum * 0.25);
                }
                continue;
            }
            self.row.fill(0.0);
            for tap in 0..count as usize {
                for (sum, &value) in self.row.iter_mut().zip(rows(tap)) {
                    *sum += value.into() * weights[tap];
                }
            }
            for (x, to) in output.iter_mut().enumerate() {
                let (first, count) = self.across.firsts[x];
                let row = &self.row[first as usize..][..count as usize];
                let sum: f32 = row.iter().zip(&self.across.weights[x * TAPS..]).map(|(a, b)| a * b).sum();
                *to = rounded(sum);
            }
        }
    }
}

/// The nearest whole number, upwards from the middle between two; of what is not below 0.
#[inline(always)]
fn rounded(value: f32) -> f32 {
    (value + 0.5) as i32 as f32
}

/// How a map becomes one of another size, bilinearly, cell centres on cell centres, edges repeated.
pub(super) struct Enlarging {
    across: Vec<(u32, f32)>,
    down: Vec<(u32, f32)>,
    from: [usize; 2],
    /// A row of the source's width, made of two, and one value to read behind it.
    row: Vec<f32>,
}

impl Enlarging {
    pub(super) fn new(from: [usize; 2], to: [usize; 2]) -> Result<Self> {
        let axis = |axis: usize| -> Result<Vec<(u32, f32)>> {
            let mut places = room(to[axis])?;
            for position in 0..to[axis] {
                let at = (position as f64 + 0.5) * from[axis] as f64 / to[axis] as f64 - 0.5;
                let at = at.clamp(0.0, (from[axis] - 1) as f64);
                places.push((at as u32, at.fract() as f32));
            }
            Ok(places)
        };
        Ok(Self { across: axis(0)?, down: axis(1)?, from, row: zeros(from[0] + 1)? })
    }

    /// The map enlarged, its values multiplied by `scale`; row by row.
    pub(super) fn enlarge(&mut self, source: &[f32], scale: f32, target: &mut [f32]) {
        let [width, height] = self.from;
        for (&(y, fy), output) in self.down.iter().zip(target.chunks_exact_mut(self.across.len())) {
            let y = y as usize;
            let [above, below] = [y, (y + 1).min(height - 1)].map(|y| &source[y * width..][..width]);
            lerp_rows(above, below, fy, scale, &mut self.row);
            lerp_across(&self.row, &self.across, output);
        }
    }
}

multiversion! {
    fn lerp_rows(above: &[f32], below: &[f32], fy: f32, scale: f32, row: &mut [f32]) {
        for ((to, above), below) in row.iter_mut().zip(above).zip(below) {
            *to = (above + (below - above) * fy) * scale;
        }
        row[above.len()] = row[above.len() - 1];
    }
}

multiversion! {
    fn lerp_across(row: &[f32], places: &[(u32, f32)], output: &mut [f32]) {
        for (to, &(x, fx)) in output.iter_mut().zip(places) {
            let (left, right) = (row[x as usize], row[x as usize + 1]);
            *to = left + (right - left) * fx;
        }
    }
}
