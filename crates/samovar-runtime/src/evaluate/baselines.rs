//! What needs no model: a flood fill, and the box itself.

use samovar_geometry::Size;
use samovar_media::{BitMask, RgbImage};

/// Levels by which each channel may differ from the click's colour.
pub(super) const TOLERANCE: u8 = 24;

/// The pixels connected to (`x`, `y`) by sides whose every channel is within [`TOLERANCE`] of the colour there; OpenCV's
/// `floodFill` with a fixed range. Empty for a seed outside the picture.
pub(super) fn flood_fill(image: &RgbImage, x: u32, y: u32) -> BitMask {
    let (width, height) = (image.width(), image.height());
    let mut filled = BitMask::new(Size::new(width, height));
    if x >= width || y >= height {
        return filled;
    }
    let seed = image.pixel(x, y);
    let alike = |x: u32, y: u32| {
        let pixel = image.pixel(x, y);
        pixel.iter().zip(seed).all(|(a, b)| a.abs_diff(b) <= TOLERANCE)
    };
    // Run by run: a run is filled when it is taken, and what touches it above and below is looked at once.
    let mut seeds = vec![(x, y)];
    while let Some((x, y)) = seeds.pop() {
        if filled.get(x, y) {
            continue;
        }
        let mut x0 = x;
        while x0 > 0 && alike(x0 - 1, y) {
            x0 -= 1;
        }
        let mut x1 = x + 1;
        while x1 < width && alike(x1, y) {
            x1 += 1;
        }
        filled.set_run(y, x0, x1);
        for next in [y.checked_sub(1), Some(y + 1).filter(|&next| next < height)].into_iter().flatten() {
            let mut inside = false;
            for x in x0..x1 {
                let open = alike(x, next) && !filled.get(x, next);
                if open && !inside {
                    seeds.push((x, next));
                }
                inside = open;
            }
        }
    }
    filled
}

/// The box `[x0, y0, x1, y1]`, half-open, as a mask.
pub(super) fn filled_box(size: Size<samovar_geometry::Image>, [x0, y0, x1, y1]: [u32; 4]) -> BitMask {
    let mut mask = BitMask::new(size);
    (y0..y1.min(size.height)).for_each(|y| mask.set_run(y, x0, x1));
    mask
}
