//! The way from a mask grid to an image, and masks on it.

use std::ops::Range;

use samovar_geometry::{Box2, Grid, Image, ResizeRule, Size};

use super::axis::{Axis, TAPS};
use super::bounds::{Bounds, BoundsFinder};
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::mask::BitMask;
use crate::room::room;
use crate::simd::bits_over;
use crate::threads::spawn_or_run;

/// The way from a mask grid to one image size. Made once per image size, used for all its masks.
#[derive(Debug, Clone)]
pub struct Upscaler {
    pub(super) grid: Size<Grid>,
    pub(super) image: Size<Image>,
    pub(super) across: Axis,
    pub(super) down: Axis,
    /// First and one past last grid column that each word (64 pixels) of a row is made of.
    pub(super) word_columns: Vec<Range<usize>>,
}

impl Upscaler {
    /// Logits of `grid` cells over the canvas of `rule`, to an image of this size.
    ///
    /// For [`ResizeRule::LongestSide`] that is SAM's chain (grid to canvas, crop, to image), for
    /// [`ResizeRule::Exact`] SAM 2's and SAM 3's single enlargement from grid to image.
    pub fn new(grid: Size<Grid>, rule: ResizeRule, image: Size<Image>) -> Result<Self> {
        if grid.is_empty() || image.is_empty() {
            let what = format!("logits of {grid} cannot become an image of {image}");
            return Err(MediaError::new(MediaErrorKind::Empty, what));
        }
        let (across, down) = match rule {
            ResizeRule::Exact { .. } => {
                (Axis::direct(grid.width, image.width), Axis::direct(grid.height, image.height))
            }
            ResizeRule::LongestSide { target } => {
                if grid.longest_side() > target {
                    return Err(MediaError::mismatch(format!(
                        "a mask grid of {grid} is larger than its canvas of {target}"
                    )));
                }
                let resized = rule.resized(image);
                (
                    Axis::through_canvas(grid.width, target, resized.width, image.width),
                    Axis::through_canvas(grid.height, target, resized.height, image.height),
                )
            }
        };
        let word_columns = (0..image.width as usize)
            .step_by(64)
            .map(|x0| across.sources(x0..(x0 + 64).min(image.width as usize)))
            .collect();
        Ok(Self { grid, image, across, down, word_columns })
    }

    /// Size of the image the masks come out at.
    pub fn image_size(&self) -> Size<Image> {
        self.image
    }

    /// Number of logits one mask has.
    pub fn grid_size(&self) -> Size<Grid> {
        self.grid
    }

    /// Takes the logits of one mask, row by row, and finds their bounds; everything else starts from there.
    pub fn prepare<'a>(&'a self, logits: &'a [f32]) -> Result<PreparedLogits<'a>> {
        if self.grid.area() != logits.len() as u64 {
            return Err(MediaError::mismatch(format!(
                "a mask grid of {} has {} logits, {} were given",
                self.grid,
                self.grid.area(),
                logits.len()
            )));
        }
        // Rows and columns of the grid that only cover padding are never looked at.
        let used_rows = self.down.sources(0..self.image.height as usize).end;
        let mut finder = BoundsFinder::new(&self.word_columns);
        let mut bounds = room(self.word_columns.len() * used_rows)?;
        for row in logits.chunks_exact(self.grid.width as usize).take(used_rows) {
            finder.find(row, &self.word_columns, &mut bounds);
        }
        Ok(PreparedLogits { upscaler: self, logits, bounds })
    }

    /// Shorthand for [`Upscaler::prepare`] and [`PreparedLogits::mask`].
    pub fn mask(&self, logits: &[f32], threshold: f32, threads: usize) -> Result<BitMask> {
        self.prepare(logits)?.mask(threshold, threads)
    }

    /// Shorthand for [`Upscaler::prepare`] and [`PreparedLogits::measured_mask`].
    pub fn measured_mask(
        &self,
        logits: &[f32],
        threshold: f32,
        stability_offset: f32,
        threads: usize,
    ) -> Result<MeasuredMask> {
        self.prepare(logits)?.measured_mask(threshold, stability_offset, threads)
    }
}

