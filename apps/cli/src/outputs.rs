//! Places from the command line that results go to.

use std::path::Path;

use anyhow::Result;
use samovar::files::{self, ErrorKind, Group};

use crate::failure::usage;
use crate::inputs::Sources;

/// Most files that wait to be put in place together; each is open.
const MAX_GROUP: usize = 64;

/// Refuses places where no file can be written, or where one would take the place of what it is made from, before time is
/// spent on what would go there. `takes` says what the option takes instead.
pub fn check_place(out: &Path, takes: &str, sources: &Sources) -> Result<()> {
    match files::check_place(out) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotAFile => {
            let shown = out.display();
            return Err(usage(format!("\"{shown}\": {}; {takes}", error.what())));
        }
        Err(error) => return Err(error.into()),
    }
    sources.check_file(out)
}

/// Takes one more file of an image. They are made durable together, which costs less than one by one.
pub fn add_file(group: &mut Group, out: &Path, bytes: &[u8]) -> Result<()> {
    group.write(out, bytes)?;
    if group.len() >= MAX_GROUP {
        std::mem::take(group).commit()?;
    }
    Ok(())
}
