//! How long things take.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::events::Events;

/// Times an operation and tells it as an event `timed_operation` with `operation` and `seconds` (document 000):
/// when the value is finished, or dropped.
#[derive(Debug)]
pub struct TimedOperation<'e> {
    events: &'e Events,
    name: &'static str,
    began: Instant,
    is_told: bool,
}

/// Begins to time an operation.
///
/// ```
/// use samovar_resources::instruments::{Events, timed_operation};
///
/// let events = Events::default();
/// let loading = timed_operation(&events, "model loading");
/// println!("loaded in {:?}", loading.finish());
/// ```
pub fn timed_operation<'e>(events: &'e Events, name: &'static str) -> TimedOperation<'e> {
    TimedOperation { events, name, began: Instant::now(), is_told: false }
}

impl TimedOperation<'_> {
    /// Ends it, and says how long it took.
    pub fn finish(mut self) -> Duration {
        let took = self.began.elapsed();
        self.tell(took);
        took
    }

    fn tell(&mut self, took: Duration) {
        self.is_told = true;
        self.events.emit("timed_operation", || {
            [("operation", self.name.into()), ("seconds", took.as_secs_f64().into())]
        });
    }
}

impl Drop for TimedOperation<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell(self.began.elapsed());
        }
    }
}

/// Times of many calls, in bounded memory: quantiles are right to one part in a thousand, from a microsecond to a day.
#[derive(Debug, Clone)]
pub struct Latencies {
    microseconds: Histogram<u64>,
}

/// What is longer counts as this long.
const LONGEST_US: u64 = 24 * 60 * 60 * 1_000_000;

/// P50, P95 and P99 of some calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of the calls took no longer.
    pub p50: Duration,
    /// Nineteen of twenty took no longer.
    pub p95: Duration,
    /// Ninety-nine of a hundred took no longer.
    pub p99: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        let microseconds = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are in order");
        Self { microseconds }
    }
}

impl Latencies {
    /// Counts a call.
    pub fn record(&mut self, took: Duration) {
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(LONGEST_US);
        self.microseconds.saturating_record(microseconds.max(1));
    }

    /// Number of calls.
    pub fn count(&self) -> u64 {
        self.microseconds.len()
    }

    /// Their mean; zero of none.
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.microseconds.mean() * 1e-6)
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.microseconds.max())
    }

    /// The time that a share `0..=1` of the calls did not exceed; zero of none.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.microseconds.value_at_quantile(share))
    }

    /// The usual ones.
    pub fn quantiles(&self) -> Quantiles {
        Quantiles { p50: self.quantile(0.50), p95: self.quantile(0.95), p99: self.quantile(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_thousandth() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantiles(), Quantiles::default());
        for milliseconds in (1..=1000).rev() {
            latencies.record(Duration::from_millis(milliseconds));
        }
        for (share, expected) in [(0.5, 0.5), (0.95, 0.95), (0.99, 0.99), (1.0, 1.0)] {
            let found = latencies.quantile(share).as_secs_f64();
            assert!((found / expected - 1.0).abs() < 2e-3, "{share}: {found}");
        }
        assert_eq!(latencies.count(), 1000);
        assert!((latencies.mean().as_secs_f64() / 0.5005 - 1.0).abs() < 1e-3);
        latencies.record(Duration::MAX);
        latencies.record(Duration::ZERO);
        assert!(latencies.longest() >= Duration::from_secs(86_000));
        assert!(latencies.quantile(0.0) <= Duration::from_micros(2));
    }
}
