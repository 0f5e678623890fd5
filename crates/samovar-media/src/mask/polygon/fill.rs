//! Polygons to pixels: a pixel is set if its centre is inside (even-odd rule over all rings).

use samovar_geometry::{Image, Point, Size};

use super::ring::Polygon;
use crate::error::{MediaError, Result};
use crate::mask::bits::BitMask;

/// The mask of the pixels whose centres lie inside an odd number of rings: holes are holes however they run. What
/// lies outside the image is cut off. Refuses coordinates that are not finite.
pub fn fill_polygons(polygons: &[Polygon], size: Size<Image>) -> Result<BitMask> {
    let mut mask = BitMask::new(size);
    for ring in polygons.iter().flat_map(Polygon::rings) {
        if !ring.iter().all(|point| point.is_finite()) {
            return Err(MediaError::damaged("a polygon has a coordinate that is not a finite number"));
        }
        let mut before = ring.last().copied().unwrap_or_default();
        for &point in ring {
            mark_crossings(&mut mask, before, point);
            before = point;
        }
    }
    for y in 0..size.height {
        fill_between_marks(mask.row_mut(y), size.width);
    }
    Ok(mask)
}

/// In every row whose centre line the edge crosses, flips the first pixel whose centre is right of the crossing.
fn mark_crossings(mask: &mut BitMask, a: Point<Image>, b: Point<Image>) {
    let (top, bottom) = if a.y <= b.y { (a, b) } else { (b, a) };
    let (width, height) = (f64::from(mask.width()), f64::from(mask.height()));
    // Rows with top.y <= y + 0.5 < bottom.y, within the image.
    let first = (top.y - 0.5).ceil().clamp(0.0, height) as u32;
    let end = (bottom.y - 0.5).ceil().clamp(0.0, height) as u32;
    let slope = (bottom.x - top.x) / (bottom.y - top.y);
    for y in first..end {
        let x = top.x + (f64::from(y) + 0.5 - top.y) * slope;
        let pixel = (x - 0.5).ceil().clamp(0.0, width);
        if pixel < width {
            let x = pixel as u32;
            mask.row_mut(y)[x as usize / 64] ^= 1 << (x % 64);
        }
    }
}

/// Each bit becomes the parity of all bits up to it.
fn fill_between_marks(row: &mut [u64], width: u32) {
    let mut inside = 0u64;
    for word in row.iter_mut() {
        let mut parity = *word;
        for shift in [1, 2, 4, 8, 16, 32] {
            parity ^= parity << shift;
        }
        *word = parity ^ inside;
        inside = if *word >> 63 == 1 { !0 } else { 0 };
    }
    let beyond = row.len() as u32 * 64 - width;
    if let Some(last) = row.last_mut() {
        *last &= !0 >> beyond;
    }
}
