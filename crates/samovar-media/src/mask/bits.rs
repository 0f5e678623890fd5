//! [`BitMask`]: one bit per pixel, packed so that areas and overlaps are counted 64 pixels at a time.

use std::fmt;

use samovar_geometry::{Box2, Image, Size};

use crate::error::{MediaError, Result};
use crate::room::{collected, zeros};

/// A binary mask, one bit per pixel.
///
/// Each row starts at a fresh word: pixel (x, y) is bit `x % 64` of word `y * words_per_row + x / 64`, lowest bit
/// first. Bits beyond the width are always zero; everything here relies on that.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BitMask {
    size: Size<Image>,
    words_per_row: usize,
    words: Vec<u64>,
}

impl BitMask {
    /// A mask with no pixel set.
    pub fn new(size: Size<Image>) -> Self {
        let words_per_row = (size.width as usize).div_ceil(64);
        Self { size, words_per_row, words: vec![0; words_per_row * size.height as usize] }
    }

    /// The same, for images whose size comes from outside.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn try_new(size: Size<Image>) -> Result<Self> {
        let words_per_row = (size.width as usize).div_ceil(64);
        let words = zeros(words_per_row.saturating_mul(size.height as usize))?;
        Ok(Self { size, words_per_row, words })
    }

    /// A mask with every pixel set.
    pub fn full(size: Size<Image>) -> Self {
        let mut mask = Self::new(size);
        for y in 0..size.height {
            mask.set_run(y, 0, size.width);
        }
        mask
    }

    /// The mask of the pixels for which `f(x, y)` holds.
    pub fn from_fn(size: Size<Image>, f: impl FnMut(u32, u32) -> bool) -> Self {
        Self::new(size).with_pixels(f)
    }

    /// The same mask with the pixels for which `f(x, y)` holds, too.
    fn with_pixels(mut self, mut f: impl FnMut(u32, u32) -> bool) -> Self {
        let words_per_row = self.words_per_row;
        for y in 0..self.size.height {
            let row = &mut self.words[y as usize * words_per_row..][..words_per_row];
            for (index, word) in row.iter_mut().enumerate() {
                let x0 = index as u32 * 64;
                for bit in 0..(self.size.width - x0).min(64) {
                    *word |= u64::from(f(x0 + bit, y)) << bit;
                }
            }
        }
        self
    }

    /// The mask of the values, row by row, for which `f` holds; refuses a wrong number of values.
    pub fn from_values<T: Copy>(size: Size<Image>, values: &[T], f: impl Fn(T) -> bool) -> Result<Self> {
        if size.area() != values.len() as u64 {
            return Err(MediaError::mismatch(format!(
                "a mask of {size} takes {} values, {} were given",
                size.area(),
                values.len()
            )));
        }
        let width = size.width as usize;
        Ok(Self::try_new(size)?.with_pixels(|x, y| f(values[y as usize * width + x as usize])))
    }

    /// The mask of the bytes that are not zero (0/1, 0/255, whatever a tool writes).
    pub fn from_bytes(size: Size<Image>, bytes: &[u8]) -> Result<Self> {
        Self::from_values(size, bytes, |byte| byte != 0)
    }

    /// Width and height.
    pub fn size(&self) -> Size<Image> {
        self.size
    }

    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.size.width
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.size.height
    }

    /// Words in a row.
    pub fn words_per_row(&self) -> usize {
        self.words_per_row
    }

    /// All words, row by row; see the type's layout.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// All words, to write to. Bits beyond the width must stay zero.
    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// The words of row `y`, which must exist.
    pub fn row(&self, y: u32) -> &[u64] {
        &self.words[y as usize * self.words_per_row..][..self.words_per_row]
    }

    pub(crate) fn row_mut(&mut self, y: u32) -> &mut [u64] {
        &mut self.words[y as usize * self.words_per_row..][..self.words_per_row]
    }

    /// Whether the pixel is set; nothing outside the mask is.
    pub fn get(&self, x: u32, y: u32) -> bool {
        x < self.size.width && y < self.size.height && self.row(y)[x as usize / 64] >> (x % 64) & 1 == 1
    }

    /// Sets or clears a pixel; outside the mask nothing happens.
    pub fn set(&mut self, x: u32, y: u32, on: bool) {
        if x < self.size.width && y < self.size.height {
            let word = &mut self.row_mut(y)[x as usize / 64];
            let bit = 1 << (x % 64);
            *word = if on { *word | bit } else { *word & !bit };
        }
    }

    /// Sets the pixels `x0..x1` of row `y`; what lies outside the mask is ignored.
    pub fn set_run(&mut self, y: u32, x0: u32, x1: u32) {
        self.with_run(y, x0, x1, |word, those| *word |= those);
    }

    /// Clears the pixels `x0..x1` of row `y`; what lies outside the mask is ignored.
    pub fn clear_run(&mut self, y: u32, x0: u32, x1: u32) {
        self.with_run(y, x0, x1, |word, those| *word &= !those);
    }

    /// Hands over every word that has pixels of the run, with those bits.
    fn with_run(&mut self, y: u32, x0: u32, x1: u32, f: impl Fn(&mut u64, u64)) {
        let x1 = x1.min(self.size.width) as usize;
        let x0 = x0 as usize;
        if y >= self.size.height || x0 >= x1 {
            return;
        }
        let row = self.row_mut(y);
        let (first, last) = (x0 / 64, (x1 - 1) / 64);
        let from_x0 = !0u64 << (x0 % 64);
        let to_x1 = !0u64 >> (63 - (x1 - 1) % 64);
        if first == last {
            f(&mut row[first], from_x0 & to_x1);
        } else {
            f(&mut row[first], from_x0);
            row[first + 1..last].iter_mut().for_each(|word| f(word, !0));
            f(&mut row[last], to_x1);
        }
    }

    /// Number of set pixels.
    pub fn area(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether no pixel is set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The box of the set pixels as upstream's `batched_mask_to_box` gives it: `x1` and `y1` are the *last* column
    /// and row, so a single pixel has a box of width 0. `None` for an empty mask (upstream: all zeros).
    pub fn tight_box(&self) -> Option<Box2<Image>> {
        let [x0, y0, x1, y1] = self.pixel_bounds()?;
        Some(Box2::new(f64::from(x0), f64::from(y0), f64::from(x1 - 1), f64::from(y1 - 1)))
    }

    /// First and one past last column and row with a set pixel: `[x0, y0, x1, y1]`, half-open.
    pub fn pixel_bounds(&self) -> Option<[u32; 4]> {
        let mut columns = vec![0u64; self.words_per_row];
        let mut rows: Option<(u32, u32)> = None;
        for y in 0..self.size.height {
            let mut any = 0;
            for (column, &word) in columns.iter_mut().zip(self.row(y)) {
                *column |= word;
                any |= word;
            }
            if any != 0 {
                rows = Some((rows.map_or(y, |(first, _)| first), y));
            }
        }
        let (first_row, last_row) = rows?;
        let first = columns.iter().position(|&word| word != 0)?;
        let last = columns.iter().rposition(|&word| word != 0)?;
        let x0 = first as u32 * 64 + columns[first].trailing_zeros();
        let x1 = last as u32 * 64 + 64 - columns[last].leading_zeros();
        Some([x0, first_row, x1, last_row + 1])
    }

    /// Number of pixels set in both; the sizes must agree.
    pub fn intersection_area(&self, other: &Self) -> Result<u64> {
        self.same_size(other)?;
        Ok(self.words.iter().zip(&other.words).map(|(a, b)| u64::from((a & b).count_ones())).sum())
    }

    /// Intersection over union; 0 if both are empty. The sizes must agree.
    pub fn iou(&self, other: &Self) -> Result<f64> {
        self.same_size(other)?;
        let (mut common, mut total) = (0u64, 0u64);
        for (a, b) in self.words.iter().zip(&other.words) {
            common += u64::from((a & b).count_ones());
            total += u64::from((a | b).count_ones());
        }
        Ok(if total == 0 { 0.0 } else { common as f64 / total as f64 })
    }

    /// Adds the pixels of `other`.
    pub fn union_with(&mut self, other: &Self) -> Result<()> {
        self.combine(other, |a, b| a | b)
    }

    /// Keeps only the pixels also in `other`.
    pub fn intersect_with(&mut self, other: &Self) -> Result<()> {
        self.combine(other, |a, b| a & b)
    }

    /// Removes the pixels of `other`.
    pub fn subtract(&mut self, other: &Self) -> Result<()> {
        self.combine(other, |a, b| a & !b)
    }

    /// The same mask in memory of its own.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn try_clone(&self) -> Result<Self> {
        let words = collected(self.words.len(), self.words.iter().copied())?;
        Ok(Self { size: self.size, words_per_row: self.words_per_row, words })
    }

    /// The pixels not set.
    pub fn inverted(&self) -> Self {
        let mut inverted = self.clone();
        inverted.invert();
        inverted
    }

    /// Sets the pixels that were not set and clears those that were.
    pub fn invert(&mut self) {
        let in_last = self.size.width % 64;
        for row in self.words.chunks_exact_mut(self.words_per_row.max(1)) {
            row.iter_mut().for_each(|word| *word = !*word);
            if let Some(last) = row.last_mut().filter(|_| in_last > 0) {
                *last &= !(!0 << in_last);
            }
        }
    }

    /// One byte per pixel, row by row: `on` where set, 0 elsewhere.
    pub fn to_bytes(&self, on: u8) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size.area() as usize);
        for y in 0..self.size.height {
            let row = self.row(y);
            bytes.extend((0..self.size.width as usize).map(|x| on * (row[x / 64] >> (x % 64) & 1) as u8));
        }
        bytes
    }

    /// One bool per pixel, row by row.
    pub fn to_bools(&self) -> Vec<bool> {
        self.to_bytes(1).into_iter().map(|byte| byte != 0).collect()
    }

    /// This mask at (`x0`, `y0`) of a larger one, as the mask of a crop goes back into its image; what would lie
    /// outside is cut off.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn placed(&self, size: Size<Image>, x0: u32, y0: u32) -> Result<Self> {
        let mut placed = Self::try_new(size)?;
        for y in 0..self.size.height.min(size.height.saturating_sub(y0)) {
            for (start, end) in runs_of(self.row(y)) {
                let shift = |x: usize| u32::try_from(x as u64 + u64::from(x0)).unwrap_or(u32::MAX);
                placed.set_run(y0 + y, shift(start), shift(end));
            }
        }
        Ok(placed)
    }

    /// The part from (`x0`, `y0`) of the given size; what lies outside this mask is not set.
    #[must_use]
    pub fn cropped(&self, x0: u32, y0: u32, size: Size<Image>) -> Self {
        let mut cropped = Self::new(size);
        for y in 0..size.height.min(self.size.height.saturating_sub(y0)) {
            for (start, end) in runs_of(self.row(y0 + y)) {
                let shift =
                    |x: usize| (x as u64).saturating_sub(u64::from(x0)).min(u64::from(u32::MAX)) as u32;
                cropped.set_run(y, shift(start), shift(end));
            }
        }
        cropped
    }

    /// The runs of set pixels of row `y`, as half-open column ranges from left to right.
    pub fn runs(&self, y: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        runs_of(self.row(y)).map(|(start, end)| (start as u32, end as u32))
    }

    fn combine(&mut self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Result<()> {
        self.same_size(other)?;
        for (word, &others) in self.words.iter_mut().zip(&other.words) {
            *word = f(*word, others);
        }
        Ok(())
    }

    fn same_size(&self, other: &Self) -> Result<()> {
        if self.size == other.size {
            return Ok(());
        }
        Err(MediaError::mismatch(format!("the masks have different sizes, {} and {}", self.size, other.size)))
    }
}

