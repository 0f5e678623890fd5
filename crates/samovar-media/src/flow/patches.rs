//! Inverse search: each patch of the first picture is moved over the second until it fits best, then every pixel takes
//! the mean of the patches that cover it, those most that fit it.

use super::pyramid::{BORDER, Level, PATCH};
use crate::error::Result;
use crate::room::{room, zeros};
use crate::simd::{Eight, multiversion};

/// From one patch to the next, in pixels.
const STRIDE: usize = 3;

/// Sweeps over all patches: from the top left, then from the bottom right.
const SWEEPS: usize = 2;

/// Most steps of a patch in a sweep.
const STEPS: usize = 12;

/// Bands of rows; no motion spreads from one to the next, so that they can be searched in any order.
const BANDS: usize = 8;

/// Below this a patch has no slope to go down by.
const LEAST_DETERMINANT: f32 = 1e-3;

/// The motion of patches that stand [`STRIDE`] apart, and the sums that dense motion is made of.
pub(super) struct Patches {
    u: Vec<f32>,
    v: Vec<f32>,
    slopes: Vec<Slopes>,
    sum_u: Vec<f32>,
    sum_v: Vec<f32>,
    weight: Vec<f32>,
}

/// What a patch's slopes tell of a step: the inverse of their products, and the sums of both.
#[derive(Debug, Clone, Copy)]
struct Slopes {
    inverse: [f32; 3],
    sum_x: f32,
    sum_y: f32,
}

/// How many patches stand on a side of so many pixels.
const fn patches_on(side: usize) -> usize {
    (side - PATCH) / STRIDE + 1
}

impl Patches {
    /// For levels of this size and smaller, [`PATCH`] pixels at least.
    pub(super) fn new(width: usize, height: usize) -> Result<Self> {
        let count = patches_on(width) * patches_on(height);
        let mut slopes = room(count)?;
        slopes.resize(count, Slopes { inverse: [0.0; 3], sum_x: 0.0, sum_y: 0.0 });
        let area = width * height;
        Ok(Self {
            u: zeros(count)?,
            v: zeros(count)?,
            slopes,
            sum_u: zeros(area)?,
            sum_v: zeros(area)?,
            weight: zeros(area)?,
        })
    }

    /// Replaces a level's flow, which is the first guess, by what fits best nearby.
    pub(super) fn improve(&mut self, level: &mut Level) {
        search(self, level);
        spread(self, level);
    }
}

/// A displaced patch in the second picture: where its first pixel lies in memory, and how far beyond it.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    fx: f32,
    fy: f32,
}

/// What two patches say when one is subtracted from the other.
struct Compared {
    /// Sum of squares about the mean.
    distance: f32,
    /// Its slope, halved, along x and y.
    down_x: f32,
    down_y: f32,
}

/// What the search reads of a level.
#[derive(Clone, Copy)]
struct View<'a> {
    from: &'a [f32],
    slope_x: &'a [f32],
    slope_y: &'a [f32],
    to: &'a [f32],
    width: usize,
    to_stride: usize,
    limits: [f32; 2],
}

impl<'a> View<'a> {
    #[inline(always)]
    fn of(level: &'a Level) -> Self {
        Self {
            from: &level.from,
            slope_x: &level.slope_x,
            slope_y: &level.slope_y,
            to: &level.to,
            width: level.width,
            to_stride: level.to_stride(),
            limits: [level.width, level.height].map(|side| (side + BORDER - 1) as f32),
        }
    }

    /// Where the patch at (`x`, `y`) lies, displaced; it touches the picture, whatever the displacement.
    #[inline(always)]
    fn place(&self, x: usize, y: usize, u: f32, v: f32) -> Place {
        const LEAST: f32 = (BORDER - PATCH + 1) as f32;
        let x = ((x + BORDER) as f32 + u).max(LEAST).min(self.limits[0]);
        let y = ((y + BORDER) as f32 + v).max(LEAST).min(self.limits[1]);
        let (column, row) = (x as usize, y as usize);
        Place { at: row * self.to_stride + column, fx: x - column as f32, fy: y - row as f32 }
    }