/// A mask together with what the automatic generator asks about it.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredMask {
    /// Pixels with a logit over the threshold.
    pub mask: BitMask,
    /// Number of those.
    pub area: u64,
    /// Their box, `x1` and `y1` being the last column and row; `None` if there are none.
    pub tight_box: Option<Box2<Image>>,
    /// Pixels with a logit over threshold + offset.
    pub area_above_high: u64,
    /// Pixels with a logit over threshold - offset.
    pub area_above_low: u64,
}

impl MeasuredMask {
    /// Upstream's stability score: the IoU of the masks at the higher and the lower threshold. NaN if both are empty,
    /// as upstream's 0 / 0; every comparison with it fails, so such a mask is not kept.
    pub fn stability_score(&self) -> f32 {
        self.area_above_high as f32 / self.area_above_low as f32
    }
}

/// The thresholds of one pass.
pub(super) struct Thresholds {
    pub(super) middle: f32,
    pub(super) high: f32,
    pub(super) low: f32,
}

/// Pixels over the outer thresholds.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    high: u64,
    low: u64,
}

/// Logits of one mask, ready to be enlarged.
#[derive(Debug, Clone)]
pub struct PreparedLogits<'a> {
    pub(super) upscaler: &'a Upscaler,
    logits: &'a [f32],
    /// Per grid row and word of the image.
    bounds: Vec<Bounds>,
}

