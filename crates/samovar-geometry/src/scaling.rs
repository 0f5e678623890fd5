//! Display, image and input coordinates in one place, for whoever shows an image and prompts a model with it.

use crate::frame::{Display, Frame, Image, Input};
use crate::resize_rule::ResizeRule;
use crate::shapes::{Box2, Point, Size};
use crate::transform::Transform;

/// Smallest and largest zoom factor relative to "fits the window"; beyond them coordinates lose their half pixel.
const ZOOM_RANGE: (f64, f64) = (1.0 / 64.0, 4096.0);

/// Takes points, boxes and masks between the display, the image and the model's input.
///
/// The image is shown as large as fits the display with its aspect ratio kept, centred; [`ScalingManager::zoomed`]
/// and [`ScalingManager::panned`] move on from there. Every round trip is exact to far less than half a pixel for
/// points and boxes, and to half a pixel for masks, which are resampled to the nearest pixel centre.
///
/// ```
/// use samovar_geometry::{Display, Image, Point, ResizeRule, ScalingManager, Size};
///
/// let scaling = ScalingManager::new(
///     Size::<Image>::new(4000, 3000),
///     Size::<Display>::new(1000, 1000),
///     ResizeRule::LongestSide { target: 1024 },
/// );
/// // The picture is 1000 x 750 on the display, with 125 pixels of margin above and below.
/// let click = Point::<Display>::new(500.0, 500.0);
/// let click_in_image = scaling.image_from_display() * click;
/// assert_eq!((click_in_image.x, click_in_image.y), (2000.0, 1500.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScalingManager {
    image_size: Size<Image>,
    display_size: Size<Display>,
    rule: ResizeRule,
    display_from_image: Transform<Image, Display>,
}

impl ScalingManager {
    /// The whole image, centred in the display. Sizes without pixels count as one pixel.
    pub fn new(image_size: Size<Image>, display_size: Size<Display>, rule: ResizeRule) -> Self {
        let image_size = Size::new(image_size.width.max(1), image_size.height.max(1));
        let display_size = Size::new(display_size.width.max(1), display_size.height.max(1));
        let scale_x = f64::from(display_size.width) / f64::from(image_size.width);
        let scale_y = f64::from(display_size.height) / f64::from(image_size.height);
        let scale = scale_x.min(scale_y);
        let margin = |display: u32, image: u32| (f64::from(display) - f64::from(image) * scale) / 2.0;
        let display_from_image = Transform::scale_offset(
            scale,
            scale,
            margin(display_size.width, image_size.width),
            margin(display_size.height, image_size.height),
        );
        Self { image_size, display_size, rule, display_from_image }
    }

    /// The same view with the magnification multiplied by `factor`, the image point under `fixed_in_display` staying
    /// where it is. The magnification stays within 1/64 to 4096 of the fitting one; a factor that is no positive
    /// number changes nothing.
    #[must_use]
    pub fn zoomed(self, factor: f64, fixed_in_display: Point<Display>) -> Self {
        if !(factor.is_finite() && factor > 0.0 && fixed_in_display.is_finite()) {
            return self;
        }
        let fitting = Self::new(self.image_size, self.display_size, self.rule).display_from_image.scale().0;
        let old_scale = self.display_from_image.scale().0;
        let scale = (old_scale * factor).clamp(fitting * ZOOM_RANGE.0, fitting * ZOOM_RANGE.1);
        let applied = scale / old_scale;
        let (offset_x, offset_y) = self.display_from_image.offset();
        let display_from_image = Transform::scale_offset(
            scale,
            scale,
            fixed_in_display.x + (offset_x - fixed_in_display.x) * applied,
            fixed_in_display.y + (offset_y - fixed_in_display.y) * applied,
        );
        Self { display_from_image, ..self }
    }

    /// The same view moved by (`dx`, `dy`) display pixels.
    #[must_use]
    pub fn panned(self, dx: f64, dy: f64) -> Self {
        if !(dx.is_finite() && dy.is_finite()) {
            return self;
        }
        let (scale_x, scale_y) = self.display_from_image.scale();
        let (offset_x, offset_y) = self.display_from_image.offset();
        let display_from_image = Transform::scale_offset(scale_x, scale_y, offset_x + dx, offset_y + dy);
        Self { display_from_image, ..self }
    }

    /// Size of the user's image.
    pub const fn image_size(&self) -> Size<Image> {
        self.image_size
    }

    /// Size of the window or canvas.
    pub const fn display_size(&self) -> Size<Display> {
        self.display_size
    }

