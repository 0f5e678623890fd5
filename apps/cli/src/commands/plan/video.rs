//! A video, or a sequence by its pattern, whose objects are to be followed.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use samovar::media::video::Direction;
use samovar::memory::bytes;
use samovar::tracking::TrackForecast;
use samovar::{Engine, Image, PictureUse, Size};
use serde_json::{Value, json};

use crate::commands::track::memory;
use crate::frames::{self, RangeArgs};
use crate::planned::Planned;

/// What is written of frames, by the names of the report.
const USES: [(&str, PictureUse); 3] = [
    ("masks", PictureUse::Masks),
    ("label maps, cut-outs", PictureUse::CutOut),
    ("overlays", PictureUse::Overlay),
];

/// What following objects through it takes.
pub(super) struct Video {
    size: Size<Image>,
    frames: Option<u64>,
    objects: usize,
    /// For each use, forward, and backward too.
    uses: Vec<(&'static str, [TrackForecast; 2])>,
}

impl Video {
    pub(super) fn of(path: &Path, engine: &Engine, model: &Planned, objects: usize) -> Result<Self> {
        let block_bytes = memory::block_bytes(engine);
        let limits = engine.decode_limits();
        let source = frames::open(path, &RangeArgs::ALL, limits, None, Some(block_bytes))?;
        let of = |(name, made)| {
            let [there, back] = [&[Direction::Forward][..], &[Direction::Forward, Direction::Backward]]
                .map(|ways| memory::forecast(engine, model, &*source, ways, objects, made));
            Ok((name, [there?, back?]))
        };
        let uses = USES.into_iter().map(of).collect::<Result<_>>()?;
        Ok(Self { size: source.size(), frames: source.expected_frames(), objects, uses })
    }

    pub(super) fn document(&self) -> Value {
        let of = |[forward, both]: &[TrackForecast; 2]| {
            json!({
                "least_bytes": forward.least_bytes, "forward_peak_bytes": forward.peak_bytes,
                "both_peak_bytes": both.peak_bytes,
            })
        };
        let uses = self.uses.iter().map(|(name, forecasts)| ((*name).to_owned(), of(forecasts)));
        json!({
            "width": self.size.width, "height": self.size.height, "frames": self.frames, "objects": self.objects,
            "for": uses.collect::<serde_json::Map<_, _>>(),
        })
    }

    pub(super) fn write(&self, out: &mut dyn Write, budget_bytes: usize) -> Result<()> {
        let objects =
            if self.objects == 1 { "1 object".to_owned() } else { format!("{} objects", self.objects) };
        writeln!(
            out,
            "\n`track` with {objects} through frames of {}, however many, with {}",
            self.size,
            bytes(budget_bytes)
        )?;
        writeln!(out, "{:22} {:>9} {:>9} {:>14}", "for", "least", "forward", "both ways")?;
        for (name, [forward, both]) in &self.uses {
            let [least, there, back] =
                [forward.least_bytes, forward.peak_bytes, both.peak_bytes].map(|n| bytes(n).to_string());
            let fits = if forward.least_bytes <= budget_bytes { "" } else { "   does not fit" };
            writeln!(out, "{name:22} {least:>9} {there:>9} {back:>14}{fits}")?;
        }
        Ok(())
    }
}
