//! Runs a target on inputs and judges each: no panic, bounded memory, bounded time.

use std::any::Any;
use std::fmt;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use samovar_testkit::peak_bytes;

use crate::{Mutator, Target};

/// Most time one input may take. Generous: a shared machine stalls now and then.
pub const MAX_TIME: Duration = Duration::from_secs(10);

/// An input that a target could not live with.
#[derive(Debug)]
pub struct Failure {
    /// The target.
    pub target: &'static str,
    /// What it did.
    pub what: String,
    /// The input.
    pub input: Vec<u8>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} on {} bytes", self.target, self.what, self.input.len())
    }
}

/// What a run saw.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Inputs tried.
    pub inputs: u64,
    /// Longest time of one of them.
    pub slowest: Duration,
    /// Most memory of one of them.
    pub peak_bytes: usize,
}

/// A target with its seeds.
pub struct Harness {
    target: &'static Target,
    seeds: Vec<Vec<u8>>,
}

impl Harness {
    /// The target with the seeds of `corpus/<target>/`, sorted by name.
    ///
    /// # Panics
    /// If there are none: a fuzzer without seeds tests the first two bytes of a format.
    pub fn new(target: &'static Target) -> Self {
        let folder = Self::corpus(target);
        let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        paths.retain(|path| path.is_file());
        paths.sort();
        assert!(!paths.is_empty(), "no seeds in {}; dev/fuzz/make_seeds.py makes them", folder.display());
        let seeds = paths.iter().filter_map(|path| fs::read(path).ok()).collect();
        Self { target, seeds }
    }

    /// Where the seeds of a target are, and the inputs that were found to break it once.
    pub fn corpus(target: &Target) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
    }

    /// The seeds, then up to `mutations` mutations of them or until `deadline`.
    ///
    /// # Errors
    /// The first input that breaks the target.
    pub fn run(&self, seed: u64, mutations: u64, deadline: Duration) -> Result<Report, Failure> {
        let mut report = Report::default();
        for input in &self.seeds {
            self.judge(input, &mut report)?;
        }
        let mut mutator = Mutator::new(seed);
        let start = Instant::now();
        while report.inputs < self.seeds.len() as u64 + mutations && start.elapsed() < deadline {
            self.judge(&mutator.next_input(&self.seeds), &mut report)?;
        }
        Ok(report)
    }

    fn judge(&self, input: &[u8], report: &mut Report) -> Result<(), Failure> {
        let fail = |what: String| Err(Failure { target: self.target.name, what, input: input.to_vec() });
        let start = Instant::now();
        let run = || panic::catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        let (result, peak_bytes) = peak_bytes(run);
        let took = start.elapsed();
        report.inputs += 1;
        report.slowest = report.slowest.max(took);
        report.peak_bytes = report.peak_bytes.max(peak_bytes);
        let allowed = self.target.memory_bytes + self.target.memory_factor * input.len();
        match result {
            Err(panic) => fail(format!("panicked: {}", message(&*panic))),
            Ok(()) if peak_bytes > allowed => {
                fail(format!("allocated {peak_bytes} bytes, {allowed} are allowed"))
            }
            Ok(()) if took > MAX_TIME => fail(format!("took {took:?}")),
            Ok(()) => Ok(()),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no message)")
}
