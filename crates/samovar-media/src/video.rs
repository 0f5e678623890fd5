//! Frames of videos and image sequences, one at a time, however long the shot is.
//!
//! A [`FrameSource`] gives frames in either direction from any frame on. Frames have the shot's own numbers: 1001 for
//! `shot.1001.png`. Nothing is kept of what was given, and no more than a few frames are decoded ahead.
//!
//! | what | source |
//! |---|---|
//! | a folder, `shot.####.png`, `shot.%04d.png` | [`Sequence`] |
//! | a video that the system's `ffmpeg` reads | [`VideoFile`], both ways as [`Reversed`] |
//! | pictures in memory | [`FramesInMemory`] |
//!
//! [`open`] tells them apart, and takes the part that a [`FrameRange`] selects. [`Skipping`] goes on behind damage, and
//! [`write_video`] has ffmpeg write frames.

mod ahead;
#[cfg(test)]
mod clips;
mod ffmpeg;
mod frame_notes;
mod matroska;
mod open;
mod process_group;
mod range;
mod reversed;
mod sequence;
mod skipping;
mod source;
mod writer;

pub use ffmpeg::VideoFile;
pub use frame_notes::FrameNotes;
pub use open::{VideoOptions, is_video, open};
pub use range::{FrameRange, Ranged};
pub use reversed::Reversed;
pub use sequence::{Sequence, is_pattern};
pub use skipping::{Skipped, Skipping};
pub use source::{Direction, Frame, FrameNumber, FrameSource, FramesInMemory};
pub use writer::{VideoWriter, check_video, write_video};
