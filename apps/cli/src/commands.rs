//! One file per command.

pub mod bench;
pub mod cache;
pub mod config;
pub mod doctor;
pub mod eval;
pub mod everything;
pub mod forward;
pub mod job;
pub mod models;
pub mod pipeline;
pub mod plan;
pub mod profile;
pub mod quantize;
pub mod segment;
pub mod top;
pub mod track;
