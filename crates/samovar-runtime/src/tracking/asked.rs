//! What is asked of a region of a frame, and which parts of an answer are the object.

use samovar_geometry::{Grid, Size};
use samovar_media::mask::deepest_point;
use samovar_media::{BitMask, Connectivity, connected_components};

use super::mask::Region;
use super::patch::CERTAIN;
use crate::error::Result;
use crate::prompt::{MaskPrompt, Prompt};

/// Parts of an answer of which less was carried there are other things.
const LEAST_SHARED: f64 = 0.2;
/// Parts that look so much less like the object than the part that does most are other things: of the way from -1 to 1, a fifth.
const LEAST_ALIKE: f64 = 0.4;
/// A part of less than this share of all is no measure of the others.
const LEAST_MEASURE: f64 = 0.1;

/// What is asked of a region, by the cells of the model's grid.
pub(super) struct Asked {
    pub(super) region: Region,
    pub(super) grid: Size<Grid>,
    /// Cells per pixel.
    pub(super) scale: (f64, f64),
    pub(super) logits: Vec<f32>,
    /// How much each cell looks like the object.
    pub(super) alike: Option<Vec<f32>>,
}

impl Asked {
    /// The cell that a pixel of the frame lies in, if it is in the region.
    fn cell(&self, x: u32, y: u32) -> Option<usize> {
        let at = |pixel: u32, start: u32, extent: u32, scale: f64, cells: u32| {
            let pixel = pixel.checked_sub(start).filter(|&pixel| pixel < extent)?;
            Some((((f64::from(pixel) + 0.5) * scale) as u32).min(cells - 1) as usize)
        };
        let Region { x0, y0, size } = self.region;
        let column = at(x, x0, size.width, self.scale.0, self.grid.width)?;
        Some(at(y, y0, size.height, self.scale.1, self.grid.height)? * self.grid.width as usize + column)
    }

    /// All that is asked: the logits, the box of what is positive and its deepest point, in pixels of the region; `None` if nothing is.
    pub(super) fn prompt(&self) -> Option<Prompt> {
        let (grid, image) = (self.grid, self.region.size);
        let size = Size::new(grid.width, grid.height);
        let cells = BitMask::from_values(size, &self.logits, |logit: f32| logit > 0.0).ok()?;
        let [x0, y0, x1, y1] = cells.pixel_bounds()?;
        let (deepest, _) = deepest_point(&cells)?;
        let (across, down) = self.scale;
        let within = |at: f64, whole: u32| at.clamp(0.0, f64::from(whole) - 0.5);
        let place = |x: f64, y: f64| (within(x / across, image.width), within(y / down, image.height));
        let (left, top) = place(f64::from(x0), f64::from(y0));
        let (right, bottom) = place(f64::from(x1), f64::from(y1));
        let (x, y) = place(deepest.x + 0.5, deepest.y + 0.5);
        let prompt =
            Prompt::default().point(x, y).within(left, top, right.max(left + 0.5), bottom.max(top + 0.5));
        Some(Prompt { mask: Some(MaskPrompt::Logits(self.logits.clone())), ..prompt })
    }

    /// The parts of an answer that lie on what was asked and look like the object: a thing that is near and looks much alike is
    /// answered too, and is another.
    pub(super) fn parts_of(&self, mask: &BitMask) -> Result<BitMask> {
        let parts = connected_components(mask, Connectivity::Eight)?;
        if parts.len() < 2 {
            return Ok(mask.try_clone()?);
        }
        let (mut shared, mut alike) = (vec![0u64; parts.len()], vec![0.0f64; parts.len()]);
        parts.for_each_run(|part, y, x0, x1| {
            for cell in (x0..x1).filter_map(|x| self.cell(x, y)) {
                shared[part] += u64::from(self.logits[cell] > 0.0);
                alike[part] += self.alike.as_ref().map_or(0.0, |alike| f64::from(alike[cell]));
            }
        });
        let area = |part: usize| parts.all()[part].area as f64;
        let mut kept: Vec<bool> =
            (0..parts.len()).map(|part| shared[part] as f64 >= LEAST_SHARED * area(part)).collect();
        if !kept.contains(&true) {
            // If all of them are elsewhere, it moved fast.
            kept.fill(true);
        }
        let all: f64 = (0..parts.len()).filter(|&part| kept[part]).map(area).sum();
        let most = (0..parts.len())
            .filter(|&part| kept[part] && area(part) >= LEAST_MEASURE * all)
            .map(|part| alike[part] / area(part))
            .fold(f64::NEG_INFINITY, f64::max);
        Ok(parts.mask_of(|part| kept[part] && alike[part] / area(part) >= most - LEAST_ALIKE)?)
    }

    /// How much a mask in the region looks like the object, on average; `None` where it is empty or nobody knows.
    pub(super) fn likeness(&self, mask: &BitMask) -> Option<f64> {
        let alike = self.alike.as_ref()?;
        let Region { y0, size, .. } = self.region;
        let (mut sum, mut pixels) = (0.0, 0u64);
        for y in y0..y0 + size.height {
            for cell in mask.runs(y).flat_map(|(x0, x1)| x0..x1).filter_map(|x| self.cell(x, y)) {
                sum += f64::from(alike[cell]);
                pixels += 1;
            }
        }
        (pixels > 0).then(|| sum / pixels as f64)
    }
}

/// Lets only the part be positive that has most of what is.
pub(super) fn keep_strongest_part(logits: &mut [f32], grid: Size<Grid>) -> Result<()> {
    let size = Size::new(grid.width, grid.height);
    let cells = BitMask::from_values(size, logits, |logit: f32| logit > 0.0)?;
    let parts = connected_components(&cells, Connectivity::Eight)?;
    let mut sums = vec![0.0f64; parts.len()];
    let at = |y: u32, x: u32| y as usize * grid.width as usize + x as usize;
    parts.for_each_run(|part, y, x0, x1| {
        sums[part] += logits[at(y, x0)..at(y, x1)].iter().map(|&logit| f64::from(logit)).sum::<f64>();
    });
    let strongest = (0..sums.len()).max_by(|&a, &b| sums[a].total_cmp(&sums[b]));
    parts.for_each_run(|part, y, x0, x1| {
        if Some(part) != strongest {
            logits[at(y, x0)..at(y, x1)].fill(-CERTAIN);
        }
    });
    Ok(())
}

#[cfg(test)]
#[path = "asked_tests.rs"]
mod tests;
