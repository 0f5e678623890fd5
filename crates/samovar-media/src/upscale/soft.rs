//! Soft masks: the sigmoid of the enlarged logits as alpha.

use samovar_geometry::{Image, Size};

use super::{PreparedLogits, Thresholds, Verdict};
use crate::error::{MediaError, Result};
use crate::mask::BitMask;

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

/// Beyond this logit the sigmoid rounds to 0 or 255.
const SATURATED: f32 = 6.3;

impl PreparedLogits<'_> {
    /// Sigmoid of every enlarged logit, as alpha.
    pub fn alpha(&self) -> AlphaMask {
        let upscaler = self.upscaler;
        let (size, grid_width) = (upscaler.image, upscaler.grid.width as usize);
        let mut values = vec![0u8; size.area() as usize];
        let thresholds = Thresholds { middle: 0.0, high: SATURATED, low: -SATURATED };
        let mut verdicts = vec![Verdict::Mixed; upscaler.word_columns.len()];
        let mut judged_rows = 0..0;
        let mut grid_row = vec![0.0; grid_width + super::TAPS];
        let mut logits = [0.0f32; 64];
        for (y, row) in values.chunks_exact_mut(size.width as usize).enumerate() {
            let grid_rows = upscaler.down.sources(y..y + 1);
            if grid_rows != judged_rows {
                self.judge(&grid_rows, &thresholds, &mut verdicts);
                judged_rows = grid_rows;
            }
            for (index, pixels) in row.chunks_mut(64).enumerate() {
                match verdicts[index] {
                    Verdict::Below => {}
                    Verdict::Above => pixels.fill(255),
                    Verdict::Mixed => {
                        let columns = upscaler.word_columns[index].clone();
                        self.lerp_down(y, columns.clone(), &mut grid_row);
                        let logits = &mut logits[..pixels.len()];
                        upscaler.across.interpolate(&grid_row, columns.start, index * 64, logits);
                        for (pixel, &logit) in pixels.iter_mut().zip(&*logits) {
                            *pixel = (255.0 / (1.0 + (-logit).exp()) + 0.5) as u8;
                        }
                    }
                }
            }
        }
        AlphaMask { size, values }
    }
}
