//! A map of logits at the size of the flow, of which only the part that matters is held.

use samovar_geometry::{Box2, Grid, Image, Motion, ResizeRule, Size};
use samovar_media::flow::Flow;
use samovar_media::{BitMask, Upscaler};

use super::mask::{Region, RegionLogits};
use crate::error::Result;
use crate::model::Model;

/// Logits are cut off here, and this is what is everywhere else.
pub(crate) const CERTAIN: f32 = 10.0;
/// Logits below this are held as those elsewhere.
const NOTHING: f32 = -9.99;

/// Logits by pixels of the flow: those of a rectangle, and [`CERTAIN`] below 0 around it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Patch {
    /// Of the whole map.
    size: Size<Motion>,
    region: Region<Motion>,
    /// Row by row.
    values: Vec<f32>,
}

impl Patch {
    /// Of a map `[height, width]`, whose edges that hold nothing are let go.
    fn new(size: Size<Motion>, region: Region<Motion>, values: Vec<f32>) -> Self {
        let width = region.size.width as usize;
        let is_held = |value: &f32| *value > NOTHING;
        let rows = || values.chunks_exact(width.max(1));
        let (mut x0, mut x1, mut y0, mut y1) = (width, 0, usize::MAX, 0);
        for (y, row) in rows().enumerate() {
            if let Some(first) = row.iter().position(is_held) {
                let last = row.iter().rposition(is_held).unwrap_or(first);
                (x0, x1, y0, y1) = (x0.min(first), x1.max(last + 1), y0.min(y), y + 1);
            }
        }
        if x1 <= x0 {
            return Self { size, region: Region { x0: 0, y0: 0, size: Size::new(0, 0) }, values: Vec::new() };
        }
        let held = rows().skip(y0).take(y1 - y0).flat_map(|row| &row[x0..x1]).copied().collect();
        let place = Region {
            x0: region.x0 + x0 as u32,
            y0: region.y0 + y0 as u32,
            size: Size::new((x1 - x0) as u32, (y1 - y0) as u32),
        };
        Self { size, region: place, values: held }
    }

    /// What a model answered over a region of a frame, without what was taken out of its mask.
    pub(crate) fn of_logits(
        logits: &RegionLogits,
        mask: &BitMask,
        size: Size<Motion>,
        model: &Model,
    ) -> Result<Self> {
        let (frame, Region { x0, y0, size: extent }) = (mask.size(), logits.region);
        let scale = |at: u32, whole: u32, of: u32| {
            (f64::from(at) * f64::from(of) / f64::from(whole)).round().min(f64::from(of)) as u32
        };
        let (left, right) =
            (scale(x0, frame.width, size.width), scale(x0 + extent.width, frame.width, size.width));
        let (top, bottom) =
            (scale(y0, frame.height, size.height), scale(y0 + extent.height, frame.height, size.height));
        // A region of less than a pixel has one.
        let (left, top) = (left.min(size.width - 1), top.min(size.height - 1));
        let region = Region {
            x0: left,
            y0: top,
            size: Size::new(right.max(left + 1) - left, bottom.max(top + 1) - top),
        };
        let upscaler = Upscaler::new(
            model.grid_size(),
            model.resize_rule(),
            Size::new(region.size.width, region.size.height),
        )?;
        let mut values = vec![0.0; region.size.area() as usize];
        upscaler.prepare(&logits.to_f32())?.logit_rows(0..region.size.height, &mut values)?;
        let in_frame = |at: u32, of: u32, whole: u32| {
            (((f64::from(at) + 0.5) * f64::from(whole) / f64::from(of)) as u32).min(whole - 1)
        };
        let width = region.size.width as usize;
        for (y, row) in (region.y0..).zip(values.chunks_exact_mut(width)) {
            let y = in_frame(y, size.height, frame.height);
            for (x, value) in (region.x0..).zip(row) {
                let is_out = *value > 0.0 && !mask.get(in_frame(x, size.width, frame.width), y);
                *value = if is_out { -CERTAIN } else { value.clamp(-CERTAIN, CERTAIN) };
            }
        }
        Ok(Self::new(size, region, values))
    }

    /// A mask that somebody drew.
    pub(crate) fn of_mask(mask: &BitMask, size: Size<Motion>) -> Self {
        let frame = mask.size();
        let at = |index: u32, of: u32, whole: u32| {
            (((f64::from(index) + 0.5) * f64::from(whole) / f64::from(of)) as u32).min(whole - 1)
        };
        let mut values = Vec::with_capacity(size.area() as usize);
        for y in 0..size.height {
            let y = at(y, size.height, frame.height);
            values.extend(
                (0..size.width)
                    .map(|x| if mask.get(at(x, size.width, frame.width), y) { CERTAIN } else { -CERTAIN }),
            );
        }
        Self::new(size, Region::whole(size), values)
    }

    /// Pixels of a frame per pixel of the map, across and down.
    pub(crate) fn pixels_of(&self, frame: Size<Image>) -> (f64, f64) {
        (
            f64::from(frame.width) / f64::from(self.size.width.max(1)),
            f64::from(frame.height) / f64::from(self.size.height.max(1)),
        )
    }

    /// Where the logits are positive, in pixels of the map.
    pub(crate) fn bounds(&self) -> Option<Box2<Motion>> {
        let width = self.region.size.width as usize;
        let (mut x0, mut x1, mut y0, mut y1) = (width, 0, usize::MAX, 0);
        for (y, row) in self.values.chunks_exact(width.max(1)).enumerate() {
            if let Some(first) = row.iter().position(|&value| value > 0.0) {
                let last = row.iter().rposition(|&value| value > 0.0).unwrap_or(first);
                (x0, x1, y0, y1) = (x0.min(first), x1.max(last + 1), y0.min(y), y + 1);
            }
        }
        let (left, top) = (f64::from(self.region.x0), f64::from(self.region.y0));
        (x1 > x0).then(|| Box2::new(left + x0 as f64, top + y0 as f64, left + x1 as f64, top + y1 as f64))
    }

