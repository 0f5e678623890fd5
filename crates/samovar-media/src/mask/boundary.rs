//! Boundary F: how well the outlines of two masks agree, as the DAVIS evaluation measures it.
//!
//! Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", 2016; `f_measure` and
//! `_seg2bmap` of davis2017-evaluation's `metrics.py`, whose figures these are.

use samovar_geometry::{Image, Size};

use super::bits::BitMask;
use crate::error::Result;

/// The share of a picture's diagonal within which boundaries match in the DAVIS evaluation.
const DAVIS_SHARE_OF_DIAGONAL: f64 = 0.008;

/// How far apart boundaries may be in the DAVIS evaluation of a picture of this size: 0.8 % of its diagonal, in whole pixels,
/// rounded up.
pub fn davis_reach(size: Size<Image>) -> u32 {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    (DAVIS_SHARE_OF_DIAGONAL * (width * width + height * height).sqrt()).ceil() as u32
}

/// The boundary of a mask, ready to be held against others.
#[derive(Debug, Clone)]
pub struct Boundary {
    line: BitMask,
    /// All pixels within reach of the line.
    near: BitMask,
    length: u64,
}

impl Boundary {
    /// The boundary of a mask: the pixels whose right, lower or lower right neighbour is on the other side; the picture's edge is
    /// none. Those of another boundary match it up to `reach` pixels away, Euclidean. Takes time by the pixels times `reach`.
    pub fn new(mask: &BitMask, reach: u32) -> Self {
        let line = line(mask);
        Self { near: dilated(&line, reach), length: line.area(), line }
    }

    /// F, the harmonic mean of precision and recall: which share of one boundary lies near the other, and the reverse. 1 where
    /// neither mask has a boundary, 0 where only one has. The sizes must agree.
    pub fn f(&self, other: &Self) -> Result<f64> {
        let share = |line: &Self, near: &Self| -> Result<f64> {
            Ok(line.line.intersection_area(&near.near)? as f64 / line.length as f64)
        };
        if self.length == 0 || other.length == 0 {
            self.line.intersection_area(&other.near)?;
            return Ok(if self.length == other.length { 1.0 } else { 0.0 });
        }
        let (precision, recall) = (share(self, other)?, share(other, self)?);
        Ok(if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) })
    }
}

/// Boundary pixels, one pixel wide.
fn line(mask: &BitMask) -> BitMask {
    let mut line = BitMask::new(mask.size());
    if mask.size().is_empty() {
        return line;
    }
    for y in 0..mask.height() {
        let (row, below) = (mask.row(y), mask.row((y + 1).min(mask.height() - 1)));
        let (right, below_right) = (moved_left(row, mask.width()), moved_left(below, mask.width()));
        for (index, word) in line.row_mut(y).iter_mut().enumerate() {
            *word =
                (row[index] ^ right[index]) | (row[index] ^ below[index]) | (row[index] ^ below_right[index]);
        }
    }
    line
}

/// Each pixel's right neighbour; the last pixel stays.
fn moved_left(row: &[u64], width: u32) -> Vec<u64> {
    let next = row.iter().skip(1).copied().chain([0]);
    let mut moved: Vec<u64> = row.iter().zip(next).map(|(word, next)| word >> 1 | next << 63).collect();
    let (last, bit) = ((width as usize - 1) / 64, 1 << ((width - 1) % 64));
    moved[last] |= row[last] & bit;
    moved
}

/// All pixels within `reach` of a set one, Euclidean: dilation by skimage's `disk(reach)`.
fn dilated(mask: &BitMask, reach: u32) -> BitMask {
    let mut near = BitMask::new(mask.size());
    // How many rows away each half-width of the disk still is: widths grow as rows come nearer.
    let half_width = |rows: u32| (u64::from(reach).pow(2) - u64::from(rows).pow(2)).isqrt() as u32;
    for y in 0..mask.height() {
        let source = mask.row(y);
        if source.iter().all(|&word| word == 0) {
            continue;
        }
        let mut wide = source.to_vec();
        let mut width = 0;
        for rows in (0..=reach).rev() {
            while width < half_width(rows) {
                widen(&mut wide);
                width += 1;
            }
            let above = y.checked_sub(rows);
            let below = y.checked_add(rows).filter(|&below| below < mask.height() && rows > 0);
            for target in above.into_iter().chain(below) {
                near.row_mut(target).iter_mut().zip(&wide).for_each(|(word, &wide)| *word |= wide);
            }
        }
    }
    // Bits beyond the width stay zero in any mask.
    let used = near.width() % 64;
    if used > 0 {
        for y in 0..near.height() {
            if let Some(last) = near.row_mut(y).last_mut() {
                *last &= (1 << used) - 1;
            }
        }
    }
    near
}

/// Adds both neighbours of every set pixel of a row.
fn widen(row: &mut [u64]) {
    let mut before = 0;
    for index in 0..row.len() {
        let word = row[index];
        let next = row.get(index + 1).copied().unwrap_or(0);
        row[index] = word | word << 1 | word >> 1 | before >> 63 | next << 63;
        before = word;
    }
}

#[cfg(test)]
mod tests;
