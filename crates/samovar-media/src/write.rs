//! Writers: pictures and annotations, each file whole or not at all.

mod coco;
mod overlay;
mod png;

pub use coco::{
    CocoAnnotation, CocoCategory, CocoDataset, CocoImage, CocoSegmentation, PolygonFile, PolygonPiece,
    polygon_file, write_json,
};
pub use overlay::{Overlay, OverlayStyle, draw_overlay, palette_colour};
pub use png::{
    Png, cut_out, encode_cut_out_png, encode_label_png, encode_mask_png, encode_rgb_png, write_cut_out_png,
    write_label_png, write_mask_png, write_rgb_png,
};