    /// The logit of a pixel of the map.
    pub(crate) fn at(&self, x: i64, y: i64) -> f32 {
        let (x, y) = (x - i64::from(self.region.x0), y - i64::from(self.region.y0));
        let Size { width, height, .. } = self.region.size;
        match (0..i64::from(width)).contains(&x) && (0..i64::from(height)).contains(&y) {
            true => self.values[(y * i64::from(width) + x) as usize],
            false => -CERTAIN,
        }
    }

    /// The map of the next frame: each pixel from where the flow says that it was.
    pub(crate) fn carried(&self, flow: &Flow) -> Self {
        let Size { width, height, .. } = self.size;
        if self.values.is_empty() || flow.size != self.size {
            return self.clone();
        }
        let [left, top] = [self.region.x0 as f32 - 1.0, self.region.y0 as f32 - 1.0];
        let [right, bottom] =
            [left + self.region.size.width as f32 + 1.0, top + self.region.size.height as f32 + 1.0];
        let mut values = vec![-CERTAIN; self.size.area() as usize];
        let moved = flow.u.iter().zip(&flow.v);
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x as f32, y as f32)));
        for ((value, (&u, &v)), (x, y)) in values.iter_mut().zip(moved).zip(places) {
            let (x, y) = (x + u, y + v);
            if !(x > left && x < right && y > top && y < bottom) {
                continue;
            }
            let (x0, y0) = (x.floor(), y.floor());
            let (across, down) = (x - x0, y - y0);
            let (x0, y0) = (x0 as i64, y0 as i64);
            let row = |y: i64| self.at(x0, y) * (1.0 - across) + self.at(x0 + 1, y) * across;
            *value = row(y0) * (1.0 - down) + row(y0 + 1) * down;
        }
        Self::new(self.size, Region::whole(self.size), values)
    }

    /// Logits of a model's grid over a region of a frame: each cell the mean of what it covers; padding is outside.
    pub(crate) fn on_grid(
        &self,
        frame: Size<Image>,
        region: Region,
        rule: ResizeRule,
        grid: Size<Grid>,
    ) -> Vec<f32> {
        let (across, down) = self.pixels_of(frame);
        let (per_x, per_y) = rule.grid_from_image(region.size, grid).scale();
        // Edges of cells in pixels of the map, for as many cells as the region has.
        let edges = |cells: u32, per: f64, start: u32, extent: u32, scale: f64| -> Vec<(f64, f64)> {
            let to_map = |cell: f64| (f64::from(start) + (cell / per).min(f64::from(extent))) / scale;
            let used = (0..cells).take_while(|&cell| f64::from(cell) / per < f64::from(extent));
            used.map(|cell| (to_map(f64::from(cell)), to_map(f64::from(cell) + 1.0))).collect()
        };
        let columns = edges(grid.width, per_x, region.x0, region.size.width, across);
        let rows = edges(grid.height, per_y, region.y0, region.size.height, down);
        let mut logits = vec![-CERTAIN; grid.area() as usize];
        for (&(y0, y1), logits) in rows.iter().zip(logits.chunks_exact_mut(grid.width as usize)) {
            for (&(x0, x1), logit) in columns.iter().zip(logits) {
                *logit = self.mean(x0, y0, x1, y1);
            }
        }
        logits
    }

    /// Mean over a rectangle, in pixels of the map; a narrow one is that of a pixel around its middle, between its neighbours.
    fn mean(&self, x0: f64, y0: f64, x1: f64, y1: f64) -> f32 {
        let widened = |from: f64, to: f64| {
            let more = (1.0 - (to - from)).max(0.0) / 2.0;
            (from - more, to + more)
        };
        let ((x0, x1), (y0, y1)) = (widened(x0, x1), widened(y0, y1));
        let (mut sum, mut weights) = (0.0, 0.0);
        for y in y0.floor() as i64..y1.ceil() as i64 {
            let tall = y1.min(y as f64 + 1.0) - y0.max(y as f64);
            for x in x0.floor() as i64..x1.ceil() as i64 {
                let weight = tall * (x1.min(x as f64 + 1.0) - x0.max(x as f64));
                sum += weight * f64::from(self.at(x, y));
                weights += weight;
            }
        }
        if weights > 0.0 { (sum / weights) as f32 } else { -CERTAIN }
    }

    /// For a file: size and region as six u32, then the values as f32, all little endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let Region { x0, y0, size } = self.region;
        let numbers = [self.size.width, self.size.height, x0, y0, size.width, size.height];
        let numbers = numbers.into_iter().flat_map(u32::to_le_bytes);
        numbers.chain(self.values.iter().flat_map(|value| value.to_le_bytes())).collect()
    }

    /// The reverse; `None` for bytes that are none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, values) = bytes.split_at_checked(24)?;
        let mut numbers = numbers.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four));
        let mut number = || numbers.next();
        let size = Size::new(number()?, number()?);
        let region = Region { x0: number()?, y0: number()?, size: Size::new(number()?, number()?) };
        let values: Vec<f32> =
            values.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        let is_empty = values.is_empty() && region.size.area() == 0;
        let is_whole = region.is_within(size) && values.len() as u64 == region.size.area();
        (is_empty || is_whole).then_some(Self { size, region, values })
    }
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
