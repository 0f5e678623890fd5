//! Points, boxes and sizes, each typed by the frame it lives in, and the transforms between frames.
//!
//! A coordinate without its frame is the classic bug of segmentation tools: a click in window pixels read as image
//! pixels, a resized height read as the original one. Here the frame is part of the type, so `Point<Image>` cannot be
//! handed to something that wants `Point<Input>`, and names read as the arithmetic does:
//!
//! ```
//! use samovar_geometry::{Image, Point, ResizeRule, Size};
//!
//! let image_size = Size::<Image>::new(1920, 1080);
//! let rule = ResizeRule::LongestSide { target: 1024 };
//! let input_from_image = rule.input_from_image(image_size);
//! let point_in_input = input_from_image * Point::<Image>::new(960.0, 540.0);
//! assert_eq!((point_in_input.x, point_in_input.y), (512.0, 288.0));
//! ```
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`frame`] | the five frames and the trait that names them |
//! | [`shapes`] | [`Point`], [`Box2`], [`Size`] |
//! | [`transform`] | [`Transform`]: scale and offset per axis, composed and inverted by type |
//! | [`resize_rule`] | [`ResizeRule`]: how an image becomes a model's input square |
//! | [`scaling`] | [`ScalingManager`]: display, image and input coordinates in one place |
//!
//! # Pixel centres
//!
//! Coordinates are continuous with the origin at the *corner* of the first pixel: the pixel in column 0 covers
//! `0.0..1.0` and its centre is at 0.5. Prompts however arrive as upstream takes them, as pixel indices: the half-pixel
//! shift is added once, inside the prompt encoder (`coords + 0.5`), *after* scaling to the input frame. Nothing in this
//! crate adds it, so a prompt passes through exactly as `ResizeLongestSide.apply_coords` sends it.
//!
//! Numbers are `f64`, as in upstream's NumPy code; they become `f32` when they enter a tensor.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod frame;
pub mod resize_rule;
pub mod scaling;
pub mod shapes;
pub mod transform;

pub use frame::{Display, Frame, Grid, Image, Input, Motion};
pub use resize_rule::ResizeRule;
pub use scaling::{ScalingManager, resample_nearest};
pub use shapes::{Box2, Point, Size};
pub use transform::Transform;
