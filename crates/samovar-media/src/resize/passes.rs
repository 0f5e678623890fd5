//! The two passes, across then down or down then across, streamed: output row by output row, with only the rows in flight
//! held.

use super::across::{Across, HALF, ROW_SLACK};
use super::coefficients::{Coefficients, PRECISION_BITS};
use crate::image::RgbImage;
use crate::simd::multiversion;

/// The weights of both axes; `None` along an axis that keeps its length, where Pillow skips the pass too.
pub(super) struct Resampler {
    horizontal: Option<Across>,
    vertical: Option<Coefficients>,
    output_width: usize,
    is_down_first: bool,
}

impl Resampler {
    pub(super) fn new(
        horizontal: Option<Coefficients>,
        vertical: Option<Coefficients>,
        output_width: u32,
        is_down_first: bool,
    ) -> Self {
        let output_width = output_width as usize;
        Self { horizontal: horizontal.map(Across::new), vertical, output_width, is_down_first }
    }

    /// The output rows from `first_row` on.
    pub(super) fn rows<'a>(&'a self, image: &'a RgbImage, first_row: usize) -> Rows<'a> {
        let ring_rows = self.vertical.as_ref().map_or(1, Coefficients::max_taps).min(image.height() as usize);
        let stride = self.output_width * 3;
        let summed = if self.is_down_first { image.width() as usize * 3 } else { stride };
        Rows {
            resampler: self,
            image,
            output_row: first_row,
            ring: vec![0; ring_rows * stride],
            ring_rows,
            in_ring: 0..0,
            row: vec![0; image.width() as usize * 3 + ROW_SLACK],
            sums: vec![0; summed],
        }
    }
}

/// Output rows one after another. Input rows already resized across wait in a ring for the columns' pass.
pub(super) struct Rows<'a> {
    resampler: &'a Resampler,
    image: &'a RgbImage,
    output_row: usize,
    /// Input row `y`, resized across, is in slot `y % ring_rows` while `in_ring` contains `y`.
    ring: Vec<u8>,
    ring_rows: usize,
    in_ring: std::ops::Range<usize>,
    /// A row of the input's width and [`ROW_SLACK`] bytes more: one of the last, or one that is resized down.
    row: Vec<u8>,
    sums: Vec<i32>,
}

impl Rows<'_> {
    /// Writes the next output row, `output_width * 3` bytes.
    pub(super) fn next_into(&mut self, output: &mut [u8]) {
        let row = self.output_row;
        self.output_row += 1;
        let Some(vertical) = &self.resampler.vertical else {
            return self.resize_across(row, output);
        };
        let (start, weights) = vertical.at(row);
        if self.resampler.is_down_first {
            self.sums.fill(HALF);
            for (tap, &weight) in weights.iter().enumerate() {
                add_weighted(&mut self.sums, self.image.row((start + tap) as u32), weight);
            }
            let Some(horizontal) = &self.resampler.horizontal else {
                return round_sums(&self.sums, output);
            };
            round_sums(&self.sums, &mut self.row[..self.sums.len()]);
            return horizontal.resize(&self.row, output);
        }
        let end = start + weights.len();
        self.fill_ring(start, end);
        let stride = output.len();
        self.sums.fill(HALF);
        for (tap, &weight) in weights.iter().enumerate() {
            let slot = (start + tap) % self.ring_rows;
            add_weighted(&mut self.sums, &self.ring[slot * stride..][..stride], weight);
        }
        round_sums(&self.sums, output);
    }

    /// Makes sure the input rows `start..end` are in the ring, resized across.
    fn fill_ring(&mut self, start: usize, end: usize) {
        let stride = self.resampler.output_width * 3;
        let mut ring = std::mem::take(&mut self.ring);
        for row in self.in_ring.end.max(start)..end {
            let slot = row % self.ring_rows;
            self.resize_across(row, &mut ring[slot * stride..][..stride]);
        }
        self.ring = ring;
        self.in_ring = start..end;
    }

    fn resize_across(&mut self, row: usize, output: &mut [u8]) {
        let source = self.image.row(row as u32);
        let Some(horizontal) = &self.resampler.horizontal else {
            return output.copy_from_slice(source);
        };
        // The next rows are slack enough; only the last ones need some of their own.
        let from_here = &self.image.pixels()[row * source.len()..];
        if from_here.len() >= source.len() + ROW_SLACK {
            return horizontal.resize(from_here, output);
        }
        self.row[..source.len()].copy_from_slice(source);
        horizontal.resize(&self.row, output);
    }
}

multiversion! {
    /// `sums += row * weight`.
    fn add_weighted(sums: &mut [i32], row: &[u8], weight: i32) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += i32::from(value) * weight;
        }
    }
}

multiversion! {
    /// Fixed point back to bytes.
    fn round_sums(sums: &[i32], output: &mut [u8]) {
        for (byte, &sum) in output.iter_mut().zip(sums) {
            *byte = (sum >> PRECISION_BITS).clamp(0, 255) as u8;
        }
    }
}
