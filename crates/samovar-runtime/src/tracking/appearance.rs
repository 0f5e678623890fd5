//! What an object looks like: a linear function of the encoder's features and the colour that tells its cells from those around it.
//!
//! Ridge regression in closed form, with 1 on the object and -1 beside it, on the frames where it was shown: a target model as
//! Robinson et al., "Learning Fast and Robust Target Models for Video Object Segmentation" (CVPR 2020), learn one by descent. It is not
//! taught by what was found since: mistakes would teach it themselves.

use samovar_geometry::{Grid, Size};
use samovar_media::RgbImage;
use samovar_models::ImageFeatures;
use samovar_tensor::Tensor;

use crate::error::Result;
use crate::model::{Embedding, Model};

/// Weight of the object's cells together, beside those around it: about the share that it has of a crop twice as wide and high.
const SHARE_OF_OBJECT: f64 = 0.3;
/// Added to the second moments of the features, which are 1 on average.
const RIDGE: f64 = 0.3;
/// Numbers of a cell's colour: the mean of each channel, and their products.
const COLOURS: usize = 9;

/// A crop in cells, each with the encoder's features and its colour.
pub(crate) struct Look {
    grid: Size<Grid>,
    /// Columns and rows that the crop fills; the rest is padding.
    filled: Size<Grid>,
    channels: usize,
    /// `[height, width, channels]` of the whole grid.
    values: Vec<f32>,
}

impl Look {
    /// Of a crop and what a model's encoder found in it.
    pub(crate) fn new(model: &Model, crop: &RgbImage, embedding: &Embedding) -> Result<Self> {
        let features = embedding.features();
        let maps = maps_of(model, features)?;
        // The second finest: what is finer shows edges, what is coarser no parts.
        let grid = maps.get(1).or(maps.first()).map_or(Size::new(1, 1), |map| map.size);
        let rule = model.resize_rule();
        let (across, down) = rule.grid_from_image(crop.size(), grid).scale();
        let cells = |pixels: u32, scale: f64, whole: u32| {
            ((f64::from(pixels) * scale - 1e-6).ceil().max(1.0) as u32).min(whole)
        };
        let filled = Size::new(
            cells(crop.size().width, across, grid.width),
            cells(crop.size().height, down, grid.height),
        );
        let channels = maps.iter().map(|map| map.channels).sum::<usize>() + COLOURS;
        let mut values = vec![0.0; grid.area() as usize * channels];
        let mut at = 0;
        for map in &maps {
            map.resampled(grid, &mut values, (at, channels));
            at += map.channels;
        }
        colours(crop, (across, down), grid, filled, &mut values[at..], channels);
        Ok(Self { grid, filled, channels, values })
    }

    /// Cells across and down.
    pub(crate) fn grid(&self) -> Size<Grid> {
        self.grid
    }

    /// The features of the cells that the crop fills, with their places in the grid.
    fn cells(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let (width, filled) = (self.grid.width as usize, self.filled);
        let rows = self.values.chunks_exact(self.channels).enumerate();
        rows.filter(move |(at, _)| at % width < filled.width as usize && at / width < filled.height as usize)
    }
}

/// A map of an encoder, on the host.
struct Map {
    size: Size<Grid>,
    channels: usize,
    values: Tensor,
}

/// The encoder's maps of one image, the coarsest first.
fn maps_of(model: &Model, features: &ImageFeatures) -> Result<Vec<Map>> {
    let device = model.device().stage("appearance");
    let maps = std::iter::once(&features.embedding).chain(&features.high_res);
    maps.map(|map| {
        let [_, height, width, channels] = map.shape().fixed("features")?;
        let values = device.download(map)?.wait()?;
        model.check_finite(values.f32()?)?;
        Ok(Map { size: Size::new(width as u32, height as u32), channels, values })
    })
    .collect()
}

impl Map {
    /// Writes it cell by cell at `at.0` of every `at.1` numbers: a coarser map bilinearly, of a finer one means.
    fn resampled(&self, grid: Size<Grid>, out: &mut [f32], at: (usize, usize)) {
        let Ok(values) = self.values.f32() else { return };
        let (channels, width) = (self.channels, self.size.width as usize);
        let columns = taps(self.size.width, grid.width);
        for (row, down) in
            out.chunks_exact_mut(at.1 * grid.width as usize).zip(taps(self.size.height, grid.height))
        {
            for (cell, across) in row.chunks_exact_mut(at.1).zip(&columns) {
                let cell = &mut cell[at.0..at.0 + channels];
                for &(y, tall) in &down {
                    for &(x, wide) in across {
                        let from = &values[(y * width + x) * channels..][..channels];
                        let weight = tall * wide;
                        cell.iter_mut().zip(from).for_each(|(sum, value)| *sum += weight * value);
                    }
                }
            }
        }
    }
}

