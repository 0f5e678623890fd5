//! Soft masks: the sigmoid of the enlarged logits as alpha.

use samovar_geometry::{Image, Size};

use super::axis::TAPS;
use super::upscaler::{PreparedLogits, Thresholds, Verdict};
use crate::error::{MediaError, Result};
use crate::mask::BitMask;
use crate::room::zeros;

/// One 8-bit alpha value per pixel, row by row: 0 outside, 255 inside, in between at soft edges.
#[derive(Clone, PartialEq, Eq)]
pub struct AlphaMask {
    size: Size<Image>,
    values: Vec<u8>,
}

impl AlphaMask {
    /// Wraps alpha values; refuses a wrong number of them.
    pub fn from_raw(size: Size<Image>, values: Vec<u8>) -> Result<Self> {
        if size.area() != values.len() as u64 {
            return Err(MediaError::mismatch(format!(
                "an alpha mask of {size} takes {} values, {} were given",
                size.area(),
                values.len()
            )));
        }
        Ok(Self { size, values })
    }

    /// Width and height.
    pub fn size(&self) -> Size<Image> {
        self.size
    }

    /// All values, row by row.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// A mask with soft edges two pixels wide, where nothing but its pixels is left of what drew it: each by how many of
    /// the pixels around it are set, the near ones weighing more. Over 127 exactly where the mask is set; the border of the
    /// picture is no edge.
    pub fn softened(mask: &BitMask) -> Self {
        let size = mask.size();
        let (width, height) = (size.width as usize, size.height as usize);
        if width == 0 || height == 0 {
            return Self { size, values: Vec::new() };
        }
        // Rows above, at and below, each as sums of 1, 2, 1 along it.
        let summed = |y: usize, sums: &mut Vec<u16>| {
            let mut row = vec![0u16; width];
            mask.runs(y as u32).for_each(|(x0, x1)| row[x0 as usize..x1 as usize].fill(1));
            sums.clear();
            let sum = |x: usize| row[x.saturating_sub(1)] + 2 * row[x] + row[(x + 1).min(width - 1)];
            sums.extend((0..width).map(sum));
        };
        let mut rows = [Vec::new(), Vec::new(), Vec::new()];
        summed(0, &mut rows[0]);
        rows[1] = rows[0].clone();
        let mut values = mask.to_bytes(255);
        for (y, values) in values.chunks_exact_mut(width).enumerate() {
            summed((y + 1).min(height - 1), &mut rows[2]);
            let [above, at, below] = &rows;
            for (value, ((above, at), below)) in values.iter_mut().zip(above.iter().zip(at).zip(below)) {
                let alpha = ((above + 2 * at + below) * 255 / 16) as u8;
                *value = if *value > 0 { alpha.max(128) } else { alpha.min(127) };
            }
            rows.rotate_left(1);
        }
        Self { size, values }
    }

    /// The same, without a copy.
    pub fn into_values(self) -> Vec<u8> {
        self.values
    }
}

impl From<&BitMask> for AlphaMask {
    /// 255 where set: a hard edge.
    fn from(mask: &BitMask) -> Self {
        Self { size: mask.size(), values: mask.to_bytes(255) }
    }
}

impl std::fmt::Debug for AlphaMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlphaMask({})", self.size)
    }
}

/// Width of a soft edge in pixels of the image, from alpha 0 to 255.
const EDGE_PIXELS: f32 = 2.0;

/// Logits beyond this are far from any edge: no model changes its mind so fast from one pixel to the next.
const FAR: f32 = 10.0;

/// Alpha of a pixel whose logit changes by `slope` per pixel: how much of the pixel's surroundings lies inside, taking
/// the logits for a plane. Over 127 exactly where the logit is positive.
///
/// The sigmoid of the logits would say how sure the model is, which fades over many pixels where its grid is coarse and
/// leaves a haze of background around the object.
fn alpha_of(logit: f32, slope: f32) -> u8 {
    let distance_pixels = logit / slope.max(f32::MIN_POSITIVE);
    let inside = (0.5 + distance_pixels / EDGE_PIXELS).clamp(0.0, 1.0);
    match (logit > 0.0, (inside * 255.0 + 0.5) as u8) {
        (true, alpha) => alpha.max(128),
        (false, alpha) => alpha.min(127),
    }
}

impl PreparedLogits<'_> {
    /// The mask as alpha, its edge two pixels wide.
    ///
    /// # Errors
    /// [`MediaErrorKind::OutOfMemory`](crate::error::MediaErrorKind::OutOfMemory).
    pub fn alpha(&self) -> Result<AlphaMask> {
        let upscaler = self.upscaler;
        let (size, grid_width) = (upscaler.image, upscaler.grid.width as usize);
        let height = size.height as usize;
        let mut values = zeros(size.area() as usize)?;
        let thresholds = Thresholds { middle: 0.0, high: FAR, low: -FAR };
        let mut verdicts = vec![Verdict::Mixed; upscaler.word_columns.len()];
        let mut judged_rows = 0..0;
        let mut grid_row = vec![0.0; grid_width + TAPS];
        // The pixels at hand and those of the next row (of the last one before, at the end).
        let (mut here, mut beside) = ([0.0f32; 64], [0.0f32; 64]);
        for (y, row) in values.chunks_exact_mut(size.width as usize).enumerate() {
            let grid_rows = upscaler.down.sources(y..y + 1);
            if grid_rows != judged_rows {
                self.judge(&grid_rows, &thresholds, &mut verdicts);
                judged_rows = grid_rows;
            }
            let neighbour = if y + 1 < height { y + 1 } else { y.saturating_sub(1) };
            for (index, pixels) in row.chunks_mut(64).enumerate() {
                match verdicts[index] {
                    Verdict::Below => {}
                    Verdict::Above => pixels.fill(255),
                    Verdict::Mixed => {
                        let columns = upscaler.word_columns[index].clone();
                        for (y, logits) in [(y, &mut here), (neighbour, &mut beside)] {
                            self.lerp_down(y, columns.clone(), &mut grid_row);
                            let logits = &mut logits[..pixels.len()];
                            upscaler.across.interpolate(&grid_row, columns.start, index * 64, logits);
                        }
                        let last = pixels.len() - 1;
                        for (x, pixel) in pixels.iter_mut().enumerate() {
                            let (left, right) = (x.saturating_sub(1), (x + 1).min(last));
                            let across = (here[right] - here[left]) / (right - left).max(1) as f32;
                            let down = beside[x] - here[x];
                            *pixel = alpha_of(here[x], across.hypot(down));
                        }
                    }
                }
            }
        }
        Ok(AlphaMask { size, values })
    }
}
