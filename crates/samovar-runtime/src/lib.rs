//! All state: devices, sessions, pre- and post-processing, automatic masks, profiling.

pub mod hub;
