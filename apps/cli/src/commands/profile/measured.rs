//! What was measured, per round, beside what this machine could do.

use anyhow::Result;
use samovar::planning::{PROMPTS_AT_ONCE, PromptShape};
use samovar::profile::{Bound, Profiler, Roof, Roofline};
use samovar::tensor::Transfers;
use samovar::{Engine, Model};
use serde_json::{Value, json};

/// Clicks answered together whose activations are shown.
const BATCHES: [usize; 3] = [1, PROMPTS_AT_ONCE, 4 * PROMPTS_AT_ONCE];

/// One operator in one stage, per round.
pub struct Row {
    pub stage: &'static str,
    pub op: &'static str,
    pub calls: u64,
    pub seconds: f64,
    pub operations: f64,
    pub bytes: f64,
    pub roof: Roof,
}

impl Row {
    /// How much of its time is its roof's.
    pub fn share_of_roof(&self) -> f64 {
        self.roof.seconds / self.seconds.max(1e-12)
    }

    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.operations / self.seconds.max(1e-12)
    }
}

/// One stage, per round.
pub struct Stage {
    pub name: &'static str,
    pub seconds: f64,
    /// Of the pool, weights included.
    pub peak_bytes: usize,
    /// Of its operators together.
    pub roof_s: f64,
}

/// Bytes of tensors, as planned: exact.
pub struct Memory {
    /// By type.
    pub weights: Vec<(String, usize)>,
    /// What is live at once beside the weights, all of it f32: by work.
    pub activations: Vec<(String, usize)>,
    pub embedding_bytes: usize,
    pub scratch_bytes: usize,
}

/// A larger difference between two measurements of a ceiling is not that of a quiet machine.
const QUIET: f64 = 0.1;

/// What the machine could do before the rounds, and after them.
pub struct TwoRooflines {
    pub before_rounds: Roofline,
    /// `None` where memory did not allow it.
    pub after_rounds: Option<Roofline>,
    /// What is said of other work on the machine.
    pub busy: Option<String>,
}

impl TwoRooflines {
    fn best(&self) -> Roofline {
        self.after_rounds.map_or(self.before_rounds, |after| self.before_rounds.best(&after))
    }

    fn difference(&self) -> Option<f64> {
        Some(self.before_rounds.difference(self.after_rounds.as_ref()?))
    }

    fn doubts(&self) -> Vec<String> {
        let differ = match self.difference() {
            None => Some(
                "the ceilings were not measured again after the rounds: what is copied for that did not fit beside the model (--memory)"
                    .to_owned(),
            ),
            Some(difference) => (difference > QUIET).then(|| {
            format!(
                "the ceilings before and after the rounds differ by {:.0} %: shares of roofs are as uncertain; measure again on a \
                 quiet machine",
                100.0 * difference
            )
            }),
        };
        differ.into_iter().chain(self.busy.clone()).collect()
    }
}

/// All of it.
pub struct Measured {
    pub model: String,
    pub dtype: String,
    pub threads: usize,
    pub instructions: String,
    /// The better of both measurements.
    pub roofline: Roofline,
    /// By which share both differ.
    pub ceilings_differ_by: Option<f64>,
    /// Why the ceilings may not be those of the machine, in words.
    pub doubts: Vec<String>,
    /// Of a round.
    pub seconds: f64,
    /// In the order of work.
    pub stages: Vec<Stage>,
    /// The longest first.
    pub rows: Vec<Row>,
    pub memory: Memory,
    pub copies: Copies,
}

