//! Progress: bars on stderr, which are not drawn where stderr is no terminal, and the same told to `samovar top`.

use std::fmt::Write;
use std::ops::Deref;
use std::time::{Duration, Instant};

use indicatif::style::ProgressTracker;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use samovar::Engine;
use samovar::memory::{DeviceMemory, ProcessMemory, bytes};
use samovar::resources::live::{CacheFigures, Publisher};

use crate::environment;
use crate::say::one_line;

/// Work under way.
pub struct Progress {
    bar: ProgressBar,
    publisher: Option<Publisher>,
}

/// A bar over `count` items.
pub fn items(count: u64, unit: &'static str) -> Progress {
    let template = format!(
        "{{bar:30}} {{pos}}/{{len}} {unit}  {{rate}}  {{elapsed}} passed, {{eta}} left  {{memory}}  {{wide_msg}}"
    );
    Progress::of(ProgressBar::new(count).with_style(style(&template)), unit)
}

/// A bar over bytes.
pub fn of_bytes() -> Progress {
    let bar = ProgressBar::new(0).with_style(style(
        "{bar:30} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left  {memory}  {wide_msg}",
    ));
    Progress::of(bar, "bytes")
}

/// A turning mark, for work whose length is not known.
pub fn spinner(what: &str) -> Progress {
    let spinner = ProgressBar::new_spinner().with_message(one_line(what));
    let spinner = spinner.with_style(style("{spinner} {msg}  {elapsed} passed  {memory}"));
    spinner.enable_steady_tick(Duration::from_millis(120));
    Progress::of(spinner, "")
}

impl Progress {
    fn of(bar: ProgressBar, unit: &'static str) -> Self {
        let told = bar.clone();
        let position = move || (told.position(), told.length().unwrap_or(0), told.message());
        let folder = environment::run_folder();
        let publisher = folder.map(|folder| Publisher::start(&folder, command(), unit, position));
        Self { bar, publisher }
    }

    /// With items that an earlier run has done, which took no time now.
    pub fn with_position(self, count: u64) -> Self {
        self.bar.set_position(count);
        self.bar.reset_eta();
        if let Some(publisher) = &self.publisher {
            publisher.skipped(count);
        }
        self
    }

    /// What is being done now, in one line: it may hold names of files.
    pub fn set_message(&self, words: impl AsRef<str>) {
        self.bar.set_message(one_line(words.as_ref()));
    }

    /// Ends it: nothing is shown any more, and nothing told; what comes next tells of itself in its place.
    pub fn finish_and_clear(self) {
        self.bar.finish_and_clear();
    }

    /// Tells of the memory of an engine too.
    pub fn watch(&self, engine: &Engine) {
        let Some(publisher) = &self.publisher else { return };
        let device = engine.device().clone();
        publisher.watch_devices(move || {
            let pool = device.pool().stats();
            vec![DeviceMemory {
                name: device.name(),
                used_bytes: pool.in_use_bytes,
                reserved_bytes: pool.reserved_bytes(),
                peak_bytes: pool.peak_bytes,
                budget_bytes: pool.budget_bytes,
            }]
        });
    }

    /// Tells of caches too.
    pub fn watch_caches(&self, caches: impl Fn() -> Vec<CacheFigures> + Send + 'static) {
        if let Some(publisher) = &self.publisher {
            publisher.watch_caches(caches);
        }
    }

    /// An item is through, after so much time.
    pub fn item_ended(&self, took: Duration, has_failed: bool) {
        if let Some(publisher) = &self.publisher {
            publisher.item_ended(took, has_failed);
        }
        self.bar.inc(1);
    }
}

impl Deref for Progress {
    type Target = ProgressBar;

    fn deref(&self) -> &ProgressBar {
        &self.bar
    }
}

/// What was asked of this process.
fn command() -> String {
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    arguments.collect::<Vec<_>>().join(" ")
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the templates above are sound");
    let style = style.with_key("memory", Resident::default());
    style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
        let _ = out.write_str(&rate_words(state.per_sec()));
    })
}

/// So many items a second, to three digits; of slow work, a minute or an hour.
pub fn rate_words(per_second: f64) -> String {
    let (rate, unit) = match per_second {
        rate if rate >= 0.995 => (rate, "s"),
        rate if rate * 60.0 >= 0.995 => (rate * 60.0, "min"),
        rate => (rate * 3600.0, "h"),
    };
    let decimals = match rate {
        rate if rate >= 99.95 => 0,
        rate if rate >= 9.995 => 1,
        _ => 2,
    };
    format!("{rate:.decimals$}/{unit}")
}

/// What the process holds of the machine's memory, looked up twice a second.
#[derive(Clone, Default)]
struct Resident {
    at: Option<Instant>,
    resident_bytes: usize,
}

impl Resident {
    const INTERVAL: Duration = Duration::from_millis(500);
}

impl ProgressTracker for Resident {
    fn clone_box(&self) -> Box<dyn ProgressTracker> {
        Box::new(self.clone())
    }

    fn tick(&mut self, _: &ProgressState, now: Instant) {
        if self.at.is_none_or(|at| now.saturating_duration_since(at) >= Self::INTERVAL) {
            (self.at, self.resident_bytes) = (Some(now), ProcessMemory::now().resident_bytes);
        }
    }

    fn reset(&mut self, _: &ProgressState, _: Instant) {}

    fn write(&self, _: &ProgressState, out: &mut dyn Write) {
        if self.resident_bytes > 0 {
            let _ = write!(out, "{} of memory", bytes(self.resident_bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::rate_words;

    #[test]
    fn rates_have_three_digits_and_a_unit_that_fits() {
        let rates = [87.0652, 1234.5, 99.96, 9.9951, 1.0, 0.5, 0.01, 0.0].map(rate_words);
        let expected = ["87.1/s", "1234/s", "100/s", "10.0/s", "1.00/s", "30.0/min", "36.0/h", "0.00/h"];
        assert_eq!(rates, expected);
    }
}
