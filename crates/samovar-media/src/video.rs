//! Frames of videos and image sequences, one at a time, however long the shot is.
//!
//! A [`FrameSource`] gives frames in either direction from any frame on. Frames have the shot's own numbers: 1001 for
//! `shot.1001.png`. Nothing is kept of what was given, and no more than a few frames are decoded ahead.
//!
//! | what | source |
//! |---|---|
//! | a folder, `shot.####.png`, `shot.%04d.png` | [`Sequence`] |
//! | pictures in memory | [`FramesInMemory`] |

mod ahead;
mod sequence;
mod source;

pub use sequence::{Sequence, is_pattern};
pub use source::{Direction, Frame, FrameNumber, FrameSource, FramesInMemory};