    /// Size of the model's canvas.
    pub const fn input_size(&self) -> Size<Input> {
        self.rule.canvas()
    }

    /// Where image pixels are shown.
    pub const fn display_from_image(&self) -> Transform<Image, Display> {
        self.display_from_image
    }

    /// Which image position is shown at a display position. May lie outside the image, in the margin.
    pub fn image_from_display(&self) -> Transform<Display, Image> {
        invert(self.display_from_image)
    }

    /// Where image pixels land in the model's input.
    pub fn input_from_image(&self) -> Transform<Image, Input> {
        self.rule.input_from_image(self.image_size)
    }

    /// Which image position a position of the model's input comes from.
    pub fn image_from_input(&self) -> Transform<Input, Image> {
        invert(self.input_from_image())
    }

    /// Display to model input in one step.
    pub fn input_from_display(&self) -> Transform<Display, Input> {
        self.input_from_image() * self.image_from_display()
    }

    /// Model input to display in one step.
    pub fn display_from_input(&self) -> Transform<Input, Display> {
        self.display_from_image * self.image_from_input()
    }

    /// A click as an image position, if it hit the image and not the margin.
    pub fn click_in_image(&self, click: Point<Display>) -> Option<Point<Image>> {
        let point = self.image_from_display() * click;
        let whole = Box2::whole(self.image_size);
        (point.x >= whole.x0 && point.x < whole.x1 && point.y >= whole.y0 && point.y < whole.y1)
            .then_some(point)
    }

    /// A mask (or any one-value-per-pixel raster) of the image as the display shows it; `outside` fills the margin.
    /// `None` if `mask` does not have one value per image pixel.
    pub fn mask_to_display<T: Copy>(&self, mask: &[T], outside: T) -> Option<Vec<T>> {
        resample_nearest(mask, self.image_size, self.display_size, self.image_from_display(), outside)
    }

    /// A mask painted on the display, as image pixels; `outside` fills what the display does not show.
    pub fn mask_from_display<T: Copy>(&self, mask: &[T], outside: T) -> Option<Vec<T>> {
        resample_nearest(mask, self.display_size, self.image_size, self.display_from_image, outside)
    }

    /// A mask of the image in the model's input; `outside` fills the padding.
    pub fn mask_to_input<T: Copy>(&self, mask: &[T], outside: T) -> Option<Vec<T>> {
        resample_nearest(mask, self.image_size, self.input_size(), self.image_from_input(), outside)
    }

    /// A mask of the model's input in image pixels.
    pub fn mask_from_input<T: Copy>(&self, mask: &[T], outside: T) -> Option<Vec<T>> {
        resample_nearest(mask, self.input_size(), self.image_size, self.input_from_image(), outside)
    }
}

/// The inverse of a transform whose scales are known to be positive ratios of `u32`s.
fn invert<A: Frame, B: Frame>(b_from_a: Transform<A, B>) -> Transform<B, A> {
    b_from_a.inverse().unwrap_or(Transform::scale_offset(1.0, 1.0, 0.0, 0.0))
}

/// Resamples a row-major raster, one value per pixel: each target pixel takes the source pixel under its centre, or
/// `outside` if there is none. `None` if `source` does not hold exactly `source_size` pixels.
pub fn resample_nearest<T: Copy, From: Frame, To: Frame>(
    source: &[T],
    source_size: Size<From>,
    target_size: Size<To>,
    source_from_target: Transform<To, From>,
    outside: T,
) -> Option<Vec<T>> {
    if source.len() as u64 != source_size.area() {
        return None;
    }
    let index = |position: f64, length: u32| {
        let floor = position.floor();
        (floor >= 0.0 && floor < f64::from(length)).then_some(floor as usize)
    };
    let source_columns: Vec<Option<usize>> = (0..target_size.width)
        .map(|x| {
            let in_source = source_from_target * Point::new(f64::from(x) + 0.5, 0.0);
            index(in_source.x, source_size.width)
        })
        .collect();
    let mut target = Vec::with_capacity(target_size.area() as usize);
    for y in 0..target_size.height {
        let in_source = source_from_target * Point::new(0.0, f64::from(y) + 0.5);
        match index(in_source.y, source_size.height) {
            None => target.extend(std::iter::repeat_n(outside, target_size.width as usize)),
            Some(row) => {
                let width = source_size.width as usize;
                let source_row = &source[row * width..(row + 1) * width];
                target.extend(source_columns.iter().map(|column| column.map_or(outside, |x| source_row[x])));
            }
        }
    }
    Some(target)
}

#[cfg(test)]
mod tests;
