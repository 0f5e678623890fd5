//! Repository chores: the tidy check of the architecture.
//!
//! [`tidy`] looks at the whole repository and returns what is wrong with it; `cargo test --workspace` fails on any
//! finding, and `cargo run -p xtask -- tidy` prints the same list. What each check wants is a table or a number at the
//! top of its file.

mod tidy;

pub use tidy::{Finding, repository_root, tidy};