/// For each of `to` cells, which of `from` cells it is made of, and how much of each: bilinear, or the mean of those it covers.
fn taps(from: u32, to: u32) -> Vec<Vec<(usize, f32)>> {
    let ratio = f64::from(from) / f64::from(to);
    let of = |cell: u32| {
        if from > to {
            let start = (f64::from(cell) * ratio) as usize;
            let end = (((f64::from(cell) + 1.0) * ratio) as usize).max(start + 1).min(from as usize);
            return (start..end).map(|at| (at, 1.0 / (end - start) as f32)).collect();
        }
        let at = ((f64::from(cell) + 0.5) * ratio - 0.5).clamp(0.0, f64::from(from - 1));
        let (low, share) = (at as usize, at.fract() as f32);
        vec![(low, 1.0 - share), ((low + 1).min(from as usize - 1), share)]
    };
    (0..to).map(of).collect()
}

/// The mean colour of each cell, as numbers about 0, with all products of two.
fn colours(
    crop: &RgbImage,
    (across, down): (f64, f64),
    grid: Size<Grid>,
    filled: Size<Grid>,
    out: &mut [f32],
    stride: usize,
) {
    let edges = |cells: u32, scale: f64, pixels: u32| -> Vec<(u32, u32)> {
        let cell = |at: u32| {
            let start = ((f64::from(at) / scale) as u32).min(pixels - 1);
            (start, ((f64::from(at + 1) / scale).ceil() as u32).clamp(start + 1, pixels))
        };
        (0..cells).map(cell).collect()
    };
    let Size { width, height, .. } = crop.size();
    let (columns, rows) = (edges(filled.width, across, width), edges(filled.height, down, height));
    for (row, &(y0, y1)) in rows.iter().enumerate() {
        for (column, &(x0, x1)) in columns.iter().enumerate() {
            let mut sums = [0u64; 3];
            for y in y0..y1 {
                let start = (y as usize * width as usize + x0 as usize) * 3;
                for pixel in crop.pixels()[start..start + (x1 - x0) as usize * 3].as_chunks::<3>().0 {
                    sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u64::from(value));
                }
            }
            let pixels = u64::from(y1 - y0) * u64::from(x1 - x0);
            let [r, g, b] = sums.map(|sum| (sum as f64 / (pixels as f64 * 127.5) - 1.0) as f32);
            let at = (row * grid.width as usize + column) * stride;
            out[at..at + COLOURS].copy_from_slice(&[r, g, b, r * r, g * g, b * b, r * g, r * b, g * b]);
        }
    }
}

/// The function of one object.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Appearance {
    /// Of each feature; the last is a constant.
    weights: Vec<f32>,
    /// How many frames it was learnt on.
    shown: u32,
}

impl Appearance {
    /// Learns from a crop, of whose cells the object covers these shares; `None` where it covers none, or all.
    pub(crate) fn learn(look: &Look, covered: &[f32]) -> Option<Self> {
        let channels = look.channels;
        let mut cells = Vec::new();
        let (mut object, mut rest) = (0.0, 0.0);
        for (at, features) in look.cells() {
            let share = f64::from(*covered.get(at)?).clamp(0.0, 1.0);
            if share > 0.5 {
                object += share;
            } else {
                rest += 1.0 - share;
            }
            cells.push((features, share));
        }
        if object <= 0.0 || rest <= 0.0 {
            return None;
        }
        let (mut means, mut deviations) = (vec![0.0f64; channels], vec![0.0f64; channels]);
        for (features, _) in &cells {
            means.iter_mut().zip(*features).for_each(|(mean, &value)| *mean += f64::from(value));
        }
        means.iter_mut().for_each(|mean| *mean /= cells.len() as f64);
        for (features, _) in &cells {
            for ((sum, mean), &value) in deviations.iter_mut().zip(&means).zip(*features) {
                *sum += (f64::from(value) - mean).powi(2);
            }
        }
        // What is the same everywhere tells nothing, and must not become large.
        deviations.iter_mut().for_each(|sum| *sum = (*sum / cells.len() as f64).sqrt() + 1e-3);
        let size = channels + 1;
        let (mut moments, mut target) = (vec![0.0f64; size * size], vec![0.0f64; size]);
        let mut row = vec![1.0f64; size];
        for (features, share) in &cells {
            let is_object = *share > 0.5;
            let weight = match is_object {
                true => SHARE_OF_OBJECT * share / object,
                false => (1.0 - SHARE_OF_OBJECT) * (1.0 - share) / rest,
            };
            for (((to, &value), mean), deviation) in
                row.iter_mut().zip(*features).zip(&means).zip(&deviations)
            {
                *to = (f64::from(value) - mean) / deviation;
            }
            for (index, &value) in row.iter().enumerate() {
                let weighted = weight * value;
                target[index] += if is_object { weighted } else { -weighted };
                let sums = &mut moments[index * size..][..=index];
                sums.iter_mut().zip(&row).for_each(|(sum, &other)| *sum += weighted * other);
            }
        }
        (0..size).for_each(|index| moments[index * size + index] += RIDGE);
        let solution = solved(moments, target)?;
        let mut constant = solution[channels];
        let mut weights = Vec::with_capacity(size);
        for ((weight, mean), deviation) in solution.iter().zip(&means).zip(&deviations) {
            let weight = weight / deviation;
            constant -= weight * mean;
            weights.push(weight as f32);
        }
        weights.push(constant as f32);
        Some(Self { weights, shown: 1 })
    }

