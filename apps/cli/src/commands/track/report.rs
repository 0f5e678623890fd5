//! What `track` tells at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use samovar::media::video::FrameNumber;
use samovar::tracking::{News, ObjectId, Seen, Signal, SignalSummary, Signals, TrackedFrame};
use serde_json::{Value, json};

use super::args::Args;
use super::output::Output;
use super::shown::Sighted;
use crate::commands::segment::print;

/// Signals that are kept of one run.
const MOST_SIGNALS: usize = 1000;
/// Signals that are told at its end.
const TOLD_SIGNALS: usize = 5;

/// Frames in which something was computed; those that are walked through backward first are heard twice.
#[derive(Default)]
pub struct NewFrames {
    /// With masks that are others than an earlier run's.
    changed: BTreeSet<FrameNumber>,
    /// With masks that were not known.
    found: BTreeSet<FrameNumber>,
}

impl NewFrames {
    pub fn hear(&mut self, frame: &TrackedFrame) {
        let any = |news: News| frame.objects.iter().any(|object| object.news == news);
        if any(News::Changed) {
            self.changed.insert(frame.number);
        }
        if any(News::Found) {
            self.found.insert(frame.number);
        }
    }

    fn count(&self) -> usize {
        self.changed.union(&self.found).count()
    }
}

/// What is told at the end.
pub struct Report {
    pub signals: SignalSummary,
    pub new: NewFrames,
    /// Frames that were walked through.
    pub walked: usize,
    now: Signals,
}

impl Report {
    pub fn new() -> Self {
        Self {
            signals: SignalSummary::new(MOST_SIGNALS),
            new: NewFrames::default(),
            walked: 0,
            now: Signals::new(),
        }
    }

    /// Takes a frame, and tells what in it should be looked at.
    pub fn take(&mut self, frame: &TrackedFrame) -> Vec<Signal> {
        self.walked += 1;
        let seen: Vec<Seen> = frame.objects.iter().map(Seen::from).collect();
        self.new.hear(frame);
        self.now.take(frame.number, &seen)
    }

    pub fn say(
        &self,
        args: &Args,
        output: &Output,
        results: &Path,
        took: Duration,
        unread: &BTreeMap<FrameNumber, String>,
    ) -> Result<()> {
        let (objects, changed, frames) = (output.sighted(), output.changed(), output.given().len());
        if args.json {
            let one = |(object, seen): (&ObjectId, &Sighted)| {
                let mut one = json!({ "object": object, "frames": seen.frames, "visible": seen.visible });
                if let Some(label) = output.labels().get(object) {
                    one["label"] = label.as_str().into();
                }
                one
            };
            return print(&json!({
                "frames": frames, "found": self.new.found.len(), "changed": changed, "files": output.files,
                "removed": output.removed(), "removed_objects": output.removed_objects(), "objects": objects.iter().map(one).collect::<Vec<Value>>(),
                "signals": self.signals.signals(), "results": results, "seconds": took.as_secs_f64(),
                "preview": args.preview, "unread": unread,
            }));
        }
        for (object, seen) in &objects {
            say!("object {object}: seen in {} of {} frames", seen.visible, seen.frames);
        }
        let worst = self.signals.signals();
        if !worst.is_empty() {
            say!(
                "{} frames to look at, the worst first (--signals FILE.json has all):",
                self.signals.total()
            );
            for signal in worst.iter().take(TOLD_SIGNALS) {
                say!("  frame {}: {}", signal.frame, signal.words);
            }
        }
        if !changed.is_empty() {
            say!("changed: frames {}", ranges(&changed));
        }
        if !output.removed().is_empty() {
            say!(
                "removed: what earlier runs found and this command does not, frames {}",
                ranges(output.removed())
            );
        }
        for (object, frames) in output.removed_objects() {
            say!("removed: object {object}, which this command does not have, frames {}", ranges(frames));
        }
        let rate = self.walked as f64 / took.as_secs_f64().max(1e-9);
        let how = match frames.saturating_sub(self.walked) {
            0 => format!("({rate:.1} a second)"),
            1 => "(1 was known)".to_owned(),
            known => format!("({known} were known)"),
        };
        let of = if frames == 1 { "frame" } else { "frames" };
        say!("{frames} {of} {how}, {} with new masks; results in {}", self.new.count(), results.display());
        Ok(())
    }
}

/// 3-5, 9.
pub fn ranges(frames: &BTreeSet<FrameNumber>) -> String {
    let frames: Vec<FrameNumber> = frames.iter().copied().collect();
    let parts = frames.chunk_by(|a, b| b - a == 1).map(|run| match run {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    });
    parts.collect::<Vec<_>>().join(", ")
}
