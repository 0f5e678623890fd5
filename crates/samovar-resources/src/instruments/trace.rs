//! What happened when, for viewers: the trace events of Chrome, which Perfetto reads too.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Map, Value, json};

/// Something that took time. Spans of one thread lie within each other or beside each other, never across.
#[derive(Debug, Clone)]
pub struct TraceSpan {
    /// What it was.
    pub name: Cow<'static, str>,
    /// What kind of thing: `round`, `stage`, `operator`.
    pub category: &'static str,
    /// Since the trace began.
    pub start: Duration,
    /// How long it took.
    pub duration: Duration,
    /// On which thread, from 1.
    pub thread: usize,
    /// What else is known of it.
    pub arguments: Vec<(&'static str, Value)>,
}

/// A number that changes over time.
#[derive(Debug, Clone, Copy)]
pub struct TraceSample {
    /// What is counted.
    pub name: &'static str,
    /// Since the trace began.
    pub at: Duration,
    /// How many.
    pub value: f64,
}

/// Spans and samples of a run.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// The name of the program, as a viewer shows it.
    pub process: String,
    /// What took time, in any order.
    pub spans: Vec<TraceSpan>,
    /// What was counted.
    pub samples: Vec<TraceSample>,
}

/// Microseconds to the nanosecond, as viewers count.
fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

impl TraceSpan {
    /// When it ended.
    pub fn end(&self) -> Duration {
        self.start + self.duration
    }
}

impl Trace {
    /// The spans such that whoever holds others comes before them: by thread, start and length.
    pub fn ordered(&self) -> Vec<&TraceSpan> {
        let mut spans: Vec<&TraceSpan> = self.spans.iter().collect();
        spans.sort_by_key(|span| (span.thread, span.start, std::cmp::Reverse(span.duration)));
        spans
    }

    /// The trace as a JSON document in Chrome's format ("JSON object format" with complete and counter events), for
    /// ui.perfetto.dev and chrome://tracing.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_chrome(&self, mut out: impl Write) -> io::Result<()> {
        let process =
            json!({ "ph": "M", "name": "process_name", "pid": 1, "args": { "name": self.process } });
        write!(out, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n{process}")?;
        for span in self.ordered() {
            let arguments: Map<String, Value> =
                span.arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            let event = json!({
                "ph": "X", "name": span.name, "cat": span.category, "pid": 1, "tid": span.thread,
                "ts": microseconds(span.start), "dur": microseconds(span.duration), "args": arguments,
            });
            write!(out, ",\n{event}")?;
        }
        for sample in &self.samples {
            let event = json!({
                "ph": "C", "name": sample.name, "pid": 1, "ts": microseconds(sample.at),
                "args": { sample.name: sample.value },
            });
            write!(out, ",\n{event}")?;
        }
        writeln!(out, "\n]}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_json_with_holders_before_what_they_hold() {
        let span = |name: &'static str, start, duration, thread| TraceSpan {
            name: name.into(),
            category: "test",
            start: Duration::from_nanos(start),
            duration: Duration::from_nanos(duration),
            thread,
            arguments: vec![("shape", "[1, \"2\"]".into())],
        };
        let trace = Trace {
            process: "a \"test\"".into(),
            spans: vec![span("inner", 1500, 250, 1), span("other", 0, 10, 2), span("outer", 1500, 1500, 1)],
            samples: vec![TraceSample { name: "bytes", at: Duration::from_micros(3), value: 12.0 }],
        };
        let mut text = Vec::new();
        trace.write_chrome(&mut text).unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        let events = document["traceEvents"].as_array().unwrap();
        let names: Vec<&str> = events.iter().map(|event| event["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["process_name", "outer", "inner", "other", "bytes"]);
        assert_eq!((events[2]["ts"].as_f64(), events[2]["dur"].as_f64()), (Some(1.5), Some(0.25)));
        assert_eq!(events[4]["args"]["bytes"], 12.0);
        assert_eq!(events[0]["args"]["name"], "a \"test\"");
    }
}
