//! Objects through a video or a sequence: what is prompted on some frames is followed through the others.
//!
//! ```text
//! Model ── open_video(frames) ── Shot ── prompt(frame, object, …) ── propagate(direction) ── TrackedFrame ── masks
//! ```
//!
//! | module | what |
//! |---|---|
//! | `shot` | [`Shot`]: prompts, what of them reaches which frame, and the walk through the frames |
//! | `carrier` | what follows objects from frame to frame: one trait for models with a memory and without |
//! | `carried` | for models without: masks carried by optical flow, and asked anew in a crop |
//! | `appearance` | what an object looks like to the encoder, for those that have no other memory |
//! | `remembering` | for models with a memory (SAM 2): `bank` keeps it, `step` is one object on one frame |
//! | [`upstream`] | the same as SAM 2's own predictor does it, for comparisons |
//! | `logits_file` | what upstream's predictor finds, as numbers in a file |
//! | `tracked` | what is found of objects in a frame |
//! | `patch` | the map that is carried |
//! | `mask` | [`TrackedMask`]: a mask in a frame, and the logits it was drawn from |
//! | `reach` | which frames a prompt can change, and where a later run can go on |
//! | `log` | what was found, in a file |
//! | `needs`, `forecast` | what a shot takes of memory beside the model, and with it |
//! | `signals` | frames to look at |
//! | `overlap` | masks that share no pixel, without holes and islands |

mod appearance;
mod asked;
mod bank;
mod carried;
mod carrier;
mod forecast;
mod log;
mod logits_file;
mod mask;
mod needs;
mod overlap;
mod patch;
mod reach;
mod remembering;
mod shot;
mod signals;
mod standing;
mod step;
mod tracked;
pub mod upstream;
mod view;

pub use carrier::ObjectId;
pub use forecast::TrackForecast;
pub use logits_file::write_logits;
pub use mask::TrackedMask;
pub use needs::ShotNeeds;
pub use overlap::MaskRules;
pub use shot::{Direction, FrameKeys, MAX_OBJECTS, Propagation, Shot, ShotOptions};
pub use signals::{Seen, Signal, SignalKind, SignalSummary, Signals};
pub use tracked::{News, TrackedFrame, TrackedObject};