    /// The mean of this and what was learnt on another frame.
    #[must_use]
    pub(crate) fn joined(&self, other: &Self) -> Self {
        let shown = self.shown.saturating_add(other.shown);
        let share = other.shown as f32 / shown as f32;
        let pairs = self.weights.iter().zip(&other.weights);
        Self { weights: pairs.map(|(own, other)| own + share * (other - own)).collect(), shown }
    }

    /// For each cell how much it looks like the object: 1 for what does, -1 for what does not and for padding.
    pub(crate) fn of(&self, look: &Look) -> Vec<f32> {
        let mut scores = vec![-1.0; look.grid.area() as usize];
        let Some((constant, weights)) = self.weights.split_last() else { return scores };
        if weights.len() != look.channels {
            return vec![0.0; scores.len()];
        }
        for (at, features) in look.cells() {
            let score: f32 = features.iter().zip(weights).map(|(value, weight)| value * weight).sum();
            scores[at] = (score + constant).clamp(-1.0, 1.0);
        }
        scores
    }

    /// For a file: how many frames, how many weights, the weights, all little endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let numbers = [self.shown, self.weights.len() as u32].into_iter().flat_map(u32::to_le_bytes);
        numbers.chain(self.weights.iter().flat_map(|weight| weight.to_le_bytes())).collect()
    }

    /// The reverse, with what follows; `None` for bytes that are none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (shown, bytes) = bytes.split_first_chunk::<4>()?;
        let (count, bytes) = bytes.split_first_chunk::<4>()?;
        let (weights, rest) =
            bytes.split_at_checked((u32::from_le_bytes(*count) as usize).checked_mul(4)?)?;
        let weights = weights.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        Some((Self { weights, shown: u32::from_le_bytes(*shown) }, rest))
    }
}

/// Scores of cells at the cells of another grid over the same canvas.
pub(crate) fn resampled(scores: &[f32], from: Size<Grid>, to: Size<Grid>) -> Vec<f32> {
    let (columns, rows) = (taps(from.width, to.width), taps(from.height, to.height));
    let at = |x: usize, y: usize| scores[y * from.width as usize + x];
    let mut out = Vec::with_capacity(to.area() as usize);
    for down in &rows {
        out.extend(columns.iter().map(|across| -> f32 {
            down.iter()
                .map(|&(y, tall)| tall * across.iter().map(|&(x, wide)| wide * at(x, y)).sum::<f32>())
                .sum()
        }));
    }
    out
}

/// Solves `moments * x = target` for a symmetric positive matrix of which the lower triangle is given, by Cholesky's
/// decomposition; `None` if it is none.
fn solved(mut moments: Vec<f64>, mut target: Vec<f64>) -> Option<Vec<f64>> {
    let size = target.len();
    for column in 0..size {
        for row in column..size {
            let (above, below) = moments.split_at_mut(row * size);
            let own = &mut below[..=row];
            let sum: f64 = match row == column {
                true => own[..column].iter().map(|value| value * value).sum(),
                false => own[..column].iter().zip(&above[column * size..]).map(|(a, b)| a * b).sum(),
            };
            let rest = own[column] - sum;
            own[column] = match row == column {
                true if rest > 0.0 => rest.sqrt(),
                true => return None,
                false => rest / above[column * size + column],
            };
        }
    }
    for row in 0..size {
        let sum: f64 = (0..row).map(|at| moments[row * size + at] * target[at]).sum();
        target[row] = (target[row] - sum) / moments[row * size + row];
    }
    for row in (0..size).rev() {
        let sum: f64 = (row + 1..size).map(|at| moments[at * size + row] * target[at]).sum();
        target[row] = (target[row] - sum) / moments[row * size + row];
    }
    target.iter().all(|value| value.is_finite()).then_some(target)
}

#[cfg(test)]
#[path = "appearance_tests.rs"]
mod tests;