    /// A row of the second picture, interpolated across.
    #[inline(always)]
    fn across(&self, place: Place, row: usize) -> Eight {
        let values = &self.to[place.at + row * self.to_stride..][..PATCH + 1];
        let left = Eight::load(values, 0);
        left + (Eight::load(values, 1) - left) * Eight::splat(place.fx)
    }

    /// Compares the patch whose first pixel is `at` with a displaced one.
    #[inline(always)]
    fn compare(&self, at: usize, place: Place, slopes: &Slopes) -> Compared {
        let mut sums = [Eight::splat(0.0); 4];
        let fy = Eight::splat(place.fy);
        let mut above = self.across(place, 0);
        for row in 0..PATCH {
            let below = self.across(place, row + 1);
            let start = at + row * self.width;
            let difference = above + (below - above) * fy - Eight::load(self.from, start);
            sums[0] += difference;
            sums[1] += difference * difference;
            sums[2] += difference * Eight::load(self.slope_x, start);
            sums[3] += difference * Eight::load(self.slope_y, start);
            above = below;
        }
        const PIXELS: f32 = (PATCH * PATCH) as f32;
        let [total, squares, along_x, along_y] = sums.map(Eight::sum);
        let mean = total / PIXELS;
        Compared {
            distance: squares - total * mean,
            down_x: along_x - slopes.sum_x * mean,
            down_y: along_y - slopes.sum_y * mean,
        }
    }

    #[inline(always)]
    fn slopes(&self, at: usize) -> Slopes {
        let mut sums = [Eight::splat(0.0); 5];
        for row in 0..PATCH {
            let start = at + row * self.width;
            let (x, y) = (Eight::load(self.slope_x, start), Eight::load(self.slope_y, start));
            for (sum, value) in sums.iter_mut().zip([x * x, x * y, y * y, x, y]) {
                *sum += value;
            }
        }
        let [xx, xy, yy, sum_x, sum_y] = sums.map(Eight::sum);
        let mut determinant = xx * yy - xy * xy;
        if determinant.abs() < LEAST_DETERMINANT {
            determinant = LEAST_DETERMINANT;
        }
        Slopes { inverse: [yy / determinant, -xy / determinant, xx / determinant], sum_x, sum_y }
    }
}

multiversion! {
    /// Moves the patches of a level.
    fn search(patches: &mut Patches, level: &Level) {
        let view = View::of(level);
        let (across, down) = (patches_on(level.width), patches_on(level.height));
        let rows_per_band = down.div_ceil(BANDS);
        for first_row in (0..down).step_by(rows_per_band) {
            let rows = rows_per_band.min(down - first_row);
            for sweep in 0..SWEEPS {
                let backwards = sweep % 2 == 1;
                for row in 0..rows {
                    let row = first_row + if backwards { rows - 1 - row } else { row };
                    let behind_row = if backwards { row + 1 } else { row.wrapping_sub(1) };
                    for column in 0..across {
                        let column = if backwards { across - 1 - column } else { column };
                        let behind_column = if backwards { column + 1 } else { column.wrapping_sub(1) };
                        let index = row * across + column;
                        let (x, y) = (column * STRIDE, row * STRIDE);
                        let at = y * level.width + x;
                        if sweep == 0 {
                            let centre = at + PATCH / 2 * level.width + PATCH / 2;
                            patches.u[index] = level.u[centre];
                            patches.v[index] = level.v[centre];
                            patches.slopes[index] = view.slopes(at);
                        }
                        let slopes = patches.slopes[index];
                        let (mut u, mut v) = (patches.u[index], patches.v[index]);
                        let mut least = view.compare(at, view.place(x, y, u, v), &slopes).distance;
                        let beside = (behind_column < across).then_some(row * across + behind_column);
                        let above = (first_row..first_row + rows).contains(&behind_row);
                        let above = above.then_some(behind_row * across + column);
                        for neighbour in [beside, above].into_iter().flatten() {
                            let (other_u, other_v) = (patches.u[neighbour], patches.v[neighbour]);
                            let distance = view.compare(at, view.place(x, y, other_u, other_v), &slopes).distance;
                            if distance < least {
                                (least, u, v) = (distance, other_u, other_v);
                            }
                        }
                        let start = (u, v);
                        let [inverse_x, inverse_xy, inverse_y] = slopes.inverse;
                        let mut before = f32::INFINITY;
                        for _ in 0..STEPS {
                            let Compared { distance, down_x, down_y } =
                                view.compare(at, view.place(x, y, u, v), &slopes);
                            u -= inverse_x * down_x + inverse_xy * down_y;
                            v -= inverse_xy * down_x + inverse_y * down_y;
                            if distance >= before {
                                break;
                            }
                            before = distance;
                        }
                        // What went farther than a patch has lost its way.
                        let (far_u, far_v) = (u - start.0, v - start.1);
                        let is_near = far_u * far_u + far_v * far_v <= (PATCH * PATCH) as f32;
                        (patches.u[index], patches.v[index]) = if is_near { (u, v) } else { start };
                    }
                }
            }
        }
    }
}

