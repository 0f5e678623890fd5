use ratatui::Terminal;
use ratatui::backend::TestBackend;
use samovar::memory::{DeviceMemory, Memory, MemoryLevel};
use samovar::resources::live::{Snapshot, Work};

use super::state::time;
use super::*;

fn state(count: u32) -> State {
    let snapshot = |process_id| Snapshot {
        process_id,
        command: "everything photos/ --out \u{1b}[2Jmasks/".into(),
        running_s: 75.0,
        devices: vec![DeviceMemory {
            name: "cpu".into(),
            used_bytes: 1000,
            budget_bytes: 4000,
            ..Default::default()
        }],
        work: Work {
            unit: "images".into(),
            all: 200,
            through: 50,
            failed: 1,
            per_s: 2.0,
            left_s: Some(75.0),
            recent: vec![1, 2, 3],
            p50_ms: 480.0,
            p95_ms: 700.0,
            p99_ms: 900.0,
            ..Work::default()
        },
        ..Snapshot::default()
    };
    let processes =
        (1..=count).map(|id| Process { snapshot: snapshot(id), processor_share: Some(1.5) }).collect();
    let memory = Memory { total_bytes: 8_000_000_000, available_bytes: 2_000_000_000, is_container: false };
    State { memory, level: MemoryLevel::Calm, processes }
}

fn drawn(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(frame, state)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn the_dashboard_shows_memory_queue_pool_rate_and_latencies() {
    let shown = drawn(&state(1), 100, 24);
    for words in [
        "1 samovar at work",
        "machine: 6.0 GB of 8.0 GB, calm",
        "50 of 200 images",
        "150 % of a core",
        "cpu: 1.0 kB",
        "1:15 left at 2.00 images/s",
        "P50 480 ms, P95 700 ms, P99 900 ms",
        "1 failed",
        "█",
        "q leaves",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn any_terminal_will_do() {
    for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 9), (300, 100)] {
        for count in [0, 1, 40] {
            let shown = drawn(&state(count), width, height);
            assert_eq!(shown.lines().count(), usize::from(height));
        }
    }
    assert!(drawn(&state(40), 80, 24).contains("more have no room here"));
}

#[test]
fn times_read_as_clocks_do() {
    assert_eq!([0.4, 59.0, 61.0, 3723.0].map(time), ["0 s", "59 s", "1:01", "1:02:03"]);
    assert!([f64::NAN, f64::INFINITY, -1.0].map(time).iter().all(|text| !text.is_empty()));
}
