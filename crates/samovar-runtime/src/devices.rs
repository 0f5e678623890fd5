//! Devices that can compute: the processors, and graphics cards by way of their drivers.
//!
//! ```text
//! "vulkan:1" ── DeviceChoice ── open ── (what the driver lists, certificate of the card) ── Engine
//! ```
//!
//! `auto` takes the best card that computes what the processors compute, and faster, as its [`DeviceCertificate`] says; the first use of
//! a card makes that. Drivers that compute on the processors are for tests and taken only when they are asked for.

mod agreement;
mod certificate;
mod choice;
mod list;
mod open;
mod speed;

pub use agreement::Agreement;
pub use certificate::DeviceCertificate;
pub use choice::{Api, DeviceChoice};
pub use list::{DeviceKind, DeviceList, DeviceReport, has_card, list};
pub use open::{Opened, Opening, measure, open};
pub use speed::Speed;
