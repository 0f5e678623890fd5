//! One file per command.

pub mod bench;
pub mod forward;
pub mod models;
pub mod plan;
pub mod profile;
pub mod segment;
