//! Prompts drawn as a map, for decoders that see them in the picture and not only as tokens.

use samovar_geometry::{Box2, Grid, Input, Point, Size};
use samovar_tensor::{Device, Tensor};

use crate::error::Result;
use crate::interface::PromptBatch;
use crate::limits::positive;

/// Previous mask, foreground clicks, background clicks, box.
pub(crate) const CLICK_MAP_CHANNELS: usize = 4;

/// Input pixels per cell of the map.
const STRIDE: f32 = 4.0;

/// How prompts are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PromptMap {
    /// Width of a click in cells.
    pub(crate) click_sigma: f32,
    /// Logits of the previous mask are clamped to plus and minus this, then divided by it.
    pub(crate) mask_clamp: f32,
}

impl PromptMap {
    pub(crate) fn check(&self) -> Result<()> {
        positive("prompt map: width of a click", self.click_sigma)?;
        positive("prompt map: bound of mask logits", self.mask_clamp)
    }

    /// `[P, height, width, 4]` of the grid.
    pub(crate) fn draw(&self, device: &Device, prompts: &PromptBatch, grid: Size<Grid>) -> Result<Tensor> {
        let count = prompts.prompts;
        let (height, width) = (grid.height as usize, grid.width as usize);
        Ok(device.upload_with([count, height, width, CLICK_MAP_CHANNELS], |values| {
            values.fill(0.0);
            let cells = height * width;
            for (prompt, map) in values.chunks_exact_mut(cells * CLICK_MAP_CHANNELS).enumerate() {
                if let Some(masks) = &prompts.masks {
                    let shared = masks.len() == cells;
                    let mask = &masks[if shared { 0 } else { prompt * cells }..][..cells];
                    self.draw_mask(map, mask);
                }
                let points = prompts.points.len() / count;
                for i in prompt * points..(prompt + 1) * points {
                    self.draw_click(map, grid, prompts.points[i], prompts.labels[i]);
                }
                if let Some(&bounds) = prompts.boxes.get(prompt) {
                    draw_box(map, grid, bounds);
                }
            }
        })?)
    }

    fn draw_mask(&self, map: &mut [f32], mask: &[f32]) {
        for (cell, &logit) in map.as_chunks_mut::<CLICK_MAP_CHANNELS>().0.iter_mut().zip(mask) {
            cell[0] = logit.clamp(-self.mask_clamp, self.mask_clamp) / self.mask_clamp;
        }
    }

    /// A Gaussian around the click; where clicks of one kind meet, the nearer one counts.
    fn draw_click(&self, map: &mut [f32], grid: Size<Grid>, point: Point<Input>, label: i32) {
        let channel = match label {
            1 => 1,
            0 => 2,
            _ => return,
        };
        let bell = |position: f64, cells: u32| -> Vec<f32> {
            let centre = (position as f32 + 0.5) / STRIDE - 0.5;
            let spread = 2.0 * self.click_sigma * self.click_sigma;
            (0..cells).map(|cell| (-(cell as f32 - centre).powi(2) / spread).exp()).collect()
        };
        let (across, down) = (bell(point.x, grid.width), bell(point.y, grid.height));
        let cells = map.as_chunks_mut::<CLICK_MAP_CHANNELS>().0;
        for (row, down) in cells.chunks_exact_mut(grid.width as usize).zip(down) {
            for (cell, &across) in row.iter_mut().zip(&across) {
                cell[channel] = cell[channel].max(down * across);
            }
        }
    }
}

/// The share of every cell that lies inside the box.
fn draw_box(map: &mut [f32], grid: Size<Grid>, bounds: Box2<Input>) {
    let cover = |low: f64, high: f64, cells: u32| -> Vec<f32> {
        let (low, high) = (low as f32, high as f32);
        let covered =
            |cell: f32| ((high / STRIDE).min(cell + 1.0) - (low / STRIDE).max(cell)).clamp(0.0, 1.0);
        (0..cells).map(|cell| covered(cell as f32)).collect()
    };
    let across = cover(bounds.x0, bounds.x1, grid.width);
    let down = cover(bounds.y0, bounds.y1, grid.height);
    let cells = map.as_chunks_mut::<CLICK_MAP_CHANNELS>().0;
    for (row, down) in cells.chunks_exact_mut(grid.width as usize).zip(down) {
        for (cell, &across) in row.iter_mut().zip(&across) {
            cell[3] = down * across;
        }
    }
}
