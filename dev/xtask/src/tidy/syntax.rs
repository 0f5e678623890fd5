//! The Rust of a crate as the checks need it: modules, what code names, and which file defines that.

mod modules;
mod names;

pub(super) use modules::Crate;
pub(super) use names::{Edges, Naming, edges, written_out};
