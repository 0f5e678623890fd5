//! Where the generator looks: crops of the image and points in each. From `segment_anything/utils/amg.py`.

use samovar_geometry::{Box2, Image, Point, Size};

use super::AutomaticOptions;

/// How near to a crop's edge, in pixels, a mask counts as cut off by it.
const CROP_EDGE_TOLERANCE: f64 = 20.0;

/// A part of the image that is segmented on its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crop {
    /// First column.
    pub x0: u32,
    /// First row.
    pub y0: u32,
    /// Size.
    pub size: Size<Image>,
    /// Layer: 0 for the whole image.
    pub layer: usize,
}

impl Crop {
    /// The crop in the image, half-open.
    pub fn bounds(&self) -> Box2<Image> {
        let (x0, y0) = (f64::from(self.x0), f64::from(self.y0));
        Box2::new(x0, y0, x0 + f64::from(self.size.width), y0 + f64::from(self.size.height))
    }

    /// A box of the crop in the image.
    pub(super) fn box_in_image(&self, in_crop: Box2<Image>) -> Box2<Image> {
        let (x, y) = (f64::from(self.x0), f64::from(self.y0));
        Box2::new(in_crop.x0 + x, in_crop.y0 + y, in_crop.x1 + x, in_crop.y1 + y)
    }

    /// A point of the crop in the image.
    pub(super) fn point_in_image(&self, in_crop: Point<Image>) -> Point<Image> {
        Point::new(in_crop.x + f64::from(self.x0), in_crop.y + f64::from(self.y0))
    }

    /// Whether a box (of the image) ends at an edge of the crop that is no edge of the image: its mask is most likely
    /// cut off there, and another crop has the whole of it.
    pub(super) fn cuts(&self, bounds: Box2<Image>, image: Size<Image>) -> bool {
        let edges = |b: Box2<Image>| [b.x0, b.y0, b.x1, b.y1];
        let (crop, image) = (edges(self.bounds()), edges(Box2::whole(image)));
        let near = |a: f64, b: f64| (a - b).abs() <= CROP_EDGE_TOLERANCE;
        edges(bounds)
            .iter()
            .zip(crop)
            .zip(image)
            .any(|((&edge, crop), image)| near(edge, crop) && !near(edge, image))
    }
}

/// The whole image, then its crops, layer by layer, column by column.
pub(super) fn crops(image: Size<Image>, layers: usize, overlap_ratio: f64) -> Vec<Crop> {
    let mut crops = vec![Crop { x0: 0, y0: 0, size: image, layer: 0 }];
    let short_side = f64::from(image.width.min(image.height));
    for layer in 1..=layers {
        let per_side = 1u32 << layer;
        let overlap = (overlap_ratio * short_side * (2.0 / f64::from(per_side))) as u64;
        let length =
            |side: u32| (overlap * u64::from(per_side - 1) + u64::from(side)).div_ceil(u64::from(per_side));
        let starts = |side: u32| {
            let step = length(side) - overlap.min(length(side));
            (0..u64::from(per_side)).map(move |i| i * step)
        };
        for x0 in starts(image.width) {
            for y0 in starts(image.height) {
                let x1 = (x0 + length(image.width)).min(u64::from(image.width));
                let y1 = (y0 + length(image.height)).min(u64::from(image.height));
                // Images of fewer pixels than crops leave some without any; upstream fails there.
                if x0 < x1 && y0 < y1 {
                    let size = Size::new((x1 - x0) as u32, (y1 - y0) as u32);
                    crops.push(Crop { x0: x0 as u32, y0: y0 as u32, size, layer });
                }
            }
        }
    }
    crops
}

/// The points of a layer of crops, as shares of the crop's sides, row by row.
pub(super) fn points(options: &AutomaticOptions, layer: usize) -> Vec<[f64; 2]> {
    if let Some(grids) = &options.point_grids {
        return grids.get(layer).cloned().unwrap_or_default();
    }
    let per_side = options.points_of_layer(layer);
    let first = 1.0 / (2 * per_side.max(1)) as f64;
    let last = 1.0 - first;
    let step = (last - first) / (per_side.max(2) - 1) as f64;
    // As numpy's linspace, to the last bit.
    let place = |i: usize| if i > 0 && i + 1 == per_side { last } else { i as f64 * step + first };
    let along: Vec<f64> = (0..per_side).map(place).collect();
    along.iter().flat_map(|&y| along.iter().map(move |&x| [x, y])).collect()
}
