//! From the decoder's low-resolution logits to the user's image, in one streaming pass.
//!
//! Upstream enlarges the logits to the input square, cuts off the padding, enlarges again to the image and only then
//! thresholds; for 3,072 masks of one picture that is 24 GiB of floats. Both enlargements are bilinear, so together
//! they are one: each image row is a weighted sum of at most three grid rows, each pixel of at most three columns.
//! The weights are made from torch's own `f32` interpolation weights, so the values differ from upstream's only in
//! the order of additions (a few units in the last place).
//!
//! And bilinear values lie between the smallest and the largest logit they are made of. So for each 64 pixels of a
//! row the logits involved are looked at first; where all are clearly on one side of the thresholds, which is nearly
//! everywhere, no pixel is computed at all.

mod axis;
mod bounds;
mod soft;
mod upscaler;

pub use soft::AlphaMask;
pub use upscaler::{MeasuredMask, PreparedLogits, Upscaler};

#[cfg(test)]
mod tests;