impl fmt::Debug for BitMask {
    /// Small masks as a picture, large ones as numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BitMask({}, {} set)", self.size, self.area())?;
        if self.size.width <= 64 && self.size.height <= 64 {
            for y in 0..self.size.height {
                let row: String =
                    (0..self.size.width).map(|x| if self.get(x, y) { '#' } else { '.' }).collect();
                write!(f, "\n{row}")?;
            }
        }
        Ok(())
    }
}

/// The runs of one bits in a packed row, as half-open ranges of bit positions.
pub(super) fn runs_of(words: &[u64]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let end = words.len() * 64;
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = next_bit(words, at, false);
        if start >= end {
            return None;
        }
        at = next_bit(words, start, true);
        Some((start, at))
    })
}

/// Position of the next one bit (or zero bit, if `zero`) at or after `from`; the end if there is none.
fn next_bit(words: &[u64], from: usize, zero: bool) -> usize {
    let flip = if zero { !0 } else { 0 };
    let mut index = from / 64;
    let Some(&word) = words.get(index) else { return words.len() * 64 };
    let mut word = (word ^ flip) & (!0 << (from % 64));
    while word == 0 {
        index += 1;
        match words.get(index) {
            Some(&next) => word = next ^ flip,
            None => return words.len() * 64,
        }
    }
    index * 64 + word.trailing_zeros() as usize
}

#[cfg(test)]
mod tests;
