//! Dense optical flow: for every pixel of one picture where it is in another.
//!
//! [`DenseFlow`] is Dense Inverse Search (Kroeger, Timofte, Dai, Van Gool, "Fast Optical Flow using Dense Inverse
//! Search", ECCV 2016) with the numbers of the `medium` preset of OpenCV's `DISOpticalFlow`: patches of 8x8 pixels, 3
//! apart, from half the picture's size down; brightness of a patch does not matter. Sizes and displacements are those of
//! the frame [`Motion`](samovar_geometry::Motion), the reduced picture that is looked at.
//!
//! ```
//! use samovar_geometry::{Motion, Size};
//! use samovar_media::{DenseFlow, Grey, RgbImage};
//!
//! let picture = |shift: u32| RgbImage::from_fn(Size::new(96, 64), |x, y| [((x + shift) / 8 * 37 + y / 8 * 91) as u8; 3]);
//! let [previous, next] = [0, 2].map(|shift| Grey::of(&picture(shift), Size::<Motion>::new(854, 480), 1).unwrap());
//! // Where the pixels of the next frame come from.
//! let flow = DenseFlow::new().between(&next, &previous)?;
//! assert_eq!((flow.u.len(), flow.v.len()), (96 * 64, 96 * 64));
//! # Ok::<(), samovar_media::MediaError>(())
//! ```

mod dis;
mod field;
mod grey;
mod patches;
mod pyramid;

pub use dis::DenseFlow;
pub use field::Flow;
pub use grey::Grey;

#[cfg(test)]
mod tests;
