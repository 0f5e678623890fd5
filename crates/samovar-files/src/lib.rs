//! Files that appear whole or not at all, stay after a power cut, and replace nothing but files.
//!
//! ```text
//! check_place ── may something be written here? ──┐
//! AtomicFile ─── written under another name ──────┼── synced, renamed, folder synced
//! Group ──────── many of them, synced together ───┘
//! sweep ──────── what writers that were killed left behind
//! ```
//!
//! The other name is in the same folder, because a rename between file systems is a copy, and a copy can stop half-way.
//! It is new for every file ever begun, so what a killed writer left never stands in the way of the next one. Writers
//! hold a lock on what they write, and a lock ends with its process, however that ends: [`sweep`] removes exactly what
//! nobody holds.
//!
//! ```
//! use std::io::Write;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("mask.json");
//! let mut file = samovar_files::AtomicFile::create(&path)?;
//! file.write_all(b"{}")?;
//! assert!(!path.exists());
//! file.commit()?;
//! assert_eq!(std::fs::read(&path)?, b"{}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod atomic;
mod durable;
mod error;
mod folder;
mod group;
mod place;
mod temporary;

pub use atomic::{AtomicFile, move_into_place, write_atomically, write_bytes};
pub use error::{Error, ErrorKind, Result};
pub use folder::make_folder;
pub use group::{Group, sync_folders};
pub use place::check_place;
pub use temporary::{replace_with, sweep, sweep_beside};
