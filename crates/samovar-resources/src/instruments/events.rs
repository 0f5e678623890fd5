//! Events for those who watch a running system: one JSON object a line.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

/// Takes events as they happen. Must not fail and should not wait: work goes on whether anybody listens or not.
pub trait EventSink: Send + Sync {
    /// One event: seconds since 1970, its name, and what else is known of it.
    fn event(&self, seconds: f64, name: &str, fields: &[(&str, Value)]);
}

/// Where events go; cheap to clone. The default listens to none of them and costs one comparison per event.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<dyn EventSink>>);

impl Events {
    /// Events to `sink`.
    pub fn to(sink: Arc<dyn EventSink>) -> Self {
        Self(Some(sink))
    }

    /// Tells of an event; `fields` is called only if somebody listens.
    pub fn emit<const N: usize>(&self, name: &str, fields: impl FnOnce() -> [(&'static str, Value); N]) {
        if let Some(sink) = &self.0 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
            sink.event(now, name, &fields());
        }
    }

    /// Whether anybody listens.
    pub fn are_heard(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.are_heard() { "Events(heard)" } else { "Events(unheard)" })
    }
}

/// Events as JSON lines, `{"ts": 1790000000.123, "event": "sam_mask_output", …}` (document 001). A line is written whole
/// at once, so several threads, and several processes that append to one file, do not tear each other's lines.
pub struct JsonLines<W> {
    out: Mutex<W>,
    on_loss: Mutex<Option<OnLoss>>,
}

/// Hears of the first event that could not be written.
type OnLoss = Box<dyn FnOnce(std::io::Error) + Send>;

impl<W: Write + Send> JsonLines<W> {
    /// Writes to `out`. What cannot be written is lost: events are not worth a failed job.
    pub fn new(out: W) -> Self {
        Self { out: Mutex::new(out), on_loss: Mutex::default() }
    }

    /// The same, telling of the first event that is lost, once.
    #[must_use]
    pub fn telling(self, on_loss: impl FnOnce(std::io::Error) + Send + 'static) -> Self {
        Self { on_loss: Mutex::new(Some(Box::new(on_loss))), ..self }
    }
}

impl<W: Write + Send> EventSink for JsonLines<W> {
    fn event(&self, seconds: f64, name: &str, fields: &[(&str, Value)]) {
        let mut object = Map::new();
        object.insert("ts".into(), Value::from((seconds * 1e6).round() / 1e6));
        object.insert("event".into(), name.into());
        object.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let mut line = Value::Object(object).to_string();
        line.push('\n');
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        drop(out);
        if let Err(error) = written
            && let Some(tell) = self.on_loss.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            tell(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_a_line_of_json_with_time_and_name_first() {
        let out = Shared::default();
        let events = Events::to(Arc::new(JsonLines::new(out.clone())));
        events.emit("sam_mask_output", || [("as_host", 0.into()), ("device", "cuda:0\n".into())]);
        events.emit("cleanup", || []);
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["as_host"], &lines[0]["device"]), (&0.into(), &"cuda:0\n".into()));
        assert!(lines[0]["ts"].as_f64().unwrap() > 1.7e9);
        assert_eq!(lines[1]["event"], "cleanup");
    }

    #[test]
    fn the_first_event_that_is_lost_is_told_of_and_no_other() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (sender, heard) = std::sync::mpsc::channel();
        let lines = JsonLines::new(Full).telling(move |error| sender.send(error.kind()).unwrap());
        let events = Events::to(Arc::new(lines));
        (0..3).for_each(|_| events.emit("cleanup", || []));
        assert_eq!(heard.iter().collect::<Vec<_>>(), [std::io::ErrorKind::StorageFull]);
    }

    #[test]
    fn unheard_events_are_not_made() {
        Events::default().emit("never", || -> [(&'static str, Value); 0] { panic!("nobody listens") });
    }
}