impl PreparedLogits<'_> {
    /// The pixels with a logit over `threshold`. `threads` is how many to use at most.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn mask(&self, threshold: f32, threads: usize) -> Result<BitMask> {
        let thresholds = Thresholds { middle: threshold, high: threshold, low: threshold };
        Ok(self.thresholded(&thresholds, threads)?.0)
    }

    /// The mask and, from the same pass, its area, box and stability.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn measured_mask(
        &self,
        threshold: f32,
        stability_offset: f32,
        threads: usize,
    ) -> Result<MeasuredMask> {
        let thresholds = Thresholds {
            middle: threshold,
            high: threshold + stability_offset,
            low: threshold - stability_offset,
        };
        let (mask, counts) = self.thresholded(&thresholds, threads)?;
        Ok(MeasuredMask {
            area: mask.area(),
            tight_box: mask.tight_box(),
            area_above_high: counts.high,
            area_above_low: counts.low,
            mask,
        })
    }

    /// The enlarged logits of the image rows `rows`, for soft edges; `out` takes one value per pixel of those rows.
    pub fn logit_rows(&self, rows: Range<u32>, out: &mut [f32]) -> Result<()> {
        let image = self.upscaler.image;
        let expected = u64::from(rows.end.saturating_sub(rows.start)) * u64::from(image.width);
        if rows.end > image.height || expected != out.len() as u64 {
            return Err(MediaError::mismatch(format!(
                "rows {}..{} of an image of {image} do not fill a buffer of {} values",
                rows.start,
                rows.end,
                out.len()
            )));
        }
        let mut grid_row = vec![0.0; self.upscaler.grid.width as usize + TAPS];
        for (y, row) in rows.zip(out.chunks_exact_mut(image.width as usize)) {
            self.lerp_down(y as usize, 0..self.upscaler.grid.width as usize, &mut grid_row);
            self.upscaler.across.interpolate(&grid_row, 0, 0, row);
        }
        Ok(())
    }

    fn thresholded(&self, thresholds: &Thresholds, threads: usize) -> Result<(BitMask, Counts)> {
        let mut mask = BitMask::try_new(self.upscaler.image)?;
        let words_per_row = mask.words_per_row();
        let height = self.upscaler.image.height as usize;
        let rows_per_band = height.div_ceil(threads.clamp(1, height));
        let mut counts = vec![Counts::default(); height.div_ceil(rows_per_band)];
        let bands = mask.words_mut().chunks_mut(rows_per_band * words_per_row).zip(&mut counts).enumerate();
        let count = |(index, (words, counts)): (usize, (&mut [u64], &mut Counts))| {
            *counts = self.threshold_rows(thresholds, index * rows_per_band, words);
        };
        if rows_per_band == height {
            bands.for_each(count);
        } else {
            std::thread::scope(|scope| bands.for_each(|band| spawn_or_run(scope, move || count(band))));
        }
        let total = counts.iter().fold(Counts::default(), |total, counts| Counts {
            high: total.high + counts.high,
            low: total.low + counts.low,
        });
        Ok((mask, total))
    }

    /// Fills whole rows of words from image row `first_row` on.
    fn threshold_rows(&self, thresholds: &Thresholds, first_row: usize, words: &mut [u64]) -> Counts {
        let upscaler = self.upscaler;
        let words_per_row = upscaler.word_columns.len();
        let width = upscaler.image.width as usize;
        let mut counts = Counts::default();
        let mut verdicts = vec![Verdict::Mixed; words_per_row];
        let mut judged_rows = 0..0;
        let mut grid_row = vec![0.0; upscaler.grid.width as usize + TAPS];
        let mut pixels = [0.0f32; 64];
        for (row_index, row) in words.chunks_exact_mut(words_per_row).enumerate() {
            let y = first_row + row_index;
            let grid_rows = upscaler.down.sources(y..y + 1);
            if grid_rows != judged_rows {
                self.judge(&grid_rows, thresholds, &mut verdicts);
                judged_rows = grid_rows;
            }
            for (index, word) in row.iter_mut().enumerate() {
                let pixel_count = (width - index * 64).min(64);
                match verdicts[index] {
                    Verdict::Below => {}
                    Verdict::Above => {
                        *word = !0 >> (64 - pixel_count);
                        counts.high += pixel_count as u64;
                        counts.low += pixel_count as u64;
                    }
                    Verdict::Mixed => {
                        let columns = upscaler.word_columns[index].clone();
                        self.lerp_down(y, columns.clone(), &mut grid_row);
                        let pixels = &mut pixels[..pixel_count];
                        upscaler.across.interpolate(&grid_row, columns.start, index * 64, pixels);
                        *word = bits_over(pixels, thresholds.middle);
                        // Without an offset, and for a mask alone, all three are the same.
                        let area_over = |threshold| match threshold == thresholds.middle {
                            true => u64::from(word.count_ones()),
                            false => u64::from(bits_over(pixels, threshold).count_ones()),
                        };
                        counts.high += area_over(thresholds.high);
                        counts.low += area_over(thresholds.low);
                    }
                }
            }
        }
        counts
    }

    /// Decides, for image rows made of these grid rows, which words need no computing.
    pub(super) fn judge(&self, grid_rows: &Range<usize>, thresholds: &Thresholds, verdicts: &mut [Verdict]) {
        let words_per_row = verdicts.len();
        let lowest = thresholds.low.min(thresholds.middle).min(thresholds.high);
        let highest = thresholds.low.max(thresholds.middle).max(thresholds.high);
        for (index, verdict) in verdicts.iter_mut().enumerate() {
            let bounds = grid_rows
                .clone()
                .fold(Bounds::NONE, |all, row| all.and(self.bounds[row * words_per_row + index]))
                .widened();
            *verdict = if bounds.high <= lowest {
                Verdict::Below
            } else if bounds.low > highest {
                Verdict::Above
            } else {
                Verdict::Mixed
            };
        }
    }

    /// The grid columns `columns` of image row `y`, into the front of `grid_row`; what follows them there is finite.
    pub(super) fn lerp_down(&self, y: usize, columns: Range<usize>, grid_row: &mut [f32]) {
        let grid_width = self.upscaler.grid.width as usize;
        let (first, weights) = self.upscaler.down.at(y);
        let last = self.upscaler.grid.height as usize - 1;
        // Weights beyond the last row are zero; any row will do for them.
        let rows: [&[f32]; TAPS] = std::array::from_fn(|tap| {
            &self.logits[(first + tap).min(last) * grid_width..][..grid_width][columns.clone()]
        });
        let (covered, beyond) = grid_row.split_at_mut(columns.len());
        for (column, value) in covered.iter_mut().enumerate() {
            *value =
                rows[0][column] * weights[0] + rows[1][column] * weights[1] + rows[2][column] * weights[2];
        }
        beyond[..TAPS].fill(0.0);
    }
}

/// What is known of 64 pixels without computing them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// None is over the lowest threshold.
    Below,
    /// All are over the highest threshold.
    Above,
    Mixed,
}