multiversion! {
    /// The flow of a level's pixels from that of the patches.
    fn spread(patches: &mut Patches, level: &mut Level) {
        let (width, height) = (level.width, level.height);
        let view = View::of(level);
        let (across, down) = (patches_on(width), patches_on(height));
        for sums in [&mut patches.sum_u, &mut patches.sum_v, &mut patches.weight] {
            sums[..width * height].fill(0.0);
        }
        for row in 0..down {
            for column in 0..across {
                let (x, y) = (column * STRIDE, row * STRIDE);
                let (u, v) = (patches.u[row * across + column], patches.v[row * across + column]);
                let place = view.place(x, y, u, v);
                let mut above = view.across(place, 0);
                for row in 0..PATCH {
                    let below = view.across(place, row + 1);
                    let pixels = (y + row) * width + x..(y + row) * width + x + PATCH;
                    let moved = above + (below - above) * Eight::splat(place.fy);
                    let differences = (moved - Eight::load(&level.from, pixels.start)).to_array();
                    let sum_u = &mut patches.sum_u[pixels.clone()];
                    let sum_v = &mut patches.sum_v[pixels.clone()];
                    let weights = &mut patches.weight[pixels];
                    for pixel in 0..PATCH {
                        let weight = 1.0 / differences[pixel].abs().max(1.0);
                        sum_u[pixel] += weight * u;
                        sum_v[pixel] += weight * v;
                        weights[pixel] += weight;
                    }
                    above = below;
                }
            }
        }
        // The last columns and rows, fewer than a stride, that no patch covers have the motion of those beside them.
        let covered = [(across - 1) * STRIDE + PATCH, (down - 1) * STRIDE + PATCH];
        for y in 0..covered[1] {
            let pixels = y * width..y * width + covered[0];
            let sums = patches.sum_u[pixels.clone()].iter().zip(&patches.sum_v[pixels.clone()]);
            let sums = sums.zip(&patches.weight[pixels.clone()]);
            let flow = level.u[pixels.clone()].iter_mut().zip(&mut level.v[pixels.clone()]);
            for ((u, v), ((sum_u, sum_v), weight)) in flow.zip(sums) {
                *u = sum_u / weight;
                *v = sum_v / weight;
            }
            for flow in [&mut level.u, &mut level.v] {
                let last = flow[pixels.end - 1];
                flow[pixels.end..(y + 1) * width].fill(last);
            }
        }
        let last_row = (covered[1] - 1) * width..covered[1] * width;
        for y in covered[1]..height {
            level.u.copy_within(last_row.clone(), y * width);
            level.v.copy_within(last_row.clone(), y * width);
        }
    }
}