impl Measured {
    pub fn of(
        engine: &Engine,
        model: &Model,
        profiler: &Profiler,
        ceilings: TwoRooflines,
        copies: Copies,
    ) -> Result<Self> {
        let roofline = ceilings.best();
        let (count, whole) = profiler.rounds();
        let rounds = count.max(1) as f64;
        let rows = profiler.take().into_iter().map(|((stage, op), time)| {
            let roof = roofline.roof(op, &time);
            Row {
                stage,
                op,
                calls: time.calls / count.max(1) as u64,
                seconds: time.duration.as_secs_f64() / rounds,
                operations: time.cost.operations as f64 / rounds,
                bytes: time.cost.bytes as f64 / rounds,
                roof: Roof { seconds: roof.seconds / rounds, ..roof },
            }
        });
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let roof_of =
            |name: &str| rows.iter().filter(|row| row.stage == name).map(|row| row.roof.seconds).sum();
        let stages = profiler.stages().into_iter().map(|stage| Stage {
            name: stage.name,
            seconds: stage.duration.as_secs_f64() / rounds,
            peak_bytes: stage.peak_bytes,
            roof_s: roof_of(stage.name),
        });
        Ok(Self {
            model: model.name().to_owned(),
            dtype: model.precision().to_string(),
            threads: engine.threads(),
            instructions: engine.instructions(),
            roofline,
            ceilings_differ_by: ceilings.difference(),
            doubts: ceilings.doubts(),
            seconds: whole.as_secs_f64() / rounds,
            stages: stages.collect(),
            rows,
            memory: Memory::of(model)?,
            copies,
        })
    }

    /// Time of a round in no stage: between them, and of the host.
    pub fn between_s(&self) -> f64 {
        (self.seconds - self.stages.iter().map(|stage| stage.seconds).sum::<f64>()).max(0.0)
    }

    /// Share of a round.
    pub fn share(&self, seconds: f64) -> f64 {
        seconds / self.seconds.max(1e-12)
    }
}

impl Memory {
    fn of(model: &Model) -> Result<Self> {
        let planner = model.planner();
        let encode = planner.encode();
        let mut activations = vec![("encode 1 image".to_owned(), encode.activation_bytes)];
        for clicks in BATCHES {
            let prompts = if clicks == 1 { "prompt" } else { "prompts" };
            let plan = planner.decode(&PromptShape::CLICK, clicks)?;
            activations.push((format!("decode {clicks} {prompts}"), plan.activation_bytes));
        }
        let weights = encode.weights_by_precision().into_iter();
        Ok(Self {
            weights: weights.map(|(precision, bytes)| (precision.to_string(), bytes)).collect(),
            activations,
            embedding_bytes: planner.embedding_bytes(),
            scratch_bytes: encode.scratch_bytes,
        })
    }
}

/// What is said of a bound.
pub fn reason(bound: Bound) -> &'static str {
    match bound {
        Bound::Compute => "arithmetic",
        Bound::Memory => "memory traffic",
        Bound::Overhead => "the cost of calls",
    }
}

/// Copies over the border between the host and the device, per round.
pub struct Copies {
    uploads: f64,
    uploaded_bytes: f64,
    downloads: f64,
    downloaded_bytes: f64,
}

impl Copies {
    /// Between two counts, shared by some rounds.
    pub fn since(before: &Transfers, after: &Transfers, rounds: f64) -> Self {
        let per_round = |before: u64, after: u64| (after - before) as f64 / rounds;
        Self {
            uploads: per_round(before.uploads, after.uploads),
            uploaded_bytes: per_round(before.uploaded_bytes, after.uploaded_bytes),
            downloads: per_round(before.downloads, after.downloads),
            downloaded_bytes: per_round(before.downloaded_bytes, after.downloaded_bytes),
        }
    }

    /// As a document.
    pub fn json(&self) -> Value {
        json!({
            "to_device": self.uploads, "to_device_bytes": self.uploaded_bytes,
            "to_host": self.downloads, "to_host_bytes": self.downloaded_bytes,
        })
    }
}

impl std::fmt::Display for Copies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.uploads + self.downloads == 0.0 {
            return f.write_str("no copies: the device works in the host's memory");
        }
        let megabytes = |bytes: f64| bytes / 1e6;
        write!(
            f,
            "copies: {:.1} to the device ({:.2} MB), {:.1} to the host ({:.2} MB)",
            self.uploads,
            megabytes(self.uploaded_bytes),
            self.downloads,
            megabytes(self.downloaded_bytes)
        )
    }
}
