//! Interpolation weights along one axis, made of torch's.

use std::ops::Range;

use crate::simd::multiversion;

/// Most grid cells an image pixel is made of: two neighbours on the canvas, each made of two neighbours on the grid,
/// which is not finer than the canvas.
pub(super) const TAPS: usize = 3;

/// For every image position along one axis: the first grid cell and the weights of it and the next two.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    firsts: Vec<u32>,
    weights: Vec<[f32; TAPS]>,
    /// How many weights of a position count: the rest are beyond the grid or known to be zero.
    counts: Vec<u8>,
}

/// The two neighbours a position is interpolated between, and the weight of the second.
#[derive(Debug, Clone, Copy)]
struct Lerp {
    first: u32,
    second: u32,
    second_weight: f32,
}

impl Lerp {
    /// torch's `upsample_bilinear2d` with `align_corners=False` and given sizes, in its own `f32` arithmetic: the
    /// position rounded there moves the weight by far more than the rest of the rounding.
    fn at(position: u32, input: u32, output: u32) -> Self {
        let scale = input as f32 / output as f32;
        let real = (scale * (position as f32 + 0.5) - 0.5).max(0.0);
        let first = (real as u32).min(input - 1);
        let second = (first + 1).min(input - 1);
        Self { first, second, second_weight: (real - first as f32).clamp(0.0, 1.0) }
    }

    fn terms(self) -> [(u32, f64); 2] {
        let second = f64::from(self.second_weight);
        [(self.first, 1.0 - second), (self.second, second)]
    }
}

impl Axis {
    /// Grid to image in one enlargement.
    pub(super) fn direct(grid: u32, image: u32) -> Self {
        Self::from_terms(image, |position| Lerp::at(position, grid, image).terms().to_vec())
    }

    /// Grid to canvas, cut to `resized`, then to the image.
    pub(super) fn through_canvas(grid: u32, canvas: u32, resized: u32, image: u32) -> Self {
        Self::from_terms(image, |position| {
            let on_canvas = Lerp::at(position, resized, image).terms();
            on_canvas
                .into_iter()
                .flat_map(|(cell, outer)| {
                    Lerp::at(cell, grid, canvas).terms().map(|(cell, inner)| (cell, outer * inner))
                })
                .collect()
        })
    }

    fn from_terms(image: u32, terms_at: impl Fn(u32) -> Vec<(u32, f64)>) -> Self {
        let mut axis = Self { firsts: Vec::new(), weights: Vec::new(), counts: Vec::new() };
        for position in 0..image {
            let terms = terms_at(position);
            let first = terms.iter().map(|term| term.0).min().unwrap_or(0);
            let mut weights = [0.0f64; TAPS];
            let mut count = 1;
            for (cell, weight) in terms {
                let tap = (cell - first) as usize;
                weights[tap] += weight;
                if weight != 0.0 {
                    count = count.max(tap + 1);
                }
            }
            axis.firsts.push(first);
            axis.weights.push(weights.map(|weight| weight as f32));
            axis.counts.push(count as u8);
        }
        axis
    }

    /// First grid cell and weights of one image position.
    #[inline(always)]
    pub(super) fn at(&self, position: usize) -> (usize, [f32; TAPS]) {
        (self.firsts[position] as usize, self.weights[position])
    }

    /// All grid cells that these image positions are made of.
    pub(super) fn sources(&self, positions: Range<usize>) -> Range<usize> {
        let Some(last) = positions.clone().next_back() else { return 0..0 };
        // Positions only move forward along the grid, so the ends say it all.
        self.firsts[positions.start] as usize..self.firsts[last] as usize + usize::from(self.counts[last])
    }

    /// Image positions from `first_position` on, out of grid cells that begin with cell `first_cell`. `cells` has
    /// [`TAPS`] finite values more than are meant.
    pub(super) fn interpolate(
        &self,
        cells: &[f32],
        first_cell: usize,
        first_position: usize,
        out: &mut [f32],
    ) {
        let positions = first_position..first_position + out.len();
        interpolate(&self.firsts[positions.clone()], &self.weights[positions], cells, first_cell, out);
    }
}

multiversion! {
    fn interpolate(firsts: &[u32], weights: &[[f32; TAPS]], cells: &[f32], first_cell: usize, out: &mut [f32]) {
        for ((value, &first), weights) in out.iter_mut().zip(firsts).zip(weights) {
            let cells = &cells[first as usize - first_cell..][..TAPS];
            *value = cells[0] * weights[0] + cells[1] * weights[1] + cells[2] * weights[2];
        }
    }
}
