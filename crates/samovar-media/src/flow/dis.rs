//! Dense inverse search from the smallest size of two pictures to the largest.

use samovar_geometry::{Motion, Size};

use super::field::Flow;
use super::grey::Grey;
use super::patches::Patches;
use super::pyramid::{BORDER, Enlarging, Halving, Level, PATCH};
use crate::error::{MediaError, Result};
use crate::room::zeros;

/// Finds [`Flow`] between pictures; what it computes with stays with it and serves the next two of the same size.
#[derive(Default)]
pub struct DenseFlow {
    buffers: Option<Buffers>,
}

/// What pictures of one size need.
struct Buffers {
    size: Size<Motion>,
    /// The largest first.
    levels: Vec<Level>,
    /// To the first level, unless it is the picture itself, and from each to the next.
    halvings: Vec<Halving>,
    /// From the first level to the picture, and from each level to the one before.
    enlargings: Vec<Enlarging>,
    patches: Patches,
}

impl DenseFlow {
    /// Without any memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// For each pixel of `from` where it is in `to`. The time is that of the number of pixels, whatever they show; the
    /// result is the same on every machine.
    ///
    /// # Errors
    /// [`Mismatch`](crate::MediaErrorKind::Mismatch) for pictures of two sizes,
    /// [`OutOfMemory`](crate::MediaErrorKind::OutOfMemory).
    pub fn between(&mut self, from: &Grey, to: &Grey) -> Result<Flow> {
        if from.size() != to.size() || from.image() != to.image() {
            return Err(MediaError::mismatch(format!(
                "there is no flow between pictures of two sizes, {} (of an image of {}) and {} (of {})",
                from.size(),
                from.image(),
                to.size(),
                to.image()
            )));
        }
        if self.buffers.as_ref().is_none_or(|buffers| buffers.size != from.size()) {
            self.buffers = None;
            self.buffers = Some(Buffers::new(from.size())?);
        }
        let area = from.pixels().len();
        let mut flow = Flow { size: from.size(), u: zeros(area)?, v: zeros(area)? };
        if let Some(buffers) = &mut self.buffers {
            buffers.fill(from.pixels(), to.pixels());
            buffers.search(&mut flow);
        }
        Ok(flow)
    }
}

impl std::fmt::Debug for DenseFlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DenseFlow").field("size", &self.buffers.as_ref().map(|buffers| buffers.size)).finish()
    }
}

/// How often a picture is halved at most: until a quarter of its long side is a patch (movements up to there can be found),
/// and its short side is one.
fn most_halvings(width: usize, height: usize) -> usize {
    let long = width.max(height) as f64 / (4 * PATCH) as f64;
    let short = width.min(height) / PATCH;
    ((long.log2() + 0.5).max(0.0) as usize).min(short.max(1).ilog2() as usize)
}

impl Buffers {
    fn new(size: Size<Motion>) -> Result<Self> {
        let picture = [size.width as usize, size.height as usize];
        // Half the size is where the search ends; pictures too small for that are taken as they are, with their edges
        // repeated until a patch fits.
        let is_halved = picture.iter().all(|&side| side >= 2 * PATCH);
        let mut sides =
            if is_halved { picture.map(|side| side / 2) } else { picture.map(|side| side.max(PATCH)) };
        let mut halvings = Vec::new();
        if is_halved {
            halvings.push(Halving::new(picture, sides)?);
        }
        // From a level that is not the picture's every pixel, in proportion.
        let seen = if is_halved { picture } else { sides };
        let mut enlargings = vec![Enlarging::new(sides, seen)?];
        let patches = Patches::new(sides[0], sides[1])?;
        let mut levels = vec![Level::new(sides[0], sides[1])?];
        for _ in 1..most_halvings(picture[0], picture[1]) {
            let halved = sides.map(|side| side / 2);
            halvings.push(Halving::new(sides, halved)?);
            enlargings.push(Enlarging::new(halved, sides)?);
            levels.push(Level::new(halved[0], halved[1])?);
            sides = halved;
        }
        Ok(Self { size, levels, halvings, enlargings, patches })
    }

    fn is_halved(&self) -> bool {
        self.halvings.len() == self.levels.len()
    }

    /// Both pictures at all sizes.
    fn fill(&mut self, from: &[u8], to: &[u8]) {
        let (width, is_halved) = (self.size.width as usize, self.is_halved());
        let mut halvings = self.halvings.iter_mut();
        let first = &mut self.levels[0];
        let (stride, to_stride) = (first.width, first.to_stride());
        let inside = BORDER * to_stride + BORDER;
        match halvings.next().filter(|_| is_halved) {
            Some(halving) => {
                halving.reduce(from, width, &mut first.from, stride);
                halving.reduce(to, width, &mut first.to[inside..], to_stride);
            }
            None => {
                copy_extended(from, width, &mut first.from, stride, stride);
                copy_extended(to, width, &mut first.to[inside..], to_stride, stride);
            }
        }
        first.finish();
        for index in 1..self.levels.len() {
            let Some(halving) = halvings.next() else { break };
            let (larger, smaller) = self.levels.split_at_mut(index);
            let (larger, smaller) = (&larger[index - 1], &mut smaller[0]);
            let (stride, to_stride) = (smaller.width, smaller.to_stride());
            let (larger_stride, larger_inside) = (larger.to_stride(), BORDER * larger.to_stride() + BORDER);
            let inside = BORDER * to_stride + BORDER;
            halving.reduce(&larger.from, larger.width, &mut smaller.from, stride);
            halving.reduce(&larger.to[larger_inside..], larger_stride, &mut smaller.to[inside..], to_stride);
            smaller.finish();
        }
    }

    fn search(&mut self, flow: &mut Flow) {
        if let Some(smallest) = self.levels.last_mut() {
            smallest.u.fill(0.0);
            smallest.v.fill(0.0);
        }
        for index in (0..self.levels.len()).rev() {
            let (larger, here) = self.levels.split_at_mut(index);
            let here = &mut here[0];
            self.patches.improve(here);
            let Some(larger) = larger.last_mut() else { break };
            let scale = [ratio(larger.width, here.width), ratio(larger.height, here.height)];
            self.enlargings[index].enlarge(&here.u, scale[0], &mut larger.u);
            self.enlargings[index].enlarge(&here.v, scale[1], &mut larger.v);
        }
        let first = &self.levels[0];
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        if self.is_halved() {
            self.enlargings[0].enlarge(&first.u, ratio(width, first.width), &mut flow.u);
            self.enlargings[0].enlarge(&first.v, ratio(height, first.height), &mut flow.v);
        } else {
            for (found, flow) in [(&first.u, &mut flow.u), (&first.v, &mut flow.v)] {
                for (from, to) in found.chunks_exact(first.width).zip(flow.chunks_exact_mut(width)) {
                    to.copy_from_slice(&from[..width]);
                }
            }
        }
    }
}

fn ratio(larger: usize, smaller: usize) -> f32 {
    (larger as f64 / smaller as f64) as f32
}

/// Copies rows of `width` values and repeats the last column and row until there are `to_width` columns and enough rows.
fn copy_extended(from: &[u8], width: usize, to: &mut [f32], to_stride: usize, to_width: usize) {
    let height = from.len() / width;
    for (y, row) in to.chunks_mut(to_stride).enumerate() {
        let source = &from[y.min(height - 1) * width..][..width];
        let Some(row) = row.get_mut(..to_width) else { break };
        for (x, to) in row.iter_mut().enumerate() {
            *to = f32::from(source[x.min(width - 1)]);
        }
    }
}
