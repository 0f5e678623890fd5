//! One JSON document that is written while it comes about, so that it takes no memory however many masks there are.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use samovar::evaluate::{Evaluation, MaskFigures};
use serde_json::json;

/// `{"per_mask": [...], ...}`: the masks as they come, then what is known at the end.
pub struct Document<W: Write> {
    out: BufWriter<W>,
    has_masks: bool,
    failure: Option<io::Error>,
}

impl<W: Write> Document<W> {
    pub fn new(out: W) -> Self {
        Self { out: BufWriter::new(out), has_masks: false, failure: None }
    }

    /// Writes a mask's figures; ends the work where that fails, which [`Document::finish`] tells.
    pub fn add(&mut self, mask: &MaskFigures) -> ControlFlow<()> {
        match self.write(mask) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure.get_or_insert(error);
                ControlFlow::Break(())
            }
        }
    }

    fn write(&mut self, mask: &MaskFigures) -> io::Result<()> {
        self.out.write_all(if self.has_masks { b",\n" } else { b"{\"per_mask\": [\n" })?;
        self.has_masks = true;
        serde_json::to_writer(&mut self.out, mask).map_err(io::Error::from)
    }

    /// Ends the document with the means.
    pub fn finish(mut self, found: &Evaluation) -> Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure).context("stdout");
        }
        let rest = serde_json::to_string_pretty(found)?;
        self.end(&rest).context("stdout")
    }

    /// Ends the document with an error, where it was begun: whoever reads it shall be able to.
    pub fn fail(mut self, error: &str) -> Result<()> {
        match self.failure.take() {
            Some(failure) => Err(failure).context("stdout"),
            None if self.has_masks => {
                self.end(&json!({ "complete": false, "error": error }).to_string()).context("stdout")
            }
            None => Ok(()),
        }
    }

    /// Writes the members of an object behind the masks.
    fn end(&mut self, object: &str) -> io::Result<()> {
        let members = object.trim_start().strip_prefix('{').unwrap_or(object);
        self.out.write_all(if self.has_masks { b"\n]," } else { b"{\"per_mask\": []," })?;
        self.out.write_all(members.as_bytes())?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}
