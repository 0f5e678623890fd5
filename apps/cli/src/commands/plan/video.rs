//! A video, or a sequence by its pattern, whose objects are to be followed, or in whose frames everything is to be found.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use samovar::forecast::{Beside, Forecast, Job, Queued, job_bytes, unbounded_pool_bytes};
use samovar::media::ImageMetadata;
use samovar::media::image::Orientation;
use samovar::media::video::{Direction, FrameSource};
use samovar::memory::{bytes, bytes_needed};
use samovar::tracking::TrackForecast;
use samovar::{Engine, Image, PictureBytes, PictureUse, Size};
use serde_json::{Value, json};

use super::queue::{self, Way, program_bytes};

use crate::commands::track::memory;
use crate::frames::{self, RangeArgs};
use crate::planned::Planned;

/// What is written of frames that are followed, by the names of the report.
const USES: [(&str, PictureUse); 3] = [
    ("masks", PictureUse::Masks),
    ("label maps, cut-outs", PictureUse::CutOut),
    ("overlays", PictureUse::Overlay),
];

/// What it takes.
pub(super) struct Video {
    size: Size<Image>,
    frames: Option<u64>,
    objects: usize,
    /// For each use, forward, and backward too.
    uses: Vec<(&'static str, [TrackForecast; 2])>,
    /// For each use, where its frames are pictures of a list.
    everything: Vec<(&'static str, Forecast)>,
}

impl Video {
    pub(super) fn of(
        path: &Path,
        engine: &Engine,
        model: &Planned,
        way: Way,
        objects: usize,
    ) -> Result<Self> {
        let block_bytes = memory::block_bytes(engine);
        let limits = engine.decode_limits();
        let source = frames::open(path, &RangeArgs::ALL, limits, None, Some(block_bytes))?;
        let cached_bytes = way.cached_bytes(&model.plan, expected(&*source));
        let of = |(name, made)| {
            let [there, back] = [&[Direction::Forward][..], &[Direction::Forward, Direction::Backward]]
                .map(|ways| memory::forecast(engine, model, &*source, ways, objects, made));
            let kept = |forecast: TrackForecast| forecast.with_features(cached_bytes, engine.budget_bytes());
            Ok((name, [kept(there?), kept(back?)]))
        };
        let uses = USES.into_iter().map(of).collect::<Result<_>>()?;
        let everything = everything(&*source, engine, model, way)?;
        Ok(Self { size: source.size(), frames: source.expected_frames(), objects, uses, everything })
    }

    pub(super) fn document(&self) -> Value {
        let of = |[forward, both]: &[TrackForecast; 2]| {
            json!({
                "least_bytes": forward.least_bytes, "forward_peak_bytes": forward.peak_bytes,
                "both_peak_bytes": both.peak_bytes,
            })
        };
        let uses = self.uses.iter().map(|(name, forecasts)| ((*name).to_owned(), of(forecasts)));
        let everything = self.everything.iter().map(|(name, forecast)| {
            let least_bytes = forecast.largest.as_ref().map(|largest| largest.needed_bytes);
            let value = json!({
                "least_bytes": least_bytes, "frames_at_once": forecast.at_once, "peak_bytes": forecast.peak_bytes,
            });
            ((*name).to_owned(), value)
        });
        json!({
            "width": self.size.width, "height": self.size.height, "frames": self.frames, "objects": self.objects,
            "for": uses.collect::<serde_json::Map<_, _>>(),
            "everything": everything.collect::<serde_json::Map<_, _>>(),
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
            let [least, there, back] = [forward.least_bytes, forward.peak_bytes, both.peak_bytes]
                .map(|n| bytes_needed(n).to_string());
            let fits = if forward.least_bytes <= budget_bytes { "" } else { "   does not fit" };
            writeln!(out, "{name:22} {least:>9} {there:>9} {back:>14}{fits}")?;
        }
        writeln!(out, "\n`everything` on its frames, with {}", bytes(budget_bytes))?;
        writeln!(out, "{:22} {:>9} {:>9} {:>14}", "for", "least", "at once", "everything")?;
        for (name, forecast) in &self.everything {
            let Some(largest) = &forecast.largest else { continue };
            let [least, peak] =
                [largest.needed_bytes, forecast.peak_bytes].map(|n| bytes_needed(n).to_string());
            let fits = if forecast.carries_all() { "" } else { "   does not fit" };
            writeln!(out, "{name:22} {least:>9} {:>9} {peak:>14}{fits}", forecast.at_once)?;
        }
        Ok(())
    }
}

/// How many frames there are, as far as is known before they are decoded.
fn expected(source: &dyn FrameSource) -> usize {
    source.expected_frames().map_or(1, |frames| usize::try_from(frames).unwrap_or(usize::MAX))
}

/// What finding everything in the frames takes, for each use.
fn everything(
    source: &dyn FrameSource,
    engine: &Engine,
    model: &Planned,
    way: Way,
) -> Result<Vec<(&'static str, Forecast)>> {
    let Planned { config, precision, plan, .. } = model;
    let program = program_bytes(engine);
    let frames = expected(source);
    let job = if program > 0 { job_bytes(frames) } else { 0 };
    let pool_bytes =
        unbounded_pool_bytes(engine.device(), config, *precision, Job::Everything { clicks: way.clicks })?;
    let beside = Beside {
        pool_bytes,
        cached_bytes: way.cached_bytes(plan, frames),
        process_bytes: program.saturating_add(job).saturating_add(frames::ahead_bytes(source)),
    };
    let size = source.size();
    let header = ImageMetadata {
        size,
        format: None,
        orientation: Orientation::NoTransforms,
        decoding_bytes: 0,
        pixel_bytes: size.area().saturating_mul(3),
    };
    let of = |(name, made): (&'static str, PictureUse)| {
        let frame = Queued {
            name: format!("a frame of {size}"),
            needs: PictureBytes::of(&header, queue::everything_of(config, made)),
        };
        let under_way = vec![frame; way.at_once.0.min(frames).max(1)];
        (name, Forecast::of(plan, beside, engine.budget_bytes(), &under_way, way.at_once))
    };
    Ok(queue::USES.into_iter().map(of).collect())
}
