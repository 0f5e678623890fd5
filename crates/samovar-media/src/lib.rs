//! Pixels, masks and annotation formats; knows no tensors.
//!
//! Everything between files and models that is about pictures: decoding within limits, the resize and normalisation
//! that models were trained with, masks as bits, run lengths and outlines, logits enlarged to masks, and files
//! written whole or not at all. Pixels come and go as plain slices of `u8` and `f32`. Nothing here keeps state or
//! logs; functions that can use several threads take their number, and a source of frames has one or two that decode ahead.
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`image`] | [`RgbImage`], decoding within [`DecodeLimits`], [`LazyImage`] |
//! | [`resize`] | Pillow's bilinear resize to the bit; resize and normalise in one pass |
//! | [`mask`] | [`BitMask`], [`Rle`], [`LabelMap`], connected components, suppression, [outlines](mask::polygon) |
//! | [`upscale`] | low-resolution logits to masks and alpha at the image's size |
//! | [`flow`] | where each pixel of a frame went in another, and maps carried along |
//! | [`write`](mod@write) | PNG, overlays, COCO and polygon JSON, atomically |
//! | [`video`] | [`FrameSource`](video::FrameSource): frames of videos and image sequences, one at a time, both ways |
//! | [`segpack`] | reader of picture-and-mask packs for training and evaluation |
//! | [`error`] | [`MediaError`]: what, where, what next |
//!
//! Every parser here is total: whatever the bytes, the answer is a value or an error, never a panic, and nothing is
//! allocated on a file's word alone.

#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod error;
pub mod flow;
#[cfg(test)]
mod golden;
pub mod image;
pub mod mask;
pub mod resize;
mod room;
pub mod segpack;
mod simd;
mod threads;
pub mod upscale;
pub mod video;
pub mod write;

pub use error::{MediaError, MediaErrorKind, Result};
pub use flow::{DenseFlow, Flow, Grey};
pub use image::{
    DecodeLimits, ImageFormat, ImageMetadata, LazyImage, Orientation, RgbImage, decode_bytes, decode_file,
    decode_mask_file,
};
pub use mask::{
    BitMask, Connectivity, LabelMap, Rle, SmallRegions, batched_nms, components_outside,
    connected_components, nms, remove_small_regions,
};
pub use resize::{Normalisation, resize_bilinear, resize_normalise, resize_plane};
pub use upscale::{AlphaMask, MeasuredMask, PreparedLogits, Upscaler};
