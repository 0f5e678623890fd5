//! Maps of a few cells, carried from frame to frame.

use samovar_geometry::{Grid, Image, Point, Size, Transform};

use super::field::Flow;
use crate::error::{MediaError, MediaErrorKind, Result};
use crate::room::room;

/// Cells and where they lie in the user's image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    /// Cells across and down.
    pub size: Size<Grid>,
    /// From cells to the image's pixels, corner to corner: the centre of the first cell is (0.5, 0.5).
    pub image_from_grid: Transform<Grid, Image>,
}

impl Placed {
    /// Cells that cover an image from edge to edge.
    pub fn over(size: Size<Grid>, image: Size<Image>) -> Self {
        Self { size, image_from_grid: Transform::stretch(size, image) }
    }
}

impl Flow {
    /// Carries a map: the flow leads from this frame to the one that `values` (row by row) are of, and each cell of `target` in
    /// this frame takes, interpolated bilinearly between the centres of cells, the value where its centre comes from. Where
    /// that is beyond the image or beyond the cells of `source`, the value is `outside`.
    ///
    /// # Errors
    /// [`MediaErrorKind::Mismatch`] if `values` are not as many as `source` has cells, or its transform cannot be turned round;
    /// [`MediaErrorKind::Empty`] for maps without cells; [`MediaErrorKind::OutOfMemory`].
    pub fn carry(&self, values: &[f32], source: Placed, target: Placed, outside: f32) -> Result<Vec<f32>> {
        if source.size.is_empty() || target.size.is_empty() {
            let what = format!("a map of {} cells cannot become one of {}", source.size, target.size);
            return Err(MediaError::new(MediaErrorKind::Empty, what));
        }
        if source.size.area() != values.len() as u64 {
            return Err(MediaError::mismatch(format!(
                "a map of {} cells takes {} values, {} were given",
                source.size,
                source.size.area(),
                values.len()
            )));
        }
        let Some(grid_from_image) = source.image_from_grid.inverse() else {
            return Err(MediaError::mismatch(format!(
                "the cells of a map have no size in the image: {:?}",
                source.image_from_grid
            )));
        };
        let motion_from_image = Transform::stretch(self.image, self.size);
        let image_from_motion = Transform::stretch(self.size, self.image);
        let mut carried = room(target.size.area() as usize)?;
        for row in 0..target.size.height {
            for column in 0..target.size.width {
                let centre = Point::<Grid>::new(f64::from(column) + 0.5, f64::from(row) + 0.5);
                let in_motion = motion_from_image * (target.image_from_grid * centre);
                let place = Between::centres(in_motion.x, in_motion.y, self.size.width, self.size.height);
                let came_from = Point::new(
                    in_motion.x + f64::from(place.of(&self.u)),
                    in_motion.y + f64::from(place.of(&self.v)),
                );
                let in_grid = grid_from_image * (image_from_motion * came_from);
                let is_inside = is_within(came_from.x, self.size.width)
                    && is_within(came_from.y, self.size.height)
                    && is_within(in_grid.x, source.size.width)
                    && is_within(in_grid.y, source.size.height);
                carried.push(if is_inside {
                    Between::centres(in_grid.x, in_grid.y, source.size.width, source.size.height).of(values)
                } else {
                    outside
                });
            }
        }
        Ok(carried)
    }
}

fn is_within(at: f64, side: u32) -> bool {
    (0.0..=f64::from(side)).contains(&at)
}

/// Four cells and their weights.
struct Between {
    at: [usize; 4],
    fx: f32,
    fy: f32,
}

impl Between {
    /// The centres round a point (cells are one by one, the first corner is the origin); at the edges the last ones.
    fn centres(x: f64, y: f64, width: u32, height: u32) -> Self {
        let along = |at: f64, side: u32| {
            let at = (at - 0.5).clamp(0.0, f64::from(side - 1));
            (at as usize, (at as usize + 1).min(side as usize - 1), at.fract() as f32)
        };
        let ((left, right, fx), (top, bottom, fy)) = (along(x, width), along(y, height));
        let width = width as usize;
        Self {
            at: [top * width + left, top * width + right, bottom * width + left, bottom * width + right],
            fx,
            fy,
        }
    }

    fn of(&self, values: &[f32]) -> f32 {
        let [a, b, c, d] = self.at.map(|at| values[at]);
        let (above, below) = (a + (b - a) * self.fx, c + (d - c) * self.fx);
        above + (below - above) * self.fy
    }
}
